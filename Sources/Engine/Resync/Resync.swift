// A volume's resync, on either side, and what both sides do: counting, pausing, lazily writing the bitmap. Laws: what is under way
// changes only by what has happened, and every step of the end comes after the one before it.
import Base
import Protocol

struct Resync {
  /// A request of the target that is not answered yet.
  struct Asked {
    var range: BlockRange
    var hold: RangeHold
    /// The source has written there since, without us: only the block itself, which comes behind that word, makes it equal.
    fileprivate(set) var overtaken = false
  }
  enum Ending: Equatable {
    case none
    /// Target: what was received is being made durable.
    case flushing
    /// Waiting for the ack of the last ping.
    case pinging
    /// Target: bitmap and superblock say UpToDate; then the peer hears of it.
    case recording
  }
  /// Bits at the start.
  private(set) var total: UInt64 = 0
  /// Bits that could not be read or written.
  private(set) var failed: UInt64 = 0
  /// Blocks whose checksums were equal.
  private(set) var same: UInt64 = 0
  /// Target: own checksums are sent instead of asking for data.
  private(set) var usesChecksums = false
  private(set) var number: UInt64 = 0
  private(set) var started: Instant?
  /// Target: the metadata says Inconsistent, blocks may be overwritten.
  private(set) var ready = false
  /// Target: before-resync-target runs; nothing is asked for until it has ended.
  private(set) var preparing: WorkID?
  private(set) var position: UInt64 = 0
  /// The application writes to these blocks without a break: its next writes to them wait until they have been asked for.
  private(set) var wanted: BlockRange?
  /// The end of the bitmap has been reached once: what is left is in use again and again.
  private(set) var insists = false
  private(set) var asked: [Asked] = []
  private(set) var askedBytes: UInt64 = 0
  /// Received and not yet written.
  private(set) var writing = 0
  private(set) var ending = Ending.none
  /// Source: the sync UUID that is sent once it is durable, by this write of the superblock.
  private(set) var announces: (sync: UInt64, write: UInt64)?
  /// Source: the target has said that it is done (9.6 step 5).
  private(set) var noticed = false
  /// Source: the target's metadata say that its data are old. Its bitmap comes behind that, and so does its first request.
  private(set) var targetHasRecorded = false
  /// The peer is given until then to take the next step: to go on with the exchange of bitmaps (K29), or, as a target some of
  /// whose blocks were refused, to ask for more or to say that it is done (K22, K27).
  private(set) var patience: Instant?
  /// Source: bits of blocks that were sent and not acknowledged.
  private(set) var unconfirmed: UInt64 = 0
  /// Requests and blocks of earlier resyncs on this connection that the peer has not answered. Such an answer must not count for
  /// a block of this resync: before the P_PING_ACK of its first ping the target requests no block, and the source accepts no ack.
  private(set) var stragglers: UInt64 = 0
  /// Next look for work: the pace, or a block that was in use.
  private(set) var nextStep: Instant?
  private(set) var lazyWrite: Instant?
  /// A verify has no other.
  var pace = Pace()

  var deadline: Instant? {
    func sooner(_ a: Instant?, _ b: Instant?) -> Instant? {
      guard let a, let b else { return a ?? b }
      return min(a, b)
    }
    return sooner(nextStep, sooner(lazyWrite, patience))
  }

  // MARK: beginning

  mutating func begin(number: UInt64, bits: UInt64) {
    precondition(asked.isEmpty && writing == 0 && ending == .none, "a resync begins in the middle of another")
    self.number = number
    total = bits
    // Blocks of an earlier resync may have failed after its end.
    failed = 0
    patience = nil
  }

  mutating func run(usesChecksums: Bool, at now: Instant) {
    self.usesChecksums = usesChecksums
    started = now
    writeLazily(at: now)
  }

  /// Those of the resync that has ended, on this connection.
  mutating func expectStragglers(of ended: Resync) {
    stragglers = ended.stragglers + ended.unconfirmed + UInt64(ended.asked.count)
  }
  mutating func stragglersHaveCome() { stragglers = 0 }

  mutating func prepare(by handler: WorkID) { preparing = handler }
  mutating func isPrepared() { preparing = nil }
  mutating func becomeReady() { ready = true }

  // MARK: time

