// What each request of the control socket means: engine commands one after the other, something to wait for, or an answer
// at once. What only this process knows is judged here (clients that hold a volume open); everything else by the engine.
import Base
import BlockIO
import Config
import Control
import Engine
import MetaDisk

extension Reactor {
  mutating func serveControl() {
    while let (to, outcome) = control.popAnswer() { answered(to, outcome) }
    control.lookedAt()
    for place in 0..<control.connections.capacity where control.connections.contains(place) {
      while control.connections.contains(place), let line = control.connections[place].nextLine() {
        switch ControlLines.request(line) {
        case .success(let request): begin(request, place)
        case .failure(let refusal): reply(.refused(refusal), place)
        }
      }
      if control.connections[place].isOverlong {
        let refusal = ControlRefusal.notUnderstood("the line is longer than \(ControlConnection.longestLine) bytes")
        control.connections[place].put(ControlLines.line(.refused(refusal)), thenEnd: true)
      }
      lookAtJob(place)
    }
    control.submit(&ring)
    if ending == .goingDown, downIsDone, control.isQuiet { ending = .over }
  }

  mutating func reply(_ reply: ControlReply, _ place: Int) {
    control.connections[place].put(ControlLines.line(reply))
    control.finish(place)
  }

  /// `repladm -c FILE`: the resource is what this file says from now on.
  private mutating func read(from file: String) {
    if file == setup.configPath ?? setup.mainFile { return }
    setup.configPath = file
    setup.mainFile = file
    handlers.follow(setup)
  }

  // MARK: Beginning

  private mutating func begin(_ request: ControlRequest, _ place: Int) {
    let deadline = request.timeoutMilliseconds.map {
      now + .milliseconds(min($0, 1_000_000_000))
    }
    var job = ControlConnection.Job(
      command: request.command, steps: [], wait: .engine, deadline: deadline, nextProgress: now)
    if ending != .running, request.command != .status {
      reply(.refused(.leaving(setup.hosted.name)), place)
      return
    }
    if control.connections[place].isReader, !request.command.onlyReads {
      reply(.refused(.notForReaders), place)
      return
    }
    if let file = request.configurationFile { read(from: file) }
    switch request.command {
    case .status: reply(.status(status()), place)
    case .exportURI(let volume):
      if let refusal = unknown(volume) { return reply(.refused(refusal), place) }
      reply(.text(setup.files.exportURI(setup.hosted.name, volume)), place)
    case .metadata(let volume): reply(superblock(volume), place)
    case .waitConnect(let waitAfterSb):
      job.wait = .connect
      job.waitsWhileStandAlone = waitAfterSb
      control.connections[place].job = job
    case .waitSync(let waitAfterSb):
      job.wait = .sync
      job.waitsWhileStandAlone = waitAfterSb
      control.connections[place].job = job
    case .watch: beginWatching(job, place)
    case .adjust: adjust(job, place)
    case .adjustPart(let skipDisk, let skipNet, let discard):
      adjust(job, place, skipDisk: skipDisk, skipNet: skipNet, discardMyData: discard)
    case .adjustPlan(let skipDisk, let skipNet): planAdjust(place, skipDisk: skipDisk, skipNet: skipNet)
    case .addMinor(let volume, let minor): adjustVolume(volume, minor: minor, job, place)
    case .removeMinor(let volume): adjustVolume(volume, minor: nil, job, place)
    case .changeOptions(let section, let volume, let settings, let setDefaults):
      changeOptions(section, volume, settings, setDefaults: setDefaults, job, place)
    case .show(let json, let defaults):
      let hosted = setup.hosted
      reply(.text(json ? Show.json(of: hosted, defaults: defaults) : Show.text(of: hosted, defaults: defaults)), place)
    default:
      if let refusal = standsAgainst(request.command) { return reply(.refused(refusal), place) }
      switch steps(request.command) {
      case .success(let steps): run(steps, job, place)
      case .failure(let refusal): reply(.refused(refusal), place)
      }
    }
  }

  /// Gives the engine the first of these commands; the others follow when it is done.
  mutating func run(_ steps: [EngineCommand], _ job: ControlConnection.Job, _ place: Int) {
    guard let first = steps.first else { return reply(.done, place) }
    var job = job
    job.steps = Array(steps.dropFirst())
    control.connections[place].job = job
    let to = control.replyTo(place)
    prepare(first)
    handle(.command(first, to))
  }

  /// Clients that use a volume forbid it to be taken away.
  private mutating func standsAgainst(_ command: ControlCommand) -> ControlRefusal? {
    switch command {
    case .secondary(let force):
      if force { exports.hangUpAll() }
    case .down: break
    default: return nil
    }
    let users = exports.users
    guard users > 0 else { return nil }
    return ControlRefusal(
      .deviceInUse, details: exports.userNames(),
      next: "unmount the file system or end the program that uses the volume, then repeat the command")
  }

