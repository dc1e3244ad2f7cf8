// Barriers, both ways, and the flushes of the application that wait for them (wire spec 7.4, design D8).
// Law: an epoch is acknowledged by us only when its writes are complete and flushed; a flush is answered only when
// everything acknowledged before it is durable here and on a connected peer.
import Base
import Protocol

extension Engine {
  // MARK: our epochs

  /// Closes the running epoch if it has writes, and tells the peer.
  mutating func closeEpoch() {
    guard let (number, isSent) = epochs.close(), isSent, let data = link.data else { return }
    fx.append(.send(data, connectionVolume, .barrier(number), nil, notify: nil))
  }

  /// Connection-level packets carry volume 0.
  var connectionVolume: VolumeNumber { VolumeNumber(0) }

  mutating func barrierAcked(_ ack: BarrierAck) {
    guard let oldest = epochs.closed.first, oldest.number == ack.handle, oldest.packets == ack.setSize else {
      breakLink(.protocolError, "barrier ack \(ack.handle) for \(ack.setSize) writes does not fit the oldest epoch")
      return
    }
    // Looked at before anything is taken out: what stays in the log is marked when the connection ends.
    for i in 0..<oldest.writes {
      let write = writes[epochs.log[i]]
      precondition(write.epoch == oldest.number, "transfer log out of order")
      if write.legs.contains(.peer), write.wireProtocol != .a {
        breakLink(.protocolError, "barrier ack before the ack of a write in its epoch")
        return
      }
    }
    epochs.acknowledge(at: now)
    for _ in 0..<oldest.writes {
      guard let id = epochs.takeOldest() else { preconditionFailure("an epoch with fewer writes than it has") }
      if writes[id].legs.contains(.peer) {
        // Acked as a whole: protocol A has no other ack.
        peerLegDone(id)
        if !writes.contains(id) { continue }
      }
      if !writes[id].marked { writes[id].peerCopy.wasTaken() }
      writes[id].legs.remove(.epoch)
      settle(id)
    }
    epochs.restIfNothingIsOwed()
    for v in 0..<volumes.count { releaseFlushes(v) }
    requestsDrained()
  }

  /// A barrier follows the last write when nothing else does, so that a reconnect finds little unacknowledged.
  var epochDeadline: Instant? {
    guard let last = epochs.lastWrite else { return nil }
    return last + .milliseconds(500)
  }

  mutating func epochTick() {
    if let due = epochDeadline, now >= due { closeEpoch() }
  }

  /// The connection is gone: what was not acknowledged as a whole epoch may be lost on the peer.
  mutating func dropEpochs() {
    while let id = epochs.takeOldest() {
      let v = writes[id].volume
      mark(v, id)
      if writes[id].answered, !writes[id].fua, volumes[v].state.disk < .consistent {
        volumes[v].owesFlushFailure = true
      }
      // It waited for more than the peer's ack: to be durable there. And what the peer has only received, or was only sent, it drops
      // with the connection.
      if writes[id].fua || !writes[id].asksForDiskAck { writes[id].peerCopy.mayBeLost() }
      if writes[id].legs.contains(.peer) { volumes[v].peer.pending.end() }
      writes[id].legs.subtract([.peer, .epoch])
      if writes[id].launched { noteTime(id) }
    }
    // What the peer has cleared counts for its connection only: the next one begins with the union of both bitmaps.
    var at = 0
    while let id = writes.next(from: at) {
      at = id.index + 1
      writes[id].clearsWhenWritten = 0
    }
    epochs.drop()
  }

  /// The own disk has gone: a write that the peer was only sent, or has only received (protocols A and B), is answered when its
  /// epoch is acknowledged.
  mutating func awaitBarriers(_ v: Int) {
    var changed = false
    for i in 0..<epochs.log.count {
      let id = epochs.log[i]
      if writes[id].volume != v || writes[id].answered || writes[id].asksForDiskAck { continue }
      writes[id].needsBarrier = true
      writes[id].peerCopy.mayBeLost()
      changed = true
    }
    if changed { closeEpoch() }
  }