  mutating func look(at moment: Instant) { nextStep = moment }
  mutating func stepIsTaken() { nextStep = nil }
  mutating func writeLazily(at now: Instant) { lazyWrite = now + .seconds(2) }
  mutating func wait(until moment: Instant) { patience = moment }
  mutating func waitNoLonger() { patience = nil }

  // MARK: the target's requests

  /// Bits before this one have been looked at.
  mutating func goOn(at bit: UInt64) { position = bit }

  /// Once more from the front.
  mutating func startOver() {
    position = 0
    insists = true
  }

  mutating func want(_ range: BlockRange?) { wanted = range }

  mutating func ask(for range: BlockRange, _ hold: RangeHold) {
    precondition(ready && ending == .none, "a block is asked for outside a resync")
    asked.append(Asked(range: range, hold: hold))
    askedBytes += range.bytes
    pace.spend(range.count)
  }

  /// What was asked for like this is answered. nil: nothing was.
  mutating func take(_ sector: UInt64, _ size: UInt32) -> Asked? {
    for (i, one) in asked.enumerated() where one.range.start.value == sector && one.range.bytes == UInt64(size) {
      asked.swapAt(i, asked.count - 1)
      asked.removeLast()
      askedBytes -= one.range.bytes
      return one
    }
    return nil
  }

  mutating func overtake(_ range: BlockRange) {
    for i in asked.indices where asked[i].range.overlaps(range) { asked[i].overtaken = true }
  }

  mutating func blockArrived() { writing += 1 }
  mutating func blockEnded() {
    precondition(writing > 0, "more blocks written than arrived")
    writing -= 1
  }

  // MARK: counting

  mutating func fail(_ range: BlockRange) { failed += range.count.bits }
  mutating func isSame(_ range: BlockRange) { same += range.count.bits }
  mutating func send(_ range: BlockRange) { unconfirmed += range.count.bits }
  mutating func confirm(_ range: BlockRange) { unconfirmed -= min(unconfirmed, range.count.bits) }

  // MARK: the source

  mutating func announce(_ sync: UInt64, write: UInt64) { announces = (sync, write) }
  mutating func isAnnounced() { announces = nil }
  mutating func targetHasRecorded(_ recorded: Bool) { targetHasRecorded = recorded }
  mutating func targetIsDone() { noticed = true }

  // MARK: the end

  /// The target goes flush, ping, record; the source only pings. A ping that finds blocks marked anew is taken back.
  mutating func end(_ next: Ending) {
    let isLegal =
      switch (ending, next) {
      case (.none, .flushing), (.none, .pinging), (.flushing, .pinging), (.pinging, .none), (.pinging, .recording): true
      default: false
      }
    precondition(isLegal, "a step of the end of a resync out of order")
    ending = next
  }

  /// What holds between two events; `arrived`: blocks of this resync in the table of requests.
  func check(_ conn: ConnectionState, arrived: Int) {
    precondition(
      asked.isEmpty || conn == .syncTarget || conn == .pausedSyncT, "resync requests outside a resync")
    precondition(
      askedBytes == asked.reduce(0) { $0 + $1.range.bytes },
      "another number of bytes than the requests of the resync have")
    precondition(writing == arrived, "another number of resync blocks is being written")
    precondition(wanted == nil || conn == .syncTarget, "blocks are wanted by no resync")
    precondition(ending == .none || started != nil, "the end of a resync that has not begun")
  }
}

extension Engine {
  /// Everything a resync needs at its start, on both sides.
  mutating func beginResync(_ v: Int) {
    resyncNumber &+= 1
    volumes[v].resync.begin(number: resyncNumber, bits: volumes[v].outOfSync)
    if volumes[v].state.isSyncTarget {
      volumes[v].trail.begin(bits: volumes[v].backing.bitmap.bits)
      volumes[v].backing.bitmap.noteChangeOfMarked()
    }
    if volumes[v].resync.stragglers > 0 { sendPing(.stragglers, v) }
    volumes[v].resync.run(usesChecksums: volumes[v].state.isSyncTarget && comparesChecksums(v), at: now)
    log(.peerDevice(v), "began resync, will sync \(volumes[v].outOfSync * 4) KiB [\(volumes[v].outOfSync) bits set]")
  }

