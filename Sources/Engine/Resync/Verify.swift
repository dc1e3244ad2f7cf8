// Online verify (wire spec 10): VerifyS asks block by block, VerifyT answers with digests, VerifyS compares with its own and
// tells the result. Laws: a block is compared in one place of the write stream on both nodes, so that a write under way is
// no difference; what differs is marked on both and stays marked until a resync (D9).
import Base
import Protocol

struct Verify {
  private(set) var started: Instant?
  /// First sector, and the one behind the last.
  private(set) var start: UInt64 = 0
  private(set) var stop: UInt64 = 0
  /// VerifyS: next bit to ask for.
  private(set) var position: UInt64 = 0
  /// VerifyS: asked for and not answered, in order.
  private(set) var asked: [Resync.Asked] = []
  /// Blocks not yet compared.
  private(set) var total: UInt64 = 0
  private(set) var left: UInt64 = 0
  /// VerifyS: asked for and not compared, whether the peer or the own disk is at work.
  var underWay: UInt64 { (position - start / 8) - min(total - left, position - start / 8) }
  /// Blocks that differ, and those that could not be compared.
  private(set) var found: UInt64 = 0
  private(set) var skipped: UInt64 = 0
  /// Differing blocks in a row, for one line of the log.
  private var run: Range<UInt64>?
  private(set) var isEnding = false
  /// The application is at work: few blocks are under way, so that its requests do not wait behind them.
  private(set) var givesWay = false
  /// Sectors that the application, here or at the peer, had read and written when it was last looked at, and when that changed.
  private var used: UInt64 = 0
  private var lastUse: Instant?
  /// The next block is in use: new writes of the application wait behind it, so that it has its turn.
  private(set) var wanted: BlockRange?
  private(set) var nextStep: Instant?

  init() {}

  init(from start: UInt64, to stop: UInt64, used: UInt64, at now: Instant) {
    started = now
    self.start = start
    self.stop = stop
    position = start / 8
    total = (stop + 7) / 8 - start / 8
    left = total
    self.used = used
  }

  /// Has the application used the volume in the last 100 ms?
  mutating func hasSeenUse(_ sectors: UInt64, at now: Instant) -> Bool {
    if sectors != used {
      used = sectors
      lastUse = now
    }
    return lastUse.map { now < $0 + .milliseconds(100) } ?? false
  }
  mutating func giveWay(_ on: Bool) { givesWay = on }

  mutating func look(at moment: Instant) { nextStep = moment }
  mutating func stepIsTaken() { nextStep = nil }
  mutating func want(_ range: BlockRange?) { wanted = range }

  mutating func ask(for range: BlockRange, _ hold: RangeHold) {
    asked.append(.init(range: range, hold: hold))
    position += 1
  }

  /// What was asked for like this is answered. nil: nothing was.
  mutating func take(_ sector: UInt64, _ size: UInt32) -> Resync.Asked? {
    let at = asked.firstIndex { $0.range.start.value == sector && $0.range.bytes == UInt64(size) }
    return at.map { asked.remove(at: $0) }
  }

  mutating func skip() { skipped += 1 }

  /// Differing blocks; those that they do not follow are a line of their own, which is returned.
  mutating func differs(_ range: BlockRange) -> Range<UInt64>? {
    found += range.count.bits
    if let run, run.upperBound == range.start.value {
      self.run = run.lowerBound..<range.end.value
      return nil
    }
    defer { run = range.start.value..<range.end.value }
    return takeRun()
  }

  mutating func takeRun() -> Range<UInt64>? {
    defer { run = nil }
    return run
  }

  /// One block less. True: it was the last, and the end begins.
  mutating func isLastCompared() -> Bool {
    if left > 0 { left -= 1 }
    if left > 0 || isEnding || started == nil { return false }
    isEnding = true
    return true
  }

  /// The peer has ended it.
  mutating func finish() { left = 0 }

  /// What holds between two events.
  func check(_ conn: ConnectionState) {
    precondition(left <= total, "more blocks left than there were")
    precondition(started == nil || conn == .verifyS || conn == .verifyT, "a verify that is none")
    precondition(wanted == nil || conn == .verifyS, "blocks are wanted by no verify")
  }
}

extension VolumeState {
  var isVerifying: Bool { conn == .verifyS || conn == .verifyT }
}

