// Two disks with blocks of different sizes: what the export says of itself, who is refused, and what a request that the device
// has no room for costs. Laws: the announced block never falls while the volume is in use, and no healthy disk is given up.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Blocks of the export")
struct BlockSizeTests {
  private func pair(_ alpha: UInt32, _ beta: UInt32) throws -> Pair {
    let pair = try Pair()
    pair.alpha.disks[.zero]!.facts.logicalBlock = alpha
    pair.beta.disks[.zero]!.facts.logicalBlock = beta
    return pair
  }

  private func open(_ node: Node, _ isOpen: Bool) {
    node.inbox.append(.event(.usageChanged(isOpen: isOpen)))
    node.settle()
  }

  private func block(_ node: Node) -> UInt32 { node.traits[.zero]?.blockBytes ?? 512 }

  @Test(
    "the largest block of both disks is announced on both nodes", arguments: [(512, 512), (512, 4096), (4096, 512)])
  func largest(_ alpha: UInt32, _ beta: UInt32) throws {
    let pair = try pair(alpha, beta)
    pair.synced()
    for node in pair.both { #expect(block(node) == max(alpha, beta), "\(node.name)") }
  }

  @Test("losing the disk with the large blocks changes nothing while the volume is in use", arguments: [true, false])
  func neverFalls(own: Bool) throws {
    let pair = try pair(own ? 4096 : 512, own ? 512 : 4096)
    pair.synced()
    open(pair.alpha, true)
    pair.order(.detach(.zero, force: false), on: own ? pair.alpha : pair.beta)
    #expect(block(pair.alpha) == 4096)
    pair.cutLink()
    pair.settle()
    pair.mendLink()
    pair.waitConnected()
    #expect(block(pair.alpha) == 4096)
    open(pair.alpha, false)
    #expect(block(pair.alpha) == 4096)
  }

  @Test("a disk with large blocks that comes to a volume in use is taken, and announced when nobody uses it")
  func comesLater() throws {
    let pair = try pair(512, 4096)
    pair.attach([pair.alpha])
    pair.order(.primary(force: true), on: pair.alpha)
    open(pair.alpha, true)
    pair.attach([pair.beta])
    pair.connect()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    #expect(block(pair.alpha) == 512)
    #expect(
      pair.alpha.log.contains { $0.contains("the disk of beta has blocks of 4096 bytes") && $0.contains("with 512") })
    pair.wait(pair.alpha, [pair.alpha.write(9, 1, stamp: 5)])
    pair.expectEqual()
    pair.expectRest()
    open(pair.alpha, false)
    #expect(block(pair.alpha) == 4096)
  }

