// The numbers of the NBD protocol (fixed newstyle, structured replies, base:allocation), named once. All integers on
// the wire are big endian. Nothing here decides anything.

/// Magic numbers.
enum Magic {
  static let greeting: UInt64 = 0x4e42_444d_4147_4943  // "NBDMAGIC"
  static let option: UInt64 = 0x4948_4156_454f_5054  // "IHAVEOPT"
  static let optionReply: UInt64 = 0x0003_e889_0455_65a9
  static let request: UInt32 = 0x2560_9513
  static let simpleReply: UInt32 = 0x6744_6698
  static let structuredReply: UInt32 = 0x668e_33ef
}

/// Flags of the greeting and of the client's answer: the same two bits in both.
enum GreetingFlags {
  static let fixedNewstyle: UInt32 = 1 << 0
  static let noZeroes: UInt32 = 1 << 1
}

/// What the client may ask before it enters transmission. Options that are not listed are answered `unsupported`.
enum HandshakeOption: UInt32 {
  case exportName = 1
  case abort = 2
  case list = 3
  case info = 6
  case go = 7
  case structuredReply = 8
  case listMetaContext = 9
  case setMetaContext = 10
}

/// Types of option replies.
enum OptionReply {
  static let ack: UInt32 = 1
  static let server: UInt32 = 2
  static let info: UInt32 = 3
  static let metaContext: UInt32 = 4
  static let unsupported: UInt32 = 1 << 31 | 1
  static let policy: UInt32 = 1 << 31 | 2
  static let invalid: UInt32 = 1 << 31 | 3
  static let unknown: UInt32 = 1 << 31 | 6
  static let tooBig: UInt32 = 1 << 31 | 9
}

/// Types of information in an `info` reply.
enum Info {
  static let export: UInt16 = 0
  static let name: UInt16 = 1
  static let blockSize: UInt16 = 3
}

/// What an export offers, sent with its size.
enum TransmissionFlags {
  static let hasFlags: UInt16 = 1 << 0
  static let readOnly: UInt16 = 1 << 1
  static let sendFlush: UInt16 = 1 << 2
  static let sendFUA: UInt16 = 1 << 3
  static let sendTrim: UInt16 = 1 << 5
  static let sendWriteZeroes: UInt16 = 1 << 6
  static let sendDF: UInt16 = 1 << 7
  static let canMultiConn: UInt16 = 1 << 8
  static let sendCache: UInt16 = 1 << 10
  static let sendFastZero: UInt16 = 1 << 11
}

/// Request types.
enum Command: UInt16 {
  case read = 0
  case write = 1
  case disconnect = 2
  case flush = 3
  case trim = 4
  case cache = 5
  case writeZeroes = 6
  case blockStatus = 7
}

/// Flags of a request. FUA is legal with every command, the others with one each.
enum CommandFlags {
  static let fua: UInt16 = 1 << 0
  static let noHole: UInt16 = 1 << 1
  static let df: UInt16 = 1 << 2
  static let reqOne: UInt16 = 1 << 3
  static let fastZero: UInt16 = 1 << 4
}

/// Types and the one flag of structured reply chunks.
enum Chunk {
  static let done: UInt16 = 1 << 0
  static let none: UInt16 = 0
  static let offsetData: UInt16 = 1
  static let blockStatus: UInt16 = 5
  static let error: UInt16 = 1 << 15 | 1
  static let errorOffset: UInt16 = 1 << 15 | 2
}

/// Errors of the transmission phase.
public enum NBDError: UInt32, Error, Sendable {
  case notPermitted = 1
  case io = 5
  case noMemory = 12
  case invalid = 22
  case noSpace = 28
  /// Only for a read that must not be fragmented.
  case overflow = 75
  /// Only for a zeroing that must be fast.
  case notSupported = 95
  /// The role was lost: this node may not serve the volume any more.
  case shutdown = 108
}

/// The one metadata context there is. Reporting 0 (allocated, not known to be zero) is always true.
enum AllocationContext {
  static let name = "base:allocation"
  static let namespace = "base:"
  static let id: UInt32 = 1
  static let hole: UInt32 = 1 << 0
  static let zero: UInt32 = 1 << 1
}

/// Longest string the protocol allows.
let longestString: UInt32 = 4096
