// State of a volume's resync, on either side, and what both sides do: counting, pausing, lazily writing the bitmap.
import Base
import Protocol

struct Resync {
  /// A request of the target that is not answered yet.
  struct Asked {
    var range: BlockRange
    var hold: RangeHold
    /// The source has written there since, without us: only the block itself, which comes behind that word, makes it equal.
    var overtaken = false
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
  var total: UInt64 = 0
  /// Bits that could not be read or written.
  var failed: UInt64 = 0
  /// Blocks whose checksums were equal.
  var same: UInt64 = 0
  /// Target: own checksums are sent instead of asking for data.
  var usesChecksums = false
  var number: UInt64 = 0
  var started: Instant?
  /// Target: the metadata says Inconsistent, blocks may be overwritten.
  var ready = false
  /// Target: before-resync-target runs; nothing is asked for until it has ended.
  var preparing: WorkID?
  var position: UInt64 = 0
  /// The application writes to these blocks without a break: its next writes to them wait until they have been asked for.
  var wanted: BlockRange?
  /// The end of the bitmap has been reached once: what is left is in use again and again.
  var insists = false
  var asked: [Asked] = []
  var askedBytes: UInt64 = 0
  /// Received and not yet written.
  var writing = 0
  var ending = Ending.none
  /// Source: the sync UUID that is sent once it is durable, by this write of the superblock.
  var announces: (sync: UInt64, write: UInt64)?
  /// Source: the target has said that it is done (9.6 step 5).
  var noticed = false
  /// Source: the target's metadata say that its data are old. Its bitmap comes behind that, and so does its first request.
  var targetHasRecorded = false
  /// The peer is given until then to take the next step: to go on with the exchange of bitmaps (K29), or, as a target some of
  /// whose blocks were refused, to ask for more or to say that it is done (K22, K27).
  var patience: Instant?
  /// Source: bits of blocks that were sent and not acknowledged.
  var unconfirmed: UInt64 = 0
  /// Requests and blocks of earlier resyncs on this connection that the peer has not answered. Such an answer must not count for
  /// a block of this resync: before the P_PING_ACK of its first ping the target requests no block, and the source accepts no ack.
  var stragglers: UInt64 = 0
  /// Next look for work: the pace, or a block that was in use.
  var nextStep: Instant?
  /// Sectors that may still be asked for in this step (only with a configured rate); negative: asked for in advance.
  var budget: Int64 = 0
  var budgetSince: Instant?
  var lazyWrite: Instant?

  var deadline: Instant? {
    func sooner(_ a: Instant?, _ b: Instant?) -> Instant? {
      guard let a, let b else { return a ?? b }
      return min(a, b)
    }
    return sooner(nextStep, sooner(lazyWrite, patience))
  }
}

extension Engine {
  /// Everything a resync needs at its start, on both sides.
  mutating func beginResync(_ v: Int) {
    volumes[v].resync.total = volumes[v].outOfSync
    // Blocks of an earlier resync may have failed after its end.
    volumes[v].resync.failed = 0
    volumes[v].resync.patience = nil
    if volumes[v].state.isSyncTarget {
      volumes[v].trail.begin(bits: volumes[v].backing.bitmap.bits)
      volumes[v].backing.bitmap.noteChangeOfMarked()
    }
    resyncNumber &+= 1
    volumes[v].resync.number = resyncNumber
    if volumes[v].resync.stragglers > 0 { sendPing(.stragglers, v) }
    volumes[v].resync.usesChecksums = volumes[v].state.isSyncTarget && comparesChecksums(v)
    volumes[v].resync.started = now
    volumes[v].resync.lazyWrite = now + .seconds(2)
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
      volumes[v].resync.stragglers = resync.stragglers + resync.unconfirmed + UInt64(resync.asked.count)
    }
    dropReceiver(v)
    volumes[v].exchange = Exchange()
    lookAgain = true
  }

  /// What answers an earlier resync of this connection has come: the peer handled it before the ping.
  mutating func stragglersHaveCome(_ v: Int) {
    // An earlier ping: another resync has ended since.
    if waits.all.contains(where: { $0.then == .stragglers && $0.volume == v }) { return }
    volumes[v].resync.stragglers = 0
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
      volumes[v].resync.lazyWrite = now + .seconds(2)
      if volumes[v].hasDisk { flushBitmap(v, lazy: true, then: .nothing) }
    }
    if let due = volumes[v].resync.nextStep, now >= due {
      volumes[v].resync.nextStep = nil
      if volumes[v].peer.awaitsSourcePing {
        volumes[v].peer.sourceHasPinged()
        if volumes[v].state.conn == .connected { sendState(v) }
      }
      askForBlocks(v)
    }
    if let due = volumes[v].resync.patience, now >= due { waitedLongEnough(v) }
  }

  /// The peer has to take the next step within six times ping-int.
  mutating func beginPatience(_ v: Int) { volumes[v].resync.patience = now + settings.net.pingInterval * 6 }

  private mutating func waitedLongEnough(_ v: Int) {
    volumes[v].resync.patience = nil
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
