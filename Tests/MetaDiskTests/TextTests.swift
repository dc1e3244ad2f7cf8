// Metadata as text: dumps equal to DRBD's and read back, generation identifiers, conversions, and what create-md finds.
import Base
import MetaDisk
import Testing

@Suite struct DumpTests {
  static func dump(_ opened: OpenedImage) -> String {
    let dump = MetaDump(superblock: opened.superblock, placement: opened.placement)
    let area = opened.image.read(opened.placement.bitmapOffset, Int(dump.bitmapBytes))
    var text = ""
    dump.write(bitmapArea: area.span.bytes, to: &text)
    return text
  }

  /// drbdmeta 9.22 prints constant flags for v08 and does not know `members`.
  static func inWordsOf922(_ text: String, _ format: MetaFormat) -> String {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    lines.removeAll { $0.hasPrefix("members ") }
    if format == .v08, let at = lines.firstIndex(where: { $0.hasPrefix("    flags ") }) {
      lines[at] = "    flags 0x00000000;"
    }
    return lines.joined(separator: "\n")
  }

  @Test(arguments: Fixture.all)
  func aDumpIsTheTextDrbdmetaPrints(_ fixture: Fixture) throws {
    let opened = try OpenedImage(fixture.image(), fixture.location)
    #expect(try Self.inWordsOf922(Self.dump(opened), fixture.format) == fixture.text(".dump"))
  }

  @Test(arguments: Fixture.all)
  func aCleanDumpIsReadBackAndAnUncleanOneIsRefused(_ fixture: Fixture) throws {
    let opened = try OpenedImage(fixture.image(), fixture.location)
    let text = MetaDump.header(date: "today", epoch: 1, host: "here", command: "dump-md") + Self.dump(opened)
    guard opened.superblock.isClean else {
      do {
        _ = try DumpedMetadata(text: text)
        Issue.record("accepted")
      } catch {
        guard case .dumpSyntax(8, let expected) = error else { throw error }
        #expect(expected.contains("clean"))
      }
      return
    }
    let read = try DumpedMetadata(text: text)
    let placement = try read.placement(location: fixture.location, deviceBytes: opened.image.size)
    #expect(placement == opened.placement)
    var (superblock, truncated) = read.restored(at: placement, dataDeviceBytes: 1 << 50)
    #expect(truncated == nil)
    superblock.alExtents = opened.superblock.alExtents
    #expect(superblock == opened.superblock)
    var restored = OpenedImage(creating: fixture.format, placement)
    restored.store(read.bitmap(sectors: superblock.effectiveSize))
    var kept = OpenedImage(creating: fixture.format, placement)
    kept.superblock = superblock
    kept.store(opened.bitmap())
    #expect(restored.image == kept.image)
  }

  @Test func aSizeThatDoesNotFitIsCut() throws {
    let opened = try OpenedImage(Fixture(name: "v09-int-1g-p2-pop").image(), .internal)
    let read = try DumpedMetadata(text: Self.dump(opened))
    let smaller = try read.placement(location: .internal, deviceBytes: 64 << 20)
    let (superblock, truncated) = read.restored(at: smaller, dataDeviceBytes: 64 << 20)
    #expect(superblock.effectiveSize == SectorCount(130_992) && truncated == opened.superblock.effectiveSize)
    let bitmap = read.bitmap(sectors: superblock.effectiveSize)
    check(bitmap.setCount == 6 + 3201 && bitmap.bits == 16374)
  }

  @Test func sizesOfAllFormatsStayInTheirWindow() throws {
    // Long runs over several of the tool's read windows, in all slots.
    for peers: UInt32 in [1, 3] {
      var opened = OpenedImage(
        creating: .v09, try Placement(location: .internal, deviceBytes: 40 << 30, peers: peers))
      opened.superblock.effectiveSize = opened.placement.usableSectors(dataDeviceBytes: 40 << 30)
      var bitmap = opened.bitmap()
      bitmap.setInAllSlots(1_000_000..<9_000_000)
      opened.store(bitmap)
      let read = try DumpedMetadata(text: Self.dump(opened))
      check(read.bitmap(sectors: opened.superblock.effectiveSize).setCount == 8_000_000)
    }
  }

