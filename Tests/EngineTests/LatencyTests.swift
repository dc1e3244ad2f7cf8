// What the histograms of latency count: each stage of a write by itself, and requests from their arrival to their answer.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Latency")
struct LatencyTests {
  /// Milliseconds that this stage has taken so far, and how many times were counted.
  private func counted(_ bench: Bench, _ stage: LatencyStage) -> [UInt64] {
    let one = bench.node.volume().latencies[stage]
    return [one.counts.reduce(0, +), one.nanoseconds / 1_000_000]
  }

  /// What has been counted by `body`, for the stages that counted anything.
  private func counts(_ bench: Bench, _ body: () -> Void) -> [LatencyStage: [UInt64]] {
    let before = LatencyStage.allCases.map { counted(bench, $0) }
    body()
    var result: [LatencyStage: [UInt64]] = [:]
    for (stage, old) in zip(LatencyStage.allCases, before) {
      let new = counted(bench, stage)
      if new[0] != old[0] { result[stage] = [new[0] - old[0], new[1] - old[1]] }
    }
    return result
  }

  @Test("each stage of a write has its own time")
  func stages() throws {
    let bench = try Bench()
    bench.primary()
    let first = counts(bench) {
      bench.node.holding = [.activityLog, .appWrite]
      bench.node.holdsSent = true
      bench.node.write(0, stamp: 1)
      bench.pass(.milliseconds(3))
      bench.node.release(.activityLog)
      bench.pass(.milliseconds(5))
      bench.node.releaseSent()
      bench.pass(.milliseconds(7))
      bench.ackLastWrite()
      bench.pass(.milliseconds(11))
      bench.node.release(.appWrite)
      bench.settle()
    }
    #expect(
      first == [
        .queue: [1, 0], .activityLog: [1, 3], .send: [1, 5], .peer: [1, 7], .localWrite: [1, 23],
        .acknowledgement: [1, 0], .write: [1, 26],
      ])
  }

  @Test("a write that waits for its blocks is in the queue")
  func queue() throws {
    let bench = try Bench()
    bench.primary()
    bench.node.write(0, stamp: 1)
    bench.settle()
    let second = counts(bench) {
      bench.node.write(0, stamp: 2)
      bench.pass(.milliseconds(4))
      // The first one goes, and the second begins.
      bench.ackLastWrite()
      bench.ackLastWrite()
    }
    #expect(second[.queue] == [1, 4])
    #expect(second[.write] == [2, 8])
  }

  @Test("a request that waits at the entrance is in the queue, from its arrival on")
  func entrance() throws {
    let bench = try Bench()
    bench.primary()
    _ = bench.order(.suspendIO)
    let waited = counts(bench) {
      bench.node.write(0, stamp: 1)
      bench.pass(.milliseconds(40))
      _ = bench.order(.resumeIO)
      bench.ackLastWrite()
    }
    #expect(waited[.queue] == [1, 40])
    #expect(waited[.write] == [1, 40])
  }

  @Test("reads and flushes are counted when they succeed; a failed write is in no histogram of requests")
  func requests() throws {
    let bench = try Bench()
    bench.attach()
    bench.makeGood()
    _ = bench.order(.primary(force: false))
    let good = counts(bench) {
      bench.node.holding = [.appRead, .appFlush]
      _ = bench.node.read(0)
      bench.node.write(0, stamp: 1)
      bench.settle()
      bench.node.flush()
      bench.pass(.milliseconds(2))
      bench.node.release(.appRead)
      bench.node.release(.appFlush)
      bench.settle()
    }
    #expect(good[.read] == [1, 2] && good[.flush] == [1, 2] && good[.write] == [1, 0])
    #expect(good[.send] == nil && good[.peer] == nil, "alone")
    let outside = counts(bench) {
      bench.node.write(1 << 30, stamp: 1)
      bench.settle()
    }
    #expect(outside.isEmpty)
  }

  @Test("what waits for the word about a lost peer is in the acknowledgement")
  func held() throws {
    let bench = try Bench()
    bench.primary()
    bench.node.write(0, stamp: 1)
    bench.settle()
    let lost = counts(bench) {
      bench.node.holding = [.superblock]
      bench.node.inbox.append(.event(.socketClosed(bench.data)))
      bench.pass(.milliseconds(6))
      bench.node.release(.superblock)
      bench.settle()
    }
    #expect(lost[.acknowledgement] == [1, 6])
    #expect(lost[.peer] == nil)
  }
}