  private func comparesChecksums(_ v: Int) -> Bool {
    guard digest(link.checksumAlgorithm) != nil, link.version >= 89 else { return false }
    return !settings.net.checksumsAfterCrashOnly || volumes[v].backing.crashedPrimary
  }

  /// The resync is over or broken off: bits and generations say what is left.
  mutating func endResync(_ v: Int) {
    let resync = volumes[v].resync
    for asked in resync.asked { volumes[v].ranges.remove(asked.hold) }
    if let started = resync.started {
      let done = resync.total &- min(resync.total, volumes[v].outOfSync)
      let milliseconds = (now - started).nanoseconds / 1_000_000
      log(
        .peerDevice(v),
        "resync ended after \(milliseconds) ms, \(done * 4) KiB transferred"
          + (resync.usesChecksums ? ", \(resync.same * 4) KiB of them were equal" : ""))
    }
    volumes[v].resync = Resync()
    if volumes[v].state.conn >= .connected {
      volumes[v].resync.expectStragglers(of: resync)
    }
    dropReceiver(v)
    volumes[v].exchange = Exchange()
    lookAgain = true
  }

  /// What answers an earlier resync of this connection has come: the peer handled it before the ping.
  mutating func stragglersHaveCome(_ v: Int) {
    // An earlier ping: another resync has ended since.
    if waits.all.contains(where: { $0.then == .stragglers && $0.volume == v }) { return }
    volumes[v].resync.stragglersHaveCome()
    sourceReady(v)
    askForBlocks(v)
  }

  /// A bit was cleared or a block failed: is this the end?
  mutating func resyncProgressed(_ v: Int) {
    switch volumes[v].state.conn {
    case .syncTarget, .pausedSyncT: checkTargetEnd(v)
    case .syncSource, .pausedSyncS: checkSourceEnd(v)
    default: break
    }
  }

  mutating func resyncTick(_ v: Int) {
    if let due = volumes[v].resync.lazyWrite, now >= due {
      volumes[v].resync.writeLazily(at: now)
      if volumes[v].hasDisk { flushBitmap(v, lazy: true, then: .nothing) }
    }
    if let due = volumes[v].resync.nextStep, now >= due {
      volumes[v].resync.stepIsTaken()
      if volumes[v].peer.awaitsSourcePing {
        volumes[v].peer.sourceHasPinged()
        if volumes[v].state.conn == .connected { sendState(v) }
      }
      askForBlocks(v)
    }
    if let due = volumes[v].resync.patience, now >= due { waitedLongEnough(v) }
  }

  /// The peer has to take the next step within six times ping-int.
  mutating func beginPatience(_ v: Int) { volumes[v].resync.wait(until: now + settings.net.pingInterval * 6) }

  private mutating func waitedLongEnough(_ v: Int) {
    volumes[v].resync.waitNoLonger()
    switch volumes[v].state.conn {
    case .syncSource:
      breakLink(.timeout, "blocks of \(name(v)) failed, and the peer does not end its resync")
    case .pausedSyncS: beginPatience(v)
    case .wfBitMapS, .wfBitMapT:
      breakLink(.timeout, "the peer does not go on with the exchange of bitmaps of \(name(v))")
    default: break
    }
  }

  /// Sets every bit; FULL_SYNC on disk says so until the bitmap is there (metadata spec 4.5).
  mutating func setAllBits(_ v: Int) {
    if !volumes[v].isAttached { return }
    volumes[v].backing.bitmap.setAll()
    putFullSync(v, true)
    writeSuperblock(v, then: .nothing)
    flushBitmap(v, lazy: true, then: .fullSyncStored)
  }

  mutating func putFullSync(_ v: Int, _ on: Bool) {
    let peer = Int(settings.peerNodeID)
    if volumes[v].backing.superblock.format == .v08 {
      if on {
        volumes[v].backing.superblock.flags.insert(.fullSync)
      } else {
        volumes[v].backing.superblock.flags.remove(.fullSync)
      }
    } else if on {
      volumes[v].backing.superblock.peers[peer].flags.insert(.fullSync)
    } else {
      volumes[v].backing.superblock.peers[peer].flags.remove(.fullSync)
    }
  }

  mutating func pause(_ v: Int, user: Bool) {
    change(v) { $0.userPaused = user }
    if volumes[v].state.conn >= .connected { sendState(v) }
    if !user { askForBlocks(v) }
  }
}