  @Test(arguments: ["v08-int-64m-pop", "v09-int-64m-p2"])
  func everyDamagedDumpIsRefusedWithALineOrReadsAsSomething(_ name: String) throws {
    let opened = try OpenedImage(Fixture(name: name).image(), .internal)
    let text = Array(Self.dump(opened).utf8)
    let lines = text.count { $0 == UInt8(ascii: "\n") }
    var random = SeededGenerator(seed: 12)
    for _ in 0..<300 {
      var damaged = text
      switch random.below(3) {
      case 0: damaged.removeSubrange(Int(random.below(UInt64(text.count)))...)
      case 1: damaged[Int(random.below(UInt64(text.count)))] = UInt8(32 + random.below(90))
      default:
        let at = Int(random.below(UInt64(text.count - 20)))
        damaged.removeSubrange(at..<at + 1 + Int(random.below(19)))
      }
      do {
        let read = try DumpedMetadata(text: String(decoding: damaged, as: UTF8.self))
        _ = read.bitmap(sectors: opened.superblock.effectiveSize)
      } catch {
        guard case .dumpSyntax(let line, _) = error else { throw error }
        #expect((1...lines + 1).contains(line))
      }
    }
  }

  @Test func aRepetitionThatWouldFillTheMemoryIsRefused() throws {
    let opened = try OpenedImage(Fixture(name: "v08-int-64m-pop").image(), .internal)
    for count in ["9223372036854775807", "100000", "0", "-1"] {
      let text = Self.dump(opened).replacing("8 times", with: "\(count) times")
      #expect(throws: MetaFault.self) { try DumpedMetadata(text: text) }
    }
  }
}

@Suite struct GenerationTextTests {
  @Test func freshMetadataHasTheKnownLines() throws {
    let eight = try SuperblockTests.fresh(.v08)
    let zeros = "0000000000000000:0000000000000000:0000000000000000"
    #expect(eight.generationLine(peerNode: 0) == "0000000000000004:\(zeros):0:0:0:0:0:0:0")
    let nine = try SuperblockTests.fresh(.v09)
    #expect(nine.generationLine(peerNode: 1) == "0000000000000004:\(zeros):0:0:0:0:1:0:0:0:0:0:0:0")
    #expect(nine.diskState == .inconsistent)
  }

