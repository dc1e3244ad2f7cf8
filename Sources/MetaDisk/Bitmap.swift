// The bitmap in memory: a bit per 4 KiB block, 1 = out of sync with the peer (metadata spec 4). It works for one peer's
// slot; where the metadata has several slots the others' bits are kept beside it, because they share its pages on disk.
// Law: a bit at or beyond `bits` is never 1 here, and the last word is not touched when `bits` is a multiple of 64.
import Base

public struct Bitmap: ~Copyable {
  /// All slots, one after the other, `wordsPerSlot` words each.
  var store: UnsafeMutablePointer<UInt64>
  public private(set) var wordsPerSlot: Int
  /// Slots on disk, 1...31.
  public let maxPeers: Int
  /// The slot this bitmap works for.
  public let slotIndex: Int
  public private(set) var bits: UInt64
  /// Bits set in the own slot.
  public internal(set) var setCount: UInt64 = 0
  /// Slots of nodes that are not spoken to, as a mask: they have to learn of every change of the data.
  public var otherSlots: UInt32 = 0
  var pages: PageStates

  /// All bits clear, no page to be written.
  public init(bits: UInt64, maxPeers: Int = 1, slotIndex: Int = 0) {
    precondition((1...31).contains(maxPeers) && (0..<maxPeers).contains(slotIndex), "bitmap slots are 0..<31")
    precondition(bits <= 1 << 38, "a bitmap stands for at most 1 PiB")
    self.bits = bits
    self.maxPeers = maxPeers
    self.slotIndex = slotIndex
    wordsPerSlot = Int((bits + 63) / 64)
    store = .allocate(capacity: max(1, wordsPerSlot * maxPeers))
    store.initialize(repeating: 0, count: wordsPerSlot * maxPeers)
    pages = PageStates(count: Bitmap.pageCount(words: wordsPerSlot, slots: maxPeers))
  }

  deinit { store.deallocate() }

  func slot(_ index: Int) -> UnsafeMutablePointer<UInt64> { store + index * wordsPerSlot }

  /// The own slot's words, bit b in word b / 64. Who changes them calls `recount` and marks pages afterwards.
  public var words: UnsafeMutableBufferPointer<UInt64> {
    UnsafeMutableBufferPointer(start: slot(slotIndex), count: wordsPerSlot)
  }

  /// The valid bits of a slot's last word.
  var lastWordMask: UInt64 { bits & 63 == 0 ? ~0 : ~(~0 << (bits & 63)) }

  // MARK: Changing

  /// Returns how many were clear before.
  @discardableResult
  public mutating func set(_ range: Range<UInt64>) -> UInt64 {
    let changed = change(range, slot: slotIndex, to: true)
    setCount += changed
    return changed
  }

  /// Returns how many were set before. The pages are written when there is time.
  @discardableResult
  public mutating func clear(_ range: Range<UInt64>) -> UInt64 {
    let changed = change(range, slot: slotIndex, to: false)
    setCount -= changed
    return changed
  }

  /// Sets bits for every peer; returns how many were clear before, all slots together.
  @discardableResult
  public mutating func setInAllSlots(_ range: Range<UInt64>) -> UInt64 {
    var total: UInt64 = 0
    for index in 0..<maxPeers where index != slotIndex { total += change(range, slot: index, to: true) }
    return total + set(range)
  }

  /// The data of these blocks change: the nodes that are not spoken to lack them from now on.
  @discardableResult
  public mutating func noteChange(_ range: @autoclosure () -> Range<UInt64>) -> UInt64 {
    if otherSlots == 0 { return 0 }
    let range = range()
    var added: UInt64 = 0
    for index in 0..<maxPeers where otherSlots & 1 << UInt32(index) != 0 {
      added += change(range, slot: index, to: true)
    }
    return added
  }

  /// Every block that is out of sync with the peer may change: a resync from it begins.
  public mutating func noteChangeOfMarked() {
    if otherSlots == 0 { return }
    var from: UInt64 = 0
    while let first = next(set: from) {
      let end = next(clear: first) ?? bits
      noteChange(first..<end)
      from = end
    }
  }