  private mutating func prepare(_ command: EngineCommand) {
    switch command {
    case .secondary, .down:
      isDemoting = true
      if case .down = command { ending = .goingDown }
      refreshExports()
    default: break
    }
  }

  private func steps(_ command: ControlCommand) -> Result<[EngineCommand], ControlRefusal> {
    func each(_ volume: VolumeNumber?, _ make: (VolumeNumber) -> EngineCommand) -> Result<
      [EngineCommand], ControlRefusal
    > {
      if let volume {
        if let refusal = unknown(volume) { return .failure(refusal) }
        return .success([make(volume)])
      }
      return .success(setup.hosted.volumes.map { make($0.number) })
    }
    func toPeer(_ peer: String?, _ step: EngineCommand) -> Result<[EngineCommand], ControlRefusal> {
      guard let configured = setup.hosted.peers.first else {
        return .failure(
          ControlRefusal(
            .noNetConfig, why: "\(setup.hosted.name) has no peer in the configuration",
            next: "add the other host to the file, then: repladm adjust \(setup.hosted.name)", exitCode: 10))
      }
      if let peer, setup.hosted.peers(called: peer).first?.name != configured.name {
        return .failure(
          ControlRefusal(
            .invalidRequest, why: "\(setup.hosted.name) has no peer '\(peer)'",
            next: "its peer is \(configured.name)", exitCode: 10))
      }
      return .success([step])
    }
    switch command {
    case .primary(let force): return .success([.primary(force: force)])
    case .secondary: return .success([.secondary])
    case .attach(let volume): return each(volume) { .attach($0) }
    case .detach(let volume, let force): return each(volume) { .detach($0, force: force) }
    case .connect(let peer, let discard, let tentative):
      return toPeer(peer, .connect(discardMyData: discard, tentative: tentative))
    case .disconnect(let peer, let force): return toPeer(peer, .disconnect(force: force))
    case .invalidate(let volume, _): return each(volume) { .invalidate($0) }
    case .invalidateRemote(let volume, _): return each(volume) { .invalidateRemote($0) }
    case .outdate(let volume): return each(volume) { .outdate($0) }
    case .newCurrentUUID(let volume, let clear): return each(volume) { .newCurrentUUID($0, clearBitmap: clear) }
    case .pauseSync(let volume): return each(volume) { .pauseSync($0) }
    case .resumeSync(let volume): return each(volume) { .resumeSync($0) }
    case .verify(let volume, let start, let stop):
      return each(volume) { .verify($0, start: start.map { Sector($0) }, stop: stop.map { Sector($0) }) }
    case .resize(let volume, let sectors, let assumeClean, let assumePeerHasSpace):
      return each(volume) {
        .resize(
          $0, limit: sectors.map { SectorCount($0) }, assumeClean: assumeClean, assumePeerHasSpace: assumePeerHasSpace)
      }
    case .suspendIO: return .success([.suspendIO])
    case .resumeIO: return .success([.resumeIO])
    case .down: return .success([.down])
    case .status, .waitConnect, .waitSync, .watch, .adjust, .adjustPart, .adjustPlan, .addMinor, .removeMinor,
      .metadata, .exportURI, .changeOptions, .show:
      preconditionFailure("\(command.name) is answered without the engine")
    }
  }

  private func unknown(_ volume: VolumeNumber) -> ControlRefusal? {
    if setup.hosted.volume(volume) != nil { return nil }
    return ControlRefusal(
      .unknownMinor, why: "\(setup.hosted.name) has no volume \(volume.value)",
      next: "see repladm dump \(setup.hosted.name)")
  }

  private func superblock(_ volume: VolumeNumber) -> ControlReply {
    if let refusal = unknown(volume) { return .refused(refusal) }
    guard engine.snapshot().volumes.first(where: { $0.number == volume })?.metaFlags != nil else {
      return .refused(
        ControlRefusal(
          .noDisk, why: "\(setup.hosted.name)/\(volume.value) is Diskless",
          next: "repladm attach \(setup.hosted.name)/\(volume.value)"))
    }
    var bytes = [UInt8](repeating: 0, count: 4096)
    bytes.withUnsafeMutableBytes { engine.render(.superblock, of: volume, into: $0) }
    return .superblock(bytes)
  }

  // MARK: Going on

