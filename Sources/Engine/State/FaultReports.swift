// How many errors of one disk reach the log: a disk that cannot be read for a while fails thousands of times a second, and
// the first lines say all. What was left out is counted and said.
import Base

struct FaultReports {
  static let burst: UInt64 = 10
  static let interval = Interval.seconds(5)

  private var began: Instant?
  private var seen: UInt64 = 0

  /// Whether this error is written to the log; `unsaid`: how many were not since the last that was.
  mutating func admits(at now: Instant) -> (admitted: Bool, unsaid: UInt64) {
    guard let began, now < began + Self.interval else {
      let unsaid = seen > Self.burst ? seen - Self.burst : 0
      self.began = now
      seen = 1
      return (true, unsaid)
    }
    seen += 1
    return (seen <= Self.burst, 0)
  }
}
