// Where internal metadata go when their device grows while it is in use (metadata spec 4.6): the old place, the new one, and
// what of the old becomes data. Law: the first block written to the new place is a superblock that calls every bit set and the
// log unused; from then on the old place is not needed, and before it no byte of the old place is touched.
import Base

public struct MetadataMove: Equatable, Sendable {
  public let old: Placement
  public let new: Placement

  /// Throws when the larger device has no room for larger metadata behind `size`, the data in use.
  public init(of old: Placement, to deviceBytes: UInt64, keeping size: SectorCount) throws(MetaFault) {
    precondition(old.location == .internal, "only metadata at the end of the device move")
    self.old = old
    new = try Placement(
      location: .internal, deviceBytes: deviceBytes, peers: old.peers, alStripes: old.alStripes,
      alStripeSize4k: old.alStripeSize4k)
    let room = new.usableSectors(dataDeviceBytes: deviceBytes)
    guard room >= size, new.superblockOffset >= old.superblockOffset else {
      throw .tooSmall(deviceBytes: deviceBytes, neededBytes: size.bytes + UInt64(new.mdSizeSectors) * 512)
    }
  }

  /// The same blocks at the same place: the device has grown by less than makes a difference.
  public var isNothing: Bool { old.superblockOffset == new.superblockOffset && old.bitmapOffset == new.bitmapOffset }

  private var oldEnd: UInt64 { old.superblockOffset + UInt64(Superblock.bytes) }

  /// The new activity log lies behind all of the old metadata: it can be written while those still count.
  public var logIsClear: Bool { new.activityLogOffset >= oldEnd }

  /// The old superblock becomes data: it is erased, lest it be found once more.
  public var freesSuperblock: Bool { oldEnd <= new.bitmapOffset }

  /// Bits of the blocks that held metadata and become data.
  public var freed: Range<UInt64> {
    let first = old.bitmapOffset / 4096
    return first..<max(first, min(oldEnd, new.bitmapOffset) / 4096)
  }
}

extension Superblock {
  /// As it stands at the new place while the rest is on its way: nothing else there counts.
  public var sealed: Superblock {
    var sealed = self
    sealed.flags.insert(.alDisabled)
    if format == .v08 {
      sealed.flags.insert(.fullSync)
    } else {
      for node in sealed.peers.indices { sealed.peers[node].flags.insert(.fullSync) }
    }
    return sealed
  }
}
