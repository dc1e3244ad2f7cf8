// Every command that waits, and every loss at every step of its way: the command is answered, and so is the one that caused
// the loss. A step is one event at one node, or one packet.
import Base
import Glibc
import MetaDisk
import Protocol
import Testing

@testable import Engine

/// A command that waits for something, and the state it is given in.
enum Waiting: String, CaseIterable, Sendable {
  case attachAlone, attachConnected, attachBehind, detachAlone, detachConnected, detachForced
  case promoteAlone, promoteConnected, promoteForced, promoteFenced
  case demoteWithMarks, demoteWithWrites, demoteWithFlush, demoteFrozen
  case disconnect, invalidate, invalidateRemote, verify, outdate, newGeneration, skipInitialSync
  case resizeAlone, resizeConnected, resizeAssumed, down, downWithMarks

  var command: Command {
    switch self {
    case .attachAlone, .attachConnected, .attachBehind: .attach(.zero)
    case .detachAlone, .detachConnected: .detach(.zero, force: false)
    case .detachForced: .detach(.zero, force: true)
    case .promoteAlone, .promoteConnected, .promoteFenced: .primary(force: false)
    case .promoteForced: .primary(force: true)
    case .demoteWithMarks, .demoteWithWrites, .demoteWithFlush, .demoteFrozen: .secondary
    case .disconnect: .disconnect(force: false)
    case .invalidate: .invalidate(.zero)
    case .invalidateRemote: .invalidateRemote(.zero)
    case .verify: .verify(.zero, start: nil, stop: nil)
    case .outdate: .outdate(.zero)
    case .newGeneration: .newCurrentUUID(.zero, clearBitmap: true)
    case .skipInitialSync: .newCurrentUUID(.zero, clearBitmap: true)
    case .resizeAlone, .resizeConnected: .resize(.zero, limit: nil, assumeClean: false)
    case .resizeAssumed: .resize(.zero, limit: nil, assumeClean: true)
    case .down, .downWithMarks: .down
    }
  }

  /// alpha is the node that is told; both nodes as they are before it.
  func prepare() throws -> Pair {
    let pair = try Pair { settings, _ in
      settings.net.verifyAlgorithm = "crc32c"
      settings.net.pingInterval = .seconds(2)
      settings.net.timeout = .seconds(1)
      settings.net.koCount = 3
      if self == .demoteFrozen { settings.net.fencing = .resourceAndStonith }
      if self == .promoteFenced { settings.net.fencing = .resourceOnly }
    }
    switch self {
    case .skipInitialSync:
      pair.attach()
      pair.connect()
      return pair
    case .promoteForced:
      pair.attach()
      pair.connect()
      return pair
    default: pair.synced()
    }
    let (alpha, beta) = (pair.alpha, pair.beta)
    switch self {
    case .attachAlone:
      pair.order(.secondary, on: alpha)
      pair.order(.disconnect(force: true), on: alpha)
      pair.order(.detach(.zero, force: false), on: alpha)
    case .attachConnected: pair.order(.detach(.zero, force: false), on: alpha)
    case .attachBehind:
      pair.order(.secondary, on: alpha)
      pair.order(.detach(.zero, force: false), on: alpha)
      pair.order(.primary(force: false), on: beta)
      pair.wait(beta, [beta.write(80, stamp: 7)])
    case .detachAlone, .outdate, .newGeneration, .promoteAlone:
      pair.order(.secondary, on: alpha)
      pair.order(.disconnect(force: true), on: alpha)
    case .promoteConnected, .verify, .invalidate: pair.order(.secondary, on: alpha)
    case .promoteFenced:
      pair.order(.secondary, on: alpha)
      pair.cutLink()
      alpha.exits[.fencePeer] = 4
      pair.settle()
    case .demoteWithMarks, .downWithMarks:
      pair.cutLink()
      pair.settle()
      pair.wait(alpha, [alpha.write(80, stamp: 7)])
    case .demoteWithWrites: alpha.write(80, stamp: 7)
    case .demoteWithFlush:
      alpha.write(80, stamp: 7)
      alpha.flush()
    case .demoteFrozen:
      alpha.heldHandlers = [.fencePeer]
      pair.cutLink()
      alpha.write(80, stamp: 7)
      pair.settle()
    case .resizeAlone, .resizeConnected, .resizeAssumed:
      if self == .resizeAlone {
        pair.cutLink()
        pair.settle()
      }
      for node in pair.both { node.disks[.zero]!.facts.grow(to: 16 << 20) }
    default: break
    }
    for node in pair.both { node.forgetTrace() }
    return pair
  }
}

extension DiskFacts {
  fileprivate mutating func grow(to bytes: UInt64) {
    dataBytes = bytes
    metaBytes = bytes
  }
}

