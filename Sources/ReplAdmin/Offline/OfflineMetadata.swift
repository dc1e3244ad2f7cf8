// The metadata of a volume that no daemon has attached: found, read, checked, written, on a blocking disk. Law: what is about
// to be changed is held exclusively, and a superblock is written after everything it vouches for is durable.
import Base
import BlockIO
import Config
import Control
import Glibc
import MetaDisk

struct OfflineMetadata: ~Copyable {
  let disk: PlainDisk
  let location: MetaLocation
  /// Size of the device that holds the metadata, or what it once was.
  var metaBytes: UInt64
  /// Size of the device that holds the data.
  let dataBytes: UInt64
  /// The node ids that a v09 superblock is about; nil where no configuration tells them.
  let ownNode: Int?
  let peerNode: Int?

  enum Purpose { case look, change }

  /// Opens the metadata of a configured volume.
  init(
    _ volume: HostedVolume, of resource: HostedResource, peer: HostedPeer? = nil, for purpose: Purpose
  ) throws(Refusal) {
    guard let dataPath = volume.disk, let path = volume.metaDiskPath else {
      throw Refusal(
        "volume \(volume.number.value) has no disk on this host ('disk none')", next: "nothing is to be done here",
        exitCode: 10)
    }
    try self.init(
      path, location: MetaLocation(volume.metaDisk), dataPath: dataPath, ownNode: resource.nodeID,
      peerNode: (peer ?? resource.peers.first)?.nodeID, for: purpose)
  }

  /// Opens metadata by its place. `dataPath` equal to `path` means the device holds both.
  init(
    _ path: String, location: MetaLocation, dataPath: String, ownNode: Int?, peerNode: Int?, for purpose: Purpose
  ) throws(Refusal) {
    var access = DeviceAccess.readOnly
    if purpose == .change {
      access = .exclusive
      if case .indexed(let index) = location, (0...255).contains(index) {
        access = .region(offset: Placement.indexedBytes * UInt64(index), bytes: Placement.indexedBytes)
      }
    }
    let separateBytes = dataPath == path ? nil : try OfflineMetadata.opened(dataPath, .readOnly).bytes
    disk = try OfflineMetadata.opened(path, access)
    metaBytes = disk.bytes
    dataBytes = separateBytes ?? metaBytes
    self.location = location
    self.ownNode = ownNode
    self.peerNode = peerNode
  }

  private static func opened(_ path: String, _ access: DeviceAccess) throws(Refusal) -> PlainDisk {
    do throws(DeviceRefusal) {
      return try PlainDisk(path: path, access: access)
    } catch {
      throw Refusal(error.text, next: "", exitCode: 20)
    }
  }

  // MARK: Superblock

  /// The superblock as found, judged against the device.
  func superblock() throws(Refusal) -> Superblock {
    do throws(MetaFault) {
      let found = try readSuperblock()
      _ = try Placement(superblock: found, location: location, deviceBytes: metaBytes)
      return found
    } catch {
      throw Refusal(metadata: error)
    }
  }

  func placement(of superblock: Superblock) throws(Refusal) -> Placement {
    do throws(MetaFault) {
      return try Placement(superblock: superblock, location: location, deviceBytes: metaBytes)
    } catch {
      throw Refusal(metadata: error)
    }
  }

  /// Without judging it against the device. An unreadable block counts as absent metadata only when it was read.
  func readSuperblock() throws(MetaFault) -> Superblock {
    let offset = try Placement.superblockOffset(location: location, deviceBytes: metaBytes)
    let block: [UInt8]
    do throws(DiskFault) { block = try disk.read(at: offset, count: Superblock.bytes) } catch {
      throw .unsupported("a disk that cannot be read: \(error.text)")
    }
    return try Superblock(reading: block.span.bytes)
  }

  func write(_ superblock: Superblock, at placement: Placement) throws(Refusal) {
    let block = [UInt8](unsafeUninitializedCapacity: Superblock.bytes) { buffer, count in
      superblock.write(to: UnsafeMutableRawBufferPointer(buffer))
      count = Superblock.bytes
    }
    try onDisk { (disk) throws(DiskFault) in
      try disk.write(block, at: placement.superblockOffset)
      try disk.flush()
    }
  }

  func eraseSuperblock() throws(Refusal) {
    let offset: UInt64
    do throws(MetaFault) {
      offset = try Placement.superblockOffset(location: location, deviceBytes: metaBytes)
    } catch {
      throw Refusal(metadata: error)
    }
    try onDisk { (disk) throws(DiskFault) in
      try disk.write([UInt8](repeating: 0, count: Superblock.bytes), at: offset)
      try disk.flush()
    }
  }

  // MARK: Activity log and bitmap

