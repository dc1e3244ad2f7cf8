// A read the peer asks for (P_DATA_REQUEST): it has no disk, or not this block (wire spec 8).
import Base
import Protocol

extension Engine {
  mutating func peerReads(_ v: Int, _ request: BlockRequest, _ buffer: PayloadRef?) {
    guard let range = named(v, "a read", request.sector, request.size, longest: longestBlock, buffer),
      let buffer = whole(buffer, range), hasRoomForPeer(buffer)
    else { return }
    trustedByPrimary(v)
    let id = peerRequests.insert(
      PeerRequest(
        kind: .read, volume: v, range: range, blockID: request.blockID, flags: [], payload: buffer,
        connection: link.generation))
    volumes[v].peer.unacked.begin()
    readInTurn(v, id)
  }

  /// The buffer that the reactor adds to a request. nil: there is none of that size, and the connection has ended for it.
  mutating func whole(_ buffer: PayloadRef?, _ range: BlockRange) -> PayloadRef? {
    if let buffer, UInt64(buffer.bytes) == range.bytes { return buffer }
    if let buffer { fx.append(.giveBack(buffer)) }
    breakLink(.protocolError, "a request of \(range.bytes) bytes without a buffer for its answer")
    return nil
  }

  /// It passes no write that came before it, also none that waits behind a barrier: with protocols A and B the
  /// application may have been answered already.
  mutating func readInTurn(_ v: Int, _ id: SlotID) {
    if inbound.barrier != nil {
      inbound.wait(.read(id))
    } else {
      parkOrStart(v, id)
    }
  }

  mutating func startPeerRead(_ v: Int, _ id: SlotID) {
    guard volumes[v].hasDisk, volumes[v].state.disk == .upToDate else {
      refuseRead(v, id, { .negativeDataReply($0) })
      return
    }
    let request = peerRequests[id]
    volumes[v].counters.read += request.range.count.value
    submit(v, .peerRead, id, .read(request.range, request.payload!))
  }

  mutating func refuseRead(_ v: Int, _ id: SlotID, _ make: (BlockAck) -> Packet) {
    if peerRequests[id].connection == link.generation {
      sendAck(v, id, make)
      volumes[v].peer.unacked.end()
    }
    releasePeerRequest(id)
  }

  mutating func peerReadDone(_ id: SlotID, _ fault: DiskFault?) {
    let v = peerRequests[id].volume
    let request = peerRequests[id]
    if let fault {
      refuseRead(v, id, { .negativeDataReply($0) })
      diskFailed(v, fault, "read", request.range)
    } else if request.connection == link.generation {
      var head = DataHeader()
      head.sector = request.range.start.value
      head.blockID = request.blockID
      sendReply(v, id, .dataReply(head), .peerRead)
    } else {
      releasePeerRequest(id)
    }
  }

  /// Sends the bytes of a request; they are given back when the kernel has them.
  mutating func sendReply(_ v: Int, _ id: SlotID, _ packet: Packet, _ kind: WorkID.Kind) {
    let request = peerRequests[id]
    volumes[v].peer.unacked.end()
    peerRequests[id].isAnswered = true
    volumes[v].counters.sent += request.range.count.value
    if let hold = request.hold {
      // The place in the stream is fixed: application writes may go on.
      volumes[v].ranges.remove(hold)
      peerRequests[id].hold = nil
      if !volumes[v].parked.isEmpty { lookAgain = true }
    }
    fx.append(
      .send(link.data!, volumes[v].number, packet, request.payload, notify: WorkID(kind: kind, slot: id)))
  }

  mutating func replySent(_ id: SlotID) { releasePeerRequest(id) }
}