  /// The peer's disk has gone, with whatever was in its cache.
  mutating func markUnacknowledged(_ v: Int) {
    for i in 0..<epochs.log.count where writes[epochs.log[i]].volume == v { mark(v, epochs.log[i]) }
  }

  /// After `dropEpochs` and the new generation: what waited for the peer only goes on alone.
  mutating func settleDropped() {
    var at = 0
    while let id = writes.next(from: at) {
      at = id.index + 1
      if writes[id].legs.isDisjoint(with: [.peer, .epoch]), writes[id].hold != nil || writes[id].answered,
        !isWaiting(id)
      {
        settle(id)
      }
    }
    for v in 0..<volumes.count { releaseFlushes(v) }
  }

  /// Not launched yet: parked or at the gate.
  private func isWaiting(_ id: SlotID) -> Bool { !writes[id].launched }

  // MARK: flush

  mutating func flush(_ ticket: Ticket, _ number: VolumeNumber, since arrived: Instant) {
    let v = index(number)
    guard acceptsWrites else {
      fx.append(.answer(ticket, Errno.shutdown))
      return
    }
    if volumes[v].owesFlushFailure {
      // At once: a flush that began later must not be answered with success before it.
      warn(
        .peerDevice(v), "writes that only the peer had may be lost with the connection: a flush fails"
      )
      volumes[v].owesFlushFailure = false
      fx.append(.answer(ticket, Errno.io))
      return
    }
    volumes[v].habit.flushArrived()
    let isIdle = volumes[v].habit.hasNothingToFlush
    if !isIdle { closeEpoch() }
    let waitsForPeer = !isIdle && link.phase.isUp && !epochs.closed.isEmpty
    let id = flushes.insert(
      AppFlush(
        ticket: ticket, volume: v, arrived: arrived, diskPending: volumes[v].hasDisk && !isIdle,
        moment: volumes[v].habit.now, epoch: waitsForPeer ? epochs.current &- 1 : nil))
    volumes[v].requests.begin()
    if flushes[id].diskPending {
      submit(v, .appFlush, id, .flush)
    } else {
      finishFlush(id)
    }
  }

  mutating func appFlushDone(_ id: SlotID, _ fault: DiskFault?) {
    let v = flushes[id].volume
    if let fault {
      let gone = flushFailed(v, fault)
      // The peer's copy is as durable as a flush promises; without one the application must hear of it.
      if !gone || volumes[v].state.peerDisk != .upToDate { flushes[id].fault = fault }
    }
    // Only now: what the fault has set off must not answer it.
    flushes[id].diskPending = false
    finishFlush(id)
  }

  private mutating func finishFlush(_ id: SlotID) {
    let flush = flushes[id]
    if flush.diskPending { return }
    if let epoch = flush.epoch, !epochs.isAcknowledged(epoch) { return }
    if holdsAnswers(flush.volume) { return }
    let state = volumes[flush.volume].state
    let isSafe =
      (state.disk == .upToDate && !fencing.isGivenUp) || (state.conn >= .connected && state.peerDisk == .upToDate)
    let fault = flush.fault ?? (isSafe ? nil : Errno.io)
    fx.append(.answer(flush.ticket, fault))
    if fault == nil {
      volumes[flush.volume].habit.flushed(upTo: flush.moment)
      volumes[flush.volume].latencies.add(.flush, now - flush.arrived)
    }
    volumes[flush.volume].requests.end()
    flushes.remove(id)
    if volumes[flush.volume].requests.count == 0 { requestsDrained() }
  }

  /// Something a flush may have waited for is there.
  mutating func releaseFlushes(_ v: Int) {
    if flushes.isEmpty { return }
    var at = 0
    while let id = flushes.next(from: at) {
      at = id.index + 1
      if flushes[id].volume == v { finishFlush(id) }
    }
  }

  // MARK: the peer's epochs

