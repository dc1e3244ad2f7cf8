// Attaching a disk (metadata spec 6.2): open, superblock, activity log, bitmap; then what a crash left behind is made
// durable in this order: bitmap, empty log, superblock. Nothing is used before the superblock says "in use".
import Base
import MetaDisk
import Protocol

enum AttachPhase: Equatable {
  case idle
  case opening
  case superblock
  case log
  case bitmap
  case pages
  case emptyLog
  case final
  /// A write has failed; the others that are under way have to end first.
  case failing(DiskFault)
}

struct AttachStep {
  var phase = AttachPhase.idle
  var reply: ReplyTo?
  var facts: DiskFacts?
  /// Bytes of the log or the bitmap read so far, or blocks of the empty log written.
  var position: UInt64 = 0
  var outstanding = 0
  var replay: ActivityLogReplay?
  var emptyLogNeeded = false
  /// Bits valid on disk; those behind are new.
  var oldBits: UInt64 = 0
  /// The bitmap on disk is not to be believed: all bits are set.
  var setAll = false
}

extension Engine {
  mutating func attach(_ v: Int, _ reply: ReplyTo?) {
    guard volumes[v].settings.hasDisk else {
      refuse(
        reply,
        .request(
          138, "Device does not have a disk-config", why: "the file says `disk none` for \(name(v))",
          next: "name a disk in the configuration and run: repladm adjust \(settings.name)"))
      return
    }
    guard volumes[v].state.disk == .diskless, volumes[v].attach.phase == .idle else {
      refuse(
        reply,
        .request(
          124, "Device is attached to a disk already (use detach first)",
          why: "\(name(v)) is \(volumes[v].state.disk.name)", next: "repladm detach \(name(v))"))
      return
    }
    volumes[v].attach = AttachStep(phase: .opening, reply: reply)
    change(v) { $0.disk = .attaching }
    fx.append(.openDisk(volumes[v].number))
  }

  mutating func diskRefused(_ number: VolumeNumber, _ code: Int, _ why: String) {
    let v = index(number)
    let reply = volumes[v].attach.reply
    volumes[v].attach = AttachStep()
    change(v) { $0.disk = .diskless }
    defer { advanceDown() }
    refuse(
      reply,
      .request(
        code, "Can not open backing device", why: why, next: "then run repladm attach \(name(v))"))
  }

  mutating func diskOpened(_ number: VolumeNumber, _ facts: DiskFacts) {
    let v = index(number)
    precondition(volumes[v].attach.phase == .opening, "a disk opened that nobody asked for")
    volumes[v].attach.facts = facts
    volumes[v].attach.phase = .superblock
    let offset: UInt64
    do {
      offset = try Placement.superblockOffset(location: volumes[v].settings.metaLocation, deviceBytes: facts.metaBytes)
    } catch {
      giveUpAttach(v, 111, clause(error), next: "use a larger device, or metadata on another device")
      return
    }
    fx.append(.metaRead(work(.attach, v), number, offset: offset, bytes: 4096))
  }

  /// Bytes of metadata have been read.
  mutating func attachRead(_ id: WorkID, _ bytes: RawSpan) {
    let v = Int(id.slot.raw)
    switch volumes[v].attach.phase {
    case .superblock: superblockRead(v, bytes)
    case .log: logRead(v, bytes)
    case .bitmap: bitmapRead(v, bytes)
    default: preconditionFailure("metadata bytes that nobody asked for")
    }
  }

