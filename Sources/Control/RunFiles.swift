// The names under `$REPL_RUN_DIR` that `repld`, `repladm` and the tools of others meet at. One place, so that they cannot
// disagree.
import Base

public struct RunFiles: Equatable, Sendable {
  public static let defaultDirectory = "/run/repl"
  public static let environmentKey = "REPL_RUN_DIR"

  public let directory: String

  public init(directory: String) {
    var directory = directory
    while directory.utf8.count > 1, directory.utf8.last == UInt8(ascii: "/") { directory.removeLast() }
    self.directory = directory
  }

  public func controlSocket(_ resource: String) -> String { "\(directory)/\(resource).sock" }
  /// For programs that only ask: members of the group `readers` may use it. It is there when the system has the group.
  public func statusSocket(_ resource: String) -> String { "\(directory)/\(resource).status" }
  public static let readers = "repl"
  /// Names another group for the status socket.
  public static let readersKey = "REPL_READERS"
  /// Held locked (`flock`) by the `repld` of this resource for as long as it lives; holds its process id.
  public func pidFile(_ resource: String) -> String { "\(directory)/\(resource).pid" }
  public func log(_ resource: String) -> String { "\(directory)/\(resource).log" }
  /// Exists while the resource was brought up with `--no-device`.
  public func noDevice(_ resource: String) -> String { "\(directory)/\(resource).nodevice" }

  /// Exists while a command starts the unit of the daemon: it attaches and connects by itself then.
  public func bare(_ resource: String) -> String { "\(directory)/\(resource).bare" }

  public func exportSocket(_ resource: String, _ volume: VolumeNumber) -> String {
    "\(directory)/\(resource)-\(volume.value).nbd"
  }
  /// The record of the block device that `repladm` made for a volume.
  public func device(_ resource: String, _ volume: VolumeNumber) -> String {
    "\(directory)/\(resource)-\(volume.value).device"
  }
  /// The record of the names that `repladm up` gave a volume, which are there whether the node is Primary or not.
  public func names(_ resource: String, _ volume: VolumeNumber) -> String {
    "\(directory)/\(resource)-\(volume.value).names"
  }
  /// Held locked (`flock`) by the command that changes the role of this resource.
  public func roleLock(_ resource: String) -> String { "\(directory)/\(resource).role" }
  /// Links to the tools, for handlers: found before the ones of other packages.
  public var tools: String { "\(directory)/tools" }
  /// Where `repl-device` shows the volumes of a resource as files.
  public func deviceMount(_ resource: String) -> String { "\(directory)/\(resource).devices" }
  /// Where `repl-device` shows the nodes of the devices.
  public func deviceNodes(_ resource: String) -> String { "\(directory)/\(resource).nodes" }
  /// Where `repl-device` is asked.
  public func deviceSocket(_ resource: String) -> String { "\(directory)/\(resource).dev" }
  /// Held locked (`flock`) by the `repl-device` of this resource. The name does not end as that of a daemon's does.
  public func deviceLock(_ resource: String) -> String { "\(directory)/\(resource).devlock" }

  /// What NBD clients are given: `nbd+unix:///?socket=PATH`.
  public func exportURI(_ resource: String, _ volume: VolumeNumber) -> String {
    "nbd+unix:///?socket=" + percentEncoded(exportSocket(resource, volume))
  }

  private func percentEncoded(_ path: String) -> String {
    let hex = Array("0123456789ABCDEF".utf8)
    var encoded: [UInt8] = []
    for byte in path.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "/"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "~"):
        encoded.append(byte)
      default: encoded += [UInt8(ascii: "%"), hex[Int(byte >> 4)], hex[Int(byte & 15)]]
      }
    }
    return String(decoding: encoded, as: UTF8.self)
  }
}
