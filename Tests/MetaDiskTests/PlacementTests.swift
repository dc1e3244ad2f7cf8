// The worked examples of the specification, the figures at the limits, and sampled laws up to 1 PiB.
import Base
import MetaDisk
import Testing

@Suite struct PlacementTests {
  struct Example: Sendable {
    let bytes: UInt64, peers: UInt32, size: UInt32, superblock: UInt64
    let log: UInt64, logField: Int32, bitmap: UInt64, bitmapField: Int32, usable: UInt64
    var stripes: UInt32 = 1
    var stripeSize: UInt32 = 8
  }

  static let examples: [Example] = [
    Example(
      bytes: 67_108_864, peers: 1, size: 80, superblock: 67_104_768, log: 67_072_000, logField: -64, bitmap: 67_067_904,
      bitmapField: -72, usable: 130_992),
    Example(
      bytes: 67_108_864, peers: 2, size: 80, superblock: 67_104_768, log: 67_072_000, logField: -64, bitmap: 67_067_904,
      bitmapField: -72, usable: 130_992),
    Example(
      bytes: 67_108_864, peers: 7, size: 104, superblock: 67_104_768, log: 67_072_000, logField: -64,
      bitmap: 67_055_616,
      bitmapField: -96, usable: 130_968),
    Example(
      bytes: 1_073_741_824, peers: 7, size: 520, superblock: 1_073_737_728, log: 1_073_704_960, logField: -64,
      bitmap: 1_073_475_584, bitmapField: -512, usable: 2_096_632),
    Example(
      bytes: 1_099_511_627_776, peers: 1, size: 65_608, superblock: 1_099_511_623_680, log: 1_099_511_590_912,
      logField: -64, bitmap: 1_099_478_036_480, bitmapField: -65_600, usable: 2_147_418_040),
    Example(
      bytes: 1_099_511_627_776, peers: 7, size: 458_824, superblock: 1_099_511_623_680, log: 1_099_511_590_912,
      logField: -64, bitmap: 1_099_276_709_888, bitmapField: -458_816, usable: 2_147_024_824),
    Example(
      bytes: 1_000_000_512, peers: 1, size: 136, superblock: 999_993_344, log: 999_960_576, logField: -64,
      bitmap: 999_927_808, bitmapField: -128, usable: 1_952_984),
    Example(
      bytes: 1_000_000_512, peers: 2, size: 192, superblock: 999_993_344, log: 999_960_576, logField: -64,
      bitmap: 999_899_136, bitmapField: -184, usable: 1_952_928),
    Example(
      bytes: 1_000_000_512, peers: 7, size: 496, superblock: 999_993_344, log: 999_960_576, logField: -64,
      bitmap: 999_743_488, bitmapField: -488, usable: 1_952_624),
    Example(
      bytes: 67_108_864, peers: 1, size: 528, superblock: 67_104_768, log: 66_842_624, logField: -512,
      bitmap: 66_838_528, bitmapField: -520, usable: 130_544, stripes: 4, stripeSize: 16),
  ]

  @Test(arguments: examples)
  func theWorkedExamplesHold(_ e: Example) throws {
    let p = try Placement(
      location: .internal, deviceBytes: e.bytes, peers: e.peers, alStripes: e.stripes, alStripeSize4k: e.stripeSize)
    #expect(p.mdSizeSectors == e.size && p.superblockOffset == e.superblock)
    #expect(p.activityLogOffset == e.log && p.alOffset == e.logField)
    #expect(p.bitmapOffset == e.bitmap && p.bmOffset == e.bitmapField)
    #expect(p.usableSectors(dataDeviceBytes: e.bytes) == SectorCount(e.usable))
  }

  @Test(arguments: [
    (1 << 20, 1, 64_749_568), (1 << 20, 7, 9_249_792), (4 << 20, 1, 266_076_160), (4 << 20, 7, 38_010_880),
  ])
  func anExternalDeviceCoversWhatItsBitmapHolds(_ bytes: UInt64, _ peers: UInt32, _ sectors: UInt64) throws {
    let p = try Placement(location: .external, deviceBytes: bytes, peers: peers)
    #expect(p.superblockOffset == 0 && p.activityLogOffset == 4096 && p.bitmapOffset == 36864)
    #expect(p.usableSectors(dataDeviceBytes: 1 << 50) == SectorCount(sectors))
    #expect(p.usableSectors(dataDeviceBytes: 5000) == SectorCount(9))
  }

  @Test func anIndexIsAPlaceOf128MiB() throws {
    let p = try Placement(location: .indexed(1), deviceBytes: 301_989_888)
    #expect(p.superblockOffset == 134_217_728 && p.activityLogOffset == 134_221_824 && p.bitmapOffset == 134_254_592)
    #expect(p.usableSectors(dataDeviceBytes: 1 << 50) == SectorCount(8_587_575_296))
  }

