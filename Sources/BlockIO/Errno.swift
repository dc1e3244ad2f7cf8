// An error number of the kernel as a value with words. Every fault of this target keeps the number, for callers that
// decide by it, and can say it, for people.

import Glibc

public struct Errno: Error, Hashable, Sendable, CustomStringConvertible {
  public let code: Int32
  public init(_ code: Int32) { self.code = code }
  /// That of the last failed call on this thread.
  static var last: Errno { Errno(errno) }
  /// The call did nothing and is to be made again.
  public var isInterruption: Bool { code == EINTR || code == EAGAIN }

  public var description: String {
    guard let text = strerror(code) else { return "error \(code)" }
    return String(cString: text)
  }
}
