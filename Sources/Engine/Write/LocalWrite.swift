// A write of the application, from its arrival to its answer. Trip (a) of ARCHITECTURE.md.
// Laws: it waits until nobody uses its range and until the activity log covers it; it is sent and written in one step;
// it is answered when the promise of the protocol holds; what the peer may not have is marked before it is forgotten.
import Base
import Protocol

/// Errnos of Linux that the engine gives to the application.
enum Errno {
  static let io = DiskFault(errno: 5)
  static let readOnly = DiskFault(errno: 30)
  static let shutdown = DiskFault(errno: 108)
}

extension Engine {
  mutating func write(
    _ ticket: Ticket, _ number: VolumeNumber, _ range: BlockRange, _ kind: WriteKind, _ payload: PayloadRef?, fua: Bool,
    since arrived: Instant
  ) {
    let v = index(number)
    precondition(range.count > .zero, "an empty write")
    // It may have waited at the entrance while the volume lost its disk, or became smaller.
    guard acceptsWrites, range.end <= volumes[v].end else {
      if let payload { fx.append(.giveBack(payload)) }
      fx.append(.answer(ticket, acceptsWrites ? Errno.io : Errno.shutdown))
      return
    }
    let expectsFlush = !fua && volumes[v].habit.writeArrived()
    let isDurable = fua || (expectsFlush && kind == .data && ackCarriesFUA)
    let id = writes.insert(
      AppWrite(
        ticket: ticket, volume: v, range: range, kind: kind, asksForFUA: fua, fua: isDurable, payload: payload,
        times: WriteTimes(arrived: arrived)))
    volumes[v].requests.begin()
    startOrPark(v, id)
  }

  /// Waits for the range, then for the activity log.
  private mutating func startOrPark(_ v: Int, _ id: SlotID) {
    let range = writes[id].range
    if isBlocked(v, range, .appWrite) {
      volumes[v].parked.append(.appWrite(id))
      return
    }
    own(v, id)
  }

  /// No other request uses the range: the write goes on to the activity log.
  private mutating func own(_ v: Int, _ id: SlotID) {
    writes[id].hold = volumes[v].ranges.insert(writes[id].range, .appWrite)
    writes[id].times.since = now
    volumes[v].latencies.add(.queue, now - writes[id].times.arrived)
    enterGate(v, .appWrite(id))
  }

  /// The range is in use, or something that waits longer wants it.
  func isBlocked(_ v: Int, _ range: BlockRange, _ use: RangeUse) -> Bool {
    if volumes[v].ranges.conflicts(range, with: use.conflicts) { return true }
    if use == .appWrite, let wanted = volumes[v].resync.wanted ?? volumes[v].verify.wanted, wanted.overlaps(range) {
      return true
    }
    if volumes[v].parked.isEmpty { return false }
    for i in 0..<volumes[v].parked.count {
      switch volumes[v].parked[i] {
      case .appWrite(let other):
        // A resync block holds its range since it was asked for: the application waits for it, not the reverse.
        if use != .resyncWrite, use.conflicts.contains(.appWrite), writes[other].range.overlaps(range) { return true }
      case .peer(let other):
        if !use.conflicts.isDisjoint(with: peerUse(other)), peerRequests[other].range.overlaps(range) { return true }
      }
    }
    return false
  }

  /// Starts what had to wait for a range, oldest first; what is still blocked keeps its place.
  mutating func unpark(_ v: Int) {
    let count = volumes[v].parked.count
    if count == 0 { return }
    // Entries taken out one by one and put back are again in the old order after a full round; those in front of an
    // entry that still wait are compared through `isBlocked`, which sees them at the back of the queue. To keep "who
    // waits longer goes first", the round works on a queue of its own.
    var waiting = Queue<Parked>(capacity: count)
    swap(&waiting, &volumes[v].parked)
    while let one = waiting.popFirst() {
      switch one {
      case .appWrite(let id):
        if isBlocked(v, writes[id].range, .appWrite) {
          volumes[v].parked.append(one)
        } else {
          own(v, id)
        }
      case .peer(let id):
        if isBlocked(v, id) {
          volumes[v].parked.append(one)
        } else {
          startPeerRequest(v, id)
        }
      }
    }
  }

