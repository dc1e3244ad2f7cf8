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

@Test func `time does not go below zero`() {
  let early = Instant(nanoseconds: 5)
  let late = early + .milliseconds(2)
  #expect(late - early == .milliseconds(2))
  #expect(early - late == Interval(nanoseconds: 0))
}