  mutating func barrierReceived(_ handle: UInt32) {
    let count = inbound.takeReceived()
    if inbound.barrier != nil {
      guard inbound.waiting.count < Self.maxWaiting else {
        breakLink(.protocolError, "more than \(Self.maxWaiting) barriers and writes of the peer wait behind a barrier")
        return
      }
      inbound.wait(.barrier(handle: handle, count: count))
      return
    }
    inbound.stand(behind: handle, count)
    advanceInbound()
  }

  /// A write of the running epoch is complete, or a barrier has come. What this sets off may end here, too: then the call that is
  /// under way goes on, so that the stack does not grow with what waits.
  mutating func advanceInbound() {
    if !inbound.beginAdvance() { return }
    while passBarrier(), let item = inbound.takeWaiting() {
      switch item {
      case .write(let id): admitPeerWrite(id)
      case .read(let id): parkOrStart(peerRequests[id].volume, id)
      case .barrier(let handle, let count): inbound.stand(behind: handle, count)
      }
    }
    inbound.endAdvance()
  }

  /// Acknowledges the barrier when what it stands for is complete and durable; false while something behind it has to wait.
  private mutating func passBarrier() -> Bool {
    guard let barrier = inbound.barrier else { return true }
    guard inbound.isComplete else { return false }
    if !inbound.unflushed.isEmpty {
      for v in 0..<volumes.count where inbound.unflushed.contains(v) {
        guard volumes[v].hasDisk else {
          lostUnflushed(v)
          return false
        }
        inbound.beginFlush()
        submit(v, .epochFlush, SlotID(raw: UInt64(link.generation) << 8 | UInt64(v)), .flush)
      }
      inbound.allAreFlushing()
      if inbound.flushing.count > 0 { return false }
    }
    sendMeta(.barrierAck(BarrierAck(handle: barrier.handle, setSize: barrier.count)))
    inbound.pass()
    return true
  }

  /// A disk has gone with acknowledged writes of the peer in its cache: let the peer mark them.
  mutating func lostUnflushed(_ v: Int) {
    if !inbound.unflushed.contains(v) { return }
    inbound.isFlushed(v)
    breakLink(.networkFailure, "the disk of \(name(v)) was given up before an epoch of the peer was durable")
  }

  mutating func epochFlushDone(_ tag: SlotID, _ fault: DiskFault?) {
    let v = Int(tag.raw & 0xff)
    if let fault {
      flushFailed(v, fault)
      // The epoch can never be acknowledged: let the peer mark its writes.
      if UInt32(truncatingIfNeeded: tag.raw >> 8) == link.generation {
        breakLink(.networkFailure, "an epoch of the peer could not be made durable")
      }
    }
    if UInt32(truncatingIfNeeded: tag.raw >> 8) == link.generation, inbound.flushing.count > 0 {
      if fault != nil {
        // What was acknowledged may be lost. Without the barrier ack the peer marks it, and there is none.
        breakLink(.networkFailure, "writes of the peer could not be made durable here")
        return
      }
      inbound.endFlush()
      advanceInbound()
    }
  }

  /// The connection is gone: what waits is dropped (the peer marks it out of sync), what is on its way to the disk ends.
  mutating func dropInbound() {
    while let item = inbound.takeWaiting() {
      switch item {
      case .write(let id), .read(let id): dropPeerRequest(id)
      case .barrier: break
      }
    }
    // Whether the peer will hear of those being written is open. Marked now, not when they are written: the next exchange of bitmaps
    // may come before that, and a bit that is set after the resync would stay.
    var at = 0
    while let id = peerRequests.next(from: at) {
      at = id.index + 1
      let request = peerRequests[id]
      if case .write = request.kind, volumes[request.volume].isAttached {
        _ = volumes[request.volume].backing.bitmap.set(request.range.bitsTouched)
      }
    }
    inbound.drop()
  }
}

extension LinkPhase {
  var isUp: Bool { if case .up = self { true } else { false } }
}
