// What an attach finds on the disk: superblock, activity log and bitmap, read one after the other. Law: metadata that are not
// for this node or this device are refused before anything is written.
import Base
import MetaDisk
import Protocol

extension Engine {
  mutating func superblockRead(_ v: Int, _ bytes: RawSpan) {
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
          "the metadata of \(name(v)) describe \(sectors / 2) KiB of data, and this device has room for "
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
    if let size = sizeToKeep(v), let problem = misfit(v, usable: usable, size: size) {
      return (111, problem.why, problem.next)
    }
    let current = superblock.generations(peerNode: Int(settings.peerNodeID)).current
    if role == .primary, volumes[v].state.peerDisk != .upToDate, volumes[v].exposed.differs(from: current) {
      return (
        150, "the data that this Primary uses are newer than those on this disk",
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
    return cutsOff(v, superblock)
  }

  /// Good data that would not fit into the volume: a lower `disk { size }`, or a smaller volume in use.
  private func cutsOff(_ v: Int, _ superblock: Superblock) -> (number: Int, why: String, next: String)? {
    if !superblock.flags.contains(.consistent) { return nil }
    let data = superblock.effectiveSize
    let limit = volumes[v].settings.sizeLimit
    if limit > .zero, limit < data {
      return (
        170,
        "`disk { size }` says \(limit.bytes >> 10) KiB, and this disk has \(data.bytes >> 10) KiB of data: they would be "
          + "cut off",
        "raise size in the configuration, or leave it out"
      )
    }
    guard let size = sizeToKeep(v), size < data else { return nil }
    let fresh =
      "or, if the data of this disk need not be kept, write new metadata by repladm create-md --force \(name(v)), which brings a "
      + "full resync"
    if !isInUse, volumes[v].state.peerRole != .primary {
      // No Primary, no `resize`; two nodes that meet agree on a size.
      return (
        170,
        "this disk has \(data.bytes >> 10) KiB of data, and \(settings.peerName) uses \(size.bytes >> 10) KiB of its own: they would "
          + "be cut off",
        "attach it without a connection, the nodes then agree on a size: repladm disconnect \(settings.name), repladm attach "
          + "\(name(v)), repladm connect \(settings.name); \(fresh)"
      )
    }
    return (
      170,
      "this disk has \(data.bytes >> 10) KiB of data, and the volume in use has \(size.bytes >> 10) KiB: they would be cut "
        + "off",
      "grow the volume in use (on \(settings.peerName): repladm resize --assume-peer-has-space --size=\(data.value)s "
        + "\(name(v))); \(fresh)"
    )
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
      sizeToKeep(v) ?? agreedSize(own: usable, peer: .zero, last: last, limit: volumes[v].settings.sizeLimit)
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
    backing.bitmap.otherSlots = superblock.otherSlots(peerNode: peer)
    let flags = superblock.flags
    backing.crashedPrimary =
      flags.contains(.crashedPrimary) || (superblock.format == .v08 && flags.contains(.primaryIndicator))
    let fullSync =
      superblock.format == .v08
      ? flags.contains(.fullSync) : superblock.peers[peer].flags.contains(.fullSync)
    let wasConnected =
      superblock.format == .v08
      ? flags.contains(.connectedIndicator) : superblock.peers[peer].flags.contains(.connected)
    backing.wasDegraded = flags.contains(.primaryIndicator) && !wasConnected
    let isUnlogged = flags.contains(.alDisabled)
    volumes[v].attach.setAll = fullSync || (backing.crashedPrimary && isUnlogged)
    volumes[v].attach.setsOthers = isUnlogged && flags.contains(.primaryIndicator)
    volumes[v].adopt(backing)
  }

  func logBytes(_ v: Int) -> UInt64 {
    UInt64(volumes[v].backing.superblock.alStripes) * UInt64(volumes[v].backing.superblock.alStripeSize4k) * 4096
  }

  private mutating func readLog(_ v: Int) {
    let total = logBytes(v)
    if volumes[v].attach.replay == nil {
      volumes[v].attach.replay = ActivityLogReplay(
        stripes: volumes[v].backing.superblock.alStripes, stripeSize4k: volumes[v].backing.superblock.alStripeSize4k)
    }
    readOn(v, volumes[v].backing.placement.activityLogOffset, total)
  }

  /// The next part of an area of the metadata, at most 1 MiB of it.
  private mutating func readOn(_ v: Int, _ start: UInt64, _ total: UInt64) {
    let position = volumes[v].attach.position
    let bytes = UInt32(min(total - position, 1 << 20))
    fx.append(.metaRead(work(.attach, v), volumes[v].number, offset: start + position, bytes: bytes))
  }

  mutating func logRead(_ v: Int, _ bytes: RawSpan) {
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
    // The bits of other nodes lie on the same pages, and count.
    let isAlone = volumes[v].backing.bitmap.otherSlots == 0
    if (volumes[v].attach.setAll && isAlone) || volumes[v].attach.oldBits == 0 { return 0 }
    return UInt64(volumes[v].backing.bitmap.pageCount(coveringBits: volumes[v].attach.oldBits)) * 4096
  }

  private mutating func readBitmap(_ v: Int) {
    let total = bitmapBytes(v)
    if volumes[v].attach.position >= total {
      metadataKnown(v)
    } else {
      readOn(v, volumes[v].backing.placement.bitmapOffset, total)
    }
  }

  mutating func bitmapRead(_ v: Int, _ bytes: RawSpan) {
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
}
