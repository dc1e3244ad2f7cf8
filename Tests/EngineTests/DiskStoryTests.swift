// Two nodes and their disks: none, detached, attached again, declared bad, failing.
import Base
import MetaDisk
import Testing

@testable import Engine

@Suite("Two nodes: disks come and go")
struct DiskStoryTests {
  @Test("a Primary lets its disk go, works through the peer, and attaches again")
  func detachAttach() throws {
    let pair = try Pair()
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.settle()
    pair.expect("Connected Primary/Secondary Diskless/UpToDate")
    #expect(pair.content(pair.alpha, 0) == [UInt64](repeating: 1, count: 8))
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 2), pair.alpha.write(400, 3, stamp: 3)])
    #expect(pair.beta.disks[.zero]![80] == 2)
    #expect(pair.content(pair.alpha, 400, 4) == [3, 3, 3, 0])
    #expect(pair.alpha.disks[.zero]![80] == 0)
    let received = pair.alpha.volume().received
    pair.order(.attach(.zero), on: pair.alpha)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    #expect(pair.alpha.volume().received - received < 16304)
    #expect(pair.alpha.generations() == pair.beta.generations())
    pair.expectRest()
  }

  @Test("a Secondary lets its disk go and takes it back: what was written meanwhile is resynced")
  func secondaryDetaches() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.detach(.zero, force: false), on: pair.beta)
    pair.settle()
    pair.expect("Connected Primary/Secondary UpToDate/Diskless")
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 2)])
    #expect(pair.alpha.volume().outOfSync == SectorCount(8))
    let received = pair.beta.volume().received
    pair.order(.attach(.zero), on: pair.beta)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    #expect(pair.beta.volume().received - received == 8)
    pair.expectRest()
  }

  @Test("the last good disk of a Primary cannot be let go")
  func lastDisk() throws {
    let pair = try Pair()
    pair.synced()
    pair.cutLink()
    pair.refuse(.detach(.zero, force: false), on: pair.alpha, -2)
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.refuse(.detach(.zero, force: false), on: pair.beta, -10)
    pair.settle()
    pair.expect("Connected Primary/Secondary Diskless/UpToDate")
    pair.order(.detach(.zero, force: false), on: pair.alpha)
  }

  @Test("a client (`disk none`) as Primary reads and writes through the peer")
  func client() throws {
    let pair = try Pair { settings, isAlpha in
      if isAlpha { settings.volumes[0].hasDisk = false }
    }
    pair.refuse(.attach(.zero), on: pair.alpha, 138)
    pair.attach([pair.beta])
    pair.order(.primary(force: true), on: pair.beta)
    pair.order(.secondary, on: pair.beta)
    pair.connect()
    pair.expect("Connected Secondary/Secondary Diskless/UpToDate")
    pair.order(.primary(force: false), on: pair.alpha)
    #expect(pair.alpha.sizes[.zero] == SectorCount(16304))
    pair.wait(pair.alpha, [pair.alpha.write(0, 2048, stamp: 6), pair.alpha.flush()])
    #expect(pair.content(pair.alpha, 0, 2048) == [UInt64](repeating: 6, count: 2048))
    pair.wait(pair.alpha, [pair.alpha.discard(0, 8), pair.alpha.zero(8, 8)])
    #expect(pair.content(pair.alpha, 0, 24)[16] == 6)
    #expect(pair.content(pair.alpha, 8, 8) == [UInt64](repeating: 0, count: 8))
    pair.expectRest()
    // Without the peer there are no data: the application hears of it, and nothing hangs.
    pair.cutLink()
    pair.settle()
    let read = pair.alpha.read(0)
    let write = pair.alpha.write(0, stamp: 1)
    pair.settle()
    #expect(pair.alpha.answers[read.ticket] == DiskFault(errno: 5))
    #expect(pair.alpha.answers[write] == DiskFault(errno: 5))
    pair.mendLink()
    pair.waitConnected()
    #expect(pair.content(pair.alpha, 16, 8) == [UInt64](repeating: 6, count: 8))
    pair.expectRest()
  }

  @Test("reads under way to a peer that is lost find the local disk or fail, once")
  func readLost() throws {
    let pair = try Pair { settings, isAlpha in
      if isAlpha { settings.volumes[0].hasDisk = false }
    }
    pair.attach([pair.beta])
    pair.order(.primary(force: true), on: pair.beta)
    pair.order(.secondary, on: pair.beta)
    pair.connect()
    pair.order(.primary(force: false), on: pair.alpha)
    pair.beta.holding = [.peerRead]
    let read = pair.alpha.read(0)
    pair.settle()
    #expect(pair.beta.heldCount(.peerRead) == 1)
    pair.cutLink()
    pair.settle()
    #expect(pair.alpha.answers[read.ticket] == DiskFault(errno: 5))
    pair.beta.stopHolding()
    pair.expectRest()
  }

  @Test("the disk a diskless Primary works on goes and comes back: it is used again, an older one is not")
  func lastDiskReturns() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 2)])
    pair.order(.detach(.zero, force: true), on: pair.beta)
    pair.settle()
    // The write may have been in the cache of that disk only: the connection is broken to say so.
    pair.waitConnected()
    pair.settle()
    #expect(pair.alpha.state == "Connected Primary/Secondary Diskless/Diskless")
    let read = pair.alpha.read(80)
    pair.settle()
    #expect(pair.alpha.answers[read.ticket] == DiskFault(errno: 5))
    // Its own disk does not have the last write.
    pair.refuse(.attach(.zero), on: pair.alpha, 150)
    pair.order(.attach(.zero), on: pair.beta)
    pair.settle()
    #expect(pair.alpha.state == "Connected Primary/Secondary Diskless/UpToDate")
    #expect(pair.beta.state == "Connected Secondary/Primary UpToDate/Diskless")
    #expect(pair.content(pair.alpha, 80) == [UInt64](repeating: 2, count: 8))
    pair.order(.attach(.zero), on: pair.alpha)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a disk that fails while the peer is asked for invalidate-remote is not the source")
  func failsWhileInvalidating() throws {
    let pair = try Pair { settings, _ in settings.volumes[0].onIOError = .passOn }
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.alpha.disks[.zero]!.badForWriting = 80..<88
    pair.network.held = [.init(to: 1, kind: .data), .init(to: 1, kind: .meta)]
    let command = pair.alpha.order(.invalidateRemote(.zero))
    let failed = pair.alpha.write(80, stamp: 2)
    pair.settle()
    #expect(pair.alpha.volume().disk == .inconsistent)
    pair.network.held.removeAll()
    pair.run(until: { pair.alpha.replies[command] != nil && pair.alpha.isAnswered(failed) })
    guard case .refused? = pair.alpha.replies[command] else {
      Issue.record("a failed disk is copied over a good one")
      return
    }
    pair.settle()
    #expect(pair.alpha.volume().disk == .inconsistent)
    #expect(pair.beta.volume().disk == .upToDate)
    #expect(pair.beta.disks[.zero]![80] == 2)
  }

  @Test("a disk that comes to a diskless Secondary can be promoted on")
  func diskComesToClient() throws {
    let pair = try Pair { settings, isAlpha in
      if isAlpha { settings.volumes[0].hasDisk = false }
    }
    pair.attach([pair.beta])
    pair.order(.primary(force: true), on: pair.beta)
    pair.order(.secondary, on: pair.beta)
    pair.order(.detach(.zero, force: false), on: pair.beta)
    pair.connect()
    pair.expect("Connected Secondary/Secondary Diskless/Diskless")
    pair.refuse(.primary(force: false), on: pair.alpha, -2)
    pair.order(.attach(.zero), on: pair.beta)
    pair.settle()
    pair.expect("Connected Secondary/Secondary Diskless/UpToDate")
    pair.order(.primary(force: false), on: pair.alpha)
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    pair.expectRest()
  }

  @Test("a disk with other data than the peer's is not taken, and the connection stays")
  func otherData() throws {
    let pair = try Pair()
    pair.synced()
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    pair.order(.primary(force: false), on: pair.beta)
    pair.wait(pair.beta, [pair.beta.write(0, stamp: 2)])
    pair.order(.secondary, on: pair.beta)
    pair.order(.detach(.zero, force: true), on: pair.beta)
    for node in pair.both { pair.order(.disconnect(force: true), on: node) }
    pair.mendLink()
    pair.connect()
    pair.expect("Connected Primary/Secondary UpToDate/Diskless")
    _ = pair.run(.attach(.zero), on: pair.beta)
    pair.pass(.seconds(5))
    #expect(pair.beta.volume().disk == .diskless)
    #expect(pair.alpha.state == "Connected Primary/Secondary UpToDate/Diskless")
    #expect(pair.content(pair.alpha, 0) == [UInt64](repeating: 1, count: 8))
    #expect(pair.beta.disks[.zero]![0] == 2)
    pair.expectRest()
  }

  @Test("invalidate copies everything from the peer, invalidate-remote everything to it")
  func invalidate() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    pair.wait(pair.alpha, [])
    for (command, node, target) in [
      (Command.invalidate(.zero), pair.beta, pair.beta), (.invalidateRemote(.zero), pair.beta, pair.alpha),
      (.invalidate(.zero), pair.alpha, pair.alpha), (.invalidateRemote(.zero), pair.alpha, pair.beta),
    ] {
      let received = target.volume().received
      pair.order(command, on: node)
      pair.waitSync()
      pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
      #expect(target.volume().received - received == 16304)
      #expect(pair.alpha.generations() == pair.beta.generations())
      pair.expectEqual()
    }
    pair.order(.primary(force: false), on: pair.alpha)
    pair.refuse(.invalidate(.zero), on: pair.alpha, 0)
    pair.order(.invalidate(.zero), on: pair.beta)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectRest()
  }

  @Test("outdate: refused while connected and on a Primary, durable when done")
  func outdate() throws {
    let pair = try Pair()
    pair.synced()
    pair.refuse(.outdate(.zero), on: pair.beta, -6)
    pair.cutLink()
    pair.refuse(.outdate(.zero), on: pair.alpha, -2)
    pair.order(.outdate(.zero), on: pair.beta)
    #expect(pair.beta.volume().disk == .outdated)
    #expect(try !pair.beta.disks[.zero]!.superblock().flags.contains(.wasUpToDate))
    pair.refuse(.primary(force: false), on: pair.beta, -2)
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("two fresh nodes skip the initial sync by new-current-uuid --clear-bitmap")
  func skipInitialSync() throws {
    let pair = try Pair()
    pair.attach()
    pair.connect()
    pair.order(.newCurrentUUID(.zero, clearBitmap: true), on: pair.alpha)
    pair.settle()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    #expect(pair.alpha.generations() == pair.beta.generations())
    #expect(pair.alpha.generations()[1] == 0)
    pair.order(.primary(force: false), on: pair.alpha)
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("a resync is paused by either side, and goes on when the last pause falls")
  func pause() throws {
    let pair = try Pair()
    pair.attach()
    pair.connect()
    pair.beta.holding = [.resyncWrite]
    pair.order(.primary(force: true), on: pair.alpha)
    pair.settle()
    #expect(pair.alpha.state == "SyncSource Primary/Secondary UpToDate/Inconsistent")
    #expect(pair.beta.state == "SyncTarget Secondary/Primary Inconsistent/UpToDate")
    pair.order(.pauseSync(.zero), on: pair.alpha)
    pair.settle()
    #expect(pair.alpha.state == "PausedSyncS Primary/Secondary UpToDate/Inconsistent")
    #expect(pair.beta.state == "PausedSyncT Secondary/Primary Inconsistent/UpToDate")
    pair.beta.stopHolding()
    pair.pass(.seconds(5))
    let left = pair.beta.volume().outOfSync
    #expect(left > .zero && left < SectorCount(16304))
    pair.order(.pauseSync(.zero), on: pair.beta)
    pair.order(.resumeSync(.zero), on: pair.alpha)
    pair.pass(.seconds(5))
    #expect(pair.beta.volume().outOfSync == left)
    pair.order(.resumeSync(.zero), on: pair.beta)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }
}
