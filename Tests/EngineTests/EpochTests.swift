// Epochs, barriers and acks, as sender and as receiver.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Epochs and acks")
struct EpochTests {
  private var isBroken: (Bench) -> Bool { { $0.node.volume().replication < .connected } }

  @Test("an epoch is closed by a flush, by max-epoch-size, and by time; never when it is empty")
  func closing() throws {
    let bench = try Bench { $0.net.maxEpochSize = 3 }
    bench.primary()
    bench.node.flush()
    bench.settle()
    #expect(bench.sent() == [])
    for i in 0..<3 { bench.node.write(UInt64(i) * 8, stamp: 1) }
    bench.settle()
    #expect(bench.sent() == ["P_DATA", "P_DATA", "P_DATA", "P_BARRIER"])
    bench.node.write(80, stamp: 1)
    bench.settle()
    #expect(bench.sent() == ["P_DATA"])
    bench.pass(.seconds(1))
    #expect(bench.sent() == ["P_BARRIER"])
    bench.pass(.seconds(3))
    #expect(bench.sent() == [])
  }

  @Test("a barrier ack must name the oldest epoch and its number of writes", arguments: [(1, 1), (0, 2), (0, 0)])
  func wrongAck(_ ack: (UInt32, UInt32)) throws {
    let bench = try Bench()
    bench.primary()
    let first = bench.node.engine.epochs.current
    bench.node.write(0, stamp: 1)
    bench.settle()
    bench.ackLastWrite()
    bench.node.flush()
    bench.settle()
    bench.say(.barrierAck(BarrierAck(handle: first &+ ack.0, setSize: ack.1)))
    #expect(isBroken(bench))
    #expect(bench.node.volume().outOfSync == SectorCount(8))
  }

  @Test("a flush waits for the ack of every barrier before it, also across a lost connection")
  func flush() throws {
    let bench = try Bench()
    bench.primary()
    let first = bench.node.engine.epochs.current
    bench.node.write(0, stamp: 1)
    bench.settle()
    bench.ackLastWrite()
    let flush = bench.node.flush()
    bench.settle()
    #expect(!bench.node.isAnswered(flush))
    bench.say(.barrierAck(BarrierAck(handle: first, setSize: 1)))
    #expect(bench.node.isGood(flush))
    bench.node.write(0, stamp: 2)
    bench.settle()
    let other = bench.node.flush()
    bench.settle()
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    // Alone now, and the new generation says so: this disk is what a flush promises.
    #expect(bench.node.isGood(other))
    #expect(bench.node.volume().outOfSync == SectorCount(8))
  }

  @Test("an ack nobody waits for breaks the connection; a negative one only marks its range")
  func unknownAcks() throws {
    for packet in [
      Packet.writeAck(BlockAck(sector: 0, blockID: 0x77_0000_0001, size: 4096, sequence: 1)),
      .receiveAck(BlockAck(sector: 0, blockID: 0x77_0000_0001, size: 4096, sequence: 1)),
    ] {
      let bench = try Bench()
      bench.primary()
      bench.say(packet)
      #expect(isBroken(bench), "\(packet.name)")
    }
    let bench = try Bench()
    bench.primary()
    bench.say(.negativeAck(BlockAck(sector: 80, blockID: 0x77_0000_0001, size: 4096, sequence: 1)))
    #expect(!isBroken(bench))
    #expect(bench.node.volume().outOfSync == SectorCount(8))
  }

  @Test("an ack for another sector than its write's breaks the connection")
  func wrongSector() throws {
    let bench = try Bench()
    bench.primary()
    bench.node.write(0, stamp: 1)
    bench.settle()
    bench.say(.writeAck(BlockAck(sector: 8, blockID: bench.lastWriteID, size: 4096, sequence: 1)))
    #expect(isBroken(bench))
  }

  @Test("a negative ack: the write succeeds by the local disk, its block is out of sync")
  func negative() throws {
    let bench = try Bench()
    bench.primary()
    let write = bench.node.write(80, stamp: 1)
    bench.settle()
    bench.ackLastWrite { .negativeAck($0) }
    #expect(bench.node.isGood(write))
    #expect(bench.node.volume().outOfSync == SectorCount(8))
  }

  @Test(
    "a write in two packets of which the peer refuses one is no success when the own disk does not have it (seed 865197)",
    arguments: [0, 1])
  func refusedInPart(_ refused: Int) throws {
    let bench = try Bench { $0.net.maximumVersion = 95 }
    bench.primary()
    bench.disk.badForWriting = 0..<512
    let write = bench.node.write(0, 512, stamp: 1)
    bench.settle()
    let packets = bench.node.sent.compactMap { one -> BlockAck? in
      guard case .data(let head) = one.packet else { return nil }
      return BlockAck(
        sector: head.sector, blockID: head.blockID, size: UInt32(one.payload.count * 512), sequence: 1)
    }
    #expect(packets.map(\.sector) == [0, 256])
    for (i, ack) in packets.enumerated() { bench.say(i == refused ? .negativeAck(ack) : .writeAck(ack)) }
    // The peer has recorded that this disk is old: nothing else is waited for.
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    #expect(bench.node.isAnswered(write) && !bench.node.isGood(write))
  }

