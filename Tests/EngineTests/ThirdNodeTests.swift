// Metadata of DRBD 9 with a slot for a node that is not spoken to: whatever changes here, that node has to learn of it when it
// comes back.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Slots of nodes that are not spoken to")
struct ThirdNodeTests {
  /// What node 2 lacks, of a disk that nobody has attached.
  private func lacks(_ node: Node) throws -> Set<UInt64> { try node.disks[.zero]!.outOfSync(peerNode: 2) }

  /// Two nodes in sync, one of them Primary, and node 2, which has slot 1 of three, is in sync with both.
  private func synced() throws -> Pair {
    let pair = try Pair(peers: 3)
    pair.synced()
    pair.order(.down, on: pair.beta)
    pair.order(.down, on: pair.alpha)
    for node in pair.both {
      node.crash(power: false)
      let disk = node.disks[.zero]!
      var superblock = try disk.superblock()
      superblock.peers[2].bitmapIndex = 1
      superblock.peers[2].bitmapUUID = 0
      try disk.store(superblock)
      try disk.clearOutOfSync(peerNode: 2)
    }
    pair.attach()
    pair.connect()
    pair.order(.primary(force: false), on: pair.alpha)
    return pair
  }

  @Test("writes are marked on both nodes, although the two are in sync")
  func writes() throws {
    let pair = try synced()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7)])
    for node in [pair.beta, pair.alpha] {
      pair.order(.down, on: node)
      #expect(try lacks(node) == [10], "\(node.name)")
    }
  }

  @Test("after a crash all slots are marked where the log says so", arguments: [true, false])
  func crash(_ isPrimary: Bool) throws {
    let pair = try synced()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7)])
    pair.wait(pair.alpha, [pair.alpha.flush()])
    let node = isPrimary ? pair.alpha : pair.beta
    pair.crash(node)
    pair.attach([node])
    #expect(try lacks(node).contains(10))
    #expect(try node.disks[.zero]!.superblock().flags.contains(.primaryIndicator) == false)
    // A Secondary has acknowledged what it wrote: with its Primary it shares all of that.
    #expect((node.volume().outOfSync == .zero) != isPrimary)
  }

  @Test("what a resync overwrites is marked before it is overwritten")
  func resync() throws {
    let pair = try synced()
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7), pair.alpha.write(800, stamp: 8)])
    pair.beta.holding = [.bracket]
    pair.mendLink()
    pair.run(until: { pair.beta.heldCount(.bracket) > 0 })
    pair.crash(pair.beta)
    #expect(try lacks(pair.beta) == [10, 100])
  }

  @Test("a new generation says since when the others' slots count, and the next one leaves that alone")
  func generations() throws {
    let pair = try synced()
    func entry(_ node: Node) throws -> UInt64 { try node.disks[.zero]!.superblock().peers[2].bitmapUUID }
    // Beta went down first, and was the target of a resync when it came back: from the generation that it had then.
    let older = try entry(pair.beta)
    #expect(older != 0)
    let first = pair.alpha.volume().current
    pair.cutLink()
    pair.run(until: { pair.alpha.volume().current & ~1 != first & ~1 })
    pair.settle()
    #expect(try entry(pair.alpha) & ~1 == first & ~1)
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    pair.pass(.seconds(1))
    #expect(try entry(pair.beta) == older)
    pair.cutLink()
    pair.pass(.seconds(5))
    #expect(try entry(pair.alpha) & ~1 == first & ~1)
  }

  @Test("a full sync with the peer leaves the others' bits alone")
  func fullSync() throws {
    let pair = try synced()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7)])
    pair.order(.down, on: pair.beta)
    let disk = pair.beta.disks[.zero]!
    var superblock = try disk.superblock()
    superblock.peers[0].flags.insert(.fullSync)
    try disk.store(superblock)
    pair.beta.crash(power: false)
    pair.attach([pair.beta])
    #expect(pair.beta.volume().outOfSync.bits == pair.beta.volume().size.bits)
    #expect(try lacks(pair.beta) == [10])
  }
}
