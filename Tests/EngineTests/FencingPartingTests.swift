// A node that leaves its peer in good order, with fencing. Law: the peer hears that a copy is Outdated when the metadata of that copy say so.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Two nodes: a node leaves, with fencing")
struct FencingPartingTests {
  private func pair(_ policy: FencingPolicy, volumes: Int = 1) throws -> Pair {
    try Pair(diskBytes: Array(repeating: 8 << 20, count: volumes)) { settings, _ in settings.net.fencing = policy }
  }

  @Test("a Primary that disconnects outdates its peer", arguments: [FencingPolicy.resourceOnly, .resourceAndStonith])
  func primaryDisconnects(_ policy: FencingPolicy) throws {
    let pair = try pair(policy)
    pair.synced()
    pair.order(.disconnect(force: false), on: pair.alpha)
    #expect(pair.alpha.state == "StandAlone Primary/Unknown UpToDate/Outdated")
    #expect(pair.both.allSatisfy { $0.handlers.contains(.disconnected) })
    #expect(pair.beta.volume().disk == .outdated)
    #expect(!pair.alpha.handlers.contains(.fencePeer) && !pair.alpha.engine.snapshot().isFrozen)
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 4)])
    pair.refuse(.primary(force: false), on: pair.beta, -2)
    pair.order(.connect(discardMyData: false), on: pair.alpha)
    pair.waitConnected()
    pair.waitSync()
    pair.expectEqual()
  }

  @Test(
    "a Secondary that disconnects or goes down outdates itself", arguments: [Command.disconnect(force: false), .down])
  func secondaryDisconnects(_ command: Command) throws {
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    pair.order(command, on: pair.beta)
    pair.settle()
    #expect(pair.alpha.volume().peerDisk == .outdated && !pair.alpha.handlers.contains(.fencePeer))
    #expect(!pair.alpha.engine.snapshot().isFrozen)
    #expect(try !pair.beta.disks[.zero]!.superblock().flags.contains(.wasUpToDate))
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 4)])
  }

  @Test(
    "a Secondary whose connection ends before the peer's consent arrives is Outdated, as the peer has recorded (seed 801363)",
    arguments: [Command.disconnect(force: false), .disconnect(force: true), .down])
  func consentIsLost(_ command: Command) throws {
    let pair = try pair(.resourceAndStonith, volumes: 2)
    pair.synced()
    pair.network.held = [.init(to: 1, kind: .meta)]
    let reply = pair.beta.order(.disconnect(force: false))
    pair.settle()
    // A Primary with fencing agrees to nothing less than Outdated.
    let end = try #require(pair.network.end(1, .meta))
    pair.network.deliverHeld(to: end)
    pair.settle()
    #expect(pair.alpha.volume().peerDisk == .outdated && pair.beta.volume().disk == .upToDate)
    if command != .disconnect(force: false) { _ = pair.beta.order(command) }
    pair.network.reset()
    pair.network.held = []
    pair.settle()
    #expect(pair.beta.replies[reply] == .done)
    try expectRecorded(pair)
  }

  @Test("a peer with fencing hears that this copy is Outdated when the metadata of every volume say so (seed 2212043)")
  func saidWhenRecorded() throws {
    let pair = try pair(.resourceAndStonith, volumes: 2)
    pair.synced()
    pair.beta.holding = [.superblock]
    let reply = pair.beta.order(.disconnect(force: false))
    pair.settle()
    #expect(pair.alpha.volume().peerDisk == .upToDate && pair.alpha.volume().replication == .connected)
    #expect(pair.beta.replies[reply] == nil)
    pair.beta.release(.superblock)
    pair.beta.stopHolding()
    pair.settle()
    #expect(pair.beta.replies[reply] == .done)
    try expectOutdated(pair)
  }

  @Test("a Secondary agrees to be Outdated when its metadata say so; a connection that ends before leaves it Outdated")
  func agreedWhenRecorded() throws {
    for isCut in [false, true] {
      let pair = try pair(.resourceAndStonith, volumes: 2)
      pair.synced()
      pair.beta.holding = [.superblock]
      let reply = pair.alpha.order(.disconnect(force: false))
      pair.settle()
      #expect(pair.alpha.volume().replication == .connected && pair.alpha.replies[reply] == nil)
      if isCut { pair.network.reset() }
      pair.beta.stopHolding()
      pair.settle()
      #expect(pair.alpha.replies[reply] == .done)
      if !isCut {
        try expectOutdated(pair)
        continue
      }
      #expect(pair.alpha.volume().peerDisk != .outdated && pair.beta.volume().disk == .outdated)
    }
  }

  @Test("a disk that is lost before it has recorded that: the disconnect is refused, and repeated (seed 4006292)")
  func lostWhileRecording() throws {
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    pair.beta.holding = [.superblock]
    let reply = pair.alpha.order(.disconnect(force: false))
    pair.settle()
    pair.network.held = [.init(to: 0, kind: .data)]
    pair.beta.release(.superblock, fault: Errno.io)
    pair.beta.stopHolding()
    pair.settle()
    #expect(pair.beta.volume().disk <= .failed)
    guard case .refused(let refusal)? = pair.alpha.replies[reply] else {
      Issue.record("the Primary was told that a lost disk has recorded it")
      return
    }
    #expect(refusal.why.contains("lost a disk") && refusal.next.contains("repeat"), "\(refusal)")
    pair.network.held = []
    pair.settle()
    pair.order(.disconnect(force: false), on: pair.alpha)
    #expect(pair.alpha.volume().peerDisk == .inconsistent)
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 4)])
  }

  @Test("nor is a copy that is Inconsistent, and has not recorded that, let go before (seed 2410267)")
  func inconsistentIsRecorded() throws {
    let pair = try pair(.resourceAndStonith, volumes: 2)
    pair.synced()
    pair.beta.holding = [.superblock]
    _ = pair.beta.order(.invalidate(.zero))
    pair.settle()
    #expect(pair.beta.volume().disk == .inconsistent)
    let reply = pair.beta.order(.disconnect(force: false))
    pair.settle()
    for _ in 0..<4 {
      pair.beta.release(.superblock, of: 1)
      pair.settle()
    }
    #expect(pair.alpha.volume().replication >= .connected && pair.beta.replies[reply] == nil)
    pair.beta.stopHolding()
    pair.run(until: { pair.beta.replies[reply] != nil })
    #expect(pair.alpha.volume(VolumeNumber(1)).peerDisk == .outdated)
    #expect(try !pair.beta.disks[.zero]!.superblock().flags.contains(.consistent))
  }

  @Test("a copy that the peer does not let go is UpToDate in the metadata again")
  func notLetGo() throws {
    let pair = try pair(.resourceAndStonith)
    pair.synced()
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.refuse(.disconnect(force: false), on: pair.beta, -10)
    pair.settle()
    #expect(try pair.beta.disks[.zero]!.superblock().flags.contains(.wasUpToDate))
    pair.crash(pair.beta)
    pair.attach([pair.beta])
    #expect(pair.beta.volume().disk == .consistent)
  }

  @Test(
    "a peer that agrees without a disk has recorded nothing: it is not recorded here as Outdated (seed 881083)",
    arguments: [false, true])
  func agreedWithoutDisk(_ byPrimary: Bool) throws {
    let pair = try pair(.resourceAndStonith, volumes: 2)
    pair.synced()
    pair.order(.detach(.zero, force: false), on: pair.beta)
    pair.order(.disconnect(force: false), on: byPrimary ? pair.alpha : pair.beta)
    pair.settle()
    // As long as this Primary lives it goes on.
    #expect(pair.alpha.volume().peerDisk == .inconsistent && pair.alpha.volume(VolumeNumber(1)).peerDisk == .outdated)
    #expect(!pair.alpha.engine.snapshot().isFrozen)
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 4)])
    pair.order(.attach(.zero), on: pair.beta)
    #expect(pair.beta.volume().disk == .consistent)
    pair.crash(pair.alpha)
    pair.attach([pair.alpha])
    #expect(pair.alpha.volume().disk == .consistent && pair.alpha.volume(VolumeNumber(1)).disk == .upToDate)
  }

  private func expectOutdated(_ pair: Pair) throws {
    for volume in [VolumeNumber(0), VolumeNumber(1)] {
      #expect(pair.alpha.volume(volume).peerDisk == .outdated && pair.beta.volume(volume).disk == .outdated)
    }
    try expectRecorded(pair)
  }

  /// Both disks of beta say that they are Outdated, and alpha goes on.
  private func expectRecorded(_ pair: Pair) throws {
    for volume in [VolumeNumber(0), VolumeNumber(1)] {
      #expect(try !pair.beta.disks[volume]!.superblock().flags.contains(.wasUpToDate))
    }
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 4)])
  }
}
