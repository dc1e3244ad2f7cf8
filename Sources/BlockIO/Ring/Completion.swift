// What goes down with a request and comes back with its result. The tag is the caller's: a kind in the top byte, so that
// the reactor's switch is one shift, and 56 bits of its own below.

import Base

public struct Tag: Hashable, Sendable {
  public let raw: UInt64
  @inline(__always) init(raw: UInt64) { self.raw = raw }

  /// Kind 255 is the ring's own.
  @inline(__always) public init(kind: UInt8, _ payload: UInt64 = 0) {
    precondition(kind != 255 && payload >> 56 == 0, "tag out of range")
    raw = UInt64(kind) << 56 | payload
  }

  /// Carries a slot handle: 24 bits of index, 32 of generation.
  @inline(__always) public init(kind: UInt8, slot: SlotID) {
    self.init(kind: kind, (slot.raw >> 32) << 24 | slot.raw & 0xff_ffff)
  }

  @inline(__always) public var kind: UInt8 { UInt8(truncatingIfNeeded: raw >> 56) }
  @inline(__always) public var payload: UInt64 { raw & 0x00ff_ffff_ffff_ffff }
  @inline(__always) public var slot: SlotID { SlotID(raw: (payload >> 24) << 32 | payload & 0xff_ffff) }
}

public struct Completion: Equatable, Sendable {
  public let tag: Tag
  /// Bytes moved, a new descriptor, poll events ... or a negated error number.
  public let result: Int32
  public let flags: UInt32

  /// The error, when there was one.
  @inline(__always) public var fault: Errno? { result < 0 ? Errno(-result) : nil }
}
