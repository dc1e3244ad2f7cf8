// What a Primary may believe of a peer that it loses, and what a node may serve from a disk that nobody has compared: only what
// has been recorded counts.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Two nodes: what is recorded, and what is only said")
struct FencingProofTests {
  private func pair(_ fencing: FencingPolicy = .resourceAndStonith, _ onIOError: OnIOError = .detach) throws -> Pair {
    let pair = try Pair { settings, _ in
      settings.net.fencing = fencing
      settings.volumes[0].onIOError = onIOError
    }
    pair.synced()
    pair.alpha.exits = [.fencePeer: 4]
    pair.alpha.heldHandlers = [.fencePeer]
    return pair
  }

  /// Alpha is alone, has asked for its peer, and acknowledges nothing before the answer.
  private func expectDoubt(_ pair: Pair, at location: SourceLocation = #_sourceLocation) {
    pair.settle()
    #expect(pair.alpha.volume().peerDisk == .unknown, sourceLocation: location)
    #expect(pair.alpha.engine.snapshot().isFrozen, sourceLocation: location)
    let write = pair.alpha.write(8, stamp: 2)
    pair.settle()
    #expect(!pair.alpha.isAnswered(write), sourceLocation: location)
    pair.alpha.endHandler(.fencePeer, exit: 4)
    pair.wait(pair.alpha, [write])
  }

