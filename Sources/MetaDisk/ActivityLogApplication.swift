// What follows from a replayed activity log (metadata spec 3.8), as a plan: mark, initialise, write the superblock, in
// this order and with a flush after each. Everything that may have been in flight at the crash becomes out of sync, for
// every peer. A log that cannot be read stops here, unless the node was no Primary and nothing was in flight.
import Base

public struct ActivityLogApplication: Equatable, Sendable {
  /// Extents to mark out of sync in every slot (`Bitmap.markOutOfSync`), then write the bitmap and flush.
  public let marked: [ExtentNumber]
  /// Named by the log, but beyond the end of the device: reported, not marked.
  public let beyondEnd: [ExtentNumber]
  /// Fill the ring with initialised blocks and flush.
  public let initializesLog: Bool
  /// The superblock to write last.
  public let superblock: Superblock
  public let superblockChanged: Bool
  public let corruptBlocks: UInt32
  /// The log could not be read and did not matter.
  public let ignoredFault: MetaFault?

  public init(
    superblock: Superblock, replay: Result<ActivityLogReplay.Outcome, MetaFault>
  ) throws(MetaFault) {
    var after = superblock
    after.markClean()
    self.superblock = after
    superblockChanged = after != superblock
    let outcome: ActivityLogReplay.Outcome
    switch replay {
    case .success(let read): outcome = read
    case .failure(let fault):
      if superblock.flags.contains(.primaryIndicator) { throw fault }
      marked = []
      beyondEnd = []
      initializesLog = true
      corruptBlocks = 0
      ignoredFault = fault
      return
    }
    ignoredFault = nil
    corruptBlocks = outcome.corruptBlocks
    initializesLog = outcome.updateBlocks > 0 || outcome.corruptBlocks > 0
    guard superblock.flags.contains(.primaryIndicator) else {
      marked = []
      beyondEnd = []
      return
    }
    let bits = superblock.effectiveSize.bits
    let active = outcome.active
    marked = active.filter { $0.firstBit.value < bits }
    beyondEnd = active.filter { $0.firstBit.value >= bits }
  }

  /// DRBD's sentence about the bits that were clear before.
  public static func describe(newlySet bits: UInt64) -> String {
    let kib = bits * 4
    return "Marked additional \(Size.short(kib: kib)) as out-of-sync based on AL."
  }
}

/// Sizes as DRBD prints them: the largest unit that keeps the number below 10000, rounded.
enum Size {
  static func short(kib: UInt64) -> String {
    var value = kib
    var unit = 0
    let units = ["KB", "MB", "GB", "TB", "PB", "EB"]
    while value >= 10000, unit < units.count - 1 {
      value = (value + 512) >> 10
      unit += 1
    }
    return "\(value) \(units[unit])"
  }
}
