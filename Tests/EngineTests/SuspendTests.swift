// suspend-io and resume-io.
import Base
import Protocol
import Testing

@testable import Engine

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
