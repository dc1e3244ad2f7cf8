// The v08 superblock of DRBD 8.4 as it lies on disk (spec 2.1). A kernel always writes the unclean magic; only user
// space, after the activity log has been applied, writes the clean one.
import Base

struct RecordV08: Layout {
  static let magicClean: UInt32 = 0x8374_026B
  static let magicUnclean: UInt32 = 0x8374_026C

  var effectiveSize: UInt64 = 0
  var current: UInt64 = 0
  var bitmap: UInt64 = 0
  var history0: UInt64 = 0
  var history1: UInt64 = 0
  var deviceUUID: UInt64 = 0
  var flags: UInt32 = 0
  var magic: UInt32 = 0
  var mdSizeSectors: UInt32 = 0
  var alOffset: UInt32 = 0
  var alExtents: UInt32 = 0
  var bmOffset: UInt32 = 0
  var bytesPerBit: UInt32 = 0
  var peerMaxBioSize: UInt32 = 0
  var alStripes: UInt32 = 0
  var alStripeSize4k: UInt32 = 0

  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u64(&effectiveSize)
    walk.u64(&current)
    walk.u64(&bitmap)
    walk.u64(&history0)
    walk.u64(&history1)
    walk.u64(&deviceUUID)
    walk.pad(8)
    walk.u32(&flags)
    walk.u32(&magic)
    walk.u32(&mdSizeSectors)
    walk.u32(&alOffset)
    walk.u32(&alExtents)
    walk.u32(&bmOffset)
    walk.u32(&bytesPerBit)
    walk.u32(&peerMaxBioSize)
    walk.u32(&alStripes)
    walk.u32(&alStripeSize4k)
    walk.pad(4000)
  }
}

extension Superblock {
  var recordV08: RecordV08 {
    var record = RecordV08()
    record.effectiveSize = effectiveSize.value
    record.current = current
    record.bitmap = peers[0].bitmapUUID
    record.history0 = history[0]
    record.history1 = history[1]
    record.deviceUUID = deviceUUID
    record.flags = flags.rawValue
    record.magic = unclean ? RecordV08.magicUnclean : RecordV08.magicClean
    record.mdSizeSectors = mdSizeSectors
    record.alOffset = UInt32(bitPattern: alOffset)
    record.alExtents = alExtents
    record.bmOffset = UInt32(bitPattern: bmOffset)
    record.bytesPerBit = bytesPerBit
    record.peerMaxBioSize = peerMaxBioSize
    record.alStripes = alStripes
    record.alStripeSize4k = alStripeSize4k
    return record
  }

  mutating func take(_ record: RecordV08) {
    effectiveSize = SectorCount(record.effectiveSize)
    current = record.current
    peers[0].bitmapUUID = record.bitmap
    history[0] = record.history0
    history[1] = record.history1
    deviceUUID = record.deviceUUID
    flags = DeviceFlags(rawValue: record.flags)
    unclean = record.magic == RecordV08.magicUnclean
    mdSizeSectors = record.mdSizeSectors
    alOffset = Int32(bitPattern: record.alOffset)
    alExtents = record.alExtents
    bmOffset = Int32(bitPattern: record.bmOffset)
    bytesPerBit = record.bytesPerBit
    peerMaxBioSize = record.peerMaxBioSize
    // Both zero is metadata from before 8.4, which knew no other size.
    let old = record.alStripes == 0 && record.alStripeSize4k == 0
    alStripes = old ? 1 : record.alStripes
    alStripeSize4k = old ? 8 : record.alStripeSize4k
  }
}
