// Fencing: what a Primary that lost its peer may do, by policy and by what the fence-peer handler says.
import Base
import MetaDisk
import Testing

@testable import Engine

@Suite("Two nodes: fencing")
struct FencingStoryTests {
  private func pair(
    _ policy: FencingPolicy, format: MetaFormat = .v09, volumes: Int = 1, _ more: (inout NetSettings) -> Void = { _ in }
  ) throws -> Pair {
    try Pair(format: format, diskBytes: Array(repeating: 8 << 20, count: volumes)) { settings, _ in
      settings.net.fencing = policy
      more(&settings.net)
    }
  }

  private func calls(_ node: Node) -> Int { node.handlers.count { $0 == .fencePeer } }

  @Test(
    "resource-and-stonith: what is written after the loss waits for the handler's word",
    arguments: [
      (3, "UpToDate/Inconsistent"), (4, "UpToDate/Outdated"), (5, "UpToDate/Outdated"),
      (7, "UpToDate/Outdated"),
    ])
  func frozenUntilFenced(_ exit: Int, _ disks: String) throws {
    let pair = try pair(.resourceAndStonith, volumes: 2)
    pair.synced()
    let before = pair.alpha.generations()
    pair.beta.holding = [.peerWrite]
    pair.alpha.heldHandlers = [.fencePeer]
    let open = pair.alpha.write(0, stamp: 1)
    pair.settle()
    pair.cutLink()
    pair.settle()
    let late = pair.alpha.write(8, stamp: 2)
    let (read, _) = pair.alpha.read(0)
    let flush = pair.alpha.flush()
    pair.pass(.seconds(30))
    #expect(calls(pair.alpha) == 1, "once for both volumes")
    #expect(pair.alpha.engine.snapshot().isFrozen)
    for ticket in [open, late, read, flush] { #expect(!pair.alpha.isAnswered(ticket)) }
    #expect(pair.alpha.generations() == before, "no new generation while I/O is suspended")
    pair.beta.stopHolding()
    pair.alpha.endHandler(.fencePeer, exit: Int32(exit))
    pair.wait(pair.alpha, [open, late, read, flush])
    #expect(!pair.alpha.engine.snapshot().isFrozen)
    for volume in pair.alpha.engine.snapshot().volumes {
      #expect("\(volume.disk.name)/\(volume.peerDisk.name)" == disks)
    }
    #expect(pair.alpha.generations()[1] == before[0], "the histories have parted")
    reunite(pair)
    #expect(pair.alpha.handlers.contains(.unfencePeer))
    #expect(!pair.beta.handlers.contains(.unfencePeer))
    pair.expectRest()
  }

  @Test("resource-and-stonith: a handler that failed leaves I/O frozen until the peer is back", arguments: [0, 1, 127])
  func staysFrozen(_ exit: Int) throws {
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    let before = pair.alpha.generations()
    pair.alpha.exits = [.fencePeer: Int32(exit)]
    pair.cutLink()
    pair.pass(.seconds(3))
    let write = pair.alpha.write(8, stamp: 2)
    pair.pass(.seconds(30))
    #expect(!pair.alpha.isAnswered(write) && pair.alpha.engine.snapshot().isFrozen)
    #expect(pair.alpha.state == "WFConnection Primary/Unknown UpToDate/DUnknown")
    #expect(pair.alpha.log.contains { $0.contains("repladm resume-io r0") })
    pair.mendLink()
    pair.waitConnected()
    pair.wait(pair.alpha, [write])
    pair.waitSync()
    #expect(pair.alpha.generations() == before, "nothing was written: no history parted")
    pair.expectEqual()
    #expect(calls(pair.alpha) == 1)
    pair.expectRest()
  }

  @Test("resource-and-stonith: writes that were open at the cut are on both disks when the peer is back")
  func openWritesAreCopied() throws {
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    pair.alpha.heldHandlers = [.fencePeer]
    pair.network.held.insert(.init(to: 1, kind: .data))
    let writes = (0..<4).map { pair.alpha.write(UInt64($0) * 64, stamp: UInt64($0) + 5) }
    pair.settle()
    pair.network.held.removeAll()
    pair.cutLink()
    pair.pass(.seconds(3))
    for write in writes { #expect(!pair.alpha.isAnswered(write)) }
    pair.mendLink()
    pair.waitConnected()
    pair.wait(pair.alpha, writes)
    pair.waitSync()
    pair.expectEqual()
    let peers = pair.beta.volume().peerDisk
    pair.alpha.endHandler(.fencePeer, exit: 4)
    pair.settle()
    #expect(pair.beta.volume().peerDisk == peers)
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    #expect(pair.alpha.log.contains { $0.contains("the exit code of fence-peer is ignored") })
    pair.expectRest()
  }

  /// The cable is whole again, and nothing differs after the resync.
  private func reunite(_ pair: Pair) {
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    pair.expectEqual()
  }

  @Test("resume-io lets a frozen Primary go on, as a history of its own")
  func resumed() throws {
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    let before = pair.alpha.generations()
    pair.alpha.exits = [.fencePeer: 1]
    pair.cutLink()
    pair.pass(.seconds(3))
    let write = pair.alpha.write(8, stamp: 2)
    pair.settle()
    pair.order(.resumeIO, on: pair.alpha)
    pair.wait(pair.alpha, [write])
    #expect(pair.alpha.generations()[1] == before[0])
    reunite(pair)
  }

  @Test("a frozen Primary can be demoted, and what it wrote is not lost sight of")
  func demoted() throws {
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    pair.alpha.exits = [.fencePeer: 1]
    pair.beta.holding = [.peerWrite]
    _ = pair.alpha.write(0, stamp: 9)
    pair.settle()
    pair.cutLink()
    pair.settle()
    pair.beta.stopHolding()
    pair.order(.secondary, on: pair.alpha)
    #expect(!pair.alpha.engine.snapshot().isFrozen)
    reunite(pair)
    pair.expectRest()
  }

  @Test("a peer that comes back without its disk has parted all the same")
  func backWithoutDisk() throws {
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    let before = pair.alpha.generations()
    pair.alpha.exits = [.fencePeer: 1]
    pair.crash(pair.beta, power: false)
    pair.pass(.seconds(3))
    #expect(pair.alpha.engine.snapshot().isFrozen)
    pair.order(.connect(discardMyData: false), on: pair.beta)
    pair.waitConnected()
    #expect(!pair.alpha.engine.snapshot().isFrozen)
    pair.wait(pair.alpha, [pair.alpha.write(16, stamp: 3)])
    #expect(pair.alpha.generations()[1] == before[0])
    pair.attach([pair.beta])
    pair.waitSync()
    pair.expectEqual()
  }

  @Test("a Primary that lost its peer while it had no disk asks when its disk is back")
  func diskBackAlone() throws {
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    pair.alpha.heldHandlers = [.fencePeer]
    pair.network.held = [.init(to: 1, kind: .data), .init(to: 1, kind: .meta)]
    pair.order(.detach(.zero, force: true), on: pair.alpha)
    pair.network.held = []
    pair.cutLink()
    pair.settle()
    #expect(calls(pair.alpha) == 0)
    pair.attach([pair.alpha])
    let ticket = pair.alpha.write(0, stamp: 7)
    pair.settle()
    #expect(calls(pair.alpha) == 1)
    #expect(!pair.alpha.isAnswered(ticket))
    pair.alpha.endHandler(.fencePeer, exit: 4)
    pair.wait(pair.alpha, [ticket])
    #expect(pair.alpha.volume().peerDisk == .outdated)
  }

  @Test("resource-only goes on meanwhile", arguments: [0, 4])
  func resourceOnly(_ exit: Int) throws {
    let pair = try pair(.resourceOnly)
    pair.synced()
    pair.alpha.heldHandlers = [.fencePeer]
    pair.cutLink()
    pair.settle()
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 2)])
    #expect(calls(pair.alpha) == 1)
    pair.alpha.endHandler(.fencePeer, exit: Int32(exit))
    pair.settle()
    #expect(pair.alpha.volume().peerDisk == (exit == 4 ? .outdated : .unknown))
    reunite(pair)
  }

  @Test("dont-care asks nobody; a Secondary asks nobody")
  func nobodyAsks() throws {
    let indifferent = try pair(.dontCare)
    indifferent.synced()
    indifferent.cutLink()
    indifferent.pass(.seconds(3))
    #expect(calls(indifferent.alpha) == 0)
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    pair.cutLink()
    pair.pass(.seconds(3))
    #expect(calls(pair.alpha) == 1 && calls(pair.beta) == 0)
    #expect(pair.both.allSatisfy { $0.handlers.contains(.disconnected) })
  }

  @Test(
    "6, the peer is Primary: this node outdates itself", arguments: [FencingPolicy.resourceOnly, .resourceAndStonith])
  func peerIsPrimary(_ policy: FencingPolicy) throws {
    let pair = try pair(policy)
    pair.synced()
    pair.alpha.exits = [.fencePeer: 6]
    pair.cutLink()
    pair.settle()
    #expect(pair.alpha.volume().disk == .outdated)
    #expect(pair.alpha.engine.snapshot().isFrozen == (policy == .resourceAndStonith))
    #expect(pair.alpha.handlers.contains(.primaryOnInconsistentDegraded))
  }

  // MARK: promotion

  @Test(
    "alone, a node is promoted when its peer is fenced, else refused with -7",
    arguments: [(0, -7), (1, -7), (3, nil), (4, nil), (5, nil), (6, -2), (7, nil)] as [(Int32, Int?)])
  func promotedAlone(_ exit: Int32, _ number: Int?) throws {
    let pair = try pair(.resourceOnly)
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    pair.cutLink()
    pair.pass(.seconds(3))
    pair.beta.exits = [.fencePeer: exit]
    if let number {
      pair.refuse(.primary(force: false), on: pair.beta, number)
      #expect(pair.beta.engine.snapshot().role == .secondary)
    } else {
      pair.order(.primary(force: false), on: pair.beta)
      #expect(!pair.beta.engine.snapshot().isFrozen)
      pair.wait(pair.beta, [pair.beta.write(0, stamp: 1)])
    }
    #expect(calls(pair.beta) == 1)
  }

  @Test("a node that comes up alone is Consistent: 4 makes it UpToDate, 5 does not", arguments: [MetaFormat.v08, .v09])
  func promotedAfterRestart(_ format: MetaFormat) throws {
    let pair = try pair(.resourceOnly, format: format)
    pair.synced()
    pair.crash(pair.alpha)
    pair.crash(pair.beta, power: false)
    pair.attach([pair.beta])
    #expect(pair.beta.volume().disk == .consistent)
    pair.beta.exits = [.fencePeer: 5]
    pair.refuse(.primary(force: false), on: pair.beta, -2)
    pair.beta.exits = [.fencePeer: 4]
    pair.order(.primary(force: false), on: pair.beta)
    #expect(pair.beta.state == "StandAlone Primary/Unknown UpToDate/Outdated")
    // What was learnt is remembered.
    pair.crash(pair.beta, power: false)
    pair.attach([pair.beta])
    #expect(pair.beta.state == "StandAlone Secondary/Unknown UpToDate/Outdated")
    pair.order(.primary(force: false), on: pair.beta)
    #expect(calls(pair.beta) == 2)
  }

  @Test("force promotes without the peer's being fenced")
  func forced() throws {
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    pair.cutLink()
    pair.pass(.seconds(3))
    pair.beta.exits = [.fencePeer: 1]
    pair.order(.primary(force: true), on: pair.beta)
    #expect(pair.beta.volume().peerDisk == .outdated && !pair.beta.engine.snapshot().isFrozen)
    #expect(pair.beta.log.contains { $0.contains("split brain") })
  }

  @Test("two restarted nodes make each other UpToDate")
  func restartedTogether() throws {
    let pair = try pair(.resourceOnly)
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    for node in pair.both { pair.order(.down, on: node) }
    pair.attach()
    #expect(pair.alpha.volume().disk == .consistent)
    pair.connect()
    pair.waitSync()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
  }

  // MARK: options at run time

  private func take(_ policy: FencingPolicy, on node: Node) {
    var settings = node.engine.settings
    settings.net.fencing = policy
    node.engine.adopt(settings)
  }

  @Test(
    "a frozen Primary that is told another policy goes on, as a history of its own",
    arguments: [FencingPolicy.dontCare, .resourceOnly])
  func anotherPolicyThaws(_ policy: FencingPolicy) throws {
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    let before = pair.alpha.generations()
    pair.alpha.exits = [.fencePeer: 1]
    pair.cutLink()
    pair.pass(.seconds(3))
    let write = pair.alpha.write(8, stamp: 2)
    pair.settle()
    #expect(!pair.alpha.isAnswered(write) && pair.alpha.engine.snapshot().isFrozen)
    take(policy, on: pair.alpha)
    pair.wait(pair.alpha, [write])
    #expect(!pair.alpha.engine.snapshot().isFrozen)
    #expect(pair.alpha.generations()[1] == before[0])
    reunite(pair)
    pair.expectRest()
  }

  @Test("a stricter policy counts at the next loss, and at the next promotion")
  func stricterPolicy() throws {
    let pair = try pair(.dontCare)
    pair.synced()
    for node in pair.both { take(.resourceAndStonith, on: node) }
    pair.alpha.heldHandlers = [.fencePeer]
    pair.cutLink()
    pair.pass(.seconds(3))
    let write = pair.alpha.write(8, stamp: 2)
    pair.settle()
    #expect(calls(pair.alpha) == 1 && !pair.alpha.isAnswered(write))
    pair.alpha.endHandler(.fencePeer, exit: 4)
    pair.wait(pair.alpha, [write])
    pair.beta.exits = [.fencePeer: 1]
    pair.refuse(.primary(force: false), on: pair.beta, -7)
    reunite(pair)
  }

  // MARK: call-pri-lost-after-sb

  /// Alpha is Primary, and beta's changes win.
  private func lost(_ pair: Pair) {
    pair.synced()
    pair.cutLink()
    pair.pass(.seconds(3))
    for node in pair.both { pair.order(.disconnect(force: true), on: node) }
    pair.order(.primary(force: true), on: pair.beta)
    pair.wait(pair.beta, [pair.beta.write(8, stamp: 7), pair.beta.flush()])
    pair.order(.secondary, on: pair.beta)
    pair.mendLink()
  }

  @Test("call-pri-lost-after-sb: a Primary that nobody uses steps down and takes the peer's data")
  func stepsDown() throws {
    let pair = try pair(.dontCare) {
      $0.afterSplitBrain0 = .discardZeroChanges
      $0.afterSplitBrain1 = .callPrimaryLost
    }
    lost(pair)
    pair.connect()
    pair.waitSync()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    #expect(pair.alpha.disks[.zero]![8] == 7)
    pair.expectEqual()
    #expect(!pair.alpha.handlers.contains(.primaryLostAfterSplitBrain))
  }

  @Test("call-pri-lost-after-sb: a Primary in use calls the handler and stays")
  func staysPrimary() throws {
    let pair = try pair(.dontCare) {
      $0.afterSplitBrain0 = .discardZeroChanges
      $0.afterSplitBrain1 = .callPrimaryLost
    }
    lost(pair)
    pair.alpha.inbox.append(.event(.usageChanged(isOpen: true)))
    for node in pair.both { _ = node.order(.connect(discardMyData: false)) }
    pair.pass(.seconds(5))
    #expect(pair.alpha.handlers.contains(.primaryLostAfterSplitBrain))
    #expect(pair.alpha.state == "StandAlone Primary/Unknown UpToDate/DUnknown")
  }
}
