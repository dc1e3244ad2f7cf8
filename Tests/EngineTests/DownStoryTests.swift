// `down` ends everything from any state: nothing hangs, nothing is left, and the disk is closed in order.
import Base
import MetaDisk
import Testing

@testable import Engine

@Suite("Two nodes: down from every state")
struct DownStoryTests {
  /// Downs the node and looks at what is left.
  private func down(_ node: Node, _ pair: Pair, at location: SourceLocation = #_sourceLocation) {
    pair.order(.down, on: node, at: location)
    pair.settle()
    #expect(node.state.hasPrefix("StandAlone Secondary/Unknown Diskless/"), sourceLocation: location)
    #expect(node.engine.nextDeadline == nil, sourceLocation: location)
    if node.disks[.zero] != nil {
      let flags = Result { try node.disks[.zero]!.superblock().flags }
      if case .success(let flags) = flags {
        #expect(!flags.contains(.primaryIndicator), sourceLocation: location)
      }
    }
    pair.expectRest(at: location)
  }

  @Test("nothing done yet, and twice")
  func nothing() throws {
    let pair = try Pair()
    down(pair.alpha, pair)
    down(pair.alpha, pair)
  }

  @Test("attached, searching, connected")
  func early() throws {
    let pair = try Pair()
    pair.attach()
    down(pair.alpha, pair)
    pair.order(.attach(.zero), on: pair.alpha)
    pair.order(.connect(discardMyData: false), on: pair.alpha)
    pair.pass(.seconds(3))
    down(pair.alpha, pair)
    pair.order(.attach(.zero), on: pair.alpha)
    pair.connect()
    down(pair.alpha, pair)
    pair.pass(.seconds(3))
    #expect(pair.beta.state == "WFConnection Secondary/Unknown Inconsistent/Inconsistent")
    down(pair.beta, pair)
  }

  @Test("while the disk is being opened and read", arguments: 0..<12)
  func duringAttach(_ steps: Int) throws {
    let pair = try Pair()
    pair.alpha.holding = [.attach, .superblock]
    let attach = pair.alpha.order(.attach(.zero))
    pair.settle()
    for _ in 0..<steps {
      pair.alpha.release(.attach, count: 1)
      pair.alpha.release(.superblock, count: 1)
      pair.settle()
    }
    let to = pair.alpha.order(.down)
    pair.settle()
    pair.alpha.stopHolding()
    pair.settle()
    #expect(pair.alpha.replies[to] == .done)
    #expect(pair.alpha.replies[attach] != nil)
    #expect(pair.alpha.state == "StandAlone Secondary/Unknown Diskless/DUnknown")
    pair.expectRest()
  }

