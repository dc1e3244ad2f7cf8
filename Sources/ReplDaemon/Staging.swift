// Bytes that have arrived on a socket and were not looked at yet. Law: what is unread lies in one piece, so that a parser
// sees it whole; bytes are moved only when the room behind them is short, and never while the kernel fills that room.
import Base
import Glibc

struct Staging: ~Copyable {
  private let base: UnsafeMutableRawPointer
  let capacity: Int
  private var start = 0
  private var end = 0
  /// The kernel is filling the room behind `end`.
  private var isLent = false

  init(capacity: Int = 64 << 10) {
    self.capacity = capacity
    base = .allocate(byteCount: capacity, alignment: 64)
  }

  deinit { base.deallocate() }

  var count: Int { end - start }
  var isEmpty: Bool { start == end }
  var front: UnsafeRawPointer { UnsafeRawPointer(base + start) }

  /// Runs `body` over the unread bytes.
  @inline(__always)
  func read<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try body(RawSpan(_unsafeStart: front, byteCount: count))
  }

  mutating func drop(_ bytes: Int) {
    precondition(bytes <= count, "more dropped than there is")
    start += bytes
    if start == end, !isLent {
      start = 0
      end = 0
    }
  }

  /// Moves up to `limit` bytes of the front to `target`; returns how many.
  mutating func move(to target: UnsafeMutableRawPointer, limit: Int) -> Int {
    let bytes = min(count, limit)
    if bytes > 0 {
      memcpy(target, front, bytes)
      drop(bytes)
    }
    return bytes
  }

  /// Where the next bytes go, at least a quarter of the whole unless the unread ones take it. Lent until `arrived`, if
  /// there is any.
  mutating func room() -> (start: UnsafeMutableRawPointer, count: Int) {
    precondition(!isLent, "the room is lent already")
    if start == end {
      start = 0
      end = 0
    } else if start > 0, capacity - end < capacity / 4 {
      memmove(base, base + start, count)
      end -= start
      start = 0
    }
    isLent = capacity > end
    return (base + end, capacity - end)
  }

  mutating func arrived(_ bytes: Int) {
    isLent = false
    precondition(bytes <= capacity - end, "more arrived than there was room for")
    end += bytes
  }
}
