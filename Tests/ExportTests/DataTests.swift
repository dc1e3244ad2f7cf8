// Reads and writes: how they are cut, held and put together again, and where their payload goes.

import Base
import Testing

@testable import Export

@Suite struct DataTests {
  private func filled(structured: Bool, limits: Limits = Limits(), bytes: Int = 8 << 20) -> Client {
    let client = Client.inTransmission(
      [Client.export(size: UInt64(bytes))], structured: structured, limits: limits, volumeBytes: bytes)
    client.volume = pattern(bytes)
    return client
  }

  // MARK: Reads

  @Test func aSmallReadIsOneReply() {
    let client = filled(structured: false)
    client.send(request(0, offset: 4096, length: 4096))
    #expect(client.output == simple() + client.volume[4096..<8192])
    #expect(client.pool.isEmpty)
  }

  @Test func aSmallStructuredReadIsOneChunk() {
    let client = filled(structured: true)
    client.send(request(0, offset: 4096, length: 4096))
    #expect(client.output == chunk(1, be(UInt64(4096)) + client.volume[4096..<8192]))
  }

  @Test func aLargeStructuredReadIsAChunkPerPieceInAnyOrder() {
    let client = filled(structured: true)
    client.holdsWishes = true
    client.send(request(0, offset: (1 << 20) - 4096, length: (1 << 20) + 8192))
    #expect(
      client.held.map(\.range) == [
        BlockRange(start: 2048 - 8, bytes: 4096), BlockRange(start: 2048, bytes: 1 << 20),
        BlockRange(start: 4096, bytes: 4096),
      ])
    client.held.swapAt(0, 2)
    client.answerNext()
    #expect(
      client.takeOutput() == chunk(1, be(UInt64(2 << 20)) + client.volume[2 << 20..<(2 << 20) + 4096], done: false))
    client.answerNext()
    #expect(client.takeOutput() == chunk(1, be(UInt64(1 << 20)) + client.volume[1 << 20..<2 << 20], done: false))
    client.answerNext()
    let first = (1 << 20) - 4096
    #expect(client.takeOutput() == chunk(1, be(UInt64(first)) + client.volume[first..<1 << 20]))
    #expect(client.isClean)
  }

  @Test func aFaultInAStructuredReadIsAChunkWithItsOffset() {
    let client = filled(structured: true)
    client.fault = { $0.range?.start == Sector(2048) ? .io : nil }
    // All three pieces are asked for before the fault is known: behind one nothing more is cut.
    client.holdsWishes = true
    client.send(request(0, length: 3 << 20))
    while !client.held.isEmpty { client.answerNext() }
    let mib = 1 << 20
    let expected =
      chunk(1, be(UInt64(0)) + client.volume[0..<mib], done: false)
      + chunk(1 << 15 | 2, be(UInt32(5)) + be(UInt16(0)) + be(UInt64(mib)), done: false)
      + chunk(1, be(UInt64(2 * mib)) + client.volume[2 * mib..<3 * mib])
    // Compared outside of the macro, which would look for the differences of megabytes for hours.
    let isExpected = client.output == expected
    #expect(isExpected, "\(client.output.count) bytes of \(expected.count), beginning with \(client.output.prefix(48))")
    #expect(client.isClean)
  }

  @Test func aSimpleReadUpTo4MiBIsHeldUntilAllIsThere() {
    let client = filled(structured: false)
    client.holdsWishes = true
    client.send(request(0, offset: 512, length: 4 << 20))
    #expect(client.held.count == 5)
    client.held.reverse()
    for _ in 0..<4 { client.answerNext() }
    #expect(client.output.isEmpty)
    client.answerNext()
    #expect(client.output == simple() + client.volume[512..<512 + (4 << 20)])
    #expect(client.isClean)
  }

  @Test func aFaultInAHeldReadIsAnErrorAndGivesThePayloadBack() {
    for structured in [false, true] {
      let client = filled(structured: structured)
      client.holdsWishes = true
      client.send(request(0, length: 3 << 20, flags: structured ? 4 : 0) + request(3, cookie: 5))
      client.fault = { $0.range?.start == Sector(2048) ? .io : nil }
      while !client.held.isEmpty { client.answerNext() }
      let error = structured ? chunk(1 << 15 | 1, be(UInt32(5)) + be(UInt16(0))) : simple(5)
      #expect(client.output == error + simple(cookie: 5))
      #expect(client.isClean)
    }
  }

  @Test func dontFragmentGivesOneChunkOrOverflow() {
    let client = filled(structured: true)
    client.send(request(0, offset: (1 << 20) - 512, length: 65536, flags: 4))
    let start = (1 << 20) - 512
    #expect(client.takeOutput() == chunk(1, be(UInt64(start)) + client.volume[start..<start + 65536]))
    client.send(request(0, length: 5 << 20, flags: 4))
    #expect(client.takeOutput() == chunk(1 << 15 | 1, be(UInt32(75)) + be(UInt16(0))))
  }

  @Test func aSimpleReadOf32MiBStreamsInOrder() {
    let client = filled(structured: false, bytes: 33 << 20)
    client.holdsWishes = true
    client.send(request(0, offset: 512, length: 32 << 20))
    #expect(client.held.count == 8)  // 8 MiB of payload at a time
    client.held.swapAt(0, 1)
    client.answerNext()
    #expect(client.output.isEmpty)
    while !client.held.isEmpty { client.answerNext() }
    #expect(client.output == simple() + client.volume[512..<512 + (32 << 20)])
    #expect(client.asked.count == 33)
    #expect(client.isClean)
  }

  @Test func nothingComesBetweenThePiecesOfAStreamedRead() {
    let client = filled(structured: false)
    client.holdsWishes = true
    client.send(request(3, cookie: 1) + request(0, length: 8 << 20) + request(3, cookie: 2))
    #expect(client.held.count == 1)  // the read waits for what came before
    client.answerNext()
    #expect(client.takeOutput() == simple(cookie: 1))
    #expect(client.held.count == 8)
    while client.held.count > 1 { client.answerNext() }
    #expect(client.need == .pause)  // and what comes behind waits for the read
    client.answerNext()
    while !client.held.isEmpty { client.answerNext() }
    let expected = simple() + client.volume[0..<8 << 20] + simple(cookie: 2)
    #expect(client.takeOutput() == expected)
  }

  @Test func aStreamedReadThatFailsBeforeItsHeadIsAnError() {
    let client = filled(structured: false)
    client.holdsWishes = true
    client.send(request(0, length: 8 << 20) + request(3, cookie: 5))
    client.fault = { $0.range?.start == .zero ? .io : nil }
    while !client.held.isEmpty { client.answerNext() }
    #expect(client.output == simple(5) + simple(cookie: 5))
    #expect(client.isClean)
  }

  @Test func aStreamedReadThatFailsLaterHangsUp() {
    let client = filled(structured: false)
    client.fault = { $0.range?.start == Sector(4096) ? .io : nil }
    client.send(request(0, length: 8 << 20) + request(3))
    #expect(client.need == .hangUp(.lateReadFault))
    client.close()
    client.pump()
    #expect(client.isClean)
    #expect(client.output == simple() + client.volume[0..<2 << 20])
  }

  @Test func aReadOver32MiBIsInvalid() {
    let client = Client.inTransmission([Client.export(size: 1 << 40)], structured: false)
    client.send(request(0, length: (32 << 20) + 512))
    #expect(client.output == simple(22))
  }

  @Test func payloadThatIsNotSentHoldsNewReadsBack() {
    let client = filled(structured: true)
    client.holdsReplies = true
    for _ in 0..<4 { client.send(request(0, length: 4 << 20)) }
    #expect(client.pool.count == 8)
    #expect(client.need == .pause)
    client.holdsReplies = false
    client.pump()
    #expect(client.asked.count == 16)
    #expect(client.isClean)
  }

  // MARK: Writes

  @Test func aWriteIsAskedWithItsPayload() {
    let client = Client.inTransmission()
    let data = pattern(4096)
    client.send(request(1, offset: 8192, length: 4096, flags: 1) + data)
    #expect(client.output == simple())
    #expect(Array(client.volume[8192..<12288]) == data)
    guard case .write(_, BlockRange(start: 16, bytes: 4096), _, fua: true) = client.asked[0] else {
      Issue.record("not the write that was sent: \(client.asked[0])")
      return
    }
  }

  @Test func aLargeWriteIsCutAtMebibytesOfTheVolume() {
    let client = Client.inTransmission()
    let data = pattern((2 << 20) + 4096)
    client.send(request(1, offset: (1 << 20) - 4096, length: UInt32(data.count)) + data)
    #expect(
      client.asked.map { $0.range?.bytes } == [4096, 1 << 20, 1 << 20])
    #expect(Array(client.volume[(1 << 20) - 4096..<3 << 20]) == data)
    #expect(client.output == simple())
  }

  @Test func theFirstFaultOfAWriteIsItsReplyAndTheRestIsStillTaken() {
    let client = Client.inTransmission()
    client.fault = { $0.range?.start == Sector(2048) ? .noSpace : $0.range?.start == Sector(4096) ? .io : nil }
    client.send(request(1, length: 4 << 20) + pattern(4 << 20) + request(3, cookie: 5))
    #expect(client.output == simple(28) + simple(cookie: 5))
    #expect(client.isClean)
  }

  @Test func theReplyToAWriteWaitsForAllPieces() {
    let client = Client.inTransmission()
    client.holdsWishes = true
    client.send(request(1, length: 2 << 20) + pattern(2 << 20))
    client.held.swapAt(0, 1)
    client.answerNext()
    #expect(client.output.isEmpty)
    client.answerNext()
    #expect(client.output == simple())
  }

  @Test func aWriteOver32MiBIsDrainedAndInvalid() {
    let client = Client.inTransmission([Client.export(size: 1 << 40)])
    client.send(request(1, length: (32 << 20) + 512))
    #expect(client.need == .drain((32 << 20) + 512))
    let rest = [UInt8](repeating: 1, count: 1 << 20)
    for _ in 0..<32 { client.send(rest) }
    #expect(client.output.isEmpty)
    client.send([UInt8](repeating: 1, count: 512) + request(3, cookie: 5))
    #expect(client.output == simple(22) + simple(cookie: 5))
  }

  @Test func writesWithoutRoomWaitWithTheirPayloadUnread() {
    let client = Client.inTransmission()
    client.holdsWishes = true
    client.send(request(1, length: 8 << 20) + pattern(8 << 20) + request(1, length: 4096) + pattern(4096))
    #expect(client.held.count == 8)
    #expect(client.need == .pause)
    #expect(client.waiting.count == 4096)
    client.answerNext()
    #expect(client.held.count == 8)
    while !client.held.isEmpty { client.answerNext() }
    #expect(client.output == simple() + simple())
  }

  @Test func aPayloadThatNeverComesHoldsNothingElse() {
    let client = Client.inTransmission()
    client.send(request(1, length: 2 << 20) + pattern(1000))
    #expect(client.asked.isEmpty && client.output.isEmpty)
    client.close()
    #expect(client.isClean)
  }

  // MARK: The end

  @Test func closingGivesEveryPayloadBackAndWaitsForAnswers() {
    let client = filled(structured: false)
    client.holdsWishes = true
    client.holdsReplies = true
    client.send(request(0, length: 2 << 20) + request(0, length: 4096) + request(1, length: 4096) + pattern(4096))
    client.send(request(0, length: 3 << 20))
    let (late, sent) = (client.held[1], client.held[2])
    client.answer(client.held[0])  // half of a held read
    client.answer(sent)  // in the outbox
    client.held = client.held.filter { $0 != sent && $0 != client.asked[0] }
    client.close()
    #expect(client.need == .hangUp(.closed))
    #expect(!client.isClean)
    while !client.held.isEmpty { client.answerNext() }
    #expect(late.ticket != sent.ticket)
    #expect(client.isClean)
    #expect(client.output.isEmpty)
  }
}