  @Test("both nodes at once: neither looks for the other again", arguments: [Command.down, .disconnect(force: false)])
  func bothAtOnce(_ command: Command) throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    let replies = pair.both.map { $0.order(command) }
    pair.pass(.seconds(5))
    for (node, reply) in zip(pair.both, replies) {
      #expect(node.replies[reply] == .done)
      #expect(node.state.hasPrefix("StandAlone Secondary/Unknown"))
    }
    pair.expectRest()
  }

  @Test("in every stage of the handshake", arguments: 0..<10)
  func duringHandshake(_ stage: Int) throws {
    for target in [0, 1] {
      let pair = try Pair { settings, _ in settings.net.cramHMAC = "sha1" }
      pair.attach()
      for node in pair.both { pair.order(.connect(discardMyData: false), on: node) }
      pair.network.held = [.init(to: 1, kind: .data), .init(to: 1, kind: .meta)]
      pair.run(limit: .seconds(5), until: { [network = pair.network] in network.end(1, .data) != nil })
      for _ in 0..<stage { pair.network.deliverHeld(to: pair.network.end(1, .data)!) }
      let to = pair.both[target].order(.down)
      pair.settle()
      pair.network.held = []
      pair.pass(.seconds(1))
      #expect(pair.both[target].replies[to] == .done)
      down(pair.both[1 - target], pair)
    }
  }

  @Test("Primary with writes and flushes under way: they are answered first")
  func primary() throws {
    let pair = try Pair()
    pair.synced()
    pair.alpha.holding = [.appWrite, .appFlush]
    let tickets = [pair.alpha.write(0, stamp: 1), pair.alpha.write(8, stamp: 2), pair.alpha.flush()]
    pair.settle()
    let to = pair.alpha.order(.down)
    pair.settle()
    #expect(pair.alpha.replies[to] == nil)
    pair.alpha.stopHolding()
    pair.wait(pair.alpha, tickets)
    pair.run(until: { pair.alpha.replies[to] != nil })
    #expect(pair.alpha.replies[to] == .done)
    #expect(pair.alpha.state == "StandAlone Secondary/Unknown Diskless/DUnknown")
    pair.expectRest()
    pair.pass(.seconds(2))
    #expect(pair.beta.state == "WFConnection Secondary/Unknown UpToDate/DUnknown")
  }

  @Test("Primary alone, with blocks out of sync: the bitmap is on disk")
  func primaryAlone() throws {
    let pair = try Pair()
    pair.synced()
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 1), pair.alpha.write(800, stamp: 1)])
    down(pair.alpha, pair)
    #expect(try pair.alpha.disks[.zero]!.outOfSync(peerNode: 1) == [1, 100])
    #expect(try !pair.alpha.disks[.zero]!.superblock().flags.contains(.crashedPrimary))
    pair.mendLink()
    pair.alpha.crash(power: true)
    pair.restart(pair.alpha)
    #expect(pair.alpha.volume().outOfSync == SectorCount(16))
    pair.waitConnected()
    pair.waitSync()
    pair.expectEqual()
  }

  @Test("during a resync, as source and as target, running and paused", arguments: [0, 1], [false, true])
  func duringResync(_ node: Int, paused: Bool) throws {
    let pair = try Pair()
    pair.attach()
    pair.connect()
    pair.beta.holding = [.resyncWrite]
    pair.order(.primary(force: true), on: pair.alpha)
    pair.settle()
    if paused { pair.order(.pauseSync(.zero), on: pair.alpha) }
    let to = pair.both[node].order(.down)
    pair.settle()
    pair.beta.stopHolding()
    pair.run(until: { pair.both[node].replies[to] != nil })
    #expect(pair.both[node].replies[to] == .done)
    pair.pass(.seconds(2))
    pair.expectRest()
    down(pair.both[1 - node], pair)
    pair.attach()
    pair.connect()
    if paused { pair.order(.resumeSync(.zero), on: pair.alpha) }
    pair.waitSync()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
  }

  @Test("a client without disk, Primary and Secondary")
  func client() throws {
    let pair = try Pair { settings, isAlpha in
      if isAlpha { settings.volumes[0].hasDisk = false }
    }
    pair.attach([pair.beta])
    pair.order(.primary(force: true), on: pair.beta)
    pair.order(.secondary, on: pair.beta)
    pair.connect()
    pair.order(.primary(force: false), on: pair.alpha)
    down(pair.alpha, pair)
    pair.pass(.seconds(1))
    pair.order(.connect(discardMyData: false), on: pair.alpha)
    pair.waitConnected()
    pair.order(.primary(force: false), on: pair.alpha)
    let outcome = pair.run(.down, on: pair.beta)
    guard case .refused(let refusal) = outcome else {
      Issue.record("the only good disk of a Primary was let go: \(String(describing: outcome))")
      return
    }
    #expect(refusal.number == -10)
    #expect(pair.beta.volume().disk == .upToDate)
    pair.order(.disconnect(force: true), on: pair.beta)
    down(pair.beta, pair)
    down(pair.alpha, pair)
  }

  @Test("while the peer is silent: `down` does not wait for it longer than ping-timeout says")
  func silentPeer() throws {
    let pair = try Pair()
    pair.synced()
    pair.network.isCut = true
    let start = pair.now
    let to = pair.alpha.order(.down)
    pair.run(until: { pair.alpha.replies[to] != nil })
    #expect(pair.alpha.replies[to] == .done)
    #expect(pair.now - start < .seconds(20))
    pair.expectRest()
  }
}