extension Engine {
  /// block_id of P_OV_RESULT, the one handle that is a number (big endian).
  static let inSyncMark = UInt64(4711).bigEndian
  static let outOfSyncMark = UInt64(4712).bigEndian
  /// Requests under way at once; fewer while the application is at work. One that it makes then waits behind no more blocks than
  /// these on their way through disk, digest and socket.
  static let maxVerifyRequests = 1024
  static let maxVerifyRequestsGivingWay: UInt64 = 16

  // MARK: beginning

  mutating func verify(_ v: Int, start: Sector?, stop: Sector?, _ reply: ReplyTo) {
    let state = volumes[v].state
    let first = (start?.value ?? volumes[v].verifyFrom) & ~7
    var end = volumes[v].size.value
    if let stop, stop.value < end {
      if verifyCanStop {
        end = stop.value
      } else if state.conn == .connected {
        warn(
          .peerDevice(v), "\(settings.peerName) cannot be told where to stop (version \(link.version)): all is compared"
        )
      }
    }
    if digest(link.verifyAlgorithm) == nil, state.conn >= .connected {
      refuseChange(reply, -14, why: "verify-alg is \(unusable(link.verifyAlgorithm))")
    } else if state.conn < .connected {
      refuseChange(reply, -15)
    } else if state.conn == .verifyS {
      // What was asked for is under way.
      fx.append(.reply(reply, .done))
    } else if state.conn != .connected {
      refuseChange(reply, -8, why: "\(name(v)) is \(state.conn.name)")
    } else if state.disk != .upToDate || state.peerDisk != .upToDate {
      refuseChange(
        reply, -2,
        why: "the disks are \(state.disk.name) and \(state.peerDisk.name), and only UpToDate disks are verified")
    } else if first >= end {
      refuse(
        reply,
        .request(
          148, "Invalid setting", why: "sectors \(first) to \(end) of \(name(v)) hold nothing to verify",
          next: "name a range inside of its \(volumes[v].size.value) sectors"))
    } else if !pending.isNone {
      refuseChange(reply, -18, why: "another state change is under way")
    } else {
      pending = .verify(v, start: first, stop: end)
      wait(for: .change, reply)
      ask(v, mask: 0x1f0, value: 0x120)
    }
  }

  /// The peer has agreed.
  mutating func startVerifySource(_ v: Int, start: UInt64, stop: UInt64) {
    change(v) { $0.conn = .verifyS }
    guard volumes[v].state.conn == .verifyS else { return }
    beginVerify(v, start: start, stop: stop)
    askToVerify(v)
  }

  /// The end in front of the end of the device is told by P_STATE: to a peer that takes it so.
  private var verifyCanStop: Bool { link.version >= 97 && link.version != 100 }

  private mutating func beginVerify(_ v: Int, start: UInt64, stop: UInt64) {
    let used = volumes[v].counters.read + volumes[v].counters.written
    volumes[v].verify = Verify(from: start, to: stop, used: used, at: now)
    log(.peerDevice(v), "Starting Online Verify from sector \(start)")
  }

  // MARK: VerifyS

  mutating func askToVerify(_ v: Int) {
    guard volumes[v].state.conn == .verifyS, let data = link.data, volumes[v].hasDisk else { return }
    lookAtApplication(v)
    var limit = UInt64(min(Int(settings.net.maxBuffers) / 2, Self.maxVerifyRequests, shareOfPlaces))
    if volumes[v].verify.givesWay { limit = min(limit, Self.maxVerifyRequestsGivingWay) }
    refillBudget(v)
    while volumes[v].verify.underWay < limit, volumes[v].verify.position * 8 < volumes[v].verify.stop {
      guard hasBudget(v) else {
        volumes[v].verify.look(at: now + .milliseconds(100))
        return
      }
      let sector = volumes[v].verify.position * 8
      let range = BlockRange(Sector(sector), SectorCount(min(8, volumes[v].size.value - sector)))
      // The peer's writes and its answer have their order on the stream.
      guard !volumes[v].ranges.conflicts(range, with: [.appWrite, .resyncAsked, .resyncWrite]) else {
        // In use: the order is kept, it is tried again, and nobody new is let in.
        if volumes[v].verify.wanted != range {
          volumes[v].verify.want(range)
          lookAgain = true
        }
        volumes[v].verify.look(at: now + .milliseconds(10))
        return
      }
      if volumes[v].verify.wanted != nil {
        volumes[v].verify.want(nil)
        lookAgain = true
      }
      let hold = volumes[v].ranges.insert(range, .resyncAsked)
      volumes[v].verify.ask(for: range, hold)
      volumes[v].resync.pace.spend(range.count)
      let request = BlockRequest(sector: sector, blockID: syncerBlockID, size: UInt32(range.bytes))
      fx.append(.send(data, volumes[v].number, .verifyRequest(request), nil, notify: nil))
    }
  }

