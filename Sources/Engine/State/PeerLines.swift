// How many log lines the peer's packets may set off: a peer says in a second what fills a disk with lines. A handshake of
// every volume fits at once, and what goes on for long is slowed down; what was left out is counted and said.
import Base

struct PeerLines {
  static let interval = Interval.milliseconds(50)

  private var most: UInt64
  private var left: UInt64
  private var filled: Instant?
  private(set) var unsaid: UInt64 = 0
  /// A packet of the peer is being handled.
  var isSpeaking = false

  init(volumes: Int) {
    most = Self.most(volumes)
    left = most
  }

  private static func most(_ volumes: Int) -> UInt64 { 200 + UInt64(volumes) * 50 }

  mutating func serve(volumes: Int) {
    most = Self.most(volumes)
    left = min(left, most)
  }

  /// Whether this line is written; `unsaid`: how many were not since the last that was.
  mutating func admits(at now: Instant) -> (admitted: Bool, unsaid: UInt64) {
    if !isSpeaking { return (true, 0) }
    let since = filled ?? now
    let grown = (now - since).nanoseconds / Self.interval.nanoseconds
    filled = filled == nil ? now : since + Self.interval * grown
    left = min(most, left + min(grown, most))
    if left == 0 {
      unsaid &+= 1
      return (false, 0)
    }
    left -= 1
    defer { unsaid = 0 }
    return (true, unsaid)
  }
}
