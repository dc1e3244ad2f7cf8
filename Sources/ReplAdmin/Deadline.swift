// Every command ends: whatever waits is handed one of these.
import Glibc

struct Deadline {
  /// Nil: never.
  private let moment: ContinuousClock.Instant?
  /// For sentences: how long was waited.
  let seconds: Double?

  static let never = Deadline(after: nil)

  init(after seconds: Double?) {
    self.seconds = seconds
    moment = seconds.map { .now + .nanoseconds(Int64(min($0, 1e9) * 1e9)) }
  }

  var hasPassed: Bool { moment.map { $0 <= .now } ?? false }

  /// Milliseconds left, for `poll`: -1 for ever, 0 when passed.
  var pollMilliseconds: Int32 {
    guard let moment else { return -1 }
    let left = (moment - .now).components
    guard left.seconds >= 0 else { return 0 }
    return Int32(clamping: left.seconds * 1000 + left.attoseconds / 1_000_000_000_000_000 + 1)
  }

  /// What is left; nil: for ever.
  var secondsLeft: Double? {
    moment.map { moment in
      let left = (moment - .now).components
      return max(0, Double(left.seconds) + Double(left.attoseconds) / 1e18)
    }
  }

  /// What is left, for a request.
  var milliseconds: UInt64? { secondsLeft.map { UInt64($0 * 1000) } }

  /// "12 s", for a sentence that says how long was waited.
  var text: String {
    guard let seconds else { return "for ever" }
    return seconds == seconds.rounded() ? "\(Int(seconds)) s" : "\(seconds) s"
  }

  /// Asks again every few milliseconds until `condition` holds; false when time ran out first.
  func wait(pause: UInt32 = 10_000, until condition: () -> Bool) -> Bool {
    while !condition() {
      if hasPassed { return false }
      usleep(pause)
    }
    return true
  }
}
