// Who uses a block device: file systems mounted from it (in this mount namespace), devices stacked on it, processes that have
// it open, and by the kernel's exclusive claim also the ones that cannot be named. Never a guess in the other direction: "in
// use by somebody" is said when nobody can be found but the claim fails.
import BlockIO
import Glibc

struct DeviceHolders {
  let number: BlockNumber
  /// The name an operator knows, such as `drbd0`.
  let name: String
  /// Of this process, in the kernel's form.
  var mountTable = "/proc/self/mountinfo"

  /// Lines in DRBD's shape: `drbd0 opened by mount (pid 4711)`. Empty: free.
  func list() -> [String] {
    let found = mounts() + stacked() + swaps() + processes()
    guard found.isEmpty, !canBeClaimed() else { return found }
    return ["\(name) opened by a mount or process in another namespace"]
  }

  private func mounts() -> [String] {
    guard let table = wholeFile(mountTable) else { return [] }
    let wanted = "\(number.major):\(number.minor)"
    return table.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count > 4 else { return nil }
      // btrfs and overlays have numbers of their own; the source is after the dash.
      let source = fields.drop { $0 != "-" }.dropFirst(2).first.map(String.init)
      guard fields[2] == wanted || source.map(isThisDevice) == true else { return nil }
      return "\(name) opened by mount (mounted on \(unescaped(fields[4])))"
    }
  }

  private func stacked() -> [String] {
    let directory = "/sys/dev/block/\(number.major):\(number.minor)/holders"
    return directoryEntries(directory).map { "\(name) opened by the device \($0) on top of it" }
  }

  private func swaps() -> [String] {
    guard let table = wholeFile("/proc/swaps") else { return [] }
    return table.split(separator: "\n").dropFirst().compactMap { line in
      line.split(separator: " ").first.map(String.init).map(isThisDevice) == true ? "\(name) opened by swap" : nil
    }
  }

  private func processes() -> [String] {
    let own = getpid()
    return directoryEntries("/proc").compactMap { Int32($0) }.filter { $0 != own }.sorted().compactMap { pid in
      let opened = directoryEntries("/proc/\(pid)/fd").contains { isThisDevice("/proc/\(pid)/fd/\($0)") }
      guard opened else { return nil }
      let command = smallFile("/proc/\(pid)/comm") ?? "a process"
      return "\(name) opened by \(command) (pid \(pid))"
    }
  }

  /// The kernel gives the exclusive claim to nobody while a file system, swap or another device has it.
  private func canBeClaimed() -> Bool {
    do throws(Errno) {
      close(
        try NumberedDevice.open(major: number.major, minor: number.minor, flags: O_RDONLY | O_EXCL | O_NONBLOCK))
      return true
    } catch {
      return error.code != EBUSY
    }
  }

  private func isThisDevice(_ path: String) -> Bool {
    guard path.hasPrefix("/") else { return false }
    var status = stat()
    return stat(path, &status) == 0 && BlockNumber(status) == number
  }

  /// Blanks are written as `\040` there.
  private func unescaped(_ field: Substring) -> String {
    String(field).replacing("\\040", with: " ").replacing("\\011", with: "\t")
  }
}
