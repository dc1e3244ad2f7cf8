// Things that happen to two nodes at the same moment, and packets of one socket that overtake those of the other.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Two nodes: races")
struct RaceStoryTests {
  @Test("an empty resync whose source loses its disk at once: the target ends with the source's generation")
  func sourceLeaves() throws {
    for steps in 0..<40 {
      let pair = try Pair()
      pair.synced()
      pair.cutLink()
      pair.settle()
      pair.mendLink()
      pair.beta.holding = [.superblock]
      pair.run(limit: .seconds(20), until: { pair.beta.volume().replication >= .wfSyncUUID })
      for _ in 0..<steps {
        for node in pair.both { _ = node.step() }
        _ = pair.network.deliver()
      }
      let detach = pair.alpha.order(.detach(.zero, force: true))
      pair.settle()
      pair.beta.stopHolding()
      pair.run(until: { pair.alpha.replies[detach] != nil })
      pair.pass(.seconds(5))
      pair.order(.attach(.zero), on: pair.alpha)
      pair.pass(.seconds(10))
      #expect(pair.alpha.engine.connectionRefusal == nil, "after \(steps) steps")
      #expect(pair.beta.engine.connectionRefusal == nil, "after \(steps) steps")
      #expect(pair.alpha.volume().disk != .negotiating, "after \(steps) steps: \(pair.alpha.state)")
      pair.expectRest()
    }
  }

  @Test("both are promoted at the same moment: at most one becomes Primary")
  func bothPromote() throws {
    for order in [[0, 1], [1, 0]] {
      let pair = try Pair()
      pair.synced()
      pair.order(.secondary, on: pair.alpha)
      let first = pair.both[order[0]].order(.primary(force: false))
      let second = pair.both[order[1]].order(.primary(force: false))
      pair.run(until: { pair.both[order[0]].replies[first] != nil && pair.both[order[1]].replies[second] != nil })
      let primaries = pair.both.count { $0.engine.role == .primary }
      #expect(primaries <= 1)
      pair.pass(.seconds(2))
      #expect(pair.both.count { $0.engine.role == .primary } == primaries)
      #expect(pair.alpha.volume().replication == .connected)
      pair.expectRest()
    }
  }

  @Test("both disconnect at the same moment")
  func bothDisconnect() throws {
    let pair = try Pair()
    pair.synced()
    let one = pair.alpha.order(.disconnect(force: false))
    let other = pair.beta.order(.disconnect(force: false))
    pair.run(until: { pair.alpha.replies[one] != nil && pair.beta.replies[other] != nil })
    pair.pass(.seconds(2))
    for node in pair.both {
      #expect(node.volume().replication == .standAlone || node.volume().replication == .wfConnection)
    }
    pair.expectRest()
  }

  @Test("both invalidate themselves at the same moment: the data survive on one of them")
  func bothInvalidate() throws {
    let pair = try Pair()
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 5)])
    pair.order(.secondary, on: pair.alpha)
    let one = pair.alpha.order(.invalidate(.zero))
    let other = pair.beta.order(.invalidate(.zero))
    pair.run(until: { pair.alpha.replies[one] != nil && pair.beta.replies[other] != nil })
    pair.waitConnected()
    pair.waitSync()
    pair.expectEqual()
    #expect(pair.beta.disks[.zero]![0] == 5)
    pair.expectRest()
  }

  @Test(
    "an invalidate that is cut off, or crashes, before the source has begun is not forgotten (K26)",
    arguments: [false, true])
  func invalidateInterrupted(crashes: Bool) throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    let received = pair.beta.volume().received
    pair.network.held.insert(.init(to: 1, kind: .data))
    _ = pair.beta.order(.invalidate(.zero))
    pair.run(until: { pair.beta.volume().replication == .wfSyncUUID })
    #expect(pair.beta.volume().disk == .inconsistent)
    pair.network.held = []
    pair.network.reset()
    if crashes {
      pair.crash(pair.beta)
      pair.restart(pair.beta)
    }
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    #expect(pair.beta.volume().received - (crashes ? 0 : received) == 16304)
    #expect(pair.beta.volume().outOfSync == .zero && pair.alpha.volume().outOfSync == .zero)
    pair.expectRest()
  }

  @Test("a promotion while the peer detaches, an attach while the peer is promoted")
  func mixed() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    let detach = pair.beta.order(.detach(.zero, force: false))
    let promote = pair.alpha.order(.primary(force: false))
    pair.run(until: { pair.beta.replies[detach] != nil && pair.alpha.replies[promote] != nil })
    pair.settle()
    let attach = pair.beta.order(.attach(.zero))
    let demote = pair.alpha.order(.secondary)
    pair.run(until: { pair.beta.replies[attach] != nil && pair.alpha.replies[demote] != nil })
    pair.waitSync()
    pair.pass(.seconds(5))
    #expect(pair.alpha.volume().replication == .connected)
    pair.expectRest()
  }

  @Test("the meta socket is slow: everything still ends well")
  func slowMeta() throws {
    let pair = try Pair()
    pair.attach()
    pair.connect()
    for to in [0, 1] { pair.network.held.insert(.init(to: to, kind: .meta)) }
    let promote = pair.alpha.order(.primary(force: true))
    for _ in 0..<2000 {
      for to in [0, 1] {
        if let end = pair.network.end(to, .meta) { pair.network.deliverHeld(to: end) }
      }
      pair.settle()
      pair.pass(.milliseconds(50))
      if pair.alpha.replies[promote] == .done, pair.alpha.volume().replication == .connected,
        pair.beta.volume().disk == .upToDate
      {
        break
      }
    }
    pair.network.held = []
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("the link flaps while the application writes: nothing is lost, and the nodes find together again")
  func flapping() throws {
    let pair = try Pair(diskBytes: [16 << 20])
    pair.synced()
    var random = SeededGenerator(seed: 3)
    var tickets: [Ticket] = []
    for round in 0..<30 {
      for i in 0..<8 {
        tickets.append(pair.alpha.write(random.below(30000), random.below(16) + 1, stamp: UInt64(round * 8 + i + 1)))
      }
      for _ in 0..<random.below(60) {
        for node in pair.both { _ = node.step() }
        _ = pair.network.deliver()
      }
      pair.network.reset()
      pair.pass(.milliseconds(random.below(4000)))
    }
    pair.wait(pair.alpha, tickets)
    pair.waitConnected()
    pair.waitSync()
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }
}
