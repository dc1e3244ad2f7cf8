// Node ids that the file leaves out (admin spec 2.5). Version 9 metadata stores them, so the rule must give the numbers
// that DRBD's own tools give, on both nodes.

enum NodeNumber {
  static let highest = 31

  /// Ids of two hosts from the text of their addresses, without port. Nil when the two cannot be told apart.
  static func ofPair(_ first: String, _ second: String) -> (first: Int, second: Int)? {
    let a = Int32(bitPattern: fingerprint(of: first))
    let b = Int32(bitPattern: fingerprint(of: second))
    if a == b { return nil }
    return a > b ? (0, 1) : (1, 0)
  }

  /// CRC-32C, reflected, without the final complement.
  static func fingerprint(of text: String) -> UInt32 {
    var crc: UInt32 = 0x1a65_6f21
    for byte in text.utf8 {
      crc ^= UInt32(byte)
      for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
    }
    return crc
  }
}
