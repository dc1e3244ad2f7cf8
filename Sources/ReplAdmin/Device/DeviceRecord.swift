// What `repladm` remembers about a block device it made, in `$REPL_RUN_DIR/RES-VOL.device`: enough to take it away again, also
// after the daemon or this program died. Law: the record is on disk before the thing it names exists.
import FoundationEssentials
import Glibc

struct DeviceRecord: Codable, Equatable {
  enum Means: String, Codable {
    case kernelNBD = "nbd"
    case deviceServer = "repl-device"
    /// Made by a version before `repl-device` was; such a device may be in use when the next version is installed.
    case nbdfuse
  }

  var means: Means
  /// The kernel's numbers of the block device, once it has one.
  var major: UInt32?
  var minor: UInt32?
  /// Paths to remove: the configured one first, then the links.
  var paths: [String] = []
  /// Where the server of the loop device's file is mounted, which process it is, and the name of the file.
  var fuseMount: String?
  var fuse: ProcessMark?
  var fuseFile: String?
  /// Which of the kernel's nbd devices, and the socket it was connected to.
  var nbdIndex: UInt32?
  var backend: String?
  /// The daemon that serves it.
  var daemon: ProcessMark?
  /// That daemon died and the next one was started: the only one that may serve this device on.
  var hasSuccessor: Bool?

  /// A process for good: ids are reused, start times are not.
  struct ProcessMark: Codable, Equatable {
    var pid: Int32
    var start: UInt64

    init?(_ pid: Int32?) {
      guard let pid, let start = processStart(pid) else { return nil }
      self.pid = pid
      self.start = start
    }

    var isAlive: Bool { processStart(pid) == start && !processIsZombie(pid) }
  }

  init(_ means: Means) { self.means = means }

  /// Nil when there is none, or it is not ours to read.
  init?(reading path: String) {
    guard let data = FileManager.default.contents(atPath: path) else { return nil }
    do {
      self = try JSONDecoder().decode(DeviceRecord.self, from: data)
    } catch {
      return nil
    }
  }

  func write(to path: String) throws(DeviceFault) {
    do {
      try JSONEncoder().encode(self).write(to: URL(filePath: path), options: .atomic)
    } catch {
      throw .cannot("write \(path)", "\(error)")
    }
  }
}

/// Why there is no block device. Promotion itself does not fail for it.
enum DeviceFault: Error, Equatable {
  /// No kernel nbd, no FUSE.
  case noMeans(String)
  case cannot(String, String)

  var text: String {
    switch self {
    case .noMeans(let why): why
    case .cannot(let what, let why): "could not \(what): \(why)"
    }
  }
}
