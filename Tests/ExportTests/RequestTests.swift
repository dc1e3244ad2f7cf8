// What a client may ask, and what it is told when it may not: one test per rule.

import Base
import Testing

@testable import Export

@Suite struct RequestTests {
  @Test func flushIsAskedAndAnswered() {
    let client = Client.inTransmission()
    client.send(request(3))
    #expect(client.output == simple())
    #expect(client.asked.count == 1)
  }

  @Test func flushWithOffsetOrLengthIsInvalid() {
    let client = Client.inTransmission()
    client.send(request(3, offset: 512) + request(3, length: 512))
    #expect(client.output == simple(22) + simple(22))
  }

  @Test func trimAndZeroesCarryTheirFlags() {
    let client = Client.inTransmission()
    client.send(request(4, offset: 4096, length: 8192, flags: 1))
    client.send(request(6, offset: 4096, length: 8192, flags: 0))
    client.send(request(6, offset: 4096, length: 8192, flags: 1 | 2 | 16))
    let range = BlockRange(start: 8, bytes: 8192)
    #expect(client.asked[0] == .trim(client.asked[0].ticket, range, fua: true))
    #expect(client.asked[1] == .zero(client.asked[1].ticket, range, mayUnmap: true, fua: false, fast: false))
    #expect(client.asked[2] == .zero(client.asked[2].ticket, range, mayUnmap: false, fua: true, fast: true))
    #expect(client.output == simple() + simple() + simple())
  }