  @Test("a target sends its bitmap when its metadata say that its data are old")
  func targetRecordsFirst() throws {
    let pair = try pair()
    pair.cutLink()
    pair.settle()
    pair.alpha.endHandler(.fencePeer, exit: 4)
    pair.wait(pair.alpha, [pair.alpha.write(64, stamp: 1)])
    pair.beta.holding = [.superblock]
    pair.mendLink()
    pair.waitConnected()
    pair.pass(.seconds(1))
    #expect(pair.alpha.volume().replication == .wfBitMapS && pair.alpha.volume().peerDisk == .consistent)
    #expect(pair.beta.volume().replication == .wfBitMapT)
    pair.beta.stopHolding()
    pair.waitSync()
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a wait for that ends with the connection")
  func targetLostWhileRecording() throws {
    let pair = try pair(.dontCare)
    pair.cutLink()
    pair.settle()
    pair.wait(pair.alpha, [pair.alpha.write(64, stamp: 1)])
    pair.beta.holding = [.superblock]
    pair.mendLink()
    pair.waitConnected()
    pair.pass(.seconds(1))
    pair.cutLink()
    pair.settle()
    pair.mendLink()
    pair.waitConnected()
    pair.pass(.seconds(1))
    #expect(pair.beta.volume().replication == .wfBitMapT)
    pair.beta.stopHolding()
    pair.waitSync()
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a source that loses a target which has asked for nothing yet asks before it goes on")
  func invalidatedAndLost() throws {
    let pair = try pair()
    pair.beta.holding = [.superblock]
    _ = pair.alpha.order(.invalidateRemote(.zero))
    pair.pass(.seconds(1))
    #expect(pair.alpha.volume().replication == .syncSource && pair.alpha.volume().peerDisk == .inconsistent)
    pair.cutLink()
    expectDoubt(pair)
  }

  @Test("a peer that says Inconsistent after a failed write, and is lost, is asked after")
  func failedWriteAndLost() throws {
    let pair = try pair(.resourceAndStonith, .passOn)
    pair.beta.disks[.zero]!.badForWriting = 80..<88
    pair.beta.holding = [.superblock]
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.settle()
    #expect(pair.alpha.volume().peerDisk == .inconsistent)
    pair.cutLink()
    expectDoubt(pair)
  }

  /// Alpha is Primary, has lost its peer, and has got the disk back that it had let go; nobody said what the peer did meanwhile.
  private func backAlone() throws -> Pair {
    let pair = try pair(.resourceOnly)
    pair.network.held.insert(.init(to: 0, kind: .data))
    _ = pair.alpha.order(.detach(.zero, force: true))
    pair.settle()
    pair.cutLink()
    pair.network.held.removeAll()
    pair.settle()
    _ = pair.alpha.order(.attach(.zero))
    pair.settle()
    #expect(pair.alpha.volume().disk == .consistent)
    return pair
  }

  @Test("a Primary neither reads nor writes a Consistent disk while it is alone")
  func consistentServesNobody() throws {
    let pair = try backAlone()
    let (read, _) = pair.alpha.read(8)
    for ticket in [pair.alpha.write(8, stamp: 2), read] {
      pair.settle()
      #expect(pair.alpha.isAnswered(ticket) && !pair.alpha.isGood(ticket))
    }
    #expect(pair.alpha.disks[.zero]![8] != 2)
  }

  @Test("the word that its peer is fenced makes that disk UpToDate")
  func fencedServesAgain() throws {
    let pair = try backAlone()
    pair.alpha.endHandler(.fencePeer, exit: 4)
    pair.settle()
    #expect(pair.alpha.volume().disk == .upToDate && pair.alpha.volume().peerDisk == .outdated)
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 2)])
  }

  @Test("a disk that missed a write is Inconsistent when it comes back, also after a demotion")
  func missedWriteIsKnown() throws {
    let pair = try pair(.dontCare)
    pair.alpha.disks[.zero]!.badForWriting = 80..<88
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.cutLink()
    pair.settle()
    pair.alpha.disks[.zero]!.badForWriting = 0..<0
    pair.order(.secondary, on: pair.alpha)
    pair.order(.attach(.zero), on: pair.alpha)
    #expect(pair.alpha.volume().disk == .inconsistent)
    pair.refuse(.primary(force: false), on: pair.alpha, -2)
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    #expect(pair.alpha.disks[.zero]![80] == 1)
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("the in-sync ack of a write that was under way while the peer had no disk clears its block on both nodes")
  func markedWriteIsCleared() throws {
    let pair = try pair(.dontCare)
    pair.network.held.insert(.init(to: 1, kind: .data))
    let write = pair.alpha.write(80, stamp: 1)
    pair.settle()
    _ = pair.beta.order(.detach(.zero, force: true))
    pair.settle()
    _ = pair.beta.order(.attach(.zero))
    pair.settle()
    #expect(pair.alpha.isOutOfSync(10))
    pair.network.held.removeAll()
    pair.wait(pair.alpha, [write])
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a log that a crash left half emptied attaches with all blocks marked")
  func halfEmptiedLog() throws {
    let pair = try pair(.dontCare)
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.crash(pair.alpha)
    let disk = pair.alpha.disks[.zero]!
    let superblock = try disk.superblock()
    let placement = try Placement(superblock: superblock, location: .internal, deviceBytes: disk.facts.metaBytes)
    var empty = [UInt8](repeating: 0, count: 4096)
    empty.withUnsafeMutableBytes { ActivityLogBlock.initialize($0) }
    for block in 0..<UInt64(placement.activityLogBlocks) {
      var bytes = empty
      if block == 3 { bytes[100] ^= 1 }
      _ = disk.metaWrite(placement.activityLogOffset + block * 4096, bytes, barrier: .everything)
    }
    pair.attach([pair.alpha])
    #expect(pair.alpha.volume().disk == .upToDate)
    #expect(pair.alpha.volume().outOfSync == pair.alpha.volume().size)
    pair.order(.connect(discardMyData: false), on: pair.alpha)
    pair.waitConnected()
    pair.waitSync()
    #expect(pair.beta.disks[.zero]![80] == 1)
    pair.expectEqual()
  }

  @Test("a target that is lost before its bitmap has come may be good still")
  func lostBeforeItsBitmap() throws {
    let pair = try pair(.resourceOnly)
    pair.cutLink()
    pair.settle()
    pair.alpha.endHandler(.fencePeer, exit: 4)
    pair.wait(pair.alpha, [pair.alpha.write(64, stamp: 1)])
    pair.order(.detach(.zero, force: false), on: pair.beta)
    pair.mendLink()
    pair.waitConnected()
    pair.beta.holding = [.superblock]
    _ = pair.beta.order(.attach(.zero))
    pair.settle()
    for _ in 0..<4 where pair.beta.volume().replication != .wfBitMapT {
      pair.beta.release(.superblock, count: 1)
      pair.settle()
    }
    pair.cutLink()
    pair.settle()
    pair.mendLink()
    pair.waitConnected()
    #expect(pair.alpha.volume().replication == .wfBitMapS && pair.alpha.volume().peerDisk == .consistent)
    pair.cutLink()
    pair.settle()
    #expect(pair.alpha.volume().peerDisk > .outdated)
  }

  @Test("a target that has overwritten nothing may be UpToDate again when the source's disk goes")
  func undoneAndLost() throws {
    let pair = try pair(.resourceOnly)
    pair.beta.holding = [.superblock]
    _ = pair.beta.order(.invalidate(.zero))
    pair.settle()
    _ = pair.alpha.order(.detach(.zero, force: true))
    pair.settle()
    pair.cutLink()
    pair.settle()
    #expect(pair.alpha.volume().peerDisk == .unknown)
  }

  @Test(
    "exit code 3 of fence-peer is not recorded as peer Outdated: the peer may be Diskless",
    arguments: [3, 4])
  func wordAboutNoDisk(_ word: Int32) throws {
    let pair = try pair(.resourceOnly)
    pair.beta.disks[.zero]!.badForWriting = 0..<0
    _ = pair.beta.order(.detach(.zero, force: true))
    pair.settle()
    pair.cutLink()
    pair.settle()
    pair.alpha.endHandler(.fencePeer, exit: word)
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 2)])
    #expect(pair.alpha.volume().peerDisk == (word == 3 ? .inconsistent : .outdated))
    pair.crash(pair.alpha)
    pair.settle()
    pair.restart(pair.alpha)
    pair.settle()
    // What the cluster stands to counts; a peer that attached its disk again is Consistent, and says nothing.
    #expect(pair.alpha.volume().disk == (word == 3 ? .consistent : .upToDate))
  }

  @Test("a frozen Primary whose resync has just ended is the source, whether its peer has heard of that end or not")
  func finishedAndFrozen() throws {
    let pair = try pair()
    _ = pair.alpha.order(.detach(.zero, force: false))
    pair.settle()
    pair.wait(pair.alpha, [pair.alpha.write(64, stamp: 1)])
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.alpha.holding = [.resyncWrite]
    _ = pair.alpha.order(.attach(.zero))
    pair.settle()
    #expect(pair.alpha.volume().replication == .syncTarget)
    pair.alpha.holding = [.superblock]
    pair.alpha.release(.resyncWrite)
    pair.settle()
    #expect(pair.alpha.volume().disk == .upToDate && pair.beta.volume().replication == .syncSource)
    pair.cutLink()
    pair.settle()
    pair.alpha.stopHolding()
    pair.alpha.endHandler(.fencePeer, exit: 1)
    pair.settle()
    #expect(pair.alpha.engine.snapshot().isFrozen)
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 3)])
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a target may have all when only writes are left that it acknowledged and the source's disk did not")
  func writtenThereOnly() throws {
    let pair = try pair()
    pair.cutLink()
    pair.settle()
    pair.alpha.endHandler(.fencePeer, exit: 4)
    pair.wait(pair.alpha, [pair.alpha.write(64, stamp: 1), pair.alpha.write(160, stamp: 1)])
    // Block 8 is copied; block 20 is written by the application, in time at the target, not in time at the source.
    _ = pair.beta.order(.pauseSync(.zero))
    pair.mendLink()
    pair.waitConnected()
    pair.settle()
    #expect(pair.beta.volume().replication == .pausedSyncT)
    pair.alpha.holding = [.appWrite]
    _ = pair.alpha.write(160, stamp: 2)
    _ = pair.beta.order(.resumeSync(.zero))
    pair.settle()
    #expect(pair.beta.volume().outOfSync == .zero && pair.alpha.isOutOfSync(20))
    #expect(pair.alpha.volume().replication == .syncSource)
    pair.cutLink()
    pair.settle()
    #expect(pair.alpha.volume().peerDisk == .unknown)
    pair.alpha.stopHolding()
    pair.settle()
  }
}
