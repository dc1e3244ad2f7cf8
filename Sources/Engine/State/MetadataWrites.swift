// When metadata is written, and in which order (metadata spec 2.6, 4.3). One superblock write is under way at a time;
// it always carries the newest state. A superblock that weakens protection waits for the bitmap pages it relies on.
import Base
import MetaDisk
import Protocol

extension Engine {
  /// Flags of the metadata as they follow from the state (metadata spec 2.3).
  private func deviceFlags(_ v: Int, keeping old: DeviceFlags) -> DeviceFlags {
    let state = volumes[v].state
    let v08 = volumes[v].backing.superblock.format == .v08
    var flags = old
    func put(_ flag: DeviceFlags, _ on: Bool) { if on { flags.insert(flag) } else { flags.remove(flag) } }
    put(.alClean, false)
    put(.alDisabled, !volumes[v].settings.alUpdates)
    if state.disk > .negotiating {
      put(.consistent, state.disk > .inconsistent)
      put(.wasUpToDate, state.disk > .outdated && link.ownCopy == .kept)
    } else if volumes[v].exposed.hasMissedWrites, role != .primary {
      // What only this process knows of the disk that is being attached.
      put(.consistent, false)
      put(.wasUpToDate, false)
    }
    // What the peer writes here is in the log when the peer cannot mark it, and when other nodes have to learn of it.
    let logsPeer = state.peerDisk < .inconsistent || volumes[v].backing.bitmap.otherSlots != 0
    put(.primaryIndicator, role == .primary || (logsPeer && state.peerRole == .primary))
    let crashed = volumes[v].backing.crashedPrimary
    put(.crashedPrimary, v08 ? crashed : crashed || role == .primary)
    if v08 {
      put(.connectedIndicator, state.conn >= .connected)
      put(.peerOutdated, knowsPeerOutdated(v))
    }
    return flags
  }

  /// Nobody goes on with the peer's data. The target of a resync may be done, and this node gone, before it hears of it; so may a
  /// connected peer be gone before it has recorded that it is Inconsistent.
  /// And it is a claim of good data: a disk that is being attached keeps what was recorded on it.
  private func knowsPeerOutdated(_ v: Int) -> Bool {
    let state = volumes[v].state
    if state.disk <= .negotiating { return recordsOutdatedPeer(v) }
    // On an Inconsistent disk it proves nothing, and DRBD writes it there.
    guard state.disk == .upToDate || state.disk == .inconsistent, !volumes[v].peer.isHearsay else { return false }
    switch state.conn {
    case .syncSource, .pausedSyncS: return false
    default: return state.peerDisk >= .inconsistent && state.peerDisk <= .outdated && !peerMayBeGood(v)
    }
  }

  /// Writes the superblock if what it says has changed.
  mutating func updateSuperblock(_ v: Int) {
    let before = volumes[v].backing.superblock
    refreshSuperblock(v)
    if volumes[v].backing.superblock != before { writeSuperblock(v, then: .nothing) }
  }

  mutating func refreshSuperblock(_ v: Int) {
    let flags = deviceFlags(v, keeping: volumes[v].backing.superblock.flags)
    let state = volumes[v].state
    let generations = volumes[v].generations
    let peer = Int(settings.peerNodeID)
    volumes[v].backing.superblock.flags = flags
    volumes[v].backing.superblock.unclean = true
    if volumes[v].size > .zero { volumes[v].backing.superblock.effectiveSize = volumes[v].size }
    volumes[v].backing.superblock.setGenerations(
      current: generations.current, bitmap: generations.bitmap, history0: generations.history0,
      history1: generations.history1, peerNode: peer)
    if volumes[v].backing.superblock.format == .v09 {
      func put(_ flag: PeerFlags, _ on: Bool) {
        if on {
          volumes[v].backing.superblock.peers[peer].flags.insert(flag)
        } else {
          volumes[v].backing.superblock.peers[peer].flags.remove(flag)
        }
      }
      put(.connected, state.conn >= .connected)
      put(.fencing, fences)
      put(.outdated, knowsPeerOutdated(v))
      if state.conn >= .connected { put(.seen, true) }
    }
  }

  /// Writes the superblock with the state of now; `then` happens when it is durable.
  mutating func writeSuperblock(_ v: Int, then: Continuation) {
    precondition(volumes[v].isAttached, "no disk, no superblock")
    let change = volumes[v].superblock.want()
    if then != .nothing { waits.add(.superblock(change), v, then) }
    issueSuperblock(v)
  }

  mutating func issueSuperblock(_ v: Int) {
    if !volumes[v].superblock.isDue || volumes[v].move.holdsSuperblock { return }
    // The block on disk may claim less protection only when the bitmap pages behind the claim are durable. A page that is
    // being written is not dirty any more, and not on disk yet.
    if volumes[v].backing.bitmap.nextDirtyPage(from: 0, includeLazy: false) != nil || volumes[v].pages.inFlight > 0,
      role != .primary || volumes[v].generations.bitmap == 0
    {
      volumes[v].superblock.waitForPages()
      flushBitmap(v, lazy: false, then: .superblock)
      return
    }
    refreshSuperblock(v)
    volumes[v].superblock.issue()
    let offset = volumes[v].backing.placement.superblockOffset
    // It may say "UpToDate", "not Primary any more" or "no bitmap": all of that is about data.
    fx.append(
      .metaWrite(work(.superblock, v), volumes[v].number, .superblock, offset: offset, barrier: .everything))
  }

