// One request of the transmission phase: its head on the wire, and the verdict on it before anything is asked of the
// engine. Every rule about what a client may ask stands here, once.

import Base

/// Head of a request, 28 bytes. The cookie is the client's: it is sent back as it came.
struct RequestHead: Layout {
  static let bytes = 28
  var magic = Magic.request
  var flags: UInt16 = 0
  var type: UInt16 = 0
  var cookie: UInt64 = 0
  var offset: UInt64 = 0
  var length: UInt32 = 0
  init() {}
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u32(&magic)
    walk.u16(&flags)
    walk.u16(&type)
    walk.opaque64(&cookie)
    walk.u64(&offset)
    walk.u32(&length)
  }
}

/// How the data of a read go back.
enum ReadStyle: Sendable {
  /// Structured: each piece as a chunk of its own as soon as it is there, in any order.
  case chunks
  /// All pieces are held until the last has been read, then sent as one reply: the reply can still be an error.
  case gathered
  /// A simple reply too large to hold: sent in order from the first piece on; a fault after that ends the connection.
  case streamed
}

/// A request that is under way.
struct Request: Sendable {
  let cookie: UInt64
  let offset: UInt64
  let length: UInt32
  let command: Command
  let flags: UInt16
  var style: ReadStyle
  /// Pieces that were asked for and have not been answered, or whose payload is being received.
  var outstanding: Int32 = 0
  /// Not all pieces have been made yet.
  var isBeingCut = true
  /// The pieces of an ordered read, oldest first: slot handles, 0 for none.
  var oldest: UInt64 = 0
  var newest: UInt64 = 0
  /// The head of an ordered read's reply is in the outbox.
  var hasBegun = false
  /// The first error wins.
  var fault: NBDError?

  func has(_ flag: UInt16) -> Bool { flags & flag != 0 }
}

enum Verdict: Equatable, Sendable {
  case ask
  case succeed
  case refuse(NBDError)
  case leave
}

extension RequestHead {
  /// `maximumGathered`: longest read that is answered in one piece.
  func verdict(
    _ export: Bounds, isServed: Bool, structuredReplies: Bool, allocationContext: Bool, maximumGathered: UInt32
  ) -> Verdict {
    guard let command = Command(rawValue: type) else { return .refuse(.invalid) }
    if command == .disconnect { return .leave }
    if flags & ~allowedFlags(command, structuredReplies: structuredReplies) != 0 { return .refuse(.invalid) }
    if !isServed { return .refuse(.shutdown) }
    switch command {
    case .flush:
      return offset == 0 && length == 0 ? .ask : .refuse(.invalid)
    case .write, .trim, .writeZeroes:
      if export.isReadOnly { return .refuse(.notPermitted) }
    case .blockStatus:
      if !allocationContext || length == 0 { return .refuse(.invalid) }
    case .read, .cache, .disconnect:
      break
    }
    if command == .read || command == .write, length > Export.maximumBlock { return .refuse(.invalid) }
    if (offset | UInt64(length)) & 511 != 0 { return .refuse(.invalid) }
    if offset > export.size || UInt64(length) > export.size - offset {
      return .refuse(command == .write || command == .writeZeroes ? .noSpace : .invalid)
    }
    if length == 0 { return .succeed }
    if command == .read, flags & CommandFlags.df != 0, length > maximumGathered { return .refuse(.overflow) }
    return command == .cache ? .succeed : .ask
  }

  private func allowedFlags(_ command: Command, structuredReplies: Bool) -> UInt16 {
    switch command {
    case .read: structuredReplies ? CommandFlags.fua | CommandFlags.df : CommandFlags.fua
    case .writeZeroes: CommandFlags.fua | CommandFlags.noHole | CommandFlags.fastZero
    case .blockStatus: CommandFlags.fua | CommandFlags.reqOne
    case .write, .disconnect, .flush, .trim, .cache: CommandFlags.fua
    }
  }
}
