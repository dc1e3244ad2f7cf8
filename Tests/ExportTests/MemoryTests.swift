// What a session does when there is less memory than it asks for: nothing that has memory waits behind what has none,
// requests are cut shorter, and a read that cannot be held whole is sent as it comes.

import Base
import Testing

@testable import Export

@Suite struct MemoryTests {
  private func filled(structured: Bool, bytes: Int = 8 << 20) -> Client {
    let client = Client.inTransmission(
      [Client.export(size: UInt64(bytes))], structured: structured, volumeBytes: bytes)
    client.volume = pattern(bytes)
    return client
  }

  @Test func aReadWithoutMemoryLetsNoWriteTakeSome() {
    let client = filled(structured: true)
    client.memory = { _, _ in 0 }
    client.send(request(0, length: 4096, cookie: 1) + request(1, length: 4096, cookie: 2) + pattern(4096))
    #expect(client.asked.isEmpty && client.pool.isEmpty)
    #expect(client.need == .memory(4096, whole: false))
    client.memory = { wanted, _ in wanted }
    client.pump()
    #expect(client.asked.count == 2)
    #expect(client.isClean)
  }

  @Test func whatHasMemoryIsNotHeldUpByWhatHasNone() {
    let client = filled(structured: true)
    client.memory = { [unowned client] wanted, _ in client.asked.count == 2 ? 0 : wanted }
    client.send(request(1, length: 4096, cookie: 1) + pattern(4096))
    client.send(request(1, length: 4096, cookie: 2) + pattern(4096) + request(0, length: 4096, cookie: 3))
    #expect(client.output == simple(cookie: 1) + simple(cookie: 2))
    #expect(client.pool.isEmpty)
  }

  @Test(arguments: [4096, 65536, 262_144] as [UInt32]) func shortMemoryCutsShorterPieces(_ bytes: UInt32) {
    let client = filled(structured: true)
    client.memory = { wanted, whole in whole ? 0 : min(wanted, bytes) }
    let data = pattern(1 << 20, seed: 2)
    client.send(request(1, offset: 512, length: 1 << 20) + data)
    #expect(client.output == simple())
    #expect(Array(client.volume[512..<512 + (1 << 20)]) == data)
    #expect(client.asked.allSatisfy { ($0.range?.bytes ?? 0) <= UInt64(bytes) })
    // All but the last end where a block of the bitmap does.
    #expect(client.asked.dropLast().allSatisfy { ($0.range?.end.value ?? 1) % 8 == 0 })
    client.output = []
    client.send(request(0, offset: 1536, length: 300 << 10))
    var got = [UInt8](repeating: 0, count: 300 << 10)
    var at = 0
    while at < client.output.count {
      func number(_ from: Int, _ count: Int) -> Int {
        client.output[at + from..<at + from + count].reduce(0) { $0 << 8 | Int($1) }
      }
      let count = number(16, 4) - 8
      let offset = number(20, 8) - 1536
      got.replaceSubrange(offset..<offset + count, with: client.output[at + 28..<at + 28 + count])
      at += 28 + count
    }
    #expect(got == Array(client.volume[1536..<1536 + (300 << 10)]))
    #expect(client.isClean)
  }

  @Test func aReadThatCannotBeHeldWholeIsSentAsItComes() {
    for structured in [false, true] {
      let client = filled(structured: structured)
      client.memory = { wanted, whole in whole ? 0 : min(wanted, 65536) }
      client.send(request(0, length: 1 << 20, flags: structured ? 4 : 0) + request(3, cookie: 5))
      let head = structured ? be(UInt32(0x668e_33ef)) + be(UInt16(1)) + be(UInt16(1)) : simple()
      #expect(client.output.starts(with: head))
      let data = Array(client.volume[0..<1 << 20])
      #expect(client.output.dropLast(16).suffix(1 << 20) == data[...])
      #expect(client.output.suffix(16) == simple(cookie: 5)[...])
      #expect(client.asked.count == 17)
      #expect(client.isClean)
    }
  }

  @Test func aReadIsHeldForAsLongAsMemoryOfItsClientMayComeBack() {
    let client = filled(structured: false)
    client.holdsWishes = true
    client.send(request(0, length: 4096, cookie: 1))
    client.memory = { wanted, whole in whole ? 0 : wanted }
    client.send(request(0, length: 3 << 20, cookie: 2))
    // The first one is under way: its memory comes back.
    #expect(client.need == .memory(1 << 20, whole: true))
    #expect(client.held.count == 1)
    client.holdsReplies = true
    client.answerNext()
    #expect(client.need == .memory(1 << 20, whole: true))
    client.holdsReplies = false
    client.pump()
    #expect(client.held.count == 3)
    while !client.held.isEmpty { client.answerNext() }
    let expected = simple(cookie: 1) + client.volume[0..<4096] + simple(cookie: 2) + client.volume[0..<3 << 20]
    #expect(client.output == expected)
    #expect(client.isClean)
  }

  @Test func piecesThatAreHeldAlreadyGoOutFirst() {
    let client = filled(structured: false)
    client.holdsWishes = true
    client.memory = { [unowned client] wanted, whole in whole && client.held.count == 2 ? 0 : whole ? wanted : 65536 }
    client.send(request(0, length: 3 << 20))
    // Two of three pieces had memory; the third is asked for in parts.
    #expect(client.held.count >= 2)
    while !client.held.isEmpty { client.answerNext() }
    #expect(client.output == simple() + client.volume[0..<3 << 20])
    #expect(client.isClean)
  }

  @Test func theEndOfAClientThatWaitsForMemory() {
    let client = filled(structured: true)
    client.holdsWishes = true
    client.send(request(0, length: 4096, cookie: 1))
    client.memory = { _, _ in 0 }
    client.send(request(1, length: 4096, cookie: 2) + pattern(4096))
    client.close()
    #expect(!client.isClean)
    client.answerNext()
    #expect(client.isClean)
  }
}
