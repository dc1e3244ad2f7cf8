// A lone write that is always followed by a flush is made durable at once; whatever breaks the habit brings the flush back.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("The habit of flushing")
struct FlushHabitTests {
  /// A Primary whose application has written and flushed three times in turn.
  private func practised(_ adjust: (inout ResourceSettings) -> Void = { _ in }) throws -> Bench {
    let bench = try Bench(adjust)
    bench.primary()
    for i in 0..<3 {
      let first = bench.node.engine.epochs.current
      write(bench, UInt64(i) * 8)
      let flush = bench.node.flush()
      bench.settle()
      #expect(!bench.node.isAnswered(flush))
      bench.say(.barrierAck(BarrierAck(handle: first, setSize: 1)))
      #expect(bench.node.isGood(flush))
    }
    bench.node.forgetTrace()
    return bench
  }

  /// Writes, waits for the answer, and returns the flags it was sent with.
  @discardableResult private func write(_ bench: Bench, _ sector: UInt64) -> DataFlags {
    let ticket = bench.node.write(sector, stamp: 1)
    bench.settle()
    let flags = lastFlags(bench)
    if bench.node.settings.net.wireProtocol == .c { bench.ackLastWrite() }
    #expect(bench.node.isGood(ticket))
    return flags
  }

  private func lastFlags(_ bench: Bench) -> DataFlags {
    for one in bench.node.sent.reversed() {
      if case .data(let head) = one.packet { return head.flags }
    }
    return []
  }

  private func flushesOfTheDisk(_ bench: Bench) -> Int {
    bench.node.take().count { if case .disk(_, _, .flush) = $0 { true } else { false } }
  }

  @Test("the fourth write is written through on both sides, and its flush has nothing left to do")
  func expected() throws {
    let bench = try practised()
    for i in 0..<5 {
      #expect(write(bench, 80 + UInt64(i) * 8).contains(.fua))
      bench.node.forgetTrace()
      let flush = bench.node.flush()
      bench.settle()
      #expect(bench.node.isGood(flush))
      #expect(flushesOfTheDisk(bench) == 0)
    }
    bench.disk.losePower()
    for sector in UInt64(80)..<120 { #expect(bench.disk.content[sector] == 1) }
  }

  @Test("a second write before the flush ends the habit, and the flush goes to both disks")
  func broken() throws {
    let bench = try practised()
    #expect(write(bench, 80).contains(.fua))
    #expect(!write(bench, 88).contains(.fua))
    let flush = bench.node.flush()
    bench.settle()
    #expect(bench.sent().last == "P_BARRIER")
    #expect(!bench.node.isAnswered(flush))
    #expect(!write(bench, 96).contains(.fua))
  }

  @Test("a write while another is under way is not written through")
  func notAlone() throws {
    let bench = try practised()
    bench.node.write(80, stamp: 1)
    bench.node.write(88, stamp: 1)
    bench.settle()
    #expect(!lastFlags(bench).contains(.fua))
  }

  @Test("a flush that is not answered yet covers no write that is answered after it began")
  func lateWrite() throws {
    let bench = try Bench()
    bench.primary()
    let first = bench.node.engine.epochs.current
    write(bench, 0)
    let flush = bench.node.flush()
    bench.settle()
    write(bench, 8)
    bench.say(.barrierAck(BarrierAck(handle: first, setSize: 1)))
    #expect(bench.node.isGood(flush))
    bench.node.forgetTrace()
    let second = bench.node.flush()
    bench.settle()
    #expect(!bench.node.isAnswered(second))
  }

  @Test("a flush with nothing before it does nothing; after a change of state it does")
  func disturbed() throws {
    let bench = try practised()
    let idle = bench.node.flush()
    bench.settle()
    #expect(bench.node.isGood(idle))
    #expect(flushesOfTheDisk(bench) == 0)
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    bench.node.forgetTrace()
    let alone = bench.node.flush()
    bench.settle()
    #expect(bench.node.isGood(alone))
    #expect(flushesOfTheDisk(bench) == 1)
  }

  @Test("with protocols A and B no ack says durable: nothing is expected", arguments: [WireProtocol.a, .b])
  func weakProtocols(_ wireProtocol: WireProtocol) throws {
    let bench = try Bench { $0.net.wireProtocol = wireProtocol }
    bench.primary()
    for _ in 0..<5 {
      bench.node.write(0, stamp: 1)
      bench.settle()
      #expect(!lastFlags(bench).contains(.fua))
      bench.node.flush()
      bench.settle()
    }
  }
}
