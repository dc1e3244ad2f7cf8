// A write of the peer, from its packet to its ack. Trip (b) of ARCHITECTURE.md.
// Laws: it does not pass a barrier, nor an overlapping write before it; its ack says "on this disk" and is sent only
// then; it is counted in its epoch whatever becomes of it.
import Base
import Protocol

extension Engine {
  /// P_DATA, P_TRIM, P_ZEROES.
  mutating func peerWrote(_ v: Int, _ head: DataHeader, size: UInt32, _ kind: WriteKind, _ payload: PayloadRef?) {
    guard isWriter(v) else {
      if let payload { fx.append(.giveBack(payload)) }
      breakLink(
        .protocolError,
        "a write for \(name(v)) by the peer, which is "
          + (role == .primary ? "not Primary while this node is" : volumes[v].state.peerRole.name))
      return
    }
    if kind == .data, size == 0 {
      // An old way to say "flush": counted, nothing to write.
      inbound.receive()
      return
    }
    let longest = kind == .data ? longestBlock : Self.longestDiscard
    guard let range = named(v, "a write", head.sector, size, longest: longest, payload), hasRoomForPeer(payload) else {
      return
    }
    inbound.receive()
    trustedByPrimary(v)
    volumes[v].peer.unacked.begin()
    volumes[v].counters.received += range.count.value
    let id = peerRequests.insert(
      PeerRequest(
        kind: .write(kind), volume: v, range: range, blockID: head.blockID, flags: head.flags, payload: payload,
        connection: link.generation))
    keepDisk(v, id)
    if volumes[v].isAttached, volumes[v].state.peerDisk < .inconsistent {
      // What a diskless Primary writes is missing there. Marked when it comes, not when it is written: a bitmap that is
      // exchanged before that has to say so.
      peerRequests[id].isOnlyCopy = true
      _ = volumes[v].backing.bitmap.set(range.bitsTouched)
    }
    if head.flags.contains(.sendReceiveAck) || (link.version < 100 && link.wireProtocol == .b) {
      sendAck(v, id, { .receiveAck($0) })
    }
    if !peerRequests[id].needsThisDisk {
      // The node refuses the write at once, not behind a barrier: a P_NEG_ACK after the next resync would leave blocks out of sync.
      inbound.begin()
      finishPeerWrite(v, id, fault: Errno.io)
    } else if inbound.barrier != nil {
      inbound.wait(.write(id))
    } else {
      admitPeerWrite(id)
    }
  }

  /// What waits for its turn must never reach a disk that has been attached meanwhile: that may have newer data. Nor is it for a disk
  /// that is still being compared: it was sent before the peer knew of it, and the resync that follows may bring newer data.
  mutating func keepDisk(_ v: Int, _ id: SlotID) {
    if !volumes[v].hasDisk || volumes[v].state.disk == .negotiating { return }
    peerRequests[id].needsThisDisk = true
    volumes[v].writesForDisk.begin()
  }

  /// A peer that has more requests under way than any kernel would send is not believed to be one.
  mutating func hasRoomForPeer(_ payload: PayloadRef?) -> Bool {
    if peerRequests.hasRoom { return true }
    if let payload { fx.append(.giveBack(payload)) }
    breakLink(.protocolError, "more than \(Self.maxPeerRequests) requests of the peer under way")
    return false
  }

  /// Longest discard, write of zeroes or announcement.
  static let longestDiscard: UInt32 = 128 << 20

  /// The application runs on one node: only a peer that has said, or was allowed, that it is Primary writes here.
  private func isWriter(_ v: Int) -> Bool {
    role != .primary && (volumes[v].state.peerRole == .primary || link.mayWrite)
  }

  /// The range that a packet of the peer names. nil: it is none of the volume, and the connection has ended for it.
  mutating func named(
    _ v: Int, _ what: String, _ sector: UInt64, _ bytes: UInt32, longest: UInt32, _ payload: PayloadRef? = nil,
    breaking reason: ConnectionState = .protocolError
  ) -> BlockRange? {
    do throws(RangeFault) {
      return try BlockRange(named: sector, bytes: bytes, in: volumes[v].size, longest: longest)
    } catch {
      if let payload { fx.append(.giveBack(payload)) }
      breakLink(reason, "\(what) of \(bytes) bytes at sector \(sector) does not fit \(name(v))")
      return nil
    }
  }

  mutating func admitPeerWrite(_ id: SlotID) {
    let v = peerRequests[id].volume
    inbound.begin()
    parkOrStart(v, id)
  }

  func peerUse(_ id: SlotID) -> RangeUse {
    switch peerRequests[id].kind {
    case .write: .peerWrite
    case .read: .peerRead
    case .resyncRead, .checksumRead, .thinRead, .verifyRead: .resyncRead
    // It holds its range since it was asked for, as a resync block does.
    case .resyncWrite, .resyncZero, .verifyCompare: .resyncWrite
    }
  }

