// What a peer without manners sends: packets of its corpus, packets with fields of any value, and packets that fit the moment.
import Base
import Protocol
import Testing

@testable import Engine

extension RudePeer {
  func someSector() -> UInt64 {
    let size = node.engine.volumes[0].size.value
    return random.oneIn(16) ? number() : random.below(max(size / 8, 1)) * 8
  }

  func someHead() -> DataHeader {
    var head = DataHeader()
    head.sector = someSector()
    head.blockID = seen[Int(random.below(UInt64(seen.count)))]
    head.flags = DataFlags(rawValue: UInt32(truncatingIfNeeded: random.next()) & 0x7ff)
    return head
  }

  func someAck() -> BlockAck {
    let marks = [Engine.inSyncMark, Engine.outOfSyncMark]
    let id = random.oneIn(4) ? marks[Int(random.below(2))] : seen[Int(random.below(UInt64(seen.count)))]
    return BlockAck(sector: someSector(), blockID: id, size: someSize(), sequence: 1)
  }

  func someSize() -> UInt32 { [512, 4096, 4096, 4096, 8192, 65536, 1 << 20][Int(random.below(7))] }

  func someRequest() -> BlockRequest {
    BlockRequest(sector: someSector(), blockID: seen[Int(random.below(UInt64(seen.count)))], size: someSize())
  }

  func someState() -> PackedState {
    let conns: [ConnectionState] = [
      .connected, .connected, .connected, .startingSyncS, .startingSyncT, .wfBitMapS, .wfBitMapT, .wfSyncUUID,
      .syncSource,
      .syncTarget, .verifyS, .verifyT, .pausedSyncS, .pausedSyncT, .ahead, .behind,
    ]
    let disks: [DiskState] = [
      .upToDate, .upToDate, .upToDate, .inconsistent, .negotiating, .consistent, .outdated, .diskless,
    ]
    return PackedState(
      role: random.oneIn(3) ? .primary : .secondary, peer: node.engine.role,
      connection: conns[Int(random.below(UInt64(conns.count)))], disk: disks[Int(random.below(UInt64(disks.count)))],
      peerDisk: .upToDate, userPaused: random.oneIn(10))
  }

  func someGenerations() -> GenerationIdentifiers {
    let own = node.volume()
    var slots = GenerationIdentifiers()
    slots.current = own.current & ~1
    slots.bitmap = own.bitmap
    slots.history0 = own.history0
    slots.history1 = own.history1
    switch random.below(6) {
    case 0:
      slots.bitmap = own.current & ~1
      slots.current = random.next()
    case 1: slots.current = own.bitmap & ~1
    case 2: slots.current = random.next()
    case 3: slots.flags = GenerationIdentifiers.Flags(rawValue: random.below(16))
    default: break
    }
    return slots
  }

  func someChange() -> StateChange {
    let words: [(UInt32, UInt32)] = [
      (0x3, 0x1), (0x3, 0x2), (0x1f0, 0xb0), (0x1f0, 0xc0), (0x1f0, 0x120), (0x1e00, 0x400), (0x1e03, 0x1001),
      (0x1f0, 0x10),
    ]
    let (mask, value) = words[Int(random.below(UInt64(words.count)))]
    return StateChange(mask: PackedState(word: mask), value: PackedState(word: value))
  }

  func someSizes() -> Sizes {
    var sizes = Sizes()
    let size = node.engine.volumes[0].size.value
    sizes.backing = random.oneIn(4) ? max(number(), size) : size
    sizes.current = random.oneIn(4) ? max(number(), size) : size
    if random.oneIn(8) { sizes.userLimit = max(number(), size) }
    if random.oneIn(8) { sizes.resizeFlags = UInt16(random.below(4)) }
    return sizes
  }

  func somePacket() -> Packet {
    switch random.below(30) {
    case 0, 1: .data(someHead())
    case 2: .trim(RangeHeader(someHead(), size: someSize()))
    case 3: .zeroes(RangeHeader(someHead(), size: someSize()))
    case 4: .barrier(UInt32(random.below(4)))
    case 5:
      .barrierAck(BarrierAck(handle: node.engine.epochs.closed.first?.number ?? 0, setSize: UInt32(random.below(4))))
    case 6: .dataRequest(someRequest())
    case 7: .dataReply(someHead())
    case 8: .resyncRequest(someRequest())
    case 9: .resyncReply(asked() ?? someHead())
    case 10: .verifyRequest(someRequest())
    case 11: .verifyReply(someRequest(), digest: [UInt8](repeating: 1, count: 20))
    case 12: .outOfSync(BlockDescriptor(sector: someSector(), size: someSize()))
    case 13: .writeAck(someAck())
    case 14: .resyncWriteAck(someAck())
    case 15: .negativeAck(someAck())
    case 16: .verifyResult(someAck())
    case 17: .negativeResyncReply(someAck())
    case 18: .inSync(someAck())
    case 19: .state(someState())
    case 20: .uuids(someGenerations())
    case 21: .syncUUID(random.next())
    case 22: .stateChangeRequest(someChange())
    case 23: .stateChangeReply(random.oneIn(2) ? 1 : -10)
    case 24: .sizes(someSizes())
    case 25: bitmap()
    case 26: .pingAck
    case 27: .connectionChangeRequest(someChange())
    case 28: .checksumRequest(someRequest(), digest: [UInt8](repeating: 1, count: 16))
    default: corpus[Int(random.below(UInt64(corpus.count)))]
    }
  }

