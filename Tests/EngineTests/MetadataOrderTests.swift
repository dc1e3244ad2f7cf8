// What has to be durable before what (metadata spec 2.6): promises are answered, and weaker claims written, only then.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Order of metadata")
struct MetadataOrderTests {
  private func flags(_ bench: Bench) throws -> DeviceFlags { try bench.disk.superblock().flags }

  @Test("a promotion is answered, and writes accepted, when the metadata says Primary")
  func promotion() throws {
    let bench = try Bench()
    bench.primary()
    _ = bench.order(.secondary)
    bench.node.forgetTrace()
    bench.node.holding = [.superblock]
    let to = bench.order(.primary(force: false))
    bench.say(.pingAck)
    bench.say(.stateChangeReply(1))
    #expect(bench.node.replies[to] == nil)
    #expect(!bench.node.acceptsWrites)
    #expect(!bench.sent().contains("P_STATE"))
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.node.replies[to] == .done)
    #expect(bench.node.acceptsWrites)
    #expect(try flags(bench).contains([.primaryIndicator, .crashedPrimary]))
    #expect(bench.sent() == ["P_STATE"])
  }

  @Test("a demotion ends with the bitmap on disk, then a superblock that says Secondary, then the answer")
  func demotion() throws {
    let bench = try Bench()
    bench.primary()
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    bench.node.write(80, stamp: 1)
    bench.settle()
    bench.node.holding = [.bitmapPage, .superblock]
    let to = bench.order(.secondary)
    #expect(bench.node.replies[to] == nil)
    #expect(bench.node.heldCount(.bitmapPage) == 1)
    #expect(bench.node.heldCount(.superblock) == 0)
    bench.node.release(.bitmapPage)
    bench.settle()
    #expect(bench.node.heldCount(.superblock) == 1)
    #expect(bench.node.replies[to] == nil)
    #expect(try flags(bench).contains(.primaryIndicator))
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.node.replies[to] == .done)
    #expect(try !flags(bench).contains(.primaryIndicator))
    #expect(try bench.disk.outOfSync(peerNode: 1) == [10])
  }

  @Test("a superblock that claims less waits also for a page that is being written already")
  func pageUnderWay() throws {
    let pair = try Pair(diskBytes: [64 << 20]) { settings, _ in settings.volumes[0].alExtents = 2 }
    pair.synced()
    pair.order(.detach(.zero, force: true), on: pair.alpha)
    // The only copy is the Secondary's: its log names what its bitmap on disk does not.
    for extent in [0, 1] { pair.wait(pair.alpha, [pair.alpha.write(UInt64(extent) * 8192, stamp: 1)]) }
    pair.beta.holding = [.bitmapPage, .superblock]
    let third = pair.alpha.write(2 * 8192, stamp: 1)
    pair.settle()
    #expect(pair.beta.heldCount(.bitmapPage) == 1)
    // With a disk at the peer again the log does not count any more.
    _ = pair.alpha.order(.attach(.zero))
    pair.settle()
    #expect(pair.beta.volume().peerDisk >= .inconsistent)
    #expect(pair.beta.heldCount(.superblock) == 0)
    pair.beta.holding = [.superblock]
    pair.beta.release(.bitmapPage)
    pair.settle()
    #expect(pair.beta.heldCount(.superblock) == 1)
    pair.beta.stopHolding()
    pair.waitSync()
    pair.wait(pair.alpha, [third])
    pair.expectEqual()
  }

  @Test("a power cut at any point of a demotion leaves either Primary or a complete bitmap", arguments: 0..<6)
  func cutInDemotion(_ writes: Int) throws {
    let bench = try Bench(diskBytes: 64 << 20)
    bench.primary()
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    bench.node.write(80, stamp: 1)
    bench.node.write(20000, stamp: 1)
    bench.settle()
    bench.node.holding = [.bitmapPage, .superblock]
    _ = bench.order(.secondary)
    for _ in 0..<writes {
      bench.node.release(.bitmapPage, count: 1)
      bench.node.release(.superblock, count: 1)
      bench.settle()
    }
    bench.disk.losePower()
    if try !flags(bench).contains(.primaryIndicator) {
      #expect(try bench.disk.outOfSync(peerNode: 1) == [10, 2500])
    }
  }

  @Test("new bits are on disk before a superblock that drops what covered them")
  func resyncStarts() throws {
    let bench = try Bench()
    bench.primary()
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    bench.node.write(80, stamp: 1)
    bench.settle()
    _ = bench.order(.secondary)
    _ = bench.order(.disconnect(force: true))
    // Secondary with a bitmap: everything is on disk, whatever is cut now.
    bench.disk.losePower()
    #expect(try bench.disk.outOfSync(peerNode: 1) == [10])
  }

  @Test("a full sync is bracketed: the flag is durable before the bits, and gone after them")
  func bracket() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    pair.beta.holding = [.bitmapPage, .resyncWrite]
    _ = pair.beta.order(.invalidate(.zero))
    pair.settle()
    pair.beta.disks[.zero]!.losePower()
    let superblock = try pair.beta.disks[.zero]!.superblock()
    #expect(superblock.peers[0].flags.contains(.fullSync) || superblock.flags.contains(.consistent))
    pair.beta.stopHolding()
    pair.waitSync()
    #expect(try !pair.beta.disks[.zero]!.superblock().peers[0].flags.contains(.fullSync))
    pair.expectEqual()
  }

  @Test("a power cut at any moment of a full sync is found and repaired", arguments: 0..<30)
  func cutInFullSync(_ moment: Int) throws {
    let pair = try Pair(diskBytes: [4 << 20])
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, 64, stamp: 5)])
    pair.wait(pair.alpha, [pair.alpha.flush()])
    let node = pair.both[moment % 2]
    _ = pair.beta.order(.invalidate(.zero))
    for _ in 0..<moment * 3 {
      for one in pair.both { _ = one.step() }
      _ = pair.network.deliver()
    }
    pair.crash(node)
    pair.pass(.seconds(1))
    pair.restart(node)
    pair.waitConnected()
    pair.waitSync()
    pair.expectEqual()
    #expect(pair.beta.disks[.zero]![0] == 5)
    #expect(pair.alpha.state.hasSuffix("UpToDate/UpToDate"))
  }

  @Test("a node that was Primary in a crash says so until it is in sync again", arguments: MetaFormat.allCases)
  func crashMark(_ format: MetaFormat) throws {
    let pair = try Pair(format: format)
    pair.synced()
    pair.crash(pair.alpha)
    pair.attach([pair.alpha])
    #expect(try pair.alpha.disks[.zero]!.superblock().flags.contains(.crashedPrimary))
    // Once more, as Secondary: the mark stays.
    pair.crash(pair.alpha)
    pair.restart(pair.alpha)
    #expect(try pair.alpha.disks[.zero]!.superblock().flags.contains(.crashedPrimary))
    pair.waitConnected()
    pair.waitSync()
    pair.order(.down, on: pair.alpha)
    #expect(try !pair.alpha.disks[.zero]!.superblock().flags.contains(.crashedPrimary))
  }
}
