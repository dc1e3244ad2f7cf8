// A disk in memory: what is on it now, and what a power cut would leave. Data are one number per sector, metadata are
// real bytes, of one device or of two that are flushed apart. Law: what has been written but neither flushed nor written through is
// lost in `losePower`.
import Base
import MetaDisk

@testable import Engine

final class FakeDisk {
  var facts: DiskFacts
  let location: MetaLocation
  /// Sectors that cannot be read or written, and what else fails.
  var badForReading: Range<UInt64> = 0..<0
  var badForWriting: Range<UInt64> = 0..<0
  var flushFails = false
  var metadataFails = false
  /// Opening is refused with this number.
  var refusal: (number: Int, why: String)?

  private var sectors: [UInt64: UInt64] = [:]
  private var pages: [UInt64: [UInt8]] = [:]
  /// What was there before writes that are not durable.
  private var oldSectors: [UInt64: UInt64] = [:]
  private var oldPages: [UInt64: [UInt8]] = [:]
  private static let empty = [UInt8](repeating: 0, count: 4096)

  /// Blank; 8 MiB as in the recordings unless said otherwise.
  init(bytes: UInt64 = 8 << 20, metaBytes: UInt64? = nil, location: MetaLocation = .internal) {
    facts = DiskFacts(dataBytes: bytes, metaBytes: metaBytes ?? bytes, logicalBlock: 512, canDiscard: true)
    self.location = location
  }

  /// What create-md leaves.
  static func created(
    _ format: MetaFormat = .v09, bytes: UInt64 = 8 << 20, peers: UInt32 = 1, metaBytes: UInt64? = nil,
    location: MetaLocation = .internal
  ) throws -> FakeDisk {
    let disk = FakeDisk(bytes: bytes, metaBytes: metaBytes, location: location)
    let placement = try Placement(location: location, deviceBytes: metaBytes ?? bytes, peers: peers)
    let superblock = Superblock(creating: format, at: placement, deviceUUID: 0x1234_5678_9abc_def0)
    var page = empty
    page.withUnsafeMutableBytes { superblock.write(to: $0) }
    disk.pages[placement.superblockOffset] = page
    page.withUnsafeMutableBytes { ActivityLogBlock.initialize($0) }
    for i in 0..<UInt64(placement.activityLogBlocks) { disk.pages[placement.activityLogOffset + i * 4096] = page }
    return disk
  }

  // MARK: Data

  subscript(sector: UInt64) -> UInt64 { sectors[sector] ?? 0 }

  /// Sectors with content, for comparisons.
  var content: [UInt64: UInt64] { sectors.filter { $0.value != 0 } }

  func perform(_ operation: DiskOperation, read: (PayloadRef, [UInt64]) -> Void, bytes: (PayloadRef) -> [UInt64])
    -> DiskFault?
  {
    switch operation {
    case .read(let range, let payload):
      if overlaps(range, badForReading) { return DiskFault(errno: 5) }
      read(payload, (range.start.value..<range.end.value).map { self[$0] })
    case .write(let range, let payload, let fua):
      if overlaps(range, badForWriting) { return DiskFault(errno: 5) }
      let content = bytes(payload)
      precondition(UInt64(content.count) == range.count.value, "payload and range of a write differ in size")
      for i in 0..<range.count.value { put(range.start.value + i, content[Int(i)], durable: fua) }
    case .discard(let range), .zero(let range, _):
      if overlaps(range, badForWriting) { return DiskFault(errno: 5) }
      for sector in range.start.value..<range.end.value { put(sector, 0, durable: false) }
    case .flush:
      if flushFails { return DiskFault(errno: 5) }
      isOnOneDevice ? makeDurable() : oldSectors.removeAll(keepingCapacity: true)
    }
    return nil
  }

  private func overlaps(_ range: BlockRange, _ bad: Range<UInt64>) -> Bool {
    bad.overlaps(range.start.value..<range.end.value)
  }

  private func put(_ sector: UInt64, _ value: UInt64, durable: Bool) {
    precondition(sector < facts.dataBytes >> 9, "write behind the end of the disk")
    if durable {
      oldSectors[sector] = nil
    } else if oldSectors[sector] == nil {
      oldSectors[sector] = self[sector]
    }
    sectors[sector] = value
  }

  // MARK: Metadata

  private func page(_ offset: UInt64) -> [UInt8] { pages[offset] ?? FakeDisk.empty }

  func metaRead(_ offset: UInt64, _ count: UInt64) -> [UInt8]? {
    if metadataFails { return nil }
    precondition(offset % 4096 == 0 && count % 4096 == 0 && offset + count <= facts.metaBytes, "metadata read")
    return stride(from: offset, to: offset + count, by: 4096).flatMap { page($0) }
  }

