// Every image in Tests/Fixtures/metadata, made or judged by DRBD's own tools and kernels, read and written back.
import Base
import MetaDisk
import Testing

@Suite struct GoldenTests {
  @Test func allFiftyImagesAreThere() { #expect(Fixture.all.count == 50) }

  @Test(arguments: Fixture.all)
  func aSuperblockIsReadPlacedAndWrittenBackUnchanged(_ fixture: Fixture) throws {
    let opened = try OpenedImage(fixture.image(), fixture.location)
    #expect(opened.superblock.format == fixture.format)
    let block = opened.image.read(opened.placement.superblockOffset, 4096)
    #expect(bytes(4096, opened.superblock.write) == block)
    let computed = try Placement(
      location: fixture.location, deviceBytes: opened.image.size, peers: opened.superblock.maxPeers,
      alStripes: opened.superblock.alStripes, alStripeSize4k: opened.superblock.alStripeSize4k)
    #expect(computed == opened.placement)
  }

  @Test(
    arguments: Fixture.all.filter {
      !$0.name.contains("pop") && !$0.name.contains("al-") && !$0.name.contains("kernel")
    })
  func createMetadataGivesTheSameImage(_ fixture: Fixture) throws {
    let opened = try OpenedImage(fixture.image(), fixture.location)
    #expect(OpenedImage(creating: fixture.format, opened.placement).image == opened.image)
    #expect(opened.superblock.isClean)
  }

  @Test(arguments: Fixture.all.filter { $0.name.hasSuffix("-before") || $0.name.contains("kernel") })
  func theActivityLogNamesTheSameExtents(_ fixture: Fixture) throws {
    let opened = try OpenedImage(fixture.image(), fixture.location)
    let outcome = try opened.replay()
    var text = "valid \(outcome.validBlocks) updates \(outcome.updateBlocks)\n"
    for entry in outcome.entries { text += "slot \(entry.slot) extent \(entry.extent.value)\n" }
    let name = fixture.name.hasSuffix("-before") ? String(fixture.name.dropLast(7)) : fixture.name
    #expect(try text == Fixture(name: name).text(".active"))
  }

  @Test(arguments: Fixture.all.filter { $0.name.hasSuffix("-before") || $0.name == "v08-kernel-5-powercut" })
  func applyingTheLogGivesTheImageDrbdmetaLeft(_ fixture: Fixture) throws {
    let kernel = fixture.name.contains("kernel")
    let name = kernel ? "v08-kernel-6-applied" : fixture.name.dropLast(7) + "-after"
    var applied = try OpenedImage(fixture.image(), fixture.location)
    #expect(!applied.superblock.isClean)
    let outcome = try applied.replay()
    let plan = try ActivityLogApplication(superblock: applied.superblock, replay: .success(outcome))
    let added = try applied.applyActivityLog()
    var expected = try OpenedImage(Fixture(name: name).image(), fixture.location)
    // Two rules of our own: padding bits stay 0, and a damaged first block does not stay.
    let bitmap = expected.bitmap()
    expected.store(bitmap)
    if plan.initializesLog { expected.initializeLog() }
    #expect(applied.image == expected.image)
    #expect(applied.superblock.isClean && expected.superblock == applied.superblock)
    // drbdmeta counts padding bits too, where the last extent is marked.
    let reachesEnd = plan.marked.contains { $0.firstBit.value + 1024 > applied.superblock.effectiveSize.bits }
    if !kernel, !reachesEnd {
      var text = plan.corruptBlocks > 0 ? "\(plan.corruptBlocks) corrupt AL transactions found\n" : ""
      if outcome.updateBlocks > 0 { text += ActivityLogApplication.describe(newlySet: added) + "\n" }
      #expect(try text == Fixture(name: String(fixture.name.dropLast(7))).text(".apply-al"))
    }
  }

  @Test func theNinePowerCutGivesWhatDrbdadmLeftExceptMembers() throws {
    var applied = try OpenedImage(Fixture(name: "v09-kernel-5-powercut").image(), .internal)
    _ = try applied.applyActivityLog()
    // drbdmeta 9.22 zeroes this field; we keep it.
    #expect(applied.superblock.members != 0)
    applied.superblock.members = 0
    applied.storeSuperblock()
    #expect(try applied.image == Fixture(name: "v09-kernel-6-applied").image())
  }

  @Test(arguments: Fixture.all)
  func aBitmapIsReadAndWrittenBackUnchangedButForPadding(_ fixture: Fixture) throws {
    let opened = try OpenedImage(fixture.image(), fixture.location)
    let slots = Int(opened.superblock.maxPeers)
    let bits = opened.superblock.effectiveSize.bits
    for slot in 0..<slots {
      let bitmap = opened.bitmap(slot: slot)
      #expect(bitmap.setCount == bitmap.count(in: 0..<bits))
      for page in 0..<bitmap.pageCount {
        let stored = opened.image.read(opened.placement.bitmapOffset + UInt64(page) * 4096, 4096)
        let written = render(bitmap, page)
        for i in 0..<1024 where stored[i * 4..<i * 4 + 4] != written[i * 4..<i * 4 + 4] {
          // The last valid bit of that slot lies before the end of this word.
          let word = (UInt64(page) * 1024 + UInt64(i)) / UInt64(slots)
          #expect((word + 1) * 32 > bits)
        }
      }
    }
  }
}
