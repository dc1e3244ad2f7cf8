// The bitmap against a naive model, in one slot and in several, and the law of its pages: what was set is written.
import Base
import MetaDisk
import Testing

/// Bits as an array, pages as sets, the on-disk form bit by bit.
struct NaiveBitmap {
  var slots: [[Bool]]
  let own: Int
  var dirty: Set<UInt32> = []
  var lazy: Set<UInt32> = []

  init(bits: Int, maxPeers: Int, own: Int) {
    slots = Array(repeating: Array(repeating: false, count: bits), count: maxPeers)
    self.own = own
  }

  func place(_ bit: Int, _ slot: Int) -> (byte: Int, bit: Int) {
    ((bit / 32 * slots.count + slot) * 4 + bit % 32 / 8, bit % 8)
  }

  mutating func change(_ range: Range<Int>, slot: Int, to value: Bool) -> Int {
    var n = 0
    for bit in range where slots[slot][bit] != value {
      slots[slot][bit] = value
      n += 1
      let page = UInt32(place(bit, slot).byte / 4096)
      if value {
        dirty.insert(page)
        lazy.remove(page)
      } else if !dirty.contains(page) {
        lazy.insert(page)
      }
    }
    return n
  }

  func area() -> [UInt8] {
    let words = (slots[0].count + 63) / 64 * 2 * slots.count
    var result = [UInt8](repeating: 0, count: (words * 4 + 4095) / 4096 * 4096)
    for slot in slots.indices {
      for bit in slots[slot].indices where slots[slot][bit] {
        let at = place(bit, slot)
        result[at.byte] |= 1 << at.bit
      }
    }
    return result
  }
}

@Suite struct BitmapTests {
  static func area(_ bitmap: borrowing Bitmap) -> [UInt8] {
    var result: [UInt8] = []
    for page in 0..<bitmap.pageCount { result += render(bitmap, page) }
    return result
  }

  static func pages(_ bitmap: inout Bitmap, includeLazy: Bool) -> Set<UInt32> {
    var result: Set<UInt32> = []
    var from: UInt32 = 0
    while let page = bitmap.nextDirtyPage(from: from, includeLazy: includeLazy) {
      result.insert(page)
      from = page + 1
    }
    return result
  }

  @Test(arguments: [1, 2, 3, 5, 7, 31])
  func everyAnswerIsTheNaiveModels(_ maxPeers: Int) {
    var random = SeededGenerator(seed: UInt64(maxPeers))
    for _ in 0..<6 {
      let bits = [64 * 700, 64 * 700 + 1, 32768, 45_003, 1, 63][Int(random.below(6))]
      let own = Int(random.below(UInt64(maxPeers)))
      var bitmap = Bitmap(bits: UInt64(bits), maxPeers: maxPeers, slotIndex: own)
      var naive = NaiveBitmap(bits: bits, maxPeers: maxPeers, own: own)
      for _ in 0..<60 {
        let a = Int(random.below(UInt64(bits)))
        let length = random.oneIn(4) ? random.below(UInt64(bits)) : random.below(200)
        let b = min(bits, a + Int(length))
        let range = UInt64(a)..<UInt64(b)
        switch random.below(6) {
        case 0, 1: check(bitmap.set(range) == UInt64(naive.change(a..<b, slot: own, to: true)))
        case 2: check(bitmap.clear(range) == UInt64(naive.change(a..<b, slot: own, to: false)))
        case 3:
          var n = 0
          for slot in 0..<maxPeers { n += naive.change(a..<b, slot: slot, to: true) }
          check(bitmap.setInAllSlots(range) == UInt64(n))
        case 4:
          check(bitmap.count(in: range) == UInt64(naive.slots[own][a..<b].count { $0 }))
          check(bitmap.anySet(in: range) == naive.slots[own][a..<b].contains(true))
          check(bitmap.isSet(UInt64(a)) == naive.slots[own][a])
          check(bitmap.next(set: UInt64(a)) == naive.slots[own][a...].firstIndex(of: true).map(UInt64.init))
          check(bitmap.next(clear: UInt64(a)) == naive.slots[own][a...].firstIndex(of: false).map(UInt64.init))
        default:
          for page in Self.pages(&bitmap, includeLazy: true).prefix(2) {
            bitmap.markWritten(page)
            bitmap.writeCompleted(page)
            naive.dirty.remove(page)
            naive.lazy.remove(page)
          }
        }
        check(bitmap.setCount == UInt64(naive.slots[own].count { $0 }))
      }
      check(Self.area(bitmap) == naive.area())
      check(Self.pages(&bitmap, includeLazy: false) == naive.dirty)
      check(Self.pages(&bitmap, includeLazy: true) == naive.dirty.union(naive.lazy))
    }
  }