  private mutating func superblockRead(_ v: Int, _ bytes: RawSpan) {
    guard let facts = volumes[v].attach.facts else { preconditionFailure("no disk facts") }
    do throws(MetaFault) {
      let superblock = try Superblock(reading: bytes)
      let placement = try Placement(
        superblock: superblock, location: volumes[v].settings.metaLocation, deviceBytes: facts.metaBytes)
      if let problem = misfit(v, superblock, placement, facts) {
        giveUpAttach(v, problem.number, problem.why, next: problem.next)
        return
      }
      try build(v, superblock, placement, facts)
    } catch {
      switch error {
      case .tooSmall: giveUpAttach(v, 111, clause(error), next: "use a larger device, or metadata on another device")
      case .tooLarge(let sectors, let limit):
        giveUpAttach(
          v, 170,
          "the metadata of \(name(v)) is about \(sectors / 2) KiB of data, and this device has room for "
            + "\(limit / 2) KiB",
          next: "give the device its former size back")
      case .absent:
        giveUpAttach(
          v, 119, "no DRBD metadata was found where that of \(name(v)) belongs",
          next: (volumes[v].settings.metaLocation == .internal
            ? "if the device has grown, move them to its new end: repladm check-resize \(name(v)); " : "")
            + "if the disk is new, write some with repladm create-md \(name(v)), then run repladm adjust "
            + settings.name)
      case .noFreeSlot:
        giveUpAttach(
          v, 119, "the metadata of \(name(v)) has no bitmap slot left for \(settings.peerName)",
          next: "write new metadata by repladm create-md --force \(name(v)), which brings a full resync")
      default:
        giveUpAttach(
          v, 119, clause(error),
          next: "if the device was resized or partitioned anew, undo that; else write new metadata by "
            + "repladm create-md --force \(name(v)), which brings a full resync, then repladm adjust \(settings.name)")
      }
      return
    }
    volumes[v].attach.phase = .log
    volumes[v].attach.position = 0
    readLog(v)
  }

  /// Sound metadata that is not for this node, or not for this device.
  private func misfit(
    _ v: Int, _ superblock: Superblock, _ placement: Placement, _ facts: DiskFacts
  ) -> (number: Int, why: String, next: String)? {
    if superblock.format == .v09, superblock.nodeID != -1, superblock.nodeID != settings.nodeID {
      return (
        119, "the metadata belongs to node \(superblock.nodeID), this node is \(settings.nodeID)",
        "check which disk and which host the configuration names: repladm dump \(settings.name)"
      )
    }
    let usable = placement.usableSectors(dataDeviceBytes: facts.dataBytes)
    if role == .primary, usable < volumes[v].size {
      return (
        111,
        "the device holds \(usable.bytes >> 10) KiB of data, and the volume in use has \(volumes[v].size.bytes >> 10) KiB",
        "use a device of at least that size"
      )
    }
    let current = superblock.generations(peerNode: Int(settings.peerNodeID)).current
    if role == .primary, volumes[v].state.peerDisk != .upToDate, volumes[v].exposed != 0,
      volumes[v].exposed & ~1 != current & ~1
    {
      return (
        150, "this Primary works with newer data than this disk holds",
        "connect the node that has them, then: repladm attach \(name(v))"
      )
    }
    if usable < superblock.effectiveSize, superblock.flags.contains(.consistent) {
      return (
        170,
        "the device holds \(usable.bytes >> 10) KiB of data, but both nodes agreed on "
          + "\(superblock.effectiveSize.bytes >> 10) KiB: it would be cut off",
        "give the device its former size back"
      )
    }
    return nil
  }

