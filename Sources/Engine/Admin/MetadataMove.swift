// Metadata at the end of a device that grew move to its new end while the volume is in use (metadata spec 4.6): what is being
// written ends; a superblock that calls all blocks out of sync seals the new place; log and bitmap follow; the true superblock
// ends it. Laws: the old place counts until the seal is durable, and after it the new one; the volume is not larger before the end.
import Base
import MetaDisk

struct MetadataMoveStep {
  enum Phase {
    case idle
    /// Metadata writes under way go to the old place: they end, and none is begun.
    case quieting
    /// The empty log.
    case log
    case sealing
    /// Transactions that say which extents are in use now.
    case contexts
    case bitmap
    case finishing
    case erasing
  }
  var phase = Phase.idle
  var plan: MetadataMove?
  var facts: DiskFacts?
  var isSealed = false
  var outstanding = 0
  var nextBlock: UInt32 = 0
  var contextsLeft = 0

  var holdsPages: Bool { phase == .quieting || phase == .log || phase == .sealing || phase == .contexts }
  var holdsSuperblock: Bool { holdsPages || phase == .bitmap }
}

extension Engine {
  mutating func beginMove(_ v: Int, _ plan: MetadataMove, _ facts: DiskFacts) {
    precondition(volumes[v].move.phase == .idle, "the metadata are moving already")
    volumes[v].move = MetadataMoveStep(phase: .quieting, plan: plan, facts: facts)
    // The pages that it waits for are held back from here on: it is begun again afterwards.
    if volumes[v].transaction == .flushing { volumes[v].transaction.go(to: .idle) }
    log(.device(v), "Moving the internal meta data to their proper location")
    advanceMove(v)
  }

  /// Whenever a metadata write has ended.
  mutating func advanceMove(_ v: Int) {
    guard volumes[v].move.phase == .quieting, volumes[v].isAttached, let plan = volumes[v].move.plan else { return }
    guard !volumes[v].superblock.inFlight, volumes[v].pages.inFlight == 0, volumes[v].transaction == .idle else {
      return
    }
    plan.logIsClear ? writeNewLog(v) : seal(v)
  }

  private mutating func seal(_ v: Int) {
    guard let plan = volumes[v].move.plan else { preconditionFailure("a move without plan") }
    volumes[v].move.phase = .sealing
    volumes[v].move.isSealed = true
    volumes[v].backing.placement = plan.new
    volumes[v].backing.superblock.place(at: plan.new)
    refreshSuperblock(v)
    volumes[v].move.outstanding += 1
    fx.append(
      .metaWrite(
        work(.move, v), volumes[v].number, .sealedSuperblock, offset: plan.new.superblockOffset, barrier: .everything))
  }

  private mutating func writeNewLog(_ v: Int) {
    guard let plan = volumes[v].move.plan else { preconditionFailure("a move without plan") }
    volumes[v].move.phase = .log
    while volumes[v].move.outstanding < 32, volumes[v].move.nextBlock < plan.new.activityLogBlocks {
      let block = volumes[v].move.nextBlock
      volumes[v].move.nextBlock += 1
      volumes[v].move.outstanding += 1
      let offset = plan.new.activityLogOffset + UInt64(block) * 4096
      fx.append(
        .metaWrite(
          pageWork(.move, v, block), volumes[v].number, .emptyTransaction(block), offset: offset,
          barrier: .nothing))
    }
    if volumes[v].move.outstanding > 0 { return }
    volumes[v].move.isSealed ? beginContexts(v) : seal(v)
  }

  /// As many as it takes to name every slot of the log.
  private mutating func beginContexts(_ v: Int) {
    volumes[v].move.phase = .contexts
    volumes[v].move.contextsLeft = volumes[v].backing.log.transactionsForContext
    moveContext(v)
  }

  mutating func moveContext(_ v: Int) {
    guard volumes[v].move.phase == .contexts, !isClosing(v) else { return }
    if volumes[v].move.contextsLeft > 0 {
      volumes[v].move.contextsLeft -= 1
      guard let transaction = volumes[v].backing.log.prepareContext() else {
        preconditionFailure("a transaction under way while the log moves")
      }
      // Bits of extents that it evicts are written before the seal is broken.
      writeTransaction(v, transaction.blockIndex, forgets: true)
      return
    }
    volumes[v].move.phase = .bitmap
    volumes[v].backing.bitmap.markAllDirty()
    flushBitmap(v, lazy: true, then: .movedBitmap)
    lookAgain = true
  }

  mutating func moveDone(_ v: Int, _ fault: DiskFault?) {
    volumes[v].move.outstanding -= 1
    if let fault { metadataFailed(v, fault) }
    if fault == nil, !isClosing(v) {
      switch volumes[v].move.phase {
      case .log: writeNewLog(v)
      case .sealing:
        if let facts = volumes[v].move.facts {
          fx.append(.metadataPlaced(volumes[v].number, deviceBytes: facts.metaBytes))
        }
        volumes[v].move.nextBlock == 0 ? writeNewLog(v) : beginContexts(v)
      case .erasing: finishMove(v)
      default: preconditionFailure("a block of a move that nobody asked for")
      }
    }
  }

  /// The disk is given up without writing anything more.
  func isClosing(_ v: Int) -> Bool {
    switch volumes[v].detach.phase {
    case .draining(graceful: false), .closing: true
    default: false
    }
  }

  mutating func movedBitmap(_ v: Int) {
    volumes[v].move.phase = .finishing
    writeSuperblock(v, then: .moved)
  }

  /// The new place counts, with all that it says.
  mutating func moved(_ v: Int) {
    guard let plan = volumes[v].move.plan else { preconditionFailure("a move without plan") }
    guard plan.freesSuperblock, volumes[v].detach.phase == .none else {
      finishMove(v)
      return
    }
    volumes[v].move.phase = .erasing
    volumes[v].move.outstanding += 1
    fx.append(
      .metaWrite(work(.move, v), volumes[v].number, .erased, offset: plan.old.superblockOffset, barrier: .everything))
  }

  private mutating func finishMove(_ v: Int) {
    guard let plan = volumes[v].move.plan, let facts = volumes[v].move.facts else {
      preconditionFailure("a move without plan")
    }
    volumes[v].move = MetadataMoveStep()
    volumes[v].resize.freed = plan.freed
    volumes[v].backing.facts = facts
    volumes[v].backing.usable = plan.new.usableSectors(dataDeviceBytes: facts.dataBytes)
    log(.device(v), "Internal drbd meta data successfully moved.")
    lookAgain = true
    endMeasure(v, nil)
  }

  /// The disk has gone in the middle of it: what has to be done at the next attach is in the superblock.
  mutating func moveLost(_ v: Int) {
    if volumes[v].move.phase == .idle { return }
    volumes[v].move = MetadataMoveStep()
    endMeasure(v, nil)
  }
}