  @Test("a write that the peer does not have is answered when the new generation is durable, not before")
  func fence() throws {
    let bench = try Bench()
    bench.primary()
    let old = bench.node.generations()[0]
    let write = bench.node.write(0, stamp: 1)
    bench.settle()
    bench.node.holding = [.superblock]
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    #expect(!bench.node.isAnswered(write))
    let flush = bench.node.flush()
    bench.settle()
    #expect(!bench.node.isAnswered(flush))
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.node.isGood(write))
    #expect(bench.node.isGood(flush))
    #expect(try bench.disk.superblock().generations(peerNode: 1).bitmap & ~1 == old)
  }

  // MARK: Receiving

  private func wrote(_ sector: UInt64, _ id: UInt64, _ flags: DataFlags = [.sendWriteAck]) -> Packet {
    var head = DataHeader()
    head.sector = sector
    head.blockID = id
    head.flags = flags
    return .data(head)
  }

  private func secondary() throws -> Bench {
    let bench = try Bench()
    bench.primary()
    let to = bench.order(.secondary)
    #expect(bench.node.replies[to] == .done)
    bench.say(.stateChangeRequest(StateChange(mask: PackedState(word: 3), value: PackedState(word: 1))))
    bench.say(.state(bench.state(.primary, .connected, .upToDate, .upToDate)))
    bench.node.forgetTrace()
    return bench
  }

  @Test("a barrier is acked after the acks of its writes and after a flush; later writes wait for it")
  func receiving() throws {
    let bench = try secondary()
    bench.node.holding = [.peerWrite, .epochFlush]
    bench.say(wrote(0, 1), payload: [UInt64](repeating: 1, count: 8))
    bench.say(wrote(80, 2), payload: [UInt64](repeating: 2, count: 8))
    bench.say(.barrier(0xdead_beef))
    bench.say(wrote(0, 3), payload: [UInt64](repeating: 3, count: 8))
    #expect(bench.node.heldCount(.peerWrite) == 2)
    bench.node.release(.peerWrite, count: 1)
    bench.settle()
    #expect(bench.sent() == ["P_WRITE_ACK"])
    bench.node.release(.peerWrite, count: 1)
    bench.settle()
    #expect(bench.sent() == ["P_WRITE_ACK"])
    #expect(bench.node.heldCount(.epochFlush) == 1)
    #expect(bench.node.heldCount(.peerWrite) == 0)
    bench.node.release(.epochFlush)
    bench.settle()
    let acks = bench.node.packets { if case .barrierAck = $0 { true } else { false } }
    #expect(acks == [.barrierAck(BarrierAck(handle: 0xdead_beef, setSize: 2))])
    #expect(bench.node.heldCount(.peerWrite) == 1)
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.disk[0] == 3)
  }

  @Test("an epoch whose writes all came with FUA is durable as it is: no flush before its ack")
  func writtenThrough() throws {
    let bench = try secondary()
    bench.node.holding = [.epochFlush]
    bench.say(wrote(0, 1, [.sendWriteAck, .fua]), payload: [UInt64](repeating: 1, count: 8))
    bench.say(.barrier(7))
    #expect(bench.sent() == ["P_WRITE_ACK", "P_BARRIER_ACK"])
    bench.say(wrote(8, 2, [.sendWriteAck, .fua]), payload: [UInt64](repeating: 1, count: 8))
    bench.say(wrote(16, 3), payload: [UInt64](repeating: 1, count: 8))
    bench.say(.barrier(8))
    #expect(bench.sent() == ["P_WRITE_ACK", "P_WRITE_ACK"])
    #expect(bench.node.heldCount(.epochFlush) == 1)
    bench.node.stopHolding()
    bench.settle()
  }

  @Test("writes that overlap reach the disk in the order they came, others at once")
  func overlap() throws {
    let bench = try secondary()
    bench.node.holding = [.peerWrite]
    bench.say(wrote(0, 1), payload: [UInt64](repeating: 1, count: 16))
    bench.say(wrote(8, 2), payload: [UInt64](repeating: 2, count: 16))
    bench.say(wrote(16, 3), payload: [UInt64](repeating: 3, count: 16))
    bench.say(wrote(800, 4), payload: [UInt64](repeating: 4, count: 8))
    #expect(bench.node.heldCount(.peerWrite) == 2)
    bench.node.release(.peerWrite, count: 1)
    bench.settle()
    #expect(bench.node.heldCount(.peerWrite) == 2)
    bench.node.stopHolding()
    bench.settle()
    #expect([0, 8, 16, 24].map { bench.disk[$0] } == [1, 2, 3, 3])
  }

  @Test("the ack kind is what each packet asks for", arguments: [DataFlags.sendWriteAck, .sendReceiveAck, []])
  func kinds(_ flags: DataFlags) throws {
    let bench = try secondary()
    bench.node.holding = [.peerWrite]
    bench.say(wrote(0, 1, flags), payload: [UInt64](repeating: 1, count: 8))
    #expect(bench.sent() == (flags == .sendReceiveAck ? ["P_RECV_ACK"] : []))
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.sent() == (flags == .sendWriteAck ? ["P_WRITE_ACK"] : []))
  }

  @Test(
    "a write outside the volume, of odd size, or too large breaks the connection", arguments: [16296, 16304, 1 << 50])
  func outside(_ sector: UInt64) throws {
    let bench = try secondary()
    bench.say(wrote(sector, 1), payload: [UInt64](repeating: 1, count: 16))
    #expect(isBroken(bench))
    #expect(bench.node.lentPayloads == 0)
  }
}
