// The exchange of bitmaps at the start of a resync (wire spec 9.1, 9.3): the source sends its own, the target answers
// with the union, then the source makes the sync UUID.
// Laws: a turn is bounded: a few packets, and the next ones when those have left. The source goes on without its target, if it
// loses it, as soon as it has the target's bitmap: before that is sent, the target's metadata say that its data are old.
import Base
import Protocol

struct Exchange {
  private(set) var sender: BitmapSender?
  private(set) var receiver: BitmapReceiver?
  /// A packet was handed over whose sending is awaited.
  private(set) var isUnderWay = false
  /// Both nodes have begun as the source, and this one has become the target (`yieldsToSource`): its bitmap, sent as that of the
  /// source, is its answer as well.
  private(set) var isCrossed = false
  /// Crossed: the source's bitmap is here, and the metadata say that these data are old.
  private(set) var mayEnd = false

  mutating func expect(bits: UInt64) { receiver = BitmapReceiver(bits: bits) }
  mutating func send(bits: UInt64) { sender = BitmapSender(bits: bits) }
  mutating func cross() { isCrossed = true }
  mutating func sourceIsKnown() { mayEnd = true }

  /// nil: all of it has been handed over.
  mutating func nextPacket(words: UnsafeBufferPointer<UInt64>, useRLE: Bool, version: UInt32) -> Packet? {
    sender?.nextPacket(words: words, useRLE: useRLE, version: version)
  }
  mutating func isSent() { sender = nil }

  mutating func awaitSending() { isUnderWay = true }
  mutating func hasLeft() { isUnderWay = false }

  /// True: the peer's bitmap is complete.
  mutating func receive(
    _ packet: Packet, into words: UnsafeMutableBufferPointer<UInt64>, version: UInt32
  ) throws(ProtocolViolation) -> Bool {
    guard receiver != nil else { preconditionFailure("a bitmap without an exchange of bitmaps") }
    return try receiver!.receive(packet, into: words, version: version)
  }
  /// False: there was none.
  mutating func dropReceiver() -> Bool {
    defer { receiver = nil }
    return receiver != nil
  }

  /// What holds between two events.
  func check(_ conn: ConnectionState) {
    precondition(
      receiver == nil || conn == .wfBitMapS || conn == .wfBitMapT, "a bitmap is expected outside an exchange")
    precondition(!mayEnd || isCrossed, "the end of an exchange that was not crossed")
  }
}

extension Engine {
  /// Source: sends first.
  mutating func beginBitmapExchange(_ v: Int) {
    volumes[v].exchange.send(bits: volumes[v].backing.bitmap.bits)
    volumes[v].exchange.expect(bits: volumes[v].backing.bitmap.bits)
    sendBitmap(v)
  }

  /// Target: waits for the source's.
  mutating func expectBitmap(_ v: Int) {
    beginPatience(v)
    volumes[v].exchange.expect(bits: volumes[v].backing.bitmap.bits)
  }

  private mutating func sendBitmap(_ v: Int) {
    guard let sender = volumes[v].exchange.sender, !volumes[v].exchange.isUnderWay, let data = link.data else {
      return
    }
    guard volumes[v].isAttached, sender.bits == volumes[v].backing.bitmap.bits else {
      breakLink(.protocolError, "the size of \(name(v)) changed while bitmaps were exchanged")
      return
    }
    beginPatience(v)
    let useRLE = settings.net.useRLE && link.version >= 90
    for round in 0..<16 {
      let words = UnsafeBufferPointer(volumes[v].backing.bitmap.words)
      guard let packet = volumes[v].exchange.nextPacket(words: words, useRLE: useRLE, version: link.version) else {
        bitmapSent(v)
        return
      }
      let last = round == 15
      if last { volumes[v].exchange.awaitSending() }
      let tag = UInt64(link.generation) << 8 | UInt64(v)
      fx.append(
        .send(
          data, volumes[v].number, packet, nil,
          notify: last ? WorkID(kind: .exchange, slot: SlotID(raw: tag)) : nil))
    }
  }

  mutating func bitmapPacketSent(_ tag: SlotID) {
    let v = Int(tag.raw & 0xff)
    guard UInt32(truncatingIfNeeded: tag.raw >> 8) == link.generation, volumes[v].exchange.isUnderWay else { return }
    volumes[v].exchange.hasLeft()
    sendBitmap(v)
  }

  private mutating func bitmapSent(_ v: Int) {
    volumes[v].exchange.isSent()
    if volumes[v].exchange.isCrossed {
      endCrossedExchange(v)
    } else if volumes[v].state.conn == .wfBitMapT {
      volumes[v].resync.waitNoLonger()
      change(v) { $0.conn = .wfSyncUUID }
    }
  }

  /// Both bitmaps have come to their ends, in either order. The source may have sent its P_SYNC_UUID behind its bitmap at once.
  private mutating func endCrossedExchange(_ v: Int) {
    guard volumes[v].state.conn == .wfBitMapT, volumes[v].exchange.mayEnd, volumes[v].exchange.sender == nil else {
      return
    }
    volumes[v].resync.waitNoLonger()
    change(v) { $0.conn = .wfSyncUUID }
    if let sync = volumes[v].peer.takeEarlySync() { syncUUIDReceived(v, sync) }
  }

  /// What has been received is part of the bitmap, whether the exchange was completed or broken off: it is counted, and
  /// written before anything relies on it.
  mutating func dropReceiver(_ v: Int) {
    if !volumes[v].exchange.dropReceiver() { return }
    if !volumes[v].isAttached { return }
    volumes[v].backing.bitmap.recount()
    volumes[v].backing.bitmap.merged(0..<volumes[v].backing.bitmap.bits)
  }

  /// P_BITMAP, P_COMPRESSED_BITMAP: the union of both bitmaps.
  mutating func bitmapReceived(_ v: Int, _ packet: Packet) {
    let conn = volumes[v].state.conn
    guard conn == .wfBitMapS || conn == .wfBitMapT, volumes[v].isAttached,
      // As many bits as there were at the start: the volume may have grown since.
      volumes[v].exchange.receiver?.bits == volumes[v].backing.bitmap.bits
    else {
      breakLink(.protocolError, "\(packet.name) in state \(conn.name)")
      return
    }
    beginPatience(v)
    let complete: Bool
    do {
      complete = try volumes[v].exchange.receive(
        packet, into: volumes[v].backing.bitmap.words, version: link.version)
    } catch {
      breakLink(.protocolError, error.description)
      return
    }
    if !complete { return }
    dropReceiver(v)
    volumes[v].backing.bitsAreComplete = true
    if conn == .wfBitMapT {
      // The peer waits for this disk now.
      volumes[v].resync.waitNoLonger()
      if volumes[v].superblock.isDurable {
        answerBitmap(v)
      } else {
        waits.add(.superblock(volumes[v].superblock.wanted), v, .answerBitmap)
      }
    } else {
      startSource(v, targetHasRecorded: true)
    }
  }

  /// Target: the union of both bitmaps goes back.
  mutating func answerBitmap(_ v: Int) {
    guard volumes[v].state.conn == .wfBitMapT else { return }
    if volumes[v].exchange.isCrossed {
      volumes[v].exchange.sourceIsKnown()
      endCrossedExchange(v)
      return
    }
    volumes[v].exchange.send(bits: volumes[v].backing.bitmap.bits)
    sendBitmap(v)
  }
}
