// Time: pings and their acks, the patience with late acks, the search with its jitter, limits of the handshake.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Time")
struct LivenessTests {
  private func pings(_ bench: Bench) -> Int { bench.node.sent.count { $0.packet == .ping } }

  @Test("an idle connection is pinged every ping-int; without an ack it is lost after ping-timeout")
  func idle() throws {
    let bench = try Bench()
    bench.primary()
    bench.pass(.milliseconds(9_900))
    #expect(pings(bench) == 0)
    bench.pass(.milliseconds(200))
    #expect(pings(bench) == 1)
    bench.say(.pingAck)
    bench.pass(.milliseconds(10_100))
    #expect(pings(bench) == 2)
    bench.pass(.milliseconds(300))
    #expect(bench.node.volume().replication == .connected)
    bench.pass(.milliseconds(300))
    #expect(bench.node.volume().replication < .connected)
    #expect(bench.closed == [bench.data, bench.meta])
  }

  @Test("what arrives on the data socket counts as life, too")
  func dataCounts() throws {
    let bench = try Bench()
    bench.primary()
    for _ in 0..<5 {
      bench.pass(.milliseconds(9_000))
      bench.say(.unplugRemote)
    }
    #expect(pings(bench) == 0)
    #expect(bench.node.volume().replication == .connected)
  }

  @Test("a ping is answered at once, whatever the disk does")
  func answered() throws {
    let bench = try Bench()
    bench.primary()
    bench.node.holding = [.appWrite, .activityLog]
    bench.node.write(0, stamp: 1)
    bench.settle()
    bench.say(.ping)
    #expect(bench.node.sent.last?.packet == .pingAck)
    #expect(bench.node.sent.last?.socket == bench.meta)
  }

  @Test("a write that is not acked for ko-count x timeout costs the connection, even if pings are answered")
  func koCount() throws {
    let bench = try Bench {
      $0.net.koCount = 3
      $0.net.timeout = .seconds(2)
    }
    bench.primary()
    let write = bench.node.write(0, stamp: 1)
    bench.settle()
    for _ in 0..<5 {
      bench.pass(.seconds(1))
      bench.say(.unplugRemote)
    }
    #expect(!bench.node.isAnswered(write))
    bench.pass(.seconds(2))
    #expect(bench.node.isGood(write))
    #expect(bench.node.volume().replication < .connected)
    #expect(bench.node.volume().outOfSync == SectorCount(8))
  }

  @Test("ko-count 0 waits for ever")
  func patience() throws {
    let bench = try Bench { $0.net.koCount = 0 }
    bench.primary()
    let write = bench.node.write(0, stamp: 1)
    for _ in 0..<20 {
      bench.pass(.seconds(8))
      bench.say(.unplugRemote)
    }
    #expect(!bench.node.isAnswered(write))
    #expect(bench.node.volume().replication == .connected)
  }

  @Test("attempts to connect follow each other after connect-int, a seventh more or less", arguments: 1...20)
  func jitter(_ seed: UInt64) throws {
    let bench = try Bench(seed: seed)
    bench.attach()
    _ = bench.order(.connect(discardMyData: false))
    #expect(bench.connects == 1)
    for attempt in 1...4 {
      bench.node.inbox.append(.event(.connectFailed(why: "refused")))
      bench.pass(.milliseconds(8_500))
      #expect(bench.connects == attempt)
      bench.pass(.milliseconds(2_930))
      #expect(bench.connects == attempt + 1)
    }
  }

  @Test("a socket that says nothing, the wrong thing, or hangs up is let go")
  func strangers() throws {
    let bench = try Bench()
    bench.attach()
    _ = bench.order(.connect(discardMyData: false))
    for (number, what) in [(11, nil), (12, Packet.ping), (13, .features(Features()))] as [(UInt32, Packet?)] {
      bench.node.inbox.append(.event(.accepted(SocketID(number))))
      if let what { bench.node.inbox.append(.event(.packet(SocketID(number), .zero, what, nil))) }
      bench.settle()
    }
    bench.node.inbox.append(.event(.accepted(SocketID(14))))
    bench.node.inbox.append(.event(.socketClosed(SocketID(14))))
    bench.pass(.seconds(5))
    #expect(bench.closed.isSuperset(of: [SocketID(11), SocketID(12), SocketID(13)]))
    // The true peer is let in all the same.
    bench.node.inbox.append(.event(.connected(bench.data)))
    bench.node.inbox.append(.event(.accepted(bench.meta)))
    bench.node.inbox.append(.event(.packet(bench.meta, .zero, .initialMeta, nil)))
    bench.pass(.seconds(1))
    #expect(bench.node.sent.contains { if case .features = $0.packet { true } else { false } })
  }

  @Test("two attempts that cross: the accepted socket stays, the own one is closed")
  func crossed() throws {
    let bench = try Bench()
    bench.attach()
    _ = bench.order(.connect(discardMyData: false))
    bench.node.inbox.append(.event(.connected(SocketID(21))))
    bench.settle()
    bench.node.inbox.append(.event(.accepted(SocketID(22))))
    bench.node.inbox.append(.event(.packet(SocketID(22), .zero, .initialData, nil)))
    bench.settle()
    #expect(bench.closed == [SocketID(21)])
    #expect(bench.node.engine.link.resolveConflicts == false)
    bench.node.inbox.append(.event(.accepted(SocketID(23))))
    bench.node.inbox.append(.event(.packet(SocketID(23), .zero, .initialMeta, nil)))
    bench.pass(.seconds(1))
    #expect(bench.node.engine.link.resolveConflicts)
    #expect(bench.node.engine.link.data == SocketID(22))
    #expect(bench.node.engine.link.meta == SocketID(23))
  }

  @Test("a socket that dies while the pair is not yet relied on sends both back to the search")
  func diesEarly() throws {
    let bench = try Bench()
    bench.attach()
    _ = bench.order(.connect(discardMyData: false))
    bench.node.inbox.append(.event(.connected(SocketID(21))))
    bench.node.inbox.append(.event(.accepted(SocketID(22))))
    bench.node.inbox.append(.event(.packet(SocketID(22), .zero, .initialMeta, nil)))
    bench.pass(.milliseconds(300))
    bench.node.inbox.append(.event(.socketClosed(SocketID(21))))
    bench.pass(.seconds(30))
    #expect(bench.node.volume().replication == .wfConnection)
    #expect(!bench.node.sent.contains { if case .features = $0.packet { true } else { false } })
  }

  @Test("a peer that stops in the middle of the handshake is given up on, and tried again", arguments: 0..<5)
  func stalled(_ steps: Int) throws {
    let bench = try Bench()
    bench.attach()
    _ = bench.order(.connect(discardMyData: false))
    bench.node.inbox.append(.event(.connected(bench.data)))
    bench.node.inbox.append(.event(.accepted(bench.meta)))
    bench.node.inbox.append(.event(.packet(bench.meta, .zero, .initialMeta, nil)))
    bench.pass(.seconds(1))
    var sizes = Sizes()
    sizes.backing = 16304
    let packets: [Packet] = [
      .features(Features()), .protocolOffer(ProtocolOffer()), .syncParameters(SyncParameters()), .sizes(sizes),
    ]
    for packet in packets.prefix(steps) { bench.say(packet) }
    let before = bench.connects
    bench.pass(.seconds(60))
    #expect(bench.closed.isSuperset(of: [bench.data, bench.meta]))
    #expect(bench.connects > before)
    #expect(bench.node.engine.connectionRefusal == nil)
  }
}
