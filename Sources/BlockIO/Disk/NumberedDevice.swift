// A block device by the kernel's pair of numbers, whatever its nodes are called and whether there is one. Law: the name that an operator
// gave the device is not used for it: a server may stand behind that name, and opening it there has consequences.
import Base
import Glibc

public enum NumberedDevice {
  private static let loopMajor: UInt32 = 7

  /// Opens it by the kernel's own node, or by one that is made for this moment.
  public static func open(major: UInt32, minor: UInt32, flags: Int32) throws(Errno) -> Int32 {
    let device = dev_t(number(major, minor))
    if major == loopMajor, isNode("/dev/loop\(minor)", of: device) {
      return try opened("/dev/loop\(minor)", flags)
    }
    let chance = String(UInt32.random(in: .min ... .max), radix: 16)
    let path = "/dev/.repl-\(getpid())-\(chance)"
    guard mknod(path, S_IFBLK | 0o600, device) == 0 else { throw Errno.last }
    defer { unlink(path) }
    return try opened(path, flags)
  }

  private static func opened(_ path: String, _ flags: Int32) throws(Errno) -> Int32 {
    let descriptor = Glibc.open(path, flags | O_CLOEXEC)
    guard descriptor >= 0 else { throw Errno.last }
    return descriptor
  }

  private static func isNode(_ path: String, of device: dev_t) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFBLK && status.st_rdev == device
  }

  /// As the kernel packs them for user space.
  public static func number(_ major: UInt32, _ minor: UInt32) -> UInt64 {
    let (major, minor) = (UInt64(major), UInt64(minor))
    return (major & 0xfff) << 8 | (major & 0xffff_f000) << 32 | minor & 0xff | (minor & 0xffff_ff00) << 12
  }
}
