// The target of a resync: asks for what is marked, writes what comes, acknowledges, and ends it (wire spec 9.4, 9.6).
// Laws: nothing is overwritten before the metadata says Inconsistent; a bit is cleared when the block is on disk; the
// metadata says UpToDate before the source hears of it, and the data are durable before the metadata says so.
import Base
import Protocol

extension Engine {
  /// P_SYNC_UUID: the source is ready.
  mutating func syncUUIDReceived(_ v: Int, _ sync: UInt64) {
    if case .invalidate(v, remote: false) = pending, volumes[v].state.conn == .connected {
      volumes[v].peer.syncCameEarly(sync)
      return
    }
    if volumes[v].exchange.isCrossed, volumes[v].state.conn == .wfBitMapT, !volumes[v].peer.hasEarlySync {
      volumes[v].peer.syncCameEarly(sync)
      return
    }
    guard volumes[v].state.conn == .wfSyncUUID || volumes[v].state.conn == .behind, volumes[v].hasDisk,
      volumes[v].peer.generations != nil
    else {
      breakLink(.protocolError, "P_SYNC_UUID in state \(volumes[v].state.conn.name)")
      return
    }
    volumes[v].generations.adoptSync(sync, primary: role == .primary)
    change(v) {
      $0.conn = .syncTarget
      $0.disk = .inconsistent
    }
    beginResync(v)
    volumes[v].resync.prepare(by: call(.beforeResyncTarget, v))
    writeSuperblock(v, then: .targetReady)
  }

  /// before-resync-target has ended: with anything but success the data stay as they are, and the connection is given up.
  mutating func targetPrepared(_ v: Int, _ exit: Int32) {
    guard volumes[v].state.isSyncTarget else { return }
    guard exit == 0 else {
      giveUpLink("before-resync-target of \(name(v)) ended with status \(exit)")
      return
    }
    askForBlocks(v)
    checkTargetEnd(v)
  }

  mutating func targetReady(_ v: Int) {
    guard volumes[v].state.isSyncTarget else { return }
    volumes[v].resync.becomeReady()
    askForBlocks(v)
    checkTargetEnd(v)
  }

  /// Bytes that may be on their way: half of max-buffers, less while the application is at work.
  private func window(_ v: Int) -> UInt64 {
    let all = UInt64(settings.net.maxBuffers) * 4096 / 2
    let busy = volumes[v].requests.count > 0 || volumes[v].peer.unacked.count > 0
    return busy ? max(all / 4, 1 << 20) : all
  }

  /// Requests of one volume's resync or verify that may be under way, to the end of the write or the comparison that follows the
  /// answer. All volumes together leave half of the places for the peer's requests to everything else: an answer without payload
  /// takes no memory, so the pool does not hold it back when the disk here is slower than the peer's answers.
  var shareOfPlaces: Int { max(Self.maxPeerRequests / 2 / volumes.count, 1) }

