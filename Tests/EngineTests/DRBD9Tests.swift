// What DRBD 9 says differently to a peer with at most version 101 (wire spec 14.2), one test each. Whole recordings are
// played in RecordedPeerTests.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("DRBD 9 as the peer")
struct DRBD9Tests {
  private static let unknownBit: UInt32 = 1 << 23

  private func secondary() throws -> Bench {
    let bench = try Bench()
    bench.primary()
    let to = bench.order(.secondary)
    #expect(bench.node.replies[to] == .done)
    bench.node.forgetTrace()
    return bench
  }

  private func state(
    _ bench: Bench, _ role: Role, _ conn: ConnectionState = .connected, _ disk: DiskState = .upToDate,
    _ peerDisk: DiskState = .upToDate
  ) -> Packet {
    .state(PackedState(word: bench.state(role, conn, disk, peerDisk).word | Self.unknownBit))
  }

  private func change(_ mask: UInt32, _ value: UInt32) -> Packet {
    .connectionChangeRequest(StateChange(mask: PackedState(word: mask), value: PackedState(word: value)))
  }

  private func answers(_ bench: Bench) -> [Int32] {
    let codes: [Int32] = bench.node.sent.compactMap {
      if case .connectionChangeReply(let code) = $0.packet { Int32(code) } else { nil }
    }
    bench.node.forgetTrace()
    return codes
  }

  @Test("bit 23 of every state word means nothing")
  func unknownBit() throws {
    let bench = try secondary()
    bench.say(state(bench, .primary))
    #expect(bench.node.state == "Connected Secondary/Primary UpToDate/UpToDate")
  }

  @Test("promotion and demotion are asked for all volumes at once (0x2a), and the state is said twice")
  func roles() throws {
    let bench = try secondary()
    bench.say(.ping)
    bench.say(change(3, 1))
    #expect(answers(bench) == [1])
    bench.say(state(bench, .primary))
    #expect(bench.node.state == "Connected Secondary/Primary UpToDate/UpToDate")
    bench.say(change(3, 2))
    #expect(answers(bench) == [1])
    bench.say(state(bench, .secondary))
    bench.say(state(bench, .secondary))
    #expect(bench.node.state == "Connected Secondary/Secondary UpToDate/UpToDate")
  }

  @Test("a promotion is refused to it while we are Primary")
  func secondPrimary() throws {
    let bench = try Bench()
    bench.primary()
    bench.say(change(3, 1))
    let codes = answers(bench)
    #expect(codes.count == 1 && codes[0] < 1)
    #expect(bench.node.state == "Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("a forced promotion names the disk state 9, its own number for UpToDate")
  func forced() throws {
    let bench = try secondary()
    bench.say(change(0x1e03, 0x1201))
    #expect(answers(bench) == [1])
  }

  @Test("P_UUIDS again, P_UNPLUG_REMOTE before the first write, 0x58 and 0x59: nothing happens")
  func repeated() throws {
    let bench = try secondary()
    let own = bench.node.volume()
    var slots = GenerationIdentifiers()
    slots.current = own.current
    slots.bitmap = own.bitmap
    // Bit 0 of the history is cleared by DRBD 9.
    slots.history0 = own.history0 & ~1
    slots.history1 = own.history1 & ~1
    bench.say(.unplugRemote)
    for _ in 0..<2 { bench.say(.uuids(slots)) }
    bench.say(.skipped(0x58))
    bench.say(.skipped(0x59))
    bench.say(state(bench, .secondary))
    #expect(bench.node.state == "Connected Secondary/Secondary UpToDate/UpToDate")
    #expect(bench.sent().isEmpty)
  }

  @Test("it leaves by the request 8.4 uses, for all volumes")
  func leaves() throws {
    let bench = try secondary()
    bench.say(change(0x1f0, 0x10))
    #expect(answers(bench) == [1])
  }

  @Test("the end of its resync: P_UUIDS with what it took over, then P_STATE twice")
  func endOfResync() throws {
    let bench = try Bench()
    bench.primary()
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    bench.node.write(0, stamp: 1)
    bench.settle()
    _ = bench.order(.disconnect(force: true))
    let before = bench.node.volume()
    var slots = GenerationIdentifiers()
    slots.current = before.bitmap & ~1
    slots.history0 = before.history0
    slots.history1 = before.history1
    bench.handshake(slots: slots)
    bench.say(.bitmap([1] + [UInt8](repeating: 0, count: 255)))
    bench.say(.bitmap([]))
    bench.say(.resyncRequest(BlockRequest(sector: 0, blockID: 0x77, size: 4096)))
    // It echoes handles of its own.
    let replies = bench.node.sent.compactMap {
      if case .resyncReply(let head) = $0.packet { head.blockID } else { nil }
    }
    #expect(replies == [0x77])
    bench.say(.resyncWriteAck(BlockAck(sector: 0, blockID: 0x77, size: 4096, sequence: 1)))
    bench.say(.ping)
    slots.current = before.current & ~1
    slots.bitmap = 0
    bench.say(.uuids(slots))
    bench.say(state(bench, .secondary))
    bench.say(.pingAck)
    bench.say(state(bench, .secondary))
    #expect(bench.node.state == "Connected Primary/Secondary UpToDate/UpToDate")
    #expect(bench.node.volume().outOfSync == .zero)
    #expect(bench.node.volume().bitmap == 0)
  }
}
