// The activity gate (D10): a write to a cold extent waits until the log transaction that names the extent is durable,
// and the bitmap pages of an extent are on disk before the extent leaves the log (metadata spec 3.6).
import Base
import MetaDisk

/// Writes that own their range and wait for the log. Each waits in one place and is looked at when that place changes.
struct Gate: ~Copyable {
  private struct Entry {
    var one: Parked
    var next: Int32
  }
  private static let none = Int32(-1)

  /// Wait for the end of the bitmap exchange, or until the peer reads.
  var exchanging = Queue<Parked>(capacity: 16)
  /// Wait for a free slot of the log, in order of arrival. Only the first asks for one, so that two requests never starve
  /// each other; nobody passes them.
  var starved = Queue<Parked>(capacity: 64)
  /// A slot may have become free since the first of them asked.
  var mayFit = false
  /// Their transaction is durable: to be looked at now.
  var ready = Queue<Parked>(capacity: 64)
  /// By slot of the log: first and last of those that wait until it is durable.
  private var first: [Int32] = []
  private var last: [Int32] = []
  private var entries: [Entry] = []
  private var free = Gate.none
  private var logged = 0
  /// How often a write has been looked at since the engine began.
  var looks = 0

  var isEmpty: Bool { logged == 0 && starved.isEmpty && ready.isEmpty && exchanging.isEmpty }

  /// Waits for the transaction that this slot is part of.
  mutating func wait(_ one: Parked, slot: UInt32) {
    while first.count <= Int(slot) {
      first.append(Gate.none)
      last.append(Gate.none)
    }
    var i = free
    if i == Gate.none {
      i = Int32(entries.count)
      entries.append(Entry(one: one, next: Gate.none))
    } else {
      free = entries[Int(i)].next
      entries[Int(i)] = Entry(one: one, next: Gate.none)
    }
    let before = last[Int(slot)]
    if before == Gate.none { first[Int(slot)] = i } else { entries[Int(before)].next = i }
    last[Int(slot)] = i
    logged += 1
  }

  /// This slot is durable.
  mutating func wake(slot: UInt32) {
    guard Int(slot) < first.count else { return }
    var i = first[Int(slot)]
    while i != Gate.none {
      let entry = entries[Int(i)]
      ready.append(entry.one)
      entries[Int(i)].next = free
      free = i
      i = entry.next
      logged -= 1
    }
    first[Int(slot)] = Gate.none
    last[Int(slot)] = Gate.none
  }

  /// There is no log any more.
  mutating func wakeAll() {
    if logged > 0 { for slot in first.indices { wake(slot: UInt32(slot)) } }
    while let one = starved.popFirst() { ready.append(one) }
  }
}

enum TransactionStep: Equatable {
  case idle
  /// Bitmap pages of evicted extents are being written; then the block goes to this place of the ring.
  case evicting([ExtentNumber], ring: UInt32)
  case writing
  /// The numbers begin anew (LogRestart): the bitmap is being written, then blocks of an empty ring.
  case flushing
  case emptying(next: UInt32, outstanding: Int)

  /// The steps of a transaction, and those of a new beginning; a disk that is gone has none.
  mutating func go(to next: TransactionStep) {
    let isLegal =
      switch (self, next) {
      case (.idle, .evicting), (.evicting, .writing), (.writing, .idle): true
      // What is in use is named at a new place.
      case (.idle, .writing): true
      case (.idle, .flushing), (.flushing, .emptying), (.emptying, .emptying), (.emptying, .idle): true
      // The metadata move first.
      case (.flushing, .idle): true
      default: false
      }
    precondition(isLegal, "a step of the activity log out of order")
    self = next
  }

  /// Blocks of the log under way.
  var outstanding: Int {
    switch self {
    case .writing: 1
    case .emptying(_, let outstanding): outstanding
    case .idle, .evicting, .flushing: 0
    }
  }
}

extension Engine {
  private func usesLog(_ v: Int) -> Bool {
    if !volumes[v].isAttached { false } else { volumes[v].hasDisk && volumes[v].settings.alUpdates }
  }

