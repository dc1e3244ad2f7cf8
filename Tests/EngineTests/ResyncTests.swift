// The target of a resync event by event: the order of its steps, what clears a bit, and how it ends.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Resync, event by event: the target")
struct ResyncTests {
  private func steps(_ node: Node) -> [String] {
    node.trace.compactMap { effect in
      switch effect {
      case .send(_, _, let packet, _, _): packet.name
      case .disk(_, _, .flush): "flush"
      case .disk(_, _, .write): "write"
      case .disk(_, _, .read): "read"
      case .metaWrite(_, _, .superblock, _, _): "superblock"
      case .metaWrite(_, _, .bitmapPage, _, _): "page"
      default: nil
      }
    }
  }

  /// A peer whose bitmap UUID is our current: it is ahead of us by these blocks.
  private func target(_ blocks: [UInt64], _ adjust: (inout ResourceSettings) -> Void = { _ in }) throws -> Bench {
    let bench = try Bench(adjust)
    bench.fallBehind(blocks)
    #expect(bench.node.volume().replication == .wfSyncUUID)
    bench.node.forgetTrace()
    return bench
  }

  private func reply(_ bench: Bench, _ sector: UInt64, _ count: Int, stamp: UInt64 = 9) {
    var head = DataHeader()
    head.sector = sector
    head.blockID = syncerBlockID
    bench.say(.resyncReply(head), payload: [UInt64](repeating: stamp, count: count))
  }

  @Test("target: the metadata says Inconsistent before a block is asked for")
  func targetBegins() throws {
    let bench = try target([0, 5])
    bench.node.holding = [.superblock]
    bench.say(.syncUUID(0x55))
    #expect(bench.node.volume().replication == .syncTarget)
    #expect(!steps(bench.node).contains("P_RS_DATA_REQUEST"))
    bench.node.stopHolding()
    bench.settle()
    #expect(steps(bench.node).filter { $0 == "P_RS_DATA_REQUEST" }.count == 2)
    let flags = try bench.disk.superblock().flags
    #expect(!flags.contains(.consistent))
    #expect(try bench.disk.superblock().current & ~1 == 0x54)
  }

  @Test("target: written, acked, flushed, pinged, recorded, and only then told")
  func targetEnds() throws {
    let bench = try target([0])
    bench.say(.syncUUID(0x54))
    bench.node.forgetTrace()
    bench.node.holding = [.resyncWrite, .bracket, .superblock]
    reply(bench, 0, 8)
    #expect(steps(bench.node) == ["write"])
    bench.node.release(.resyncWrite)
    bench.settle()
    #expect(steps(bench.node) == ["write", "P_RS_WRITE_ACK", "flush"])
    bench.node.release(.bracket)
    bench.settle()
    #expect(steps(bench.node) == ["write", "P_RS_WRITE_ACK", "flush", "P_PING"])
    bench.node.forgetTrace()
    bench.say(.pingAck)
    #expect(!steps(bench.node).contains("P_STATE"))
    bench.node.stopHolding()
    bench.settle()
    let order = steps(bench.node)
    #expect(order.last == "P_STATE")
    #expect(order.contains("superblock"))
    #expect(bench.node.volume().disk == .upToDate)
    let superblock = try bench.disk.superblock()
    #expect(superblock.flags.contains([.consistent, .wasUpToDate]))
    #expect(superblock.current & ~1 == 0x1000)
    #expect(bench.disk[0] == 9)
  }

  @Test("target: a block that was not asked for breaks the connection, one that comes late does not")
  func unasked() throws {
    let bench = try target([0])
    bench.say(.syncUUID(0x54))
    reply(bench, 800, 8)
    #expect(bench.node.volume().replication < .connected)
    let late = try target([0])
    late.say(.syncUUID(0x54))
    late.say(.state(late.state(.secondary, .connected, .failed, .inconsistent)))
    reply(late, 0, 8)
    #expect(late.node.volume().replication == .connected)
    #expect(late.node.lentPayloads == 0)
    #expect(late.disk[0] == 0)
    #expect(late.node.volume().outOfSync == SectorCount(8))
  }