  /// Its range is in use; or it is a write of a Primary without disk, and the generation in which it is made is not durable.
  func isBlocked(_ v: Int, _ id: SlotID) -> Bool {
    if peerRequests[id].isOnlyCopy, volumes[v].hasDisk, volumes[v].superblock.isFenced { return true }
    return isBlocked(v, peerRequests[id].range, peerUse(id))
  }

  mutating func parkOrStart(_ v: Int, _ id: SlotID) {
    if isBlocked(v, id) {
      volumes[v].parked.append(.peer(id))
    } else {
      startPeerRequest(v, id)
    }
  }

  mutating func startPeerRequest(_ v: Int, _ id: SlotID) {
    let request = peerRequests[id]
    if request.connection != link.generation {
      dropPeerRequest(id)
      return
    }
    switch request.kind {
    case .write: startPeerWrite(v, id)
    case .resyncRead, .checksumRead, .thinRead: startResyncRead(v, id)
    case .verifyRead, .verifyCompare: startVerifyRead(v, id)
    case .resyncWrite, .resyncZero: startResyncWrite(v, id)
    case .read: startPeerRead(v, id)
    }
  }

  private mutating func startPeerWrite(_ v: Int, _ id: SlotID) {
    guard volumes[v].hasDisk, peerRequests[id].needsThisDisk else {
      finishPeerWrite(v, id, fault: Errno.io)
      return
    }
    peerRequests[id].hold = volumes[v].ranges.insert(peerRequests[id].range, .peerWrite)
    if peerRequests[id].isOnlyCopy || volumes[v].backing.bitmap.otherSlots != 0 {
      // The log must name it before (wire spec 7.6).
      enterGate(v, .peer(id))
    } else {
      launchPeerWrite(v, id)
    }
  }

  mutating func launchPeerWrite(_ v: Int, _ id: SlotID) {
    let request = peerRequests[id]
    guard volumes[v].hasDisk, case .write(let kind) = request.kind,
      // What has waited for the log while its connection ended is not written: the log may not count any more.
      request.connection == link.generation
    else {
      finishPeerWrite(v, id, fault: Errno.io)
      return
    }
    volumes[v].backing.bitmap.noteChange(request.range.bitsTouched)
    let operation: DiskOperation
    switch kind {
    case .data: operation = .write(request.range, request.payload!, fua: request.flags.contains(.fua))
    case .discard:
      // Without FF_WZEROES a trim must read back as zeroes (wire spec 3.1, K25).
      operation =
        link.features.contains(.writeZeroes)
        ? .discard(request.range) : .zero(request.range, mayUnmap: true)
    case .zero(let mayUnmap): operation = .zero(request.range, mayUnmap: mayUnmap)
    }
    volumes[v].counters.written += request.range.count.value
    submit(v, .peerWrite, id, operation)
  }

  mutating func peerWriteDone(_ id: SlotID, _ fault: DiskFault?) {
    let v = peerRequests[id].volume
    if let fault { diskFailed(v, fault, "write", peerRequests[id].range) }
    finishPeerWrite(v, id, fault: fault)
  }

  private mutating func finishPeerWrite(_ v: Int, _ id: SlotID, fault: DiskFault?) {
    let request = peerRequests[id]
    let current = request.connection == link.generation
    if current {
      // Counted first: what follows may end the connection, and with it all counts.
      volumes[v].peer.unacked.end()
      inbound.end()
      if let fault {
        if volumes[v].isAttached { _ = volumes[v].backing.bitmap.set(request.range.bitsTouched) }
        if !fault.isRefusal { sendAck(v, id, { .negativeAck($0) }) }
      } else {
        if !isDurable(request) { inbound.needsFlush(v) }
        acknowledge(v, id)
      }
    } else if fault != nil, volumes[v].isAttached {
      _ = volumes[v].backing.bitmap.set(request.range.bitsTouched)
    }
    releasePeerRequest(id)
    // What was acknowledged may have ended the connection.
    if !current || request.connection != link.generation { return }
    if let fault, fault.isRefusal {
      // The disk stays, without this write: the connection pays, so that no ack and no barrier says otherwise.
      let bytes = request.range.bytes
      breakLink(
        .protocolError, "write of \(bytes) bytes at sector \(request.range.start.value) does not fit the disk here")
      return
    }
    advanceInbound()
  }

  /// Written through: no flush has to follow.
  private func isDurable(_ request: PeerRequest) -> Bool {
    request.kind == .write(.data) && request.flags.contains(.fua)
  }