  @Test(arguments: [1, 2, 7])
  func growingAndShrinkingIsTheNaiveModels(_ maxPeers: Int) {
    var random = SeededGenerator(seed: 40 + UInt64(maxPeers))
    for _ in 0..<30 {
      let old = Int(random.below(70_000))
      let new = Int(random.below(70_000))
      let set = random.oneIn(2)
      var bitmap = Bitmap(bits: UInt64(old), maxPeers: maxPeers, slotIndex: maxPeers - 1)
      var naive = NaiveBitmap(bits: old, maxPeers: maxPeers, own: maxPeers - 1)
      for _ in 0..<20 where old > 0 {
        let a = Int(random.below(UInt64(old)))
        let b = min(old, a + Int(random.below(100)))
        bitmap.setInAllSlots(UInt64(a)..<UInt64(b))
        for slot in 0..<maxPeers { _ = naive.change(a..<b, slot: slot, to: true) }
      }
      for page in 0..<bitmap.pageCount { bitmap.markWritten(page) }
      let before = naive.area()
      bitmap.resize(bits: UInt64(new), newBitsSet: set)
      for slot in 0..<maxPeers {
        naive.slots[slot] = Array(naive.slots[slot].prefix(new)) + Array(repeating: set, count: max(0, new - old))
      }
      let after = naive.area()
      check(Self.area(bitmap) == after)
      check(bitmap.setCount == UInt64(naive.slots[maxPeers - 1].count { $0 }))
      let dirty = Self.pages(&bitmap, includeLazy: false)
      for page in 0..<after.count / 4096 where !dirty.contains(UInt32(page)) {
        check(page * 4096 < before.count, "a page that did not exist must be written")
        let bytes = page * 4096..<page * 4096 + 4096
        check(before.count > page * 4096 && before[bytes] == after[bytes])
      }
    }
  }

  @Test(arguments: [1, 3, 31])
  func pagesReadFromDiskKeepTheOtherSlotsAndDropPadding(_ maxPeers: Int) {
    var random = SeededGenerator(seed: 7)
    let bits = 40_007
    var bitmap = Bitmap(bits: UInt64(bits), maxPeers: maxPeers, slotIndex: 0)
    var area = (0..<Int(bitmap.pageCount) * 4096).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    for page in 0..<bitmap.pageCount {
      let block = Array(area[Int(page) * 4096..<Int(page) * 4096 + 4096])
      bitmap.absorb(page: page, from: block.span.bytes)
    }
    // Clear in the area what is padding.
    var naive = NaiveBitmap(bits: bits, maxPeers: maxPeers, own: 0)
    for slot in 0..<maxPeers {
      for bit in 0..<bits {
        let at = naive.place(bit, slot)
        naive.slots[slot][bit] = area[at.byte] >> at.bit & 1 == 1
      }
    }
    area = naive.area()
    check(Self.area(bitmap) == area)
    check(bitmap.setCount == UInt64(naive.slots[0].count { $0 }))
    check(!bitmap.hasDirtyPages(includeLazy: true))
    bitmap.recount()
    check(bitmap.setCount == UInt64(naive.slots[0].count { $0 }))
  }

  @Test func theLastWordIsKeptWhenItIsFull() {
    // Kernel 8.4 drops these 64 bits; we must not.
    var bitmap = Bitmap(bits: 1024)
    bitmap.setAll()
    check(bitmap.setCount == 1024 && bitmap.isSet(1023) && bitmap.words[15] == ~0)
    bitmap.recount()
    check(bitmap.setCount == 1024)
    let page = render(bitmap, 0)
    check(page[127] == 0xFF && page[128] == 0)
    var again = Bitmap(bits: 1024)
    again.absorb(page: 0, from: page.span.bytes)
    check(again.setCount == 1024)
  }

