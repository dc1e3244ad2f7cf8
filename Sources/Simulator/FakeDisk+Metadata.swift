// The metadata of a fake disk before its first attach: what create-md writes, and which block is what.
import Base
import Engine
import MetaDisk

extension FakeDisk {
  /// A disk that create-md has just been run on.
  static func created(_ one: VolumeCircumstances, node: Int, original: Stamp, room: UInt64) -> FakeDisk {
    let data = one.deviceBytes[node]
    let own = one.disk(of: node)
    let onOwnDevice = own.location != .internal
    let facts = DiskFacts(
      dataBytes: data, metaBytes: onOwnDevice ? one.metaBytes : data, logicalBlock: own.logicalBlock,
      canDiscard: own.canDiscard)
    do {
      let placement = try Placement(
        location: own.location, deviceBytes: facts.metaBytes, peers: own.format == .v09 ? one.slots : 1)
      let start = min(placement.superblockOffset, placement.bitmapOffset, placement.activityLogOffset)
      let end = max(
        placement.superblockOffset + 4096 + (onOwnDevice ? 0 : (room + 4095) / 4096 * 4096),
        placement.bitmapOffset + placement.bitmapAreaBytes,
        placement.activityLogOffset + placement.activityLogBytes)
      let usable = placement.usableSectors(dataDeviceBytes: data)
      let disk = FakeDisk(
        facts: facts, dataSectors: Int(usable.value), metaStart: start, metaBytes: Int(end - start),
        isOnOneDevice: !onOwnDevice, original: original, room: room, hidden: Stamps.original(node))
      disk.logBlocks = disk.blocks(at: placement.activityLogOffset, placement.activityLogBytes)
      disk.bitmapBlocks = disk.blocks(at: placement.bitmapOffset, placement.bitmapAreaBytes)
      var image = Superblock(creating: own.format, at: placement, deviceUUID: 0x1234_0000 + UInt64(node))
      if own.format == .v09, one.slots > 1 { image.peers[World.thirdNode].bitmapIndex = Int32(one.slots) - 1 }
      disk.format { area in
        image.write(to: UnsafeMutableRawBufferPointer(rebasing: area[Int(placement.superblockOffset - start)...]))
        for block in disk.logBlocks {
          ActivityLogBlock.initialize(UnsafeMutableRawBufferPointer(rebasing: area[block * 4096..<block * 4096 + 4096]))
        }
      }
      return disk
    } catch {
      preconditionFailure("no metadata fits: \(error)")
    }
  }

  /// What check-resize does before a disk is attached, seen from the other end: the device has the size again that the
  /// metadata which count are for.
  func findMetadata() {
    if sizes.count == 1 || facts.metaBytes != facts.dataBytes { return }
    for bytes in sizes.reversed() where hasMetadata(bytes) {
      resize(to: bytes)
      return
    }
  }

  private func hasMetadata(_ bytes: UInt64) -> Bool {
    do throws(MetaFault) {
      let at = Int(try Placement.superblockOffset(location: .internal, deviceBytes: bytes) - metaStart)
      let block = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(meta)[at..<at + 4096])
      _ = try Placement(superblock: try Superblock(reading: block.bytes), location: .internal, deviceBytes: bytes)
      return true
    } catch {
      return false
    }
  }

  private func blocks(at offset: UInt64, _ bytes: UInt64) -> Range<Int> {
    let first = Int((offset - metaStart) / 4096)
    return first..<first + Int(bytes / 4096)
  }

  /// A device that cannot discard is written with zeroes.
  var leftByDiscard: Stamp { facts.canDiscard ? Stamps.discarded : Stamps.zero }

  func isBitmap(_ block: Int) -> Bool { bitmapBlocks.contains(block) }
  func isLog(_ block: Int) -> Bool { logBlocks.contains(block) }
}