  /// The range is ours and the activity log covers it: to the disk and to the peer.
  mutating func launch(_ v: Int, _ id: SlotID) {
    let write = writes[id]
    let state = volumes[v].state
    let toDisk = volumes[v].hasDisk
    let toPeer = state.replicates
    writes[id].launched = true
    writes[id].times.since = now
    volumes[v].latencies.add(.activityLog, now - write.times.since)
    // Alone with a disk that is not good, a write would be answered here and overwritten by the next resync.
    guard state.disk == .upToDate || (toPeer && state.peerDisk == .upToDate) else {
      writes[id].diskFault = Errno.io
      settle(id)
      return
    }
    var legs: AppWrite.Legs = []
    if toPeer {
      legs.formUnion([.peer, .epoch])
      if write.payload != nil { legs.insert(.socket) }
      // While our own disk is not good, the peer's is the only copy that the next resync keeps: it has to be there.
      let asks = asksForDiskAck(state)
      writes[id].wireProtocol = link.wireProtocol
      writes[id].asksForDiskAck = asks
      writes[id].needsBarrier = (write.fua && !ackCarriesFUA) || (state.disk < .upToDate && !asks)
      sendWrite(v, id)
    } else {
      epochs.addUnreplicated()
      mark(v, id)
      if state.announcesOutOfSync { announceOutOfSync(v, write.range) }
    }
    if !toDisk { writes[id].missesDisk = true }
    if toDisk {
      legs.insert(.disk)
      volumes[v].backing.bitmap.noteChange(write.range.bitsTouched)
      let operation: DiskOperation =
        switch write.kind {
        case .data: .write(write.range, write.payload!, fua: write.fua)
        case .discard: .discard(write.range)
        case .zero(let mayUnmap): .zero(write.range, mayUnmap: mayUnmap)
        }
      submit(v, .appWrite, id, operation)
    }
    volumes[v].counters.written += write.range.count.value
    writes[id].legs = legs
    if toPeer, link.wireProtocol == .a, !writes[id].asksForDiskAck, write.payload == nil { peerLegDone(id) }
  }

  /// Announcements of one volume that may wait to be sent, while they come as fast as the application writes.
  static let maxAnnouncements = 4096

  private mutating func announceOutOfSync(_ v: Int, _ range: BlockRange) {
    guard let data = link.data else { return }
    volumes[v].peer.announcing.begin()
    announcements &+= 1
    fx.append(
      .send(
        data, volumes[v].number, .outOfSync(BlockDescriptor(sector: range.start.value, size: UInt32(range.bytes))), nil,
        notify: WorkID(kind: .announcement, slot: SlotID(raw: announcements << 8 | UInt64(v)))))
  }

  mutating func announcementSent(_ tag: SlotID) {
    let v = Int(tag.raw & 0xff)
    volumes[v].peer.announcing.end()
    let hasRoom = volumes[v].peer.announcing.count <= Self.maxAnnouncements / 2
    if !volumes[v].gate.exchanging.isEmpty, hasRoom { lookAgain = true }
  }

  /// What one packet of this write may carry (wire spec 2.2, 7.1).
  func longestPacket(_ kind: WriteKind) -> UInt32 {
    if kind != .data { return link.features.contains(.writeSame) ? 128 << 20 : 4 << 20 }
    return longestBlock
  }

  /// The longest data or resync block at the agreed version.
  var longestBlock: UInt32 { link.version >= 100 ? 1 << 20 : link.version >= 95 ? 128 << 10 : 32 << 10 }

  private mutating func sendWrite(_ v: Int, _ id: SlotID) {
    let write = writes[id]
    let longest = UInt64(longestPacket(write.kind))
    var offset: UInt64 = 0
    while offset < write.range.bytes {
      let bytes = UInt32(min(longest, write.range.bytes - offset))
      let part = BlockRange(write.range.start + SectorCount(bytes: offset), SectorCount(bytes: UInt64(bytes)))
      let payload = write.payload.map { PayloadRef(page: $0.page + UInt32(offset >> 12), bytes: bytes) }
      offset += UInt64(bytes)
      let isLast = offset == write.range.bytes
      let notify = isLast && payload != nil ? WorkID(kind: .appWrite, slot: id) : nil
      fx.append(.send(link.data!, volumes[v].number, packet(v, id, part), payload, notify: notify))
      writes[id].pieces += 1
      epochs.send()
    }
    writes[id].epoch = epochs.add(id, at: now)
    volumes[v].peer.pending.begin()
    volumes[v].counters.sent += write.range.count.value
    if epochs.sent >= settings.net.maxEpochSize || write.needsBarrier { closeEpoch() }
  }

