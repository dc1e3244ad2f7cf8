// The memory that payload lies in: 4 KiB pages in one mapping, registered with the ring. Buddy allocation inside zones of
// 1 MiB. A zone belongs to one budget while any of its pages is in use, so no side can fragment another's memory.
// Laws: `allocate` and `release` take bounded time and never call malloc; a run that is released twice stops the program.
// What a single client may have is in Grant.swift.

import Base
import CURing
import Glibc

public struct Pool: ~Copyable {
  public static let pageBytes = 4096
  public static let payloadLimit = 1 << 20
  private static let zoneOrder = 8
  private static let budgets = Budget.allCases.count

  let base: UnsafeMutableRawPointer
  public let bytes: Int
  private let pages: Int

  // Per page. `length` is the run that starts here, or with `inner` what is left of one that began before; `order` that
  // of a free block that starts here.
  private let length: UnsafeMutablePointer<UInt16>
  private let order: UnsafeMutablePointer<UInt8>
  private let next: UnsafeMutablePointer<UInt32>
  private let previous: UnsafeMutablePointer<UInt32>
  private let owner: UnsafeMutablePointer<UInt8>
  /// The client that a run was granted to, by its first page.
  let holder: UnsafeMutablePointer<UInt16>
  static let noClient = UInt16.max

  /// Heads of the free lists: eight orders for each budget, then the list of free zones.
  private let heads: UnsafeMutablePointer<UInt32>
  private let zonesHeld: UnsafeMutablePointer<Int>
  private let zonesReserved: UnsafeMutablePointer<Int>
  /// The most that a side may hold.
  private let zonesMax: UnsafeMutablePointer<Int>
  private var zonesFree = 0
  private let pagesHeld: UnsafeMutablePointer<Int>
  private static let nobody = UInt32.max
  private static let inUse = UInt8.max
  /// Marks a page that is not the first of its run.
  private static let inner: UInt16 = 0x8000

  // Per client: pages of its side, and of its minimum.
  let clients: Int
  let held: UnsafeMutablePointer<Int32>
  let heldOfMinimum: UnsafeMutablePointer<Int32>
  /// Counts what was given back: who waits for memory looks again when it has moved.
  public private(set) var releases: UInt64 = 0