  func metaWrite(_ offset: UInt64, _ block: [UInt8], barrier: WriteBarrier) -> DiskFault? {
    if metadataFails { return DiskFault(errno: 5) }
    precondition(offset % 4096 == 0 && offset + 4096 <= facts.metaBytes, "metadata write")
    // Only a barrier for everything flushes the data where they lie on another device.
    if barrier == .everything { oldSectors.removeAll(keepingCapacity: true) }
    if barrier != .nothing { isOnOneDevice ? makeDurable() : oldPages.removeAll(keepingCapacity: true) }
    if barrier == .nothing, oldPages[offset] == nil { oldPages[offset] = page(offset) }
    pages[offset] = block
    return nil
  }

  /// Data and metadata share a volatile cache.
  private var isOnOneDevice: Bool { location == .internal }

  private func makeDurable() {
    oldSectors.removeAll(keepingCapacity: true)
    oldPages.removeAll(keepingCapacity: true)
  }

  func losePower() {
    for (sector, old) in oldSectors { sectors[sector] = old }
    for (offset, old) in oldPages { pages[offset] = old }
    makeDurable()
  }

  /// Replaces the metadata at the end of the device, as recorded images have them.
  func install(tail: [UInt8]) {
    let start = facts.metaBytes - UInt64(tail.count)
    for at in stride(from: 0, to: tail.count, by: 4096) { pages[start + UInt64(at)] = Array(tail[at..<at + 4096]) }
  }

  /// What check-resize leaves of metadata without a set bit.
  func move(_ superblock: Superblock) throws {
    let placement = try Placement(
      location: .internal, deviceBytes: facts.metaBytes, peers: superblock.maxPeers, alStripes: superblock.alStripes,
      alStripeSize4k: superblock.alStripeSize4k)
    var moved = superblock
    moved.place(at: placement)
    var page = FakeDisk.empty
    page.withUnsafeMutableBytes { moved.write(to: $0) }
    pages[placement.superblockOffset] = page
    page.withUnsafeMutableBytes { ActivityLogBlock.initialize($0) }
    for i in 0..<UInt64(placement.activityLogBlocks) { pages[placement.activityLogOffset + i * 4096] = page }
  }

  // MARK: What the metadata say

  func superblock() throws -> Superblock {
    let at = try Placement.superblockOffset(location: location, deviceBytes: facts.metaBytes)
    let block = page(at)
    return try Superblock(reading: block.span.bytes)
  }

  func store(_ superblock: Superblock) throws {
    let at = try Placement.superblockOffset(location: location, deviceBytes: facts.metaBytes)
    pages[at]!.withUnsafeMutableBytes { superblock.write(to: $0) }
  }

  /// Blocks that the bitmap on disk calls out of sync with the peer of this node id.
  func outOfSync(peerNode: Int) throws -> Set<UInt64> {
    let bitmap = try bitmap(peerNode: peerNode)
    var found: Set<UInt64> = []
    for bit in 0..<bitmap.bits where bitmap.isSet(bit) { found.insert(bit) }
    return found
  }

  func clearOutOfSync(peerNode: Int) throws {
    var bitmap = try bitmap(peerNode: peerNode)
    bitmap.clearAll()
    let offset = try placement().bitmapOffset
    for number in 0..<bitmap.pageCount {
      var page = FakeDisk.empty
      page.withUnsafeMutableBytes { bitmap.render(page: number, into: $0) }
      pages[offset + UInt64(number) * 4096] = page
    }
  }

  private func placement() throws -> Placement {
    try Placement(superblock: superblock(), location: location, deviceBytes: facts.metaBytes)
  }

  private func bitmap(peerNode: Int) throws -> Bitmap {
    let superblock = try superblock()
    let placement = try Placement(superblock: superblock, location: location, deviceBytes: facts.metaBytes)
    let slots = superblock.format == .v09 ? Int(superblock.maxPeers) : 1
    var bitmap = Bitmap(
      bits: superblock.effectiveSize.bits, maxPeers: slots, slotIndex: superblock.bitmapSlot(peerNode: peerNode) ?? 0)
    for page in 0..<bitmap.pageCount {
      let block = self.page(placement.bitmapOffset + UInt64(page) * 4096)
      bitmap.absorb(page: page, from: block.span.bytes)
    }
    return bitmap
  }
}

extension FakeDisk {
  /// External flexible metadata of their own device.
  static func external(bytes: UInt64, metaBytes: UInt64) throws -> FakeDisk {
    try created(bytes: bytes, metaBytes: metaBytes, location: .external)
  }
}
