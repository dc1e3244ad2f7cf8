// The client's side of the transmission phase: bytes as the NBD protocol has them.
import Base
import Export
import Testing

@Suite struct ClientHeads {
  private func bytes(_ ask: ClientAsk) -> [UInt8] {
    var head = [UInt8](repeating: 0xee, count: ClientAsk.headBytes)
    head.withUnsafeMutableBytes {
      ask.writeHead(cookie: 0x0102_0304_0506_0708, offset: 0x1122_3344_5566_7788, length: 0x99aa_bbcc, to: $0)
    }
    return head
  }

  @Test(
    arguments: [
      (ClientAsk.read, 0, 0), (.write, 0, 1), (.disconnect, 0, 2), (.flush, 0, 3),
      (.zero(mayUnmap: true, fast: false), 0, 6), (.zero(mayUnmap: false, fast: false), 2, 6),
      (.zero(mayUnmap: true, fast: true), 16, 6),
    ] as [(ClientAsk, UInt8, UInt8)])
  func aRequestIsWrittenAsTheProtocolHasIt(_ ask: ClientAsk, _ flags: UInt8, _ type: UInt8) {
    // The cookie is ours alone, and comes back as it went.
    let cookie: [UInt8] = [8, 7, 6, 5, 4, 3, 2, 1]
    #expect(
      bytes(ask) == [0x25, 0x60, 0x95, 0x13, 0, flags, 0, type] + cookie
        + [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc])
  }

  private func answer(_ bytes: [UInt8]) -> SimpleAnswer? { SimpleAnswer(reading: bytes.span.bytes) }

  @Test func anAnswerIsRead() {
    let good: [UInt8] = [0x67, 0x44, 0x66, 0x98, 0, 0, 0, 28, 8, 7, 6, 5, 4, 3, 2, 1]
    let read = answer(good)
    #expect(read?.error == 28 && read?.cookie == 0x0102_0304_0506_0708)
    #expect(answer(Array(good.dropLast())) == nil)
    #expect(answer([0x68] + Array(good.dropFirst())) == nil)
  }
}
