// Online grow: both nodes tell their sizes, the smaller one wins, what is new is resynced; and what is never done.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Online grow")
struct ResizeTests {
  private static let small: UInt64 = 8 << 20
  private static let large: UInt64 = 16 << 20

  /// External metadata with room for the larger size; only the data devices grow.
  private func pair(_ sizes: [UInt64] = [small, small]) throws -> Pair {
    let pair = try Pair(diskBytes: [Self.small]) { settings, _ in settings.volumes[0].metaLocation = .external }
    for (node, bytes) in zip(pair.both, sizes) {
      node.disks[.zero] = try FakeDisk.external(bytes: bytes, metaBytes: 1 << 20)
    }
    pair.synced()
    pair.alpha.write(40, stamp: 1)
    pair.settle()
    return pair
  }

  private func grow(_ node: Node) { node.disks[.zero]!.facts.dataBytes = Self.large }
  private let resize = Command.resize(.zero, limit: nil, assumeClean: false)

  @Test("grown on both, the new blocks are resynced from the Primary", arguments: [true, false])
  func grows(commandOnPrimary: Bool) throws {
    let pair = try pair()
    for node in pair.both { grow(node) }
    pair.beta.disks[.zero]!.spoil(20000, 8, with: 9)
    pair.order(resize, on: commandOnPrimary ? pair.alpha : pair.beta)
    pair.waitSync()
    for node in pair.both {
      #expect(node.volume().size == SectorCount(bytes: Self.large))
      #expect(node.sizes[.zero] == SectorCount(bytes: Self.large))
      #expect(try node.disks[.zero]!.superblock().effectiveSize == SectorCount(bytes: Self.large))
      #expect(node.log.contains { $0.contains("will sync 8192 KiB") })
    }
    pair.wait(pair.alpha, [pair.alpha.write(32000, stamp: 7)])
    pair.expectEqual()
    pair.expectRest()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("a volume that did not end with a whole block: what comes to that block is resynced, too")
  func partOfABlock() throws {
    let pair = try pair([Self.small + 512, Self.small + 512])
    for node in pair.both { grow(node) }
    pair.beta.disks[.zero]!.spoil(16385, 16, with: 9)
    pair.order(resize, on: pair.alpha)
    pair.waitSync()
    for node in pair.both { #expect(node.volume().size == SectorCount(bytes: Self.large)) }
    pair.expectEqual()
  }

  @Test("a peer that took the size of an attached disk has that size: the disk fits when it comes back")
  func sizeTakenFromAttach() throws {
    let pair = try pair()
    pair.order(.secondary, on: pair.alpha)
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.crash(pair.beta)
    pair.beta.disks[.zero] = try FakeDisk.external(bytes: Self.large, metaBytes: 1 << 20)
    pair.restart(pair.beta)
    pair.waitConnected()
    #expect(pair.beta.volume().size == SectorCount(bytes: Self.large))
    pair.order(.attach(.zero), on: pair.alpha)
    pair.waitSync()
    pair.order(.primary(force: false), on: pair.alpha)
    for _ in 1...2 {
      #expect(pair.alpha.volume().size == SectorCount(bytes: Self.small))
      pair.order(.detach(.zero, force: false), on: pair.alpha)
      #expect(pair.alpha.sizes[.zero] == SectorCount(bytes: Self.small))
      pair.order(.attach(.zero), on: pair.alpha)
      pair.waitSync()
    }
    pair.expectEqual()
  }

  @Test("the smaller node decides: grown on one only, nothing changes until the other grows, too")
  func oneSide() throws {
    let pair = try pair()
    grow(pair.alpha)
    pair.order(resize, on: pair.alpha)
    pair.waitSync()
    for node in pair.both { #expect(node.volume().size == SectorCount(bytes: Self.small)) }
    grow(pair.beta)
    pair.order(resize, on: pair.beta)
    pair.waitSync()
    for node in pair.both { #expect(node.volume().size == SectorCount(bytes: Self.large)) }
    pair.expectEqual()
  }

  @Test("grown and cut off before the peer had answered: its next answer, of another grow, begins nothing")
  func answerThatNeverCame() throws {
    let pair = try pair([2 * Self.large, Self.small])
    grow(pair.beta)
    // Nobody knows yet.
    pair.network.isCut = true
    pair.order(resize, on: pair.beta)
    pair.settle()
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    for node in pair.both { #expect(node.volume().size == SectorCount(bytes: Self.large)) }
    // More room on one node: nothing becomes larger, and nothing is resynced.
    pair.alpha.disks[.zero]!.facts.dataBytes = 4 * Self.large
    pair.order(resize, on: pair.alpha)
    pair.settle()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("--size bounds it, --assume-clean resyncs nothing")
  func options() throws {
    let pair = try pair()
    for node in pair.both { grow(node) }
    pair.order(.resize(.zero, limit: SectorCount(20480), assumeClean: true), on: pair.alpha)
    pair.waitSync()
    for node in pair.both {
      #expect(node.volume().size == SectorCount(20480))
      #expect(node.volume().outOfSync == .zero)
      #expect(!node.log.contains { $0.contains("Resync of new storage after") })
    }
  }

  @Test("a volume in use never shrinks; and DRBD's other refusals")
  func refusals() throws {
    let pair = try pair()
    pair.refuse(.resize(.zero, limit: SectorCount(800), assumeClean: false), on: pair.alpha, 111)
    pair.alpha.disks[.zero]!.facts.dataBytes = 4 << 20
    pair.refuse(resize, on: pair.alpha, 111)
    pair.alpha.disks[.zero]!.facts.dataBytes = Self.small
    pair.order(.secondary, on: pair.alpha)
    pair.refuse(resize, on: pair.alpha, 131)
    let other = try Pair()
    other.synced()
    other.alpha.disks[.zero]!.facts = DiskFacts(
      dataBytes: 4 << 20, metaBytes: 4 << 20, logicalBlock: 512, canDiscard: true)
    other.refuse(resize, on: other.alpha, 111)
    #expect(other.alpha.volume().size == SectorCount(16304))
  }

  @Test("a kernel that has grown asks for our size; as its target we wait for the sync UUID")
  func kernelGrows() throws {
    let bench = try Bench { $0.volumes[0].sizeLimit = .zero }
    bench.attach()
    bench.makeGood()
    bench.node.engine.volumes[0].generations.bitmap = 0
    bench.node.engine.volumes[0].backing.bitmap.clearAll()
    // Our disk is larger than what both have agreed on so far.
    let usable = bench.node.engine.volumes[0].backing.usable
    bench.node.engine.volumes[0].size = SectorCount(8000)
    bench.node.engine.volumes[0].backing.bitmap.resize(bits: 1000, newBitsSet: false)
    bench.handshake(role: .primary)
    var sizes = Sizes()
    sizes.backing = 1 << 20
    bench.say(.sizes(sizes))
    #expect(bench.node.volume().size == usable)
    #expect(bench.node.volume().replication == .wfSyncUUID)
    let answers: [UInt64] = bench.node.sent.compactMap {
      if case .sizes(let own) = $0.packet { own.current } else { nil }
    }
    #expect(answers == [usable.value])
    // It loses its disk before the resync begins: nobody has anything newer than this node.
    #expect(bench.node.volume().disk == .inconsistent)
    bench.say(.state(bench.state(.primary, .connected, .diskless, .outdated)))
    #expect(bench.node.state() == "Connected Secondary/Primary UpToDate/Diskless")
  }
}
