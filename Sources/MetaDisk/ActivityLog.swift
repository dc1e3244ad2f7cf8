// The activity log in memory: which 4 MiB extents may have writes in flight (metadata spec 3). The write rule (3.6):
// an extent is in a durable transaction before its data are written, and stays there while anyone refers to it; before
// it gives up its place the bitmap pages that cover it are durable. `begin` and `end` allocate nothing and take
// constant time. The block on disk: ActivityLogBlock.swift; reading it back: ActivityLogReplay.swift.
import Base

public struct ActivityLog: ~Copyable {
  public enum Admission: Sendable {
    /// A reference was taken and the extent is durable in the log: write.
    case active
    /// A reference was taken; wait until `isActive` says so after a `committed()`.
    case pending
    /// Nothing was taken; try again when a reference is dropped or after a `committed()`.
    case starved
  }

  /// What has to be written, as soon as the bitmap pages of `evicted` are.
  public struct Transaction: Equatable, Sendable {
    public let number: UInt32
    /// Position in the ring in 4 KiB blocks, striping included.
    public let blockIndex: UInt32
    /// Extents that leave the log: write their changed bitmap pages first and wait for them.
    public let evicted: [ExtentNumber]
  }

  private struct Slot {
    /// What the log on disk says, as far as transactions have been committed.
    var extent = ActivityLogBlock.free
    /// What it shall say; `free` = no change wanted.
    var incoming = ActivityLogBlock.free
    var references: UInt32 = 0
    /// Neighbours in the list of evictable slots.
    var newer = none
    var older = none
    /// Next slot in the same hash bucket.
    var chain = none
  }

  private static let none = UInt32.max

  private let slots: UnsafeMutablePointer<Slot>
  private let buckets: UnsafeMutablePointer<UInt32>
  private let bucketMask: UInt32
  /// Never used slots, taken from the end.
  private let unused: UnsafeMutablePointer<UInt32>
  private var unusedCount: Int
  private var newest = none
  private var oldest = none
  private var waiting: Queue<UInt32>
  private let flying: UnsafeMutablePointer<UInt32>
  /// Changes in the transaction in flight.
  public private(set) var flyingCount = 0

  public let slotCount: Int
  private let stripes: UInt32
  private let stripeSize4k: UInt32
  public private(set) var inFlight = false
  /// Number of the next transaction.
  public private(set) var nextTransaction: UInt32
  /// First slot of the next transaction's context window.
  private var contextStart = 0
  /// References held at the moment, all extents together.
  public private(set) var references = 0

  /// As many slots as a ring can describe although one of its blocks may be torn.
  public static func maxSlots(stripes: UInt32, stripeSize4k: UInt32) -> Int {
    let blocks = Int(stripes) * Int(stripeSize4k)
    return blocks > 72 ? 65534 : (blocks - 1) * ActivityLogBlock.contextEntries
  }

  /// An empty log over an initialised ring. `slots` (`al-extents`) is cut to what the ring can describe.
  public init(slots wanted: Int, stripes: UInt32 = 1, stripeSize4k: UInt32 = 8, firstTransaction: UInt32 = 0) {
    precondition(wanted > 0 && stripes > 0 && UInt64(stripes) * UInt64(stripeSize4k) >= 2, "activity log too small")
    let count = min(wanted, ActivityLog.maxSlots(stripes: stripes, stripeSize4k: stripeSize4k))
    slotCount = count
    self.stripes = stripes
    self.stripeSize4k = stripeSize4k
    nextTransaction = firstTransaction
    slots = .allocate(capacity: count)
    slots.initialize(repeating: Slot(), count: count)
    var size = 2
    while size < count * 2 { size <<= 1 }
    bucketMask = UInt32(size - 1)
    buckets = .allocate(capacity: size)
    buckets.initialize(repeating: ActivityLog.none, count: size)
    unused = .allocate(capacity: count)
    for i in 0..<count { (unused + i).initialize(to: UInt32(i)) }
    unusedCount = count
    waiting = Queue(capacity: count)
    flying = .allocate(capacity: ActivityLogBlock.updates)
    flying.initialize(repeating: 0, count: ActivityLogBlock.updates)
  }

  deinit {
    slots.deallocate()
    buckets.deallocate()
    unused.deallocate()
    flying.deallocate()
  }

  // MARK: References

