// A promotion beside a peer that was Primary when it was last heard of: the peer is asked before the command is refused.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Two nodes: a promotion beside a Primary")
struct PromotionTests {
  private func pair(_ fencing: FencingPolicy = .dontCare) throws -> Pair {
    let pair = try Pair { settings, _ in settings.net.fencing = fencing }
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 1)])
    return pair
  }

  @Test("a Primary that has lost its power, and is not missed yet, costs at most two ping-timeouts")
  func goneUnnoticed() throws {
    let pair = try pair()
    pair.crash(pair.alpha, told: false)
    let before = pair.now
    pair.order(.primary(force: false), on: pair.beta)
    #expect(pair.beta.engine.snapshot().role == .primary)
    // The first one begins before what was heard last is over.
    #expect(pair.now - before <= pair.beta.settings.net.pingTimeout * 2)
    pair.wait(pair.beta, [pair.beta.write(16, stamp: 2)])
  }

  @Test("with fencing the handler is asked then")
  func goneAndFenced() throws {
    let pair = try pair(.resourceAndStonith)
    pair.beta.exits[.fencePeer] = 7
    pair.crash(pair.alpha, told: false)
    pair.order(.primary(force: false), on: pair.beta)
    #expect(pair.beta.handlers.contains(.fencePeer))
  }

  @Test("a Primary that answers keeps its role, and the connection stays")
  func answers() throws {
    let pair = try pair()
    pair.refuse(.primary(force: false), on: pair.beta, -1)
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.order(.secondary, on: pair.alpha)
    pair.order(.primary(force: false), on: pair.beta)
  }

  @Test("a node that goes down meanwhile answers the promotion")
  func goesDown() throws {
    let pair = try pair()
    pair.network.isCut = true
    let promotion = pair.beta.order(.primary(force: false))
    pair.settle()
    #expect(pair.beta.replies[promotion] == nil)
    _ = pair.beta.order(.down)
    pair.run(until: { pair.beta.replies[promotion] != nil })
    guard case .refused? = pair.beta.replies[promotion] else {
      Issue.record("promoted on its way down")
      return
    }
  }

  @Test("a connection that ends in another way proves nothing: the promotion is refused", arguments: [false, true])
  func connectionEnds(_ byOperator: Bool) throws {
    let pair = try pair()
    pair.network.isCut = true
    let promotion = pair.beta.order(.primary(force: false))
    pair.settle()
    if byOperator { _ = pair.beta.order(.disconnect(force: true)) } else { pair.network.reset() }
    pair.settle()
    guard case .refused(let refusal)? = pair.beta.replies[promotion] else {
      Issue.record("promoted beside a Primary that lives")
      return
    }
    #expect(refusal.number == -1 && refusal.next.contains("repeat the command"), "\(refusal)")
    #expect(pair.beta.engine.snapshot().role == .secondary)
  }

  @Test("a node that is attaching a disk does not agree to a promotion: the disk may have newer data (seed 1902038)")
  func notBesideAnAttach() throws {
    for held in [WorkID.Kind.attach, .superblock] {
      let pair = try Pair()
      pair.synced()
      pair.order(.secondary, on: pair.alpha)
      pair.order(.detach(.zero, force: false), on: pair.alpha)
      pair.alpha.holding = [held]
      let attached = pair.alpha.order(.attach(.zero))
      pair.settle()
      guard case .refused(let refusal)? = pair.run(.primary(force: false), on: pair.beta) else {
        Issue.record("promoted beside a disk of which nothing is known")
        continue
      }
      #expect(refusal.number == -10 && refusal.why.contains("an attach"), "\(refusal)")
      // A disk that hangs does not hold up a failover for longer.
      pair.pass(.seconds(11))
      pair.order(.primary(force: false), on: pair.beta)
      pair.alpha.stopHolding()
      pair.run(until: { pair.alpha.replies[attached] != nil })
      #expect(pair.alpha.replies[attached] == .done)
      pair.waitSync()
      pair.expectEqual()
    }
  }
}