  /// Sends requests as far as window, places and pace allow.
  mutating func askForBlocks(_ v: Int) {
    guard volumes[v].state.conn == .syncTarget, volumes[v].resync.ready, volumes[v].resync.preparing == nil,
      volumes[v].resync.ending == .none, volumes[v].resync.stragglers == 0, volumes[v].hasDisk
    else { return }
    refillBudget(v)
    askForWanted(v)
    let limit = window(v)
    let granularity = thinBlocks(v)
    let most = min(
      UInt64(longestBlock >> 12), volumes[v].resync.usesChecksums ? 32 : .max, max(blocksInAStep(v), granularity))
    let places = shareOfPlaces
    while volumes[v].resync.askedBytes < limit, volumes[v].resync.asked.count < 256,
      volumes[v].resync.asked.count + volumes[v].resync.writing < places, hasBudget(v)
    {
      guard let first = volumes[v].backing.bitmap.next(set: volumes[v].resync.position) else {
        // The end of the bitmap: once more from the front when everything asked for has come.
        if volumes[v].resync.asked.isEmpty, volumes[v].resync.writing == 0, volumes[v].resync.position > 0,
          volumes[v].outOfSync > volumes[v].resync.failed
        {
          volumes[v].resync.startOver()
          // What is left was in use a moment ago, or has come since.
          volumes[v].resync.look(at: now + .milliseconds(10))
        }
        return
      }
      // Of what was in use, a single block is free sooner than all of its neighbours at once.
      let longest = volumes[v].resync.insists ? 1 : most
      var last = first + 1
      while last < volumes[v].backing.bitmap.bits, last - first < longest, last & 4095 != 0,
        granularity == 0 || last % granularity != 0,
        volumes[v].backing.bitmap.isSet(last)
      {
        last += 1
      }
      volumes[v].resync.goOn(at: last)
      let end = min(last << 3, volumes[v].size.value)
      let range = BlockRange(Sector(first << 3), SectorCount(end - first << 3))
      if isBlocked(v, range, .resyncAsked) {
        if volumes[v].resync.insists, volumes[v].resync.wanted == nil,
          !volumes[v].ranges.conflicts(range, with: [.resyncAsked, .resyncWrite])
        {
          volumes[v].resync.want(range)
        }
        volumes[v].resync.look(at: now + .milliseconds(10))
        continue
      }
      ask(v, range)
    }
    if !hasBudget(v) { volumes[v].resync.look(at: now + .milliseconds(100)) }
  }

  /// Blocks that the application would keep in use for ever: asked for as soon as its writes under way have ended.
  private mutating func askForWanted(_ v: Int) {
    guard let range = volumes[v].resync.wanted else { return }
    var isMarked = true
    for bit in range.bitsTouched where !volumes[v].backing.bitmap.isSet(bit) { isMarked = false }
    if isMarked, volumes[v].ranges.conflicts(range, with: RangeUse.resyncAsked.conflicts) {
      volumes[v].resync.look(at: now + .milliseconds(10))
      return
    }
    volumes[v].resync.want(nil)
    lookAgain = true
    if isMarked { ask(v, range) }
  }

  private mutating func ask(_ v: Int, _ range: BlockRange) {
    let hold = volumes[v].ranges.insert(range, .resyncAsked)
    volumes[v].resync.ask(for: range, hold)
    guard volumes[v].resync.usesChecksums, let name = DigestName(rawValue: link.checksumAlgorithm) else {
      request(v, range)
      return
    }
    let tag = (volumes[v].resync.number & 0xfffff) << 44 | (range.start.value >> 3) << 6 | UInt64(v)
    examine(v, .checksum, SlotID(raw: tag), range, .digest(name), into: nil)
  }

  private mutating func request(_ v: Int, _ range: BlockRange) {
    let request = BlockRequest(sector: range.start.value, blockID: syncerBlockID, size: UInt32(range.bytes))
    let granularity = thinBlocks(v)
    let isThin = granularity > 0 && range.bytes == granularity << 12
    sendData(isThin ? .thinRequest(request) : .resyncRequest(request), volumes[v].number)
  }

  /// Blocks of a thin request (`rs-discard-granularity`); 0: off.
  private func thinBlocks(_ v: Int) -> UInt64 {
    guard link.features.contains(.thinResync), !volumes[v].resync.usesChecksums else { return 0 }
    return UInt64(min(volumes[v].settings.resync.discardGranularity, longestBlock) >> 12)
  }

  /// Our own block has been read, to be compared by its checksum.
  mutating func checksumExamined(_ tag: SlotID, _ finding: Finding) {
    let v = Int(tag.raw & 63)
    let sector = ((tag.raw >> 6) & ((1 << 38) - 1)) << 3
    if case .fault(let fault) = finding { diskFailed(v, fault, "read") }
    if volumes[v].resync.number & 0xfffff == tag.raw >> 44, volumes[v].state.isSyncTarget,
      let asked = volumes[v].resync.asked.first(where: { $0.range.start.value == sector })
    {
      if case .digest(let digest) = finding {
        let request = BlockRequest(sector: sector, blockID: syncerBlockID, size: UInt32(asked.range.bytes))
        sendData(.checksumRequest(request, digest: digest), volumes[v].number)
      } else {
        request(v, asked.range)
      }
    }
  }