  /// Asks for one extent.
  public mutating func begin(_ extent: ExtentNumber) -> Admission {
    precondition(extent.value != ActivityLogBlock.free, "not an extent")
    let found = lookUp(extent.value)
    if found != ActivityLog.none {
      let i = Int(found)
      if slots[i].references == 0, slots[i].incoming == ActivityLogBlock.free { unlink(found) }
      slots[i].references += 1
      references += 1
      return slots[i].incoming == ActivityLogBlock.free ? .active : .pending
    }
    guard let slot = takeSlot() else { return .starved }
    slots[Int(slot)].incoming = extent.value
    slots[Int(slot)].references = 1
    references += 1
    insert(slot)
    waiting.append(slot)
    return .pending
  }

  /// Asks for all extents of a request, or none: a request never holds one while it waits for another.
  public mutating func begin(_ extents: ClosedRange<UInt32>) -> Admission {
    var result = Admission.active
    for extent in extents {
      switch begin(ExtentNumber(extent)) {
      case .active: break
      case .pending: result = .pending
      case .starved:
        for taken in extents.lowerBound..<extent { end(ExtentNumber(taken)) }
        return .starved
      }
    }
    return result
  }

  /// Drops one reference: the write is on both disks, or its bits are set in the bitmap.
  public mutating func end(_ extent: ExtentNumber) {
    let slot = lookUp(extent.value)
    precondition(slot != ActivityLog.none, "no reference to drop")
    let i = Int(slot)
    precondition(slots[i].references > 0, "no reference to drop")
    slots[i].references -= 1
    references -= 1
    if slots[i].references == 0, slots[i].incoming == ActivityLogBlock.free { link(slot) }
  }

  /// Durable in the log and not about to leave it.
  public func isActive(_ extent: ExtentNumber) -> Bool {
    let slot = lookUp(extent.value)
    return slot != ActivityLog.none && slots[Int(slot)].incoming == ActivityLogBlock.free
  }

  /// Where an extent waits that has a reference and is not durable yet; nil: it `isActive`.
  public func pendingSlot(of extent: ExtentNumber) -> UInt32? {
    let slot = lookUp(extent.value)
    precondition(slot != ActivityLog.none, "not an extent of the log")
    return slots[Int(slot)].incoming == ActivityLogBlock.free ? nil : slot
  }

  /// The slots that the transaction in flight changes.
  public func flyingSlot(_ i: Int) -> UInt32 {
    precondition(i >= 0 && i < flyingCount, "no such change")
    return flying[i]
  }

  /// All of the extents are.
  public func isActive(_ extents: ClosedRange<UInt32>) -> Bool {
    for extent in extents where !isActive(ExtentNumber(extent)) { return false }
    return true
  }

  /// The extents for which `isActive` holds, ascending.
  public var activeExtents: [ExtentNumber] {
    var result: [ExtentNumber] = []
    for i in 0..<slotCount where slots[i].incoming == ActivityLogBlock.free && slots[i].extent != ActivityLogBlock.free
    {
      result.append(ExtentNumber(slots[i].extent))
    }
    return result.sorted()
  }

  /// The extents that the log on disk names, also those that are about to leave it.
  public var namedExtents: [ExtentNumber] {
    var result: [ExtentNumber] = []
    for i in 0..<slotCount where slots[i].extent != ActivityLogBlock.free {
      result.append(ExtentNumber(slots[i].extent))
    }
    return result.sorted()
  }

  // MARK: Transactions

  /// Changes are waiting for a transaction.
  public var hasPending: Bool { !waiting.isEmpty }

  /// Puts up to 64 waiting changes into a transaction; nil when there are none or one is in flight already.
  public mutating func prepare() -> Transaction? { waiting.isEmpty ? nil : start() }

  /// A transaction even when no change is waiting: it repeats what its context window says. As many of them as the ring
  /// has blocks build the ring anew, for instance at another place or after a time without log (`al-updates no`).
  public mutating func prepareContext() -> Transaction? { start() }

  /// So many transactions in a row name every slot.
  public var transactionsForContext: Int {
    (slotCount + ActivityLogBlock.contextEntries - 1) / ActivityLogBlock.contextEntries
  }

  private mutating func start() -> Transaction? {
    guard !inFlight else { return nil }
    var evicted: [ExtentNumber] = []
    flyingCount = 0
    while flyingCount < ActivityLogBlock.updates, let slot = waiting.popFirst() {
      flying[flyingCount] = slot
      flyingCount += 1
      let old = slots[Int(slot)].extent
      if old != ActivityLogBlock.free { evicted.append(ExtentNumber(old)) }
    }
    inFlight = true
    let k = nextTransaction % (stripes * stripeSize4k)
    let block = k % stripes * stripeSize4k + k / stripes
    return Transaction(number: nextTransaction, blockIndex: block, evicted: evicted)
  }

