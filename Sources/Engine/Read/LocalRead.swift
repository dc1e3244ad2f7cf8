// Reads of the application: from the local disk where its data are good, else from the peer (wire spec 8).
import Base
import Protocol

extension Engine {
  mutating func read(
    _ ticket: Ticket, _ number: VolumeNumber, _ range: BlockRange, _ buffer: PayloadRef, since arrived: Instant
  ) {
    let v = index(number)
    precondition(range.count > .zero, "an empty read")
    guard acceptsWrites, range.end <= volumes[v].end else {
      fx.append(.answer(ticket, acceptsWrites ? Errno.io : Errno.shutdown))
      return
    }
    let id = reads.insert(
      AppRead(ticket: ticket, volume: v, range: range, buffer: buffer, arrived: arrived, remote: false))
    volumes[v].requests.begin()
    volumes[v].counters.read += range.count.value
    startRead(id)
  }

  /// Every block of the range is good on the local disk.
  func isGoodHere(_ v: Int, _ range: BlockRange) -> Bool {
    guard volumes[v].hasDisk, volumes[v].state.disk != .negotiating else { return false }
    // Before the bitmaps are merged a sync target does not know what is missing; afterwards what is not marked is good.
    if volumes[v].state.conn == .wfBitMapT { return false }
    switch volumes[v].state.disk {
    case .upToDate: return true
    // The peer, or the word that it is fenced, has not said yet whether the data are current.
    case .consistent: return false
    case .outdated where volumes[v].state.conn <= .connected: return false
    default: break
    }
    return volumes[v].backing.bitsAreComplete && !volumes[v].backing.bitmap.anySet(in: range.bitsTouched)
  }

  private mutating func startRead(_ id: SlotID) {
    let read = reads[id]
    let v = read.volume
    if read.tries == 0, isGoodHere(v, read.range) {
      submit(v, .appRead, id, .read(read.range, read.buffer))
    } else if volumes[v].state.peerDisk == .upToDate, volumes[v].state.conn >= .connected, read.tries < 3 {
      reads[id].remote = true
      volumes[v].peer.pending.begin()
      if epochs.sent > 0, link.wireProtocol != .c { closeEpoch() }
      askPeer(id)
    } else {
      finishRead(id, Errno.io)
    }
  }

  /// One request, or several where the agreed version carries less in one packet.
  private mutating func askPeer(_ id: SlotID) {
    let read = reads[id]
    reads[id].asked = 0
    reads[id].pieceRefused = false
    var offset: UInt64 = 0
    while offset < read.range.bytes {
      let bytes = min(UInt64(longestBlock), read.range.bytes - offset)
      let request = BlockRequest(
        sector: read.range.start.value + offset >> 9, blockID: id.raw, size: UInt32(bytes))
      fx.append(.send(link.data!, volumes[read.volume].number, .dataRequest(request), nil, notify: nil))
      reads[id].asked |= 1 << (offset / UInt64(longestBlock))
      offset += bytes
    }
  }

  private mutating func finishRead(_ id: SlotID, _ fault: DiskFault?) {
    let read = reads.remove(id)
    fx.append(.answer(read.ticket, fault))
    if fault == nil { volumes[read.volume].latencies.add(.read, now - read.arrived) }
    volumes[read.volume].requests.end()
    if volumes[read.volume].requests.count == 0 { requestsDrained() }
  }

  mutating func appReadDone(_ id: SlotID, _ fault: DiskFault?) {
    let v = reads[id].volume
    if let fault {
      diskFailed(v, fault, "read", reads[id].range)
      reads[id].tries = 1
      startRead(id)
    } else {
      finishRead(id, nil)
    }
  }

  /// P_DATA_REPLY.
  mutating func dataReplied(_ v: Int, _ head: DataHeader, _ payload: PayloadRef?) {
    let id = SlotID(raw: head.blockID)
    guard let payload, takePiece(v, id, head.sector, payload.bytes) else {
      if let payload { fx.append(.giveBack(payload)) }
      breakLink(.protocolError, "answer to a read that is not under way (sector \(head.sector))")
      return
    }
    let buffer = reads[id].buffer
    let offset = (head.sector - reads[id].range.start.value) << 9
    volumes[v].counters.received += UInt64(payload.bytes) >> 9
    fx.append(
      .copy(from: payload, to: PayloadRef(page: buffer.page + UInt32(offset >> 12), bytes: payload.bytes)))
    fx.append(.giveBack(payload))
    pieceAnswered(id)
  }

  /// One of the pieces that were asked for, with the bytes that it has (nil: a refusal may not say), and not answered before.
  private mutating func takePiece(_ v: Int, _ id: SlotID, _ sector: UInt64, _ bytes: UInt32?) -> Bool {
    guard reads.contains(id), reads[id].remote, reads[id].volume == v else { return false }
    let range = reads[id].range
    guard sector >= range.start.value, sector < range.end.value else { return false }
    let offset = (sector - range.start.value) << 9
    let piece = offset / UInt64(longestBlock)
    guard offset % UInt64(longestBlock) == 0, reads[id].asked & 1 << piece != 0 else { return false }
    if let bytes, UInt64(bytes) != min(UInt64(longestBlock), range.bytes - offset) { return false }
    reads[id].asked &= ~(1 << piece)
    return true
  }

  private mutating func pieceAnswered(_ id: SlotID) {
    if reads[id].asked != 0 { return }
    if reads[id].pieceRefused {
      retryRead(id)
    } else {
      volumes[reads[id].volume].peer.pending.end()
      finishRead(id, nil)
    }
  }

  /// P_NEG_DREPLY.
  mutating func dataRefused(_ v: Int, _ ack: BlockAck) {
    let id = SlotID(raw: ack.blockID)
    guard takePiece(v, id, ack.sector, nil) else {
      breakLink(.networkFailure, "negative answer to a read that is not under way")
      return
    }
    reads[id].pieceRefused = true
    pieceAnswered(id)
  }

  private mutating func retryRead(_ id: SlotID) {
    volumes[reads[id].volume].peer.pending.end()
    reads[id].remote = false
    reads[id].tries += 1
    startRead(id)
  }

  /// The connection is gone: reads that waited for the peer find another way, or fail.
  mutating func dropRemoteReads() {
    var at = 0
    while let id = reads.next(from: at) {
      at = id.index + 1
      if reads[id].remote { retryRead(id) }
    }
  }
}