  /// Has it used the volume in the last 100 ms? With `c-min-rate 0` nothing gives way to it.
  private mutating func lookAtApplication(_ v: Int) {
    let used = volumes[v].counters.read + volumes[v].counters.written
    let hasUsed = volumes[v].verify.hasSeenUse(used, at: now)
    let isActive = volumes[v].requests.count > 0 || hasUsed
    volumes[v].verify.giveWay(isActive && volumes[v].settings.resync.minRate > 0)
  }

  /// P_OV_REPLY.
  mutating func verifyReplied(_ v: Int, _ request: BlockRequest, _ digest: [UInt8]) {
    // Left over from one that was broken off.
    guard volumes[v].state.conn == .verifyS, hasRoomForPeer(nil) else { return }
    guard let asked = volumes[v].verify.take(request.sector, request.size) else {
      breakLink(.protocolError, "P_OV_REPLY for sector \(request.sector) that was not asked for")
      return
    }
    let id = peerRequests.insert(
      PeerRequest(
        kind: .verifyCompare, volume: v, range: asked.range, blockID: syncerBlockID, flags: [], payload: nil,
        hold: asked.hold, connection: link.generation))
    digests[id.raw] = digest
    readInTurn(v, id)
  }

  /// P_NEG_RS_DREPLY while verifying: the peer cannot read its disk.
  mutating func verifyRefused(_ v: Int, _ ack: BlockAck) {
    guard let asked = volumes[v].verify.take(ack.sector, ack.size) else { return }
    volumes[v].ranges.remove(asked.hold)
    lookAgain = true
    volumes[v].verify.skip()
    verified(v)
  }

  // MARK: VerifyT

  /// P_OV_REQUEST.
  mutating func verifyRequested(_ v: Int, _ request: BlockRequest) {
    guard let range = named(v, "P_OV_REQUEST", request.sector, request.size, longest: longestBlock) else { return }
    guard request.sector % 8 == 0 else {
      breakLink(.protocolError, "P_OV_REQUEST at sector \(request.sector), where no block begins")
      return
    }
    guard hasRoomForPeer(nil) else { return }
    if volumes[v].state.conn == .verifyT, volumes[v].verify.started == nil {
      // The first one tells where it begins.
      beginVerify(v, start: request.sector, stop: volumes[v].size.value)
    }
    let id = peerRequests.insert(
      PeerRequest(
        kind: .verifyRead, volume: v, range: range, blockID: request.blockID, flags: [], payload: nil,
        connection: link.generation))
    volumes[v].peer.unacked.begin()
    readInTurn(v, id)
  }

  /// P_OV_RESULT.
  mutating func verifyResulted(_ v: Int, _ ack: BlockAck) {
    let range = named(v, "P_OV_RESULT", ack.sector, ack.size, longest: longestBlock, breaking: .networkFailure)
    guard let range else { return }
    if ack.blockID == Self.outOfSyncMark { differs(v, range) }
    if volumes[v].state.conn == .verifyT { verified(v) }
  }

  // MARK: comparing

  /// The block is nobody else's now, on this node.
  mutating func startVerifyRead(_ v: Int, _ id: SlotID) {
    let request = peerRequests[id]
    let isAsked = request.kind == .verifyRead
    guard volumes[v].hasDisk, volumes[v].state.disk == .upToDate, isAsked || volumes[v].state.conn == .verifyS,
      let digest = digest(link.verifyAlgorithm)
    else {
      if !isAsked {
        releasePeerRequest(id)
      } else if volumes[v].hasDisk, digest(link.verifyAlgorithm) != nil {
        // A kernel does not count a negative answer, and its verify would never end (K34).
        answerVerify(v, id, notEqual)
      } else {
        refuseRead(v, id, { .negativeResyncReply($0) })
      }
      return
    }
    if let hold = request.hold {
      volumes[v].ranges.become(.resyncWrite, hold)
    } else {
      peerRequests[id].hold = volumes[v].ranges.insert(request.range, .resyncRead)
    }
    examine(v, .verify, id, request.range, .digest(digest), into: nil)
  }

