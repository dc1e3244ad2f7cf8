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

  mutating func enterGate(_ v: Int, _ id: SlotID) {
    if !usesLog(v) {
      launch(v, id)
      return
    }
    if volumes[v].gated.isEmpty, takeExtents(v, id), extentsActive(v, id) {
      launch(v, id)
      return
    }
    volumes[v].gated.append(id)
    startTransaction(v)
  }

  /// Takes references on the extents not yet taken. False: no slot is free now.
  private mutating func takeExtents(_ v: Int, _ id: SlotID) -> Bool {
    let extents = writes[id].range.extents
    while writes[id].extents < extents.count {
      let extent = ExtentNumber(extents.lowerBound + UInt32(writes[id].extents))
      if volumes[v].backing.log.begin(extent) == .starved {
        // Referenced by writes whose epoch is open: only a barrier sets them free.
        closeEpoch()
        return false
      }
      writes[id].extents += 1
    }
    return true
  }

  private func extentsActive(_ v: Int, _ id: SlotID) -> Bool {
    for extent in writes[id].range.extents where !volumes[v].backing.log.isActive(ExtentNumber(extent)) {
      return false
    }
    return true
  }

  /// Lets through what the log covers now, in order of arrival. Only the first that finds no slot waits for one, so
  /// that two requests never starve each other.
  mutating func openGate(_ v: Int) {
    let count = volumes[v].gated.count
    if count == 0 { return }
    var starved = false
    for _ in 0..<count {
      guard let id = volumes[v].gated.popFirst() else { break }
      if !usesLog(v) {
        launch(v, id)
        continue
      }
      if !starved { starved = !takeExtents(v, id) }
      if writes[id].extents == writes[id].range.extents.count, extentsActive(v, id) {
        launch(v, id)
      } else {
        volumes[v].gated.append(id)
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

  mutating func releaseExtents(_ v: Int, _ id: SlotID) {
    let taken = writes[id].extents
    writes[id].extents = 0
    if taken == 0 || !volumes[v].isAttached { return }
    let first = writes[id].range.extents.lowerBound
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
