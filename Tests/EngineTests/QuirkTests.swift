// What kernel DRBD does beside the protocol (wire spec 17, K1 to K33), each met as the table there says. Not here: K2, K19,
// K20 (with their features), K5, K6 on the source's side, K17, K22 on the source's side, K27, K29 to K31 (ResyncTests), K26
// (RaceStoryTests), K8 and K21 (the formats' tests), K14 (EpochTests), K32 (MetadataMoveTests).
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Quirks of the kernel")
struct QuirkTests {
  private func behind(_ blocks: [UInt64], _ adjust: (inout ResourceSettings) -> Void = { _ in }) throws -> Bench {
    let bench = try Bench(adjust)
    bench.fallBehind(blocks)
    return bench
  }

  private func reply(_ bench: Bench, _ block: UInt64) {
    var head = DataHeader()
    head.sector = block * 8
    head.blockID = syncerBlockID
    bench.say(.resyncReply(head), payload: [UInt64](repeating: 9, count: 8))
  }

  private func isBroken(_ bench: Bench) -> Bool { bench.node.volume().replication < .connected }

  @Test("K1: a bitmap of whole words always has its last 64 blocks resynced; any other only what is marked")
  func lastWord() throws {
    for (sectors, expected) in [(8192, 65), (8184, 1)] as [(UInt64, UInt64)] {
      let bench = try behind([5]) { $0.volumes[0].sizeLimit = SectorCount(sectors) }
      #expect(bench.node.volume().size == SectorCount(sectors))
      bench.say(.syncUUID(0x54))
      #expect(bench.node.volume().outOfSync == SectorCount(expected * 8))
      #expect(bench.node.isOutOfSync(sectors / 8 - 1) == (expected > 1))
    }
  }

  @Test("K3: P_WSAME is neither offered nor understood, its feature agreed on all the same")
  func writeSame() throws {
    let bench = try Bench()
    bench.attach()
    bench.makeGood()
    bench.meet()
    var features = Features()
    features.flags = [.trim, .thinResync, .writeSame, .writeZeroes]
    bench.say(.features(features))
    #expect(bench.node.engine.link.features.contains(.writeSame))
    let sizes = bench.node.sent.compactMap { if case .sizes(let sizes) = $0.packet { sizes } else { nil } }
    #expect(sizes.count == 1)
    #expect(sizes.allSatisfy { $0.limits.writeSameCapable == 0 })
  }

  @Test("K6: the last P_STATE is said again when the source stays silent")
  func lastStateAgain() throws {
    let bench = try behind([0])
    bench.say(.syncUUID(0x54))
    reply(bench, 0)
    bench.say(.pingAck)
    #expect(bench.node.volume().disk == .upToDate)
    let states = { bench.sent().filter { $0 == "P_STATE" }.count }
    #expect(states() > 0)
    bench.pass(.seconds(4))
    #expect(states() == 1)
  }

  @Test("K7: a ping before the handshake is over is answered")
  func earlyPing() throws {
    let bench = try Bench()
    bench.attach()
    bench.makeGood()
    bench.meet()
    bench.say(.features(Features()))
    bench.node.forgetTrace()
    bench.say(.ping)
    #expect(bench.node.packets { $0 == .pingAck }.count == 1)
    #expect(bench.closed.isEmpty)
  }

  @Test("K10: bit 0 of a sync UUID means nothing")
  func syncUUID() throws {
    let bench = try behind([0])
    bench.say(.syncUUID(0x55))
    #expect(try bench.disk.superblock().current & ~1 == 0x54)
    reply(bench, 0)
    bench.say(.pingAck)
    #expect(bench.node.volume().disk == .upToDate)
  }

  @Test("K11: P_UUIDS after an accepted disconnect, or none: both end well", arguments: [true, false])
  func trailingUUIDs(_ comes: Bool) throws {
    let bench = try Bench()
    bench.primary()
    let to = bench.order(.disconnect(force: false))
    let own = bench.node.volume()
    bench.say(.connectionChangeReply(1))
    if comes {
      var slots = GenerationIdentifiers()
      slots.current = own.current
      bench.say(.uuids(slots))
    }
    bench.pass(.seconds(5))
    #expect(bench.node.replies[to] == .done)
    #expect(bench.node.volume().replication == .standAlone)
  }

