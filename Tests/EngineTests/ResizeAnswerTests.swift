// `resize` beside a peer that cannot answer, or is lost before it has: the command ends, and says what limits the size.
import Base
import Protocol
import Testing

@testable import Engine

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
