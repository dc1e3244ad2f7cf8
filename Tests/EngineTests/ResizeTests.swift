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

@Suite("resize and who cannot answer")
struct ResizeAnswerTests {
  private static let small: UInt64 = 8 << 20
  private static let large: UInt64 = 16 << 20
  private let resize = Command.resize(.zero, limit: nil, assumeClean: false)
  private let assuming = Command.resize(.zero, limit: nil, assumeClean: false, assumePeerHasSpace: true)

  private func pair() throws -> Pair {
    let pair = try Pair(diskBytes: [Self.small]) { settings, _ in settings.volumes[0].metaLocation = .external }
    for node in pair.both { node.disks[.zero] = try FakeDisk.external(bytes: Self.small, metaBytes: 1 << 20) }
    pair.synced()
    return pair
  }

  private func grow(_ node: Node, to bytes: UInt64 = large) { node.disks[.zero]!.facts.dataBytes = bytes }

  private func remark(of command: Command, on node: Node, _ pair: Pair) -> String {
    if case .remarked(let text) = pair.run(command, on: node) { text } else { "" }
  }

  @Test(
    "beside a diskless peer: answered at once, nothing grows, the peer knows the size; its disk comes back",
    arguments: [true, false])
  func disklessPeer(grows: Bool) throws {
    let pair = try pair()
    pair.order(.detach(.zero, force: false), on: pair.beta)
    if grows { grow(pair.alpha) }
    let text = remark(of: resize, on: pair.alpha, pair)
    #expect(text.contains("keeps its size of 8192 KiB"))
    #expect(text.contains(grows ? "beta has no disk" : "has room for no more"), "\(text)")
    for node in pair.both { #expect(node.volume().size == SectorCount(bytes: Self.small)) }
    pair.refuse(resize, on: pair.beta, 138)
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 5)])
    pair.order(.attach(.zero), on: pair.beta)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    for node in pair.both { #expect(node.volume().size == SectorCount(bytes: Self.small)) }
    pair.expectEqual()
  }

  @Test("a Primary that came back smaller than its peer's data grows beside the diskless peer, when its person says so")
  func grownForTheNextDisk() throws {
    let pair = try pair()
    pair.cutLink()
    pair.settle()
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 2)])
    for node in pair.both {
      pair.order(.detach(.zero, force: true), on: node)
      grow(node)
      pair.attach([node])
    }
    // Both grow in the handshake; the power of the Primary goes before that is recorded there.
    pair.alpha.holding = [.superblock, .bitmapPage]
    pair.mendLink()
    pair.waitConnected()
    pair.settle()
    #expect(pair.beta.volume().size == SectorCount(bytes: Self.large))
    pair.crash(pair.alpha)
    pair.settle()
    pair.order(.detach(.zero, force: false), on: pair.beta)
    pair.alpha.stopHolding()
    pair.restart(pair.alpha)
    pair.waitConnected()
    pair.order(.primary(force: false), on: pair.alpha)
    #expect(pair.alpha.volume().size == SectorCount(bytes: Self.small))
    guard case .refused(let refusal)? = pair.run(.attach(.zero), on: pair.beta) else {
      Issue.record("a disk with more data than the volume was attached")
      return
    }
    #expect(refusal.why.contains("would be cut off"))
    #expect(refusal.next.contains("resize --assume-peer-has-space --size=32768s r0/0"))
    pair.run(.resize(.zero, limit: SectorCount(32768), assumeClean: false, assumePeerHasSpace: true), on: pair.alpha)
    #expect(pair.alpha.volume().size == SectorCount(bytes: Self.large))
    pair.order(.attach(.zero), on: pair.beta)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
  }

  @Test("the source of the new blocks fails before it has the peer's answer: the peer stays good")
  func sourceFailsInTime() throws {
    let pair = try Pair(diskBytes: [Self.small]) { settings, _ in
      settings.volumes[0].metaLocation = .external
      settings.volumes[0].onIOError = .passOn
    }
    for node in pair.both { node.disks[.zero] = try FakeDisk.external(bytes: Self.small, metaBytes: 1 << 20) }
    pair.synced()
    for node in pair.both { grow(node) }
    pair.network.held.insert(.init(to: 0, kind: .data))
    _ = pair.alpha.order(resize)
    pair.settle()
    #expect(pair.beta.volume().disk == .inconsistent)
    pair.alpha.disks[.zero]!.badForReading = 0..<8
    let (read, _) = pair.alpha.read(0)
    pair.settle()
    #expect(pair.alpha.volume().disk == .inconsistent && pair.beta.volume().disk == .upToDate)
    pair.network.held.removeAll()
    pair.wait(pair.alpha, [read])
    pair.alpha.disks[.zero]!.badForReading = 0..<0
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.order(.attach(.zero), on: pair.alpha)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    for node in pair.both { #expect(node.volume().size == SectorCount(bytes: Self.large)) }
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("both devices have grown while one was Diskless: its attach brings the size, and the new blocks are equal")
  func grownWhileDiskless() throws {
    let pair = try pair()
    pair.order(.detach(.zero, force: false), on: pair.beta)
    for node in pair.both { grow(node) }
    pair.run(resize, on: pair.alpha)
    pair.beta.disks[.zero]!.spoil(20000, 8, with: 9)
    pair.order(.attach(.zero), on: pair.beta)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    for node in pair.both { #expect(node.volume().size == SectorCount(bytes: Self.large)) }
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("so are they with equal generations: a larger disk is attached on two nodes that nobody uses")
  func grownWithEqualGenerations() throws {
    let pair = try pair()
    pair.order(.down, on: pair.alpha)
    pair.alpha.crash(power: false)
    grow(pair.alpha)
    pair.restart(pair.alpha)
    pair.waitSync()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    pair.order(.detach(.zero, force: false), on: pair.beta)
    grow(pair.beta)
    pair.beta.disks[.zero]!.spoil(20000, 8, with: 9)
    pair.order(.attach(.zero), on: pair.beta)
    pair.waitSync()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    for node in pair.both { #expect(node.volume().size == SectorCount(bytes: Self.large)) }
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a diskless node that is asked for its size keeps what it knows, and answers")
  func disklessIsAsked() throws {
    let bench = try Bench()
    bench.primary()
    let detached = bench.order(.detach(.zero, force: false))
    bench.say(.pingAck)
    bench.say(.stateChangeReply(1))
    bench.say(.state(bench.state(.secondary, .connected, .upToDate, .diskless)))
    #expect(bench.node.replies[detached] == .done)
    bench.node.forgetTrace()
    var sizes = Sizes()
    sizes.backing = 1 << 20
    bench.say(.sizes(sizes))
    #expect(bench.node.volume().size == SectorCount(16304) && bench.node.sizes[.zero] == SectorCount(16304))
    #expect(bench.sent() == ["P_SIZES"])
    sizes.current = 8
    bench.say(.sizes(sizes))
    #expect(bench.node.engine.volumes[0].size == SectorCount(16304))
    #expect(bench.node.volume().replication == .standAlone)
  }

  @Test(
    "alone: says why nothing grew; --assume-peer-has-space grows; a peer without the space is refused, one with it resynced"
  )
  func alone() throws {
    let pair = try pair()
    pair.order(.down, on: pair.beta)
    pair.beta.crash(power: false)
    pair.pass(.seconds(1))
    grow(pair.alpha)
    let text = remark(of: resize, on: pair.alpha, pair)
    #expect(text.contains("beta is not connected") && text.contains("--assume-peer-has-space"), "\(text)")
    #expect(pair.alpha.volume().size == SectorCount(bytes: Self.small))
    #expect(pair.run(assuming, on: pair.alpha) == .done)
    #expect(pair.alpha.sizes[.zero] == SectorCount(bytes: Self.large))
    pair.wait(pair.alpha, [pair.alpha.write(30000, stamp: 3)])
    pair.restart(pair.beta)
    pair.pass(.seconds(20))
    for node in pair.both { #expect(node.engine.connectionRefusal?.contains("too small") == true) }
    #expect(pair.alpha.volume().size == SectorCount(bytes: Self.large))
    pair.order(.down, on: pair.beta)
    pair.beta.crash(power: false)
    grow(pair.beta)
    pair.attach([pair.beta])
    pair.connect()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    for node in pair.both { #expect(node.volume().size == SectorCount(bytes: Self.large)) }
    pair.expectEqual()
  }

  @Test("what limits the size is named")
  func reasons() throws {
    let pair = try pair()
    #expect(remark(of: resize, on: pair.alpha, pair).contains("the device here has room for no more"))
    grow(pair.alpha)
    #expect(remark(of: resize, on: pair.alpha, pair).contains("the device of beta has room for no more"))
    grow(pair.beta)
    let limited = Command.resize(.zero, limit: SectorCount(bytes: Self.small), assumeClean: false)
    #expect(remark(of: limited, on: pair.beta, pair).contains("allows no more on this node"))
    #expect(remark(of: resize, on: pair.alpha, pair).contains("allows no more on beta"))
    pair.order(.resize(.zero, limit: SectorCount(bytes: Self.large), assumeClean: false), on: pair.beta)
    #expect(pair.run(resize, on: pair.alpha) != nil)
    pair.waitSync()
    for node in pair.both { #expect(node.volume().size == SectorCount(bytes: Self.large)) }
    pair.expectEqual()
  }

  enum End: CaseIterable { case connection, peersDisk, peersDiskFails, ownDisk, down, answer }

  @Test("the wait for the peer ends with the connection, with either disk, with down", arguments: End.allCases)
  func waits(_ end: End) throws {
    let bench = try Bench()
    bench.primary()
    let asked = bench.order(resize)
    #expect(bench.node.replies[asked] == nil)
    switch end {
    case .connection: bench.node.inbox.append(.event(.socketClosed(bench.data)))
    case .peersDisk: bench.say(.state(bench.state(.secondary, .connected, .diskless, .upToDate)))
    case .peersDiskFails: bench.say(.state(bench.state(.secondary, .connected, .failed, .upToDate)))
    case .ownDisk: _ = bench.node.order(.detach(.zero, force: true))
    case .down:
      let down = bench.order(.down)
      for _ in 0..<4 {
        bench.say(.pingAck)
        bench.say(.stateChangeReply(1))
        bench.pass(.seconds(5))
      }
      #expect(bench.node.replies[down] == .done)
    case .answer:
      var sizes = Sizes()
      sizes.backing = 16304
      sizes.current = 16304
      bench.say(.sizes(sizes))
    }
    bench.settle()
    let outcome = bench.node.replies[asked]
    if end == .ownDisk {
      guard case .refused(let refusal) = outcome, refusal.number == 138 else {
        Issue.record("\(String(describing: outcome))")
        return
      }
    } else {
      #expect(outcome?.isDone == true)
    }
  }

  @Test("where metadata lie is put on record on both nodes, whichever was told")
  func records() throws {
    let pair = try Pair()
    pair.synced()
    for node in pair.both { #expect(node.recordedSizes[.zero] == 8 << 20) }
    for node in pair.both { node.disks[.zero]!.grow(to: 16 << 20) }
    pair.order(resize, on: pair.alpha)
    pair.waitSync()
    for node in pair.both { #expect(node.recordedSizes[.zero] == 16 << 20) }
    let external = try self.pair()
    for node in external.both { #expect(node.recordedSizes[.zero] == nil) }
  }
}

@Suite("suspend-io")
struct SuspendTests {
  @Test("requests wait while I/O is suspended, and go on afterwards; a node that goes down answers them")
  func suspends() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.suspendIO, on: pair.alpha)
    #expect(pair.alpha.engine.snapshot().isSuspended)
    let write = pair.alpha.write(0, stamp: 3)
    let (read, _) = pair.alpha.read(0)
    let flush = pair.alpha.flush()
    pair.pass(.seconds(5))
    #expect(!pair.alpha.isAnswered(write) && !pair.alpha.isAnswered(read) && !pair.alpha.isAnswered(flush))
    pair.order(.resumeIO, on: pair.alpha)
    pair.wait(pair.alpha, [write, read, flush])
    pair.expectEqual()
    pair.order(.suspendIO, on: pair.alpha)
    let late = pair.alpha.write(0, stamp: 4)
    pair.settle()
    pair.order(.down, on: pair.alpha)
    #expect(pair.alpha.isAnswered(late))
    pair.expectRest()
  }
}

extension FakeDisk {
  /// External flexible metadata of their own device.
  static func external(bytes: UInt64, metaBytes: UInt64) throws -> FakeDisk {
    try created(bytes: bytes, metaBytes: metaBytes, location: .external)
  }
}
