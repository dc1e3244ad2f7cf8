// Reads the ring back after a crash (metadata spec 3.7): which extents may have had writes in flight. Blocks come in any
// order; for each slot the last word counts, by transaction number. One torn block is normal, for its writes had not
// been submitted; memory does not depend on the size of the ring.
import Base

public struct ActivityLogReplay {
  /// What the ring says.
  public struct Outcome: Equatable, Sendable {
    /// Slot by slot, ascending.
    public var entries: [Entry]
    /// Blocks that are what they should be, and those among them that carry a transaction.
    public var validBlocks: UInt32
    public var updateBlocks: UInt32
    public var corruptBlocks: UInt32
    /// Ascending, each once.
    public var active: [ExtentNumber] {
      var result: [ExtentNumber] = []
      for extent in entries.map(\.extent).sorted() where extent != result.last { result.append(extent) }
      return result
    }
  }

  public struct Entry: Equatable, Sendable {
    public var slot: UInt16
    public var extent: ExtentNumber
  }

  /// Ring of formats that are not read here: DRBD 8.3 (512-byte sectors) and persistent memory.
  private static let foreignMagics: [UInt32: String] = [
    0x8374_0267: "an activity log written by DRBD before 8.4; apply it with the tools that wrote it",
    0x6AA6_67A6: "an activity log for persistent memory",
  ]

  private let blocks: UInt32
  private let stripes: UInt32
  private let stripeSize4k: UInt32
  private var valid: UInt32 = 0
  private var updates: UInt32 = 0
  private var firstIsBad = true
  private var foreign: String?
  private var extents = [UInt32](repeating: ActivityLogBlock.free, count: ActivityLogBlock.slotLimit)
  /// Number of the transaction that spoke last about a slot; meaningful where `spoken`.
  private var numbers = [UInt32](repeating: 0, count: ActivityLogBlock.slotLimit)
  private var spoken = [Bool](repeating: false, count: ActivityLogBlock.slotLimit)

  public init(stripes: UInt32 = 1, stripeSize4k: UInt32 = 8) {
    self.stripes = stripes
    self.stripeSize4k = stripeSize4k
    blocks = stripes * stripeSize4k
  }

  public var blockCount: UInt32 { blocks }

  /// Takes one block, by its place in the activity log area. A block that is never given counts as damaged.
  public mutating func absorb(block index: UInt32, _ block: RawSpan) {
    precondition(index < blocks && block.byteCount >= ActivityLogBlock.bytes, "an activity log block is 4096 bytes")
    var reader = LayoutReader(block)
    var head = ActivityLogBlock.Head()
    head.fields(&reader)
    guard head.magic == ActivityLogBlock.magic, block.withUnsafeBytes(ActivityLogBlock.checksum) == head.crc else {
      if index == 0 { foreign = ActivityLogReplay.foreignMagics[head.magic] }
      return
    }
    valid += 1
    let position = index % stripeSize4k * stripes + index / stripeSize4k
    if position == 0 { firstIsBad = false }
    guard head.type == ActivityLogBlock.typeUpdate else { return }
    updates += 1
    for i in 0..<ActivityLogBlock.contextEntries {
      let extent = big32(block, ActivityLogBlock.contextAt + 4 * i)
      let slot = Int(head.contextStart) + i
      if extent == ActivityLogBlock.free, slot >= Int(head.slots) { continue }
      say(slot, extent, head.number)
    }
    for i in 0..<ActivityLogBlock.updates {
      let at = ActivityLogBlock.updateSlotAt + 2 * i
      let slot = UInt16(bigEndian: block.unsafeLoadUnaligned(fromByteOffset: at, as: UInt16.self))
      if i >= Int(head.updates), slot == ActivityLogBlock.freeSlot { continue }
      say(Int(slot), big32(block, ActivityLogBlock.updateExtentAt + 4 * i), head.number)
    }
  }

  private func big32(_ block: RawSpan, _ offset: Int) -> UInt32 {
    UInt32(bigEndian: block.unsafeLoadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  /// Numbers are compared around the circle: they may wrap.
  private mutating func say(_ slot: Int, _ extent: UInt32, _ number: UInt32) {
    guard slot < ActivityLogBlock.slotLimit else { return }
    if spoken[slot], Int32(bitPattern: number &- numbers[slot]) < 0 { return }
    spoken[slot] = true
    numbers[slot] = number
    extents[slot] = extent
  }

  /// After the last block. Throws when the ring cannot be trusted; then only a clear `primaryIndicator` lets go on.
  public consuming func finish() throws(MetaFault) -> Outcome {
    let corrupt = blocks - valid
    if valid == 0 {
      if let foreign { throw .unsupported(foreign) }
      throw .activityLogEmpty
    }
    if updates == 0, corrupt > 1 || (corrupt == 1 && !firstIsBad) { throw .activityLogCorrupt(badBlocks: corrupt) }
    var entries: [Entry] = []
    for slot in 0..<ActivityLogBlock.slotLimit where extents[slot] != ActivityLogBlock.free {
      entries.append(Entry(slot: UInt16(slot), extent: ExtentNumber(extents[slot])))
    }
    return Outcome(entries: entries, validBlocks: valid, updateBlocks: updates, corruptBlocks: corrupt)
  }
}