  private mutating func build(
    _ v: Int, _ read: Superblock, _ placement: Placement, _ facts: DiskFacts
  ) throws(MetaFault) {
    var superblock = read
    let peer = Int(settings.peerNodeID)
    if superblock.format == .v09 { superblock.nodeID = settings.nodeID }
    let slot = try superblock.assignBitmapSlot(peerNode: peer)
    let usable = placement.usableSectors(dataDeviceBytes: facts.dataBytes)
    let last = superblock.effectiveSize
    // A volume in use keeps its size.
    let size =
      role == .primary && volumes[v].size > .zero
      ? volumes[v].size : agreedSize(own: usable, peer: .zero, last: last, limit: volumes[v].settings.sizeLimit)
    let slots = superblock.format == .v09 ? Int(superblock.maxPeers) : 1
    let found = superblock.generations(peerNode: peer)
    volumes[v].generations = Generations(
      current: found.current, bitmap: found.bitmap, history0: found.history0, history1: found.history1)
    volumes[v].size = size
    volumes[v].attach.oldBits = min(last.bits, size.bits)
    var backing = Backing(
      facts: facts, placement: placement, superblock: superblock,
      bitmap: Bitmap(bits: size.bits, maxPeers: slots, slotIndex: slot),
      log: ActivityLog(
        slots: Int(volumes[v].settings.alExtents), stripes: superblock.alStripes,
        stripeSize4k: superblock.alStripeSize4k, firstTransaction: 0),
      usable: usable)
    let flags = superblock.flags
    backing.crashedPrimary =
      flags.contains(.crashedPrimary) || (superblock.format == .v08 && flags.contains(.primaryIndicator))
    let fullSync =
      superblock.format == .v08
      ? flags.contains(.fullSync) : superblock.peers[peer].flags.contains(.fullSync)
    volumes[v].attach.setAll = fullSync || (backing.crashedPrimary && flags.contains(.alDisabled))
    volumes[v].adopt(backing)
  }

  private func logBytes(_ v: Int) -> UInt64 {
    UInt64(volumes[v].backing.superblock.alStripes) * UInt64(volumes[v].backing.superblock.alStripeSize4k) * 4096
  }

  private mutating func readLog(_ v: Int) {
    let total = logBytes(v)
    if volumes[v].attach.replay == nil {
      volumes[v].attach.replay = ActivityLogReplay(
        stripes: volumes[v].backing.superblock.alStripes, stripeSize4k: volumes[v].backing.superblock.alStripeSize4k)
    }
    let position = volumes[v].attach.position
    let offset = volumes[v].backing.placement.activityLogOffset + position
    let bytes = UInt32(min(total - position, 1 << 20))
    fx.append(.metaRead(work(.attach, v), volumes[v].number, offset: offset, bytes: bytes))
  }

  private mutating func logRead(_ v: Int, _ bytes: RawSpan) {
    var block = UInt32(volumes[v].attach.position / 4096)
    var offset = 0
    while offset < bytes.byteCount {
      volumes[v].attach.replay!.absorb(block: block, bytes.extracting(offset..<offset + 4096))
      block += 1
      offset += 4096
    }
    volumes[v].attach.position += UInt64(bytes.byteCount)
    if volumes[v].attach.position < logBytes(v) {
      readLog(v)
      return
    }
    volumes[v].attach.phase = .bitmap
    volumes[v].attach.position = 0
    readBitmap(v)
  }

  /// Bytes of the bitmap area that hold bits valid on disk.
  private func bitmapBytes(_ v: Int) -> UInt64 {
    if volumes[v].attach.setAll || volumes[v].attach.oldBits == 0 { return 0 }
    return UInt64(volumes[v].backing.bitmap.pageCount(coveringBits: volumes[v].attach.oldBits)) * 4096
  }

  private mutating func readBitmap(_ v: Int) {
    let total = bitmapBytes(v)
    let position = volumes[v].attach.position
    if position >= total {
      metadataKnown(v)
      return
    }
    let offset = volumes[v].backing.placement.bitmapOffset + position
    let bytes = UInt32(min(total - position, 1 << 20))
    fx.append(.metaRead(work(.attach, v), volumes[v].number, offset: offset, bytes: bytes))
  }

  private mutating func bitmapRead(_ v: Int, _ bytes: RawSpan) {
    var page = UInt32(volumes[v].attach.position / 4096)
    var offset = 0
    while offset < bytes.byteCount {
      volumes[v].backing.bitmap.absorb(page: page, from: bytes.extracting(offset..<offset + 4096))
      page += 1
      offset += 4096
    }
    volumes[v].attach.position += UInt64(bytes.byteCount)
    readBitmap(v)
  }