  /// A write that owns its range: goes on when the log covers it. Writes to warm extents pass those that wait for a
  /// transaction, but not one that waits for a free slot.
  mutating func enterGate(_ v: Int, _ one: Parked) {
    if waitsForBitmap(v, one) || !usesLog(v) {
      passGate(v, one)
    } else if !volumes[v].gate.starved.isEmpty {
      volumes[v].gate.starved.append(one)
    } else if takeExtents(v, one) {
      passIfActive(v, one)
      startTransaction(v)
    } else {
      volumes[v].gate.starved.append(one)
      startTransaction(v)
    }
  }

  /// Below version 96 nothing can announce a write that falls between the two bitmaps: it waits for the exchange to end. From then on
  /// it waits while the peer leaves too many announcements unread.
  private func waitsForBitmap(_ v: Int, _ one: Parked) -> Bool {
    if case .peer = one { return false }
    return volumes[v].state.conn == .wfBitMapS
      && (link.version < 96 || volumes[v].peer.announcing.count >= Self.maxAnnouncements)
  }

  /// An exchange may have begun while it waited for the log.
  private mutating func passGate(_ v: Int, _ one: Parked) {
    if waitsForBitmap(v, one) {
      volumes[v].gate.exchanging.append(one)
      return
    }
    switch one {
    case .appWrite(let id): launch(v, id)
    case .peer(let id): launchPeerWrite(v, id)
    }
  }

  private func gatedRange(_ one: Parked) -> ClosedRange<UInt32> {
    switch one {
    case .appWrite(let id): writes[id].range.extents
    case .peer(let id): peerRequests[id].range.extents
    }
  }

  private func extentsTaken(_ one: Parked) -> Int {
    switch one {
    case .appWrite(let id): writes[id].extents
    case .peer(let id): peerRequests[id].extents
    }
  }

  /// Takes references on the extents not yet taken. False: no slot is free now.
  private mutating func takeExtents(_ v: Int, _ one: Parked) -> Bool {
    let extents = gatedRange(one)
    var taken = extentsTaken(one)
    if taken == 0, logMustRest(v) { return false }
    while taken < extents.count {
      if volumes[v].backing.log.begin(ExtentNumber(extents.lowerBound + UInt32(taken))) == .starved {
        // Referenced by writes whose epoch is open: only a barrier sets them free.
        closeEpoch()
        return false
      }
      taken += 1
      switch one {
      case .appWrite(let id): writes[id].extents = taken
      case .peer(let id): peerRequests[id].extents = taken
      }
    }
    return true
  }

  /// All its extents are taken: it goes on, or waits for the first of them that is not durable in the log.
  private mutating func passIfActive(_ v: Int, _ one: Parked) {
    volumes[v].gate.looks += 1
    for extent in gatedRange(one) {
      if let slot = volumes[v].backing.log.pendingSlot(of: ExtentNumber(extent)) {
        volumes[v].gate.wait(one, slot: slot)
        return
      }
    }
    passGate(v, one)
  }

  /// Lets through what may go since the gate was last looked at.
  mutating func openGate(_ v: Int) {
    if volumes[v].gate.isEmpty { return }
    if let one = volumes[v].gate.exchanging.first, !waitsForBitmap(v, one) {
      var count = volumes[v].gate.exchanging.count
      while count > 0, let one = volumes[v].gate.exchanging.popFirst() {
        count -= 1
        // What has its extents already must not stand behind one that may wait for them.
        if usesLog(v), extentsTaken(one) == gatedRange(one).count {
          volumes[v].gate.ready.append(one)
        } else {
          enterGate(v, one)
        }
      }
    }
    if !usesLog(v) {
      volumes[v].gate.wakeAll()
      while let one = volumes[v].gate.ready.popFirst() { passGate(v, one) }
      return
    }
    while let one = volumes[v].gate.ready.popFirst() { passIfActive(v, one) }
    while volumes[v].gate.mayFit, let one = volumes[v].gate.starved.first {
      volumes[v].gate.looks += 1
      guard takeExtents(v, one) else {
        volumes[v].gate.mayFit = false
        break
      }
      _ = volumes[v].gate.starved.popFirst()
      passIfActive(v, one)
    }
    startTransaction(v)
  }

