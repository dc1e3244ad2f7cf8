// A resource with several volumes: one connection, one role, a disk and a resync for each.
import Base
import MetaDisk
import Testing

@testable import Engine

@Suite("Two nodes: several volumes")
struct VolumesStoryTests {
  private let one = VolumeNumber(1)
  private let two = VolumeNumber(2)

  @Test("all volumes are synced, written and resynced, each by itself")
  func life() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20, 16 << 20])
    pair.synced()
    for volume in [VolumeNumber.zero, one, two] {
      #expect(pair.alpha.state(volume) == "Connected Primary/Secondary UpToDate/UpToDate")
      #expect(pair.alpha.generations(volume) == pair.beta.generations(volume))
    }
    pair.expectEqual()
    pair.wait(
      pair.alpha,
      [
        pair.alpha.write(0, stamp: 1), pair.alpha.write(0, stamp: 2, volume: one),
        pair.alpha.write(0, stamp: 3, volume: two),
      ])
    pair.wait(pair.alpha, [pair.alpha.flush(volume: one)])
    pair.pass(.seconds(1))
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 4, volume: two)])
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    #expect(pair.beta.disks[two]![80] == 4)
    pair.expectEqual()
    pair.expectRest()
    pair.order(.secondary, on: pair.alpha)
    pair.order(.primary(force: false), on: pair.beta)
    pair.wait(pair.beta, [pair.beta.write(0, stamp: 9, volume: one)])
    pair.order(.down, on: pair.beta)
    pair.order(.down, on: pair.alpha)
    pair.expectRest()
  }

  @Test("a flush of one volume makes the writes of all durable on the peer")
  func flush() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1), pair.alpha.write(0, stamp: 2, volume: one)])
    pair.wait(pair.alpha, [pair.alpha.flush(volume: one)])
    for node in pair.both { for disk in node.disks.values { disk.losePower() } }
    #expect(pair.beta.disks[.zero]![0] == 1)
    #expect(pair.beta.disks[one]![0] == 2)
    #expect(pair.alpha.disks[one]![0] == 2)
  }

  @Test("one volume loses its disk, the other goes on")
  func oneDisk() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    pair.order(.detach(one, force: false), on: pair.alpha)
    pair.settle()
    #expect(pair.alpha.state(one) == "Connected Primary/Secondary Diskless/UpToDate")
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1), pair.alpha.write(0, stamp: 2, volume: one)])
    pair.order(.attach(one), on: pair.alpha)
    pair.waitSync()
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("split brain in one volume ends the connection of all")
  func splitBrain() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1, volume: one)])
    pair.order(.primary(force: false), on: pair.beta)
    pair.order(.secondary, on: pair.beta)
    pair.mendLink()
    pair.pass(.seconds(20))
    #expect(pair.alpha.state(one).hasPrefix("StandAlone") || pair.beta.state(one).hasPrefix("StandAlone"))
    #expect(pair.alpha.volume(one).replication < .connected)
    #expect(pair.alpha.volume().replication < .connected)
    pair.expectRest()
  }

  @Test("a volume that only one node has is skipped")
  func unknownVolume() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20], betaBytes: [8 << 20])
    pair.attach()
    pair.connect()
    #expect(pair.beta.state == "Connected Secondary/Secondary Inconsistent/Inconsistent")
    pair.pass(.seconds(15))
    #expect(pair.beta.state == "Connected Secondary/Secondary Inconsistent/Inconsistent")
    pair.expectRest()
  }

  @Test("promotion is refused when one volume has no good data")
  func promotion() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.attach()
    pair.connect()
    pair.order(.newCurrentUUID(.zero, clearBitmap: true), on: pair.alpha)
    pair.settle()
    pair.refuse(.primary(force: false), on: pair.alpha, -2)
    pair.order(.primary(force: true), on: pair.alpha)
    pair.waitSync()
    #expect(pair.beta.state(one) == "Connected Secondary/Primary UpToDate/UpToDate")
    pair.expectEqual()
  }

  @Test("one Primary of two volumes crashes: both activity logs are resynced")
  func crash() throws {
    let pair = try Pair(diskBytes: [32 << 20, 32 << 20])
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1), pair.alpha.write(16384, stamp: 2, volume: one)])
    pair.crash(pair.alpha)
    pair.restart(pair.alpha)
    #expect(pair.alpha.volume(one).outOfSync == SectorCount(8192))
    pair.waitConnected()
    pair.waitSync()
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a demotion is answered when every volume has recorded it", arguments: [0, 1, 2])
  func demotionOfAll(last: Int) throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20, 16 << 20])
    pair.synced()
    pair.alpha.holding = [.superblock]
    let reply = pair.alpha.order(.secondary)
    pair.settle()
    #expect(pair.alpha.heldCount(.superblock) == 3)
    let order = (0..<3).filter { $0 != last } + [last]
    for volume in order {
      #expect(pair.alpha.replies[reply] == nil)
      // What the change of role says, and what the demotion does.
      for _ in 0..<2 {
        pair.alpha.release(.superblock, of: UInt64(volume))
        pair.settle()
      }
    }
    #expect(pair.alpha.replies[reply] == .done)
    pair.alpha.stopHolding()
  }

  @Test("a peer is promoted when the demotion here is recorded: that makes durable what was written before")
  func promotedAfterTheRecord() throws {
    let pair = try Pair()
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 1)])
    pair.alpha.holding = [.superblock]
    let demoted = pair.alpha.order(.secondary)
    pair.settle()
    #expect(pair.alpha.engine.snapshot().role == .secondary && pair.alpha.replies[demoted] == nil)
    guard case .refused(let refusal)? = pair.run(.primary(force: false), on: pair.beta) else {
      Issue.record("promoted before the demotion was recorded")
      return
    }
    #expect(refusal.why.contains("not yet in its metadata"), "\(refusal)")
    pair.alpha.stopHolding()
    pair.settle()
    #expect(pair.alpha.replies[demoted] == .done)
    pair.order(.primary(force: false), on: pair.beta)
    pair.expectRest()
  }
}