  @Test("target: P_OUT_OF_SYNC between bitmap and sync UUID, and during the resync, is asked for, too")
  func announced() throws {
    let bench = try target([0])
    bench.say(.outOfSync(BlockDescriptor(sector: 81, size: 512)))
    bench.say(.syncUUID(0x54))
    #expect(bench.node.volume().outOfSync == SectorCount(16))
    reply(bench, 0, 8)
    reply(bench, 80, 8)
    bench.say(.pingAck)
    #expect(bench.node.volume().disk == .upToDate)
  }

  @Test("target: a block that the source announces while its older data are being written stays out of sync (K30)")
  func overtaken() throws {
    let bench = try target([0, 5])
    bench.say(.syncUUID(0x54))
    bench.say(.state(bench.state(.primary, .syncSource, .upToDate, .inconsistent)))
    bench.node.holding = [.resyncWrite, .peerWrite]
    reply(bench, 0, 8)
    var head = DataHeader()
    head.sector = 40
    head.blockID = 77
    head.sequence = 1
    head.flags = [.maySetInSync, .sendWriteAck]
    bench.say(.data(head), payload: [UInt64](repeating: 4, count: 8))
    bench.say(.outOfSync(BlockDescriptor(sector: 0, size: 4096)))
    bench.say(.outOfSync(BlockDescriptor(sector: 40, size: 4096)))
    bench.node.forgetTrace()
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.node.isOutOfSync(0) && bench.node.isOutOfSync(5))
    #expect(steps(bench.node).contains("P_WRITE_ACK"))
    #expect(bench.node.volume().replication == .syncTarget)
  }

  @Test("target: when the source pulls ahead, what this resync has cleared is marked anew (K31)")
  func distrusted() throws {
    let bench = try target([0, 5])
    bench.say(.syncUUID(0x54))
    reply(bench, 0, 8)
    #expect(!bench.node.isOutOfSync(0))
    bench.node.holding = [.resyncWrite]
    reply(bench, 40, 8)
    bench.say(.state(bench.state(.primary, .ahead, .upToDate, .consistent)))
    #expect(bench.node.volume().replication == .behind)
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.node.isOutOfSync(0) && bench.node.isOutOfSync(5) && !bench.node.isOutOfSync(1))
  }

  @Test("target: a negative reply leaves the block out of sync, and the end says so")
  func refused() throws {
    let bench = try target([0, 5])
    bench.say(.syncUUID(0x54))
    reply(bench, 0, 8)
    bench.say(.negativeResyncReply(BlockAck(sector: 40, blockID: syncerBlockID, size: 4096, sequence: 0)))
    bench.say(.pingAck)
    #expect(bench.node.volume().replication == .connected)
    #expect(bench.node.volume().disk == .inconsistent)
    #expect(bench.node.volume().outOfSync == SectorCount(8))
  }

  @Test("target: the peer's write waits for the resync write on its range, and clears what it covers whole")
  func peerWrites() throws {
    let bench = try target([0, 5])
    bench.say(.syncUUID(0x54))
    bench.say(.state(bench.state(.primary, .syncSource, .upToDate, .inconsistent)))
    bench.node.holding = [.resyncWrite]
    reply(bench, 0, 8, stamp: 1)
    var head = DataHeader()
    head.sector = 0
    head.blockID = 3
    head.flags = [.maySetInSync, .sendWriteAck]
    bench.say(.data(head), payload: [UInt64](repeating: 2, count: 8))
    #expect(bench.disk[0] == 0)
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.disk[0] == 2)
    // Half a block: acked as a resync write, but not cleared.
    head.sector = 40
    bench.say(.data(head), payload: [UInt64](repeating: 3, count: 4))
    #expect(bench.node.isOutOfSync(5))
    #expect(!bench.node.isOutOfSync(0))
    #expect(bench.sent().filter { $0 == "P_RS_WRITE_ACK" }.count == 3)
  }

  @Test("target: a flush at the end that fails on a disk that is kept (pass_on) is not the end")
  func failedFlushAtTheEnd() throws {
    let bench = try target([0]) { $0.volumes[0].onIOError = .passOn }
    bench.say(.syncUUID(0x54))
    bench.node.holding = [.bracket]
    reply(bench, 0, 8)
    bench.node.forgetTrace()
    bench.node.release(.bracket, fault: Errno.io)
    bench.settle()
    #expect(!bench.node.sent.contains { $0.packet == .ping })
    #expect(bench.node.volume().replication < .connected && bench.node.volume().disk == .inconsistent)
    #expect(bench.node.isOutOfSync(0))
  }

  @Test("a read of the peer waits for its write to the same blocks")
  func peerReadBehindWrite() throws {
    let bench = try target([5])
    bench.say(.syncUUID(0x54))
    reply(bench, 40, 8)
    bench.say(.pingAck)
    bench.say(.state(bench.state(.primary, .connected, .upToDate, .upToDate)))
    #expect(bench.node.volume().disk == .upToDate)
    bench.node.holding = [.peerWrite]
    bench.node.forgetTrace()
    var head = DataHeader()
    head.sector = 0
    head.blockID = 3
    bench.say(.data(head), payload: [UInt64](repeating: 2, count: 8))
    bench.say(.dataRequest(BlockRequest(sector: 0, blockID: 4, size: 4096)))
    bench.say(.dataRequest(BlockRequest(sector: 64, blockID: 5, size: 4096)))
    func replies() -> [[UInt64]] { bench.node.sent.filter { $0.packet.name == "P_DATA_REPLY" }.map(\.payload) }
    #expect(replies() == [[UInt64](repeating: 0, count: 8)], "the other block is read at once")
    bench.node.stopHolding()
    bench.settle()
    #expect(replies().last == [UInt64](repeating: 2, count: 8))
    #expect(replies().count == 2, "\(bench.node.sent.map(\.packet.name)) \(bench.node.log.suffix(3))")
  }

  @Test("target: of a stretch that is in use, all blocks but the one in use are asked for")
  func partlyInUse() throws {
    let bench = try Bench()
    bench.fallBehind(Array(0..<16))
    bench.node.forgetTrace()
    let range = BlockRange(Sector(24), SectorCount(8))
    let hold = bench.node.engine.volumes[0].ranges.insert(range, .appWrite)
    // Every range in use has somebody who uses it.
    bench.node.engine.volumes[0].verify.ask(for: range, hold)
    bench.say(.syncUUID(0x54))
    bench.pass(.seconds(3))
    func asked() -> [UInt64] {
      bench.node.sent.compactMap { if case .resyncRequest(let one) = $0.packet { one.sector / 8 } else { nil } }
    }
    #expect(asked() == Array(0..<16).filter { $0 != 3 })
    bench.node.engine.volumes[0].ranges.remove(hold)
    bench.node.engine.volumes[0].verify = Verify()
    bench.pass(.seconds(3))
    #expect(asked().last == 3)
  }

  @Test("an attached disk that is the target stays good until the source has recorded its generation (seed 1509831)")
  func attachedTargetIsOutdated() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.detach(.zero, force: false), on: pair.beta)
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 3)])
    pair.alpha.holding = [.superblock]
    _ = pair.beta.order(.attach(.zero))
    pair.run(limit: .seconds(2), until: { pair.beta.volume().replication == .wfSyncUUID })
    #expect(pair.beta.volume().replication == .wfSyncUUID && pair.beta.volume().disk == .outdated)
    #expect(try pair.beta.disks[.zero]!.superblock().flags.contains(.consistent))
    pair.alpha.stopHolding()
    pair.waitSync()
    pair.expectEqual()
  }
}
