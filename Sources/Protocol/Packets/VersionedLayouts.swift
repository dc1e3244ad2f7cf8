// The two packets whose length depends on version and features, and fixed-size names. As with every layout the order of
// the calls is the order on the wire, for reading and writing alike.
import Base

extension Sizes {
  /// `withLimits`: FF_WSAME is agreed.
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W, withLimits: Bool) {
    walk.u64(&backing)
    walk.u64(&userLimit)
    walk.u64(&current)
    walk.u32(&maxRequest)
    walk.u16(&queueOrder)
    walk.u16(&resizeFlags)
    guard withLimits else { return }
    walk.u32(&limits.physicalBlock)
    walk.u32(&limits.logicalBlock)
    walk.u32(&limits.alignmentOffset)
    walk.u32(&limits.ioMin)
    walk.u32(&limits.ioOpt)
    walk.u8(&limits.discardEnabled)
    walk.u8(&limits.discardZeroesData)
    walk.u8(&limits.writeSameCapable)
    walk.pad(1)
  }
}

/// P_SYNC_PARAM89 as it stands on the wire, names and all.
struct SyncParametersLayout {
  var parameters = SyncParameters()
  var verify = PaddedName()
  var checksum = PaddedName()

  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W, version: UInt32) {
    walk.u32(&parameters.resyncRate)
    guard version >= 89 else { return }
    verify.fields(&walk)
    checksum.fields(&walk)
    guard version >= 95 else { return }
    walk.u32(&parameters.planAhead)
    walk.u32(&parameters.delayTarget)
    walk.u32(&parameters.fillTarget)
    walk.u32(&parameters.maxRate)
  }
}

/// A name in 64 bytes, NUL-padded; the last byte is always NUL.
struct PaddedName: Layout {
  static let longest = 63
  var bytes = InlineArray<64, UInt8>(repeating: 0)

  init() {}
  init(_ name: String) {
    precondition(name.utf8.count <= Self.longest, "name too long for the wire")
    var i = 0
    for byte in name.utf8 {
      bytes[i] = byte
      i += 1
    }
  }

  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    for i in bytes.indices { walk.u8(&bytes[i]) }
  }

  /// nil: not a name.
  var name: String? { wireName(count: bytes.count) { bytes[$0] } }
}

/// The name in front of the first NUL; nil without a NUL or with bytes no algorithm's name has.
func wireName(count: Int, at byte: (Int) -> UInt8) -> String? {
  var name = ""
  for i in 0..<count {
    let next = byte(i)
    if next == 0 { return name }
    guard (0x21...0x7e).contains(next) else { return nil }
    name.unicodeScalars.append(Unicode.Scalar(next))
  }
  return nil
}
