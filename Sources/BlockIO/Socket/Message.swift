// The pieces of memory of one send or receive, at most 64, in order. Made once per connection and used again: nothing is
// allocated per message. After a transfer `consume` moves the beginning, so that the rest can be asked for.

import Base
import Glibc

public struct Message: ~Copyable {
  public static let limit = 64

  private let header: UnsafeMutablePointer<msghdr>
  private let parts: UnsafeMutablePointer<iovec>
  private var first = 0
  private var end = 0
  /// Bytes not transferred yet.
  public private(set) var left = 0

  public init() {
    header = .allocate(capacity: 1)
    header.initialize(to: msghdr())
    parts = .allocate(capacity: Message.limit)
    parts.initialize(repeating: iovec(), count: Message.limit)
  }

  deinit {
    header.deallocate()
    parts.deallocate()
  }

  public var isEmpty: Bool { left == 0 }
  /// Parts that still fit.
  public var room: Int { Message.limit - end }
  public var partCount: Int { end - first }

  public mutating func clear() {
    first = 0
    end = 0
    left = 0
  }

  /// Empty parts are left out.
  public mutating func append(_ pointer: UnsafeRawPointer, count: Int) {
    precondition(count >= 0 && end < Message.limit, "message is full")
    guard count > 0 else { return }
    // Neighbours in memory are one part.
    if end > first, let base = parts[end - 1].iov_base, base + parts[end - 1].iov_len == pointer {
      parts[end - 1].iov_len += count
    } else {
      parts[end] = iovec(iov_base: UnsafeMutableRawPointer(mutating: pointer), iov_len: count)
      end += 1
    }
    left += count
  }

  /// `count` bytes were transferred. True when nothing is left.
  public mutating func consume(_ count: Int) -> Bool {
    precondition(count >= 0 && count <= left, "more was transferred than asked for")
    left -= count
    var count = count
    while count > 0 {
      let size = parts[first].iov_len
      if count < size {
        parts[first].iov_base = parts[first].iov_base! + count
        parts[first].iov_len = size - count
        break
      }
      count -= size
      first += 1
    }
    if left == 0 { clear() }
    return left == 0
  }

  /// The kernel's form. It and the parts must stay until the completion.
  func prepared() -> UnsafeMutablePointer<msghdr> {
    precondition(left > 0, "nothing to transfer")
    header.pointee.msg_iov = parts + first
    header.pointee.msg_iovlen = end - first
    return header
  }
}
