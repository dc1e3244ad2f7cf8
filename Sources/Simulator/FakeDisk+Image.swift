// A disk as others find it: a copy of what is durable, and what its metadata say.
import Base
import Engine
import MetaDisk

extension FakeDisk {
  /// What a copy of the device made now would contain: what is durable.
  func image() -> FakeDisk {
    let copy = FakeDisk(
      facts: facts, dataSectors: dataSectors, metaStart: metaStart, metaBytes: metaBlocks * 4096,
      isOnOneDevice: isOnOneDevice,
      original: cache.fill, room: room, hidden: cache.fill, reach: cache.sectors)
    for piece in durable.pieces.indices {
      guard let stamps = durable.pieces[piece] else { continue }
      let start = piece * StampMap.pieceSectors
      let count = min(StampMap.pieceSectors, durable.sectors - start)
      copy.cache.write(start, count, from: stamps)
      copy.durable.write(start, count, from: stamps)
    }
    copy.logBlocks = logBlocks
    copy.bitmapBlocks = bitmapBlocks
    copy.format { $0.copyMemory(from: UnsafeRawBufferPointer(metaDurable)) }
    return copy
  }

  /// What a power cut would leave of its metadata says that its node was Primary when it died.
  var isOfCrashedPrimary: Bool {
    let location: MetaLocation = isOnOneDevice ? .internal : .external
    do throws(MetaFault) {
      let at = Int(try Placement.superblockOffset(location: location, deviceBytes: facts.metaBytes) - metaStart)
      let superblock = try Superblock(
        reading: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(metaDurable)[at..<at + 4096]).bytes)
      return superblock.flags.contains(.crashedPrimary)
        || superblock.format == .v08 && superblock.flags.contains(.primaryIndicator)
    } catch {
      return false
    }
  }

  /// Of the superblock, or of what a power cut would leave of it; nil: there is none that can be read.
  func generations(
    _ location: MetaLocation, _ peer: Int, durable: Bool = false
  ) -> (current: UInt64, bitmap: UInt64, flags: DeviceFlags)? {
    superblock(location, durable: durable).map { found in
      let slots = found.generations(peerNode: peer)
      return (slots.current, slots.bitmap, found.flags)
    }
  }

  /// It says, durably, that the peer is Outdated or worse.
  func recordsOutdatedPeer(_ location: MetaLocation, _ peer: Int) -> Bool {
    guard let found = superblock(location, durable: true) else { return false }
    return found.format == .v08 ? found.flags.contains(.peerOutdated) : found.peers[peer].flags.contains(.outdated)
  }

  private func superblock(_ location: MetaLocation, durable: Bool) -> Superblock? {
    do throws(MetaFault) {
      let at = Int(try Placement.superblockOffset(location: location, deviceBytes: facts.metaBytes) - metaStart)
      let area = UnsafeRawBufferPointer(durable ? metaDurable : meta)
      return try Superblock(reading: UnsafeRawBufferPointer(rebasing: area[at..<at + 4096]).bytes)
    } catch {
      return nil
    }
  }
}
