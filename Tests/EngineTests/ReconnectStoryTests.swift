// Two nodes part and come together again: by order, by a cut, by a crash, with and without writes in between.
import Base
import MetaDisk
import Testing

@testable import Engine

@Suite("Two nodes: parting and coming together")
struct ReconnectStoryTests {
  @Test("a flush is answered after the peer's barrier ack, a write before it")
  func flushWaits() throws {
    let pair = try Pair()
    pair.synced()
    let write = pair.alpha.write(0, stamp: 5)
    pair.wait(pair.alpha, [write])
    pair.network.held.insert(.init(to: 0, kind: .meta))
    let flush = pair.alpha.flush()
    pair.settle()
    #expect(!pair.alpha.isAnswered(flush))
    pair.network.held.removeAll()
    pair.settle()
    #expect(pair.alpha.isGood(flush))
    for node in pair.both { node.disks[.zero]!.losePower() }
    #expect(pair.alpha.disks[.zero]![0] == 5)
    #expect(pair.beta.disks[.zero]![0] == 5)
    pair.expectRest()
  }

  @Test(
    "writes are answered by protocol A, B and C, and end on both disks",
    arguments: [WireProtocol.a, .b, .c])
  func protocols(_ letter: WireProtocol) throws {
    let pair = try Pair { settings, _ in settings.net.wireProtocol = letter }
    pair.synced()
    // Nothing comes back from beta's disk.
    pair.beta.holding = [.peerWrite]
    let write = pair.alpha.write(64, stamp: 9)
    pair.settle()
    #expect(pair.alpha.isAnswered(write) == (letter != .c))
    pair.beta.stopHolding()
    pair.wait(pair.alpha, [write, pair.alpha.flush()])
    for i in 0..<40 { pair.wait(pair.alpha, [pair.alpha.write(UInt64(i * 8), stamp: UInt64(i + 1))]) }
    pair.pass(.seconds(2))
    pair.expectEqual()
    pair.expectRest()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("disconnect by the Primary, writes, connect: exactly those blocks are resynced")
  func disconnect() throws {
    let pair = try Pair()
    pair.synced()
    let old = pair.alpha.generations()
    pair.order(.disconnect(force: false), on: pair.alpha)
    #expect(pair.alpha.state == "StandAlone Primary/Unknown UpToDate/DUnknown")
    pair.pass(.seconds(1))
    #expect(pair.beta.state == "WFConnection Secondary/Unknown UpToDate/DUnknown")
    #expect(pair.alpha.generations()[1] == old[0])
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 1), pair.alpha.write(16000, 1, stamp: 2)])
    #expect(pair.alpha.volume().outOfSync == SectorCount(16))
    let received = pair.beta.volume().received
    pair.order(.connect(discardMyData: false), on: pair.alpha)
    pair.waitConnected()
    pair.waitSync()
    #expect(pair.beta.volume().received - received == 16)
    pair.expectEqual()
    #expect(pair.alpha.generations() == pair.beta.generations())
    pair.expectRest()
  }

  @Test("disconnect by the Secondary: it stays away, the Primary looks for it")
  func disconnectBySecondary() throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.disconnect(force: false), on: pair.beta)
    pair.pass(.seconds(2))
    #expect(pair.beta.state == "StandAlone Secondary/Unknown UpToDate/DUnknown")
    #expect(pair.alpha.state == "WFConnection Primary/Unknown UpToDate/DUnknown")
    pair.order(.connect(discardMyData: false), on: pair.beta)
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("a planned switch-over in both directions")
  func switchOver() throws {
    let pair = try Pair()
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    pair.order(.secondary, on: pair.alpha)
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    pair.order(.primary(force: false), on: pair.beta)
    pair.expect("Connected Secondary/Primary UpToDate/UpToDate")
    pair.wait(pair.beta, [pair.beta.write(0, stamp: 2)])
    #expect(pair.alpha.disks[.zero]![0] == 2)
    pair.refuse(.primary(force: false), on: pair.alpha, -1)
    pair.refuse(.primary(force: true), on: pair.alpha, -1)
    pair.order(.secondary, on: pair.beta)
    pair.order(.primary(force: false), on: pair.alpha)
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.pass(.seconds(2))
    pair.expectEqual()
    pair.expectRest()
    #expect(try !pair.beta.disks[.zero]!.superblock().flags.contains(.primaryIndicator))
  }

  @Test(
    "a crashed Primary comes back as Secondary: its log's extents are resynced from it, no more",
    arguments: MetaFormat.allCases)
  func crashedPrimary(_ format: MetaFormat) throws {
    let pair = try Pair(format: format, diskBytes: [32 << 20])
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1), pair.alpha.write(20000, stamp: 2)])
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 3)])
    pair.crash(pair.alpha)
    pair.pass(.seconds(1))
    pair.restart(pair.alpha)
    #expect(pair.alpha.volume().outOfSync == SectorCount(2 * 8192))
    let received = pair.beta.volume().received
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    #expect(pair.beta.volume().received - received == 2 * 8192)
    pair.expectEqual()
    pair.expectRest()
    #expect(pair.alpha.generations() == pair.beta.generations())
  }

  @Test("the Primary crashes, the Secondary takes over and writes: the crashed node becomes target")
  func failover() throws {
    let pair = try Pair(diskBytes: [32 << 20])
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1), pair.alpha.write(30000, stamp: 2)])
    pair.crash(pair.alpha)
    pair.pass(.seconds(1))
    pair.order(.primary(force: false), on: pair.beta)
    pair.wait(pair.beta, [pair.beta.write(16384, stamp: 4)])
    pair.restart(pair.alpha)
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Secondary/Primary UpToDate/UpToDate")
    pair.expectEqual()
    #expect(pair.alpha.disks[.zero]![16384] == 4)
    #expect(pair.alpha.disks[.zero]![30000] == 2)
    pair.expectRest()
  }

  @Test("the Secondary crashes and comes back: only what it missed, and may have lost, is resynced")
  func crashedSecondary() throws {
    let pair = try Pair(diskBytes: [32 << 20])
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 2)])
    pair.crash(pair.beta)
    pair.settle()
    pair.wait(pair.alpha, [pair.alpha.write(160, stamp: 3)])
    #expect(pair.alpha.volume().outOfSync == SectorCount(16))
    pair.restart(pair.beta)
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("both lose power: the one that was Primary is the source")
  func bothCrash() throws {
    let pair = try Pair(diskBytes: [32 << 20])
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 2)])
    pair.crash(pair.alpha)
    pair.crash(pair.beta)
    pair.restart(pair.beta)
    pair.restart(pair.alpha)
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    #expect(pair.beta.disks[.zero]![0] == 1)
  }

  @Test("the daemon of the Primary is killed without loss of power")
  func killed() throws {
    let pair = try Pair(diskBytes: [32 << 20])
    pair.synced()
    pair.beta.holding = [.peerWrite]
    let tickets = (0..<20).map { pair.alpha.write(UInt64($0) * 16, stamp: UInt64($0 + 1)) }
    pair.settle()
    #expect(tickets.allSatisfy { !pair.alpha.isAnswered($0) })
    pair.crash(pair.alpha, power: false)
    pair.beta.stopHolding()
    pair.pass(.seconds(1))
    pair.order(.primary(force: false), on: pair.beta)
    pair.restart(pair.alpha)
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Secondary/Primary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  // MARK: Split brain

  private func splitBrain(_ pair: Pair, at location: SourceLocation = #_sourceLocation) {
    pair.synced(at: location)
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    pair.pass(.seconds(1))
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 2)])
    pair.order(.primary(force: false), on: pair.beta, at: location)
    pair.wait(pair.beta, [pair.beta.write(16, stamp: 3)])
  }

  @Test("both were Primary apart from each other: StandAlone on both, the handler is called")
  func splitBrainRefused() throws {
    let pair = try Pair()
    splitBrain(pair)
    pair.order(.secondary, on: pair.beta)
    pair.mendLink()
    pair.pass(.seconds(30))
    #expect(pair.alpha.state == "StandAlone Primary/Unknown UpToDate/DUnknown")
    #expect(pair.beta.state.hasSuffix("Secondary/Unknown UpToDate/DUnknown"))
    #expect(pair.alpha.handlers.contains(.splitBrain) || pair.beta.handlers.contains(.splitBrain))
    let text = pair.alpha.engine.connectionRefusal ?? ""
    #expect(text.contains("Split-Brain detected but unresolved, dropping connection! Choose the node whose changes"))
    let name = pair.alpha.engine.settings.name
    #expect(
      text.contains(
        "repladm secondary \(name), repladm disconnect \(name), repladm connect --discard-my-data \(name); and on the other node"
      ))
    #expect(text.hasSuffix("repladm connect \(name)") && !text.contains("adjust"))
    pair.expectRest()
  }

  @Test("two Primaries meet: both stay away from each other")
  func twoPrimaries() throws {
    let pair = try Pair()
    splitBrain(pair)
    pair.mendLink()
    pair.pass(.seconds(30))
    #expect(pair.alpha.state.hasSuffix("Primary/Unknown UpToDate/DUnknown"))
    #expect(pair.beta.state.hasSuffix("Primary/Unknown UpToDate/DUnknown"))
    pair.expectRest()
  }

  @Test("connect --discard-my-data makes the loser the target")
  func discardMyData() throws {
    let pair = try Pair()
    splitBrain(pair)
    pair.order(.secondary, on: pair.beta)
    pair.mendLink()
    pair.pass(.seconds(30))
    for node in pair.both { pair.order(.disconnect(force: false), on: node) }
    pair.order(.connect(discardMyData: true), on: pair.beta)
    pair.order(.connect(discardMyData: false), on: pair.alpha)
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    #expect(pair.beta.disks[.zero]![8] == 2)
    #expect(pair.beta.disks[.zero]![16] == 0)
    #expect(pair.alpha.generations() == pair.beta.generations())
    pair.refuse(.connect(discardMyData: true), on: pair.alpha, 125)
  }

  @Test("after-sb-0pri discard-zero-changes: who wrote wins")
  func zeroChanges() throws {
    let pair = try Pair { settings, _ in settings.net.afterSplitBrain0 = .discardZeroChanges }
    pair.synced()
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 2)])
    pair.order(.secondary, on: pair.alpha)
    pair.order(.primary(force: false), on: pair.beta)
    pair.order(.secondary, on: pair.beta)
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Secondary/Secondary UpToDate/UpToDate")
    #expect(pair.beta.disks[.zero]![8] == 2)
    pair.expectEqual()
  }
}