  /// Marks a whole activity-log extent for every peer, as applying the log does, or for the other nodes only. Nothing beyond the end
  /// is marked. Returns how many bits were added, those of all slots.
  @discardableResult
  public mutating func markOutOfSync(_ extent: ExtentNumber, marksPeer: Bool = true) -> UInt64 {
    let first = min(extent.firstBit.value, bits)
    let range = first..<min(first + 1024, bits)
    if marksPeer { return setInAllSlots(range) }
    return noteChange(range)
  }

  /// Every bit of the own slot; every page has to be written.
  public mutating func setAll() {
    _ = set(0..<bits)
    markAllDirty()
  }

  /// No bit of the own slot; every page is written when there is time.
  public mutating func clearAll() {
    _ = clear(0..<bits)
    pages.markAll(.lazy)
  }

  /// ORs a word the peer sent into the own slot; returns how many bits it added. Bits beyond the end are ignored.
  @discardableResult
  public mutating func merge(word index: Int, _ value: UInt64) -> UInt64 {
    precondition((0..<wordsPerSlot).contains(index), "bitmap word out of range")
    let old = slot(slotIndex)[index]
    let new = old | (index == wordsPerSlot - 1 ? value & lastWordMask : value)
    guard new != old else { return 0 }
    slot(slotIndex)[index] = new
    // The halves of a word may lie on two pages.
    let first = UInt64(index) * 64
    pages.mark(page(of: first, slot: slotIndex), .dirty)
    pages.mark(page(of: first + 32, slot: slotIndex), .dirty)
    let added = UInt64((new ^ old).nonzeroBitCount)
    setCount += added
    return added
  }

  private mutating func change(_ range: Range<UInt64>, slot index: Int, to value: Bool) -> UInt64 {
    precondition(range.upperBound <= bits, "bit out of range")
    let words = slot(index)
    var at = range.lowerBound
    var total: UInt64 = 0
    while at < range.upperBound {
      let page = page(of: at, slot: index)
      let stop = min(range.upperBound, endBit(of: page, slot: index))
      let changed = value ? Bitmap.fill(words, at, stop) : Bitmap.wipe(words, at, stop)
      if changed > 0 { pages.mark(page, value ? .dirty : .lazy) }
      total += changed
      at = stop
    }
    return total
  }

  // MARK: Asking

  public func isSet(_ bit: UInt64) -> Bool {
    precondition(bit < bits, "bit out of range")
    return slot(slotIndex)[Int(bit >> 6)] >> (bit & 63) & 1 == 1
  }

  /// The first set bit at or behind `from`.
  public func next(set from: UInt64) -> UInt64? {
    guard setCount > 0, from < bits else { return nil }
    let words = slot(slotIndex)
    var i = Int(from >> 6)
    var word = words[i] & (~0 << (from & 63))
    while word == 0 {
      i += 1
      if i == wordsPerSlot { return nil }
      word = words[i]
    }
    return UInt64(i) << 6 + UInt64(word.trailingZeroBitCount)
  }

  /// The first clear bit at or behind `from`; nil when all up to the end are set.
  public func next(clear from: UInt64) -> UInt64? {
    guard from < bits else { return nil }
    let words = slot(slotIndex)
    var i = Int(from >> 6)
    var word = ~words[i] & (~0 << (from & 63))
    while word == 0 {
      i += 1
      if i == wordsPerSlot { return nil }
      word = ~words[i]
    }
    let bit = UInt64(i) << 6 + UInt64(word.trailingZeroBitCount)
    return bit < bits ? bit : nil
  }

  public func anySet(in range: Range<UInt64>) -> Bool {
    guard !range.isEmpty, let bit = next(set: range.lowerBound, before: range.upperBound) else { return false }
    return bit < range.upperBound
  }

  public func count(in range: Range<UInt64>) -> UInt64 { count(in: range, slot: slotIndex) }

  /// Set bits of any slot.
  public func count(in range: Range<UInt64>, slot index: Int) -> UInt64 {
    precondition(range.upperBound <= bits && (0..<maxPeers).contains(index), "bit or slot out of range")
    guard !range.isEmpty else { return 0 }
    let words = slot(index)
    let first = Int(range.lowerBound >> 6)
    let last = Int((range.upperBound - 1) >> 6)
    let (head, tail) = Bitmap.masks(range.lowerBound, range.upperBound)
    if first == last { return UInt64((words[first] & head & tail).nonzeroBitCount) }
    var n = (words[first] & head).nonzeroBitCount + (words[last] & tail).nonzeroBitCount
    var i = first + 1
    while i < last {
      n += words[i].nonzeroBitCount
      i += 1
    }
    return UInt64(n)
  }

