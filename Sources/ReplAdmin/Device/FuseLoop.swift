// Second best means: `nbdfuse` shows the export as one file, a loop device makes a block device of it. nbdfuse runs in a
// session of its own and outlives this program; it ends when its directory is unmounted.
import Base
import Control
import FoundationEssentials
import Glibc

struct FuseLoop {
  let resource: String
  let volume: VolumeNumber
  let surroundings: Surroundings

  private var files: RunFiles { surroundings.runFiles }
  private var directory: String { files.fuseMount(resource, volume) }
  private var pidFile: String { directory + ".pid" }
  private static let fileName = "export"

  /// Nil when it can be tried, else what is missing.
  var missing: String? {
    if surroundings.tools.find("nbdfuse") == nil { return "nbdfuse is not installed (Debian package libnbd-bin)" }
    if access("/dev/fuse", R_OK | W_OK) != 0 { return "/dev/fuse cannot be opened (modprobe fuse)" }
    return nil
  }

  func attach(node: String, record: inout DeviceRecord, recordPath: String, deadline: Deadline) throws(DeviceFault) {
    record.fuseMount = directory
    try record.write(to: recordPath)
    if mkdir(directory, 0o700) != 0, errno != EEXIST { throw .cannot("make \(directory)", systemWords(errno)) }
    record.fuse = try startServer(deadline)
    try record.write(to: recordPath)
    var written = record
    try LoopDevice.attach("\(directory)/\(FuseLoop.fileName)", node: node) { (number) throws(DeviceFault) in
      written.major = number.major
      written.minor = number.minor
      try written.write(to: recordPath)
    }
    record = written
  }

  /// The loop device of a record; nil before there was one.
  static func loop(of record: DeviceRecord, node: String) -> LoopDevice? {
    guard let major = record.major, let minor = record.minor, let mount = record.fuseMount else { return nil }
    return LoopDevice(number: BlockNumber(major: major, minor: minor), node: node, file: "\(mount)/\(fileName)")
  }

  /// False when the loop device is held by somebody; then everything stays as it is.
  static func detach(_ record: DeviceRecord, node: String, deadline: Deadline) -> Bool {
    if let loop = loop(of: record, node: node), !loop.detach() { return false }
    endServer(record, deadline: deadline)
    return true
  }

  /// Takes down whatever is left, whether it works or not. First the server: what waits for a daemon that hangs ends with an error
  /// then, and nothing below waits for it.
  static func abandon(_ record: DeviceRecord, node: String) {
    if let fuse = record.fuse, fuse.isAlive {
      kill(fuse.pid, SIGKILL)
      _ = Deadline(after: 3).wait { !fuse.isAlive }
    }
    loop(of: record, node: node)?.detachWhenUnused()
    guard let directory = record.fuseMount else { return }
    umount2(directory, Int32(MNT_DETACH))
    rmdir(directory)
  }

  private func startServer(_ deadline: Deadline) throws(DeviceFault) -> DeviceRecord.ProcessMark? {
    guard let program = surroundings.tools.find("nbdfuse") else { throw .noMeans("nbdfuse is not installed") }
    unlink(pidFile)
    defer { unlink(pidFile) }
    let log = open(files.log(resource), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o640)
    defer { if log >= 0 { close(log) } }
    let before = log >= 0 ? lseek(log, 0, SEEK_END) : 0
    let arguments = ["-P", pidFile, "\(directory)/\(FuseLoop.fileName)", files.exportURI(resource, volume)]
    var child: ChildProcess
    do {
      child = try ChildProcess.start(
        program, arguments, environment: surroundings.environment, output: log >= 0 ? log : nil, ownSession: true)
    } catch {
      guard case .notStarted(let why) = error else { preconditionFailure("starting fails in one way only") }
      throw .cannot("start nbdfuse", why)
    }
    let pidFile = pidFile
    let ready = deadline.wait { child.hasEnded() || access(pidFile, F_OK) == 0 }
    if child.hasEnded() {
      throw .cannot("show the export with nbdfuse", lastLine(of: files.log(resource), from: before))
    }
    guard ready else {
      child.stop()
      throw .cannot("show the export with nbdfuse", "it was not ready within \(deadline.text)")
    }
    return DeviceRecord.ProcessMark(child.pid)
  }

  private func lastLine(of log: String, from offset: off_t) -> String {
    let said = FileManager.default.contents(atPath: log)?.dropFirst(Int(max(0, offset))) ?? Data()
    let lines = String(decoding: said, as: UTF8.self).split(separator: "\n")
    return lines.last.map(String.init) ?? "it ended without a word"
  }

  private static func endServer(_ record: DeviceRecord, deadline: Deadline) {
    if let directory = record.fuseMount {
      let unmounted = Deadline(after: 5).wait {
        umount2(directory, 0) == 0 || errno == EINVAL || errno == ENOENT
      }
      if !unmounted { umount2(directory, Int32(MNT_DETACH)) }
      rmdir(directory)
    }
    guard let fuse = record.fuse else { return }
    // Unmounting ends it, after its last write and flush were answered.
    if deadline.wait(until: { !fuse.isAlive }) { return }
    for signal in [SIGTERM, SIGKILL] where fuse.isAlive {
      kill(fuse.pid, signal)
      _ = Deadline(after: 2).wait { !fuse.isAlive }
    }
  }
}
