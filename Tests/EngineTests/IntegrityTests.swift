// `data-integrity-alg` as the engine sees it: what is offered and agreed, which stream gets which digest, and what a wrong
// one costs. The digests themselves are computed where the bytes lie.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Data integrity")
struct IntegrityTests {
  private func streams(_ node: Node) -> [PacketStream] {
    node.take().compactMap { if case .configure(_, let stream) = $0 { stream } else { nil } }
  }

  @Test("both directions carry the digest that both nodes name")
  func agreed() throws {
    let pair = try Pair { settings, _ in settings.net.integrityAlgorithm = "sha1" }
    pair.attach()
    for node in pair.both { node.forgetTrace() }
    pair.connect()
    for node in pair.both {
      let last = try #require(streams(node).last { $0.socket == .data })
      #expect(last.sends == .sha1)
      #expect(last.receives == .sha1)
      #expect(last.integrityDigestSize == 20)
      #expect(!last.features.contains(.writeZeroes), "a kernel chokes on P_ZEROES with digests (K2)")
    }
  }

  @Test("different digests are refused by both")
  func different() throws {
    let pair = try Pair { settings, isAlpha in settings.net.integrityAlgorithm = isAlpha ? "sha1" : "" }
    pair.attach()
    for node in pair.both { pair.order(.connect(discardMyData: false), on: node) }
    pair.pass(.seconds(30))
    for node in pair.both {
      #expect(node.state.hasPrefix("StandAlone"))
      #expect(node.engine.connectionRefusal?.contains("data-integrity-alg") == true)
    }
  }

  @Test("a digest that nobody knows here is refused with its name")
  func unknown() throws {
    let bench = try Bench { $0.net.integrityAlgorithm = "whirlpool" }
    bench.attach()
    bench.meet()
    bench.say(.features(Features()))
    #expect(bench.node.engine.connectionRefusal?.contains("whirlpool") == true)
  }

  @Test("a payload that was changed on the way costs the connection; the write is resynced")
  func wrongDigest() throws {
    let pair = try Pair()
    pair.synced()
    pair.network.held.insert(.init(to: 1, kind: .data))
    let ticket = pair.alpha.write(80, stamp: 7)
    pair.settle()
    let end = try #require(pair.network.end(1, .data))
    pair.beta.inbox.append(
      .event(.violation(end.socket, .wrongDigest(packet: "P_DATA", sector: 80, on: .data))))
    pair.settle()
    #expect(pair.beta.disks[.zero]![80] == 0)
    pair.network.held = []
    pair.run(until: { pair.alpha.isAnswered(ticket) })
    pair.waitConnected()
    pair.waitSync()
    #expect(pair.alpha.isGood(ticket))
    #expect(pair.beta.disks[.zero]![80] == 7)
    pair.expectEqual()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("P_PROTOCOL_UPDATE changes what the peer's payloads carry, not ours")
  func update() throws {
    let bench = try Bench()
    bench.primary()
    var offer = ProtocolOffer()
    offer.integrityAlgorithm = "crc32c"
    bench.say(.protocolUpdate(offer))
    let stream = try #require(streams(bench.node).last)
    #expect(stream.receives == .crc32c)
    #expect(stream.sends == nil)
  }
}