/// What is taken away.
enum Loss: String, CaseIterable, Sendable {
  /// Its metadata cannot be written (or read) any more; its disk as a whole neither.
  case metadata, disk
  case detached, peerDetached, peerMetadata
  /// The connection ends: seen at once, or only by its silence; by command; with the peer.
  case connection, silence, disconnected, peerDies
  case down, demoted

  func strike(_ pair: Pair) -> [ReplyTo] {
    let (alpha, beta) = (pair.alpha, pair.beta)
    switch self {
    case .metadata: alpha.disks[.zero]!.metadataFails = true
    case .disk:
      alpha.disks[.zero]!.metadataFails = true
      alpha.disks[.zero]!.badForReading = 0..<UInt64.max
      alpha.disks[.zero]!.badForWriting = 0..<UInt64.max
      alpha.disks[.zero]!.flushFails = true
    case .detached: return [alpha.order(.detach(.zero, force: true))]
    case .peerDetached: beta.inbox.append(.event(.command(.detach(.zero, force: true), ReplyTo(beta.number()))))
    case .peerMetadata: beta.disks[.zero]!.metadataFails = true
    case .connection: pair.cutLink()
    case .silence: pair.network.isCut = true
    case .disconnected: return [alpha.order(.disconnect(force: true))]
    case .peerDies: pair.crash(beta, power: false, told: false)
    case .down: return [alpha.order(.down)]
    case .demoted: return [alpha.order(.secondary)]
    }
    return []
  }
}

@Suite("Every wait is answered")
struct WaitsTests {
  /// Takes half an hour.
  static let takesEveryStep = getenv("REPL_EVERY_STEP") != nil

  @Test("whatever is lost, at every step", arguments: Waiting.allCases, Loss.allCases)
  func matrix(_ waiting: Waiting, _ loss: Loss) throws {
    var step = 0
    while true {
      let pair = try waiting.prepare()
      let to = pair.alpha.order(waiting.command)
      for _ in 0..<step where pair.alpha.replies[to] == nil { pair.advance() }
      // The loss came too late to meet anything.
      if step > 0, pair.alpha.replies[to] != nil { break }
      let others = loss.strike(pair)
      let all = [to] + others
      pair.run(limit: .seconds(120), until: { all.allSatisfy { pair.alpha.replies[$0] != nil } })
      for one in all where pair.alpha.replies[one] == nil {
        Issue.record(
          "\(waiting), \(loss) after \(step) steps: \(one == to ? "the command" : "what caused the loss") has no answer; alpha \(pair.alpha.state), \(pair.alpha.log.suffix(3))"
        )
        return
      }
      // Close together in the beginning, where a command does most; all of them with REPL_EVERY_STEP.
      step += step < 2 || Self.takesEveryStep ? 1 : step
      if step > 300 {
        Issue.record("\(waiting) has no end")
        return
      }
    }
  }
}

@Suite("Commands that wait")
struct CommandWaitTests {
  @Test("a demotion whose bitmap page cannot be written ends: the disk goes, the role with it")
  func demotion() throws {
    let bench = try Bench()
    bench.primary()
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    bench.node.write(80, stamp: 1)
    bench.settle()
    bench.node.holding = [.bitmapPage]
    let to = bench.order(.secondary)
    #expect(bench.node.replies[to] == nil)
    bench.node.release(.bitmapPage, fault: DiskFault(errno: 5))
    bench.settle()
    #expect(bench.node.replies[to] == .done)
    #expect(bench.node.state.hasSuffix("Secondary/Unknown Diskless/DUnknown"))
  }

  @Test("a command that wanted something written is refused when the disk is lost")
  func outdate() throws {
    let bench = try Bench()
    bench.attach()
    bench.makeGood()
    bench.disk.metadataFails = true
    let to = bench.order(.outdate(.zero))
    guard case .refused(let refusal)? = bench.node.replies[to] else {
      Issue.record("not refused: \(String(describing: bench.node.replies[to]))")
      return
    }
    #expect(refusal.why == "r0/0 has lost its disk")
  }

  @Test("two commands that wait for the same are answered when it has happened, not before")
  func twice() throws {
    let pair = try Pair()
    pair.synced()
    pair.alpha.holding = [.superblock]
    let first = pair.alpha.order(.down)
    pair.settle()
    let second = pair.alpha.order(.down)
    pair.settle()
    #expect(pair.alpha.replies[first] == nil && pair.alpha.replies[second] == nil)
    pair.alpha.stopHolding()
    pair.run(until: { pair.alpha.replies[second] != nil })
    #expect(pair.alpha.replies[first] == .done && pair.alpha.replies[second] == .done)
    #expect(pair.alpha.state == "StandAlone Secondary/Unknown Diskless/DUnknown")
  }

