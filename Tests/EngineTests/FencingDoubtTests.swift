// Fencing where a Primary cannot know how good its lost peer is: at the end of a resync a target calls itself UpToDate
// before its source hears of it.
import Base
import MetaDisk
import Testing

@testable import Engine

@Suite("Two nodes: fencing a peer in doubt")
struct FencingDoubtTests {
  /// Beta has ended a resync from the Primary alpha, which has not heard of it.
  private func ended(_ format: MetaFormat = .v09) throws -> Pair {
    let pair = try Pair(format: format) { settings, _ in settings.net.fencing = .resourceAndStonith }
    pair.synced()
    pair.alpha.exits = [.fencePeer: 4]
    pair.cutLink()
    pair.pass(.seconds(3))
    pair.wait(pair.alpha, [pair.alpha.write(64, stamp: 1), pair.alpha.flush()])
    pair.alpha.heldHandlers = [.fencePeer]
    pair.beta.holding = [.resyncWrite]
    pair.mendLink()
    pair.waitConnected()
    pair.pass(.seconds(1))
    pair.network.held.insert(.init(to: 0, kind: .data))
    pair.beta.stopHolding()
    pair.settle()
    #expect(pair.beta.volume().disk == .upToDate)
    #expect(pair.alpha.volume().replication == .syncSource && pair.alpha.volume().peerDisk == .inconsistent)
    return pair
  }

  @Test("a source that loses a target that may be done asks before it goes on")
  func lostAtTheEnd() throws {
    let pair = try ended()
    pair.cutLink()
    pair.network.held.removeAll()
    pair.settle()
    #expect(pair.alpha.state == "Unconnected Primary/Unknown UpToDate/DUnknown")
    #expect(pair.alpha.engine.snapshot().isFrozen)
    let write = pair.alpha.write(8, stamp: 2)
    pair.settle()
    #expect(!pair.alpha.isAnswered(write))
    pair.alpha.endHandler(.fencePeer, exit: 4)
    pair.wait(pair.alpha, [write])
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    #expect(pair.beta.disks[.zero]![8] == 2)
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a target that surely lacks blocks needs no handler")
  func lostInTheMiddle() throws {
    let pair = try Pair { settings, _ in settings.net.fencing = .resourceAndStonith }
    pair.synced()
    pair.alpha.exits = [.fencePeer: 4]
    pair.cutLink()
    pair.pass(.seconds(3))
    let writes = (0..<16).map { pair.alpha.write(UInt64($0) * 1024, stamp: UInt64($0) + 1) }
    pair.wait(pair.alpha, writes)
    let calls = pair.alpha.handlers.count { $0 == .fencePeer }
    // Of the first blocks none is read; the others wait for them.
    pair.alpha.holding = [.resyncRead]
    pair.mendLink()
    pair.waitConnected()
    pair.pass(.seconds(1))
    pair.cutLink()
    pair.settle()
    pair.alpha.stopHolding()
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 99)])
    #expect(pair.alpha.volume().peerDisk == .inconsistent && !pair.alpha.engine.snapshot().isFrozen)
    #expect(pair.alpha.handlers.count { $0 == .fencePeer } == calls)
  }

  @Test("what a demotion finds unanswered fails: the peer may lack it, and nobody fenced it", arguments: [true, false])
  func demotedWithOpenWrites(isFrozen: Bool) throws {
    let pair = try Pair { settings, _ in settings.net.fencing = .resourceAndStonith }
    pair.synced()
    pair.alpha.exits = [.fencePeer: 1]
    // A flush has something to do.
    pair.wait(pair.alpha, [pair.alpha.write(64, stamp: 3)])
    pair.beta.holding = [.peerWrite]
    let write = pair.alpha.write(8, stamp: 9)
    let flush = pair.alpha.flush()
    pair.settle()
    let demoted: ReplyTo
    if isFrozen {
      pair.cutLink()
      pair.settle()
      #expect(pair.alpha.engine.snapshot().isFrozen)
      demoted = pair.alpha.order(.secondary)
    } else {
      demoted = pair.alpha.order(.secondary)
      pair.settle()
      pair.cutLink()
    }
    pair.settle()
    pair.beta.stopHolding()
    pair.pass(.seconds(1))
    for ticket in [write, flush] { #expect(pair.alpha.isAnswered(ticket) && !pair.alpha.isGood(ticket)) }
    #expect(pair.alpha.replies[demoted] == .done)
    #expect(pair.alpha.engine.snapshot().role == .secondary && !pair.alpha.engine.snapshot().isFrozen)
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a source that dies then has not recorded that its peer is old", arguments: [MetaFormat.v08, .v09])
  func diedAtTheEnd(_ format: MetaFormat) throws {
    let pair = try ended(format)
    pair.crash(pair.alpha)
    pair.network.held.removeAll()
    pair.settle()
    pair.attach([pair.alpha])
    #expect(pair.alpha.state == "StandAlone Secondary/Unknown Consistent/DUnknown")
    pair.alpha.heldHandlers = []
    pair.alpha.exits = [.fencePeer: 1]
    pair.refuse(.primary(force: false), on: pair.alpha, -2)
  }
}