  @Test("a peer that cannot write less than a block is refused by a volume in use with smaller ones")
  func kernel() throws {
    let bench = try Bench()
    bench.attach()
    bench.makeGood()
    let promoted = bench.order(.primary(force: false))
    #expect(bench.node.replies[promoted] == .done)
    bench.node.inbox.append(.event(.usageChanged(isOpen: true)))
    bench.meet()
    bench.say(.features(Features(minimum: 86, maximum: 101, flags: .all)))
    var offer = ProtocolOffer()
    offer.letter = 3
    bench.say(.protocolOffer(offer))
    bench.say(.syncParameters(SyncParameters()))
    var sizes = Sizes()
    sizes.backing = bench.node.volume().size.value
    sizes.current = sizes.backing
    sizes.limits.logicalBlock = 4096
    bench.say(.sizes(sizes))
    let why = bench.node.engine.link.refusedBecause ?? ""
    #expect(
      why.contains("blocks of 4096 bytes, the volume is in use here with 512") && why.contains("repladm connect r0"))
    #expect(bench.node.volume().replication == .standAlone)
  }

  @Test("blocks that no export can have cost the connection", arguments: [8192, 65536, 1000, 4097, UInt32.max])
  func impossible(_ bytes: UInt32) throws {
    let bench = try Bench()
    bench.primary()
    var sizes = Sizes()
    sizes.backing = bench.node.volume().size.value
    sizes.current = sizes.backing
    sizes.limits.logicalBlock = bytes
    bench.say(.sizes(sizes))
    #expect(bench.node.volume().replication == .standAlone)
    #expect(bench.node.engine.link.refusedBecause?.contains("blocks of \(bytes) bytes") == true)
    #expect(block(bench.node) == 512)
    // Nor does it come back by another way.
    open(bench.node, true)
    open(bench.node, false)
    #expect(block(bench.node) == 512)
  }

  @Test("a peer that says another block each time is warned of once")
  func alternating() throws {
    let bench = try Bench()
    bench.primary()
    open(bench.node, true)
    bench.node.engine.link.features.insert(.takesSectors)
    let before = bench.node.log.count
    var sizes = Sizes()
    sizes.backing = bench.node.volume().size.value
    sizes.current = sizes.backing
    for i in 0..<50 as Range<UInt32> {
      sizes.limits.logicalBlock = i % 2 == 0 ? 4096 : 512
      bench.say(.sizes(sizes))
    }
    #expect(bench.node.log.count <= before + 1)
    #expect(block(bench.node) == 512)
  }

  @Test(
    "discards are offered where both disks give the room back", arguments: [(true, true), (true, false), (false, true)])
  func discards(_ alpha: Bool, _ beta: Bool) throws {
    let pair = try Pair()
    pair.alpha.disks[.zero]!.facts.canDiscard = alpha
    pair.beta.disks[.zero]!.facts.canDiscard = beta
    pair.attach()
    #expect(pair.alpha.traits[.zero]?.offersDiscard ?? false == alpha)
    pair.connect()
    pair.order(.primary(force: true), on: pair.alpha)
    pair.waitSync()
    for node in pair.both { #expect(node.traits[.zero]?.offersDiscard ?? false == (alpha && beta), "\(node.name)") }
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    #expect(pair.alpha.traits[.zero]?.offersDiscard ?? false == beta)
  }

  // MARK: what the device has no room for

  private let refusal = DiskFault(errno: 22, isRefusal: true)

  @Test("a refused write of the peer costs the connection, not the disk; its block is resynced")
  func peerWrite() throws {
    let pair = try Pair()
    pair.synced()
    pair.beta.holding = [.peerWrite]
    let write = pair.alpha.write(80, 1, stamp: 3)
    pair.settle()
    pair.beta.forgetTrace()
    pair.beta.release(.peerWrite, fault: refusal)
    pair.beta.holding = []
    pair.settle()
    #expect(pair.beta.packets { if case .negativeAck = $0 { true } else { false } }.isEmpty)
    #expect(pair.beta.packets { if case .barrierAck = $0 { true } else { false } }.isEmpty)
    #expect(pair.beta.volume().disk == .upToDate)
    #expect(pair.beta.log.contains { $0.contains("was refused before it reached the disk") })
    pair.wait(pair.alpha, [write])
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    #expect(pair.beta.disks[.zero]![80] == 3)
    pair.expectEqual()
  }

  @Test(
    "a refused write of the application is answered so, and keeps the disk", arguments: [OnIOError.detach, .passOn])
  func ownWrite(_ policy: OnIOError) throws {
    let pair = try Pair { settings, _ in settings.volumes[0].onIOError = policy }
    pair.synced()
    pair.alpha.holding = [.appWrite]
    let write = pair.alpha.write(80, 1, stamp: 3)
    pair.settle()
    pair.alpha.release(.appWrite, fault: refusal)
    pair.alpha.holding = []
    pair.settle()
    #expect(pair.alpha.answers[write] == .some(refusal))
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    #expect(pair.alpha.isOutOfSync(10))
  }

  @Test("a refused read is answered by the peer, and keeps the disk")
  func ownRead() throws {
    let pair = try Pair()
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(80, 8, stamp: 4)])
    pair.alpha.holding = [.appRead]
    let read = pair.alpha.read(80)
    pair.settle()
    pair.alpha.release(.appRead, fault: refusal)
    pair.alpha.holding = []
    pair.wait(pair.alpha, [read.ticket])
    #expect(pair.alpha[read.into] == [UInt64](repeating: 4, count: 8))
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  // MARK: where data lie

  private func locate(_ node: Node, _ sector: UInt64, _ count: UInt64 = 8) -> Ticket {
    let ticket = Ticket(node.number())
    node.inbox.append(.event(.locate(ticket, .zero, BlockRange(Sector(sector), SectorCount(count)))))
    node.settle()
    return ticket
  }

  @Test("holes are looked for only on a disk that a read would be answered from")
  func holes() throws {
    let pair = try Pair()
    pair.synced()
    let good = locate(pair.alpha, 0, 800)
    #expect(pair.alpha.located[good] == BlockRange(.zero, SectorCount(800)))
    let outside = locate(pair.alpha, pair.alpha.volume().size.value)
    #expect(pair.alpha.answers[outside] == .some(DiskFault(errno: 5)))
    let secondary = locate(pair.beta, 0)
    #expect(pair.beta.answers[secondary] == .some(DiskFault(errno: 108)))
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    let diskless = locate(pair.alpha, 0)
    #expect(pair.alpha.isGood(diskless) && pair.alpha.located[diskless] == nil)
  }

  @Test("an Inconsistent disk does not tell")
  func inconsistent() throws {
    let pair = try Pair { settings, _ in settings.volumes[0].onIOError = .passOn }
    pair.synced()
    pair.alpha.disks[.zero]!.badForWriting = 80..<88
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    #expect(pair.alpha.volume().disk == .inconsistent)
    let bad = locate(pair.alpha, 80)
    #expect(pair.alpha.isGood(bad) && pair.alpha.located[bad] == nil)
  }
}
