// Where superblock, activity log and bitmap lie (metadata spec 1), computed in bytes and checked before anything is
// read or written. One arithmetic for creating and for judging a superblock that was found.
import Base

/// The `meta-disk` of the configuration.
public enum MetaLocation: Hashable, Sendable {
  /// At the end of the data device.
  case `internal`
  /// The whole of a device of its own.
  case external
  /// One of 256 places of 128 MiB on a shared device.
  case indexed(Int)
}

public struct Placement: Equatable, Sendable {
  /// 1 PiB in sectors.
  public static let maxSectors: UInt64 = 1 << 41
  /// Below this the kernel refuses to attach.
  public static let minDeviceBytes: UInt64 = 1 << 20
  public static let indexedBytes: UInt64 = 128 << 20
  static let superblockSectors: UInt64 = 8

  public let location: MetaLocation
  /// Size of the device that holds the metadata.
  public let deviceBytes: UInt64
  public let peers: UInt32
  public let alStripes: UInt32
  public let alStripeSize4k: UInt32
  /// Byte positions on the device that holds the metadata.
  public let superblockOffset: UInt64
  public let activityLogOffset: UInt64
  public let bitmapOffset: UInt64
  /// The fields of the superblock.
  public let mdSizeSectors: UInt32
  public let alOffset: Int32
  public let bmOffset: Int32

  /// Computes the placement of new metadata.
  public init(
    location: MetaLocation, deviceBytes: UInt64, peers: UInt32 = 1, alStripes: UInt32 = 1, alStripeSize4k: UInt32 = 8
  ) throws(MetaFault) {
    try self.init(location, deviceBytes, peers, alStripes, alStripeSize4k, mdSize: nil)
  }

  /// Judges a superblock that was found where it belongs: its offsets must be the ones we would have written, its
  /// device large enough and its bitmap long enough for the size it claims.
  public init(superblock: Superblock, location: MetaLocation, deviceBytes: UInt64) throws(MetaFault) {
    let size = location == .external ? superblock.mdSizeSectors : nil
    try self.init(
      location, deviceBytes, superblock.maxPeers, superblock.alStripes, superblock.alStripeSize4k, mdSize: size)
    func same(_ field: String, _ found: Int64, _ expected: Int64) throws(MetaFault) {
      if found != expected { throw .misplaced(field: field, found: found, expected: expected) }
    }
    try same("al_offset", Int64(superblock.alOffset), Int64(alOffset))
    try same("bm_offset", Int64(superblock.bmOffset), Int64(bmOffset))
    try same("md_size_sect", Int64(superblock.mdSizeSectors), Int64(mdSizeSectors))
    let room = sectorsCovered
    if superblock.effectiveSize > room { throw .tooLarge(sectors: superblock.effectiveSize.value, limit: room.value) }
  }

  private init(
    _ location: MetaLocation, _ deviceBytes: UInt64, _ peers: UInt32, _ stripes: UInt32, _ stripeSize: UInt32,
    mdSize: UInt32?
  ) throws(MetaFault) {
    guard (1...31).contains(peers) else { throw .peersOutOfRange(Int64(peers)) }
    let blocks = UInt64(stripes) * UInt64(stripeSize)
    guard (8...4_194_304).contains(blocks) else {
      throw .stripingOutOfRange(stripes: UInt64(stripes), stripeSize4k: UInt64(stripeSize))
    }
    let superblock = try Placement.superblockOffset(location: location, deviceBytes: deviceBytes)
    let log = blocks * 8
    let sectors = deviceBytes / 512
    let size: UInt64
    let al: Int64
    let bm: Int64
    switch location {
    case .internal:
      guard sectors <= Placement.maxSectors else { throw .tooLarge(sectors: sectors, limit: Placement.maxSectors) }
      size = Placement.bitmapBytes(sectors: SectorCount(sectors), peers: peers) / 512 + 8 + log
      al = -Int64(log)
      bm = 8 - Int64(size)
      // At least one block of data in front of it.
      let needed = size * 512 + 4096
      guard deviceBytes / 4096 * 4096 >= needed else { throw .tooSmall(deviceBytes: deviceBytes, neededBytes: needed) }
    case .external, .indexed:
      size = location == .external ? mdSize.map(UInt64.init) ?? sectors : Placement.indexedBytes / 512
      if location != .external, blocks != 8 { throw .unsupported("another activity log than 1 x 32 KiB at an index") }
      guard size <= UInt64(UInt32.max) else { throw .unsupported("a metadata device of 2 TiB or more") }
      al = 8
      bm = 8 + Int64(log)
      let needed = (8 + log + 8) * 512
      guard sectors >= size, size * 512 >= needed else {
        throw .tooSmall(deviceBytes: deviceBytes, neededBytes: max(needed, size * 512))
      }
    }
    self.location = location
    self.deviceBytes = deviceBytes
    self.peers = peers
    alStripes = stripes
    alStripeSize4k = stripeSize
    superblockOffset = superblock
    mdSizeSectors = UInt32(size)
    alOffset = Int32(al)
    bmOffset = Int32(bm)
    activityLogOffset = UInt64(Int64(superblock) + al * 512)
    bitmapOffset = UInt64(Int64(superblock) + bm * 512)
  }

  /// Where to look for a superblock; it depends on nothing but the device.
  public static func superblockOffset(location: MetaLocation, deviceBytes: UInt64) throws(MetaFault) -> UInt64 {
    var needed = minDeviceBytes
    if case .indexed(let n) = location {
      guard (0...255).contains(n) else { throw .indexOutOfRange(Int64(n)) }
      needed = indexedBytes * UInt64(n + 1)
    }
    guard deviceBytes >= needed else { throw .tooSmall(deviceBytes: deviceBytes, neededBytes: needed) }
    return switch location {
    case .internal: deviceBytes / 4096 * 4096 - 4096
    case .external: 0
    case .indexed(let n): indexedBytes * UInt64(n)
    }
  }

  /// Bytes of the bitmap area that stand for `sectors`: whole 64-bit words per peer, whole 4 KiB blocks in all.
  public static func bitmapBytes(sectors: SectorCount, peers: UInt32) -> UInt64 {
    let words = (sectors.bits + 63) / 64
    return (words * 8 * UInt64(peers) + 4095) / 4096 * 4096
  }

  public func bitmapBytes(sectors: SectorCount) -> UInt64 { Placement.bitmapBytes(sectors: sectors, peers: peers) }

  /// Size of the whole bitmap area.
  public var bitmapAreaBytes: UInt64 {
    location == .internal
      ? UInt64(Int64(alOffset) - Int64(bmOffset)) * 512 : (UInt64(mdSizeSectors) - UInt64(bmOffset)) * 512
  }

  public var activityLogBlocks: UInt32 { alStripes * alStripeSize4k }
  public var activityLogBytes: UInt64 { UInt64(activityLogBlocks) * 4096 }

  /// What the metadata can stand for.
  private var sectorsCovered: SectorCount {
    if location == .internal { return SectorCount(bitmapOffset / 512) }
    let words = bitmapAreaBytes / 8 / UInt64(peers)
    return SectorCount(min(words * 64 * 8, Placement.maxSectors))
  }

  /// Sectors of the data device left for data. The argument is ignored for internal metadata, which lies on it.
  public func usableSectors(dataDeviceBytes: UInt64) -> SectorCount {
    location == .internal ? sectorsCovered : min(sectorsCovered, SectorCount(bytes: dataDeviceBytes))
  }
}
