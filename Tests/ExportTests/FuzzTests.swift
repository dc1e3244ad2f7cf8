// Hostile clients by seed: random bytes, and legal talks with bytes changed, dropped and doubled. Laws: the session never
// stops the process, what it says parses as option replies and then as replies to requests that were sent, every
// ticket is answered once, and every payload comes back.

import Base
import Testing

@testable import Export

@Suite struct FuzzTests {
  @Test(arguments: 0..<150) func randomBytesNeverHurt(seed: Int) {
    var generator = SeededGenerator(seed: UInt64(seed))
    let client = Client(limits: small)
    if generator.oneIn(2) { client.send(be(UInt32(3))) }
    for _ in 0..<50 {
      let prefix: [UInt8] =
        generator.oneIn(2) ? be(UInt64(0x4948_4156_454f_5054)) + be(UInt32(generator.below(12))) : []
      client.send(prefix + pattern(Int(generator.below(200)), seed: generator.next()))
    }
    finish(client)
  }

  @Test(arguments: 0..<300) func brokenTalksNeverHurt(seed: Int) {
    var generator = SeededGenerator(seed: UInt64(seed) + 1_000_000)
    let client = Client([Client.export(size: 4 << 20)], limits: small, volumeBytes: 4 << 20)
    client.holdsWishes = true
    client.fault = { [generator] wish in
      var chance = generator
      for _ in 0..<(wish.ticket.raw & 7) { _ = chance.next() }
      return chance.oneIn(5) ? .io : nil
    }
    // Memory comes as it likes: all of it, less, or none.
    var luck = SeededGenerator(seed: UInt64(seed) + 7)
    if generator.oneIn(2) {
      client.memory = { wanted, whole in
        if luck.oneIn(3) { return 0 }
        return whole || wanted <= 4096 || luck.oneIn(2) ? wanted : 4096
      }
    }
    var talk = be(UInt32(3)) + (generator.oneIn(2) ? option(8) : []) + option(10, metaQuery("", ["base:allocation"]))
    talk += option(generator.oneIn(2) ? 6 : 3, infoData("drbd0/0")) + option(7, infoData("drbd0/0", [3]))
    for _ in 0..<40 { talk += randomRequest(&generator) }
    if generator.oneIn(3) { talk += request(2) }
    if !generator.oneIn(3) { talk = broken(talk, &generator) }
    var at = 0
    while at < talk.count {
      let count = min(talk.count - at, Int(generator.below(generator.oneIn(3) ? 20000 : 100)) + 1)
      client.send(Array(talk[at..<at + count]))
      at += count
      while !client.held.isEmpty, generator.oneIn(2) {
        client.held.swapAt(0, Int(generator.below(UInt64(client.held.count))))
        client.answerNext()
      }
      if generator.oneIn(400) { client.close() }
    }
    finish(client)
  }

  /// Small tables, so that every limit is met.
  private var small: Limits {
    var limits = Limits()
    limits.requests = 4
    limits.pieces = 8
    limits.pieceBytes = 16 << 10
    limits.gatheredBytes = 64 << 10
    limits.payloadBytes = 96 << 10
    limits.discardBytes = 32 << 10
    limits.waitingReplies = 8
    return limits
  }

  private func randomRequest(_ generator: inout SeededGenerator) -> [UInt8] {
    let type = UInt16(generator.below(9))
    if type == 2 { return [] }
    var length = UInt32(generator.below(400)) * 512
    var offset = generator.below(9000) * 512
    if generator.oneIn(20) { length = UInt32(truncatingIfNeeded: generator.next()) & 0xf_ffff }
    if generator.oneIn(20) { offset = generator.next() }
    let flags = generator.oneIn(4) ? UInt16(generator.below(64)) : 0
    if type == 3 { (offset, length) = (0, 0) }
    return request(type, offset: offset, length: length, flags: flags, cookie: generator.next())
      + (type == 1 ? pattern(Int(length), seed: generator.next()) : [])
  }

  private func broken(_ talk: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
    var talk = talk
    for _ in 0..<(1 + generator.below(4)) {
      let at = Int(generator.below(UInt64(generator.oneIn(2) ? min(400, talk.count) : talk.count)))
      switch generator.below(4) {
      case 0: talk[at] = UInt8(truncatingIfNeeded: generator.next())
      case 1: talk[at] ^= 1 << UInt8(generator.below(8))
      case 2: talk.removeSubrange(at..<min(talk.count, at + 1 + Int(generator.below(30))))
      default: talk.insert(contentsOf: talk[at..<min(talk.count, at + 30)], at: at)
      }
    }
    return talk
  }

  private func finish(_ client: Client) {
    client.memory = { wanted, _ in wanted }
    // Every answer may make room for further pieces.
    repeat {
      while !client.held.isEmpty { client.answerNext() }
      client.pump()
    } while !client.held.isEmpty
    let ended = client.need
    client.close()
    client.pump()
    #expect(client.isClean)
    let wellFormed = isWellFormed(
      client.output, mayBreakOff: ended != .bytes && ended != .pause || !client.waiting.isEmpty)
    #expect(wellFormed)
  }

  /// Greeting, option replies, then simple replies and chunks. The data of simple replies cannot be told from heads
  /// without the requests, so those are looked for by magic number.
  private func isWellFormed(_ bytes: [UInt8], mayBreakOff: Bool) -> Bool {
    var at = 18
    guard bytes.count >= 18 else { return false }
    func number(_ offset: Int, _ count: Int) -> UInt64 {
      bytes[at + offset..<at + offset + count].reduce(0) { $0 << 8 | UInt64($1) }
    }
    while bytes.count - at >= 20, number(0, 8) == 0x3_e889_0455_65a9 {
      let length = Int(number(16, 4))
      guard bytes.count - at - 20 >= length else { return false }
      at += 20 + length
    }
    while at < bytes.count {
      guard bytes.count - at >= 16 else { return false }
      switch number(0, 4) {
      case 0x6744_6698:
        let error = number(4, 4)
        guard error == 0 || NBDError(rawValue: UInt32(error)) != nil else { return false }
        at += 16
        if error == 0 {  // data of a read, or nothing
          while at < bytes.count {
            if bytes.count - at >= 4, number(0, 4) == 0x6744_6698 || number(0, 4) == 0x668e_33ef { break }
            at += min(512, bytes.count - at)
          }
        }
      case 0x668e_33ef:
        guard bytes.count - at >= 20 else { return false }
        let (flags, type, length) = (number(4, 2), number(6, 2), Int(number(16, 4)))
        guard flags <= 1, [0, 1, 5, 1 << 15 | 1, 1 << 15 | 2].contains(type) else { return false }
        guard bytes.count - at - 20 >= length else { return mayBreakOff }
        at += 20 + length
      default:
        return false
      }
    }
    return true
  }
}