  /// P_RS_IS_IN_SYNC: the source has the same.
  mutating func blockIsEqual(_ v: Int, _ ack: BlockAck) {
    guard volumes[v].state.isSyncTarget, let asked = volumes[v].resync.take(ack.sector, ack.size) else { return }
    volumes[v].ranges.remove(asked.hold)
    lookAgain = true
    if !asked.overtaken {
      // What was read may lie in the disk's cache only.
      volumes[v].pages.clearedForPeer()
      clearBits(v, asked.range)
      volumes[v].resync.isSame(asked.range)
    }
    askForBlocks(v)
    checkTargetEnd(v)
  }

  /// P_RS_DATA_REPLY, and P_RS_DEALLOCATED (without payload: the range reads as zeroes).
  mutating func resyncReplied(_ v: Int, _ sector: UInt64, _ size: UInt32, _ blockID: UInt64, _ payload: PayloadRef?) {
    guard hasRoomForPeer(payload) else { return }
    guard let asked = volumes[v].resync.take(sector, size) else {
      if let payload { fx.append(.giveBack(payload)) }
      if volumes[v].state.conn != .syncTarget, volumes[v].state.conn != .pausedSyncT {
        // Asked for by a resync that has ended meanwhile.
        sendMeta(
          .negativeAck(
            BlockAck(sector: sector, blockID: syncerBlockID, size: size, sequence: volumes[v].peer.nextSequence())),
          volumes[v].number)
        return
      }
      breakLink(.protocolError, "resync block at sector \(sector) that was not asked for")
      return
    }
    let range = asked.range
    // The range stays held until the block is written: a write of the application that waits for it is newer.
    volumes[v].counters.received += range.count.value
    volumes[v].resync.blockArrived()
    let id = peerRequests.insert(
      PeerRequest(
        kind: payload == nil ? .resyncZero : .resyncWrite, volume: v, range: range, blockID: blockID, flags: [],
        payload: payload, hold: asked.hold, connection: link.generation, resync: volumes[v].resync.number))
    keepDisk(v, id)
    parkOrStart(v, id)
  }

  mutating func startResyncWrite(_ v: Int, _ id: SlotID) {
    let request = peerRequests[id]
    guard volumes[v].hasDisk else {
      finishResyncWrite(v, id, Errno.io)
      return
    }
    if let hold = request.hold { volumes[v].ranges.become(.resyncWrite, hold) }
    volumes[v].backing.bitmap.noteChange(request.range.bitsTouched)
    let operation: DiskOperation =
      if let payload = request.payload {
        .write(request.range, payload, fua: false)
      } else {
        .zero(request.range, mayUnmap: true)
      }
    submit(v, .resyncWrite, id, operation)
  }

  mutating func resyncWriteDone(_ id: SlotID, _ fault: DiskFault?) {
    let v = peerRequests[id].volume
    if let fault { diskFailed(v, fault, "write", peerRequests[id].range) }
    finishResyncWrite(v, id, fault)
  }

  private mutating func finishResyncWrite(_ v: Int, _ id: SlotID, _ fault: DiskFault?) {
    let request = peerRequests[id]
    // Written whole, whatever became of the resync: the source's data were good when they were read. Only the running resync may
    // say "equal": the source may have written since.
    let isRunning = isOfRunningResync(request)
    let isEqual = isRunning && fault == nil
    if isEqual, !request.overtaken {
      volumes[v].pages.clearedForPeer()
      clearBits(v, request.range)
    }
    if request.connection == link.generation {
      sendAck(v, id, isEqual ? { .resyncWriteAck($0) } : { .negativeAck($0) })
    }
    releasePeerRequest(id)
    if isRunning {
      if fault != nil { volumes[v].resync.fail(request.range) }
      volumes[v].resync.blockEnded()
      askForBlocks(v)
      checkTargetEnd(v)
    }
  }

