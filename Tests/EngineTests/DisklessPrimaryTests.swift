// A Primary that loses its disk works with the peer's. Law: what its own disk does not have is answered when something durable says
// so: a generation on the peer's disk, or "Inconsistent" on its own.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Two nodes: a Primary without disk")
struct DisklessPrimaryTests {
  private func pair(
    _ wireProtocol: WireProtocol = .c, _ onIOError: OnIOError = .detach, _ fencing: FencingPolicy = .dontCare
  ) throws -> Pair {
    let pair = try Pair { settings, _ in
      settings.net.fencing = fencing
      settings.net.wireProtocol = wireProtocol
      settings.volumes[0].onIOError = onIOError
    }
    pair.synced()
    pair.alpha.disks[.zero]!.badForWriting = 80..<88
    return pair
  }

  @Test("a write that its disk failed is answered when the peer has recorded a new generation")
  func answeredWhenRecorded() throws {
    let pair = try pair()
    pair.beta.holding = [.superblock]
    let failed = pair.alpha.write(80, stamp: 1)
    pair.settle()
    #expect(pair.alpha.volume().disk == .diskless)
    let next = pair.alpha.write(96, stamp: 2)
    let flush = pair.alpha.flush()
    pair.settle()
    for ticket in [failed, next, flush] { #expect(!pair.alpha.isAnswered(ticket)) }
    // Both nodes die now: the old disk of the Primary must not win over writes that were answered.
    pair.beta.stopHolding()
    pair.wait(pair.alpha, [failed, next, flush])
    #expect(pair.beta.generations()[1] & ~1 == pair.alpha.generations()[0] & ~1)
    pair.expectRest()
  }

  @Test(
    "it is an error when the peer is lost before that, and the disk is not old then",
    arguments: [WireProtocol.a, .b, .c])
  func lostBeforeRecorded(_ wireProtocol: WireProtocol) throws {
    let pair = try pair(wireProtocol)
    pair.beta.holding = [.superblock]
    let failed = pair.alpha.write(80, stamp: 1)
    pair.settle()
    #expect(!pair.alpha.isAnswered(failed))
    pair.cutLink()
    pair.settle()
    #expect(pair.alpha.isAnswered(failed) && !pair.alpha.isGood(failed))
    pair.alpha.disks[.zero]!.badForWriting = 0..<0
    pair.order(.secondary, on: pair.alpha)
    pair.order(.attach(.zero), on: pair.alpha)
    #expect(pair.alpha.volume().disk >= .consistent)
  }

  @Test(
    "what the peer has not acknowledged from its disk is lost with the connection", arguments: [WireProtocol.a, .b])
  func sentAndDropped(_ wireProtocol: WireProtocol) throws {
    let pair = try pair(wireProtocol)
    pair.alpha.holding = [.appWrite]
    pair.beta.holding = [.peerWrite]
    let failed = pair.alpha.write(16, stamp: 1)
    let slow = pair.alpha.write(8, stamp: 1)
    pair.settle()
    pair.alpha.release(.appWrite, count: 1, fault: Errno.io)
    pair.settle()
    pair.cutLink()
    pair.settle()
    pair.alpha.stopHolding()
    pair.settle()
    #expect(pair.alpha.isAnswered(failed))
    #expect(pair.alpha.isAnswered(slow) && !pair.alpha.isGood(slow))
  }

  @Test(
    "after a detach by command, too, whether the peer tells its generation before or after its consent",
    arguments: [true, false])
  func detachedByCommand(_ consentsLast: Bool) throws {
    let pair = try pair()
    if consentsLast { pair.network.held.insert(.init(to: 0, kind: .meta)) } else { pair.beta.holding = [.superblock] }
    _ = pair.alpha.order(.detach(.zero, force: false))
    pair.settle()
    pair.network.held.removeAll()
    pair.settle()
    #expect(pair.alpha.volume().disk == .diskless)
    let tickets = [pair.alpha.write(96, stamp: 2), pair.alpha.flush()]
    pair.settle()
    for ticket in tickets { #expect(pair.alpha.isAnswered(ticket) == consentsLast) }
    pair.beta.stopHolding()
    pair.wait(pair.alpha, tickets)
    #expect(pair.beta.generations()[1] & ~1 == pair.alpha.generations()[0] & ~1)
    pair.expectRest()
  }

  @Test("the flush that has to fail is answered at once: none that begins later is success before it")
  func failedFlushFirst() throws {
    let pair = try pair()
    pair.alpha.disks[.zero]!.badForWriting = 0..<0
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.wait(pair.alpha, [pair.alpha.write(96, stamp: 2)])
    pair.cutLink()
    pair.settle()
    pair.mendLink()
    pair.waitConnected()
    pair.order(.attach(.zero), on: pair.alpha)
    pair.waitSync()
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 3)])
    pair.alpha.holding = [.appFlush]
    let first = pair.alpha.flush()
    let second = pair.alpha.flush()
    pair.settle()
    #expect(pair.alpha.isAnswered(first) && !pair.alpha.isGood(first))
    #expect(!pair.alpha.isAnswered(second))
    pair.alpha.stopHolding()
    pair.wait(pair.alpha, [second])
  }

  @Test("a disk that misses only writes that were answered with an error is not old")
  func detachedAndLost() throws {
    let pair = try pair()
    pair.beta.holding = [.superblock]
    _ = pair.alpha.order(.detach(.zero, force: false))
    pair.settle()
    let failed = pair.alpha.write(96, stamp: 2)
    pair.settle()
    pair.cutLink()
    pair.settle()
    #expect(pair.alpha.isAnswered(failed) && !pair.alpha.isGood(failed))
    pair.order(.secondary, on: pair.alpha)
    pair.order(.attach(.zero), on: pair.alpha)
    #expect(pair.alpha.volume().disk >= .consistent)
  }

  @Test("a write that only the lost peer may have is an error, also when a disk was attached after it")
  func attachedAfterTheWrite() throws {
    let pair = try pair()
    for kind in [SocketKind.data, .meta] { pair.network.held.insert(.init(to: 0, kind: kind)) }
    _ = pair.alpha.order(.detach(.zero, force: true))
    pair.settle()
    let write = pair.alpha.write(96, stamp: 2)
    _ = pair.alpha.order(.attach(.zero))
    pair.settle()
    pair.cutLink()
    pair.settle()
    #expect(pair.alpha.volume().disk == .upToDate)
    #expect(pair.alpha.isAnswered(write) && !pair.alpha.isGood(write))
  }

  @Test("a node that has detached newer data does not let its peer be promoted to old ones", arguments: [false, true])
  func detachedNewerData(_ comesBack: Bool) throws {
    let pair = try pair()
    pair.alpha.disks[.zero]!.badForWriting = 0..<0
    pair.cutLink()
    pair.settle()
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 2)])
    pair.order(.secondary, on: pair.alpha)
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.mendLink()
    pair.waitConnected()
    guard case .refused(let refusal)? = pair.run(.primary(force: false), on: pair.beta) else {
      Issue.record("old data were promoted")
      return
    }
    #expect(refusal.next.contains("repladm attach"), "\(refusal)")
    if comesBack {
      pair.order(.attach(.zero), on: pair.alpha)
      pair.waitSync()
      pair.order(.primary(force: false), on: pair.beta)
      #expect(pair.beta.disks[.zero]![8] == 2)
    } else {
      pair.order(.disconnect(force: true), on: pair.beta)
      pair.order(.primary(force: true), on: pair.beta)
    }
  }

  @Test("nor is it promoted itself to its peer's old data", arguments: [false, true])
  func promotedWithoutNewerData(_ isConsistent: Bool) throws {
    let pair = try pair(.c, .detach, isConsistent ? .resourceOnly : .dontCare)
    pair.alpha.disks[.zero]!.badForWriting = 0..<0
    pair.cutLink()
    pair.settle()
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 2)])
    pair.order(.secondary, on: pair.alpha)
    if isConsistent {
      pair.crash(pair.alpha)
      pair.restart(pair.alpha)
      #expect(pair.alpha.volume().disk == .consistent)
    }
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.mendLink()
    pair.waitConnected()
    guard case .refused(let refusal)? = pair.run(.primary(force: false), on: pair.alpha) else {
      Issue.record("promoted to old data")
      return
    }
    #expect(refusal.next == "repladm attach r0/0", "\(refusal)")
    pair.order(.attach(.zero), on: pair.alpha)
    pair.waitSync()
    pair.order(.primary(force: false), on: pair.alpha)
    #expect(pair.beta.disks[.zero]![8] == 2)
  }

  @Test("a Diskless node consents to the promotion of a peer whose generation follows the one on the detached disk")
  func detachedAndFollowed() throws {
    let pair = try pair()
    pair.alpha.disks[.zero]!.badForWriting = 0..<0
    pair.order(.secondary, on: pair.alpha)
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    for round in 1...5 {
      pair.order(.primary(force: false), on: pair.beta)
      pair.wait(pair.beta, [pair.beta.write(8, stamp: UInt64(round))])
      pair.cutLink()
      pair.settle()
      pair.wait(pair.beta, [pair.beta.write(16, stamp: UInt64(round))])
      pair.order(.secondary, on: pair.beta)
      pair.mendLink()
      pair.waitConnected()
    }
    pair.order(.attach(.zero), on: pair.alpha)
    pair.waitSync()
    pair.expectEqual()
  }

  @Test("with pass_on it is answered when its own metadata say Inconsistent")
  func passedOn() throws {
    let pair = try pair(.c, .passOn)
    pair.alpha.holding = [.superblock]
    let failed = pair.alpha.write(80, stamp: 1)
    pair.settle()
    #expect(pair.alpha.volume().disk == .inconsistent && !pair.alpha.isAnswered(failed))
    pair.alpha.stopHolding()
    pair.wait(pair.alpha, [failed])
    #expect(!(try pair.alpha.disks[.zero]!.superblock().flags.contains(.consistent)))
  }

  @Test("a Consistent disk is UpToDate when the Primary that lost its own says so, in a generation of its own")
  func consistentIsCurrent() throws {
    let pair = try pair(.c, .detach, .resourceOnly)
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 1)])
    // Alpha's disk fails and Beta dies before Beta hears of it: neither node begins a new generation.
    pair.network.held.insert(.init(to: 1, kind: .data))
    _ = pair.alpha.order(.detach(.zero, force: true))
    pair.settle()
    pair.crash(pair.beta)
    pair.network.held.removeAll()
    pair.settle()
    pair.attach([pair.beta])
    #expect(pair.beta.volume().disk == .consistent)
    pair.beta.holding = [.superblock]
    pair.order(.connect(discardMyData: false), on: pair.beta)
    pair.waitConnected()
    pair.settle()
    #expect(pair.beta.volume().disk == .upToDate)
    let write = pair.alpha.write(16, stamp: 2)
    pair.settle()
    #expect(!pair.alpha.isAnswered(write))
    pair.beta.stopHolding()
    pair.wait(pair.alpha, [write])
    let (read, _) = pair.alpha.read(16)
    pair.wait(pair.alpha, [read])
    // The first flush says that Beta's cache was lost.
    let lost = pair.alpha.flush()
    pair.settle()
    #expect(pair.alpha.isAnswered(lost) && !pair.alpha.isGood(lost))
    pair.wait(pair.alpha, [pair.alpha.flush()])
    // Both die: what was answered wins.
    pair.crash(pair.alpha)
    pair.crash(pair.beta)
    pair.settle()
    pair.alpha.disks[.zero]!.badForWriting = 0..<0
    for node in pair.both { pair.restart(node) }
    pair.waitConnected()
    pair.waitSync()
    pair.settle()
    #expect(pair.alpha.disks[.zero]![16] == 2)
    pair.expectEqual()
  }

  @Test("a disk that comes back to a Primary whose peer has none either begins a generation")
  func comesBackAlone() throws {
    let pair = try pair()
    pair.alpha.disks[.zero]!.badForWriting = 0..<0
    pair.beta.holding = [.superblock]
    _ = pair.alpha.order(.detach(.zero, force: true))
    pair.settle()
    // The generation of the peer was not recorded: the disk of the Primary is as new as any.
    #expect(pair.beta.heldCount(.superblock) == 1)
    pair.beta.holding = []
    pair.beta.release(.superblock, fault: Errno.io)
    pair.settle()
    #expect(pair.beta.volume().disk == .diskless)
    pair.order(.attach(.zero), on: pair.alpha)
    #expect(pair.alpha.volume().disk == .upToDate)
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 2)])
    // Durable before the write was answered: no crash can make the two disks look alike.
    let current = try pair.both.map { try $0.disks[.zero]!.superblock().current & ~1 }
    #expect(current[0] != current[1])
    pair.order(.attach(.zero), on: pair.beta)
    pair.waitSync()
    #expect(pair.beta.disks[.zero]![80] == 2)
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
  }

  @Test("an attach compares with what the peer says after it, not with a P_STATE that was on its way")
  func staleState() throws {
    let pair = try pair()
    pair.network.held.insert(.init(to: 0, kind: .data))
    for command in [Command.pauseSync(.zero), .resumeSync(.zero)] { _ = pair.beta.order(command) }
    pair.settle()
    _ = pair.alpha.order(.detach(.zero, force: true))
    pair.settle()
    _ = pair.alpha.order(.attach(.zero))
    pair.settle()
    #expect(pair.beta.volume().replication == .wfBitMapS)
    pair.network.held.removeAll()
    pair.waitSync()
    for node in pair.both { #expect(!node.log.contains { $0.contains("connection lost") }) }
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }
}
