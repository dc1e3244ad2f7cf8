// A peer that lies, leaves out or floods: it costs its connection, or nothing at all; never the process, and never data that
// no comparison has given up.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("A rude peer")
struct RudePeerTests {
  private func isBroken(_ bench: Bench) -> Bool { bench.node.volume().replication < .connected }

  private func head(_ sector: UInt64, _ id: UInt64 = syncerBlockID, _ flags: DataFlags = []) -> DataHeader {
    var head = DataHeader()
    head.sector = sector
    head.blockID = id
    head.flags = flags
    return head
  }

  private let block = [UInt64](repeating: 9, count: 8)

  /// A good Secondary whose peer is Primary.
  private func secondary(_ adjust: (inout ResourceSettings) -> Void = { _ in }) throws -> Bench {
    let bench = try Bench(adjust)
    bench.primary()
    _ = bench.order(.secondary)
    bench.say(.stateChangeRequest(StateChange(mask: PackedState(word: 3), value: PackedState(word: 1))))
    bench.say(.state(bench.state(.primary, .connected, .upToDate, .upToDate)))
    bench.node.forgetTrace()
    return bench
  }

  /// A Primary without a disk reads from its peer.
  private func reading() throws -> (Bench, ticket: Ticket, id: UInt64) {
    let bench = try Bench()
    bench.primary()
    _ = bench.order(.detach(.zero, force: true))
    #expect(bench.node.state == "Connected Primary/Secondary Diskless/UpToDate")
    let read = bench.node.read(80, 8)
    bench.settle()
    let ids = bench.node.sent.compactMap { if case .dataRequest(let one) = $0.packet { one.blockID } else { nil } }
    return (bench, read.ticket, try #require(ids.first))
  }

  // MARK: numbers

  @Test(
    "an answer to a read at a place that was not asked for",
    arguments: [.max, .max - 7, .max - 8, 1 << 63, 72, 88, 81, 0] as [UInt64])
  func answerElsewhere(_ sector: UInt64) throws {
    let (bench, ticket, id) = try reading()
    bench.say(.dataReply(head(sector, id)), payload: block)
    #expect(isBroken(bench))
    #expect(bench.node.isAnswered(ticket) && !bench.node.isGood(ticket))
    #expect(bench.node.lentPayloads == 0)
  }

  @Test("an answer to a read that is shorter than what was asked for, or comes twice")
  func answerTwice() throws {
    let (short, _, first) = try reading()
    short.say(.dataReply(head(80, first)), payload: [9])
    #expect(isBroken(short))

    let old = try Bench { $0.net.maximumVersion = 94 }
    old.primary()
    _ = old.order(.detach(.zero, force: true))
    let (ticket, _) = old.node.read(0, 128)
    old.settle()
    let ids = old.node.sent.compactMap { if case .dataRequest(let one) = $0.packet { one.blockID } else { nil } }
    #expect(ids.count == 2)
    let half = [UInt64](repeating: 9, count: 64)
    old.say(.dataReply(head(0, ids[0])), payload: half)
    old.say(.dataReply(head(0, ids[0])), payload: half)
    #expect(isBroken(old))
    #expect(!old.node.isGood(ticket))
  }

  @Test(
    "requests, discards, acks and announcements at the end of the world",
    arguments: [.max, .max - 7, 1 << 63] as [UInt64])
  func endOfTheWorld(_ sector: UInt64) throws {
    let ack = BlockAck(sector: sector, blockID: syncerBlockID, size: 4096, sequence: 0)
    let request = BlockRequest(sector: sector, blockID: 1, size: 4096)
    for packet: Packet in [
      .trim(RangeHeader(head(sector), size: 4096)), .zeroes(RangeHeader(head(sector), size: 128 << 20)),
      .outOfSync(BlockDescriptor(sector: sector, size: 4096)), .dataRequest(request), .resyncRequest(request),
      .thinRequest(request), .verifyRequest(request), .resyncWriteAck(ack), .writeAck(ack), .negativeAck(ack),
      .verifyResult(ack),
    ] {
      let bench = try secondary()
      bench.say(packet)
      #expect(isBroken(bench), "\(packet)")
      #expect(bench.node.lentPayloads == 0, "\(packet)")
    }
  }

  // MARK: floods

  @Test("3500 barriers behind one write are acknowledged one after the other, on a stack that does not grow")
  func barriers() throws {
    let bench = try secondary()
    bench.node.holding = [.peerWrite]
    bench.say(.data(head(0, 1, [.sendWriteAck])), payload: block)
    for handle in 0..<3500 as Range<UInt32> { bench.say(.barrier(handle)) }
    #expect(bench.sent().isEmpty)
    bench.node.stopHolding()
    bench.settle()
    let acks = bench.node.packets { if case .barrierAck = $0 { true } else { false } }
    #expect(acks.count == 3500)
    #expect(acks.first == .barrierAck(BarrierAck(handle: 0, setSize: 1)))
    #expect(acks.last == .barrierAck(BarrierAck(handle: 3499, setSize: 0)))
    #expect(!isBroken(bench))
  }

  @Test("writes without a disk and barriers, mixed, behind a barrier: the stack does not grow either")
  func barriersWithoutDisk() throws {
    let bench = try secondary()
    bench.node.holding = [.peerWrite]
    bench.say(.data(head(0, 1, [.sendWriteAck])), payload: block)
    bench.say(.barrier(1))
    for i in 0..<2000 as Range<UInt64> {
      bench.say(.data(head(80, i + 2, [.sendWriteAck])), payload: block)
      bench.say(.barrier(UInt32(i)))
    }
    bench.node.release(.peerWrite, fault: DiskFault(errno: 5))
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.node.lentPayloads == 0)
  }

