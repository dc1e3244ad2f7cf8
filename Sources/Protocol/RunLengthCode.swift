// The code of P_COMPRESSED_BITMAP: runs of equal bits, each as one code word of a variable-length integer code with ten
// levels (wire spec 9.3). The stream goes least significant bit first, in every byte and in every code word.

import Base

/// One level: `prefixBits` low bits with the value `prefix` name it, `dataBits` more count from `smallest`.
struct RunLevel {
  let totalBits: Int
  let prefixBits: Int
  let prefix: UInt64
  let smallest: UInt64
  var dataBits: Int { totalBits - prefixBits }
  var largest: UInt64 { smallest + (1 << UInt64(dataBits)) - 1 }

  static func level(_ number: Int) -> RunLevel {
    switch number {
    case 1: RunLevel(totalBits: 2, prefixBits: 1, prefix: 0x00, smallest: 1)
    case 2: RunLevel(totalBits: 3, prefixBits: 2, prefix: 0x01, smallest: 3)
    case 3: RunLevel(totalBits: 5, prefixBits: 3, prefix: 0x03, smallest: 5)
    case 4: RunLevel(totalBits: 7, prefixBits: 4, prefix: 0x07, smallest: 9)
    case 5: RunLevel(totalBits: 10, prefixBits: 5, prefix: 0x0f, smallest: 17)
    case 6: RunLevel(totalBits: 14, prefixBits: 6, prefix: 0x1f, smallest: 49)
    case 7: RunLevel(totalBits: 21, prefixBits: 8, prefix: 0x3f, smallest: 305)
    case 8: RunLevel(totalBits: 29, prefixBits: 8, prefix: 0x7f, smallest: 8497)
    case 9: RunLevel(totalBits: 42, prefixBits: 8, prefix: 0xbf, smallest: 2_105_649)
    default: RunLevel(totalBits: 64, prefixBits: 8, prefix: 0xff, smallest: 17_181_974_833)
    }
  }
}

/// One run as it stands in the stream.
struct CodeWord: Equatable {
  let run: UInt64
  let bits: Int
  let word: UInt64

  /// The word for a run of 1 or more.
  init(run: UInt64) {
    precondition(run > 0, "a run has at least one bit")
    var number = 1
    while number < 10, run > RunLevel.level(number).largest { number += 1 }
    let level = RunLevel.level(number)
    self.run = run
    bits = level.totalBits
    word = (run - level.smallest) << UInt64(level.prefixBits) | level.prefix
  }

  /// The word in the low bits of `next`. Every bit pattern has one.
  init(next: UInt64) {
    let ones = (~next).trailingZeroBitCount
    let number: Int
    if ones < 6 {
      number = ones + 1
    } else {
      switch next & 0xff {
      case 0x3f: number = 7
      case 0x7f: number = 8
      case 0xbf: number = 9
      default: number = 10
      }
    }
    let level = RunLevel.level(number)
    bits = level.totalBits
    word = bits == 64 ? next : next & (1 << UInt64(bits) - 1)
    run = (word >> UInt64(level.prefixBits)) + level.smallest
  }
}

/// Appends code words to at most `limit` bytes.
struct CodeWriter {
  private(set) var bytes: [UInt8]
  /// Unused bits of the last byte.
  private(set) var padBits = 0
  private let limit: Int

  init(limit: Int, after first: UInt8) {
    bytes = [first]
    bytes.reserveCapacity(limit + 1)
    self.limit = limit
  }

  /// Bytes of code, the encoding byte not counted.
  var count: Int { bytes.count - 1 }

  mutating func setEncoding(_ byte: UInt8) { bytes[0] = byte }

  /// false: the word does not fit any more; nothing is written.
  mutating func append(_ code: CodeWord) -> Bool {
    guard count * 8 - padBits + code.bits <= limit * 8 else { return false }
    var rest = code.word
    var bits = code.bits
    while bits > 0 {
      if padBits == 0 {
        bytes.append(0)
        padBits = 8
      }
      let now = min(bits, padBits)
      bytes[bytes.count - 1] |= UInt8(truncatingIfNeeded: rest & (1 << UInt64(now) - 1)) << UInt8(8 - padBits)
      rest >>= UInt64(now)
      bits -= now
      padBits -= now
    }
    return true
  }
}

/// Takes code words from the bytes behind the encoding byte of one packet.
struct CodeReader {
  private let bytes: [UInt8]
  private var position = 8
  private let end: Int

  /// `bytes` is the whole packet; the last `padBits` bits of it are no code.
  init(_ bytes: [UInt8], padBits: Int) {
    self.bytes = bytes
    end = bytes.count * 8 - padBits
  }

  var isAtEnd: Bool { position >= end }

  /// nil: the word needs more bits than are left.
  mutating func next() -> CodeWord? {
    let code = CodeWord(next: lookAhead())
    guard position + code.bits <= end else { return nil }
    position += code.bits
    return code
  }

  /// The next 64 bits; missing ones read as 0.
  private func lookAhead() -> UInt64 {
    var value: UInt64 = 0
    let first = position >> 3
    let skew = UInt64(position & 7)
    for i in 0..<9 where first + i < bytes.count {
      let byte = UInt64(bytes[first + i])
      value |= i == 0 ? byte >> skew : byte << (UInt64(i) * 8 - skew)
    }
    let left = end - position
    return left < 64 ? value & (1 << UInt64(left) - 1) : value
  }
}
