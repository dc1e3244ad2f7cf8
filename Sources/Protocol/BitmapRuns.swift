// A whole bitmap over the wire, in both directions (wire spec 9.3): plain chunks, run-length code, or both mixed. Sender
// and receiver keep a position in bits and one in words, in step with the other node. One call handles one packet, so a
// turn stays short. The bitmap is an array of 64-bit words: bit b is bit b % 64 of word b / 64.
//
// The sender follows the kernel's rule, so that equal bitmaps give equal bytes, with one addition: a packet describes at
// most 2^26 bits (256 GiB), because looking through more takes too long for one turn.
import Base

/// How far a transfer has come.
struct BitmapPosition: Equatable, Sendable {
  let bits: UInt64
  var bit: UInt64 = 0
  var word: UInt64 = 0

  init(bits: UInt64) { self.bits = bits }

  var words: UInt64 { (bits + 63) / 64 }

  /// Words of the next plain chunk.
  func chunk(version: UInt32) -> Int {
    let room = UInt64((PacketRow.longestBufferedPacket - HeaderKind.size(version: version)) / 8)
    return Int(min(room, words - word))
  }

  mutating func passPlain(_ count: Int) {
    word += UInt64(count)
    bit = min(word * 64, bits)
  }

  mutating func passRuns(to end: UInt64) {
    bit = end
    word = end / 64
  }
}

public struct BitmapSender: Equatable, Sendable {
  private var position: BitmapPosition
  public private(set) var isComplete = false

  /// Bits described by one compressed packet at most.
  static let longestScan: UInt64 = 1 << 26

  public init(bits: UInt64) { position = BitmapPosition(bits: bits) }

  public var bits: UInt64 { position.bits }
  /// Bits sent so far.
  public var bit: UInt64 { position.bit }

  /// The next packet of the transfer; nil when it is complete. `words` may change between calls. Bits behind the last
  /// one are not sent, whatever `words` holds there (K21).
  public mutating func nextPacket(words: UnsafeBufferPointer<UInt64>, useRLE: Bool, version: UInt32) -> Packet? {
    precondition(UInt64(words.count) >= position.words, "bitmap is shorter than its bits")
    if isComplete { return nil }
    if useRLE, version >= 90, position.bit < position.bits, let packet = compressed(words, version) {
      isComplete = position.bit == position.bits
      return packet
    }
    let count = position.chunk(version: version)
    let chunk = plain(words, from: Int(position.word), count: count)
    position.passPlain(count)
    isComplete = count == 0
    return .bitmap(chunk)
  }

  /// nil: the code would be longer than the bits it stands for; the transfer goes on with a plain chunk at the last word
  /// boundary.
  private mutating func compressed(_ words: UnsafeBufferPointer<UInt64>, _ version: UInt32) -> Packet? {
    let limit = PacketRow.longestBufferedPacket - HeaderKind.size(version: version) - 1
    let start = position.bit
    let end = min(position.bits, start + Self.longestScan)
    let startsSet = words[Int(start / 64)] >> (start % 64) & 1 != 0
    var code = CodeWriter(limit: limit, after: 0)
    var bit = start
    var set = startsSet
    while bit < end {
      let next = words.next(set: !set, from: bit, end: end)
      guard code.append(CodeWord(run: next - bit)) else { break }
      bit = next
      set.toggle()
    }
    guard bit - start >= UInt64(code.count * 8) else {
      position.passRuns(to: start / 64 * 64)
      return nil
    }
    code.setEncoding((startsSet ? 0x80 : 0) | UInt8(code.padBits) << 4 | BitmapReceiver.runLengthEncoding)
    position.passRuns(to: bit)
    return .compressedBitmap(code.bytes)
  }

  private func plain(_ words: UnsafeBufferPointer<UInt64>, from first: Int, count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count * 8) { buffer, initialized in
      let raw = UnsafeMutableRawBufferPointer(buffer)
      for i in 0..<count {
        var word = words[first + i]
        let behind = UInt64(first + i + 1) * 64
        if behind > position.bits { word &= ~0 >> (behind - position.bits) }
        raw.storeBytes(of: word.littleEndian, toByteOffset: i * 8, as: UInt64.self)
      }
      initialized = count * 8
    }
  }
}

public struct BitmapReceiver: Equatable, Sendable {
  private var position: BitmapPosition
  public private(set) var isComplete = false
  /// Bits that were clear before and are set now.
  public private(set) var newlySet: UInt64 = 0

