// Who looks a node up, and what for. The kernel asks for the name before open(2), mount(2) and fsconfig(2) go on, and /proc shows the
// call that the asking thread is in. Law: nothing here waits, and a call that cannot be told counts as one that only looks.
import Glibc

struct NodeCaller {
  /// Of the thread; 0: of another process namespace.
  let pid: Int32
  let user: uid_t
  let group: gid_t

  enum Intent: Equatable {
    /// stat, readlink, a bind mount, open with O_PATH and everything else that does not reach the device.
    case looks
    case reads
    case writes
    /// mount(2), fsconfig(2), swapon(2).
    case mounts
    /// It opens, and whether for writing is not to be seen: io_uring, openat2.
    case opens
    /// It cannot be seen, because of this.
    case untold(String)
  }

  /// The line of /proc for the call the thread is in. Nil: there is none.
  var callLine: String? { line(of: "syscall") }

  /// Nil: the thread is on its way to sleep; ask again.
  func intent(in line: String?) -> Intent? {
    guard pid > 0 else { return .untold("it is in a process namespace that is not seen from here") }
    guard let line else { return .untold("/proc/\(pid)/syscall cannot be read: \(String(cString: strerror(errno)))") }
    if line.hasPrefix("running") { return nil }
    if name.hasPrefix("iou-") { return .opens }
    let words = line.split(separator: " ")
    guard let number = words.first.flatMap({ Int($0) }) else { return .untold("/proc says '\(line)'") }
    let arguments = words.dropFirst().map { UInt64($0.dropFirst(2), radix: 16) ?? 0 }
    guard number >= 0, arguments.count >= 6 else { return .looks }
    let intent = KernelCall.intent(number, arguments)
    return intent == .reads && readsFirst ? .writes : intent
  }

  /// A program that looks for a file system before it mounts, makes or checks one: what it reads is the beginning of its use.
  private var readsFirst: Bool {
    let name = name
    return ["mount", "mke2fs", "e2fsck"].contains(name) || ["mkfs", "fsck."].contains { name.hasPrefix($0) }
  }

  var name: String { line(of: "comm") ?? "" }

  /// Whether the kernel will let it open a node of this owner and group, mode 0660.
  func may(_ intent: Intent, owner: uid_t, group: gid_t) -> Bool {
    if user == 0 { return true }
    if intent == .mounts { return false }
    return user == owner || self.group == group || groups.contains(group)
  }

  private var groups: [gid_t] {
    let lines = text(of: "status")?.split(separator: "\n") ?? []
    let words = lines.first { $0.hasPrefix("Groups:") }?.dropFirst(7).split(whereSeparator: { $0 == " " || $0 == "\t" })
    return words?.compactMap { gid_t($0) } ?? []
  }

  private func line(of file: String) -> String? {
    text(of: file).map { String($0.prefix { $0 != "\n" }) }
  }

  private func text(of file: String) -> String? {
    let descriptor = open("/proc/\(pid)/\(file)", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 8192)
    let got = read(descriptor, &bytes, bytes.count)
    return got >= 0 ? String(decoding: bytes[..<got], as: UTF8.self) : nil
  }
}

/// The kernel's numbers of the calls that reach a device by its name. A program of another word size has other numbers: what it does
/// counts as looking.
private enum KernelCall {
  static func intent(_ number: Int, _ arguments: [UInt64]) -> NodeCaller.Intent {
    switch number {
    case fsconfig: [create, createExclusively].contains(arguments[1]) ? .mounts : .looks
    case mount: arguments[3] & withoutDevice == 0 ? .mounts : .looks
    case swapon: .mounts
    case openat: opening(arguments[2])
    case open: opening(arguments[1])
    case creat: .writes
    case openat2, 425, 426, 427: .opens
    // btrfs and the device mapper are told names this way.
    case ioctl: .reads
    default: .looks
    }
  }

  private static func opening(_ flags: UInt64) -> NodeCaller.Intent {
    if flags & pathOnly != 0 { return .looks }
    return flags & 3 == 0 ? .reads : .writes
  }

  private static let create: UInt64 = 6
  private static let createExclusively: UInt64 = 8
  private static let pathOnly: UInt64 = 0x20_0000
  /// Remount, bind, move and the four kinds of propagation.
  private static let withoutDevice: UInt64 = 32 | 4096 | 8192 | 0xf << 17
  private static let openat2 = 437
  private static let fsconfig = 431
  #if arch(x86_64)
    private static let open = 2
    private static let ioctl = 16
    private static let creat = 85
    private static let mount = 165
    private static let swapon = 167
    private static let openat = 257
  #else
    // The numbers of every newer architecture, arm64 for one.
    private static let open = -1
    private static let creat = -2
    private static let ioctl = 29
    private static let mount = 40
    private static let swapon = 224
    private static let openat = 56
  #endif
}