  /// Fills the 4096 bytes of the transaction in flight.
  public func render(into block: UnsafeMutableRawBufferPointer) {
    precondition(inFlight, "no transaction to render")
    var writer = ActivityLogBlock.Writer(
      block, number: nextTransaction, slots: UInt16(slotCount), contextStart: UInt16(contextStart))
    for i in 0..<flyingCount {
      writer.update(slot: UInt16(flying[i]), extent: slots[Int(flying[i])].incoming)
    }
    for i in 0..<min(ActivityLogBlock.contextEntries, slotCount - contextStart) {
      writer.context(slots[contextStart + i].extent)
    }
    writer.seal()
  }

  /// The transaction is durable: its changes are active from now on.
  public mutating func committed() {
    precondition(inFlight, "no transaction to commit")
    for i in 0..<flyingCount {
      let slot = flying[i]
      slots[Int(slot)].extent = slots[Int(slot)].incoming
      slots[Int(slot)].incoming = ActivityLogBlock.free
      if slots[Int(slot)].references == 0 { link(slot) }
    }
    flyingCount = 0
    inFlight = false
    nextTransaction &+= 1
    contextStart += ActivityLogBlock.contextEntries
    if contextStart >= slotCount { contextStart = 0 }
  }

  /// Deployed tools misread a ring whose numbers cross 2^31. Some time before that, when no reference is held: write
  /// out the bitmap, initialise the ring and `reset`.
  public var shouldRestart: Bool { nextTransaction >= ActivityLog.restartsAt }

  /// Half of what the numbers of a ring may reach.
  public static let restartsAt: UInt32 = 1 << 30

  /// Empties the log after its ring has been initialised. Nobody may hold a reference.
  public mutating func reset(firstTransaction: UInt32 = 0) {
    precondition(references == 0 && !inFlight, "the activity log is in use")
    for i in 0..<slotCount { slots[i] = Slot() }
    for i in 0...Int(bucketMask) { buckets[i] = ActivityLog.none }
    for i in 0..<slotCount { unused[i] = UInt32(i) }
    unusedCount = slotCount
    newest = ActivityLog.none
    oldest = ActivityLog.none
    waiting.removeAll()
    contextStart = 0
    nextTransaction = firstTransaction
  }

  // MARK: Lists

  /// An unused slot, highest first, else the one longest without a reference.
  private mutating func takeSlot() -> UInt32? {
    if unusedCount > 0 {
      unusedCount -= 1
      return unused[unusedCount]
    }
    guard oldest != ActivityLog.none else { return nil }
    let slot = oldest
    unlink(slot)
    remove(slot)
    return slot
  }

  private mutating func link(_ slot: UInt32) {
    slots[Int(slot)].newer = ActivityLog.none
    slots[Int(slot)].older = newest
    if newest != ActivityLog.none { slots[Int(newest)].newer = slot } else { oldest = slot }
    newest = slot
  }

  private mutating func unlink(_ slot: UInt32) {
    let (newer, older) = (slots[Int(slot)].newer, slots[Int(slot)].older)
    if newer != ActivityLog.none { slots[Int(newer)].older = older } else { newest = older }
    if older != ActivityLog.none { slots[Int(older)].newer = newer } else { oldest = newer }
  }

  // MARK: Hash table

  /// A slot is found by the extent it will hold; one that is on its way out is not found any more.
  private func key(_ slot: UInt32) -> UInt32 {
    let s = slots[Int(slot)]
    return s.incoming != ActivityLogBlock.free ? s.incoming : s.extent
  }

  private func bucket(_ extent: UInt32) -> Int { Int((extent &* 0x9E37_79B1) >> 7 & bucketMask) }

  private func lookUp(_ extent: UInt32) -> UInt32 {
    var slot = buckets[bucket(extent)]
    while slot != ActivityLog.none, key(slot) != extent { slot = slots[Int(slot)].chain }
    return slot
  }

  private mutating func insert(_ slot: UInt32) {
    let b = bucket(key(slot))
    slots[Int(slot)].chain = buckets[b]
    buckets[b] = slot
  }

  private mutating func remove(_ slot: UInt32) {
    let b = bucket(key(slot))
    if buckets[b] == slot {
      buckets[b] = slots[Int(slot)].chain
      return
    }
    var before = buckets[b]
    while slots[Int(before)].chain != slot { before = slots[Int(before)].chain }
    slots[Int(before)].chain = slots[Int(slot)].chain
  }
}