  @Test func everyPlacementUpToOnePebibyteKeepsItsPartsApart() throws {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<4000 {
      let magnitude = 20 + random.below(31)
      let size = min(1 << 50, (1 << magnitude) + random.below(1 << magnitude))
      let peers = UInt32(1 + random.below(31))
      let stripes = UInt32(1 + random.below(4))
      let stripeSize = UInt32(8 + random.below(60))
      let p: Placement
      do {
        p = try Placement(
          location: .internal, deviceBytes: size, peers: peers, alStripes: stripes, alStripeSize4k: stripeSize)
      } catch {
        guard case .tooSmall = error, size < 16 << 20 else { throw error }
        continue
      }
      let usable = p.usableSectors(dataDeviceBytes: size)
      #expect(usable.value > 0 && usable.bytes == p.bitmapOffset)
      #expect(p.bitmapOffset + p.bitmapAreaBytes == p.activityLogOffset)
      #expect(p.activityLogOffset + p.activityLogBytes == p.superblockOffset)
      #expect(p.superblockOffset + 4096 <= size && size - p.superblockOffset < 8192)
      #expect(p.bitmapOffset % 4096 == 0 && p.bitmapAreaBytes % 4096 == 0)
      #expect(p.bitmapBytes(sectors: usable) <= p.bitmapAreaBytes)
      var sb = Superblock(creating: .v09, at: p)
      sb.effectiveSize = usable
      #expect(try Placement(superblock: sb, location: .internal, deviceBytes: size) == p)
      sb.effectiveSize = usable + SectorCount(1)
      #expect(throws: MetaFault.self) { try Placement(superblock: sb, location: .internal, deviceBytes: size) }
    }
  }

  @Test func onePebibyteWithThirtyOnePeersStillFitsTheFields() throws {
    let p = try Placement(location: .internal, deviceBytes: 1 << 50, peers: 31, alStripes: 64, alStripeSize4k: 65536)
    #expect(p.bmOffset == -Int32((1 << 35) * 31 / 512 + (1 << 25)))
    #expect(throws: MetaFault.tooLarge(sectors: (1 << 41) + 1, limit: 1 << 41)) {
      try Placement(location: .internal, deviceBytes: 1 << 50 + 512)
    }
  }

  @Test func anExternalPlacementNeverPromisesMoreThanItsBitmapHolds() throws {
    var random = SeededGenerator(seed: 2)
    for _ in 0..<2000 {
      let size = (1 << 20) + random.below(1 << 40)
      let peers = UInt32(1 + random.below(31))
      let p = try Placement(location: .external, deviceBytes: size, peers: peers)
      let usable = p.usableSectors(dataDeviceBytes: .max)
      #expect(p.bitmapBytes(sectors: usable) <= (size - p.bitmapOffset + 4095) / 4096 * 4096)
      #expect((usable.bits + 63) / 64 * 8 * UInt64(peers) <= p.bitmapAreaBytes)
    }
  }

  @Test func whatCannotBePlacedIsRefusedByName() {
    #expect(throws: MetaFault.tooSmall(deviceBytes: 65536, neededBytes: 1 << 20)) {
      try Placement(location: .internal, deviceBytes: 65536)
    }
    #expect(throws: MetaFault.tooSmall(deviceBytes: 1 << 20, neededBytes: 4_206_592)) {
      try Placement(location: .internal, deviceBytes: 1 << 20, alStripes: 1, alStripeSize4k: 1024)
    }
    #expect(throws: MetaFault.tooSmall(deviceBytes: 134_217_728, neededBytes: 268_435_456)) {
      try Placement(location: .indexed(1), deviceBytes: 134_217_728)
    }
    #expect(throws: MetaFault.peersOutOfRange(32)) {
      try Placement(location: .internal, deviceBytes: 1 << 30, peers: 32)
    }
    #expect(throws: MetaFault.peersOutOfRange(0)) { try Placement(location: .internal, deviceBytes: 1 << 30, peers: 0) }
    #expect(throws: MetaFault.stripingOutOfRange(stripes: 1, stripeSize4k: 7)) {
      try Placement(location: .internal, deviceBytes: 1 << 30, alStripes: 1, alStripeSize4k: 7)
    }
    #expect(throws: MetaFault.indexOutOfRange(256)) { try Placement(location: .indexed(256), deviceBytes: 1 << 45) }
    #expect(throws: MetaFault.unsupported("a metadata device of 2 TiB or more")) {
      try Placement(location: .external, deviceBytes: 1 << 41)
    }
  }
}