  mutating func verifyExamined(_ id: SlotID, _ finding: Finding) {
    let request = peerRequests[id]
    let v = request.volume
    if case .fault(let fault) = finding { diskFailed(v, fault, "read", request.range) }
    // What cannot be read is not equal; what has no digest here is not known.
    let isUnknown = finding == .unknown
    var own = notEqual
    if case .digest(let digest) = finding { own = digest }
    let isCurrent = request.connection == link.generation
    if request.kind == .verifyRead, isUnknown {
      refuseRead(v, id, { .negativeResyncReply($0) })
    } else if request.kind == .verifyRead {
      answerVerify(v, id, own)
    } else {
      let theirs = digests[id.raw]
      releasePeerRequest(id)
      if isCurrent, volumes[v].state.conn == .verifyS {
        if isUnknown { volumes[v].verify.skip() }
        let isEqual = isUnknown || own == theirs
        if !isEqual { differs(v, request.range) }
        sendMeta(
          .verifyResult(
            BlockAck(
              sector: request.range.start.value, blockID: isEqual ? Self.inSyncMark : Self.outOfSyncMark,
              size: UInt32(request.range.bytes), sequence: volumes[v].peer.nextSequence())), volumes[v].number)
        verified(v)
      }
    }
  }

  /// The digest of a block that cannot be read: zeroes, as DRBD sends them.
  private var notEqual: [UInt8] {
    [UInt8](repeating: 0, count: DigestName(rawValue: link.verifyAlgorithm)?.size ?? 1)
  }

  /// P_OV_REPLY to what VerifyS has asked for.
  private mutating func answerVerify(_ v: Int, _ id: SlotID, _ digest: [UInt8]) {
    let request = peerRequests[id]
    if request.connection == link.generation, let data = link.data {
      volumes[v].peer.unacked.end()
      let answer = BlockRequest(
        sector: request.range.start.value, blockID: request.blockID, size: UInt32(request.range.bytes))
      fx.append(.send(data, volumes[v].number, .verifyReply(answer, digest: digest), nil, notify: nil))
    }
    releasePeerRequest(id)
  }

  private mutating func differs(_ v: Int, _ range: BlockRange) {
    if volumes[v].isAttached { _ = volumes[v].backing.bitmap.set(range.bitsTouched) }
    if let run = volumes[v].verify.differs(range) { report(v, run) }
  }

  private mutating func report(_ v: Int, _ run: Range<UInt64>) {
    warn(.peerDevice(v), "Out of sync: start=\(run.lowerBound), size=\(run.count) (sectors)")
  }

  // MARK: the end

  /// One block less.
  private mutating func verified(_ v: Int) {
    if volumes[v].verify.isLastCompared() {
      // The ack of a ping comes behind every result: both know all of them then.
      sendPing(.verify, v)
    } else {
      askToVerify(v)
    }
  }

  mutating func verifyPinged(_ v: Int) {
    if volumes[v].state.isVerifying, volumes[v].verify.isEnding { finishVerify(v) }
  }

  mutating func finishVerify(_ v: Int) {
    let wasSource = volumes[v].state.conn == .verifyS
    volumes[v].verify.finish()
    let found = volumes[v].verify.found
    change(v) { $0.conn = .connected }
    // It ends a peer that counts to the end of the device.
    if wasSource, verifyCanStop { sendState(v) }
    if volumes[v].hasDisk { flushBitmap(v, lazy: true, then: .nothing) }
    if found > 0 { call(.outOfSync, v) }
  }

  /// Done or broken off.
  mutating func endVerify(_ v: Int) {
    if let run = volumes[v].verify.takeRun() { report(v, run) }
    let verify = volumes[v].verify
    for asked in verify.asked { volumes[v].ranges.remove(asked.hold) }
    let milliseconds = verify.started.map { (now - $0).nanoseconds / 1_000_000 } ?? 0
    if verify.left > 0 {
      let reached = verify.start + (verify.total - verify.left) * 8
      volumes[v].verifyFrom = reached
      log(.peerDevice(v), "Online Verify reached sector \(reached)")
    } else if verify.started != nil {
      volumes[v].verifyFrom = 0
      log(
        .peerDevice(v),
        "Online verify done after \(milliseconds) ms, \(verify.total * 4) KiB compared"
          + (verify.skipped > 0 ? ", \(verify.skipped) blocks could not be compared" : ""))
    }
    if verify.found > 0 {
      fail(.peerDevice(v), "Online verify found \(verify.found) 4k blocks out of sync!")
    }
    volumes[v].verify = Verify()
    lookAgain = true
  }

  mutating func verifyTick(_ v: Int) {
    if let due = volumes[v].verify.nextStep, now >= due {
      volumes[v].verify.stepIsTaken()
      askToVerify(v)
    }
  }
}
