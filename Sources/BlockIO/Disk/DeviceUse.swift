// Who uses a device or a file: mounts, swap, device-mapper and RAID holders, loop devices, open descriptors. Looks
// everywhere the kernel tells, and only after an open was refused or before a file is taken.

import CURing
import Glibc

/// Number of a block device.
struct DeviceNumber: Hashable {
  let raw: dev_t
  var major: UInt64 { (UInt64(raw) >> 8) & 0xfff | (UInt64(raw) >> 32) & ~0xfff }
  var minor: UInt64 { UInt64(raw) & 0xff | (UInt64(raw) >> 12) & ~0xff }
  var text: String { "\(major):\(minor)" }
  var sysfs: String { "/sys/dev/block/\(text)" }
}

/// What identifies the thing behind a path.
enum DiskIdentity: Equatable {
  case device(DeviceNumber)
  case file(on: dev_t, inode: ino_t)

  init?(_ status: stat) {
    switch status.st_mode & S_IFMT {
    case S_IFBLK: self = .device(DeviceNumber(raw: status.st_rdev))
    case S_IFREG: self = .file(on: status.st_dev, inode: status.st_ino)
    default: return nil
    }
  }

  init?(path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    self.init(status)
  }
}

enum DeviceUse {
  /// The first user found, as the end of a sentence; never empty.
  static func describe(_ identity: DiskIdentity) -> String {
    if case .device(let number) = identity {
      if let use = holder(number) ?? mount(number) { return use }
      for (partition, name) in partitions(number) {
        if let use = mount(partition) ?? holder(partition) { return "its partition \(name) is in use: \(use)" }
      }
    }
    return swap(identity) ?? loop(identity) ?? opener(identity) ?? "the kernel does not say by whom"
  }

  /// The users that the kernel would not stop us from overwriting, for regular files.
  static func quietUser(of file: DiskIdentity) -> String? { loop(file) ?? swap(file) }

  private static func mount(_ number: DeviceNumber) -> String? {
    if let place = mountPoint(number, "/proc/self/mountinfo") { return "it is mounted on \(place)" }
    // Another mount namespace: a container or a service of its own.
    for process in KernelText.processes() {
      if let place = mountPoint(number, "/proc/\(process)/mountinfo") {
        return "it is mounted on \(place) in the mount namespace of \(KernelText.describe(process: process))"
      }
    }
    return nil
  }

  private static func mountPoint(_ number: DeviceNumber, _ table: String) -> String? {
    guard let text = KernelText.read(table) else { return nil }
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count > 5 else { continue }
      // Some file systems (btrfs) show a number of their own; then the source behind the dash tells.
      if words[2] == number.text { return unescape(words[4]) }
      guard let dash = words.lastIndex(of: "-"), dash + 2 < words.count, words[dash + 2].hasPrefix("/") else {
        continue
      }
      if DiskIdentity(path: unescape(words[dash + 2])) == .device(number) { return unescape(words[4]) }
    }
    return nil
  }

  /// The kernel writes blanks in paths as \040.
  static func unescape(_ word: Substring) -> String {
    var bytes: [UInt8] = []
    var rest = Array(word.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\\"), rest.count >= 3,
        let value = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
      {
        bytes.append(value)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func holder(_ number: DeviceNumber) -> String? {
    guard let name = KernelText.names(in: number.sysfs + "/holders").first else { return nil }
    let mapped = KernelText.line("\(number.sysfs)/holders/\(name)/dm/name").map { " (device-mapper \($0))" } ?? ""
    return "it is part of /dev/\(name)\(mapped)"
  }

  private static func partitions(_ number: DeviceNumber) -> [(DeviceNumber, String)] {
    KernelText.names(in: number.sysfs).compactMap { name in
      guard KernelText.line("\(number.sysfs)/\(name)/partition") != nil,
        case .device(let part) = DiskIdentity(path: "/dev/\(name)")
      else { return nil }
      return (part, "/dev/\(name)")
    }
  }

  private static func swap(_ identity: DiskIdentity) -> String? {
    guard let text = KernelText.read("/proc/swaps") else { return nil }
    for line in text.split(separator: "\n").dropFirst() {
      let path = unescape(line.prefix { $0 != " " && $0 != "\t" })
      if DiskIdentity(path: path) == identity { return "it is swap space" }
    }
    return nil
  }

  private static func loop(_ identity: DiskIdentity) -> String? {
    for name in KernelText.names(in: "/sys/block") where name.hasPrefix("loop") {
      guard let path = KernelText.line("/sys/block/\(name)/loop/backing_file") else { continue }
      if DiskIdentity(path: path) == identity { return "/dev/\(name) is set up on it" }
    }
    return nil
  }

  private static func opener(_ identity: DiskIdentity) -> String? {
    for process in KernelText.processes() {
      let directory = "/proc/\(process)/fd"
      for name in KernelText.names(in: directory) where DiskIdentity(path: "\(directory)/\(name)") == identity {
        return "\(KernelText.describe(process: process)) has it open"
      }
    }
    return nil
  }

  /// The process that holds a socket, by the socket's inode.
  static func holder(ofSocket inode: String) -> Int32? {
    let wanted = "socket:[\(inode)]"
    for process in KernelText.processes() {
      let directory = "/proc/\(process)/fd"
      for name in KernelText.names(in: directory) {
        var target = [UInt8](repeating: 0, count: 64)
        let count = target.withUnsafeMutableBytes { bytes in
          readlink("\(directory)/\(name)", bytes.baseAddress!.assumingMemoryBound(to: CChar.self), 64)
        }
        if count > 0 && String(decoding: target.prefix(count), as: UTF8.self) == wanted { return process }
      }
    }
    return nil
  }
}
