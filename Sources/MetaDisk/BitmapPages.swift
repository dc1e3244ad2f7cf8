// The bitmap as it lies on disk: 4 KiB pages of 32-bit little-endian words, the slots interleaved word by word (spec
// 4.1), and for each page whether memory is ahead of the disk. Law: a page that got a bit set is written before the
// activity log forgets the extent; a page that only lost bits may wait, for its old content merely costs a resync.
import Base

/// One byte per page.
struct PageStates: ~Copyable {
  /// Ordered by urgency.
  enum State: UInt8 {
    case unchanged = 0
    case lazy = 1
    case dirty = 2
  }
  private static let stateBits: UInt8 = 0x03
  private static let inFlight: UInt8 = 0x80

  private var bytes: UnsafeMutablePointer<UInt8>
  private(set) var count: Int
  private var lazyCount = 0
  private var dirtyCount = 0

  init(count: Int) {
    self.count = count
    bytes = .allocate(capacity: max(1, count))
    bytes.initialize(repeating: 0, count: count)
  }

  deinit { bytes.deallocate() }

  func state(_ page: UInt32) -> State {
    precondition(page < count, "bitmap page out of range")
    return State(rawValue: bytes[Int(page)] & PageStates.stateBits)!
  }

  /// Raises a page's urgency, never lowers it.
  mutating func mark(_ page: UInt32, _ new: State) {
    let old = state(page)
    guard new.rawValue > old.rawValue else { return }
    replace(page, old, new)
  }

  mutating func markAll(_ new: State) {
    for page in 0..<UInt32(count) { mark(page, new) }
  }

  /// What may wait waits no longer.
  mutating func hurry() {
    if lazyCount == 0 { return }
    for page in 0..<UInt32(count) where state(page) == .lazy { mark(page, .dirty) }
  }

  mutating func settle(_ page: UInt32) { replace(page, state(page), .unchanged) }

  private mutating func replace(_ page: UInt32, _ old: State, _ new: State) {
    if old == .lazy { lazyCount -= 1 }
    if old == .dirty { dirtyCount -= 1 }
    if new == .lazy { lazyCount += 1 }
    if new == .dirty { dirtyCount += 1 }
    bytes[Int(page)] = bytes[Int(page)] & ~PageStates.stateBits | new.rawValue
  }

  func isInFlight(_ page: UInt32) -> Bool {
    precondition(page < count, "bitmap page out of range")
    return bytes[Int(page)] & PageStates.inFlight != 0
  }

  mutating func setInFlight(_ page: UInt32, _ value: Bool) {
    precondition(page < count, "bitmap page out of range")
    if value { bytes[Int(page)] |= PageStates.inFlight } else { bytes[Int(page)] &= ~PageStates.inFlight }
  }

  func hasWork(includeLazy: Bool) -> Bool { dirtyCount > 0 || (includeLazy && lazyCount > 0) }

  func next(from page: UInt32, includeLazy: Bool) -> UInt32? {
    guard hasWork(includeLazy: includeLazy) else { return nil }
    let least = includeLazy ? State.lazy.rawValue : State.dirty.rawValue
    var i = Int(page)
    while i < count {
      if bytes[i] & PageStates.stateBits >= least { return UInt32(i) }
      i += 1
    }
    return nil
  }

  mutating func resize(to new: Int) {
    var other = PageStates(count: new)
    for page in 0..<UInt32(min(new, count)) {
      other.mark(page, state(page))
      other.setInFlight(page, isInFlight(page))
    }
    self = other
  }
}

/// The pages of one extent that have to be written, in order; at most two.
public struct ExtentPages: Sequence, IteratorProtocol, Equatable, Sendable {
  var first: UInt32?
  var second: UInt32?
  public mutating func next() -> UInt32? {
    defer {
      first = second
      second = nil
    }
    return first
  }
}

extension Bitmap {
  /// Words of 32 bits on a page.
  private static let pageWords = 1024

  static func pageCount(words: Int, slots: Int) -> Int { (words * 2 * slots + pageWords - 1) / pageWords }

  /// Pages of 4096 bytes on disk; page p lies at the bitmap's offset + 4096 p.
  public var pageCount: UInt32 { UInt32(pages.count) }

  func page(of bit: UInt64, slot index: Int) -> UInt32 {
    UInt32(truncatingIfNeeded: ((bit >> 5) * UInt64(maxPeers) + UInt64(index)) >> 10)
  }

  /// The first bit of a slot that lies behind a page.
  func endBit(of page: UInt32, slot index: Int) -> UInt64 {
    let words = UInt64(page + 1) << 10 - UInt64(index)
    return ((words + UInt64(maxPeers) - 1) / UInt64(maxPeers)) << 5
  }

  /// Any page left for `nextDirtyPage`.
  public func hasDirtyPages(includeLazy: Bool) -> Bool { pages.hasWork(includeLazy: includeLazy) }

  /// Pages that only lost bits are as urgent as the others from here on: what is written next relies on them.
  public mutating func hurry() { pages.hurry() }

  /// The first page at or behind `from` that has to be written; with `includeLazy` also those that only lost bits.
  public mutating func nextDirtyPage(from page: UInt32, includeLazy: Bool) -> UInt32? {
    pages.next(from: page, includeLazy: includeLazy)
  }

  /// The pages with newly set bits among those that hold any slot's bits of an extent.
  public func dirtyPages(coveringExtent extent: ExtentNumber) -> ExtentPages {
    var result = ExtentPages()
    for page in pagesCovering(extent) where pages.state(page) == .dirty {
      if result.first == nil { result.first = page } else { result.second = page }
    }
    return result
  }