  @Test func threePeersInterleaveWordByWord() {
    var bitmap = Bitmap(bits: 1000, maxPeers: 3, slotIndex: 1)
    bitmap.setInAllSlots(36..<44)
    let page = render(bitmap, 0)
    let words = Array(page[12..<24])
    check(words == [0xF0, 0x0F, 0, 0, 0xF0, 0x0F, 0, 0, 0xF0, 0x0F, 0, 0])
    check(page.count { $0 != 0 } == 6)
  }

  @Test(arguments: [1, 2, 3, 7, 31])
  func theDirtyPagesOfAnExtentAreThoseThatHoldItsBits(_ maxPeers: Int) {
    let bits: UInt64 = 200_000
    for extent in [UInt32(0), 31, 32, 100, 195, 196] {
      for slot in 0..<maxPeers {
        var bitmap = Bitmap(bits: bits, maxPeers: maxPeers, slotIndex: slot)
        let first = min(UInt64(extent) * 1024, bits)
        bitmap.set(first..<min(first + 1024, bits))
        let covering = Set(bitmap.dirtyPages(coveringExtent: ExtentNumber(extent)))
        check(covering == Self.pages(&bitmap, includeLazy: false))
        for page in covering { bitmap.markWritten(page) }
        check(Array(bitmap.dirtyPages(coveringExtent: ExtentNumber(extent))).isEmpty)
        check(bitmap.isBeingWritten(coveringExtent: ExtentNumber(extent)) == !covering.isEmpty)
        for page in covering { bitmap.writeCompleted(page) }
        check(!bitmap.isBeingWritten(coveringExtent: ExtentNumber(extent)))
      }
    }
  }

  @Test func aBitSetDuringThePagesWriteMarksItAgain() {
    var bitmap = Bitmap(bits: 100_000)
    bitmap.set(0..<1)
    check(bitmap.nextDirtyPage(from: 0, includeLazy: false) == 0)
    bitmap.markWritten(0)
    check(bitmap.nextDirtyPage(from: 0, includeLazy: true) == nil && bitmap.isBeingWritten(0))
    bitmap.set(5..<6)
    check(bitmap.nextDirtyPage(from: 0, includeLazy: false) == 0)
    bitmap.markWritten(0)
    bitmap.markDirty(0)
    check(bitmap.nextDirtyPage(from: 0, includeLazy: false) == 0 && !bitmap.isBeingWritten(0))
  }

  @Test func clearingIsLazyAndNeverHidesASetBit() {
    var bitmap = Bitmap(bits: 100_000)
    bitmap.set(40_000..<40_010)
    bitmap.markWritten(1)
    bitmap.clear(40_000..<40_005)
    check(bitmap.nextDirtyPage(from: 0, includeLazy: false) == nil)
    check(bitmap.nextDirtyPage(from: 0, includeLazy: true) == 1)
    bitmap.set(40_000..<40_001)
    bitmap.clear(40_000..<40_001)
    check(bitmap.nextDirtyPage(from: 0, includeLazy: false) == 1)
  }

  @Test func aPeersWordIsMergedAndItsPaddingIgnored() {
    for maxPeers in [1, 3] {
      var bitmap = Bitmap(bits: 100, maxPeers: maxPeers, slotIndex: 0)
      check(bitmap.merge(word: 1, ~0) == 36)
      check(bitmap.merge(word: 1, ~0) == 0)
      check(bitmap.setCount == 36 && bitmap.next(set: 0) == 64 && bitmap.hasDirtyPages(includeLazy: false))
    }
  }

  @Test func anEmptyBitmapHasNothingToSay() {
    var bitmap = Bitmap(bits: 0)
    bitmap.setAll()
    bitmap.clearAll()
    bitmap.recount()
    check(bitmap.next(set: 0) == nil && bitmap.next(clear: 0) == nil && bitmap.pageCount == 0)
    check(bitmap.nextDirtyPage(from: 0, includeLazy: true) == nil && !bitmap.anySet(in: 0..<0))
    bitmap.resize(bits: 70, newBitsSet: true)
    check(bitmap.setCount == 70 && bitmap.pageCount == 1)
    check(bitmap.markOutOfSync(ExtentNumber(5)) == 0)
  }
}