  private mutating func acknowledge(_ v: Int, _ id: SlotID) {
    let request = peerRequests[id]
    let conn = volumes[v].state.conn
    let syncing = conn >= .syncSource && conn <= .pausedSyncT && conn != .verifyS && conn != .verifyT
    // Below version 100 the protocol says whether an ack is wanted; without one the block is resynced as any other.
    guard request.flags.contains(.sendWriteAck) || (link.version < 100 && link.wireProtocol == .c) else {
      return
    }
    if request.flags.contains(.maySetInSync), syncing, !request.overtaken {
      volumes[v].pages.clearedForPeer()
      clearBits(v, request.range)
      sendAck(v, id, { .resyncWriteAck($0) })
      resyncProgressed(v)
    } else {
      sendAck(v, id, { .writeAck($0) })
    }
  }

  /// Clears the bits a range covers whole: both copies are known to be equal there (D9).
  mutating func clearBits(_ v: Int, _ range: BlockRange) {
    if !volumes[v].isAttached || volumes[v].state.peerDisk < .inconsistent { return }
    let covered = range.bitsCovered(volumeEnd: volumes[v].end)
    if !covered.isEmpty {
      _ = volumes[v].backing.bitmap.clear(covered)
      if volumes[v].state.isSyncTarget { volumes[v].trail.note(covered) }
    }
  }

  mutating func sendAck(_ v: Int, _ id: SlotID, _ make: (BlockAck) -> Packet) {
    let request = peerRequests[id]
    sendMeta(
      make(
        BlockAck(
          sector: request.range.start.value, blockID: request.blockID, size: UInt32(request.range.bytes),
          sequence: volumes[v].peer.nextSequence())), volumes[v].number)
  }

  /// Gives back everything a finished request holds.
  mutating func releasePeerRequest(_ id: SlotID) {
    releaseExtents(peerRequests[id].volume, .peer(id))
    let request = peerRequests.remove(id)
    let v = request.volume
    if request.needsThisDisk {
      volumes[v].writesForDisk.end()
      if volumes[v].detach.phase != .none { lookAgain = true }
    }
    if !digests.isEmpty { digests[id.raw] = nil }
    if let payload = request.payload { fx.append(.giveBack(payload)) }
    if let hold = request.hold {
      volumes[v].ranges.remove(hold)
      if !volumes[v].parked.isEmpty { lookAgain = true }
    }
  }

  /// A request of a connection that has ended and that has not been started.
  mutating func dropPeerRequest(_ id: SlotID) {
    let v = peerRequests[id].volume
    if case .write = peerRequests[id].kind, volumes[v].isAttached {
      _ = volumes[v].backing.bitmap.set(peerRequests[id].range.bitsTouched)
    }
    releasePeerRequest(id)
  }

  // MARK: acks of the peer for our writes

  mutating func writeAcked(_ v: Int, _ ack: BlockAck, inSync: Bool) {
    let id = SlotID(raw: ack.blockID)
    guard isOurWrite(v, ack) else {
      breakLink(.networkFailure, "ack for a write that is not under way (sector \(ack.sector))")
      return
    }
    if inSync {
      // The peer has cleared the blocks of this packet, and so must we, also those that were marked when it had no disk: once they
      // are on our disk, too.
      let piece = Int((ack.sector - writes[id].range.start.value) << 9 / UInt64(longestPacket(writes[id].kind)))
      if writes[id].legs.contains(.disk) {
        writes[id].clearsWhenWritten |= 1 << UInt64(piece)
      } else if writes[id].diskFault == nil {
        clearBits(v, self.piece(piece, of: id))
        resyncProgressed(v)
      }
    }
    if !isLastPiece(id) { return }
    if writes[id].legs.contains(.peer) {
      volumes[v].latencies.add(.peer, now - (writes[id].times.sent ?? writes[id].times.since))
    }
    peerLegDone(id)
  }

  /// An ack names a write by our handle and a sector of it.
  func isOurWrite(_ v: Int, _ ack: BlockAck) -> Bool {
    let id = SlotID(raw: ack.blockID)
    guard writes.contains(id), writes[id].volume == v, writes[id].launched else { return false }
    return writes[id].range.start.value <= ack.sector && ack.sector < writes[id].range.end.value
  }

  private mutating func isLastPiece(_ id: SlotID) -> Bool {
    if writes[id].pieces > 0 { writes[id].pieces -= 1 }
    return writes[id].pieces == 0
  }

  mutating func writeRefused(_ v: Int, _ ack: BlockAck) {
    let id = SlotID(raw: ack.blockID)
    // A diskless kernel names no size (K16).
    let range = named(
      v, "a negative ack", ack.sector, max(ack.size, 512), longest: Self.longestDiscard, breaking: .networkFailure)
    guard let range else { return }
    if volumes[v].isAttached, ack.size > 0 { _ = volumes[v].backing.bitmap.set(range.bitsTouched) }
    guard isOurWrite(v, ack), writes[id].legs.contains(.peer) else { return }
    mark(v, id)
    writes[id].peerCopy.wasRefused()
    if !isLastPiece(id) { return }
    writes[id].legs.remove(.peer)
    noteTime(id)
    volumes[v].peer.pending.end()
    epochs.progress(at: now)
    settle(id)
  }
}
