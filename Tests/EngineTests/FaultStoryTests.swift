// Disks that fail: reads, writes, flushes and metadata, on either node, with every on-io-error policy. Laws: the
// application loses nothing that one of the nodes holds, a fault is never taken for success, and nothing hangs.
import Base
import MetaDisk
import Testing

@testable import Engine

@Suite("Two nodes: disks that fail")
struct FaultStoryTests {
  private func pair(_ policy: OnIOError) throws -> Pair {
    let pair = try Pair { settings, _ in settings.volumes[0].onIOError = policy }
    pair.synced()
    return pair
  }

  @Test("a write error on the Primary with detach: the write succeeds on the peer, and so do later ones")
  func primaryWriteDetach() throws {
    let pair = try pair(.detach)
    pair.alpha.disks[.zero]!.badForWriting = 80..<88
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1), pair.alpha.write(160, stamp: 2)])
    pair.settle()
    pair.expect("Connected Primary/Secondary Diskless/UpToDate")
    #expect(pair.content(pair.alpha, 80) == [UInt64](repeating: 1, count: 8))
    pair.wait(pair.alpha, [pair.alpha.write(240, stamp: 3)])
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.expectRest()
    // Mended and attached again.
    pair.alpha.disks[.zero]!.badForWriting = 0..<0
    pair.order(.attach(.zero), on: pair.alpha)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
  }

  @Test("a write error on the Primary with pass_on: the write succeeds, the block is out of sync")
  func primaryWritePassOn() throws {
    let pair = try pair(.passOn)
    pair.alpha.disks[.zero]!.badForWriting = 80..<88
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.settle()
    pair.expect("Connected Primary/Secondary Inconsistent/UpToDate")
    #expect(pair.alpha.volume().outOfSync == SectorCount(8))
    #expect(pair.content(pair.alpha, 80) == [UInt64](repeating: 1, count: 8))
    pair.wait(pair.alpha, [pair.alpha.write(160, stamp: 2)])
    #expect(pair.content(pair.alpha, 160) == [UInt64](repeating: 2, count: 8))
    pair.expectRest()
  }

  @Test("call-local-io-error calls the handler and lets the disk go")
  func handler() throws {
    let pair = try pair(.callLocalIOError)
    pair.alpha.disks[.zero]!.badForWriting = 80..<88
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.settle()
    #expect(pair.alpha.handlers.contains(.localIOError))
    pair.expect("Connected Primary/Secondary Diskless/UpToDate")
  }

  @Test("a write error with nobody else to ask reaches the application", arguments: [OnIOError.detach, .passOn])
  func alone(_ policy: OnIOError) throws {
    let pair = try pair(policy)
    pair.cutLink()
    pair.settle()
    pair.alpha.disks[.zero]!.badForWriting = 80..<88
    let write = pair.alpha.write(80, stamp: 1)
    pair.settle()
    #expect(pair.alpha.answers[write] == DiskFault(errno: 5))
    let next = pair.alpha.write(160, stamp: 2)
    pair.settle()
    #expect(pair.alpha.isAnswered(next))
    if policy == .detach { #expect(pair.alpha.answers[next] == DiskFault(errno: 5)) }
    pair.expectRest()
  }

  @Test("a read error on the Primary: the peer answers", arguments: [OnIOError.detach, .passOn])
  func primaryRead(_ policy: OnIOError) throws {
    let pair = try pair(policy)
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.alpha.disks[.zero]!.badForReading = 80..<88
    #expect(pair.content(pair.alpha, 80) == [UInt64](repeating: 1, count: 8))
    pair.settle()
    pair.expect("Connected Primary/Secondary \(policy == .detach ? "Diskless" : "Inconsistent")/UpToDate")
    pair.cutLink()
    let read = pair.alpha.read(80)
    pair.settle()
    #expect(pair.alpha.answers[read.ticket] == DiskFault(errno: 5))
    pair.expectRest()
  }

  @Test("a write error on the Secondary with detach: negative ack, Diskless, new generation, resync after the repair")
  func secondaryWriteDetach() throws {
    let pair = try pair(.detach)
    let old = pair.alpha.generations()
    pair.beta.disks[.zero]!.badForWriting = 80..<88
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1), pair.alpha.write(160, stamp: 2)])
    pair.settle()
    pair.expect("Connected Primary/Secondary UpToDate/Diskless")
    #expect(pair.alpha.generations()[1] == old[0])
    pair.wait(pair.alpha, [pair.alpha.write(800, stamp: 2)])
    pair.pass(.seconds(1))
    pair.expectRest()
    pair.beta.disks[.zero]!.badForWriting = 0..<0
    pair.order(.attach(.zero), on: pair.beta)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
  }

  @Test("a write error on the Secondary with pass_on: Inconsistent there, no new generation, later writes stay local")
  func secondaryWritePassOn() throws {
    let pair = try pair(.passOn)
    let old = pair.alpha.generations()
    pair.beta.disks[.zero]!.badForWriting = 80..<88
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.settle()
    pair.expect("Connected Primary/Secondary UpToDate/Inconsistent")
    #expect(pair.alpha.generations() == old)
    let sent = pair.alpha.volume().sent
    pair.wait(pair.alpha, [pair.alpha.write(160, stamp: 2)])
    #expect(pair.alpha.volume().sent == sent)
    #expect(pair.alpha.volume().outOfSync == SectorCount(16))
    pair.beta.disks[.zero]!.badForWriting = 0..<0
    pair.cutLink()
    pair.mendLink()
    pair.settle()
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("with pass_on a write that fails under a verify ends the verify, and nobody reads what was there before")
  func passedOnUnderVerify() throws {
    let pair = try Pair { settings, _ in
      settings.volumes[0].onIOError = .passOn
      settings.net.verifyAlgorithm = "sha1"
    }
    pair.synced()
    pair.alpha.holding = [.verify]
    pair.beta.holding = [.verify]
    _ = pair.beta.order(.verify(.zero, start: nil, stop: nil))
    pair.settle()
    #expect(pair.alpha.volume().replication == .verifyT)
    pair.alpha.disks[.zero]!.badForWriting = 16000..<16008
    pair.wait(pair.alpha, [pair.alpha.write(16000, stamp: 1)])
    pair.settle()
    pair.expect("Connected Primary/Secondary Inconsistent/UpToDate")
    pair.alpha.stopHolding()
    pair.beta.stopHolding()
    pair.cutLink()
    pair.settle()
    let (read, _) = pair.alpha.read(16000)
    pair.settle()
    #expect(pair.alpha.isAnswered(read) && !pair.alpha.isGood(read))
  }

  @Test("a write that only the target of a resync has is no success", arguments: [OnIOError.passOn, .detach])
  func onlyTheTargetHasIt(_ policy: OnIOError) throws {
    let pair = try pair(policy)
    pair.alpha.holding = [.resyncRead]
    _ = pair.alpha.order(.invalidateRemote(.zero))
    pair.pass(.milliseconds(200))
    #expect(pair.alpha.volume().replication == .syncSource)
    pair.alpha.disks[.zero]!.badForWriting = 16000..<16008
    let write = pair.alpha.write(16000, stamp: 1)
    pair.pass(.seconds(1))
    #expect(pair.alpha.isAnswered(write) && !pair.alpha.isGood(write))
  }

  @Test("a disk that failed to write what the peer has is too old for its Primary once it was let go")
  func passedOnThenDetached() throws {
    let pair = try pair(.passOn)
    pair.alpha.disks[.zero]!.badForWriting = 80..<88
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.settle()
    pair.order(.detach(.zero, force: true), on: pair.alpha)
    pair.alpha.disks[.zero]!.badForWriting = 0..<0
    pair.cutLink()
    pair.run(until: { pair.alpha.engine.snapshot().connection < .connected })
    guard case .refused? = pair.run(.attach(.zero), on: pair.alpha) else {
      Issue.record("a Primary took a disk that lacks an answered write: \(pair.alpha.state)")
      return
    }
    pair.mendLink()
    pair.waitConnected()
    pair.order(.attach(.zero), on: pair.alpha)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
  }

  @Test("a Primary that loses an Inconsistent peer draws a generation: the peer may not have recorded its state")
  func inconsistentPeerLost() throws {
    let pair = try pair(.passOn)
    pair.beta.disks[.zero]!.badForWriting = 80..<88
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.settle()
    pair.expect("Connected Primary/Secondary UpToDate/Inconsistent")
    let old = pair.alpha.generations()
    pair.cutLink()
    pair.settle()
    pair.run(until: { pair.alpha.engine.snapshot().connection < .connected })
    #expect(pair.alpha.generations()[0] != old[0])
    #expect(pair.alpha.generations()[1] & ~1 == old[0] & ~1)
    pair.wait(pair.alpha, [pair.alpha.write(160, stamp: 2)])
    pair.beta.disks[.zero]!.badForWriting = 0..<0
    pair.mendLink()
    pair.settle()
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
  }

  @Test("resync blocks that cannot be read or written", arguments: [OnIOError.detach, .passOn], [true, false])
  func resync(_ policy: OnIOError, reading: Bool) throws {
    let pair = try Pair { settings, _ in settings.volumes[0].onIOError = policy }
    pair.attach()
    pair.connect()
    if reading {
      pair.alpha.disks[.zero]!.badForReading = 8000..<8008
    } else {
      pair.beta.disks[.zero]!.badForWriting = 8000..<8008
    }
    pair.order(.primary(force: true), on: pair.alpha)
    pair.waitSync()
    pair.pass(.seconds(3))
    switch (policy, reading) {
    case (.detach, true): pair.expect("Connected Primary/Secondary Diskless/Inconsistent")
    case (.detach, false): pair.expect("Connected Primary/Secondary UpToDate/Diskless")
    default: pair.expect("Connected Primary/Secondary UpToDate/Inconsistent")
    }
    if policy == .passOn {
      for node in pair.both { #expect(node.volume().outOfSync > .zero) }
    }
    pair.expectRest()
    for node in pair.both { pair.order(.disconnect(force: true), on: node) }
    for node in pair.both { pair.order(.down, on: node) }
  }

  @Test(
    "a flush that fails on the Primary is no success, unless the peer has all of it",
    arguments: [OnIOError.detach, .passOn])
  func flushFails(_ policy: OnIOError) throws {
    let pair = try pair(policy)
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.alpha.disks[.zero]!.flushFails = true
    let flush = pair.alpha.flush()
    pair.settle()
    #expect(pair.alpha.isAnswered(flush))
    if policy == .detach {
      #expect(pair.alpha.isGood(flush))
      pair.expect("Connected Primary/Secondary Diskless/UpToDate")
    } else {
      #expect(!pair.alpha.isGood(flush))
    }
    pair.expectRest()
  }

  @Test("a flush that fails on the Secondary: its disk goes, and the flush is answered by the Primary's disk alone")
  func secondaryFlushFails() throws {
    let pair = try pair(.detach)
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.beta.disks[.zero]!.flushFails = true
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.waitConnected()
    pair.expect("Connected Primary/Secondary UpToDate/Diskless")
    // What was acknowledged but is not durable there is out of sync.
    #expect(pair.alpha.volume().outOfSync == SectorCount(8))
    pair.expectRest()
  }

  // MARK: Metadata

  @Test("metadata that cannot be written costs the disk, and nothing is lost", arguments: [true, false])
  func metadata(connected: Bool) throws {
    let pair = try pair(.passOn)
    if !connected { pair.cutLink() }
    pair.settle()
    pair.alpha.disks[.zero]!.metadataFails = true
    let write = pair.alpha.write(0, stamp: 1)
    pair.settle()
    #expect(pair.alpha.isAnswered(write))
    #expect(pair.alpha.isGood(write) == connected)
    #expect(pair.alpha.volume().disk == .diskless)
    if connected { #expect(pair.content(pair.alpha, 0) == [UInt64](repeating: 1, count: 8)) }
    pair.expectRest()
    pair.order(.down, on: pair.alpha)
  }

  @Test("a superblock that cannot be written while a promotion waits for it")
  func promotion() throws {
    let pair = try pair(.detach)
    pair.order(.secondary, on: pair.alpha)
    pair.settle()
    pair.beta.disks[.zero]!.metadataFails = true
    let to = pair.beta.order(.primary(force: false))
    pair.run(until: { pair.beta.replies[to] != nil })
    pair.settle()
    #expect(pair.beta.volume().disk == .diskless)
    #expect(pair.beta.replies[to] != nil)
    if pair.beta.replies[to] == .done {
      pair.expect("Connected Secondary/Primary UpToDate/Diskless")
      pair.wait(pair.beta, [pair.beta.write(0, stamp: 1)])
    }
    pair.expectRest()
  }

  @Test("a resync whose metadata cannot be written", arguments: [0, 1])
  func resyncMetadata(_ node: Int) throws {
    let pair = try Pair()
    pair.attach()
    pair.connect()
    pair.beta.holding = [.resyncWrite]
    pair.order(.primary(force: true), on: pair.alpha)
    pair.settle()
    pair.both[node].disks[.zero]!.metadataFails = true
    pair.beta.stopHolding()
    pair.pass(.seconds(5))
    #expect(pair.both[node].volume().disk == .diskless)
    pair.expectRest()
    for one in pair.both { pair.order(.disconnect(force: true), on: one) }
    for one in pair.both { pair.order(.down, on: one) }
  }

  @Test("an attach whose metadata cannot be read or written gives up, after any number of steps", arguments: 0..<24)
  func attachFails(_ steps: Int) throws {
    let pair = try Pair(diskBytes: [512 << 20])
    pair.alpha.holding = [.attach, .superblock]
    let to = pair.alpha.order(.attach(.zero))
    pair.settle()
    for _ in 0..<steps {
      pair.alpha.release(.attach, count: 1)
      pair.alpha.release(.superblock, count: 1)
      pair.settle()
    }
    if pair.alpha.replies[to] != nil { return }
    pair.alpha.disks[.zero]!.metadataFails = true
    pair.alpha.stopHolding()
    pair.settle()
    guard case .refused(let refusal) = pair.alpha.replies[to] else {
      Issue.record("attach: \(String(describing: pair.alpha.replies[to]))")
      return
    }
    #expect(refusal.exit == 10)
    #expect(pair.alpha.volume().disk == .diskless)
    pair.expectRest()
    // Mended: the next one works.
    pair.alpha.disks[.zero]!.metadataFails = false
    pair.order(.attach(.zero), on: pair.alpha)
    pair.order(.down, on: pair.alpha)
  }

  @Test("no metadata, those of another node, a device that has shrunk, a device that cannot be opened")
  func attachRefused() throws {
    let pair = try Pair()
    pair.alpha.disks[.zero] = FakeDisk()
    pair.refuse(.attach(.zero), on: pair.alpha, 119)
    pair.alpha.disks[.zero]!.refusal = (114, "/dev/sdz is mounted on /home")
    pair.refuse(.attach(.zero), on: pair.alpha, 114)
    pair.alpha.disks[.zero] = nil
    pair.refuse(.attach(.zero), on: pair.alpha, 104)
    let other = try FakeDisk.created()
    var superblock = try other.superblock()
    superblock.nodeID = 5
    try other.store(superblock)
    pair.alpha.disks[.zero] = other
    pair.refuse(.attach(.zero), on: pair.alpha, 119)
    let large = try FakeDisk.created()
    superblock = try large.superblock()
    superblock.effectiveSize = SectorCount(20000)
    superblock.flags.insert(.consistent)
    try large.store(superblock)
    pair.alpha.disks[.zero] = large
    let outcome = pair.run(.attach(.zero), on: pair.alpha)
    guard case .refused = outcome else {
      Issue.record("\(String(describing: outcome))")
      return
    }
    #expect(pair.alpha.volume().disk == .diskless)
    pair.expectRest()
  }
}