  static let runLengthEncoding: UInt8 = 2

  public init(bits: UInt64) { position = BitmapPosition(bits: bits) }

  public var bits: UInt64 { position.bits }
  /// Bits received so far.
  public var bit: UInt64 { position.bit }

  /// ORs one `bitmap` or `compressedBitmap` packet into `words`; true when it was the last. A violation may leave part of
  /// the packet's bits set: that only means more to resync.
  public mutating func receive(
    _ packet: Packet, into words: UnsafeMutableBufferPointer<UInt64>, version: UInt32
  ) throws(ProtocolViolation) -> Bool {
    precondition(UInt64(words.count) >= position.words, "bitmap is shorter than its bits")
    guard !isComplete else { throw bad(packet, "more bits than the bitmap has") }
    switch packet {
    case .bitmap(let bytes): try receivePlain(packet, bytes, words, version)
    case .compressedBitmap(let bytes): try receiveRuns(packet, bytes, words)
    default: preconditionFailure("not a bitmap packet")
    }
    return isComplete
  }

  private func bad(_ packet: Packet, _ problem: String) -> ProtocolViolation {
    .badField(packet: packet.name, problem: problem, on: .data)
  }

  private mutating func receivePlain(
    _ packet: Packet, _ bytes: [UInt8], _ words: UnsafeMutableBufferPointer<UInt64>, _ version: UInt32
  ) throws(ProtocolViolation) {
    let count = position.chunk(version: version)
    guard bytes.count == count * 8 else {
      throw bad(packet, "a chunk of \(bytes.count) bytes where \(count * 8) are due")
    }
    bytes.withUnsafeBytes { raw in
      for i in 0..<count {
        let first = UInt64(Int(position.word) + i) * 64
        let word = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: i * 8, as: UInt64.self))
        merge(word, valid: min(64, position.bits - first), into: &words[Int(first / 64)])
      }
    }
    position.passPlain(count)
    isComplete = count == 0
  }

  private mutating func receiveRuns(
    _ packet: Packet, _ bytes: [UInt8], _ words: UnsafeMutableBufferPointer<UInt64>
  ) throws(ProtocolViolation) {
    guard bytes.count > 1 else { throw bad(packet, "no code") }
    guard bytes[0] & 0x0f == Self.runLengthEncoding else {
      throw bad(packet, "the unknown encoding \(bytes[0] & 0x0f)")
    }
    var code = CodeReader(bytes, padBits: Int(bytes[0] >> 4 & 7))
    var set = bytes[0] & 0x80 != 0
    var bit = position.bit
    while !code.isAtEnd {
      guard let run = code.next()?.run else { throw bad(packet, "a code word that is cut off") }
      guard run <= position.bits - bit else { throw bad(packet, "a run beyond the end of the bitmap") }
      if set { setBits(bit..<(bit + run), in: words) }
      bit += run
      set.toggle()
    }
    position.passRuns(to: bit)
    isComplete = bit == position.bits
  }

  /// Bits from `valid` up are not part of the bitmap.
  private mutating func merge(_ bits: UInt64, valid: UInt64, into word: inout UInt64) {
    let new = bits & (valid == 64 ? ~0 : 1 << valid - 1) & ~word
    newlySet += UInt64(new.nonzeroBitCount)
    word |= new
  }

  private mutating func setBits(_ range: Range<UInt64>, in words: UnsafeMutableBufferPointer<UInt64>) {
    var bit = range.lowerBound
    while bit < range.upperBound {
      let shift = bit % 64
      let count = min(64 - shift, range.upperBound - bit)
      let mask: UInt64 = (count == 64 ? ~0 : 1 << count - 1) << shift
      merge(mask, valid: 64, into: &words[Int(bit / 64)])
      bit += count
    }
  }
}

extension UnsafeBufferPointer<UInt64> {
  /// The first bit of that value at or after `start`; `end` if there is none before it.
  fileprivate func next(set: Bool, from start: UInt64, end: UInt64) -> UInt64 {
    let flip: UInt64 = set ? 0 : ~0
    var index = Int(start / 64)
    var word = (self[index] ^ flip) & (~0 << (start % 64))
    while word == 0 {
      index += 1
      guard UInt64(index) * 64 < end else { return end }
      word = self[index] ^ flip
    }
    return Swift.min(end, UInt64(index) * 64 + UInt64(word.trailingZeroBitCount))
  }
}
