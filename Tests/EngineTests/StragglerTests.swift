// A resync that ends and begins again on one connection. Law: what belongs to the one that ended counts for nothing in the next.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Two nodes: answers of a resync that has ended")
struct StragglerTests {
  /// Beta lacks blocks 10 and 20 of the Primary Alpha, and is about to be met again.
  private func apart() throws -> Pair {
    let pair = try Pair()
    pair.synced()
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1), pair.alpha.write(160, stamp: 1)])
    return pair
  }

  private func begins(_ pair: Pair) {
    pair.mendLink()
    pair.waitConnected()
    pair.settle()
    #expect(pair.beta.volume().replication == .syncTarget)
  }

  private func attachAgain(_ node: Node, _ pair: Pair) {
    _ = node.order(.detach(.zero, force: true))
    pair.settle()
    #expect(node.volume().disk == .diskless)
    _ = node.order(.attach(.zero))
    pair.settle()
  }

  private func expectHealed(_ pair: Pair) {
    pair.waitSync()
    for node in pair.both { #expect(!node.log.contains { $0.contains("connection lost (Protocol") }) }
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a block that was read for the resync before is not sent into the next one")
  func oldRead() throws {
    let pair = try apart()
    pair.alpha.holding = [.resyncRead]
    begins(pair)
    attachAgain(pair.beta, pair)
    #expect(pair.alpha.heldCount(.resyncRead) > 2)
    // Read before this write, and would be sent behind it: the target must not get the old block.
    pair.alpha.stopHolding()
    expectHealed(pair)
  }

  @Test("a request that waits for a write of the application is void when its resync ends")
  func oldRequest() throws {
    let pair = try apart()
    pair.alpha.holding = [.appWrite]
    let slow = pair.alpha.write(160, stamp: 2)
    begins(pair)
    attachAgain(pair.beta, pair)
    pair.alpha.stopHolding()
    pair.wait(pair.alpha, [slow])
    expectHealed(pair)
  }

  @Test("a P_UUIDS that was sent for a resize is not the answer to an attach that has begun since (seed 752135)")
  func oldGenerations() throws {
    let pair = try Pair()
    pair.synced()
    for to in [0, 1] { pair.network.held.insert(.init(to: to, kind: .data)) }
    _ = pair.beta.order(.resize(.zero, limit: nil, assumeClean: false))
    // Says the state that Alpha had until then.
    pair.order(.pauseSync(.zero), on: pair.beta)
    pair.order(.resumeSync(.zero), on: pair.beta)
    pair.settle()
    attachAgain(pair.alpha, pair)
    #expect(pair.alpha.volume().disk == .negotiating)
    pair.network.held.remove(.init(to: 0, kind: .data))
    pair.settle()
    #expect(pair.alpha.volume().disk == .negotiating)
    pair.network.held = []
    pair.settle()
    expectHealed(pair)
  }

  @Test("an ack of the resync before clears nothing in the next one")
  func oldAck() throws {
    let pair = try apart()
    pair.network.held.insert(.init(to: 0, kind: .meta))
    pair.mendLink()
    pair.run { pair.beta.disks[.zero]![80] == 1 }
    pair.settle()
    attachAgain(pair.beta, pair)
    #expect(pair.alpha.volume().replication == .syncSource)
    // The sync UUID waits until what Beta has said so far is here.
    #expect(pair.beta.volume().replication == .wfSyncUUID)
    #expect(pair.alpha.isOutOfSync(10) && pair.alpha.isOutOfSync(20))
    pair.network.held.removeAll()
    pair.alpha.holding = [.resyncRead]
    pair.settle()
    #expect(pair.beta.volume().replication == .syncTarget)
    #expect(pair.alpha.isOutOfSync(10) && pair.alpha.isOutOfSync(20))
    pair.alpha.stopHolding()
    expectHealed(pair)
  }

  @Test("a target asks for nothing while an answer of the resync before may be on its way")
  func oldAnswer() throws {
    let pair = try apart()
    pair.alpha.holding = [.resyncRead]
    begins(pair)
    pair.network.held.insert(.init(to: 1, kind: .meta))
    pair.beta.forgetTrace()
    attachAgain(pair.beta, pair)
    #expect(pair.beta.volume().replication == .syncTarget)
    #expect(!pair.beta.sent.contains { $0.packet.name == "P_RS_DATA_REQUEST" })
    pair.network.held.removeAll()
    pair.settle()
    #expect(pair.beta.sent.contains { $0.packet.name == "P_RS_DATA_REQUEST" })
    pair.alpha.stopHolding()
    expectHealed(pair)
  }

  @Test("a block of the resync before that is written late is not called equal")
  func oldWrite() throws {
    let pair = try apart()
    pair.beta.holding = [.resyncWrite]
    begins(pair)
    #expect(pair.beta.heldCount(.resyncWrite) == 2)
    pair.beta.forgetTrace()
    // The source's disk goes and comes: the target's write is still under way.
    pair.order(.secondary, on: pair.alpha)
    attachAgain(pair.alpha, pair)
    pair.settle()
    pair.beta.release(.resyncWrite, count: 2)
    pair.settle()
    #expect(!pair.beta.sent.contains { $0.packet.name == "P_RS_WRITE_ACK" })
    pair.beta.stopHolding()
    pair.waitSync()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a write that comes while the disk is compared is not for that disk: the resync that follows has newer data")
  func writeWhileNegotiating() throws {
    // With protocol A the write is answered when it is sent, and the block is free for the resync.
    let pair = try Pair { settings, _ in settings.net.wireProtocol = .a }
    pair.synced()
    // The Primary's write is on its way, behind a barrier, while the other disk goes and comes.
    pair.network.held.insert(.init(to: 1, kind: .data))
    let before = pair.alpha.write(800, stamp: 1)
    pair.settle()
    let flush = pair.alpha.flush()
    pair.settle()
    let old = pair.alpha.write(80, stamp: 1)
    pair.settle()
    _ = pair.beta.order(.detach(.zero, force: true))
    pair.settle()
    _ = pair.beta.order(.attach(.zero))
    pair.settle()
    #expect(pair.beta.volume().disk == .negotiating)
    let newer = pair.alpha.write(80, stamp: 2)
    pair.beta.holding = [.epochFlush, .peerWrite]
    pair.network.held.removeAll()
    pair.settle()
    pair.beta.stopHolding()
    pair.waitSync()
    pair.wait(pair.alpha, [before, flush, old, newer])
    #expect(pair.beta.disks[.zero]![80] == 2)
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
  }

  @Test("a write that finds no disk is refused at once, not behind a barrier and after the next resync")
  func refusedAtOnce() throws {
    let pair = try Pair(diskBytes: [8 << 20, 8 << 20]) { settings, _ in settings.net.wireProtocol = .a }
    pair.synced()
    pair.order(.primary(force: true), on: pair.alpha)
    pair.waitSync()
    let second = VolumeNumber(1)
    // The disk of volume 1 is slow to make an epoch durable.
    pair.beta.holding = [.epochFlush]
    let slow = pair.alpha.write(800, stamp: 1, volume: second)
    pair.settle()
    let flush = pair.alpha.flush(volume: second)
    pair.settle()
    #expect(pair.beta.heldCount(.epochFlush) == 1)
    // A write of volume 0 is on its way while the disk there goes.
    pair.network.held.insert(.init(to: 1, kind: .data))
    let late = pair.alpha.write(80, stamp: 1)
    pair.settle()
    _ = pair.beta.order(.detach(.zero, force: true))
    pair.settle()
    pair.network.held.removeAll()
    pair.settle()
    #expect(pair.beta.volume().disk == .diskless)
    pair.order(.attach(.zero), on: pair.beta)
    pair.waitSync()
    pair.beta.stopHolding()
    pair.wait(pair.alpha, [slow, flush, late])
    pair.settle()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
  }
}
