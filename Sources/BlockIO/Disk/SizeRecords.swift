// How large a device was when its internal metadata were last written: after the device has grown, the only way to find them. One
// small file per minor in DRBD's form (metadata spec 5.6); DRBD's own record is read where ours is missing. A record that
// cannot be written costs nothing but that help. Nothing here may run for every request.

import Glibc

public struct SizeRecords: Sendable {
  public static let environmentKey = "REPL_STATE_DIR"
  private static let standardDirectory = "/var/lib/repl"
  private static let drbdDirectory = "/var/lib/drbd"

  public let directory: String

  /// Nil: the standard one.
  public init(directory: String?) { self.directory = directory ?? SizeRecords.standardDirectory }

  private func path(_ minor: Int, in directory: String) -> String { "\(directory)/drbd-minor-\(minor).lkbd" }

  /// Bytes that are on record for the minor and this device.
  public func bytes(minor: Int, device: String) -> UInt64? {
    for directory in [directory, SizeRecords.drbdDirectory] {
      guard let line = KernelText.line(path(minor, in: directory)) else { continue }
      let fields = line.split(separator: "\t", omittingEmptySubsequences: false)
      guard fields.count == 2, fields[1] == device, let bytes = UInt64(fields[0]) else { continue }
      return bytes
    }
    return nil
  }

  /// The file is replaced whole: a crash leaves the old record or the new one.
  public func remember(_ bytes: UInt64, minor: Int, device: String) throws(Errno) {
    if self.bytes(minor: minor, device: device) == bytes { return }
    if mkdir(directory, 0o755) != 0, errno != EEXIST { throw Errno.last }
    try ReplacedFile.write("\(bytes)\t\(device)\n", to: path(minor, in: directory))
  }

  public func forget(minor: Int) { unlink(path(minor, in: directory)) }
}