  func initializeActivityLog(at placement: Placement) throws(Refusal) {
    let block = [UInt8](unsafeUninitializedCapacity: ActivityLogBlock.bytes) { buffer, count in
      ActivityLogBlock.initialize(UnsafeMutableRawBufferPointer(buffer))
      count = ActivityLogBlock.bytes
    }
    // A batch of blocks per write: a striped log may have a thousand of them.
    let batch = Int(min(placement.activityLogBlocks, 64))
    let blocks = Array(repeatElement(block, count: batch).joined())
    try onDisk { (disk) throws(DiskFault) in
      var done: UInt64 = 0
      while done < placement.activityLogBytes {
        let count = Int(min(UInt64(blocks.count), placement.activityLogBytes - done))
        try disk.write(Array(blocks[0..<count]), at: placement.activityLogOffset + done)
        done += UInt64(count)
      }
      try disk.flush()
    }
  }

  /// Zeroes the bitmap area. What is zero already is not written, so a sparse device stays sparse.
  func zeroBitmap(at placement: Placement) throws(Refusal) {
    try onDisk { (disk) throws(DiskFault) in
      let chunk = 1 << 20
      let zeroes = [UInt8](repeating: 0, count: chunk)
      var done: UInt64 = 0
      while done < placement.bitmapAreaBytes {
        let count = Int(min(UInt64(chunk), placement.bitmapAreaBytes - done))
        let found = try disk.read(at: placement.bitmapOffset + done, count: count)
        if memcmp(found, zeroes, count) != 0 {
          try disk.write(count == chunk ? zeroes : Array(zeroes[0..<count]), at: placement.bitmapOffset + done)
        }
        done += UInt64(count)
      }
      try disk.flush()
    }
  }

  func bitmap(of superblock: Superblock, at placement: Placement) throws(Refusal) -> Bitmap {
    var bitmap = Bitmap(bits: superblock.effectiveSize.bits, maxPeers: Int(superblock.maxPeers))
    for page in 0..<bitmap.pageCount {
      let block = try read(at: placement.bitmapOffset + UInt64(page) * 4096, count: 4096)
      bitmap.absorb(page: page, from: block.span.bytes)
    }
    return bitmap
  }

  /// Writes the pages that changed.
  func write(_ bitmap: inout Bitmap, at placement: Placement) throws(Refusal) {
    var from: UInt32 = 0
    while let page = bitmap.nextDirtyPage(from: from, includeLazy: true) {
      bitmap.markWritten(page)
      let block = [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
        bitmap.render(page: page, into: UnsafeMutableRawBufferPointer(buffer))
        count = 4096
      }
      try onDisk { (disk) throws(DiskFault) in
        try disk.write(block, at: placement.bitmapOffset + UInt64(page) * 4096)
      }
      bitmap.writeCompleted(page)
      from = page + 1
    }
    try onDisk { (disk) throws(DiskFault) in try disk.flush() }
  }

  func read(at offset: UInt64, count: Int) throws(Refusal) -> [UInt8] {
    do throws(DiskFault) { return try disk.read(at: offset, count: count) } catch { throw failed(error) }
  }

  private func onDisk(_ body: (borrowing PlainDisk) throws(DiskFault) -> Void) throws(Refusal) {
    do throws(DiskFault) { try body(disk) } catch { throw failed(error) }
  }

  private func failed(_ fault: DiskFault) -> Refusal {
    Refusal("\(disk.path): \(fault.text)", next: "check the device (dmesg), then repeat the command", exitCode: 10)
  }
}

extension MetaLocation {
  init(_ key: MetaDiskKey) {
    self =
      switch key {
      case .internal: .internal
      case .external: .external
      case .indexed(_, let index): .indexed(index)
      }
  }
}

extension Refusal {
  /// Metadata that cannot be used, on a disk that no daemon has.
  init(metadata fault: MetaFault) {
    switch fault {
    case .absent:
      self.init("No valid meta data found", next: "write some with repladm create-md \(Refusal.object)", exitCode: 1)
    case .unclean:
      self.init(
        "Found meta data is \"unclean\", please apply-al first",
        next: "type repladm apply-al \(Refusal.object), then repeat this", exitCode: 1)
    case .corrupt, .misplaced:
      self.init(
        "No valid meta data found", why: withoutPeriod(fault.text),
        next: "if this device was resized or partitioned anew, undo that; else write new metadata with "
          + "repladm create-md --force \(Refusal.object), which brings a full resync",
        exitCode: 1)
    case .tooSmall, .tooLarge, .stripingOutOfRange, .indexOutOfRange:
      self.init(withoutPeriod(fault.text), next: "use another device or other options", exitCode: 10)
    case .peersOutOfRange:
      self.init(withoutPeriod(fault.text), next: "choose --max-peers between 1 and 31", exitCode: 20)
    case .activityLogEmpty, .activityLogCorrupt:
      self.init(
        withoutPeriod(fault.text),
        next: "take the data from the peer: repladm invalidate \(Refusal.object) on this node, or "
          + "repladm create-md --force \(Refusal.object), and let it resync",
        exitCode: 1)
    default:
      self.init(withoutPeriod(fault.text), next: "see the manual of repladm, section create-md", exitCode: 1)
    }
  }
}

func withoutPeriod(_ sentence: String) -> String { sentence.hasSuffix(".") ? String(sentence.dropLast()) : sentence }