  @Test("barriers without end: what reads the peer stops, and one that goes on loses its connection")
  func barriersWithoutEnd() throws {
    let bench = try secondary()
    bench.node.holding = [.peerWrite]
    bench.say(.data(head(0, 1, [.sendWriteAck])), payload: block)
    for handle in 0...UInt32(Engine.maxWaiting) { bench.say(.barrier(handle)) }
    #expect(!isBroken(bench))
    let takes = bench.node.engine.takesPeerRequests
    #expect(!takes)
    bench.say(.barrier(0))
    #expect(isBroken(bench))
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.node.lentPayloads == 0)
  }

  @Test("lines of the log that a peer sets off are few, and those left out are counted")
  func log() throws {
    let bench = try secondary()
    let before = bench.node.log.count
    for _ in 0..<5000 {
      bench.node.inbox.append(
        .event(
          .packet(bench.data, VolumeNumber(7), .state(bench.state(.primary, .connected, .upToDate, .upToDate)), nil)))
    }
    bench.settle()
    #expect(bench.node.log.count - before <= 250)
    bench.pass(.seconds(1))
    bench.node.inbox.append(.event(.packet(bench.data, VolumeNumber(7), .sizes(Sizes()), nil)))
    bench.settle()
    #expect(bench.node.log.contains { $0.contains("more lines about what the peer sent were left out") })
    #expect(!isBroken(bench))
  }

  @Test("while bitmaps are exchanged, writes wait when the peer does not read what is announced of them")
  func announcements() throws {
    let bench = try Bench(diskBytes: 64 << 20)
    bench.attach()
    bench.makeGood()
    let own = bench.node.volume()
    var slots = GenerationIdentifiers()
    slots.current = own.bitmap & ~1
    bench.handshake(slots: slots)
    #expect(bench.node.volume().replication == .wfBitMapS)
    // The bitmap of the peer does not come.
    _ = bench.order(.primary(force: true))
    bench.say(.pingAck)
    bench.say(.stateChangeReply(1))
    #expect(bench.node.state.hasPrefix("WFBitMapS Primary/"))
    bench.node.holdsSent = true
    let most = Engine.maxAnnouncements
    var tickets: [Ticket] = []
    for i in 0..<UInt64(most + 10) {
      tickets.append(bench.node.write(i * 8, stamp: i))
      bench.settle()
    }
    #expect(tickets[..<most].allSatisfy { bench.node.isGood($0) })
    #expect(tickets[most...].allSatisfy { !bench.node.isAnswered($0) })
    bench.node.stopHolding()
    bench.settle()
    #expect(tickets.allSatisfy { bench.node.isGood($0) })
  }

  // MARK: what is left out, or comes too early

  @Test("P_STATE of a disk without P_UUIDS before it")
  func noGenerations() throws {
    let bench = try Bench()
    bench.attach()
    bench.makeGood()
    bench.meet()
    bench.say(.features(Features()))
    var offer = ProtocolOffer()
    offer.letter = 3
    bench.say(.protocolOffer(offer))
    bench.say(.syncParameters(SyncParameters()))
    var sizes = Sizes()
    sizes.backing = bench.node.volume().size.value
    sizes.current = sizes.backing
    bench.say(.sizes(sizes))
    bench.say(.state(bench.state(.secondary, .wfConnection, .upToDate, .unknown)))
    #expect(isBroken(bench))
    #expect(bench.node.volume().disk == .upToDate)
  }

  @Test("a barrier ack before the ack of its write: the write is answered all the same")
  func earlyBarrierAck() throws {
    let bench = try Bench()
    bench.primary()
    let write = bench.node.write(80, stamp: 1)
    bench.settle()
    bench.pass(.seconds(1))
    let handles = bench.node.sent.compactMap { if case .barrier(let handle) = $0.packet { handle } else { nil } }
    bench.say(.barrierAck(BarrierAck(handle: try #require(handles.first), setSize: 1)))
    #expect(isBroken(bench))
    bench.settle()
    #expect(bench.node.isGood(write))
    #expect(bench.node.volume().outOfSync == SectorCount(8))
    #expect(bench.node.volume().pending == 0 && bench.node.volume().upperPending == 0)
    #expect(bench.node.lentPayloads == 0)
  }

  @Test("acks of a resync that has ended clear nothing that was marked since")
  func lateAcks() throws {
    let bench = try Bench()
    bench.primary()
    bench.node.write(80, stamp: 1)
    bench.settle()
    bench.ackLastWrite { .negativeAck($0) }
    #expect(bench.node.volume().outOfSync == SectorCount(8))
    bench.say(.resyncWriteAck(BlockAck(sector: 80, blockID: syncerBlockID, size: 4096, sequence: 0)))
    #expect(bench.node.volume().outOfSync == SectorCount(8))
  }

  // MARK: data that the peer wants to replace

  @Test("a Primary is nobody's target: not behind a peer that calls itself Ahead")
  func ahead() throws {
    for role in [Role.primary, .secondary] {
      let bench = try Bench()
      bench.primary()
      bench.say(.state(bench.state(role, .ahead, .upToDate, .consistent)))
      #expect(isBroken(bench))
      bench.say(.outOfSync(BlockDescriptor(sector: 0, size: 4096)))
      bench.say(.syncUUID(0x54))
      #expect(bench.node.volume().disk == .upToDate)
    }
  }

  @Test("nor is a Secondary the target of another Secondary that calls itself Ahead; of a Primary it is")
  func aheadOfASecondary() throws {
    let bench = try secondary()
    bench.say(.state(bench.state(.secondary, .ahead, .upToDate, .consistent)))
    #expect(isBroken(bench))
    #expect(bench.node.volume().disk == .upToDate)
    let legal = try secondary()
    legal.say(.state(legal.state(.primary, .ahead, .upToDate, .consistent)))
    #expect(legal.node.volume().replication == .behind)
  }

  @Test("a Primary refuses to be the target of a full resync that the peer asks for")
  func invalidated() throws {
    let bench = try Bench()
    bench.primary()
    bench.say(.stateChangeRequest(StateChange(mask: PackedState(word: 0x1f0), value: PackedState(word: 0xb0))))
    #expect(bench.node.packets { $0 == .stateChangeReply(-12) }.count == 1)
    bench.say(.syncUUID(0x54))
    #expect(bench.node.volume().disk == .upToDate)
    // A Secondary takes it.
    let other = try secondary()
    other.say(.stateChangeRequest(StateChange(mask: PackedState(word: 0x1f0), value: PackedState(word: 0xb0))))
    #expect(other.node.volume().replication == .wfSyncUUID)
  }

  @Test("a second Primary on an open connection")
  func secondPrimary() throws {
    let bench = try Bench()
    bench.primary()
    bench.say(.state(bench.state(.primary, .connected, .upToDate, .upToDate)))
    #expect(isBroken(bench))
    #expect(bench.node.volume().disk == .upToDate)
  }

  @Test("a write of a peer that is not Primary, and any write to a Primary, reach no disk")
  func writes() throws {
    for (packet, payload): (Packet, [UInt64]?) in [
      (.data(head(0, 1, [.sendWriteAck])), block), (.trim(RangeHeader(head(0, 1), size: 4096)), nil),
      (.zeroes(RangeHeader(head(0, 1), size: 4096)), nil),
    ] {
      let primary = try Bench()
      primary.primary()
      primary.node.write(0, stamp: 1)
      primary.settle()
      primary.ackLastWrite()
      primary.say(packet, payload: payload)
      #expect(isBroken(primary))
      #expect(primary.disk[0] == 1)
      #expect(primary.node.lentPayloads == 0)

      let other = try secondary()
      other.say(.state(other.state(.secondary, .connected, .upToDate, .upToDate)))
      other.say(packet, payload: payload)
      #expect(isBroken(other))
      #expect(other.disk.content.isEmpty)
    }
  }

  @Test("a write of a peer that was allowed to be Primary, while an older word of it says Secondary")
  func writeBeforeTheRole() throws {
    let bench = try Bench()
    bench.attach()
    bench.makeGood()
    bench.node.engine.volumes[0].generations.bitmap = 0
    bench.node.engine.volumes[0].backing.bitmap.clearAll()
    bench.handshake()
    bench.say(.stateChangeRequest(StateChange(mask: PackedState(word: 3), value: PackedState(word: 1))))
    bench.say(.state(bench.state(.secondary, .connected, .upToDate, .upToDate)))
    bench.say(.data(head(0, 1, [.sendWriteAck])), payload: block)
    #expect(!isBroken(bench))
    #expect(bench.disk[0] == 9)
    bench.say(.state(bench.state(.primary, .connected, .upToDate, .upToDate)))
    bench.say(.state(bench.state(.secondary, .connected, .upToDate, .upToDate)))
    bench.say(.data(head(8, 2, [.sendWriteAck])), payload: block)
    #expect(isBroken(bench))
    #expect(bench.disk[8] == 0)
  }

  @Test("resync data that nobody asked for overwrite nothing")
  func unaskedResync() throws {
    for bench in [
      try secondary(),
      try {
        let b = try Bench(); b.primary(); return b
      }(),
    ] {
      bench.say(.resyncReply(head(0)), payload: block)
      bench.say(.deallocated(BlockDescriptor(sector: 0, size: 4096)))
      #expect(bench.disk.content.isEmpty)
      #expect(bench.node.volume().disk == .upToDate)
      bench.say(.syncUUID(0x54))
      #expect(isBroken(bench))
      #expect(bench.node.volume().disk == .upToDate)
      #expect(bench.node.lentPayloads == 0)
    }
  }

  // MARK: authentication

  private func authenticating() throws -> Bench {
    let bench = try Bench { $0.net.cramHMAC = "sha1" }
    bench.attach()
    bench.makeGood()
    bench.meet()
    return bench
  }

  @Test("the challenge is drawn by who carries out effects, not by the engine's own generator")
  func challenge() throws {
    let bench = try authenticating()
    let before = bench.node.engine.random
    bench.say(.features(Features()))
    #expect(bench.node.trace.contains(.drawChallenge))
    var (one, other) = (before, bench.node.engine.random)
    #expect(one.next() == other.next())
    let challenges = bench.node.sent.compactMap { if case .authChallenge(let bytes) = $0.packet { bytes } else { nil } }
    #expect(challenges.count == 1 && challenges[0].count == 64)
  }

  @Test("a peer's challenge that comes before ours is drawn")
  func earlyChallenge() throws {
    let bench = try authenticating()
    let theirs = [UInt8](repeating: 7, count: 64)
    bench.node.inbox.append(.event(.packet(bench.data, .zero, .features(Features()), nil)))
    bench.node.inbox.append(.event(.packet(bench.data, .zero, .authChallenge(theirs), nil)))
    bench.settle()
    #expect(bench.sent().filter { $0.hasPrefix("P_AUTH") } == ["P_AUTH_CHALLENGE", "P_AUTH_RESPONSE"])
    bench.say(.authChallenge(theirs))
    #expect(bench.closed.contains(bench.data))
  }

  @Test("pings before authentication are answered one by one, and nothing is kept of them")
  func earlyPings() throws {
    let bench = try authenticating()
    bench.say(.features(Features()))
    bench.node.forgetTrace()
    for _ in 0..<1000 { bench.say(.ping) }
    #expect(bench.node.packets { $0 == .pingAck }.count == 1000)
    for _ in 0..<1000 { bench.say(.pingAck) }
    #expect(bench.closed.isEmpty)
  }
}