  /// What a resync of the engine waits for.
  func asked() -> DataHeader? {
    guard let first = node.engine.volumes[0].resync.asked.first else { return nil }
    var head = DataHeader()
    head.sector = first.range.start.value
    head.blockID = syncerBlockID
    return head
  }

  /// What a good peer might say now, and the bytes of its payload.
  func fitting() -> (Packet, Int?) {
    let volume = node.volume()
    let isPrimary = node.engine.role == .primary
    let size = node.engine.volumes[0].size.value
    func inside(_ request: BlockRequest) -> BlockRequest {
      var request = request
      request.sector = random.below(max(size, 2048) - 2047) & ~7
      request.size = min(request.size, UInt32(PacketRow.longestBlock(version: node.engine.link.version)))
      return request
    }
    switch volume.replication {
    case .wfBitMapS, .wfBitMapT: return (wholeBitmap(), nil)
    case .wfSyncUUID: return (.syncUUID(random.next()), nil)
    case .syncTarget, .pausedSyncT:
      if let head = asked(), !random.oneIn(5), let first = node.engine.volumes[0].resync.asked.first {
        let ack = BlockAck(
          sector: head.sector, blockID: syncerBlockID, size: UInt32(first.range.bytes), sequence: 1)
        switch random.below(8) {
        case 0: return (.negativeResyncReply(ack), nil)
        case 1: return (.inSync(ack), nil)
        default: return (.resyncReply(head), Int(first.range.bytes))
        }
      }
    case .syncSource, .pausedSyncS:
      switch random.below(4) {
      case 0: return (.resyncRequest(inside(someRequest())), nil)
      case 1:
        return (
          .resyncWriteAck(
            BlockAck(sector: random.below(max(size / 8, 1)) * 8, blockID: syncerBlockID, size: 4096, sequence: 1)),
          nil
        )
      case 2:
        return (
          .state(
            PackedState(role: .secondary, peer: .primary, connection: .connected, disk: .upToDate, peerDisk: .upToDate)),
          nil
        )
      default: break
      }
    case .verifyS:
      if let first = node.engine.volumes[0].verify.asked.first {
        let request = BlockRequest(
          sector: first.range.start.value, blockID: syncerBlockID, size: UInt32(first.range.bytes))
        return (.verifyReply(request, digest: [UInt8](repeating: 1, count: 20)), nil)
      }
    case .verifyT:
      return (
        random.oneIn(2)
          ? .verifyRequest(inside(someRequest()))
          : .verifyResult(BlockAck(sector: 0, blockID: Engine.inSyncMark, size: 4096, sequence: 1)), nil
      )
    default: break
    }
    if isPrimary {
      if let write = writes.popLast() {
        switch random.below(12) {
        case 0: return (.negativeAck(write), nil)
        case 1: return (.resyncWriteAck(write), nil)
        case 2: return (.receiveAck(write), nil)
        default: return (.writeAck(write), nil)
        }
      }
      if let read = reads.popLast() {
        var head = DataHeader()
        head.sector = read.sector
        head.blockID = read.blockID
        return random.oneIn(8)
          ? (
            .negativeDataReply(BlockAck(sector: read.sector, blockID: read.blockID, size: read.size, sequence: 1)), nil
          )
          : (.dataReply(head), Int(read.size))
      }
      if let epoch = node.engine.epochs.closed.first, random.oneIn(2) {
        return (.barrierAck(BarrierAck(handle: epoch.number, setSize: epoch.packets)), nil)
      }
    } else if node.engine.volumes[0].state.peerRole == .primary {
      var head = someHead()
      head.sector = random.below(max(size, 2048) - 2047) & ~7
      switch random.below(6) {
      case 0: return (.barrier(UInt32(truncatingIfNeeded: random.next())), nil)
      case 1: return (.trim(RangeHeader(head, size: 65536)), nil)
      default: return (.data(head), 4096)
      }
    }
    switch random.below(8) {
    case 0: return (.pingAck, nil)
    case 1: return (.dataRequest(inside(someRequest())), nil)
    case 2: return (.stateChangeReply(1), nil)
    case 3: return (.stateChangeRequest(someChange()), nil)
    case 4: return (.outOfSync(BlockDescriptor(sector: inside(someRequest()).sector, size: 4096)), nil)
    case 5: return (.ping, nil)
    case 6 where random.oneIn(4): return (.state(someState()), nil)
    default: return (.pingAck, nil)
    }
  }

  /// The next chunk that is due.
  func wholeBitmap() -> Packet {
    guard let receiver = node.engine.volumes[0].exchange.receiver else { return .pingAck }
    let words = (Int(receiver.bits) + 63) / 64 - Int(receiver.bit / 64)
    let most = (4096 - HeaderKind.size(version: node.engine.link.version)) / 8
    let left = receiver.bit == receiver.bits ? 0 : words
    return .bitmap([UInt8](repeating: random.oneIn(2) ? 0 : 0x11, count: min(left, most) * 8))
  }

  func bitmap() -> Packet {
    if random.oneIn(3) { return .bitmap([]) }
    let words = (Int(node.engine.volumes[0].size.bits) + 63) / 64
    return .bitmap([UInt8](repeating: random.oneIn(2) ? 0 : 0x11, count: min(words, 500) * 8))
  }

  static func isSent(_ packet: Packet, on kind: SocketKind, _ version: UInt32) -> Bool {
    let row = packet.code(version: version).row
    guard row.versions.contains(version) else { return false }
    return row.place == .both || (row.place == .data && kind == .data) || (row.place == .meta && kind == .meta)
  }
}
