// CRC-32C, eight bytes at a time by tables. The activity log uses it raw: register starts at 0, no final complement.

public enum CRC32C {
  /// Eight tables of 256 entries, one after the other.
  private static let tables: [UInt32] = {
    var t = [UInt32](repeating: 0, count: 8 * 256)
    for i in 0..<256 {
      var c = UInt32(i)
      for _ in 0..<8 { c = c & 1 == 1 ? (c >> 1) ^ 0x82F6_3B78 : c >> 1 }
      t[i] = c
    }
    for i in 0..<256 {
      for k in 1..<8 { t[k * 256 + i] = (t[(k - 1) * 256 + i] >> 8) ^ t[Int(t[(k - 1) * 256 + i] & 255)] }
    }
    return t
  }()

  /// Advances the register over `bytes`.
  public static func raw(_ bytes: UnsafeRawBufferPointer, register: UInt32 = 0) -> UInt32 {
    tables.withUnsafeBufferPointer { t in
      var c = register
      var i = 0
      while i + 8 <= bytes.count {
        let v = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: i, as: UInt64.self)) ^ UInt64(c)
        c = t[1792 + Int(v & 255)] ^ t[1536 + Int(v >> 8 & 255)]
        c ^= t[1280 + Int(v >> 16 & 255)] ^ t[1024 + Int(v >> 24 & 255)]
        c ^= t[768 + Int(v >> 32 & 255)] ^ t[512 + Int(v >> 40 & 255)]
        c ^= t[256 + Int(v >> 48 & 255)] ^ t[Int(v >> 56)]
        i += 8
      }
      while i < bytes.count {
        c = t[Int((c ^ UInt32(bytes[i])) & 255)] ^ (c >> 8)
        i += 1
      }
      return c
    }
  }

  public static func raw(_ bytes: RawSpan, register: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBytes { raw($0, register: register) }
  }

  /// The published checksum, with complements before and after.
  public static func standard(_ bytes: RawSpan) -> UInt32 { ~raw(bytes, register: ~0) }
}
