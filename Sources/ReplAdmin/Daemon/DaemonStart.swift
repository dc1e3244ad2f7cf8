// `repladm up` starts `repld RES` when it is not running: by its unit where systemd runs daemons (ServiceUnit), else in a session of
// its own, its output in `$REPL_RUN_DIR/RES.log`, the surroundings handed on by the environment. Done when the control socket answers; a daemon that ends before that is
// quoted.
import Base
import BlockIO
import Control
import FoundationEssentials
import Glibc

struct DaemonStart {
  let surroundings: Surroundings
  /// The file and the host name this program itself goes by.
  let configurationFile: String
  let nodeName: String

  func start(_ resource: String, deadline: Deadline) throws(Refusal) {
    let files = surroundings.runFiles
    if isStandard, let unit = ServiceUnit(resource, files: files, tools: surroundings.tools) {
      return try unit.start(deadline: deadline)
    }
    guard let program = surroundings.daemonProgram else {
      throw Refusal(
        "repld is not installed beside repladm (\(surroundings.programDirectory)) nor in the search path",
        next: "install it, or name it in the environment variable REPLD", exitCode: 20)
    }
    let path = files.log(resource)
    let log: Int32
    do throws(Errno) { log = try RunDirectory.openLog(path) } catch {
      let isOther = [ELOOP, ENXIO, EISDIR, EINVAL].contains(error.code)
      throw Refusal(
        "opening the log \(path): \(error)", why: isOther ? "it is a link or no plain file" : "",
        next: isOther ? "remove it" : "run repladm as root, or set REPL_RUN_DIR", exitCode: 20)
    }
    defer { close(log) }
    let before = lseek(log, 0, SEEK_END)
    try announce(resource, in: log, path)

    var environment = surroundings.environment
    environment["REPL_CONFIG"] = configurationFile
    environment["__DRBD_NODE__"] = nodeName
    environment[RunFiles.environmentKey] = files.directory
    var child: ChildProcess
    do {
      child = try ChildProcess.start(program, [resource], environment: environment, output: log, ownSession: true)
    } catch {
      guard case .notStarted(let why) = error else { preconditionFailure("starting fails in one way only") }
      throw Refusal(why, next: "check the installation of repld", exitCode: 20)
    }
    try waitUntilItAnswers(&child, resource, log: path, from: before, deadline: deadline)
  }

  /// Whether the unit would start the same daemon: it is given the name of the resource and nothing else.
  private var isStandard: Bool {
    surroundings.isRoot && surroundings.environment["REPLD"] == nil && nodeName == surroundings.hostName
      && configurationFile == ConfigurationPlace.find(option: nil, environment: [:])
  }

  /// A line of our own comes first: what the daemon has to say when it ends at once must find room, too.
  private func announce(_ resource: String, in log: Int32, _ path: String) throws(Refusal) {
    let opening = RunDirectory.endsInsideALine(log) ? "\n" : ""
    let line = Array("\(opening)repladm: starting repld \(resource) on \(nodeName)\n".utf8)
    guard write(log, line, line.count) == line.count else {
      throw Refusal(
        "repld was not started", why: "\(path) cannot be written (\(systemWords(errno)))",
        next: "make room in \(parent(path)), or choose another run directory (REPL_RUN_DIR)", exitCode: 20)
    }
  }

  private func waitUntilItAnswers(
    _ child: inout ChildProcess, _ resource: String, log: String, from offset: off_t, deadline: Deadline
  ) throws(Refusal) {
    let daemon = DaemonProcess(resource, files: surroundings.runFiles)
    var ended = false
    let settled = deadline.wait {
      if daemon.isRunning { return true }
      ended = child.hasEnded()
      return ended
    }
    if ended {
      let details = lines(of: log, from: offset)
      if let signal = child.signal {
        throw Refusal(
          "repld died at once, of \(Death.name(of: signal))", details: details,
          next: "see \(log) for the whole of it, and report it", exitCode: 20)
      }
      throw Refusal(
        "repld ended at once, with exit code \(child.status ?? 255)", details: details,
        next: "set right what it says and repeat repladm up \(resource)", exitCode: DaemonStart.exitCode(child.status))
    }
    guard settled else {
      child.stop()
      throw Refusal(
        "repld did not open its control socket within \(deadline.text)", details: lines(of: log, from: offset),
        next: "see \(log), or allow it more with --timeout", exitCode: 20)
    }
  }

  /// A code that admin spec 6 knows is passed up; anything else is an execution that failed.
  static func exitCode(_ status: Int32?) -> UInt8 {
    switch status {
    case 1, 10, 11, 17: UInt8(status ?? 20)
    default: 20
    }
  }

  func makeRunDirectory(_ path: String) throws(Refusal) {
    if mkdir(path, 0o755) == 0 || errno == EEXIST { return try checkRunDirectory(path) }
    if errno == ENOENT {
      do {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return try checkRunDirectory(path)
      } catch let refusal as Refusal {
        throw refusal
      } catch {
        errno = ENOENT
      }
    }
    throw Refusal(
      systemError("making the run directory \(path)"), next: "run repladm as root, or set REPL_RUN_DIR", exitCode: 20)
  }

  private func checkRunDirectory(_ path: String) throws(Refusal) {
    do throws(RunDirectoryRefusal) { try RunDirectory.check(path) } catch {
      throw Refusal(error.why, next: error.next, exitCode: 20)
    }
  }

  /// What the daemon said, the last lines of it.
  private func lines(of log: String, from offset: off_t) -> [String] {
    guard let data = FileManager.default.contents(atPath: log) else { return [] }
    let said = String(decoding: data.dropFirst(Int(max(0, offset))), as: UTF8.self)
    return said.split(separator: "\n").filter { !$0.hasPrefix("repladm: ") }.suffix(8).map(String.init)
  }
}
