// Where metadata of a grown device go, over sampled geometries: never onto data in use, and never onto what still counts.
import Base
import MetaDisk
import Testing

@Suite struct MetadataMoveTests {
  private func placement(_ bytes: UInt64, _ random: inout SeededGenerator) throws(MetaFault) -> Placement {
    let isOrdinary = random.below(2) == 0
    return try Placement(
      location: .internal, deviceBytes: bytes, peers: UInt32(1 + random.below(31)),
      alStripes: isOrdinary ? 1 : UInt32(1 + random.below(8)),
      alStripeSize4k: isOrdinary ? 8 : UInt32(8 + random.below(64)))
  }

  @Test func theNewPlaceLiesBehindTheDataAndTheSealTouchesNothingOfTheOldPlace() throws {
    var random = SeededGenerator(seed: 7)
    var overlapping = 0
    for _ in 0..<20000 {
      let bytes = (64 << 20) + random.below(1 << (20 + random.below(20)))
      let old = try placement(bytes, &random)
      let growth = 1 + random.below(1 << (9 + random.below(30)))
      let size = old.usableSectors(dataDeviceBytes: bytes)
      let move = try MetadataMove(of: old, to: bytes + growth, keeping: size)
      #expect(move.new.bitmapOffset >= size.bytes / 4096 * 4096)
      #expect(move.new.usableSectors(dataDeviceBytes: bytes + growth) >= size)
      let end = old.superblockOffset + 4096
      // The seal is a block of its own, or takes the place of the old superblock in one write.
      #expect(move.new.superblockOffset >= end || move.new.superblockOffset == old.superblockOffset)
      if move.logIsClear { #expect(move.new.activityLogOffset >= end) }
      if move.freesSuperblock { #expect(move.new.bitmapOffset >= end) } else { overlapping += 1 }
      #expect(move.freed.lowerBound * 4096 == old.bitmapOffset)
      #expect(move.freed.upperBound * 4096 <= max(move.new.bitmapOffset, old.bitmapOffset))
      #expect(
        move.isNothing
          == (move.new.superblockOffset == old.superblockOffset && move.new.bitmapOffset == old.bitmapOffset))
    }
    #expect(overlapping > 1000 && overlapping < 19000)
  }

  @Test func aSmallerDeviceIsRefused() throws {
    let old = try Placement(location: .internal, deviceBytes: 64 << 20)
    #expect(throws: MetaFault.self) { try MetadataMove(of: old, to: 63 << 20, keeping: SectorCount(8)) }
    #expect(throws: MetaFault.self) { try MetadataMove(of: old, to: 65 << 20, keeping: SectorCount(65 << 11)) }
  }

  @Test(arguments: MetaFormat.allCases) func theSealCallsEverythingOutOfSyncAndTheLogUnused(_ format: MetaFormat) throws
  {
    let placement = try Placement(location: .internal, deviceBytes: 64 << 20)
    var superblock = Superblock(creating: format, at: placement)
    superblock.flags = [.consistent, .wasUpToDate, .primaryIndicator]
    superblock.current = 0x1234
    let sealed = superblock.sealed
    #expect(sealed.flags.contains(.alDisabled))
    let isFull =
      format == .v08 ? sealed.flags.contains(.fullSync) : sealed.peers.allSatisfy { $0.flags.contains(.fullSync) }
    #expect(isFull)
    #expect(sealed.current == 0x1234 && sealed.flags.isSuperset(of: superblock.flags))
  }
}