  public init(_ shares: Shares) throws(Errno) {
    let sides = shares.all
    let mebibytes = shares.mebibytes
    precondition(mebibytes > 0 && mebibytes < 1 << 20, "pool size out of range")
    precondition(sides.allSatisfy { $0.reserve >= 0 && $0.common >= 0 } && shares.common >= 0, "shares out of range")
    precondition(
      shares.clients < Int(Pool.noClient) && shares.clients * Pool.minimumPages <= shares.minimum.reserve << 8,
      "less memory than every client has for itself")
    bytes = mebibytes << 20
    let mapped = mmap(nil, bytes + 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let mapped, mapped != MAP_FAILED else { throw Errno.last }
    // Aligned to 1 MiB; the surplus on both sides goes back.
    let start = (UInt(bitPattern: mapped) + 0xf_ffff) & ~0xf_ffff
    let before = Int(start - UInt(bitPattern: mapped))
    base = mapped + before
    if before > 0 { munmap(mapped, before) }
    munmap(base + bytes, 1 << 20 - before)

    pages = bytes / Pool.pageBytes
    length = .allocate(capacity: pages)
    length.initialize(repeating: 0, count: pages)
    order = .allocate(capacity: pages)
    order.initialize(repeating: Pool.inUse, count: pages)
    next = .allocate(capacity: pages)
    next.initialize(repeating: Pool.nobody, count: pages)
    previous = .allocate(capacity: pages)
    previous.initialize(repeating: Pool.nobody, count: pages)
    owner = .allocate(capacity: mebibytes)
    owner.initialize(repeating: 0, count: mebibytes)
    holder = .allocate(capacity: pages)
    holder.initialize(repeating: Pool.noClient, count: pages)
    clients = shares.clients
    held = .allocate(capacity: clients)
    held.initialize(repeating: 0, count: clients)
    heldOfMinimum = .allocate(capacity: clients)
    heldOfMinimum.initialize(repeating: 0, count: clients)
    let lists = Pool.budgets * Pool.zoneOrder + 1
    heads = .allocate(capacity: lists)
    heads.initialize(repeating: Pool.nobody, count: lists)
    zonesHeld = .allocate(capacity: Pool.budgets)
    zonesHeld.initialize(repeating: 0, count: Pool.budgets)
    pagesHeld = .allocate(capacity: Pool.budgets)
    pagesHeld.initialize(repeating: 0, count: Pool.budgets)
    zonesReserved = .allocate(capacity: Pool.budgets)
    zonesMax = .allocate(capacity: Pool.budgets)
    for i in 0..<Pool.budgets {
      (zonesReserved + i).initialize(to: sides[i].reserve)
      (zonesMax + i).initialize(to: sides[i].reserve + min(sides[i].common, shares.common))
    }
    for zone in (0..<mebibytes).reversed() { push(UInt32(zone << Pool.zoneOrder), Pool.zoneOrder, 0) }
    zonesFree = mebibytes
  }

  deinit {
    munmap(base, bytes)
    length.deallocate()
    order.deallocate()
    next.deallocate()
    previous.deallocate()
    owner.deallocate()
    heads.deallocate()
    zonesHeld.deallocate()
    zonesReserved.deallocate()
    zonesMax.deallocate()
    holder.deallocate()
    held.deallocate()
    heldOfMinimum.deallocate()
    pagesHeld.deallocate()
  }

  // MARK: Use

  /// Room for `bytes` (1 byte to 1 MiB), or nil when this budget has none now: wait until something is released.
  public mutating func allocate(bytes: Int, budget: Budget) -> PayloadRef? {
    precondition(bytes > 0 && bytes <= Pool.payloadLimit, "payload size out of range")
    let count = (bytes + Pool.pageBytes - 1) / Pool.pageBytes
    let wanted = count == 1 ? 0 : Int.bitWidth - (count - 1).leadingZeroBitCount
    let side = Int(budget.rawValue)
    guard let page = takeBlock(wanted, side) else { return nil }
    length[Int(page)] = UInt16(count)
    for i in 1..<max(count, 1) { length[Int(page) + i] = Pool.inner | UInt16(count - i) }
    pagesHeld[side] += count
    // The pages behind the run are free again at once.
    give(from: Int(page) + count, to: Int(page) + 1 << wanted, side)
    return PayloadRef(page: page, bytes: UInt32(bytes))
  }

  /// Gives the whole run back, whatever part of it `ref` still names.
  public mutating func release(_ ref: PayloadRef) {
    let page = Int(ref.page)
    precondition(
      page < pages && length[page] > 0 && length[page] < Pool.inner, "payload released that nobody holds")
    let count = Int(length[page])
    let side = Int(owner[page >> Pool.zoneOrder])
    for i in page..<page + count { length[i] = 0 }
    pagesHeld[side] -= count
    releases &+= 1
    if holder[page] != Pool.noClient { forgetHolder(page, count, side) }
    give(from: page, to: page + count, side)
  }

  /// `ref` may name a part of a run, from any of its pages on.
  @inline(__always) public func pointer(to ref: PayloadRef) -> UnsafeMutableRawPointer {
    let page = Int(ref.page)
    precondition(
      page < pages && Int(ref.bytes) <= Int(length[page] & ~Pool.inner) << 12, "payload named that nobody holds")
    return base + page << 12
  }

  public func buffer(_ ref: PayloadRef) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: pointer(to: ref), count: Int(ref.bytes))
  }

  /// Pages in use by one side.
  public func pagesInUse(_ budget: Budget) -> Int { pagesHeld[Int(budget.rawValue)] }
  public var isIdle: Bool { zonesFree == bytes >> 20 }

  /// Pages that a side may still take, in runs of any length.
  func pagesLeft(_ budget: Budget) -> Int {
    let side = Int(budget.rawValue)
    return (zonesLeft(side) + zonesHeld[side]) << Pool.zoneOrder - pagesHeld[side]
  }

  // MARK: Blocks

  private mutating func takeBlock(_ wanted: Int, _ side: Int) -> UInt32? {
    var found = wanted
    while found < Pool.zoneOrder && heads[list(found, side)] == Pool.nobody { found += 1 }
    if found == Pool.zoneOrder && zonesLeft(side) == 0 { return nil }
    let page = heads[list(found, side)]
    guard page != Pool.nobody else { return nil }
    unlink(page, found, side)
    if found == Pool.zoneOrder {
      zonesFree -= 1
      zonesHeld[side] += 1
      owner[Int(page) >> Pool.zoneOrder] = UInt8(side)
    }
    while found > wanted {
      found -= 1
      push(page + 1 << UInt32(found), found, side)
    }
    return page
  }

  /// Free zones that are for this side.
  private func zonesLeft(_ side: Int) -> Int {
    var promised = 0
    for other in 0..<Pool.budgets where other != side { promised += max(0, zonesReserved[other] - zonesHeld[other]) }
    return max(0, min(zonesFree - promised, zonesMax[side] - zonesHeld[side]))
  }

  /// Frees the pages `from..<to` of one zone as aligned blocks.
  private mutating func give(from: Int, to: Int, _ side: Int) {
    var page = from
    while page < to {
      var size = min(page.trailingZeroBitCount, Pool.zoneOrder)
      while page + 1 << size > to { size -= 1 }
      merge(UInt32(page), size, side)
      page += 1 << size
    }
  }

  private mutating func merge(_ freed: UInt32, _ size: Int, _ side: Int) {
    var page = freed
    var size = size
    while size < Pool.zoneOrder {
      let buddy = page ^ 1 << UInt32(size)
      guard order[Int(buddy)] == UInt8(size) else { break }
      unlink(buddy, size, side)
      page = min(page, buddy)
      size += 1
    }
    if size == Pool.zoneOrder {
      zonesFree += 1
      zonesHeld[side] -= 1
    }
    push(page, size, side)
  }

  @inline(__always) private func list(_ size: Int, _ side: Int) -> Int {
    size == Pool.zoneOrder ? Pool.budgets * Pool.zoneOrder : side * Pool.zoneOrder + size
  }

  private func push(_ page: UInt32, _ size: Int, _ side: Int) {
    let head = heads[list(size, side)]
    order[Int(page)] = UInt8(size)
    next[Int(page)] = head
    previous[Int(page)] = Pool.nobody
    if head != Pool.nobody { previous[Int(head)] = page }
    heads[list(size, side)] = page
  }

  private func unlink(_ page: UInt32, _ size: Int, _ side: Int) {
    let after = next[Int(page)]
    let before = previous[Int(page)]
    if before == Pool.nobody { heads[list(size, side)] = after } else { next[Int(before)] = after }
    if after != Pool.nobody { previous[Int(after)] = before }
    order[Int(page)] = Pool.inUse
  }
}
