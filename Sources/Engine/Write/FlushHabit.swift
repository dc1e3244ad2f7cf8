// A database's log is one write, then one flush, again and again; each flush is a round trip to the peer and a flush of
// both disks. Once an application has shown this habit, its next lone write is sent and written with FUA, so that its answer
// says already what the flush would say, and the flush has nothing left to do.
// Law: a flush is skipped only when every write answered so far is durable here and on the peer: each was FUA, or was answered
// before a flush began that succeeded, and no state of the volume has changed since.

struct FlushHabit {
  /// Flushes in a row that came after exactly one write.
  private var streak = 0
  /// Writes without FUA that arrived since the last flush did.
  private var writes = 0
  private var underWay = 0
  /// Counts what only a flush makes durable.
  private var moment: UInt64 = 1
  private var durable: UInt64 = 0
  private static let believed = 3

  /// Nothing a flush could make safer.
  var hasNothingToFlush: Bool { durable == moment }
  /// For `flushed(upTo:)`, when a flush begins.
  var now: UInt64 { moment }

  /// A write without FUA arrives. Returns whether a flush is likely to follow it at once.
  mutating func writeArrived() -> Bool {
    let isAlone = underWay == 0
    underWay += 1
    writes += 1
    if writes > 1 { streak = 0 }
    return streak >= Self.believed && isAlone
  }

  /// A write without FUA of the application's is answered.
  mutating func writeAnswered(madeDurable: Bool) {
    underWay -= 1
    if !madeDurable { moment += 1 }
  }

  mutating func flushArrived() {
    streak = writes == 1 ? min(streak + 1, Self.believed) : 0
    writes = 0
  }

  /// A flush that began at `moment` was answered without a fault.
  mutating func flushed(upTo begun: UInt64) { durable = max(durable, begun) }

  /// Disk, peer or role are not what they were: what was durable where has to be found out anew.
  mutating func disturbed() { moment += 1 }
}
