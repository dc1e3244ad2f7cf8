// The client's side of the transmission phase: the head of a request as bytes, and the head of a simple answer from bytes. For the
// program that serves a block device; the layouts are those of the server's side.
import Base

/// What a client of a volume may ask.
public enum ClientAsk: Equatable, Sendable {
  case read
  case write
  case flush
  /// Zeroes. `fast`: to be refused when that is no faster than to write them.
  case zero(mayUnmap: Bool, fast: Bool)
  case disconnect

  fileprivate var type: Command {
    switch self {
    case .read: .read
    case .write: .write
    case .flush: .flush
    case .zero: .writeZeroes
    case .disconnect: .disconnect
    }
  }

  fileprivate var flags: UInt16 {
    guard case .zero(let mayUnmap, let fast) = self else { return 0 }
    return (mayUnmap ? 0 : CommandFlags.noHole) | (fast ? CommandFlags.fastZero : 0)
  }

  /// Writes the head to the front of `memory`.
  public func writeHead(
    cookie: UInt64, offset: UInt64, length: UInt32, to memory: UnsafeMutableRawBufferPointer
  ) {
    var head = RequestHead()
    head.flags = flags
    head.type = type.rawValue
    head.cookie = cookie
    head.offset = offset
    head.length = length
    _ = head.write(to: memory, at: 0)
  }

  public static let headBytes = RequestHead.bytes
}

/// A simple answer. The bytes of a read follow it when there is no error.
public struct SimpleAnswer: Equatable, Sendable {
  public static let bytes = 16
  public let cookie: UInt64
  /// 0: none. The numbers are Linux's.
  public let error: UInt32

  /// Nil when the bytes are no simple answer.
  public init?(reading bytes: RawSpan) {
    do throws(ShortLayout) {
      let head = try SimpleReply(reading: bytes)
      guard head.magic == Magic.simpleReply else { return nil }
      cookie = head.cookie
      error = head.error
    } catch {
      return nil
    }
  }
}

/// What the flags of an export say to a client.
public struct ExportAbilities: Equatable, Sendable {
  public let flags: UInt16
  public init(flags: UInt16) { self.flags = flags }
  public var zeroes: Bool { flags & TransmissionFlags.sendWriteZeroes != 0 }
  public var zeroesFast: Bool { flags & TransmissionFlags.sendFastZero != 0 }
}