  /// Everything has been read: mark what a crash left open.
  private mutating func metadataKnown(_ v: Int) {
    let bits = volumes[v].backing.bitmap.bits
    let old = volumes[v].attach.oldBits
    let flags = volumes[v].backing.superblock.flags
    if volumes[v].attach.setAll {
      volumes[v].backing.bitmap.setAll()
      log("\(name(v)): the bitmap on disk is not valid, all blocks are out of sync")
    } else if old < bits {
      // Padding behind the old end may hold anything.
      _ = volumes[v].backing.bitmap.set(old..<bits)
    }
    guard let replay = volumes[v].attach.replay else { preconditionFailure("no replay") }
    do {
      let result = try replay.finish()
      volumes[v].attach.emptyLogNeeded = result.updateBlocks > 0 || result.corruptBlocks > 0
      if result.updateBlocks > 0, flags.contains(.primaryIndicator) {
        var marked: UInt64 = 0
        for extent in result.active {
          let first = min(extent.firstBit.value, bits)
          let last = min(first + 1024, bits)
          marked += volumes[v].backing.bitmap.set(first..<last)
        }
        log("\(name(v)): marked additional \(marked * 4) KiB as out-of-sync based on the activity log")
      }
    } catch {
      // A log that nothing depends on: all blocks are marked already.
      if flags.contains(.primaryIndicator), !volumes[v].attach.setAll {
        giveUpAttach(
          v, 165, "the activity log cannot be replayed: \(clause(error))",
          next: "this node was Primary, its last writes are unknown: get the data from the peer "
            + "(repladm create-md --force \(name(v)), then up) or accept a full resync (repladm invalidate \(name(v)))")
        return
      }
      volumes[v].attach.emptyLogNeeded = true
    }
    volumes[v].attach.phase = .pages
    if volumes[v].backing.bitmap.nextDirtyPage(from: 0, includeLazy: true) != nil {
      volumes[v].attach.outstanding = 0
      writeAttachPages(v)
    } else {
      beginEmptyLog(v)
    }
  }

  private mutating func writeAttachPages(_ v: Int) {
    while volumes[v].attach.outstanding < 32,
      let page = volumes[v].backing.bitmap.nextDirtyPage(from: 0, includeLazy: true)
    {
      volumes[v].backing.bitmap.markWritten(page)
      volumes[v].attach.outstanding += 1
      let offset = volumes[v].backing.placement.bitmapOffset + UInt64(page) * 4096
      fx.append(
        .metaWrite(pageWork(.attach, v, page), volumes[v].number, .bitmapPage(page), offset: offset, barrier: false))
    }
    if volumes[v].attach.outstanding == 0 { beginEmptyLog(v) }
  }

  private mutating func beginEmptyLog(_ v: Int) {
    volumes[v].attach.phase = .emptyLog
    volumes[v].attach.position = 0
    writeEmptyLog(v)
  }

  private mutating func writeEmptyLog(_ v: Int) {
    let blocks = volumes[v].attach.emptyLogNeeded ? logBytes(v) / 4096 : 0
    // The first block waits for the bitmap to be durable; the others follow once it is.
    while volumes[v].attach.position < blocks, volumes[v].attach.outstanding < 32 {
      let block = UInt32(volumes[v].attach.position)
      if block == 1, volumes[v].attach.outstanding > 0 { break }
      volumes[v].attach.position += 1
      volumes[v].attach.outstanding += 1
      let offset = volumes[v].backing.placement.activityLogOffset + UInt64(block) * 4096
      fx.append(
        .metaWrite(
          pageWork(.attach, v, block), volumes[v].number, .emptyTransaction(block), offset: offset, barrier: block == 0)
      )
    }
    if volumes[v].attach.outstanding == 0 { finishAttach(v) }
  }

