// A volume in use never becomes smaller, and good data are never cut off, by a replaced disk, an option, or a peer's word; only
// the operator's `resize` makes a volume smaller.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("What may not shrink")
struct ShrinkTests {
  private static let size = SectorCount(16304)

  private func pair() throws -> Pair {
    let pair = try Pair()
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(16296, stamp: 7)])
    return pair
  }

  private func expectWhole(_ pair: Pair, at location: SourceLocation = #_sourceLocation) throws {
    #expect(pair.alpha.volume().size == Self.size, sourceLocation: location)
    #expect(pair.alpha.sizes[.zero] == Self.size, sourceLocation: location)
    #expect(try pair.alpha.disks[.zero]!.superblock().effectiveSize == Self.size, sourceLocation: location)
    #expect(pair.alpha.volume().disk == .upToDate, sourceLocation: location)
    #expect(pair.alpha.disks[.zero]![16296] == 7, sourceLocation: location)
  }

  private func refusal(of command: Command, on node: Node, _ pair: Pair) -> Refusal? {
    if case .refused(let refusal) = pair.run(command, on: node) { refusal } else { nil }
  }

  @Test("of two unequal disks either may be detached and attached again", arguments: [true, false])
  func detachedAndBack(theSmaller: Bool) throws {
    let pair = try Pair(diskBytes: [16 << 20], betaBytes: [8 << 20])
    pair.synced()
    let node = theSmaller ? pair.beta : pair.alpha
    pair.order(.detach(.zero, force: false), on: node)
    pair.order(.attach(.zero), on: node)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
  }

  @Test(
    "a smaller disk is refused by the node that attaches it, beside a Primary and beside an idle node",
    arguments: [true, false])
  func replacedDisk(isInUse: Bool) throws {
    let pair = try pair()
    if !isInUse { pair.order(.secondary, on: pair.alpha) }
    pair.order(.detach(.zero, force: false), on: pair.beta)
    pair.beta.disks[.zero] = try FakeDisk.created(bytes: 6 << 20)
    let refusal = refusal(of: .attach(.zero), on: pair.beta, pair)
    #expect(refusal?.number == 111)
    #expect(
      refusal?.why.contains("6104 KiB") == true && refusal?.why.contains("8152 KiB") == true, "\(refusal?.why ?? "")")
    #expect(refusal?.next.contains("use a device") == true)
    pair.settle()
    try expectWhole(pair)
    pair.expect("Connected \(isInUse ? "Primary" : "Secondary")/Secondary UpToDate/Diskless")
    // One that is large enough takes part.
    pair.beta.disks[.zero] = try FakeDisk.created(bytes: 9 << 20)
    pair.order(.attach(.zero), on: pair.beta)
    pair.waitSync()
    try expectWhole(pair)
    #expect(pair.beta.volume().size == Self.size)
    pair.expectEqual()
  }

  @Test("the first disk comes late, and is too small")
  func lateDisk() throws {
    let pair = try Pair()
    pair.attach([pair.alpha])
    pair.connect()
    pair.order(.primary(force: true), on: pair.alpha)
    pair.wait(pair.alpha, [pair.alpha.write(16296, stamp: 7)])
    pair.beta.disks[.zero] = try FakeDisk.created(bytes: 6 << 20)
    pair.refuse(.attach(.zero), on: pair.beta, 111)
    try expectWhole(pair)
    pair.expect("Connected Primary/Secondary UpToDate/Diskless")
  }

  @Test("a good disk is attached beside a blank one that is too small: the blank one is refused")
  func goodBesideTooSmall() throws {
    let pair = try pair()
    pair.order(.secondary, on: pair.alpha)
    for node in pair.both { pair.order(.disconnect(force: true), on: node) }
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.order(.detach(.zero, force: false), on: pair.beta)
    pair.beta.disks[.zero] = try FakeDisk.created(bytes: (8 << 20) - 65536)
    pair.attach([pair.beta])
    for node in pair.both { pair.order(.connect(discardMyData: false), on: node) }
    pair.pass(.seconds(2))
    #expect(pair.alpha.volume().replication == .connected && pair.beta.volume().disk == .inconsistent)
    pair.order(.attach(.zero), on: pair.alpha)
    #expect(pair.alpha.volume().disk == .upToDate)
    #expect(pair.alpha.engine.connectionRefusal?.contains("give the peer a disk of at least this size") == true)
    pair.order(.primary(force: false), on: pair.alpha)
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 3)])
  }

  @Test("a smaller disk that is being attached while the nodes meet: whatever comes first, nothing shrinks")
  func attachedWhileMeeting() throws {
    for steps in 0..<60 {
      let pair = try pair()
      pair.cutLink()
      pair.order(.detach(.zero, force: true), on: pair.beta)
      pair.beta.disks[.zero] = try FakeDisk.created(bytes: 6 << 20)
      pair.mendLink()
      pair.network.held = [.init(to: 0, kind: .data), .init(to: 1, kind: .data)]
      pair.beta.holding = [.attach, .superblock]
      let reply = pair.beta.order(.attach(.zero))
      pair.pass(.seconds(3))
      // Some of the attach, then the packets, then the rest.
      for _ in 0..<steps {
        pair.beta.releaseOne()
        pair.settle()
      }
      pair.network.held = []
      pair.settle()
      pair.beta.stopHolding()
      pair.pass(.seconds(3))
      #expect(pair.beta.replies[reply] != nil)
      try expectWhole(pair)
    }
  }

  @Test("`disk { size }` below the size in use counts neither for the peer nor for the data")
  func loweredLimit() throws {
    let pair = try pair()
    pair.beta.settings.volumes[0].sizeLimit = SectorCount(8000)
    pair.beta.engine.adopt(pair.beta.settings)
    pair.order(.resize(.zero, limit: nil, assumeClean: false), on: pair.alpha)
    pair.cutLink()
    pair.pass(.seconds(1))
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    try expectWhole(pair)
    #expect(pair.beta.volume().size == Self.size)
    // Its own data, when it is attached anew.
    pair.order(.detach(.zero, force: false), on: pair.beta)
    let kept = refusal(of: .attach(.zero), on: pair.beta, pair)
    #expect(kept?.number == 111 && kept?.why.contains("`disk { size }` says 4000 KiB") == true, "\(kept?.why ?? "")")
    pair.order(.disconnect(force: false), on: pair.beta)
    let alone = refusal(of: .attach(.zero), on: pair.beta, pair)
    #expect(alone?.number == 170 && alone?.why.contains("would be cut off") == true, "\(alone?.why ?? "")")
    // A fresh disk is refused by both when they meet.
    pair.beta.disks[.zero] = try FakeDisk.created()
    pair.attach([pair.beta])
    pair.order(.connect(discardMyData: false), on: pair.beta)
    pair.pass(.seconds(20))
    #expect(pair.alpha.engine.connectionRefusal?.contains("`disk { size }` of the peer is too small") == true)
    #expect(pair.beta.engine.connectionRefusal?.contains("`disk { size }` is too small for r0/0: 4000 KiB") == true)
    try expectWhole(pair)
  }

  @Test("without a Primary no `resize` is advised to a disk that has more data than its peer uses")
  func attachedWithoutPrimary() throws {
    let pair = try pair()
    pair.order(.secondary, on: pair.alpha)
    pair.order(.disconnect(force: false), on: pair.alpha)
    pair.run(.disconnect(force: false), on: pair.beta)
    pair.run(.resize(.zero, limit: SectorCount(8000), assumeClean: false), on: pair.beta)
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.connect()
    let refused = refusal(of: .attach(.zero), on: pair.alpha, pair)
    #expect(
      refused?.why.contains("beta uses 4000 KiB of its own: they would be cut off") == true, "\(refused?.why ?? "")")
    #expect(refused?.next.contains("resize") == false, "\(refused?.next ?? "")")
    #expect(refused?.next.hasPrefix("attach it without a connection") == true, "\(refused?.next ?? "")")
  }

  @Test("the operator makes a volume smaller that nobody uses, on each node by itself")
  func operatorCuts() throws {
    let pair = try pair()
    let cut = Command.resize(.zero, limit: SectorCount(8000), assumeClean: false)
    pair.refuse(cut, on: pair.alpha, 111)
    pair.order(.secondary, on: pair.alpha)
    pair.refuse(cut, on: pair.alpha, 131)
    pair.order(.disconnect(force: false), on: pair.alpha)
    pair.run(.disconnect(force: false), on: pair.beta)
    for node in pair.both {
      guard case .remarked(let text) = pair.run(cut, on: node) else {
        Issue.record("no remark")
        return
      }
      #expect(text.contains("4000 KiB now") && text.contains("disk { size 8000s; }"))
      #expect(node.volume().size == SectorCount(8000))
      #expect(try node.disks[.zero]!.superblock().effectiveSize == SectorCount(8000))
    }
    pair.connect()
    pair.waitSync()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    for node in pair.both { #expect(node.volume().size == SectorCount(8000)) }
    // On one node only: the peer does not follow.
    pair.order(.disconnect(force: false), on: pair.alpha)
    pair.run(.disconnect(force: false), on: pair.beta)
    pair.run(.resize(.zero, limit: SectorCount(4000), assumeClean: false), on: pair.alpha)
    for node in pair.both { pair.order(.connect(discardMyData: false), on: node) }
    pair.pass(.seconds(20))
    #expect(pair.beta.volume().size == SectorCount(8000))
    #expect(pair.beta.engine.connectionRefusal?.contains("too small") == true)
  }

  // MARK: A peer that lies

  private static let nonsense: [Sizes] = [
    sizes(backing: 8, current: 8), sizes(backing: 1, current: 1), sizes(backing: 16304, current: 0, limit: 8),
    sizes(backing: 16304, current: 16304, limit: 1), sizes(backing: 16303, current: 16303),
    sizes(backing: 1 << 60, current: 1 << 60), sizes(backing: .max, current: .max),
    sizes(backing: 16304, current: .max),
    sizes(backing: 8, current: 0), sizes(backing: 100, current: 16304),
    sizes(backing: 16304, current: 16304, limit: .max),
  ]

  private static func sizes(backing: UInt64, current: UInt64, limit: UInt64 = 0) -> Sizes {
    var sizes = Sizes()
    sizes.backing = backing
    sizes.current = current
    sizes.userLimit = limit
    return sizes
  }

  @Test(
    "sizes that would shrink a Primary cost the connection; writes under way end, nothing is durable",
    arguments: nonsense)
  func peerLies(_ sizes: Sizes) throws {
    let bench = try Bench()
    bench.primary()
    bench.node.holding = [.appWrite]
    let write = bench.node.write(16296, stamp: 5)
    bench.settle()
    bench.say(.sizes(sizes))
    #expect(bench.node.volume().replication == .standAlone)
    #expect(bench.node.volume().size == Self.size && bench.node.sizes[.zero] == Self.size)
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.node.isGood(write))
    let late = bench.node.write(16296, stamp: 6)
    bench.settle()
    #expect(bench.node.isGood(late))
    #expect(try bench.disk.superblock().effectiveSize == Self.size)
  }

  @Test("so does a Secondary with good data keep its size, also towards a Primary", arguments: nonsense)
  func primaryLies(_ sizes: Sizes) throws {
    let bench = try Bench()
    bench.attach()
    bench.makeGood()
    bench.node.engine.volumes[0].generations.bitmap = 0
    bench.node.engine.volumes[0].backing.bitmap.clearAll()
    bench.handshake(role: .primary)
    bench.say(.sizes(sizes))
    #expect(bench.node.volume().replication == .standAlone)
    #expect(try bench.disk.superblock().effectiveSize == Self.size)
  }

  @Test("at any moment of an attach, of a handshake, of a fresh disk: nothing traps", arguments: nonsense)
  func atAnyMoment(_ sizes: Sizes) throws {
    for steps in 0..<40 {
      let bench = try Bench()
      bench.meet()
      bench.say(.features(Features()))
      var offer = ProtocolOffer()
      offer.letter = bench.node.settings.net.wireProtocol.rawValue
      bench.say(.protocolOffer(offer))
      bench.say(.syncParameters(SyncParameters()))
      bench.node.holding = [.attach, .superblock, .bitmapPage]
      _ = bench.node.order(.attach(.zero))
      bench.settle()
      for _ in 0..<steps {
        bench.node.releaseOne()
        bench.settle()
      }
      bench.say(.sizes(sizes))
      bench.node.stopHolding()
      bench.settle()
      bench.say(.state(bench.state(.secondary, .wfConnection, .inconsistent, .unknown)))
      bench.say(.sizes(sizes))
      bench.pass(.seconds(2))
      #expect(bench.node.volume().disk != .attaching)
    }
  }

  @Test("a disk with blocks of 4096 bytes takes a size that is no multiple of them, up to its last sector")
  func notAMultiple() throws {
    let pair = try Pair(diskBytes: [8 << 20]) { settings, _ in settings.volumes[0].metaLocation = .external }
    pair.alpha.disks[.zero] = try FakeDisk.external(bytes: 8 << 20, metaBytes: 1 << 20)
    pair.alpha.disks[.zero]!.facts.logicalBlock = 4096
    pair.beta.disks[.zero] = try FakeDisk.external(bytes: (8 << 20) - 512, metaBytes: 1 << 20)
    pair.attach()
    for node in pair.both { pair.order(.connect(discardMyData: false), on: node) }
    pair.waitConnected()
    #expect(pair.alpha.volume().size == SectorCount(16383))
    pair.order(.primary(force: true), on: pair.beta)
    pair.waitSync()
    pair.wait(pair.beta, [pair.beta.write(16382, 1, stamp: 7)])
    #expect(pair.alpha.disks[.zero]![16382] == 7)
  }
}
