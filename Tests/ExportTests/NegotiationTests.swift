// The handshake, option by option.

import Base
import Testing

@testable import Export

private let greeting = be(UInt64(0x4e42_444d_4147_4943)) + be(UInt64(0x4948_4156_454f_5054)) + be(UInt16(3))
private let structuredFlags: UInt16 = 0b1101_1110_1101  // DF, fast zero, cache, multi-conn, zeroes, trim, FUA, flush
private let simpleFlags: UInt16 = 0b1101_0110_1101

@Suite struct NegotiationTests {
  /// A client behind the greeting, its output empty.
  private func negotiating(_ exports: [Export] = [Client.export()], flags: UInt32 = 3) -> Client {
    let client = Client(exports)
    client.send(be(flags))
    client.output = []
    return client
  }

  private let secondary = Client.export(
    refusal: Export.secondaryRefusal(resource: "drbd0", volume: VolumeNumber(0)))

  @Test func theServerGreetsFirst() {
    #expect(Client().output == greeting)
  }

  @Test func goAnswersSizeFlagsAndBlockSizesAndEntersTransmission() {
    let client = negotiating()
    client.send(option(7, infoData("drbd0/0")))
    #expect(
      optionAnswers(client.output) == [
        OptionAnswer(option: 7, type: 3, data: be(UInt16(0)) + be(UInt64(8 << 20)) + be(simpleFlags)),
        OptionAnswer(
          option: 7, type: 3, data: be(UInt16(3)) + be(UInt32(512)) + be(UInt32(4096)) + be(UInt32(32 << 20))),
        OptionAnswer(option: 7, type: 1, data: []),
      ])
    #expect(client.volumeInUse == VolumeNumber(0))
  }

  @Test func infoAnswersTheSameAndStaysInTheHandshake() {
    let client = negotiating()
    client.send(option(8))
    client.output = []
    client.send(option(6, infoData("", [3, 1])))
    let answers = optionAnswers(client.output)
    #expect(answers?.count == 4)
    #expect(answers?[0].data == be(UInt16(0)) + be(UInt64(8 << 20)) + be(structuredFlags))
    #expect(answers?[2].data == be(UInt16(1)) + Array("drbd0/0".utf8))
    #expect(client.volumeInUse == nil)
  }

  @Test func aDeviceWithLargeBlocksAnnouncesThemAndIsRoundedDown() {
    let client = negotiating([Client.export(size: (8 << 20) + 512, minimumBlock: 4096)])
    client.send(option(7, infoData("")))
    let answers = optionAnswers(client.output)
    #expect(answers?[0].data == be(UInt16(0)) + be(UInt64(8 << 20)) + be(simpleFlags))
    #expect(answers?[1].data == be(UInt16(3)) + be(UInt32(4096)) + be(UInt32(4096)) + be(UInt32(32 << 20)))
  }

  @Test func discardsAreOfferedWhereTheyGiveRoomBack() {
    let client = negotiating([Client.export(offersTrim: false)])
    client.send(option(7, infoData("")))
    #expect(optionAnswers(client.output)?[0].data == be(UInt16(0)) + be(UInt64(8 << 20)) + be(simpleFlags & ~(1 << 5)))
    // A client that sends one all the same is served.
    client.output = []
    client.send(request(4, length: 4096))
    #expect(client.output == simple())
  }

  @Test func listNamesEveryExport() {
    let other = Export(volume: VolumeNumber(1), name: "drbd0/1", size: 1 << 20)
    let client = negotiating([secondary, other])
    client.send(option(3))
    #expect(
      optionAnswers(client.output) == [
        OptionAnswer(option: 3, type: 2, data: text("drbd0/0")),
        OptionAnswer(option: 3, type: 2, data: text("drbd0/1")),
        OptionAnswer(option: 3, type: 1, data: []),
      ])
  }

  @Test func listWithDataIsInvalid() {
    let client = negotiating()
    client.send(option(3, [0]))
    #expect(optionAnswers(client.output)?.map(\.type) == [1 << 31 | 3])
  }

  @Test func exportNameEntersTransmissionWithoutZeroes() {
    let client = negotiating()
    client.send(option(1, Array("drbd0/0".utf8)))
    #expect(client.output == be(UInt64(8 << 20)) + be(simpleFlags))
    #expect(client.volumeInUse == VolumeNumber(0))
  }

  @Test func exportNameSends124ZeroesToAClientThatWantsThem() {
    let client = negotiating(flags: 1)
    client.send(option(1))
    #expect(client.output == be(UInt64(8 << 20)) + be(simpleFlags) + [UInt8](repeating: 0, count: 124))
  }

  @Test func exportNameOfAnUnknownExportHangsUp() {
    let client = negotiating()
    client.send(option(1, Array("nothing".utf8)))
    #expect(client.need == .hangUp(.exportRefused))
    #expect(client.output.isEmpty)
  }

  @Test func goForAnUnknownExportIsRefusedAndTheTalkGoesOn() {
    let client = negotiating()
    client.send(option(7, infoData("nothing")) + option(3))
    #expect(optionAnswers(client.output)?.map(\.type) == [1 << 31 | 6, 2, 1])
  }

  @Test(arguments: [UInt32(6), 7]) func aSecondaryRefusesWithASentence(number: UInt32) {
    let client = negotiating([secondary])
    client.send(option(number, infoData("")))
    let answers = optionAnswers(client.output)
    #expect(answers?.map(\.type) == [1 << 31 | 2])
    #expect(
      answers?.first?.text
        == "drbd0/0 is Secondary on this node: promote it first (repladm primary drbd0)")
    #expect(client.volumeInUse == nil)
    #expect(client.need == .bytes)
  }

  @Test func aSecondaryHangsUpOnExportName() {
    let client = negotiating([secondary])
    client.send(option(1))
    #expect(client.need == .hangUp(.exportRefused))
  }

  @Test func aPromotionDuringTheHandshakeCounts() {
    let client = negotiating([secondary])
    client.session.update(Client.export())
    client.send(option(7, infoData("")))
    #expect(client.volumeInUse == VolumeNumber(0))
  }

  @Test func structuredRepliesAreAcknowledged() {
    let client = negotiating()
    client.send(option(8) + option(8, [1]))
    #expect(optionAnswers(client.output)?.map(\.type) == [1, 1 << 31 | 3])
  }

  @Test func metaContextsNeedStructuredReplies() {
    let client = negotiating()
    client.send(option(9, metaQuery("", [])))
    #expect(optionAnswers(client.output)?.map(\.type) == [1 << 31 | 3])
  }

  @Test func listMetaContextKnowsBaseAllocation() {
    let client = negotiating()
    client.send(option(8))
    client.output = []
    for queries in [[], ["base:"], ["x:y", "base:allocation"]] {
      client.send(option(9, metaQuery("drbd0/0", queries)))
      let answers = optionAnswers(client.takeOutput())
      #expect(answers?.map(\.type) == [4, 1])
      #expect(answers?.first?.data.dropFirst(4).elementsEqual("base:allocation".utf8) == true)
    }
    client.send(option(9, metaQuery("drbd0/0", ["qemu:dirty-bitmap:x"])))
    #expect(optionAnswers(client.takeOutput())?.map(\.type) == [1])
  }

  @Test func setMetaContextSelectsBaseAllocationForItsExportOnly() {
    let other = Export(volume: VolumeNumber(1), name: "drbd0/1", size: 1 << 20)
    for (name, works) in [("drbd0/0", true), ("drbd0/1", false)] {
      let client = negotiating([Client.export(), other])
      client.send(option(8) + option(10, metaQuery("drbd0/0", ["base:allocation"])) + option(7, infoData(name)))
      client.output = []
      client.send(request(7, length: 4096))
      #expect(
        client.output
          == (works
            ? chunk(5, be(UInt32(1)) + be(UInt32(4096)) + be(UInt32(0)))
            : chunk(1 << 15 | 1, be(UInt32(22)) + be(UInt16(0)))))
    }
  }

  @Test func aLaterFailedSetMetaContextClearsTheSelection() {
    let client = negotiating()
    client.send(
      option(8) + option(10, metaQuery("", ["base:allocation"])) + option(10, metaQuery("nothing", ["base:allocation"]))
        + option(7, infoData("")))
    client.output = []
    client.send(request(7, length: 4096))
    #expect(client.output == chunk(1 << 15 | 1, be(UInt32(22)) + be(UInt16(0))))
  }

  @Test(arguments: [UInt32(4), 5, 11, 999]) func unknownOptionsAreUnsupportedAndTheirDataSkipped(number: UInt32) {
    let client = negotiating()
    client.send(option(number, pattern(5000)) + option(3))
    #expect(optionAnswers(client.output)?.map(\.type) == [1 << 31 | 1, 2, 1])
  }

  @Test func abortIsAcknowledgedThenTheServerLeaves() {
    let client = negotiating()
    client.send(option(2))
    #expect(optionAnswers(client.output)?.map(\.type) == [1])
    #expect(client.need == .hangUp(.clientLeft))
  }

  @Test func anOptionOver64KiBIsRefusedAndEnds() {
    let client = negotiating()
    client.send(be(UInt64(0x4948_4156_454f_5054)) + be(UInt32(7)) + be(UInt32(65537)))
    #expect(optionAnswers(client.output)?.map(\.type) == [1 << 31 | 9])
    #expect(client.need == .hangUp(.optionTooLong))
  }

  @Test func anOptionOver16KiBIsRefusedAndTheTalkGoesOn() {
    let client = negotiating()
    client.send(option(7, pattern(20000)) + option(3))
    #expect(optionAnswers(client.output)?.map(\.type) == [1 << 31 | 9, 2, 1])
  }

  @Test func lengthsThatDoNotAddUpAreInvalid() {
    let bad: [[UInt8]] = [
      [], [0, 0], be(UInt32(5)), be(UInt32(0xffff_ffff)) + be(UInt16(0)), text("drbd0/0"),
      text("drbd0/0") + be(UInt16(2)) + be(UInt16(3)), infoData("drbd0/0") + [0], be(UInt32(4097)) + pattern(4099),
    ]
    for data in bad {
      let client = negotiating()
      client.send(option(7, data) + option(3))
      #expect(optionAnswers(client.output)?.map(\.type) == [1 << 31 | 3, 2, 1])
    }
  }

  @Test func metaQueriesThatDoNotAddUpAreInvalid() {
    let bad: [[UInt8]] = [
      [], text(""), text("") + be(UInt32(0xffff_ffff)), metaQuery("", ["base:allocation"]) + [0],
      text("") + be(UInt32(1)) + be(UInt32(100)) + [1],
    ]
    for data in bad {
      let client = negotiating()
      client.send(option(8))
      client.output = []
      client.send(option(10, data))
      #expect(optionAnswers(client.output)?.map(\.type) == [1 << 31 | 3])
    }
  }

  @Test func unknownClientFlagsHangUp() {
    let client = Client()
    client.send(be(UInt32(4)))
    #expect(client.need == .hangUp(.unknownClientFlags))
  }

  @Test func aWrongOptionMagicHangsUp() {
    let client = negotiating()
    client.send(be(UInt64(1)) + be(UInt32(3)) + be(UInt32(0)))
    #expect(client.need == .hangUp(.wrongOptionMagic))
  }

  @Test func withoutFixedNewstyleOnlyExportNameIsLegal() {
    let client = negotiating(flags: 0)
    client.send(option(3))
    #expect(client.need == .hangUp(.optionNeedsFixedNewstyle))
    let old = negotiating(flags: 0)
    old.send(option(1))
    #expect(old.volumeInUse == VolumeNumber(0))
  }

  @Test func endlessOptionsEnd() {
    let client = negotiating()
    for _ in 0..<256 { client.send(option(3)) }
    #expect(client.need == .bytes)
    client.send(option(3))
    #expect(client.need == .hangUp(.tooManyOptions))
  }

  @Test func byteByByteIsTheSameTalk() {
    let talk =
      be(UInt32(3)) + option(8) + option(999, [1, 2, 3]) + option(10, metaQuery("", ["base:allocation"]))
      + option(7, infoData(""))
    let whole = Client()
    whole.send(talk)
    let slow = Client()
    for byte in talk { slow.send([byte]) }
    #expect(slow.output == whole.output)
    #expect(slow.volumeInUse == VolumeNumber(0))
    #expect(slow.waiting.isEmpty)
  }

  @Test func aClientThatDoesNotReadIsNotReadFromEither() {
    let exports = (0..<40).map { Export(volume: VolumeNumber($0), name: "r/\($0)", size: 1 << 20) }
    let client = Client(exports)
    client.holdsReplies = true
    client.send(be(UInt32(3)))
    for _ in 0..<100 { client.send(option(3)) }
    #expect(client.need == .pause)
    #expect(client.waiting.count > 80 * 16)
    client.holdsReplies = false
    client.pump()
    #expect(client.waiting.isEmpty)
  }
}