  /// P_NEG_RS_DREPLY, P_RS_CANCEL: the block stays out of sync.
  mutating func resyncRefused(_ v: Int, _ ack: BlockAck) {
    guard let asked = volumes[v].resync.take(ack.sector, ack.size) else { return }
    volumes[v].ranges.remove(asked.hold)
    lookAgain = true
    volumes[v].resync.fail(asked.range)
    askForBlocks(v)
    checkTargetEnd(v)
  }

  // MARK: the end

  mutating func checkTargetEnd(_ v: Int) {
    let resync = volumes[v].resync
    guard volumes[v].state.isSyncTarget, resync.ready, resync.preparing == nil, resync.ending == .none,
      resync.asked.isEmpty,
      resync.writing == 0, volumes[v].outOfSync <= resync.failed, volumes[v].hasDisk
    else { return }
    volumes[v].resync.end(.flushing)
    submit(v, .bracket, SlotID(raw: UInt64(link.generation) << 8 | UInt64(v)), .flush)
  }

  mutating func resyncFlushDone(_ tag: SlotID, _ fault: DiskFault?) {
    let v = Int(tag.raw & 0xff)
    if let fault, !flushFailed(v, fault) {
      // Nothing that this resync brought is known to be durable: it is marked again, and copied again.
      if UInt32(truncatingIfNeeded: tag.raw >> 8) == link.generation {
        breakLink(.networkFailure, "the blocks that the resync of \(name(v)) wrote could not be flushed")
      }
    } else if UInt32(truncatingIfNeeded: tag.raw >> 8) == link.generation, volumes[v].resync.ending == .flushing,
      volumes[v].state.isSyncTarget
    {
      volumes[v].resync.end(.pinging)
      sendPing(.resyncTarget, v)
    }
  }

  /// The source has seen every ack of ours.
  mutating func resyncTargetPinged(_ v: Int) {
    guard volumes[v].state.isSyncTarget, volumes[v].resync.ending == .pinging else { return }
    if volumes[v].outOfSync > volumes[v].resync.failed {
      // Announced or written by halves meanwhile: not the end yet.
      volumes[v].resync.end(.none)
      askForBlocks(v)
      return
    }
    guard volumes[v].resync.failed == 0 else {
      warn(.peerDevice(v), "resync ended with \(volumes[v].resync.failed) blocks that could not be read or written")
      change(v) {
        $0.conn = .connected
        $0.disk = .inconsistent
      }
      sendState(v)
      return
    }
    guard let peer = volumes[v].peer.generations else {
      breakLink(.protocolError, "the end of a resync of \(name(v)) by a peer that has sent no P_UUIDS")
      return
    }
    volumes[v].resync.end(.recording)
    volumes[v].generations.finishAsTarget(peer: peer, primary: role == .primary)
    volumes[v].peer.hasSame(volumes[v].generations)
    volumes[v].peer.targetHasEnded()
    change(v) {
      $0.conn = .connected
      $0.disk = .upToDate
      $0.peerDisk = .upToDate
    }
    flushBitmap(v, lazy: true, then: .nothing)
    writeSuperblock(v, then: .resyncTargetDone)
  }

  mutating func resyncTargetDurable(_ v: Int) {
    if volumes[v].state.conn >= .connected {
      sendState(v)
      // The source pings when it has finished, too. If it stays silent it has taken our word too early (K6).
      volumes[v].resync.look(at: now + .seconds(3))
      volumes[v].peer.endWasAnnounced()
    }
    call(.afterResyncTarget, v)
  }
}