  /// A metadata write of the attach, or a metadata read that failed.
  mutating func attachDone(_ v: Int, page: UInt32, _ fault: DiskFault?) {
    if volumes[v].attach.outstanding > 0 { volumes[v].attach.outstanding -= 1 }
    if let fault { volumes[v].attach.phase = .failing(fault) }
    switch volumes[v].attach.phase {
    case .pages:
      volumes[v].backing.bitmap.writeCompleted(page)
      writeAttachPages(v)
    case .emptyLog: writeEmptyLog(v)
    case .failing(let fault): if volumes[v].attach.outstanding == 0 { attachFailed(v, fault) }
    default: preconditionFailure("attach write in the wrong phase")
    }
  }

  /// The metadata cannot be read or written.
  mutating func attachFailed(_ v: Int, _ fault: DiskFault) {
    giveUpAttach(
      v, 118, "meta-data I/O error \(fault.errno)", next: "replace the device, then: repladm create-md \(name(v))")
  }

  private mutating func finishAttach(_ v: Int) {
    volumes[v].attach.phase = .final
    volumes[v].superblock = SuperblockWrites()
    volumes[v].pages = PageWrites()
    volumes[v].transaction = .idle
    if volumes[v].backing.superblock.format == .v08 { volumes[v].backing.superblock.flags.remove(.fullSync) }
    let peer = Int(settings.peerNodeID)
    if volumes[v].backing.superblock.format == .v09 {
      volumes[v].backing.superblock.peers[peer].flags.remove(.fullSync)
    }
    if volumes[v].generations.current != justCreated { volumes[v].generations.setPrimary(role == .primary) }
    // What was known about the peer stays known.
    if fences, recordsOutdatedPeer(v), volumes[v].state.conn < .connected { change(v) { $0.peerDisk = .outdated } }
    writeSuperblock(v, then: .attached)
  }

  /// The superblock says "in use": the disk takes part from here on.
  mutating func attachDurable(_ v: Int) {
    let reply = volumes[v].attach.reply
    volumes[v].attach = AttachStep()
    let state = recordedDiskState(v)
    log(
      "\(name(v)): attached, \(volumes[v].size.bytes >> 10) KiB, \(volumes[v].outOfSync * 4) KiB out of sync, "
        + "current UUID \(hex(volumes[v].generations.current))")
    // In the middle of a handshake the peer has been told "Diskless": it learns of this disk as in a connection.
    if volumes[v].state.conn >= .wfReportParams {
      change(v) { $0.disk = .negotiating }
      sendSizes(v)
      sendGenerations(v)
      sendState(v)
    } else if isStale(v) {
      beginDetach(v, graceful: true, nil)
      refuse(
        reply,
        .request(
          103, "attach of \(name(v)) failed", why: "the disk is older than the data that this Primary has shown",
          next: "connect the node that has them first: repladm connect \(settings.name)"))
      return
    } else {
      change(v) { $0.disk = state }
    }
    announceSize(v)
    if let reply { fx.append(.reply(reply, .done)) }
    advanceDown()
  }

  /// A fault's sentence as part of another.
  private func clause(_ fault: MetaFault) -> String {
    let text = fault.text
    return text.last == "." ? String(text.dropLast()) : text
  }

  private mutating func giveUpAttach(_ v: Int, _ number: Int, _ why: String, next: String) {
    let reply = volumes[v].attach.reply
    volumes[v].attach = AttachStep()
    volumes[v].superblock = SuperblockWrites()
    volumes[v].dropBacking()
    volumes[v].detach = DetachStep(phase: .closing, reply: nil)
    fx.append(.closeDisk(volumes[v].number))
    refuse(reply, .request(number, "attach of \(name(v)) failed", why: why, next: next))
  }

  mutating func refuse(_ reply: ReplyTo?, _ refusal: Refusal) {
    warn("\(settings.name): \(refusal.what): \(refusal.why)")
    if let reply { fx.append(.reply(reply, .refused(refusal))) }
  }
}