  /// The disk goes away: nothing is logged any more.
  mutating func dropGate(_ v: Int) { lookAgain = true }

  mutating func startTransaction(_ v: Int) {
    if volumes[v].move.holdsPages { return }
    restartLog(v)
    guard volumes[v].transaction == .idle, volumes[v].backing.log.hasPending else { return }
    guard let transaction = volumes[v].backing.log.prepare() else { return }
    volumes[v].transaction.go(to: .evicting(transaction.evicted, ring: transaction.blockIndex))
    evictPages(v)
  }

  /// Writes the changed bitmap pages of evicted extents; the transaction follows when none is dirty or under way.
  mutating func evictPages(_ v: Int) {
    guard case .evicting(let extents, let ring) = volumes[v].transaction else { return }
    // A log counts only with "Primary" in the superblock. On a Secondary that may be on its way still.
    if role != .primary, !volumes[v].superblock.isDurable,
      !volumes[v].move.holdsSuperblock
    {
      return
    }
    var waits = false
    for extent in extents {
      for page in volumes[v].backing.bitmap.dirtyPages(coveringExtent: extent)
      where !volumes[v].backing.bitmap.isBeingWritten(page) {
        writePage(v, page)
      }
      if volumes[v].backing.bitmap.isBeingWritten(coveringExtent: extent) { waits = true }
    }
    if !waits { writeTransaction(v, ring, forgets: !extents.isEmpty) }
  }

  /// `forgets`: extents leave the log, which from then on says that their data are durable.
  mutating func writeTransaction(_ v: Int, _ block: UInt32, forgets: Bool) {
    volumes[v].transaction.go(to: .writing)
    volumes[v].counters.activityLogWrites += 1
    let offset = volumes[v].backing.placement.activityLogOffset + UInt64(block) * 4096
    fx.append(
      .metaWrite(
        work(.activityLog, v), volumes[v].number, .transaction, offset: offset,
        barrier: forgets ? .everything : .metadata))
  }

  mutating func transactionDone(_ v: Int, _ fault: DiskFault?) {
    if case .emptying = volumes[v].transaction { return emptyBlockDone(v, fault) }
    volumes[v].transaction.go(to: .idle)
    if let fault {
      metadataFailed(v, fault)
      lookAgain = true
      return
    }
    for i in 0..<volumes[v].backing.log.flyingCount {
      let slot = volumes[v].backing.log.flyingSlot(i)
      volumes[v].gate.wake(slot: slot)
    }
    volumes[v].backing.log.committed()
    volumes[v].gate.mayFit = true
    lookAgain = true
    moveContext(v)
    advanceMove(v)
  }

  mutating func releaseExtents(_ v: Int, _ one: Parked) {
    let taken = extentsTaken(one)
    if taken == 0 { return }
    let first = gatedRange(one).lowerBound
    switch one {
    case .appWrite(let id): writes[id].extents = 0
    case .peer(let id): peerRequests[id].extents = 0
    }
    if !volumes[v].isAttached { return }
    for i in 0..<UInt32(taken) { volumes[v].backing.log.end(ExtentNumber(first + i)) }
    if !volumes[v].gate.starved.isEmpty {
      volumes[v].gate.mayFit = true
      lookAgain = true
    }
  }

  /// The log of this disk is going: references to it mean nothing any more.
  mutating func forgetExtents(_ v: Int) {
    var at = 0
    while let id = writes.next(from: at) {
      at = id.index + 1
      if writes[id].volume == v { writes[id].extents = 0 }
    }
    at = 0
    while let id = peerRequests.next(from: at) {
      at = id.index + 1
      if peerRequests[id].volume == v { peerRequests[id].extents = 0 }
    }
  }
}
