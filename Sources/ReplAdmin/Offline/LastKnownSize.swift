// How large a device was when its internal metadata were last written: after the device has grown, the only way to find them. One
// small file per minor in DRBD's form (metadata spec 5.6); DRBD's own record is read where ours is missing. A record that
// cannot be written costs nothing but that help.
import FoundationEssentials
import Glibc
import MetaDisk

struct LastKnownSize: Equatable {
  var bytes: UInt64

  static let environmentKey = "REPL_STATE_DIR"
  private static let standardDirectory = "/var/lib/repl"
  private static let drbdDirectory = "/var/lib/drbd"

  private static func path(_ minor: Int, in directory: String) -> String { "\(directory)/drbd-minor-\(minor).lkbd" }

  private static func directory(_ environment: [String: String]) -> String {
    environment[environmentKey] ?? standardDirectory
  }

  /// What is on record for the minor and this device.
  static func of(minor: Int, device: String, _ environment: [String: String]) -> LastKnownSize? {
    for directory in [directory(environment), drbdDirectory] {
      guard let data = FileManager.default.contents(atPath: path(minor, in: directory)) else { continue }
      let fields = String(decoding: data.prefix(4096), as: UTF8.self).split(separator: "\n").first?.split(
        separator: "\t")
      guard let fields, fields.count == 2, fields[1] == device, let bytes = UInt64(fields[0]) else { continue }
      return LastKnownSize(bytes: bytes)
    }
    return nil
  }

  func remember(minor: Int, device: String, _ environment: [String: String]) {
    let directory = LastKnownSize.directory(environment)
    if mkdir(directory, 0o755) != 0, errno != EEXIST { return }
    let path = LastKnownSize.path(minor, in: directory)
    let text = "\(bytes)\t\(device)\n"
    if LastKnownSize.of(minor: minor, device: device, environment) == self { return }
    _ = FileManager.default.createFile(atPath: path, contents: Data(text.utf8))
  }

  static func forget(minor: Int, _ environment: [String: String]) {
    unlink(path(minor, in: directory(environment)))
  }
}