  @Test(arguments: MetaFormat.allCases)
  func whatGetGiPrintsSetGiTakes(_ format: MetaFormat) throws {
    var random = SeededGenerator(seed: 9)
    for _ in 0..<200 {
      var sb = try SuperblockTests.fresh(format)
      let flags = (0..<(format == .v08 ? 7 : 12)).map { _ in random.oneIn(2) ? "1" : "0" }
      let uuids = (0..<4).map { _ in
        let digits = String(random.next(), radix: 16, uppercase: true)
        return String(repeating: "0", count: 16 - digits.count) + digits
      }
      let line = (uuids + flags).joined(separator: ":")
      try sb.setGenerations(line: line, peerNode: 3)
      #expect(sb.generationLine(peerNode: 3) == line)
      #expect(sb.generationLegend(peerNode: 3).contains("\n" + line + "\n"))
      if format == .v09 { #expect(sb.generationLine(peerNode: 2) != line) }
    }
  }

  @Test func setGiKeepsEmptyFieldsAndMayStopEarly() throws {
    var sb = try SuperblockTests.fresh(.v08)
    try sb.setGenerations(line: "5EC0DE::22:", peerNode: 0)
    #expect(sb.current == 0x5EC0DE && sb.history[0] == 0x22 && sb.history[1] == 0)
    try sb.setGenerations(line: ":::::1", peerNode: 0)
    #expect(sb.current == 0x5EC0DE && sb.flags == [.wasUpToDate, .alClean])
  }

  @Test(arguments: ["xyz", "1:2:3:4:2", "1:2:3:4:0:0:0:0:0:0:0:0", "11111111111111111", "+1", "1:2:3:4:01"])
  func setGiRefusesWhatIsNoList(_ line: String) throws {
    var sb = try SuperblockTests.fresh(.v08)
    let before = sb
    #expect(throws: MetaFault.self) { try sb.setGenerations(line: line, peerNode: 0) }
    #expect(sb == before)
  }

  @Test func theLegendPointsAtItsFields() throws {
    let text = try SuperblockTests.fresh(.v09).generationLegend(peerNode: 1)
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { Array($0) }
    let carets = try #require(lines.first { $0.last == "^" })
    let legend = lines.filter { $0.contains(">") && $0.starts(with: " ") && $0.contains("-") && $0.contains("+") }
    #expect(legend.count == 4 + 12)
    for (i, line) in legend.dropFirst(4).enumerated() { #expect(line[68 + 2 * i] == "+" && carets[68 + 2 * i] == "^") }
    #expect(text.hasSuffix("zero size device -- never seen peer yet?\n"))
  }

  @Test func theSummaryNamesSizeAndState() throws {
    var sb = try SuperblockTests.fresh(.v08)
    sb.effectiveSize = SectorCount(130_992)
    sb.flags = [.consistent, .wasUpToDate, .primaryIndicator, .connectedIndicator]
    sb.unclean = true
    #expect(
      sb.generationLegend(peerNode: 0).hasSuffix(
        """
        flags: Primary, Connected, UpToDate
        meta-data: need apply-al
        last agreed size: 64 MB (130992 sectors)
        last agreed max bio size: 0 Byte

        """))
  }

  @Test func dstateFollowsTheFlags() throws {
    var sb = try SuperblockTests.fresh(.v08)
    sb.flags = [.consistent]
    #expect(sb.diskState == .outdated)
    sb.flags = [.consistent, .wasUpToDate]
    #expect(sb.diskState == .consistent)
    sb.flags.insert(.peerOutdated)
    #expect(sb.diskState == .upToDate)
    #expect(sb.outdate() && sb.diskState == .outdated)
    sb.invalidate()
    #expect(sb.diskState == .inconsistent && sb.flags.contains(.fullSync) && !sb.outdate())
  }
}

@Suite struct ConversionTests {
  @Test func thereAndBackLosesNothing() throws {
    for name in ["v08-int-64m-pop", "v08-int-odd-pop", "v08-kernel-6-applied"] {
      let sb = try OpenedImage(Fixture(name: name).image(), .internal).superblock
      let nine = try sb.converted(to: .v09, ownNode: 1, peerNode: 0)
      #expect(nine.generationLine(peerNode: 0).hasPrefix(sb.generationLine(peerNode: 0).prefix(67)))
      #expect(nine.bitmapSlot(peerNode: 0) == 0 && nine.nodeID == 1 && nine.isClean)
      #expect(nine.peerFlags(peerNode: 0) == sb.peerFlags(peerNode: 0))
      let block = bytes(4096, nine.write)
      #expect(try Superblock(reading: block.span.bytes) == nine)
      #expect(
        try Placement(
          superblock: nine, location: .internal, deviceBytes: name.contains("odd") ? 1_000_000_512 : 64 << 20
        ).peers == 1)
      #expect(try nine.converted(to: .v08, ownNode: 1, peerNode: 0) == sb)
    }
  }

