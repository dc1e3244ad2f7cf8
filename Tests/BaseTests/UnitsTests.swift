// Arithmetic of sectors, bits and extents: what rounds outwards, what rounds inwards, and the end of a device.
import Base
import Testing

@Test func `a write touches every block it reaches into`() {
  #expect(BlockRange(Sector(8), SectorCount(8)).bitsTouched == 1..<2)
  #expect(BlockRange(Sector(7), SectorCount(2)).bitsTouched == 0..<2)
  #expect(BlockRange(Sector(0), SectorCount(1)).bitsTouched == 0..<1)
}

@Test func `only whole blocks are covered`() {
  let end = Sector(1 << 20)
  #expect(BlockRange(Sector(8), SectorCount(16)).bitsCovered(volumeEnd: end) == 1..<3)
  #expect(BlockRange(Sector(9), SectorCount(16)).bitsCovered(volumeEnd: end) == 2..<3)
  #expect(BlockRange(Sector(9), SectorCount(7)).bitsCovered(volumeEnd: end).isEmpty)
  #expect(BlockRange(Sector(1), SectorCount(3)).bitsCovered(volumeEnd: end).isEmpty)
}

@Test func `a write that ends with the device covers its short last block`() {
  let end = Sector(20)
  #expect(BlockRange(Sector(16), SectorCount(4)).bitsCovered(volumeEnd: end) == 2..<3)
  #expect(BlockRange(Sector(17), SectorCount(3)).bitsCovered(volumeEnd: end).isEmpty)
}

@Test func `extents are four MiB`() {
  #expect(BlockRange(Sector(8191), SectorCount(2)).extents == 0...1)
  #expect(Sector(8192).extent == ExtentNumber(1))
  #expect(ExtentNumber(1).firstBit == BitNumber(1024))
  #expect(SectorCount(9).bits == 2)
}

@Test func `a range that a peer names is whole sectors inside of the volume, or none`() throws {
  let volume = SectorCount(1000)
  func fault(_ sector: UInt64, _ bytes: UInt32, _ longest: UInt32 = 1 << 20) -> RangeFault? {
    do throws(RangeFault) {
      let range = try BlockRange(named: sector, bytes: bytes, in: volume, longest: longest)
      #expect(range == BlockRange(Sector(sector), SectorCount(bytes: UInt64(bytes))))
      return nil
    } catch {
      return error
    }
  }
  #expect(fault(0, 512) == nil && fault(999, 512) == nil && fault(992, 4096) == nil)
  #expect(fault(1000, 512) == .outside && fault(993, 4096) == .outside)
  for sector in [.max, .max - 7, .max - 8, 1 << 63, 1 << 55] as [UInt64] { #expect(fault(sector, 4096) == .outside) }
  #expect(fault(0, 0) == .noWholeSectors && fault(0, 100) == .noWholeSectors && fault(0, .max) == .noWholeSectors)
  #expect(fault(0, 8192, 4096) == .tooLong && fault(.max, .max - 511) == .tooLong)
}

@Test func `time does not go below zero`() {
  let early = Instant(nanoseconds: 5)
  let late = early + .milliseconds(2)
  #expect(late - early == .milliseconds(2))
  #expect(early - late == Interval(nanoseconds: 0))
}
