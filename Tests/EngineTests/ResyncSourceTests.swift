// The source of a resync event by event: what it reads, when it clears a bit, whom it believes, and how it ends.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Resync, event by event: the source")
struct ResyncSourceTests {
  private func plain(_ blocks: [UInt64]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 256)
    for block in blocks { bytes[Int(block / 8)] |= 1 << UInt8(block % 8) }
    return bytes
  }

  private func source(_ blocks: [UInt64]) throws -> Bench {
    let bench = try Bench()
    bench.primary()
    let slots = { (bench: Bench) in
      var peer = GenerationIdentifiers()
      peer.current = bench.node.volume().bitmap & ~1
      peer.history0 = bench.node.volume().history0
      peer.history1 = bench.node.volume().history1
      return peer
    }
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    for block in blocks { bench.node.write(block * 8, stamp: block + 1) }
    bench.settle()
    _ = bench.order(.disconnect(force: true))
    bench.handshake(slots: slots(bench))
    #expect(bench.node.volume().replication == .wfBitMapS)
    bench.node.forgetTrace()
    return bench
  }

  @Test("source: the sync UUID is durable before it is sent")
  func sourceBegins() throws {
    let bench = try source([0, 5])
    bench.node.holding = [.superblock]
    bench.say(.bitmap(plain([0, 5])))
    bench.say(.bitmap([]))
    #expect(bench.node.volume().replication == .syncSource)
    #expect(!bench.sent().contains("P_SYNC_UUID"))
    bench.node.stopHolding()
    bench.settle()
    let sent = bench.node.sent.map(\.packet)
    let uuid = try bench.disk.superblock().generations(peerNode: 1).bitmap
    #expect(sent.contains(.syncUUID(uuid)))
  }

  @Test("source in WFBitMapS: a write is announced, unless its block is marked already")
  func announces() throws {
    let bench = try source([0])
    bench.node.write(80, 1, stamp: 1)
    bench.settle()
    bench.node.write(0, stamp: 1)
    bench.settle()
    let announced = bench.node.packets { if case .outOfSync = $0 { true } else { false } }
    #expect(announced.first == .outOfSync(BlockDescriptor(sector: 80, size: 512)))
    #expect(!bench.node.sent.contains { if case .data = $0.packet { true } else { false } })
    #expect(bench.node.volume().outOfSync == SectorCount(16))
  }

  private func running(_ blocks: [UInt64]) throws -> Bench {
    let bench = try source(blocks)
    bench.say(.bitmap(plain(blocks)))
    bench.say(.bitmap([]))
    bench.node.forgetTrace()
    return bench
  }

  @Test("source: a block is read while no write to it is under way, and no write starts until the answer is queued")
  func order() throws {
    let bench = try running([0, 5])
    bench.node.holding = [.resyncRead]
    bench.say(.resyncRequest(BlockRequest(sector: 0, blockID: syncerBlockID, size: 4096)))
    bench.node.write(0, stamp: 77)
    bench.settle()
    #expect(bench.sent() == [])
    bench.node.stopHolding()
    bench.settle()
    let sent = bench.node.sent
    #expect(sent.map(\.packet.name) == ["P_RS_DATA_REPLY", "P_DATA"])
    #expect(sent.first?.payload.first == 1)
    // The other way round: the request waits for the write.
    bench.node.holding = [.appWrite]
    bench.node.forgetTrace()
    bench.node.write(40, stamp: 78)
    bench.settle()
    bench.say(.resyncRequest(BlockRequest(sector: 40, blockID: syncerBlockID, size: 4096)))
    #expect(bench.sent() == ["P_DATA"])
  }

  @Test("source: the target's notice may come before its last ack (K5)")
  func earlyNotice() throws {
    let bench = try running([0])
    bench.say(.resyncRequest(BlockRequest(sector: 0, blockID: syncerBlockID, size: 4096)))
    bench.say(.ping)
    bench.say(.state(bench.state(.secondary, .connected, .upToDate, .upToDate)))
    #expect(bench.node.volume().replication == .syncSource)
    // Its word is not enough: the end begins when our own bits agree.
    #expect(!bench.node.sent.contains { $0.packet == .ping })
    bench.say(.pingAck)
    #expect(bench.node.volume().replication == .syncSource)
    #expect(bench.node.isOutOfSync(0))
    bench.say(.resyncWriteAck(BlockAck(sector: 0, blockID: syncerBlockID, size: 4096, sequence: 1)))
    #expect(bench.node.sent.last?.packet == .ping)
    bench.say(.pingAck)
    #expect(bench.node.state == "Connected Primary/Secondary UpToDate/UpToDate")
    #expect(bench.node.volume().bitmap == 0)
    #expect(bench.node.volume().outOfSync == .zero)
  }

  @Test("source: a target that gave up ends it, with what is missing marked (K17)")
  func targetGivesUp() throws {
    let bench = try running([0])
    bench.say(.negativeAck(BlockAck(sector: 0, blockID: syncerBlockID, size: 4096, sequence: 1)))
    bench.say(.state(bench.state(.secondary, .connected, .inconsistent, .upToDate)))
    #expect(bench.node.state == "Connected Primary/Secondary UpToDate/Inconsistent")
    #expect(bench.node.volume().outOfSync == SectorCount(8))
    #expect(bench.node.volume().bitmap != 0)
  }

  private func passAnsweringPings(_ bench: Bench, seconds: Int) {
    for _ in 0..<seconds {
      bench.pass(.seconds(1))
      if bench.node.sent.contains(where: { $0.packet == .ping }) {
        bench.node.forgetTrace()
        bench.say(.pingAck)
      }
    }
  }

  @Test("source: a target that never ends a resync of which only refused blocks are left is met anew (K22, K27)")
  func targetNeverEnds() throws {
    let bench = try running([0, 5])
    bench.node.settings.volumes[0].onIOError = .passOn
    bench.node.engine.adopt(bench.node.settings)
    bench.disk.badForReading = 0..<8
    bench.say(.resyncRequest(BlockRequest(sector: 0, blockID: syncerBlockID, size: 4096)))
    #expect(bench.sent() == ["P_NEG_RS_DREPLY"])
    passAnsweringPings(bench, seconds: 50)
    #expect(bench.node.volume().replication == .syncSource)
    // It was only slow.
    bench.say(.resyncRequest(BlockRequest(sector: 40, blockID: syncerBlockID, size: 4096)))
    bench.say(.resyncWriteAck(BlockAck(sector: 40, blockID: syncerBlockID, size: 4096, sequence: 1)))
    passAnsweringPings(bench, seconds: 50)
    #expect(bench.node.volume().replication == .syncSource)
    passAnsweringPings(bench, seconds: 15)
    #expect(bench.node.volume().replication < .connected)
    #expect(bench.node.isOutOfSync(0))
    #expect(!bench.node.isOutOfSync(5))
  }

  @Test("source: a peer that does not go on with the exchange of bitmaps is met anew (K29)")
  func bitmapNeverComes() throws {
    let bench = try source([0])
    passAnsweringPings(bench, seconds: 50)
    #expect(bench.node.volume().replication == .wfBitMapS)
    passAnsweringPings(bench, seconds: 15)
    #expect(bench.node.volume().replication < .connected)
    #expect(bench.node.isOutOfSync(0))
  }

  @Test("source: of a disk that fails and fails again the first errors are said, then how many there were")
  func faultsAreCounted() throws {
    let bench = try running([0])
    bench.node.settings.volumes[0].onIOError = .passOn
    bench.node.engine.adopt(bench.node.settings)
    bench.disk.badForReading = 0..<8
    func ask() { bench.say(.resyncRequest(BlockRequest(sector: 0, blockID: syncerBlockID, size: 4096))) }
    func said() -> [String] {
      bench.node.trace.compactMap { if case .log(.error, let text) = $0 { text } else { nil } }
    }
    for _ in 0..<25 { ask() }
    #expect(said() == [String](repeating: "r0/0: local read failed, errno 5: 4096 bytes at sector 0", count: 10))
    bench.node.forgetTrace()
    bench.pass(.seconds(6))
    ask()
    #expect(said().first == "r0/0: 15 more errors of the local disk")
  }

  @Test("source: a write during the resync clears its blocks when both disks have it, whole blocks only")
  func writesClear() throws {
    let bench = try running([0, 5])
    bench.node.holding = [.appWrite]
    bench.node.write(0, stamp: 3)
    bench.settle()
    let flags: DataFlags? = bench.node.sent.compactMap {
      if case .data(let head) = $0.packet { head.flags } else { nil }
    }.last
    #expect(flags?.contains([.maySetInSync, .sendWriteAck]) == true)
    bench.ackLastWrite { .resyncWriteAck($0) }
    #expect(bench.node.isOutOfSync(0))
    bench.node.stopHolding()
    bench.settle()
    #expect(!bench.node.isOutOfSync(0))
    bench.node.write(40, 4, stamp: 3)
    bench.settle()
    bench.ackLastWrite { .resyncWriteAck($0) }
    #expect(bench.node.isOutOfSync(5))
    // An ack that does not say so clears nothing.
    bench.node.write(40, stamp: 4)
    bench.settle()
    bench.ackLastWrite { .writeAck($0) }
    #expect(bench.node.isOutOfSync(5))
  }

  @Test("source: a write that the local disk could not do clears nothing")
  func failedWrite() throws {
    let bench = try running([0, 5])
    bench.disk.badForWriting = 0..<8
    bench.node.settings.volumes[0].onIOError = .passOn
    bench.node.write(0, stamp: 3)
    bench.settle()
    bench.ackLastWrite { .resyncWriteAck($0) }
    #expect(bench.node.volume().disk <= .failed || bench.node.isOutOfSync(0))
  }

  @Test("a resync broken off leaves bits and generations that go on with it")
  func brokenOff() throws {
    let bench = try running([0, 5])
    bench.say(.resyncWriteAck(BlockAck(sector: 0, blockID: syncerBlockID, size: 4096, sequence: 1)))
    let bitmap = bench.node.volume().bitmap
    bench.node.inbox.append(.event(.socketClosed(bench.meta)))
    bench.settle()
    #expect(bench.node.volume().outOfSync == SectorCount(8))
    #expect(bench.node.volume().bitmap == bitmap)
    #expect(bench.node.lentPayloads == 0)
  }
}