  @Test func largeTrimsAreCutAtActivityLogExtents() {
    let client = Client.inTransmission([Client.export(size: 1 << 40)])
    client.send(request(4, offset: (4 << 20) - 4096, length: (8 << 20) + 8192))
    #expect(
      client.asked.map(\.range) == [
        BlockRange(start: 8192 - 8, bytes: 4096), BlockRange(start: 8192, bytes: 4 << 20),
        BlockRange(start: 16384, bytes: 4 << 20), BlockRange(start: 24576, bytes: 4096),
      ])
    #expect(client.output == simple())
  }

  @Test func aTrimOfNearly4GiBIsOneReply() {
    let client = Client.inTransmission([Client.export(size: 1 << 40)])
    client.send(request(4, length: 0xffff_fe00))
    #expect(client.asked.count == 1024)
    #expect(client.output == simple())
  }

  @Test func cacheSucceedsWithoutAsking() {
    let client = Client.inTransmission()
    client.send(request(5, length: 4096))
    #expect(client.output == simple())
    #expect(client.asked.isEmpty)
  }

  @Test func blockStatusReportsAllocatedDataWhereNothingElseIsKnown() {
    let client = Client.inTransmission()
    client.send(request(7, offset: 4096, length: 1 << 20, flags: 8))
    #expect(client.output == chunk(5, be(UInt32(1)) + be(UInt32(1 << 20)) + be(UInt32(0))))
    #expect(client.asked.map(\.range) == [BlockRange(start: 8, bytes: 1 << 20)])
    #expect(client.isClean)
  }

  /// `kinds` in turn, 4 KiB each, from the start of the range.
  private func map(_ range: BlockRange, _ kinds: [AllocationMap.Kind]) -> AllocationMap {
    var map = AllocationMap(at: range.start.bytes)
    for (i, kind) in kinds.enumerated() {
      map.extend(kind, to: range.start.bytes + UInt64(i + 1) * 4096, isLast: i == kinds.count - 1)
    }
    return map
  }

  @Test func blockStatusTellsHolesAndZeroes() {
    for count in 1...16 {
      let kinds = (0..<count).map { [AllocationMap.Kind.hole, .data, .zeroes][$0 % 3] }
      let client = Client.inTransmission()
      client.map = { map($0, kinds) }
      client.send(request(7, offset: 8192, length: 1 << 20))
      let extents = (0..<count).flatMap { be(UInt32(4096)) + be([UInt32(3), 0, 2][$0 % 3]) }
      #expect(client.takeOutput() == chunk(5, be(UInt32(1)) + extents))
      client.send(request(7, offset: 8192, length: 1 << 20, flags: 8) + request(3))
      #expect(client.output == chunk(5, be(UInt32(1)) + be(UInt32(4096)) + be(UInt32(3))) + simple())
      #expect(client.isClean)
    }
  }

  @Test func aMapOfAnotherRangeCountsForNothing() {
    let client = Client.inTransmission()
    client.map = { _ in map(BlockRange(start: 0, bytes: 4096), [.hole]) }
    client.send(request(7, offset: 8192, length: 4096))
    client.map = { map($0, [.hole, .hole]) }
    client.send(request(7, offset: 8192, length: 4096))
    let data = chunk(5, be(UInt32(1)) + be(UInt32(4096)) + be(UInt32(0)))
    #expect(client.output == data + data)
  }

  @Test func aBlockStatusThatFailsSaysSo() {
    let client = Client.inTransmission()
    client.fault = { _ in .shutdown }
    client.send(request(7, length: 4096) + request(3))
    #expect(client.output == chunk(1 << 15 | 1, be(UInt32(108)) + be(UInt16(0))) + simple(108))
    #expect(client.isClean)
  }

  @Test func aMapRoundsToWholeBlocksInFavourOfData() {
    var map = AllocationMap(at: 0)
    map.extend(.hole, to: 5000)
    map.extend(.data, to: 9000)
    map.extend(.zeroes, to: 9100)
    map.extend(.hole, to: 20480, isLast: true)
    #expect(
      (0..<map.count).map { map[$0] } == [
        .init(kind: .hole, bytes: 4096), .init(kind: .data, bytes: 8192), .init(kind: .hole, bytes: 8192),
      ])
  }

  @Test func blockStatusWithoutNegotiationIsInvalid() {
    let client = Client.inTransmission(structured: false)
    client.send(request(7, length: 4096))
    #expect(client.output == simple(22))
  }

  @Test func pastTheEndIsInvalidForReadsAndNoSpaceForWrites() {
    let size = UInt64(8 << 20)
    for (offset, length) in [(size, UInt32(512)), (size - 512, 1024), (UInt64.max - 511, 512), (1 << 63, 512)] {
      let client = Client.inTransmission(structured: false)
      client.send(request(0, offset: offset, length: length))
      client.send(request(1, offset: offset, length: length) + pattern(Int(length)))
      client.send(request(4, offset: offset, length: length))
      client.send(request(6, offset: offset, length: length))
      client.send(request(5, offset: offset, length: length))
      #expect(client.output == simple(22) + simple(28) + simple(22) + simple(28) + simple(22))
      #expect(client.asked.isEmpty)
    }
  }

  @Test func theLastBlockCanBeReached() {
    let client = Client.inTransmission(structured: false)
    client.send(request(1, offset: (8 << 20) - 512, length: 512) + pattern(512))
    #expect(client.output == simple())
    #expect(Array(client.volume.suffix(512)) == pattern(512))
  }

  @Test func requestsThatAreNoWholeSectorsAreInvalid() {
    for (block, step) in [(UInt32(512), UInt32(1)), (4096, 256)] {
      for type in [UInt16(0), 1, 4, 5, 6] {
        let client = Client.inTransmission([Client.export(minimumBlock: block)], structured: false)
        let payload = type == 1 ? pattern(Int(block)) : []
        client.send(request(type, offset: UInt64(step), length: block) + payload)
        client.send(request(type, length: step) + (type == 1 ? pattern(Int(step)) : []))
        #expect(client.output == simple(22) + simple(22))
        #expect(client.asked.isEmpty)
      }
    }
  }

  @Test func unknownCommandsAreInvalid() {
    let client = Client.inTransmission()
    client.send(request(8) + request(4711, flags: 0xffff) + request(3))
    #expect(client.output == simple(22) + simple(22) + simple())
  }

  @Test func unknownFlagsAreInvalidAndFUAIsLegalEverywhere() {
    for type in [UInt16(0), 1, 3, 4, 5, 6, 7] {
      let client = Client.inTransmission()
      let length: UInt32 = type == 3 ? 0 : 512
      let payload = type == 1 ? pattern(512) : []
      for flag in 0..<16 {
        client.send(request(type, length: length, flags: 1 << flag) + payload)
        let legal: [Int] =
          switch type {
          case 0: [0, 2]
          case 6: [0, 1, 4]
          case 7: [0, 3]
          default: [0]
          }
        let errors = client.takeOutput()
        let refused = errors == simple(22) || errors == chunk(1 << 15 | 1, be(UInt32(22)) + be(UInt16(0)))
        #expect(refused == !legal.contains(flag), "command \(type), flag \(flag)")
      }
    }
  }

  @Test func dontFragmentNeedsStructuredReplies() {
    let client = Client.inTransmission(structured: false)
    client.send(request(0, length: 512, flags: 4))
    #expect(client.output == simple(22))
  }

  @Test func requestsOfNoLengthSucceed() {
    let client = Client.inTransmission()
    client.send(request(0))
    client.send(request(1))
    client.send(request(4))
    #expect(client.output == chunk(0, []) + simple() + simple())
    #expect(client.asked.isEmpty)
  }

  @Test func aReadOnlyExportRefusesToChange() {
    var export = Client.export()
    export.isReadOnly = true
    let client = Client.inTransmission([export])
    client.send(request(1, length: 512) + pattern(512) + request(4, length: 512) + request(6, length: 512))
    #expect(client.output == simple(1) + simple(1) + simple(1))
  }

  @Test func aWrongMagicHangsUpAtOnce() {
    let client = Client.inTransmission()
    client.send([0x25, 0x60, 0x95, 0x14])
    #expect(client.need == .hangUp(.wrongRequestMagic))
  }

  @Test func halfARequestChangesNothing() {
    let client = Client.inTransmission()
    client.send(Array(request(0, length: 512).prefix(27)))
    #expect(client.need == .bytes)
    #expect(client.isClean)
    #expect(client.output.isEmpty)
    client.send([UInt8(0)])
    #expect(client.output.isEmpty == false)
  }

  @Test func disconnectWaitsForWhatIsUnderWay() {
    let client = Client.inTransmission(structured: false)
    client.holdsWishes = true
    client.send(request(3, cookie: 1) + request(2, cookie: 2) + request(3, cookie: 3))
    #expect(client.need == .pause)
    client.answerNext()
    #expect(client.output == simple(cookie: 1))
    #expect(client.need == .hangUp(.clientLeft))
    #expect(client.asked.count == 1)
  }

  @Test func aLostRoleAnswersShutdown() {
    let client = Client.inTransmission(structured: false)
    client.session.update(Client.export(refusal: "demoted"))
    client.send(request(0, length: 512) + request(1, length: 512) + pattern(512) + request(3) + request(5, length: 512))
    #expect(client.output == simple(108) + simple(108) + simple(108) + simple(108))
    client.session.update(Client.export())
    client.output = []
    client.send(request(3))
    #expect(client.output == simple())
  }

  @Test func aGrownVolumeIsReachable() {
    let client = Client.inTransmission(structured: false, volumeBytes: 16 << 20)
    client.session.update(Client.export(size: 16 << 20))
    client.send(request(4, offset: 8 << 20, length: 8 << 20))
    #expect(client.output == simple())
  }

  @Test(arguments: [UInt32(512), 4096]) func anotherBlockSizeChangesNothingForAClient(block: UInt32) {
    let size = UInt64(8 << 20) - 512
    let client = Client.inTransmission([Client.export(size: size, minimumBlock: block)], structured: false)
    client.session.update(Client.export(size: size, minimumBlock: block ^ 0x1200))
    client.send(request(1, offset: 512, length: 512) + pattern(512))
    client.send(request(1, offset: size - 512, length: 512) + pattern(512))
    #expect(client.output == simple() + simple())
    #expect(client.need == .bytes)
  }

  @Test func theEnginesErrorIsTheReply() {
    for (error, told) in [
      (NBDError.io, UInt32(5)), (.noSpace, 28), (.shutdown, 108), (.notSupported, 5), (.overflow, 5),
    ] {
      let client = Client.inTransmission()
      client.fault = { _ in error }
      client.send(request(6, length: 512))
      #expect(client.output == simple(told))
    }
  }

  @Test func onlyAFastZeroMayBeUnsupported() {
    let client = Client.inTransmission()
    client.fault = { _ in .notSupported }
    client.send(request(6, length: 512, flags: 16))
    #expect(client.output == simple(95))
  }

  @Test func aFaultStopsTheRestOfATrim() {
    let client = Client.inTransmission([Client.export(size: 1 << 40)])
    client.holdsWishes = true
    client.send(request(4, length: 0xffff_fe00) + request(3, cookie: 9))
    #expect(client.asked.count == 256)
    client.fault = { $0.range?.start == .zero ? .io : nil }
    while !client.held.isEmpty { client.answerNext() }
    #expect(client.asked.count == 257)
    #expect(client.output == simple(5) + simple(cookie: 9))
  }

  @Test func whenTheTableIsFullNoMoreIsTaken() {
    let client = Client.inTransmission(structured: false)
    client.holdsWishes = true
    for i in 0..<200 { client.send(request(3, cookie: UInt64(i))) }
    #expect(client.held.count == 128)
    #expect(client.need == .pause)
    #expect(client.waiting.count == 72 * 28)
    client.answerNext()
    #expect(client.held.count == 128)
    while !client.held.isEmpty { client.answerNext() }
    #expect(client.output == (0..<200).flatMap { simple(cookie: UInt64($0)) })
    #expect(client.isClean)
  }

  @Test func unreadRepliesStopTheClientToo() {
    let client = Client.inTransmission(structured: false)
    client.holdsReplies = true
    for _ in 0..<500 { client.send(request(5, length: 512)) }
    #expect(client.need == .pause)
    #expect(client.waiting.count == (500 - 128) * 28)
    client.holdsReplies = false
    client.pump()
    #expect(client.output.count == 500 * 16)
  }

  @Test func ticketsNameTheirClient() {
    let client = Client.inTransmission()
    client.send(request(3) + request(3))
    #expect(client.asked.map { $0.ticket.client } == [7, 7])
    #expect(client.asked[0].ticket != client.asked[1].ticket)
  }
}
