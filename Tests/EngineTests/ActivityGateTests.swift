// The activity gate: what a write waits for before it may start, and what makes room in the log.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Activity gate")
struct ActivityGateTests {
  private func metaWrites(_ node: Node) -> [String] {
    node.trace.compactMap {
      guard case .metaWrite(_, _, let block, _, let barrier) = $0 else { return nil }
      switch block {
      case .superblock: return "superblock"
      case .transaction: return barrier == .nothing ? "transaction without barrier" : "transaction"
      case .emptyTransaction: return "empty"
      case .sealedSuperblock, .erased: return "move"
      case .bitmapPage(let page): return "page \(page)"
      }
    }
  }

  @Test("a write to a cold extent waits for the transaction; then it goes to disk and peer in one step")
  func cold() throws {
    let bench = try Bench()
    bench.primary()
    bench.node.holding = [.activityLog]
    let write = bench.node.write(0, stamp: 1)
    bench.settle()
    #expect(metaWrites(bench.node) == ["transaction"])
    #expect(bench.sent().isEmpty)
    #expect(bench.node.volume().lowerPending == 0)
    bench.node.release(.activityLog)
    bench.settle()
    #expect(bench.node.sent.map(\.packet.name) == ["P_DATA"])
    #expect(bench.disk[0] == 1)
    bench.ackLastWrite()
    #expect(bench.node.isGood(write))
    // Warm now: no metadata at all.
    bench.node.forgetTrace()
    bench.node.write(8, stamp: 2)
    bench.settle()
    #expect(metaWrites(bench.node).isEmpty)
    #expect(bench.sent() == ["P_DATA"])
  }

  @Test("below version 96 a write that waits for its transaction waits for the bitmaps, too", arguments: [95, 96])
  func exchange(_ version: UInt32) throws {
    let bench = try Bench { $0.net.maximumVersion = version }
    bench.primary()
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    _ = bench.order(.disconnect(force: true))
    bench.node.write(0, stamp: 1)
    bench.settle()
    bench.node.holding = [.activityLog]
    let cold = bench.node.write(9000, stamp: 2)
    bench.settle()
    var slots = GenerationIdentifiers()
    slots.current = bench.node.volume().bitmap & ~1
    bench.handshake(slots: slots)
    #expect(bench.node.volume().replication == .wfBitMapS)
    bench.node.release(.activityLog)
    bench.settle()
    #expect(bench.sent().contains("P_OUT_OF_SYNC") == (version >= 96))
    #expect(bench.node.isAnswered(cold) == (version >= 96))
    bench.say(.bitmap([UInt8](repeating: 0, count: (Int(bench.node.volume().size.bits) + 63) / 64 * 8)))
    bench.say(.bitmap([]))
    #expect(bench.node.isOutOfSync(9000 / 8) == (version >= 96))
    // Sent to the peer, now that the exchange has ended.
    if version < 96 { bench.ackLastWrite() }
    #expect(bench.node.isGood(cold))
  }

  @Test("al-updates no: nothing is logged")
  func without() throws {
    let bench = try Bench { $0.volumes[0].alUpdates = false }
    bench.primary()
    bench.node.write(0, stamp: 1)
    bench.settle()
    #expect(metaWrites(bench.node).isEmpty)
    #expect(bench.sent() == ["P_DATA"])
  }

  @Test("a write over two extents waits for both")
  func two() throws {
    let bench = try Bench(diskBytes: 32 << 20)
    bench.primary()
    bench.node.write(8184, 16, stamp: 1)
    bench.settle()
    #expect(metaWrites(bench.node) == ["transaction"])
    #expect(bench.node.engine.volumes[0].backing.log.activeExtents == [ExtentNumber(0), ExtentNumber(1)])
  }

  @Test("the bitmap pages of an evicted extent are on disk before the transaction that evicts it")
  func eviction() throws {
    let bench = try Bench(diskBytes: 64 << 20) { $0.volumes[0].alExtents = 2 }
    bench.primary()
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    // Alone: every write is marked.
    for extent in [0, 1] {
      bench.node.write(UInt64(extent) * 8192, stamp: 1)
      bench.settle()
    }
    bench.node.forgetTrace()
    bench.node.holding = [.bitmapPage]
    let write = bench.node.write(2 * 8192, stamp: 1)
    bench.settle()
    #expect(metaWrites(bench.node) == ["page 0"])
    #expect(!bench.node.isAnswered(write))
    bench.node.stopHolding()
    bench.settle()
    #expect(metaWrites(bench.node) == ["page 0", "transaction"])
    #expect(bench.node.isGood(write))
  }

  @Test("no slot is free while an epoch is open: it is closed, and its ack makes room")
  func starvation() throws {
    let bench = try Bench(diskBytes: 64 << 20) { $0.volumes[0].alExtents = 2 }
    bench.primary()
    for extent in [0, 1] {
      bench.node.write(UInt64(extent) * 8192, stamp: 1)
      bench.settle()
      bench.ackLastWrite()
    }
    bench.node.forgetTrace()
    let write = bench.node.write(5 * 8192, stamp: 1)
    bench.settle()
    #expect(bench.sent() == ["P_BARRIER"])
    #expect(!bench.node.isAnswered(write))
    bench.say(.barrierAck(BarrierAck(handle: bench.node.engine.epochs.current &- 1, setSize: 2)))
    #expect(bench.sent() == ["P_DATA"])
  }

  @Test("a transaction that cannot be written costs the disk, and the write goes to the peer alone")
  func failing() throws {
    let bench = try Bench()
    bench.primary()
    bench.node.holding = [.activityLog]
    let write = bench.node.write(0, stamp: 1)
    bench.settle()
    bench.node.release(.activityLog, fault: DiskFault(errno: 5))
    bench.settle()
    #expect(bench.node.volume().disk == .diskless)
    #expect(bench.disk[0] == 0)
    #expect(bench.sent().contains("P_DATA"))
    _ = write
  }

  @Test("thousands of cold writes get through in order, and each is looked at a few times only")
  func manyCold() throws {
    let count = 4000
    let bench = try Bench(diskBytes: 2 << 30) {
      $0.volumes[0].alExtents = 67
      $0.maxRequests = count
    }
    bench.primary()
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    bench.node.holding = [.activityLog]
    var order: [Int] = []
    var tickets: [Ticket] = []
    for i in 0..<count {
      let sector = UInt64(i % 500) * 8192 + UInt64(i / 500) * 8
      tickets.append(bench.node.write(sector, stamp: UInt64(i + 1)))
    }
    bench.settle()
    #expect(tickets.allSatisfy { !bench.node.isAnswered($0) })
    let before = bench.node.engine.volumes[0].gate.looks
    bench.node.forgetTrace()
    bench.node.stopHolding()
    bench.settle()
    #expect(tickets.allSatisfy { bench.node.isGood($0) })
    // Every write waits for one extent: it is looked at when it comes to the head, and when its extent is durable.
    let looks = bench.node.engine.volumes[0].gate.looks - before
    #expect(looks <= 4 * count, "\(looks) looks at \(count) writes")
    for effect in bench.node.trace {
      if case .disk(_, _, .write(let range, _, _)) = effect { order.append(Int(range.start.value)) }
    }
    #expect(order.count == count)
    // In the order of arrival, but for those whose extent is in the log already: they may go with it.
    for lane in 0..<500 {
      let mine = order.filter { $0 / 8192 == lane }
      #expect(mine == mine.sorted())
    }
    let isEmpty = bench.node.engine.volumes[0].gate.isEmpty
    #expect(isEmpty)
  }
}
