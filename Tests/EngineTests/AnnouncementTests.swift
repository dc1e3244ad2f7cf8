// Options changed on an open connection: from which packet on they count, for whom, and which of them need a new connection.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Options told to a connected peer")
struct AnnouncementTests {
  private func change(_ bench: Bench, _ change: (inout NetSettings) -> Void) {
    var settings = bench.node.engine.settings
    change(&settings.net)
    bench.node.engine.adopt(settings)
    _ = bench.order(.announceOptions)
  }

  private func offer(_ letter: WireProtocol, digest: String = "") -> Packet {
    var offer = ProtocolOffer()
    offer.letter = letter.rawValue
    offer.integrityAlgorithm = digest
    return .protocolUpdate(offer)
  }

  private func write(_ bench: Bench, _ sector: UInt64) -> (ticket: Ticket, id: UInt64, flags: DataFlags) {
    let ticket = bench.node.write(sector, stamp: sector + 1)
    bench.settle()
    for one in bench.node.sent.reversed() {
      if case .data(let head) = one.packet { return (ticket, head.blockID, head.flags) }
    }
    return (ticket, 0, [])
  }

  private func ack(_ bench: Bench, _ sector: UInt64, _ id: UInt64, _ make: (BlockAck) -> Packet = { .writeAck($0) }) {
    bench.say(make(BlockAck(sector: sector, blockID: id, size: 4096, sequence: 1)))
  }

  @Test("each write is answered by the protocol it was sent under", arguments: [true, false])
  func underWay(peerChanges: Bool) throws {
    func take(_ letter: WireProtocol) {
      if peerChanges { bench.say(offer(letter)) } else { change(bench) { $0.wireProtocol = letter } }
    }
    let bench = try Bench()
    bench.primary()
    let generation = bench.node.engine.link.generation
    let ofC = write(bench, 0)
    #expect(ofC.flags.contains(.sendWriteAck))
    take(.b)
    let ofB = write(bench, 80)
    #expect(ofB.flags.isDisjoint(with: .sendWriteAck) && ofB.flags.contains(.sendReceiveAck))
    take(.a)
    let ofA = write(bench, 160)
    #expect(ofA.flags.isDisjoint(with: [.sendWriteAck, .sendReceiveAck]))
    #expect(bench.node.isGood(ofA.ticket))
    #expect(bench.node.engine.snapshot().wireProtocol == .a)
    // Nothing that was under way has been answered with it.
    #expect(!bench.node.isAnswered(ofC.ticket) && !bench.node.isAnswered(ofB.ticket))
    ack(bench, 80, ofB.id) { .receiveAck($0) }
    #expect(bench.node.isGood(ofB.ticket) && !bench.node.isAnswered(ofC.ticket))
    take(.c)
    let again = write(bench, 240)
    #expect(again.flags.contains(.sendWriteAck) && !bench.node.isAnswered(again.ticket))
    ack(bench, 240, again.id)
    ack(bench, 0, ofC.id)
    #expect(bench.node.isGood(again.ticket) && bench.node.isGood(ofC.ticket))
    #expect(bench.node.engine.link.generation == generation && bench.node.engine.link.phase.isUp)
    // Epochs are of one protocol: closed by the change, or by the answer of a write of A or B.
    let flush = bench.node.flush()
    bench.settle()
    for epoch in UInt32(0)..<4 {
      #expect(!bench.node.isAnswered(flush))
      bench.say(.barrierAck(BarrierAck(handle: epoch, setSize: 1)))
    }
    #expect(bench.node.isGood(flush))
    #expect(bench.node.volume().outOfSync == .zero)
  }

  @Test("a write of protocol B whose ack is missing is not forgiven because A came after it")
  func barrierBeforeAck() throws {
    let bench = try Bench { $0.net.wireProtocol = .b }
    bench.primary()
    _ = write(bench, 0)
    change(bench) { $0.wireProtocol = .a }
    bench.say(.barrierAck(BarrierAck(handle: bench.node.engine.epochs.current &- 1, setSize: 1)))
    #expect(!bench.node.engine.link.phase.isUp)
  }

