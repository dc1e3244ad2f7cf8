// The memory that payloads lie in, of both nodes and of the wire between them; each sector is one stamp. Laws: a payload
// has one owner; it is given back once, by its owner, and never while a disk or a socket still uses it.
import Base

enum Owner: UInt8 {
  case nobody = 0
  case client = 1
  case wire = 2
  case engine0 = 3
  case engine1 = 4

  static func engine(_ node: Int) -> Owner { node == 0 ? .engine0 : .engine1 }
}

struct FakePool: ~Copyable {
  private struct Page {
    var owner = Owner.nobody
    /// Disk operations and sends under way.
    var uses: UInt16 = 0
    /// Pages of the run, as a power of two.
    var order: UInt8 = 0
    /// Pages from the first of the run.
    var offset: UInt8 = 0
    var bytes: UInt32 = 0
    /// Next free run of this size; meaningful while nobody owns it.
    var nextFree: Int32 = -1
  }
  private static let sectorsPerPage = 8
  private var pages: UnsafeMutablePointer<Page>
  private var stamps: UnsafeMutablePointer<Stamp>
  private var capacity: Int
  private var used = 0
  /// Heads of the free lists by order.
  private var free = [Int32](repeating: -1, count: 9)

  init(pages count: Int = 4096) {
    capacity = count
    pages = .allocate(capacity: count)
    pages.initialize(repeating: Page(), count: count)
    stamps = .allocate(capacity: count * Self.sectorsPerPage)
    stamps.initialize(repeating: Stamps.garbage, count: count * Self.sectorsPerPage)
  }

  deinit {
    pages.deallocate()
    stamps.deallocate()
  }

  mutating func take(_ bytes: UInt32, for owner: Owner) -> PayloadRef {
    precondition(bytes > 0 && bytes <= 1 << 20 && bytes % 512 == 0, "a payload of \(bytes) bytes")
    let count = (Int(bytes) + 4095) >> 12
    let order = count == 1 ? 0 : Int.bitWidth - (count - 1).leadingZeroBitCount
    var page = free[order]
    if page >= 0 {
      free[order] = pages[Int(page)].nextFree
    } else {
      while used + (1 << order) > capacity { grow() }
      page = Int32(used)
      for i in 0..<1 << order { pages[used + i].offset = UInt8(i) }
      used += 1 << order
    }
    pages[Int(page)] = Page(owner: owner, uses: 0, order: UInt8(order), bytes: bytes)
    return PayloadRef(page: UInt32(page), bytes: bytes)
  }

  /// The stamps of a payload, one per sector.
  @inline(__always) subscript(_ ref: PayloadRef) -> UnsafeMutablePointer<Stamp> {
    stamps + Int(ref.page) * Self.sectorsPerPage
  }

  /// First page of the run that a payload, or a part of one, lies in.
  @inline(__always) private func run(_ ref: PayloadRef) -> Int { Int(ref.page) - Int(pages[Int(ref.page)].offset) }

  @inline(__always) func owner(of ref: PayloadRef) -> Owner {
    guard Int(ref.page) < used else { return .nobody }
    let first = run(ref)
    let offset = UInt32(Int(ref.page) - first) << 12
    return offset + ref.bytes <= pages[first].bytes ? pages[first].owner : .nobody
  }
  /// The whole payload, not a part of it.
  @inline(__always) func isWhole(_ ref: PayloadRef) -> Bool {
    pages[Int(ref.page)].offset == 0 && pages[Int(ref.page)].bytes == ref.bytes
  }
  @inline(__always) func isBusy(_ ref: PayloadRef) -> Bool { pages[run(ref)].uses > 0 }
  @inline(__always) mutating func begin(_ ref: PayloadRef) { pages[run(ref)].uses += 1 }
  @inline(__always) mutating func end(_ ref: PayloadRef) { pages[run(ref)].uses -= 1 }
  @inline(__always) mutating func hand(_ ref: PayloadRef, to owner: Owner) { pages[run(ref)].owner = owner }

  mutating func giveBack(_ ref: PayloadRef) {
    let page = Int(ref.page)
    precondition(pages[page].owner != .nobody, "a payload given back twice")
    self[ref].update(repeating: Stamps.garbage, count: Int(pages[page].bytes) >> 9)
    pages[page].owner = .nobody
    pages[page].uses = 0
    pages[page].nextFree = free[Int(pages[page].order)]
    free[Int(pages[page].order)] = Int32(page)
  }

  /// Everything of an owner that has died.
  mutating func giveBackAll(of owner: Owner) {
    var page = 0
    while page < used {
      let order = Int(pages[page].order)
      if pages[page].owner == owner { giveBack(PayloadRef(page: UInt32(page), bytes: pages[page].bytes)) }
      page += 1 << order
    }
  }

  /// Payloads that an owner holds; `idle`: not counting those that a disk or a socket uses.
  func count(of owner: Owner, idle: Bool = false) -> Int {
    var page = 0
    var found = 0
    while page < used {
      if pages[page].owner == owner, !idle || pages[page].uses == 0 { found += 1 }
      page += 1 << Int(pages[page].order)
    }
    return found
  }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<Page>.allocate(capacity: capacity * 2)
    larger.moveInitialize(from: pages, count: capacity)
    (larger + capacity).initialize(repeating: Page(), count: capacity)
    pages.deallocate()
    pages = larger
    let wider = UnsafeMutablePointer<Stamp>.allocate(capacity: capacity * 2 * Self.sectorsPerPage)
    wider.moveInitialize(from: stamps, count: capacity * Self.sectorsPerPage)
    (wider + capacity * Self.sectorsPerPage).initialize(
      repeating: Stamps.garbage, count: capacity * Self.sectorsPerPage)
    stamps.deallocate()
    stamps = wider
    capacity *= 2
  }
}