  /// A page of the extent was issued and has not completed: the activity log must not forget the extent yet.
  public func isBeingWritten(coveringExtent extent: ExtentNumber) -> Bool {
    for page in pagesCovering(extent) where pages.isInFlight(page) { return true }
    return false
  }

  private func pagesCovering(_ extent: ExtentNumber) -> Range<UInt32> {
    let first = extent.firstBit.value
    guard first < bits else { return 0..<0 }
    let last = min(first + 1023, bits - 1)
    return page(of: first, slot: 0)..<page(of: last, slot: maxPeers - 1) + 1
  }

  /// The write of a page is issued now. A bit that changes from here on marks the page again.
  public mutating func markWritten(_ page: UInt32) {
    pages.settle(page)
    pages.setInFlight(page, true)
  }

  /// The write of a page has ended well.
  public mutating func writeCompleted(_ page: UInt32) { pages.setInFlight(page, false) }

  public func isBeingWritten(_ page: UInt32) -> Bool { pages.isInFlight(page) }

  /// The page has to be written (again), because a write failed.
  public mutating func markDirty(_ page: UInt32) {
    pages.setInFlight(page, false)
    pages.mark(page, .dirty)
  }

  /// Pages that hold the first bits of every slot.
  public func pageCount(coveringBits count: UInt64) -> UInt32 {
    count == 0 ? 0 : min(pageCount, page(of: min(count, bits) - 1, slot: maxPeers - 1) + 1)
  }

  /// Words of this slot were changed from outside (bits only set): marks the pages that hold set bits of the range.
  /// `recount` has to follow before `setCount` is used.
  public mutating func merged(_ range: Range<UInt64>) {
    var bit = range.lowerBound
    while let found = next(set: bit), found < range.upperBound {
      let page = page(of: found, slot: slotIndex)
      pages.mark(page, .dirty)
      bit = endBit(of: page, slot: slotIndex)
    }
  }

  /// The bitmap moved, or is to be stored as a whole.
  public mutating func markAllDirty() { pages.markAll(.dirty) }

  /// Fills the 4096 bytes of a page. Padding is written as zero.
  public func render(page: UInt32, into block: UnsafeMutableRawBufferPointer) {
    precondition(page < pageCount && block.count >= 4096, "a bitmap page is 4096 bytes")
    if maxPeers == 1 { return renderPlain(page, block) }
    let words = block.bindMemory(to: UInt32.self)
    forEachWord(of: page) { at, slot, word in
      guard word >> 1 < wordsPerSlot else {
        words[at] = 0
        return
      }
      let whole = self.slot(slot)[word >> 1]
      words[at] = UInt32(truncatingIfNeeded: word & 1 == 0 ? whole : whole >> 32).littleEndian
    }
  }

  /// Takes a page over from the disk, for every slot. Bits beyond the end are dropped.
  public mutating func absorb(page: UInt32, from block: RawSpan) {
    precondition(page < pageCount && block.byteCount >= 4096, "a bitmap page is 4096 bytes")
    if maxPeers == 1 { return absorbPlain(page, block) }
    var before = 0
    var after = 0
    let (own, perSlot, base, mask) = (slotIndex, wordsPerSlot, store, lastWordMask)
    forEachWord(of: page) { at, slot, word in
      guard word >> 1 < perSlot else { return }
      let read = UInt32(littleEndian: block.unsafeLoadUnaligned(fromByteOffset: at * 4, as: UInt32.self))
      let target = base + slot * perSlot + word >> 1
      let old = target.pointee
      var new =
        word & 1 == 0 ? old & 0xFFFF_FFFF_0000_0000 | UInt64(read) : old & 0xFFFF_FFFF | UInt64(read) << 32
      if word >> 1 == perSlot - 1 { new &= mask }
      target.pointee = new
      if slot == own {
        before += old.nonzeroBitCount
        after += new.nonzeroBitCount
      }
    }
    setCount = setCount + UInt64(after) - UInt64(before)
  }

  /// One slot: a page is 512 words as they lie in memory.
  private func renderPlain(_ page: UInt32, _ block: UnsafeMutableRawBufferPointer) {
    let first = Int(page) * 512
    let count = min(512, wordsPerSlot - first)
    for i in 0..<count { block.storeBytes(of: store[first + i].littleEndian, toByteOffset: i * 8, as: UInt64.self) }
    for i in count..<512 { block.storeBytes(of: 0, toByteOffset: i * 8, as: UInt64.self) }
  }

  private mutating func absorbPlain(_ page: UInt32, _ block: RawSpan) {
    let first = Int(page) * 512
    let count = min(512, wordsPerSlot - first)
    let words = store + first
    var before = 0
    var after = 0
    for i in 0..<count {
      var new = UInt64(littleEndian: block.unsafeLoadUnaligned(fromByteOffset: i * 8, as: UInt64.self))
      if first + i == wordsPerSlot - 1 { new &= lastWordMask }
      before += words[i].nonzeroBitCount
      after += new.nonzeroBitCount
      words[i] = new
    }
    setCount = setCount + UInt64(after) - UInt64(before)
  }

  /// Visits the words of a page: position on the page, slot, and number of the 32-bit word within the slot.
  @inline(__always)
  private func forEachWord(of page: UInt32, _ body: (Int, Int, Int) -> Void) {
    let first = Int(page) * Bitmap.pageWords
    var slot = first % maxPeers
    var word = first / maxPeers
    for at in 0..<Bitmap.pageWords {
      body(at, slot, word)
      slot += 1
      if slot == maxPeers {
        slot = 0
        word += 1
      }
    }
  }
}
