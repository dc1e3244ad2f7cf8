// The three headers of the wire and which of them a packet gets (wire spec 2.1, 2.2). Law: until the versions are agreed
// every packet has the 8-byte h80; from version 100 on every packet has the 16-byte h100; h95 exists because h80's
// length field is too short for 64 KiB and 128 KiB blocks.
import Base

public enum HeaderKind: Sendable, CaseIterable {
  case h80
  case h95
  case h100

  /// Bytes of the header.
  public var size: Int { self == .h100 ? 16 : 8 }

  /// The version to assume before `P_CONNECTION_FEATURES` has been exchanged.
  public static let versionBeforeAgreement: UInt32 = 80

  /// At 95...99 longer packets get h95.
  static let longestInH80 = 32768

  /// What a sender uses for a packet of `length` bytes behind its header.
  public static func sending(version: UInt32, length: Int) -> HeaderKind {
    if version >= 100 { return .h100 }
    return version >= 95 && length > longestInH80 ? .h95 : .h80
  }

  /// Size of every header a receiver of this version accepts.
  public static func size(version: UInt32) -> Int { version >= 100 ? 16 : 8 }
}

/// h80: magic 4, command 2, length 2.
struct Header80: Layout, Equatable {
  static let magic: UInt32 = 0x8374_0267
  var magic = Header80.magic
  var command: UInt16 = 0
  var length: UInt16 = 0
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u32(&magic)
    walk.u16(&command)
    walk.u16(&length)
  }
}

/// h95: magic 2, command 2, length 4.
struct Header95: Layout, Equatable {
  static let magic: UInt16 = 0x835a
  var magic = Header95.magic
  var command: UInt16 = 0
  var length: UInt32 = 0
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u16(&magic)
    walk.u16(&command)
    walk.u32(&length)
  }
}

/// h100: magic 4, volume 2, command 2, length 4, pad 4. The pad is checked, unlike every other pad of the protocol.
struct Header100: Layout, Equatable {
  static let magic: UInt32 = 0x8620_ec20
  var magic = Header100.magic
  var volume: UInt16 = 0
  var command: UInt16 = 0
  var length: UInt32 = 0
  var mustBeZero: UInt32 = 0
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u32(&magic)
    walk.u16(&volume)
    walk.u16(&command)
    walk.u32(&length)
    walk.u32(&mustBeZero)
  }
}