  /// The part of a write that its i-th packet carries.
  func piece(_ i: Int, of id: SlotID) -> BlockRange {
    let range = writes[id].range
    let longest = UInt64(longestPacket(writes[id].kind)) >> 9
    let start = min(range.start.value + UInt64(i) * longest, range.end.value - 1)
    return BlockRange(Sector(start), SectorCount(min(longest, range.end.value - start)))
  }

  private mutating func packet(_ v: Int, _ id: SlotID, _ range: BlockRange) -> Packet {
    let write = writes[id]
    var head = DataHeader()
    head.sector = range.start.value
    head.blockID = id.raw
    head.sequence = volumes[v].peer.nextSequence()
    head.flags = .rwSync
    if write.fua { head.flags.insert(.fua) }
    let syncing = volumes[v].state.conn >= .syncSource && volumes[v].state.conn <= .pausedSyncT
    // Acks that clear bits are kept by position: a write in more than 64 packets does without.
    if syncing, write.range.bytes <= UInt64(longestPacket(write.kind)) * 64 { head.flags.insert(.maySetInSync) }
    if link.version >= 100 {
      if write.asksForDiskAck {
        head.flags.insert(.sendWriteAck)
      } else if write.wireProtocol == .b {
        head.flags.insert(.sendReceiveAck)
      }
    } else if link.version < 95 {
      head.flags.formIntersection([.rwSync])
    }
    let size = UInt32(range.bytes)
    switch write.kind {
    case .data: return .data(head)
    case .zero(let mayUnmap) where link.features.contains(.writeZeroes):
      head.flags.insert(.zeroes)
      if mayUnmap { head.flags.insert(.discard) }
      return .zeroes(RangeHeader(head, size: size))
    case .discard, .zero:
      head.flags.insert(.discard)
      return .trim(RangeHeader(head, size: size))
    }
  }

  /// The ack of a FUA write does not say that it is durable on the peer: protocols A and B ack before the disk, and
  /// below version 95 the flag does not travel. The barrier says it.
  private var ackCarriesFUA: Bool { wireProtocol == .c && (!link.phase.isUp || link.version >= 95) }

  /// Protocol C, a resync, or a peer that holds the only good copy. Below version 100 the protocol alone decides.
  private func asksForDiskAck(_ state: VolumeState) -> Bool {
    if link.wireProtocol == .c { return true }
    let syncing = state.conn >= .syncSource && state.conn <= .pausedSyncT
    return link.version >= 100 && (syncing || state.disk < .upToDate)
  }

  // MARK: legs

  mutating func appWriteDone(_ id: SlotID, _ fault: DiskFault?) {
    let v = writes[id].volume
    precondition(writes[id].legs.contains(.disk), "a disk leg came back twice")
    writes[id].legs.remove(.disk)
    if fault == nil { volumes[v].latencies.add(.localWrite, now - writes[id].times.since) }
    noteTime(id)
    if let fault {
      writes[id].diskFault = fault
      writes[id].missesDisk = true
      mark(v, id)
      diskFailed(v, fault, "write", writes[id].range)
    } else if writes[id].clearsWhenWritten != 0 {
      for i in 0..<64 where writes[id].clearsWhenWritten & 1 << UInt64(i) != 0 { clearBits(v, piece(i, of: id)) }
      resyncProgressed(v)
    }
    settle(id)
  }

  mutating func appWriteSent(_ id: SlotID) {
    precondition(writes[id].legs.contains(.socket), "a socket leg came back twice")
    writes[id].legs.remove(.socket)
    writes[id].times.sent = now
    volumes[writes[id].volume].latencies.add(.send, now - writes[id].times.since)
    if writes[id].wireProtocol == .a, writes[id].legs.contains(.peer), !writes[id].asksForDiskAck {
      peerLegDone(id)
      return
    }
    settle(id)
  }

