// Distinct types for distinct numbers: a swapped argument is a compile error.
// A sector is 512 bytes, always; a bitmap block is 4 KiB (8 sectors), an activity-log extent 4 MiB (8192 sectors).

/// A position on a volume, in 512-byte sectors.
public struct Sector: Hashable, Comparable, Sendable {
  public var value: UInt64
  public init(_ value: UInt64) { self.value = value }
  public static func < (a: Sector, b: Sector) -> Bool { a.value < b.value }
  public static func + (a: Sector, b: SectorCount) -> Sector { Sector(a.value + b.value) }
  public static func - (a: Sector, b: Sector) -> SectorCount { SectorCount(a.value - b.value) }
  public static let zero = Sector(0)
  /// Byte position. Valid for volumes up to 8 EiB; every volume here is at most 1 PiB.
  public var bytes: UInt64 { value << 9 }
  /// The bitmap block that holds this sector.
  public var block: BitNumber { BitNumber(value >> 3) }
  /// The activity-log extent that holds this sector.
  public var extent: ExtentNumber { ExtentNumber(UInt32(truncatingIfNeeded: value >> 13)) }
}

/// A length in 512-byte sectors.
public struct SectorCount: Hashable, Comparable, Sendable {
  public var value: UInt64
  public init(_ value: UInt64) { self.value = value }
  /// Rounds down to whole sectors.
  public init(bytes: UInt64) { value = bytes >> 9 }
  public static func < (a: SectorCount, b: SectorCount) -> Bool { a.value < b.value }
  public static func + (a: SectorCount, b: SectorCount) -> SectorCount { SectorCount(a.value + b.value) }
  public static func - (a: SectorCount, b: SectorCount) -> SectorCount { SectorCount(a.value - b.value) }
  public static let zero = SectorCount(0)
  public var bytes: UInt64 { value << 9 }
  /// Number of bitmap bits that cover this many sectors (a partial last block counts).
  public var bits: UInt64 { (value + 7) >> 3 }
}

/// One bit of the bitmap: 4 KiB of the volume.
public struct BitNumber: Hashable, Comparable, Sendable {
  public var value: UInt64
  public init(_ value: UInt64) { self.value = value }
  public static func < (a: BitNumber, b: BitNumber) -> Bool { a.value < b.value }
  public var sector: Sector { Sector(value << 3) }
  public var extent: ExtentNumber { ExtentNumber(UInt32(truncatingIfNeeded: value >> 10)) }
}

/// One activity-log extent: 4 MiB of the volume.
public struct ExtentNumber: Hashable, Comparable, Sendable {
  public var value: UInt32
  public init(_ value: UInt32) { self.value = value }
  public static func < (a: ExtentNumber, b: ExtentNumber) -> Bool { a.value < b.value }
  public var firstBit: BitNumber { BitNumber(UInt64(value) << 10) }
}

/// A contiguous part of a volume. Never empty in a request.
public struct BlockRange: Hashable, Sendable {
  public var start: Sector
  public var count: SectorCount
  public init(_ start: Sector, _ count: SectorCount) {
    self.start = start
    self.count = count
  }
  /// The one way from numbers that a peer has named to a range: whole sectors, not none, not longer than `longest` bytes, and
  /// inside of the volume. Nothing here can overflow.
  public init(
    named sector: UInt64, bytes: UInt32, in volume: SectorCount, longest: UInt32
  ) throws(RangeFault) {
    guard bytes > 0, bytes % 512 == 0 else { throw .noWholeSectors }
    guard bytes <= longest else { throw .tooLong }
    let count = SectorCount(bytes: UInt64(bytes))
    guard sector <= volume.value, count.value <= volume.value - sector else { throw .outside }
    self.init(Sector(sector), count)
  }
  public var end: Sector { start + count }
  public var bytes: UInt64 { count.bytes }
  public func overlaps(_ other: BlockRange) -> Bool { start < other.end && other.start < end }
  public func contains(_ other: BlockRange) -> Bool { start <= other.start && other.end <= end }
  /// First and last activity-log extent touched.
  public var extents: ClosedRange<UInt32> {
    start.extent.value...Sector(end.value - 1).extent.value
  }
  /// Bits touched at all, rounded outwards: what a write that was not mirrored sets.
  public var bitsTouched: Range<UInt64> { (start.value >> 3)..<((end.value + 7) >> 3) }
  /// Bits covered completely: what a mirrored write may clear. A range that ends at `volumeEnd` covers the last
  /// bit even when that block is short (wire spec 9.5).
  public func bitsCovered(volumeEnd: Sector) -> Range<UInt64> {
    let first = (start.value + 7) >> 3
    let last = end >= volumeEnd ? (end.value + 7) >> 3 : end.value >> 3
    return first < last ? first..<last : first..<first
  }
}

/// Why what a peer has named is no range of the volume.
public enum RangeFault: Error, Equatable {
  case noWholeSectors
  case tooLong
  case outside
}

/// Number of a volume inside its resource, 0...65534.
public struct VolumeNumber: Hashable, Comparable, Sendable {
  public var value: UInt16
  public init(_ value: UInt16) { self.value = value }
  public static func < (a: VolumeNumber, b: VolumeNumber) -> Bool { a.value < b.value }

  /// How many volumes a resource may have: a bit for each in the masks of a daemon.
  public static let perResource = 64
}

/// A span of time in nanoseconds.
public struct Interval: Hashable, Comparable, Sendable {
  public var nanoseconds: UInt64
  public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
  public static func milliseconds(_ n: UInt64) -> Interval { Interval(nanoseconds: n * 1_000_000) }
  public static func seconds(_ n: UInt64) -> Interval { Interval(nanoseconds: n * 1_000_000_000) }
  /// DRBD's favourite unit, 0.1 s.
  public static func deciseconds(_ n: UInt64) -> Interval { Interval(nanoseconds: n * 100_000_000) }
  public static func < (a: Interval, b: Interval) -> Bool { a.nanoseconds < b.nanoseconds }
  public static func * (a: Interval, b: UInt64) -> Interval { Interval(nanoseconds: a.nanoseconds * b) }
  public static func + (a: Interval, b: Interval) -> Interval { Interval(nanoseconds: a.nanoseconds + b.nanoseconds) }
}

/// A point of monotonic time in nanoseconds. Its zero means nothing.
public struct Instant: Hashable, Comparable, Sendable {
  public var nanoseconds: UInt64
  public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
  public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }
  public static func + (a: Instant, b: Interval) -> Instant { Instant(nanoseconds: a.nanoseconds + b.nanoseconds) }
  /// Time since `b`; zero when `b` lies ahead.
  public static func - (a: Instant, b: Instant) -> Interval {
    Interval(nanoseconds: a.nanoseconds > b.nanoseconds ? a.nanoseconds - b.nanoseconds : 0)
  }
}