  @Test func whatTheOtherFormatCannotHoldIsRefused() throws {
    let unclean = try OpenedImage(Fixture(name: "v08-kernel-5-powercut").image(), .internal).superblock
    #expect(throws: MetaFault.unclean) { try unclean.converted(to: .v09, ownNode: 0, peerNode: 1) }
    let two = try SuperblockTests.fresh(.v09, peers: 2)
    #expect(throws: MetaFault.self) { try two.converted(to: .v08, ownNode: 0, peerNode: 1) }
    var other = try SuperblockTests.fresh(.v09)
    try other.assignBitmapSlot(peerNode: 5)
    #expect(throws: MetaFault.self) { try other.converted(to: .v08, ownNode: 0, peerNode: 1) }
    #expect(try other.converted(to: .v08, ownNode: 0, peerNode: 5).format == .v08)
    let eight = try SuperblockTests.fresh(.v08)
    #expect(throws: MetaFault.self) { try eight.converted(to: .v09, ownNode: 3, peerNode: 3) }
  }

  @Test func aForgottenPeerGivesItsSlotBack() throws {
    var sb = try SuperblockTests.fresh(.v09)
    try sb.assignBitmapSlot(peerNode: 2)
    sb.peers[31].bitmapUUID = 0x77
    sb.forget(peerNode: 2)
    #expect(sb.bitmapSlot(peerNode: 2) == nil && sb.peers[2].bitmapUUID == 0x77)
    #expect(try sb.assignBitmapSlot(peerNode: 4) == 0)
  }
}

@Suite struct ExistingDataTests {
  static func start(_ parts: [(Int, [UInt8])]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: ExistingData.examinedBytes)
    for (at, part) in parts { bytes.replaceSubrange(at..<at + part.count, with: part) }
    return bytes
  }

  static let cases: [(String, [(Int, [UInt8])], UInt64?)] = [
    ("nothing", [], nil),
    ("swap space signature", [(4086, Array("SWAPSPACE2".utf8))], nil),
    ("swap space signature", [(8182, Array("SWAP-SPACE".utf8))], nil),
    ("LVM2 physical volume signature", [(0x218, Array("LVM2 001".utf8))], nil),
    ("ext3 filesystem", [(0x404, [0, 0, 1, 0]), (0x438, [0x53, 0xEF]), (0x45C, [0x3C])], 64 << 20),
    ("ext2 filesystem", [(0x404, [0, 0, 1, 0]), (0x418, [2]), (0x438, [0x53, 0xEF])], 256 << 20),
    ("xfs filesystem", [(0, Array("XFSB".utf8) + [0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x40, 0])], 64 << 20),
    ("xfs filesystem", [(0, Array("XFSB".utf8) + [0xFF, 0, 0x10, 0, 0xFF, 0, 0, 0, 0, 0, 0x40, 0])], .max),
    ("JFS filesystem", [(0x8000, Array("JFS1".utf8)), (0x8008, [0, 0x40]), (0x8018, [0, 0x10])], 64 << 20),
    (
      "reiser filesystem", [(0x10000, [0, 0x40]), (0x1002C, [0, 0x10]), (0x10034, Array("ReIsEr2Fs".utf8))], 64 << 20
    ),
    ("some data", [(5, [1])], nil),
  ]

  @Test func whatStandsAtTheStartIsNamedWithItsSize() {
    for (name, parts, used) in Self.cases {
      let bytes = Self.start(parts)
      let found = ExistingData(examining: bytes.span.bytes)
      #expect(found.kind.name == name && found.usedBytes == used)
    }
  }

  @Test func aFileSystemThatReachesIntoTheMetadataIsRefused() throws {
    let bytes = Self.start(Self.cases[4].1)
    let found = ExistingData(examining: bytes.span.bytes)
    let usable = try Placement(location: .internal, deviceBytes: 64 << 20).usableSectors(dataDeviceBytes: 64 << 20)
    #expect(found.verdict(location: .internal, usable: usable) == .truncates)
    #expect(found.verdict(location: .internal, usable: SectorCount(bytes: 64 << 20)) == .ask)
    #expect(found.verdict(location: .external, usable: usable) == .refuse)
    let nothing = Self.start([])
    #expect(ExistingData(examining: nothing.span.bytes).verdict(location: .external, usable: usable) == .free)
  }
}
