// The `repl-device` of one resource as `repladm` sees it: started when the first volume needs it, asked by one packet at a time. Law:
// every question has a limit, and a server that is just ending is not taken for one that serves.
import Base
import BlockIO
import Control
import FoundationEssentials
import Glibc

struct DeviceServerProcess {
  let resource: String
  let surroundings: Surroundings

  private var files: RunFiles { surroundings.runFiles }
  /// How long it may take to answer: it never waits for anything itself.
  private static let patienceSeconds = 3
  /// Its exit code when another one has the lock.
  private static let heldCode: Int32 = 3

  /// The process that listens; nil: none does.
  var running: DeviceRecord.ProcessMark? {
    do throws(Errno) {
      let socket = try PacketSocket.connected(to: files.deviceSocket(resource), seconds: 1)
      return DeviceRecord.ProcessMark(socket.peer)
    } catch {
      return nil
    }
  }

  /// Asks, and throws what is no answer. `passing`: a descriptor that the server gets a copy of.
  @discardableResult
  func ask(_ request: DeviceRequest, passing passed: Int32? = nil) throws(DeviceFault) -> DeviceReply {
    let text: String
    do throws(Errno) {
      let socket = try PacketSocket.connected(
        to: files.deviceSocket(resource), seconds: DeviceServerProcess.patienceSeconds)
      try socket.send(request.text, passing: passed)
      text = try socket.receive().text
    } catch {
      throw .cannot("ask repl-device for \(resource)", error.description)
    }
    guard let reply = DeviceReply(text) else {
      throw .cannot("ask repl-device for \(resource)", text.isEmpty ? "it hung up" : "it answered '\(text)'")
    }
    if case .refused(let why) = reply { throw .cannot("serve a volume of \(resource) by repl-device", why) }
    return reply
  }

  /// What it says of a volume; nil: it does not serve it, or does not answer.
  func shown(_ volume: VolumeNumber) -> DeviceReply.Shown? {
    do throws(DeviceFault) {
      guard case .state(let shown) = try ask(.state) else { return nil }
      return shown.first { $0.volume == volume }
    } catch {
      return nil
    }
  }

  /// The one that runs, or a new one.
  func start(_ deadline: Deadline) throws(DeviceFault) -> DeviceRecord.ProcessMark {
    while true {
      if let running { return running }
      if let made = try startOne(deadline) { return made }
      // Another one holds the lock: it is about to serve, or to end.
      if deadline.hasPassed {
        throw .cannot("start repl-device", "another one for \(resource) holds \(files.deviceLock(resource))")
      }
      pause(milliseconds: 20)
    }
  }

  /// Nil: there is one already.
  private func startOne(_ deadline: Deadline) throws(DeviceFault) -> DeviceRecord.ProcessMark? {
    if let unit = DeviceServerUnit(resource, surroundings) {
      try unit.start(deadline: deadline)
      let patience = Deadline(after: min(10, deadline.secondsLeft ?? 10))
      var mark: DeviceRecord.ProcessMark?
      guard
        patience.wait(until: {
          mark = running; return mark != nil
        })
      else {
        throw .cannot("start \(unit.name)", "it was not ready within \(patience.text): see journalctl -u \(unit.name)")
      }
      return mark
    }
    guard let program = surroundings.deviceProgram else { throw .noMeans("repl-device is not installed") }
    let path = files.log(resource)
    let log: Int32
    do throws(Errno) { log = try RunDirectory.openLog(path) } catch {
      throw .cannot("open \(path)", error.description)
    }
    defer { close(log) }
    let before = lseek(log, 0, SEEK_END)
    var environment = surroundings.environment
    environment[RunFiles.environmentKey] = files.directory
    // What it promotes and demotes by.
    if let path = surroundings.lastingPath, lastComponent(path) == "repladm" { environment["REPLADM"] = path }
    var child: ChildProcess
    do {
      child = try ChildProcess.start(program, [resource], environment: environment, output: log, ownSession: true)
    } catch {
      guard case .notStarted(let why) = error else { preconditionFailure("starting fails in one way only") }
      throw .cannot("start repl-device", why)
    }
    var ended = false
    var mark: DeviceRecord.ProcessMark?
    let settled = deadline.wait {
      mark = running
      if mark == nil { ended = child.hasEnded() }
      return mark != nil || ended
    }
    if let mark { return mark }
    if ended {
      if child.status == DeviceServerProcess.heldCode { return nil }
      throw .cannot("start repl-device", lastLine(of: path, from: before))
    }
    if !settled { child.stop() }
    throw .cannot("start repl-device", "it was not ready within \(deadline.text)")
  }

  private func lastLine(of log: String, from offset: off_t) -> String {
    let said = FileManager.default.contents(atPath: log)?.dropFirst(Int(max(0, offset))) ?? Data()
    let lines = String(decoding: said, as: UTF8.self).split(separator: "\n")
    return lines.last.map(String.init) ?? "it ended without a word"
  }

  /// Ends a server that has no volume any more.
  func end(_ server: DeviceRecord.ProcessMark) throws(DeviceFault) {
    guard try ask(.leave) == .leaving else { return }
    guard Deadline(after: 5).wait(until: { !server.isAlive }) else {
      throw .cannot("end repl-device", "process \(server.pid) does not end")
    }
  }

  /// Ends it when it has neither a volume nor a node, also one that hangs, and removes what one that was killed has left.
  func endWhenIdle() {
    if let server = running {
      do throws(DeviceFault) { try end(server) } catch {
        kill(server.pid, SIGKILL)
        _ = Deadline(after: 3).wait { !server.isAlive }
      }
    }
    removeLeftovers()
  }

  /// What one that was killed leaves.
  func removeLeftovers() {
    guard running == nil, !PidFile.isHeld(files.deviceLock(resource)) else { return }
    for place in [files.deviceMount(resource), files.deviceNodes(resource)] {
      umount2(place, Int32(MNT_DETACH))
      rmdir(place)
    }
    unlink(files.deviceSocket(resource))
    unlink(files.deviceLock(resource))
  }
}
