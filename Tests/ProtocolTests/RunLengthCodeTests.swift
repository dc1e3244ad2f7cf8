// The code words of the wire specification 9.3, and that every run comes back as it went in.
import Base
import Testing

@testable import Protocol

@Suite("Run-length code")
struct RunLengthCodeTests {
  static let vectors: [(run: UInt64, word: UInt64, bits: Int)] = [
    (1, 0x0, 2), (2, 0x2, 2), (3, 0x1, 3), (4, 0x5, 3), (5, 0x3, 5), (8, 0x1b, 5), (9, 0x7, 7), (16, 0x77, 7),
    (17, 0xf, 10), (48, 0x3ef, 10), (49, 0x1f, 14), (256, 0x33df, 14), (304, 0x3fdf, 14), (305, 0x3f, 21),
    (8496, 0x1f_ff3f, 21), (8497, 0x7f, 29), (2_105_648, 0x1fff_ff7f, 29), (2_105_649, 0xbf, 42),
    (17_181_974_833, 0xff, 64),
  ]

  @Test("every vector of the specification", arguments: Self.vectors)
  func codeWords(run: UInt64, word: UInt64, bits: Int) {
    let code = CodeWord(run: run)
    #expect(code.word == word)
    #expect(code.bits == bits)
    #expect(CodeWord(next: word) == code)
    // What follows in the stream does not matter.
    if bits < 64 { #expect(CodeWord(next: word | ~0 << UInt64(bits)) == code) }
  }

  @Test("the levels join without a gap and end where the specification says")
  func levels() {
    for number in 2...10 {
      #expect(RunLevel.level(number).smallest == RunLevel.level(number - 1).largest + 1)
    }
    #expect(RunLevel.level(9).largest == 17_181_974_832)
    #expect(RunLevel.level(10).largest == 72_057_611_219_902_768)
  }

  @Test("random runs come back in order and the pad is counted")
  func roundTrip() {
    var random = SeededGenerator(seed: 9)
    for _ in 0..<300 {
      var writer = CodeWriter(limit: 200, after: 0)
      var written: [UInt64] = []
      while true {
        let run = random.next() >> (8 + random.below(56)) | 1
        guard writer.append(CodeWord(run: run)) else { break }
        written.append(run)
      }
      #expect(writer.count <= 200)
      #expect(writer.count * 8 - writer.padBits == written.map { CodeWord(run: $0).bits }.reduce(0, +))
      var reader = CodeReader(writer.bytes, padBits: writer.padBits)
      var read: [UInt64] = []
      while !reader.isAtEnd { read.append(reader.next()!.run) }
      #expect(read == written)
    }
  }

  @Test("a word that is cut off is no word")
  func cutOff() {
    // 0xff starts a word of 64 bits; only 16 are there.
    var reader = CodeReader([0, 0xff, 0x00], padBits: 0)
    #expect(reader.next() == nil)
  }
}