  /// The peer has acknowledged what the protocol demands before the answer.
  mutating func peerLegDone(_ id: SlotID) {
    if !writes[id].legs.contains(.peer) { return }
    writes[id].legs.remove(.peer)
    noteTime(id)
    // What only a barrier can promise, the ack before it does not.
    if !writes[id].needsBarrier { writes[id].peerCopy.wasTaken() }
    volumes[writes[id].volume].peer.pending.end()
    epochs.progress(at: now)
    settle(id)
  }

  /// A leg has gone: perhaps nothing but the answer is left.
  mutating func noteTime(_ id: SlotID) {
    if writes[id].times.done == nil, writes[id].legs.isDisjoint(with: [.disk, .peer]) { writes[id].times.done = now }
  }

  /// Marks the blocks of a write out of sync: the peer does not have it, or may lose it.
  mutating func mark(_ v: Int, _ id: SlotID) {
    writes[id].marked = true
    if volumes[v].isAttached { _ = volumes[v].backing.bitmap.set(writes[id].range.bitsTouched) }
  }

  /// Answers and forgets, as far as the legs allow.
  mutating func settle(_ id: SlotID) {
    let write = writes[id]
    let v = write.volume
    if !write.answered {
      var promise: AppWrite.Legs = [.disk, .peer]
      if write.needsBarrier { promise.insert(.epoch) }
      if write.legs.isDisjoint(with: promise) {
        // A write that one of the two disks does not have must not be answered before the metadata say so: the new generation here,
        // or at the peer when the own disk failed.
        if !write.peerHasIt || write.missesDisk, holdsAnswers(v) {
          if !write.isHeld {
            writes[id].isHeld = true
            volumes[v].held.append(id)
          }
          return
        }
        answer(v, id)
      }
    }
    if writes[id].payload != nil, writes[id].legs.isDisjoint(with: [.disk, .socket]) {
      fx.append(.giveBack(writes[id].payload!))
      writes[id].payload = nil
    }
    if writes[id].answered, writes[id].legs.isEmpty {
      releaseExtents(v, .appWrite(id))
      writes.remove(id)
    }
  }

  private mutating func answer(_ v: Int, _ id: SlotID) {
    let write = writes[id]
    writes[id].answered = true
    var fault: DiskFault?
    if let refused = write.diskFault, refused.isRefusal {
      // The disk stays, and a read of it shows what was there before.
      fault = refused
    } else if !write.peerHasIt {
      // A disk that is not good (any more) keeps no promise; one that was attached after the write does not have it.
      let isSafe = volumes[v].state.disk == .upToDate && !write.missesDisk && !fencing.isGivenUp
      fault = write.diskFault ?? (isSafe ? nil : Errno.io)
    } else if write.missesDisk, volumes[v].state.peerDisk != .upToDate {
      // Only the peer's disk has the block, and that disk is not UpToDate or not in reach: the application could not read it there.
      fault = write.diskFault ?? Errno.io
    }
    // The application relies on the peer's disk.
    if fault == nil, write.missesDisk { volumes[v].exposed.missWrite() }
    fx.append(.answer(write.ticket, fault))
    if fault == nil {
      if let done = write.times.done { volumes[v].latencies.add(.acknowledgement, now - done) }
      volumes[v].latencies.add(.write, now - write.times.arrived)
    }
    volumes[v].requests.end()
    if !write.asksForFUA { volumes[v].habit.writeAnswered(madeDurable: write.fua && fault == nil) }
    if let hold = write.hold {
      volumes[v].ranges.remove(hold)
      writes[id].hold = nil
      if !volumes[v].parked.isEmpty { lookAgain = true }
    }
    // With protocols A and B a dependent write must not share an epoch with the one it depends on (7.4 rule 2a).
    if write.wireProtocol != .c, write.epoch == epochs.current, write.legs.contains(.epoch) { closeEpoch() }
    if role == .primary, volumes[v].requests.count == 0 { requestsDrained() }
  }

  /// The fence is durable, or there is no disk that could keep one.
  mutating func releaseHeld(_ v: Int) {
    var count = volumes[v].held.count
    while count > 0, let id = volumes[v].held.popFirst() {
      count -= 1
      if writes.contains(id) {
        writes[id].isHeld = false
        settle(id)
      }
    }
    releaseFlushes(v)
  }
}
