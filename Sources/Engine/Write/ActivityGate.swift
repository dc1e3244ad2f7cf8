// The activity gate (D10): a write to a cold extent waits until the log transaction that names the extent is durable,
// and the bitmap pages of an extent are on disk before the extent leaves the log (metadata spec 3.6).
import Base
import MetaDisk

enum TransactionStep: Equatable {
  case idle
  /// Bitmap pages of evicted extents are being written; then the block goes to this place of the ring.
  case evicting([ExtentNumber], ring: UInt32)
  case writing
  var isWriting: Bool { self == .writing }
}

extension Engine {
  private func usesLog(_ v: Int) -> Bool {
    if !volumes[v].isAttached { false } else { volumes[v].hasDisk && volumes[v].settings.alUpdates }
  }

  /// A write that owns its range: goes on when the log covers it. Writes to warm extents pass those that wait for a
  /// transaction, but not one that waits for a free slot.
  mutating func enterGate(_ v: Int, _ one: Parked) {
    if waitsForBitmap(v, one) {
      volumes[v].gated.append(one)
      return
    }
    if !usesLog(v) {
      passGate(v, one)
      return
    }
    if !volumes[v].gateStarved {
      if takeExtents(v, one) {
        if extentsActive(v, one) {
          passGate(v, one)
          return
        }
      } else {
        volumes[v].gateStarved = true
      }
    }
    volumes[v].gated.append(one)
    startTransaction(v)
  }

  /// Below version 96 nothing can announce a write that falls between the two bitmaps: it waits for the exchange to end.
  private func waitsForBitmap(_ v: Int, _ one: Parked) -> Bool {
    if case .peer = one { return false }
    return volumes[v].state.conn == .wfBitMapS && link.version < 96
  }

  private mutating func passGate(_ v: Int, _ one: Parked) {
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

  private func extentsActive(_ v: Int, _ one: Parked) -> Bool {
    for extent in gatedRange(one) where !volumes[v].backing.log.isActive(ExtentNumber(extent)) { return false }
    return true
  }

  /// Lets through what the log covers now, in order of arrival. Only the first that finds no slot waits for one, so
  /// that two requests never starve each other.
  mutating func openGate(_ v: Int) {
    let count = volumes[v].gated.count
    if count == 0 { return }
    volumes[v].gateStarved = false
    for _ in 0..<count {
      guard let one = volumes[v].gated.popFirst() else { break }
      if waitsForBitmap(v, one) {
        volumes[v].gated.append(one)
        continue
      }
      if !usesLog(v) {
        passGate(v, one)
        continue
      }
      if !volumes[v].gateStarved { volumes[v].gateStarved = !takeExtents(v, one) }
      if extentsTaken(one) == gatedRange(one).count, extentsActive(v, one) {
        passGate(v, one)
      } else {
        volumes[v].gated.append(one)
      }
    }
    if usesLog(v) { startTransaction(v) }
  }

  /// The disk goes away: nothing is logged any more.
  mutating func dropGate(_ v: Int) { lookAgain = true }

  mutating func startTransaction(_ v: Int) {
    guard volumes[v].transaction == .idle, volumes[v].backing.log.hasPending else { return }
    guard let transaction = volumes[v].backing.log.prepare() else { return }
    volumes[v].transaction = .evicting(transaction.evicted, ring: transaction.blockIndex)
    evictPages(v)
  }

  /// Writes the changed bitmap pages of evicted extents; the transaction follows when none is dirty or under way.
  mutating func evictPages(_ v: Int) {
    guard case .evicting(let extents, let ring) = volumes[v].transaction else { return }
    var waits = false
    for extent in extents {
      for page in volumes[v].backing.bitmap.dirtyPages(coveringExtent: extent)
      where !volumes[v].backing.bitmap.isBeingWritten(page) {
        writePage(v, page)
      }
      if volumes[v].backing.bitmap.isBeingWritten(coveringExtent: extent) { waits = true }
    }
    if !waits { writeTransaction(v, ring) }
  }

  private mutating func writeTransaction(_ v: Int, _ block: UInt32) {
    volumes[v].transaction = .writing
    volumes[v].counters.activityLogWrites += 1
    let offset = volumes[v].backing.placement.activityLogOffset + UInt64(block) * 4096
    fx.append(.metaWrite(work(.activityLog, v), volumes[v].number, .transaction, offset: offset, barrier: true))
  }

  mutating func transactionDone(_ v: Int, _ fault: DiskFault?) {
    volumes[v].transaction = .idle
    if let fault {
      metadataFailed(v, fault)
      lookAgain = true
      advanceDetach(v)
      return
    }
    volumes[v].backing.log.committed()
    lookAgain = true
    advanceDetach(v)
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
    if !volumes[v].gated.isEmpty { lookAgain = true }
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
