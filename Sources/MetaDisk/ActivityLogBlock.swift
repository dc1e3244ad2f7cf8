// One 4 KiB block of the activity log ring (metadata spec 3.2): up to 64 changes, and a window of what the slots held
// before them. It is the only metadata with a checksum, because a power cut may tear it.
import Base

public enum ActivityLogBlock {
  public static let bytes = 4096
  public static let magic: UInt32 = 0x69CB_65A2
  /// Marks an empty slot.
  public static let free = UInt32.max
  static let freeSlot = UInt16.max
  static let updates = 64
  static let contextEntries = 919
  static let typeUpdate: UInt16 = 0
  static let typeInitialized: UInt16 = 0xFFFF
  /// Slot numbers from here on are nonsense.
  static let slotLimit = 65534

  static let crcAt = 8
  static let updateSlotAt = 36
  static let updateExtentAt = 164
  static let contextAt = 420

  /// The first 36 bytes.
  struct Head: Layout {
    var magic: UInt32 = 0
    var number: UInt32 = 0
    var crc: UInt32 = 0
    var type: UInt16 = 0
    var updates: UInt16 = 0
    var slots: UInt16 = 0
    var contextStart: UInt16 = 0

    mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
      walk.u32(&magic)
      walk.u32(&number)
      walk.u32(&crc)
      walk.u16(&type)
      walk.u16(&updates)
      walk.u16(&slots)
      walk.u16(&contextStart)
      walk.pad(16)
    }
  }

  /// Fills a block with what every block of a new ring holds: valid, and says nothing.
  public static func initialize(_ block: UnsafeMutableRawBufferPointer) {
    precondition(block.count >= bytes, "an activity log block is 4096 bytes")
    for i in 0..<bytes { block[i] = 0 }
    var head = Head()
    head.magic = magic
    head.type = typeInitialized
    head.write(to: block)
    seal(block)
  }

  /// The checksum over the block with its own field taken as zero.
  static func checksum(_ block: UnsafeRawBufferPointer) -> UInt32 {
    let before = CRC32C.raw(UnsafeRawBufferPointer(rebasing: block[0..<crcAt]))
    let zero: UInt32 = 0
    let at = withUnsafeBytes(of: zero) { CRC32C.raw($0, register: before) }
    return CRC32C.raw(UnsafeRawBufferPointer(rebasing: block[(crcAt + 4)..<bytes]), register: at)
  }

  static func seal(_ block: UnsafeMutableRawBufferPointer) {
    block.storeBytes(of: checksum(UnsafeRawBufferPointer(block)).bigEndian, toByteOffset: crcAt, as: UInt32.self)
  }

  /// Writes an update block: first the updates, then the context, then `seal`.
  struct Writer: ~Copyable {
    private let block: UnsafeMutableRawBufferPointer
    private var head = Head()
    private var contextCount = 0

    init(_ block: UnsafeMutableRawBufferPointer, number: UInt32, slots: UInt16, contextStart: UInt16) {
      precondition(block.count >= bytes, "an activity log block is 4096 bytes")
      self.block = block
      head.magic = magic
      head.number = number
      head.type = typeUpdate
      head.slots = slots
      head.contextStart = contextStart
      for i in updateSlotAt..<bytes { block[i] = 0xFF }
    }

    mutating func update(slot: UInt16, extent: UInt32) {
      let i = Int(head.updates)
      block.storeBytes(of: slot.bigEndian, toByteOffset: updateSlotAt + 2 * i, as: UInt16.self)
      block.storeBytes(of: extent.bigEndian, toByteOffset: updateExtentAt + 4 * i, as: UInt32.self)
      head.updates += 1
    }

    mutating func context(_ extent: UInt32) {
      block.storeBytes(of: extent.bigEndian, toByteOffset: contextAt + 4 * contextCount, as: UInt32.self)
      contextCount += 1
    }

    mutating func seal() {
      head.write(to: block)
      ActivityLogBlock.seal(block)
    }
  }
}
