// The commands on metadata that is there: apply the activity log, mark, wipe, dump and restore (metadata spec 3.8, 5.2, 5.3).
import Base
import BlockIO
import Control
import MetaDisk

extension OfflineMetadata {
  /// Marks what may have been in flight at a crash out of sync. Returns the line to print.
  func applyActivityLog() throws(Refusal) -> String? {
    let superblock = try superblock()
    let placement = try placement(of: superblock)
    var replay = ActivityLogReplay(stripes: superblock.alStripes, stripeSize4k: superblock.alStripeSize4k)
    for index in 0..<replay.blockCount {
      let offset = placement.activityLogOffset + UInt64(index) * UInt64(ActivityLogBlock.bytes)
      let block = try read(at: offset, count: ActivityLogBlock.bytes)
      replay.absorb(block: index, block.span.bytes)
    }
    let outcome: Result<ActivityLogReplay.Outcome, MetaFault>
    do throws(MetaFault) { outcome = .success(try replay.finish()) } catch { outcome = .failure(error) }
    let plan: ActivityLogApplication
    do throws(MetaFault) {
      plan = try ActivityLogApplication(superblock: superblock, replay: outcome)
    } catch {
      throw Refusal(metadata: error)
    }
    var said: String?
    if !plan.marked.isEmpty {
      var bitmap = try bitmap(of: superblock, at: placement)
      var newlySet: UInt64 = 0
      for extent in plan.marked { newlySet += bitmap.markOutOfSync(extent) }
      try write(&bitmap, at: placement)
      said = ActivityLogApplication.describe(newlySet: newlySet)
    }
    if plan.initializesLog { try initializeActivityLog(at: placement) }
    if plan.superblockChanged { try write(plan.superblock, at: placement) }
    return said
  }

  func outdate() throws(Refusal) {
    var superblock = try superblock()
    guard superblock.outdate() else {
      throw Refusal(
        "Device is inconsistent", next: "nothing is to be done: an Inconsistent disk is never used as good data",
        exitCode: 5)
    }
    try write(superblock, at: placement(of: superblock))
  }

  func invalidate() throws(Refusal) {
    var superblock = try superblock()
    superblock.invalidate()
    try write(superblock, at: placement(of: superblock))
  }

  /// The text of `dump-md` from the version line on. Unclean metadata only when forced.
  func dump(evenUnclean: Bool) throws(Refusal) -> String {
    let superblock = try superblock()
    guard superblock.isClean || evenUnclean else { throw Refusal(metadata: .unclean) }
    let placement = try placement(of: superblock)
    let dump = MetaDump(superblock: superblock, placement: placement)
    let area = try read(at: placement.bitmapOffset, count: Int(dump.bitmapBytes))
    var text = ""
    dump.write(bitmapArea: area.span.bytes, to: &text)
    return text
  }

  /// Writes back what a dump says. Returns remarks.
  func restore(_ dump: DumpedMetadata) throws(Refusal) -> [String] {
    let placement: Placement
    do throws(MetaFault) {
      placement = try dump.placement(location: location, deviceBytes: disk.bytes)
    } catch {
      throw Refusal(metadata: error)
    }
    let restored = dump.restored(at: placement, dataDeviceBytes: dataBytes)
    try eraseSuperblock()
    try initializeActivityLog(at: placement)
    try zeroBitmap(at: placement)
    var bitmap = dump.bitmap(sectors: restored.superblock.effectiveSize)
    try write(&bitmap, at: placement)
    try write(restored.superblock, at: placement)
    guard let was = restored.truncatedFrom else { return [] }
    return ["# la-size-sect was too big (\(was.value)), truncated (\(restored.superblock.effectiveSize.value))!"]
  }
}