  private mutating func answered(_ to: ReplyTo, _ outcome: Outcome) {
    if to == ControlServer.ownReply { return ownCommandEnded(outcome) }
    if volumesChanged(to, outcome) { return }
    let place = control.place(of: to)
    let command = place.flatMap { control.connections[$0].job?.command }
    demotionEnded(command, outcome)
    guard let place, var job = control.connections[place].job else { return }
    if case .remarked(let text) = outcome { job.remarks.append(text) }
    switch outcome {
    case .refused(let refusal): reply(.refused(ControlRefusal(refusal)), place)
    case .done, .remarked:
      guard job.steps.isEmpty else { return run(job.steps, job, place) }
      if let remark = remark(on: job.command) { job.remarks.append(remark) }
      reply(job.remarks.isEmpty ? .done : .text(job.remarks.joined(separator: "\n")), place)
    }
  }

  /// The connection is begun; that its address cannot be listened on yet is worth a word to who asked for it.
  private func remark(on command: ControlCommand) -> String? {
    switch command {
    case .connect, .adjust: break
    default: return nil
    }
    guard let refusal = peers.listenRefusal, let peer = setup.hosted.peers.first else { return nil }
    let pause = peer.net.connectInt.nanoseconds / 1_000_000_000
    return "repld cannot listen for \(peer.name) now, and tries again every \(pause) s: \(refusal.text)"
  }

  private mutating func demotionEnded(_ command: ControlCommand?, _ outcome: Outcome) {
    switch (command, outcome) {
    case (.down, .done): downIsDone = true
    case (.down, .refused): ending = .running
    case (nil, _):
      // The program has left; what it asked for has still ended.
      if ending == .goingDown, outcome == .done { downIsDone = true }
    default: break
    }
    if isDemoting, ending == .running {
      isDemoting = false
      stateMoved = true
    }
  }

  private mutating func lookAtJob(_ place: Int) {
    guard control.connections.contains(place), let job = control.connections[place].job else { return }
    if job.wait == .watch { return lookAtWatcher(place, job) }
    if job.wait != .engine, isReached(job) { return reply(.done, place) }
    if let deadline = job.deadline, now >= deadline {
      return reply(.refused(.waitTimedOut(waitedFor(job), next: adviceForWaiter())), place)
    }
    if job.wait == .sync, now >= job.nextProgress {
      control.connections[place].job?.nextProgress = now + .milliseconds(500)
      if control.connections[place].isQuiet {
        control.connections[place].put(ControlLines.line(.progress(status())))
      }
    }
  }

  private func waitedFor(_ job: ControlConnection.Job) -> String {
    let peer = setup.hosted.peers.first?.name ?? "the peer"
    switch job.wait {
    case .connect: return "the connection to \(peer)"
    case .sync: return "the resync with \(peer)"
    case .engine, .watch: return "the end of '\(job.command.name)'"
    }
  }

  private func adviceForWaiter() -> String {
    let name = setup.hosted.name
    guard engine.snapshot().connection < .connected, let peer = setup.hosted.peers.first?.name else {
      return "see repladm status \(name)"
    }
    if let refusal = peers.listenRefusal { return "this node cannot listen for \(peer): \(refusal.text)" }
    guard let silence = peers.silence else { return "see repladm status \(name)" }
    return "\(peer) does not answer (\(silence)): see that \(name) is up there and that the network lets it through"
  }

  private func isReached(_ job: ControlConnection.Job) -> Bool {
    let snapshot = engine.snapshot()
    if setup.hosted.peers.isEmpty { return true }
    if snapshot.connection == .standAlone { return !job.waitsWhileStandAlone }
    switch job.wait {
    case .engine, .watch: return false
    case .connect: return snapshot.volumes.allSatisfy { $0.replication >= .connected }
    case .sync: return snapshot.volumes.allSatisfy { $0.replication == .connected }
    }
  }

  // MARK: Signals

  mutating func obey(signal: Int32) {
    guard signal != 1 else {
      journal.info("SIGHUP: nothing to read again; use repladm adjust \(setup.hosted.name)")
      return
    }
    guard ending == .running else {
      journal.warning("second signal: ending at once")
      ending = .over
      return
    }
    journal.info("signal \(signal): going down")
    if exports.users > 0 { journal.warning("hanging up on \(exports.users) NBD clients") }
    exports.close()
    prepare(.down)
    handle(.command(.down, ControlServer.ownReply))
  }

  private mutating func ownCommandEnded(_ outcome: Outcome) {
    switch outcome {
    case .done, .remarked: downIsDone = true
    case .refused(let refusal):
      journal.error("going down was refused (\(refusal.what): \(refusal.why)); ending as it is")
      downIsDone = true
    }
  }
}

extension ControlRefusal {
  static let notForReaders = ControlRefusal(
    "this command is for root", why: "the status socket takes status, events2 and waits only", next: "run it as root",
    exitCode: 20)

  static func leaving(_ resource: String) -> ControlRefusal {
    ControlRefusal(
      .inTransientState, why: "the repld of \(resource) is going down", next: "repeat the command in a moment")
  }
}