  @Test("a digest counts from the announcement on, not a packet earlier, and in that direction only")
  func digest() throws {
    let bench = try Bench()
    bench.primary()
    change(bench) { $0.integrityAlgorithm = "sha1" }
    var sends: DigestName?
    var order: [String] = []
    for effect in bench.node.take() {
      switch effect {
      case .configure(_, let stream):
        sends = stream.sends
        #expect(stream.receives == nil)
        order.append("digest \(stream.sends?.rawValue ?? "none")")
      case .send(_, _, let packet, _, _): order.append(packet.name)
      default: break
      }
    }
    #expect(sends == .sha1)
    #expect(order == ["P_PROTOCOL_UPDATE", "digest sha1", "P_SYNC_PARAM89"])
    bench.say(offer(.c, digest: "crc32c"))
    #expect(bench.node.engine.link.receivesDigest == .crc32c && bench.node.engine.link.sendsDigest == .sha1)
    change(bench) { $0.integrityAlgorithm = "" }
    #expect(bench.node.engine.link.receivesDigest == .crc32c && bench.node.engine.link.sendsDigest == nil)
  }

  @Test("what can be told now, and what needs a new connection")
  func possible() throws {
    func can(_ bench: Bench, _ change: (inout NetSettings) -> Void) -> Bool {
      var net = bench.node.engine.settings.net
      change(&net)
      return bench.node.engine.canAnnounce(net)
    }
    let old = try Bench { $0.net.maximumVersion = 99 }
    old.primary()
    #expect(!can(old) { $0.wireProtocol = .a })
    // A kernel that has agreed to P_ZEROES chokes on it beside digests (K2).
    let kernel = try Bench()
    kernel.primary()
    kernel.node.engine.link.features = [.writeZeroes]
    #expect(can(kernel) { $0.wireProtocol = .a })
    #expect(!can(kernel) { $0.integrityAlgorithm = "crc32c" })
    kernel.node.engine.link.features = []
    #expect(can(kernel) { $0.integrityAlgorithm = "crc32c" })
    #expect(!can(kernel) { $0.integrityAlgorithm = "whirlpool" })
    kernel.node.engine.link.features = [.writeZeroes, .resyncsGrown]
    #expect(can(kernel) { $0.integrityAlgorithm = "crc32c" })
    // During a resync or a verify the algorithms that are in use stay.
    kernel.node.engine.change(0) { $0.conn = .verifyT }
    #expect(can(kernel) { $0.wireProtocol = .a })
    #expect(!can(kernel) { $0.checksumAlgorithm = "sha1" })
    kernel.node.engine.change(0) { $0.conn = .connected }
  }

  @Test("what the peer has announced holds over a reconnect, and until our own options are taken anew")
  func holds() throws {
    let pair = try Pair()
    pair.synced()
    var settings = pair.beta.engine.settings
    settings.net.wireProtocol = .a
    settings.net.afterSplitBrain0 = .discardRemote
    pair.beta.engine.adopt(settings)
    pair.order(.announceOptions, on: pair.beta)
    pair.settle()
    #expect(pair.alpha.engine.link.wireProtocol == .a)
    #expect(pair.alpha.engine.settings.net.afterSplitBrain0 == .discardLocal)
    // Options of the disks, say: those of the connection stay.
    pair.alpha.engine.adopt(pair.alpha.settings, net: .kept)
    #expect(pair.alpha.engine.settings.net.wireProtocol == .a)
    // One option of the connection: those that nobody names stay.
    var one = pair.alpha.settings
    one.net.timeout = .deciseconds(30)
    pair.alpha.engine.adopt(one, net: .taken(except: [.wireProtocol, .afterSplitBrain0]))
    #expect(pair.alpha.engine.settings.net.wireProtocol == .a)
    #expect(pair.alpha.engine.settings.net.timeout == .deciseconds(30))
    #expect(pair.alpha.engine.settings.net.afterSplitBrain0 == .discardLocal)
    pair.cutLink()
    pair.settle()
    pair.mendLink()
    pair.waitConnected()
    #expect(pair.both.allSatisfy { $0.engine.link.wireProtocol == .a })
    pair.alpha.engine.adopt(pair.alpha.settings)
    pair.order(.announceOptions, on: pair.alpha)
    pair.settle()
    #expect(pair.both.allSatisfy { $0.engine.snapshot().wireProtocol == .c })
    pair.expectRest()
  }

  @Test("a protocol that nobody knows costs the connection")
  func unknownLetter() throws {
    let bench = try Bench()
    bench.primary()
    var offer = ProtocolOffer()
    offer.letter = 7
    bench.say(.protocolUpdate(offer))
    #expect(!bench.node.engine.link.phase.isUp)
  }
}