  @Test("`down` in the middle of a promotion waits for it, and goes on")
  func downWhilePromoting() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    let primary = pair.alpha.order(.primary(force: false))
    let down = pair.alpha.order(.down)
    pair.run(until: { pair.alpha.replies[down] != nil })
    #expect(pair.alpha.replies[primary] == .done)
    #expect(pair.alpha.replies[down] == .done)
  }

  // MARK: attach beside a connected peer

  /// A Primary beta with data that alpha's disk does not fit.
  private func misfit(splitBrain: Bool) throws -> Pair {
    let pair = try Pair()
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    pair.order(.disconnect(force: true), on: pair.alpha)
    pair.order(.primary(force: false), on: pair.beta)
    pair.wait(pair.beta, [pair.beta.write(80, stamp: 2)])
    pair.order(.primary(force: true), on: pair.alpha)
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.order(.secondary, on: pair.alpha)
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    if !splitBrain { pair.alpha.disks[.zero] = try foreign() }
    pair.order(.connect(discardMyData: false), on: pair.alpha)
    pair.waitConnected()
    return pair
  }

  /// A disk of another pair, with data of its own.
  private func foreign() throws -> FakeDisk {
    let other = try Pair(seed: 99)
    other.synced()
    other.order(.secondary, on: other.alpha)
    other.order(.down, on: other.alpha)
    return other.alpha.disks[.zero]!
  }

  @Test("it is refused with what the comparison said, and what to do", arguments: [true, false])
  func refused(splitBrain: Bool) throws {
    let pair = try misfit(splitBrain: splitBrain)
    guard case .refused(let refusal)? = pair.run(.attach(.zero), on: pair.alpha) else {
      Issue.record("an attach that the comparison refuses is not refused")
      return
    }
    #expect(refusal.number == 150)
    #expect(refusal.why.contains(splitBrain ? "since they were last equal" : "no generation in common"))
    #expect(refusal.next.contains(splitBrain ? "--discard-my-data" : "create-md --force"))
    // Answered when it is over: the disk is closed.
    #expect(pair.alpha.volume().disk == .diskless)
    #expect(pair.beta.state == "Connected Primary/Secondary UpToDate/Diskless")
    pair.expectRest()
  }

  @Test("what it says to do about a split brain works")
  func adviceWorks() throws {
    let pair = try misfit(splitBrain: true)
    _ = pair.run(.attach(.zero), on: pair.alpha)
    pair.order(.disconnect(force: false), on: pair.alpha)
    pair.order(.attach(.zero), on: pair.alpha)
    pair.order(.connect(discardMyData: true), on: pair.alpha)
    pair.run(until: { pair.beta.volume().replication >= .connected })
    pair.waitSync()
    pair.expectEqual()
    #expect(pair.alpha.disks[.zero]![80] == 2)
  }

  @Test("a disk that fits is answered when it is compared, not when it is attached")
  func fits() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.network.held = [.init(to: 0, kind: .data)]
    let to = pair.alpha.order(.attach(.zero))
    pair.settle()
    #expect(pair.alpha.volume().disk == .negotiating)
    #expect(pair.alpha.replies[to] == nil)
    pair.network.held = []
    pair.settle()
    #expect(pair.alpha.replies[to] == .done)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("a peer that says nothing to it: refused in the end, the disk let go, the connection kept")
  func silent() throws {
    let bench = try Bench()
    bench.attach()
    bench.makeGood()
    bench.handshake()
    let gone = bench.order(.detach(.zero, force: true))
    #expect(bench.node.replies[gone] == .done)
    let to = bench.order(.attach(.zero))
    #expect(bench.node.volume().disk == .negotiating)
    #expect(bench.node.replies[to] == nil)
    for _ in 0..<20 {
      bench.pass(.seconds(1))
      bench.say(.pingAck)
    }
    guard case .refused(let refusal)? = bench.node.replies[to] else {
      Issue.record("no refusal: \(String(describing: bench.node.replies[to])) \(bench.node.state)")
      return
    }
    #expect(refusal.why.contains("has not said"))
    #expect(bench.node.volume().disk == .diskless)
    #expect(bench.node.volume().replication == .connected)
  }

  @Test("the loss of the peer in the middle of it: the disk counts as it is, and the command is answered")
  func peerLost() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.network.held = [.init(to: 0, kind: .data)]
    let to = pair.alpha.order(.attach(.zero))
    pair.settle()
    #expect(pair.alpha.replies[to] == nil)
    pair.network.held = []
    pair.cutLink()
    pair.settle()
    #expect(pair.alpha.replies[to] == .done)
    #expect(pair.alpha.volume().disk >= .outdated)
  }

  @Test("a demotion that waits for the ack of an epoch goes on when the connection ends")
  func demotionAndEpoch() throws {
    let pair = try Pair()
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 1)])
    pair.beta.holding = [.epochFlush]
    let to = pair.alpha.order(.secondary)
    pair.settle()
    #expect(pair.alpha.replies[to] == nil)
    pair.cutLink()
    pair.settle()
    #expect(pair.alpha.replies[to] == .done)
    #expect(pair.alpha.engine.snapshot().role == .secondary)
  }
}
