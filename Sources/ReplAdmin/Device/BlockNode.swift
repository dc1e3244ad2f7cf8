// Device nodes: the kernel's pair of numbers under a name. A node is made beside its final name and moved over it, so that
// the path is never missing and never half made. Nodes are made by number, because a host of the demo has a /dev of its own.
import Glibc

struct BlockNumber: Equatable {
  var major: UInt32
  var minor: UInt32

  init(major: UInt32, minor: UInt32) {
    self.major = major
    self.minor = minor
  }

  /// Of an open block device or a path to one; nil for anything else.
  init?(_ status: stat) {
    guard status.st_mode & S_IFMT == S_IFBLK else { return nil }
    self.init(device: UInt64(status.st_rdev))
  }

  init(device: UInt64) {
    major = UInt32(truncatingIfNeeded: (device >> 8) & 0xfff | (device >> 32) & 0xffff_f000)
    minor = UInt32(truncatingIfNeeded: device & 0xff | (device >> 12) & 0xffff_ff00)
  }

  var device: UInt64 {
    let major = UInt64(self.major)
    let minor = UInt64(self.minor)
    return (major & 0xfff) << 8 | (major & 0xffff_f000) << 32 | minor & 0xff | (minor & 0xffff_ff00) << 12
  }

  static let loopMajor: UInt32 = 7
  static let nbdMajor: UInt32 = 43
  static let drbdMajor: UInt32 = 147

  /// The kernel's name, such as `loop3`.
  var kernelName: String? { symbolicLinkTarget("/sys/dev/block/\(major):\(minor)").map(lastComponent) }
}

enum BlockNode {
  /// Makes `path` a node of `number`.
  static func make(_ path: String, _ number: BlockNumber) throws(DeviceFault) {
    try checkFree(path)
    let temporary = "\(parent(path))/.\(lastComponent(path)).new"
    unlink(temporary)
    guard mknod(temporary, S_IFBLK | 0o660, dev_t(number.device)) == 0 else {
      throw .cannot("make the device node \(path)", systemWords(errno))
    }
    // Whoever may use the other disks may use this one.
    var other = stat()
    if stat("/dev/loop0", &other) == 0 { chown(temporary, other.st_uid, other.st_gid) }
    chmod(temporary, 0o660)
    guard rename(temporary, path) == 0 else {
      let why = systemWords(errno)
      unlink(temporary)
      throw .cannot("make the device node \(path)", why)
    }
  }

  /// A symbolic link, its directory made as needed.
  static func link(_ path: String, to target: String) throws(DeviceFault) {
    let directory = parent(path)
    makeDirectories(directory)
    let up = Array(repeating: "..", count: directory.split(separator: "/").count - 1)
    let relative = target.hasPrefix("/dev/") ? (up + [String(target.dropFirst(5))]).joined(separator: "/") : target
    let temporary = "\(directory)/.\(lastComponent(path)).new"
    unlink(temporary)
    guard symlink(relative, temporary) == 0, rename(temporary, path) == 0 else {
      let why = systemWords(errno)
      unlink(temporary)
      throw .cannot("make the link \(path)", why)
    }
  }

  /// Removes what `make` and `link` made, and the directories of links that are empty then.
  static func remove(_ path: String) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    let kind = status.st_mode & S_IFMT
    guard kind == S_IFLNK || kind == S_IFBLK else { return }
    unlink(path)
    var directory = parent(path)
    while directory.hasPrefix("/dev/drbd/") || directory == "/dev/drbd" {
      guard rmdir(directory) == 0 else { return }
      directory = parent(directory)
    }
  }

  /// Has udev look at the device again, whose names it is told by a rule: the kernel itself says nothing when we give and take them.
  /// Where no udev runs, the kernel event has no effect.
  static func announce(_ number: BlockNumber) {
    let descriptor = open("/sys/dev/block/\(number.major):\(number.minor)/uevent", O_WRONLY | O_CLOEXEC)
    // Gone, or a read-only /sys: then there is no udev either.
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    _ = write(descriptor, "change", 6)
  }

  /// Removes a node of DRBD's numbers that no kernel module serves.
  static func removeUnused(_ path: String) {
    var status = stat()
    guard lstat(path, &status) == 0, let number = BlockNumber(status), number.major == BlockNumber.drbdMajor,
      number.kernelName == nil
    else { return }
    unlink(path)
  }

  private static func makeDirectories(_ path: String) {
    guard path != "/", mkdir(path, 0o755) != 0, errno == ENOENT else { return }
    makeDirectories(parent(path))
    mkdir(path, 0o755)
  }

  /// Refuses to take the place of what is not a device of ours.
  static func checkFree(_ path: String) throws(DeviceFault) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    switch status.st_mode & S_IFMT {
    case S_IFLNK: return
    case S_IFBLK:
      guard let number = BlockNumber(status), number.major == BlockNumber.drbdMajor, number.kernelName != nil else {
        return
      }
      throw .cannot(
        "make \(path)", "it belongs to DRBD's kernel module, which has this minor up: drbdadm down it first")
    default: throw .cannot("make \(path)", "something that is no block device has that name")
    }
  }
}
