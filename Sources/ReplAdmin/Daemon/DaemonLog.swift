// Where a daemon's log is: the journal when its unit runs it, else `$REPL_RUN_DIR/RES.log`.
import Control
import FoundationEssentials

struct DaemonLog {
  private let path: String
  private let unit: ServiceUnit?

  init(_ resource: String, files: RunFiles, unit: ServiceUnit?) {
    path = files.log(resource)
    self.unit = unit
  }

  /// For a sentence that says where to look.
  var place: String {
    guard let unit else { return path }
    // What was started by hand with another configuration writes to the file, and so does repl-device.
    return exists(path) ? "\(unit.log) and \(path)" : unit.log
  }

  /// The end of it.
  var tail: String {
    let written = FileManager.default.contents(atPath: path).map {
      String(decoding: $0.suffix(64 << 10), as: UTF8.self)
    }
    return (unit?.lastLines ?? "") + (written ?? "")
  }
}
