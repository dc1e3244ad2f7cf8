// The v09 superblock of DRBD 9 as it lies on disk (spec 2.2): one entry per node id, and a bitmap slot for those that
// have one. Bit 31 of a peer's flags ("has a bitmap") lives in memory only and is never stored.
import Base

struct RecordV09: Layout {
  static let magic: UInt32 = 0x8374_026D

  struct Peer {
    var bitmapUUID: UInt64 = 0
    var bitmapDagtag: UInt64 = 0
    var flags: UInt32 = 0
    var bitmapIndex: UInt32 = 0
  }

  var effectiveSize: UInt64 = 0
  var current: UInt64 = 0
  var members: UInt64 = 0
  var deviceUUID: UInt64 = 0
  var flags: UInt32 = 0
  var magic: UInt32 = 0
  var mdSizeSectors: UInt32 = 0
  var alOffset: UInt32 = 0
  var alExtents: UInt32 = 0
  var bmOffset: UInt32 = 0
  var bytesPerBit: UInt32 = 0
  var peerMaxBioSize: UInt32 = 0
  var maxPeers: UInt32 = 0
  var nodeID: UInt32 = 0
  var alStripes: UInt32 = 0
  var alStripeSize4k: UInt32 = 0
  var peers = [Peer](repeating: Peer(), count: Superblock.nodes)
  var history = [UInt64](repeating: 0, count: Superblock.nodes)

  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u64(&effectiveSize)
    walk.u64(&current)
    walk.u64(&members)
    walk.pad(24)
    walk.u64(&deviceUUID)
    walk.u32(&flags)
    walk.u32(&magic)
    walk.u32(&mdSizeSectors)
    walk.u32(&alOffset)
    walk.u32(&alExtents)
    walk.u32(&bmOffset)
    walk.u32(&bytesPerBit)
    walk.u32(&peerMaxBioSize)
    walk.u32(&maxPeers)
    walk.u32(&nodeID)
    walk.u32(&alStripes)
    walk.u32(&alStripeSize4k)
    walk.pad(8)
    for i in 0..<Superblock.nodes {
      walk.u64(&peers[i].bitmapUUID)
      walk.u64(&peers[i].bitmapDagtag)
      walk.u32(&peers[i].flags)
      walk.u32(&peers[i].bitmapIndex)
      walk.pad(8)
    }
    for i in 0..<Superblock.nodes { walk.u64(&history[i]) }
    walk.pad(2704)
  }
}

extension Superblock {
  /// Bit 31 of the peer flags means "has a bitmap" in the kernel's memory and must not reach the disk.
  private static let inCoreOnly: UInt32 = 0x8000_0000

  var recordV09: RecordV09 {
    var record = RecordV09()
    record.effectiveSize = effectiveSize.value
    record.current = current
    record.members = members
    record.deviceUUID = deviceUUID
    record.flags = flags.rawValue
    record.magic = RecordV09.magic
    record.mdSizeSectors = mdSizeSectors
    record.alOffset = UInt32(bitPattern: alOffset)
    record.alExtents = alExtents
    record.bmOffset = UInt32(bitPattern: bmOffset)
    record.bytesPerBit = bytesPerBit
    record.peerMaxBioSize = peerMaxBioSize
    record.maxPeers = maxPeers
    record.nodeID = UInt32(bitPattern: nodeID)
    record.alStripes = alStripes
    record.alStripeSize4k = alStripeSize4k
    record.peers = peers.map {
      RecordV09.Peer(
        bitmapUUID: $0.bitmapUUID, bitmapDagtag: $0.bitmapDagtag,
        flags: $0.flags.rawValue & ~Superblock.inCoreOnly, bitmapIndex: UInt32(bitPattern: $0.bitmapIndex))
    }
    record.history = history
    return record
  }

  mutating func take(_ record: RecordV09) {
    effectiveSize = SectorCount(record.effectiveSize)
    current = record.current
    members = record.members
    deviceUUID = record.deviceUUID
    flags = DeviceFlags(rawValue: record.flags)
    mdSizeSectors = record.mdSizeSectors
    alOffset = Int32(bitPattern: record.alOffset)
    alExtents = record.alExtents
    bmOffset = Int32(bitPattern: record.bmOffset)
    bytesPerBit = record.bytesPerBit
    peerMaxBioSize = record.peerMaxBioSize
    maxPeers = record.maxPeers
    nodeID = Int32(bitPattern: record.nodeID)
    alStripes = record.alStripes
    alStripeSize4k = record.alStripeSize4k
    for (i, peer) in record.peers.enumerated() {
      peers[i].bitmapUUID = peer.bitmapUUID
      peers[i].bitmapDagtag = peer.bitmapDagtag
      peers[i].flags = PeerFlags(rawValue: peer.flags & ~Superblock.inCoreOnly)
      peers[i].bitmapIndex = Int32(bitPattern: peer.bitmapIndex)
    }
    history = record.history
  }
}