  @Test("K16: an ack of a discard by a diskless peer names no size")
  func discardAck() throws {
    let bench = try Bench()
    bench.primary()
    let ticket = bench.node.discard(800, 80)
    bench.settle()
    let ids = bench.node.sent.compactMap { if case .trim(let head) = $0.packet { head.data.blockID } else { nil } }
    #expect(ids.count == 1)
    bench.say(.writeAck(BlockAck(sector: 800, blockID: ids[0], size: 0, sequence: 1)))
    #expect(bench.node.isGood(ticket))
    #expect(!isBroken(bench))
  }

  @Test("K22: a target whose last event is a refused block ends all the same")
  func lastBlockRefused() throws {
    let bench = try behind([0])
    bench.say(.syncUUID(0x54))
    bench.say(.negativeResyncReply(BlockAck(sector: 0, blockID: syncerBlockID, size: 4096, sequence: 0)))
    bench.say(.pingAck)
    #expect(bench.node.volume().replication == .connected)
    #expect(bench.node.volume().disk == .inconsistent)
  }

  @Test(
    "K23: with pass_on a read that fails here and is refused by the peer is refused to the application, not tried for ever"
  )
  func passOn() throws {
    let bench = try Bench { $0.volumes[0].onIOError = .passOn }
    bench.primary()
    bench.disk.badForReading = 0..<8
    let read = bench.node.read(0)
    bench.settle()
    var asked = 0
    while !bench.node.isAnswered(read.ticket), asked < 10 {
      let ids = bench.node.sent.compactMap { if case .dataRequest(let one) = $0.packet { one.blockID } else { nil } }
      bench.node.forgetTrace()
      guard let id = ids.first else { break }
      asked += 1
      bench.say(.negativeDataReply(BlockAck(sector: 0, blockID: id, size: 4096, sequence: 0)))
    }
    #expect((1...3).contains(asked))
    #expect(!bench.node.isGood(read.ticket))
    let to = bench.order(.secondary)
    #expect(bench.node.replies[to] == .done)
  }

  @Test("K24: 101 and all features are offered, whatever was heard before")
  func offer() throws {
    let bench = try Bench()
    bench.attach()
    bench.meet()
    let features = bench.node.sent.compactMap { if case .features(let one) = $0.packet { one } else { nil } }
    #expect(features.first?.maximum == 101)
    #expect(features.first?.flags.contains(.trim) == true)
  }

  @Test("K25: a discard of a peer without FF_WZEROES reads back as zeroes, whatever was agreed")
  func discardWithoutFeature() throws {
    let bench = try Bench()
    bench.primary()
    _ = bench.order(.secondary)
    bench.node.engine.link.features = []
    bench.say(.state(bench.state(.primary, .connected, .upToDate, .upToDate)))
    bench.node.forgetTrace()
    var head = DataHeader()
    head.sector = 80
    head.blockID = 4
    head.flags = [.discard, .sendWriteAck]
    bench.say(.trim(RangeHeader(head, size: 4096)))
    let zeroes = bench.node.take().count { if case .disk(_, _, .zero) = $0 { true } else { false } }
    #expect(zeroes == 1)
    #expect(!isBroken(bench))
  }

  @Test("K33: states that are older than a forced promotion do not keep its resync away", arguments: [true, false])
  func staleStates(_ promoted: Bool) throws {
    let bench = try Bench()
    bench.attach()
    bench.handshake(disk: .inconsistent)
    let change = StateChange(mask: PackedState(word: 0x1e03), value: PackedState(word: 0x1001))
    bench.say(.stateChangeRequest(change))
    #expect(bench.node.state == "Connected Secondary/Primary Inconsistent/UpToDate")
    // From another thread of the kernel: another volume's resync has begun, and this one shall wait (aftr_isp).
    func waits(_ state: PackedState) -> Packet { .state(PackedState(word: state.word | 1 << 18)) }
    let now = waits(bench.state(.primary, .connected, .upToDate, .inconsistent))
    bench.say(promoted ? now : waits(bench.state(.secondary, .connected, .inconsistent, .inconsistent)))
    #expect(bench.node.volume().replication == .connected)
    var slots = GenerationIdentifiers()
    slots.current = 0x1111_2222_3333_4445
    slots.bitmap = justCreated
    bench.say(.uuids(slots))
    bench.say(now)
    #expect(bench.node.volume().replication == .wfBitMapT)
  }
}
