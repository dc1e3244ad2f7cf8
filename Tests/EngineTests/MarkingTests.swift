// What may be on one disk only is marked: writes that a peer had in its cache, writes that a Secondary dropped, writes that a disk
// refused. Each of these marks is all that a later resync knows of.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Marks of what was lost")
struct MarkingTests {
  private func wrote(_ sector: UInt64, _ id: UInt64) -> Packet {
    var head = DataHeader()
    head.sector = sector
    head.blockID = id
    head.flags = [.sendWriteAck]
    return .data(head)
  }

  private func secondary(_ adjust: (inout ResourceSettings) -> Void = { _ in }) throws -> Bench {
    let bench = try Bench(adjust)
    bench.primary()
    _ = bench.order(.secondary)
    bench.say(.stateChangeRequest(StateChange(mask: PackedState(word: 3), value: PackedState(word: 1))))
    bench.say(.state(bench.state(.primary, .connected, .upToDate, .upToDate)))
    bench.node.forgetTrace()
    return bench
  }

  @Test("Primary: what the peer acknowledged and had not flushed when it lost its disk", arguments: [false, true])
  func peerLosesItsDisk(flushed: Bool) throws {
    let bench = try Bench()
    bench.primary()
    let epoch = bench.node.engine.epochs.current
    let write = bench.node.write(80, stamp: 1)
    bench.settle()
    bench.ackLastWrite()
    #expect(bench.node.isGood(write))
    if flushed {
      bench.node.flush()
      bench.settle()
      bench.say(.barrierAck(BarrierAck(handle: epoch, setSize: 1)))
    }
    #expect(!bench.node.isOutOfSync(10))
    bench.say(.state(bench.state(.secondary, .connected, .failed, .upToDate)))
    #expect(bench.node.isOutOfSync(10) == !flushed)
    bench.say(.state(bench.state(.secondary, .connected, .diskless, .upToDate)))
    #expect(bench.node.volume().outOfSync == SectorCount(flushed ? 0 : 8))
  }

  /// Where the peer's write is when the connection ends.
  enum Place: String, CaseIterable, Sendable { case behindBarrier, behindOverlap, onDisk }

  @Test("Secondary: writes of the peer that the end of the connection overtook", arguments: Place.allCases)
  func dropped(_ place: Place) throws {
    let bench = try secondary()
    bench.node.holding = [.peerWrite]
    switch place {
    case .behindBarrier:
      bench.say(wrote(0, 1), payload: [UInt64](repeating: 1, count: 8))
      bench.say(.barrier(7))
      bench.say(wrote(80, 2), payload: [UInt64](repeating: 2, count: 8))
    case .behindOverlap:
      bench.say(wrote(80, 1), payload: [UInt64](repeating: 1, count: 8))
      bench.say(wrote(80, 2), payload: [UInt64](repeating: 2, count: 8))
    case .onDisk: bench.say(wrote(80, 2), payload: [UInt64](repeating: 2, count: 8))
    }
    #expect(bench.node.heldCount(.peerWrite) == 1)
    #expect(bench.node.volume().outOfSync == .zero)
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    // Also what is still on its way to the disk: a bit set later could come after the resync.
    #expect(bench.node.isOutOfSync(10))
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.node.isOutOfSync(10))
    #expect(bench.node.lentPayloads == 0)
  }

  @Test(
    "pass_on: a write that the own disk refused, on either node, is on the other one only", arguments: [true, false])
  func refusedByTheDisk(onPrimary: Bool) throws {
    let adjust = { (settings: inout ResourceSettings) in settings.volumes[0].onIOError = .passOn }
    let bench = try onPrimary ? Bench(adjust) : secondary(adjust)
    if onPrimary { bench.primary() }
    bench.disk.badForWriting = 80..<88
    if onPrimary {
      let write = bench.node.write(80, stamp: 1)
      bench.settle()
      bench.ackLastWrite()
      #expect(bench.node.isGood(write))
    } else {
      bench.say(wrote(80, 1), payload: [UInt64](repeating: 1, count: 8))
      #expect(bench.sent().contains("P_NEG_ACK"))
    }
    #expect(bench.node.volume().disk == .inconsistent)
    #expect(bench.node.isOutOfSync(10))
    #expect(bench.node.volume().outOfSync == SectorCount(8))
  }

  @Test("a write behind a barrier reaches the disk when the epoch before it is durable, wherever it goes")
  func behindBarrier() throws {
    let bench = try secondary()
    bench.node.holding = [.peerWrite, .epochFlush]
    bench.say(wrote(0, 1), payload: [UInt64](repeating: 1, count: 8))
    bench.say(.barrier(7))
    bench.say(wrote(800, 2), payload: [UInt64](repeating: 2, count: 8))
    #expect(bench.node.heldCount(.peerWrite) == 1)
    bench.node.release(.peerWrite)
    bench.settle()
    #expect(bench.node.heldCount(.epochFlush) == 1)
    #expect(bench.node.heldCount(.peerWrite) == 0)
    #expect(bench.disk[800] == 0)
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.disk[800] == 2)
  }

  @Test("target: a block that the source announces while its checksum is on the way stays out of sync")
  func overtakenByAnnouncement() throws {
    let bench = try Bench { $0.net.checksumAlgorithm = "crc32c" }
    bench.fallBehind([0, 5])
    bench.say(.syncUUID(0x54))
    bench.say(.outOfSync(BlockDescriptor(sector: 0, size: 4096)))
    for sector: UInt64 in [0, 40] {
      bench.say(.inSync(BlockAck(sector: sector, blockID: syncerBlockID, size: 4096, sequence: 1)))
    }
    #expect(bench.node.isOutOfSync(0))
    #expect(!bench.node.isOutOfSync(5))
    #expect(bench.node.volume().replication == .syncTarget)
  }
}
