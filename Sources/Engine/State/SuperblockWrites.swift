// Writes of a superblock: one is under way at a time, and carries the newest state. Laws: durable <= issued <= wanted; a block that
// claims less protection waits until the bitmap pages behind the claim are written.
import Base

struct SuperblockWrites {
  /// Counts changes; `issued` is in the write under way, `durable` on disk.
  private(set) var wanted: UInt64 = 0
  private(set) var issued: UInt64 = 0
  private(set) var durable: UInt64 = 0
  private(set) var inFlight = false
  private(set) var waitsForPages = false
  /// Writes that only this node has are answered when this is durable.
  private var fence: UInt64 = 0

  var isFenced: Bool { durable < fence }
  var isDurable: Bool { durable == wanted }
  /// A change waits for its write, and nothing stands in the way.
  var isDue: Bool { !inFlight && !waitsForPages && wanted != issued }

  /// A change of what it says; returns its number.
  mutating func want() -> UInt64 {
    wanted += 1
    return wanted
  }

  /// Answers wait for all that is wanted now.
  mutating func fenceAnswers() { fence = wanted }

  mutating func waitForPages() { waitsForPages = true }
  mutating func pagesAreWritten() { waitsForPages = false }

  mutating func issue() {
    precondition(isDue, "a superblock is written that need not be, or twice at once")
    issued = wanted
    inFlight = true
  }

  mutating func writeEnded() { inFlight = false }
  mutating func becameDurable() { durable = issued }

  /// What holds between two events.
  func check() {
    precondition(durable <= issued && issued <= wanted, "a superblock that is durable before it is written")
    precondition(fence <= wanted, "answers wait for a superblock write that was not asked for")
  }
}