  mutating func metaDone(_ id: WorkID, _ fault: DiskFault?) {
    let v = Int(id.slot.raw & 0xff)
    switch id.kind {
    case .superblock: superblockDone(v, fault)
    case .bitmapPage: pageDone(v, UInt32(id.slot.raw >> 8), fault)
    case .activityLog: transactionDone(v, fault)
    case .attach: attachDone(v, page: UInt32(id.slot.raw >> 8), fault)
    case .move: moveDone(v, fault)
    default: preconditionFailure("metadata answer to something that is no metadata work")
    }
    if id.kind != .attach { advanceDetach(v) }
  }

  private mutating func superblockDone(_ v: Int, _ fault: DiskFault?) {
    volumes[v].superblock.writeEnded()
    if let fault {
      metadataFailed(v, fault)
      return
    }
    advanceMove(v)
    volumes[v].superblock.becameDurable()
    runSuperblockWaiters(v)
    if volumes[v].isAttached {
      issueSuperblock(v)
      evictPages(v)
    }
  }

  /// Lets those go on whose superblock is durable, or (after a failure) can never be.
  mutating func runSuperblockWaiters(_ v: Int) {
    let durable = volumes[v].superblock.durable
    let due = waits.take { one in
      if case .superblock(let change) = one.reason { one.volume == v && change <= durable } else { false }
    }
    for one in due { goOn(v, one.then) }
    if volumes[v].superblock.isFenced { return }
    releaseHeld(v)
    if !volumes[v].parked.isEmpty { lookAgain = true }
  }

  /// Writes every dirty bitmap page; `then` happens when those that are dirty now are on disk (not yet durable: the
  /// barrier of the next superblock or transaction makes them so).
  mutating func flushBitmap(_ v: Int, lazy: Bool, then: Continuation) {
    if then != .nothing { waits.add(.bitmap, v, then) }
    volumes[v].pages.scan(lazy: lazy)
    scanPages(v)
  }

  private mutating func scanPages(_ v: Int) {
    if volumes[v].move.holdsPages { return }
    while volumes[v].pages.hasRoom, let from = volumes[v].pages.scanning {
      let lazy = volumes[v].pages.includeLazy
      if let page = volumes[v].backing.bitmap.nextDirtyPage(from: from, includeLazy: lazy) {
        if volumes[v].backing.bitmap.isBeingWritten(page) {
          volumes[v].pages.stop(at: page)
          break
        }
        volumes[v].pages.goOn(behind: page)
        writePage(v, page)
      } else {
        volumes[v].pages.endOfRound()
      }
    }
    finishPages(v)
  }

  private mutating func finishPages(_ v: Int) {
    guard volumes[v].pages.isIdle else { return }
    volumes[v].pages.finish()
    for one in waits.take(.bitmap, v) { goOn(v, one.then) }
  }

  mutating func writePage(_ v: Int, _ page: UInt32) {
    volumes[v].backing.bitmap.markWritten(page)
    let barrier = volumes[v].pages.begin(page)
    volumes[v].counters.bitmapWrites += 1
    let offset = volumes[v].backing.placement.bitmapOffset + UInt64(page) * 4096
    fx.append(
      .metaWrite(
        pageWork(.bitmapPage, v, page), volumes[v].number, .bitmapPage(page), offset: offset,
        barrier: barrier ? .everything : .nothing))
  }

  private mutating func pageDone(_ v: Int, _ page: UInt32, _ fault: DiskFault?) {
    volumes[v].pages.end()
    if !volumes[v].isAttached { return }
    volumes[v].pages.written(page, fault)
    if let fault {
      volumes[v].backing.bitmap.markDirty(page)
      metadataFailed(v, fault)
    } else {
      volumes[v].backing.bitmap.writeCompleted(page)
    }
    if fault == nil {
      evictPages(v)
      scanPages(v)
      advanceMove(v)
    }
  }

  /// Metadata cannot be written: nothing this disk says can be trusted to survive, so it is given up.
  mutating func metadataFailed(_ v: Int, _ fault: DiskFault) {
    if !volumes[v].isAttached { return }
    if volumes[v].attach.phase == .final {
      attachFailed(v, fault)
      return
    }
    fail(.device(v), "meta-data I/O error \(fault.errno), detaching")
    if volumes[v].state.disk <= .failed, volumes[v].detach.phase != .none, volumes[v].detach.phase != .closing {
      // An orderly detach was under way: it ends without writing the rest.
      volumes[v].detach.phase = .draining(graceful: false)
    }
    failDisk(v)
  }

  func pageWork(_ kind: WorkID.Kind, _ v: Int, _ page: UInt32) -> WorkID {
    WorkID(kind: kind, slot: SlotID(raw: UInt64(page) << 8 | UInt64(v)))
  }

  func work(_ kind: WorkID.Kind, _ v: Int) -> WorkID { WorkID(kind: kind, slot: SlotID(raw: UInt64(v))) }

  /// The bytes of a metadata block, 4096 of them. Called while the effect that names it is carried out.
  public func render(_ block: MetaBlock, of number: VolumeNumber, into bytes: UnsafeMutableRawBufferPointer) {
    let v = index(number)
    precondition(bytes.count >= 4096, "a metadata block has 4096 bytes")
    precondition(volumes[v].isAttached, "a metadata block of a volume without disk")
    switch block {
    case .superblock: volumes[v].backing.superblock.write(to: bytes)
    case .sealedSuperblock: volumes[v].backing.superblock.sealed.write(to: bytes)
    case .erased: for i in 0..<4096 { bytes[i] = 0 }
    case .transaction: volumes[v].backing.log.render(into: bytes)
    case .emptyTransaction: ActivityLogBlock.initialize(bytes)
    case .bitmapPage(let page): volumes[v].backing.bitmap.render(page: page, into: bytes)
    }
  }
}
