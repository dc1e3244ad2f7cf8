// The transactions of the activity log are numbered from 0 again before a deployed tool can misread their numbers.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Numbers of the activity log")
struct LogRestartTests {
  private let limit = ActivityLog.restartsAt

  /// alpha is a Primary alone whose next transaction is the last one before the numbers begin anew.
  private func pair() throws -> Pair {
    let pair = try Pair(diskBytes: [64 << 20])
    pair.synced()
    pair.cutLink()
    pair.settle()
    pair.alpha.engine.volumes[0].backing.log.reset(firstTransaction: limit - 1)
    return pair
  }

  private func number(_ node: Node) -> UInt32 { node.engine.volumes[0].backing.log.nextTransaction }

  private func empties(_ node: Node) -> [UInt32] {
    node.trace.compactMap {
      if case .metaWrite(_, _, .emptyTransaction(let block), _, _) = $0 { block } else { nil }
    }
  }

  /// A cold extent each.
  private func sector(_ extent: UInt64) -> UInt64 { extent * 8192 }

  @Test("a cold write waits until what uses the log has ended, the bitmap is on disk, and the ring is empty")
  func order() throws {
    let pair = try pair()
    pair.wait(pair.alpha, [pair.alpha.write(sector(1), stamp: 1)])
    #expect(number(pair.alpha) == limit)
    pair.alpha.forgetTrace()
    pair.alpha.holding = [.appWrite, .bitmapPage, .activityLog]
    let warm = pair.alpha.write(sector(1) + 8, stamp: 2)
    pair.settle()
    // The limit holds back warm writes, too: they would keep the log in use.
    #expect(!pair.alpha.isAnswered(warm))
    #expect(pair.alpha.heldCount(.appWrite) == 0)
    #expect(pair.alpha.heldCount(.bitmapPage) == 1)
    #expect(empties(pair.alpha).isEmpty)
    pair.alpha.release(.bitmapPage)
    pair.settle()
    // Its barrier makes the bitmap durable before another block is touched.
    #expect(empties(pair.alpha) == [0])
    pair.alpha.release(.activityLog)
    pair.settle()
    #expect(empties(pair.alpha) == [0, 1, 2, 3, 4, 5, 6, 7])
    #expect(number(pair.alpha) == limit)
    pair.alpha.stopHolding()
    pair.wait(pair.alpha, [warm])
    #expect(number(pair.alpha) == 1)
    pair.expectRest()
  }

  @Test("a power cut at every step of it leaves a log that names what may differ", arguments: 0..<60)
  func cut(_ steps: Int) throws {
    let pair = try pair()
    for extent: UInt64 in 1...3 { pair.wait(pair.alpha, [pair.alpha.write(sector(extent), stamp: extent)]) }
    for extent: UInt64 in 4...6 { pair.alpha.write(sector(extent), stamp: extent) }
    for _ in 0..<steps { pair.advance() }
    let answered = pair.alpha.answers.count
    pair.crash(pair.alpha)
    pair.mendLink()
    pair.pass(.seconds(1))
    pair.restart(pair.alpha)
    pair.waitConnected()
    pair.waitSync()
    pair.expectEqual()
    #expect(pair.alpha.volume().disk == .upToDate && answered >= 3)
  }

  @Test("a disk that fails in the middle of it, or is detached, is let go", arguments: [true, false], 0..<12)
  func lost(fails: Bool, steps: Int) throws {
    let pair = try Pair(diskBytes: [64 << 20])
    pair.synced()
    pair.alpha.engine.volumes[0].backing.log.reset(firstTransaction: limit)
    let write = pair.alpha.write(sector(1), stamp: 1)
    for _ in 0..<steps { pair.advance() }
    if fails {
      pair.alpha.disks[.zero]!.metadataFails = true
    } else {
      _ = pair.alpha.order(.detach(.zero, force: false))
    }
    pair.wait(pair.alpha, [write, pair.alpha.write(sector(3), stamp: 2)])
    pair.settle()
    #expect(pair.alpha.volume().disk == .diskless || (fails && steps >= 12))
    #expect(pair.beta.disks[.zero]![sector(3)] == 2)
    pair.expectRest()
  }
}