  private func next(set from: UInt64, before limit: UInt64) -> UInt64? {
    precondition(limit <= bits, "bit out of range")
    let words = slot(slotIndex)
    let last = Int((limit - 1) >> 6)
    var i = Int(from >> 6)
    var word = words[i] & (~0 << (from & 63))
    while word == 0 {
      i += 1
      if i > last { return nil }
      word = words[i]
    }
    return UInt64(i) << 6 + UInt64(word.trailingZeroBitCount)
  }

  /// After `words` were changed directly: drops bits beyond the end and counts anew.
  public mutating func recount() {
    if wordsPerSlot > 0 { slot(slotIndex)[wordsPerSlot - 1] &= lastWordMask }
    setCount = count(in: 0..<bits)
  }

  // MARK: Growing and shrinking

  /// Bits that come into being are `newBitsSet` in every slot; bits beyond a smaller size are dropped. Pages that exist
  /// anew, and the one that held the old end, have to be written.
  public mutating func resize(bits new: UInt64, newBitsSet: Bool) {
    precondition(new <= 1 << 38, "a bitmap stands for at most 1 PiB")
    let old = bits
    let oldPages = pages.count
    let newWords = Int((new + 63) / 64)
    let larger = UnsafeMutablePointer<UInt64>.allocate(capacity: max(1, newWords * maxPeers))
    larger.initialize(repeating: 0, count: newWords * maxPeers)
    let kept = min(newWords, wordsPerSlot)
    for index in 0..<maxPeers { (larger + index * newWords).update(from: slot(index), count: kept) }
    store.deallocate()
    store = larger
    wordsPerSlot = newWords
    bits = new
    if newWords > 0 {
      for index in 0..<maxPeers { slot(index)[newWords - 1] &= lastWordMask }
    }
    let end = min(old, new)
    let firstTouched = end == 0 ? 0 : Int(page(of: end - 1, slot: 0))
    pages.resize(to: Bitmap.pageCount(words: newWords, slots: maxPeers))
    if newBitsSet, new > old { _ = setInAllSlots(old..<new) }
    for page in min(firstTouched, oldPages)..<max(firstTouched, pages.count) { pages.mark(UInt32(page), .dirty) }
    setCount = count(in: 0..<bits)
  }

  // MARK: Words

  /// Masks for the first and the last word of a range that is not empty.
  private static func masks(_ from: UInt64, _ to: UInt64) -> (UInt64, UInt64) {
    (~0 << (from & 63), ~0 >> (63 - ((to - 1) & 63)))
  }

  private static func fill(_ words: UnsafeMutablePointer<UInt64>, _ from: UInt64, _ to: UInt64) -> UInt64 {
    let first = Int(from >> 6)
    let last = Int((to - 1) >> 6)
    let (head, tail) = masks(from, to)
    if first == last {
      let n = (~words[first] & head & tail).nonzeroBitCount
      words[first] |= head & tail
      return UInt64(n)
    }
    var n = (~words[first] & head).nonzeroBitCount + (~words[last] & tail).nonzeroBitCount
    words[first] |= head
    words[last] |= tail
    var i = first + 1
    while i < last {
      n += (~words[i]).nonzeroBitCount
      words[i] = ~0
      i += 1
    }
    return UInt64(n)
  }

  private static func wipe(_ words: UnsafeMutablePointer<UInt64>, _ from: UInt64, _ to: UInt64) -> UInt64 {
    let first = Int(from >> 6)
    let last = Int((to - 1) >> 6)
    let (head, tail) = masks(from, to)
    if first == last {
      let n = (words[first] & head & tail).nonzeroBitCount
      words[first] &= ~(head & tail)
      return UInt64(n)
    }
    var n = (words[first] & head).nonzeroBitCount + (words[last] & tail).nonzeroBitCount
    words[first] &= ~head
    words[last] &= ~tail
    var i = first + 1
    while i < last {
      n += words[i].nonzeroBitCount
      words[i] = 0
      i += 1
    }
    return UInt64(n)
  }
}
