// Metadata on a device of their own: whatever they say about data, the data are durable first. And what an answer or a state
// rests on when a flush fails.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Barriers and failed flushes")
struct BarrierTests {
  /// Data and metadata on two devices.
  private func apart(_ settings: inout ResourceSettings) { settings.volumes[0].metaLocation = .external }

  private func barriers(_ node: Node) -> [WriteBarrier] {
    node.trace.compactMap { if case .metaWrite(_, _, _, _, let barrier) = $0 { barrier } else { nil } }
  }

  private func isMarked(_ node: Node, _ bit: UInt64) -> Bool { node.engine.volumes[0].backing.bitmap.isSet(bit) }

  @Test("an extent that leaves the log leaves durable data behind, and only then is the data's device flushed")
  func eviction() throws {
    let bench = try Bench {
      apart(&$0)
      $0.volumes[0].alExtents = 1
    }
    bench.primary()
    bench.node.write(8, stamp: 5)
    bench.settle()
    bench.ackLastWrite()
    bench.say(.barrierAck(BarrierAck(handle: 0, setSize: 1)))
    #expect(barriers(bench.node).first == .metadata)
    bench.pass(.seconds(1))
    bench.node.forgetTrace()
    bench.node.write(8192, stamp: 6)
    bench.settle()
    bench.pass(.seconds(1))
    #expect(barriers(bench.node).contains(.everything))
    bench.disk.losePower()
    #expect(bench.disk[8] == 5)
  }

  @Test("a superblock that says Secondary is behind the data that were written as Primary")
  func demotion() throws {
    let pair = try Pair { settings, _ in apart(&settings) }
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7)])
    pair.order(.secondary, on: pair.alpha)
    pair.alpha.disks[.zero]!.losePower()
    #expect(pair.alpha.disks[.zero]![80] == 7)
  }

  @Test("a bit that is clear on disk stands for data that are")
  func clearedBits() throws {
    let pair = try Pair { settings, _ in apart(&settings) }
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7), pair.alpha.write(800, stamp: 8)])
    pair.beta.holding = [.bracket, .epochFlush]
    pair.mendLink()
    pair.run(until: { pair.beta.heldCount(.bracket) > 0 })
    // The bitmap is written in time, while the end of the resync is held.
    pair.pass(.seconds(3))
    let disk = pair.beta.disks[.zero]!
    disk.losePower()
    let marked = try disk.outOfSync(peerNode: 0)
    for (sector, stamp) in [(80, 7), (800, 8)] as [(UInt64, UInt64)] where !marked.contains(sector / 8) {
      #expect(disk[sector] == stamp)
    }
    #expect(marked.isEmpty)
  }

  @Test("a disk that was let go in good order has the peer's writes on the medium")
  func detach() throws {
    let pair = try Pair { settings, _ in apart(&settings) }
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7)])
    pair.order(.detach(.zero, force: false), on: pair.beta)
    pair.beta.disks[.zero]!.losePower()
    #expect(pair.beta.disks[.zero]![80] == 7)
  }

  // MARK: A flush that fails

  @Test("a resync whose data could not be made durable is none: the disk stays Inconsistent, and it is done again")
  func endOfResync() throws {
    let pair = try Pair { settings, _ in settings.volumes[0].onIOError = .passOn }
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7)])
    pair.beta.disks[.zero]!.flushFails = true
    pair.mendLink()
    pair.run(limit: .seconds(5), until: { pair.beta.volume().disk == .inconsistent })
    pair.run(limit: .seconds(5), until: { pair.beta.volume().disk == .upToDate })
    #expect(pair.beta.volume().disk == .inconsistent)
    #expect(pair.alpha.volume().peerDisk != .upToDate)
    pair.beta.disks[.zero]!.flushFails = false
    pair.waitConnected()
    pair.run(until: { pair.beta.volume().disk == .upToDate })
    #expect(pair.beta.volume().disk == .upToDate)
    pair.waitSync()
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.beta.disks[.zero]!.losePower()
    #expect(pair.beta.disks[.zero]![80] == 7)
  }

  @Test("a failed flush of a Primary's disk marks what the log names")
  func flushOfPrimary() throws {
    let pair = try Pair { settings, _ in settings.volumes[0].onIOError = .passOn }
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7)])
    pair.alpha.disks[.zero]!.flushFails = true
    let flush = pair.alpha.flush()
    pair.run(until: { pair.alpha.isAnswered(flush) })
    #expect(!pair.alpha.isGood(flush))
    pair.alpha.disks[.zero]!.flushFails = false
    #expect(pair.alpha.volume().disk == .inconsistent)
    #expect(isMarked(pair.alpha, 10))
    // What its disk may have lost is read at the peer.
    pair.alpha.disks[.zero]!.losePower()
    #expect(pair.content(pair.alpha, 80) == [UInt64](repeating: 7, count: 8))
  }

  @Test("a failed flush of an epoch in the middle of a resync takes back what the resync has called equal")
  func epochInResync() throws {
    let pair = try Pair { settings, _ in settings.volumes[0].onIOError = .passOn }
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7)])
    pair.beta.holding = [.bracket]
    pair.mendLink()
    pair.run(until: { pair.beta.heldCount(.bracket) > 0 })
    #expect(pair.beta.volume().outOfSync == .zero)
    pair.beta.disks[.zero]!.flushFails = true
    let flush = pair.alpha.write(800, stamp: 8)
    pair.run(limit: .seconds(2), until: { pair.beta.volume().outOfSync > .zero })
    #expect(pair.alpha.isAnswered(flush))
    #expect(isMarked(pair.beta, 10))
  }

  @Test("a command whose superblock cannot be written is refused", arguments: [true, false])
  func commands(_ outdates: Bool) throws {
    let bench = try Bench()
    bench.attach()
    bench.makeGood()
    bench.disk.metadataFails = true
    let to = bench.order(outdates ? .outdate(.zero) : .newCurrentUUID(.zero, clearBitmap: false))
    guard case .refused(let refusal) = bench.node.replies[to] else {
      Issue.record("answered \(String(describing: bench.node.replies[to]))")
      return
    }
    #expect(refusal.number == -18)
  }
}
