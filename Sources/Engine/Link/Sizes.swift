// How large the volume is (wire spec 6): the smaller node wins, and data are never cut off.
import Base
import Protocol

extension Engine {
  /// The new size: what both can hold, or the last agreed size while one is unknown, bounded by the limit.
  func agreedSize(own: SectorCount, peer: SectorCount, last: SectorCount, limit: SectorCount) -> SectorCount {
    var size: SectorCount
    if own > .zero, peer > .zero {
      size = min(own, peer)
    } else if last > .zero {
      size = last
      if own > .zero { size = min(size, own) }
      if peer > .zero { size = min(size, peer) }
    } else {
      size = own > .zero ? own : peer
    }
    if limit > .zero, limit <= size { size = limit }
    // Whole 4 KiB blocks only, where the device allows it.
    return size
  }

  /// Sectors the own disk has for data; 0 without one.
  private func usableSize(_ v: Int) -> SectorCount {
    if !volumes[v].isAttached { .zero } else { volumes[v].backing.usable }
  }

  /// The peer's volume in use does not fit on this disk. It sees so as well, and no packet would say it (K9).
  mutating func isTooSmallForPeer(_ v: Int, _ packed: PackedState) -> Bool {
    guard volumes[v].isAttached, let peer = volumes[v].peerSizes, peer.backing > 0, packed.disk >= .outdated,
      peer.current > volumes[v].size.value, volumes[v].backing.usable.value < peer.current
    else { return false }
    giveUpLink(
      "this disk is too small for \(name(v)): \(volumes[v].backing.usable.bytes >> 10) KiB here, "
        + "\(peer.current >> 1) KiB in use on \(settings.peerName); give this node a disk of at least this size")
    return true
  }

  /// `asks`: the peer is to look at its disk and to answer.
  mutating func sendSizes(_ v: Int, asks: Bool = false, flags: UInt16 = 0) {
    var own = Sizes()
    own.backing = usableSize(v).value
    own.userLimit = volumes[v].settings.sizeLimit.value
    own.current = asks ? 0 : volumes[v].size.value
    own.resizeFlags = flags
    own.maxRequest = longestBlock
    if volumes[v].isAttached {
      let block = volumes[v].backing.facts.logicalBlock
      own.limits.logicalBlock = block
      own.limits.physicalBlock = max(block, 512)
      own.limits.ioMin = max(block, 512)
    }
    sendData(.sizes(own), volumes[v].number)
  }

  /// New blocks are out of sync, unless both nodes are said to hold the same there.
  mutating func adoptSize(_ v: Int, _ size: SectorCount, assumeClean: Bool) {
    let old = volumes[v].size
    log("\(name(v)): size is \(size.bytes >> 10) KiB now, was \(old.bytes >> 10) KiB")
    volumes[v].backing.bitmap.resize(bits: size.bits, newBitsSet: size > old && !assumeClean)
    volumes[v].size = size
    if size > old {
      // Of a block that was there in part the rest is new. A kernel does not think of it, and would not ask for it.
      let isAgreed = volumes[v].state.conn < .wfReportParams || link.features.contains(.resyncsGrown)
      if old.value % 8 != 0, !assumeClean, isAgreed {
        _ = volumes[v].backing.bitmap.set(old.bits - 1..<old.bits)
      }
      let freed = volumes[v].resize.freed.clamped(to: old.bits..<size.bits)
      if assumeClean, !freed.isEmpty {
        _ = volumes[v].backing.bitmap.set(freed)
        log("\(name(v)): \(freed.count * 4) KiB that held metadata are out of sync until the next resync")
      }
      // The superblock that calls the new blocks part of the volume must not be durable before their bits are.
      volumes[v].superblock.waitsForPages = true
      flushBitmap(v, lazy: false, then: .superblock)
    }
    writeSuperblock(v, then: .nothing)
    announceSize(v)
  }

  mutating func sizesReceived(_ v: Int, _ peer: Sizes) {
    if peer.current == 0, peer.backing > 0, volumes[v].isAttached, volumes[v].state.conn == .connected,
      volumes[v].resize.phase == .idle
    {
      // It has grown and asks for our size: our disk may have, too.
      volumes[v].resize.phase = .answering(peer, connection: link.generation)
      fx.append(.measureDisk(volumes[v].number))
      return
    }
    takeSizes(v, peer)
  }

  mutating func takeSizes(_ v: Int, _ peer: Sizes) {
    volumes[v].peerSizes = peer
    defer { answerResize(v) }
    let first = volumes[v].state.conn == .wfReportParams
    guard peer.backing <= 1 << 41, peer.current <= 1 << 41, peer.userLimit <= 1 << 41 else {
      giveUpLink("the peer announces a device larger than 1 PiB")
      return
    }
    if !volumes[v].isAttached {
      // A diskless node takes the peer's size; from a diskless peer there is nothing to take.
      guard peer.backing > 0 else { return }
      let size: UInt64 = peer.current > 0 ? peer.current : peer.userLimit > 0 ? peer.userLimit : peer.backing
      if role == .primary, size < volumes[v].size.value {
        giveUpLink("the peer's device is smaller than the one in use here")
        return
      }
      volumes[v].size = SectorCount(size)
      announceSize(v)
      return
    }
    var limit = volumes[v].settings.sizeLimit
    if peer.userLimit > 0, limit == .zero || peer.userLimit < limit.value { limit = SectorCount(peer.userLimit) }
    let last = volumes[v].backing.superblock.effectiveSize
    let usable = volumes[v].backing.usable
    let size = agreedSize(own: usable, peer: SectorCount(peer.backing), last: last, limit: limit)
    let old = volumes[v].size
    if size < old, volumes[v].state.disk >= .outdated, last > .zero, first || peer.backing == 0 {
      giveUpLink(
        "the peer's disk is too small for \(name(v)): \(size.bytes >> 10) KiB there, \(old.bytes >> 10) KiB in use here; "
          + "give the peer a disk of at least this size")
      return
    }
    if size != old { adoptSize(v, size, assumeClean: peer.resizeFlags & 2 != 0) }
    if first {
      volumes[v].grewApart = size.value > min(old.value, peer.current)
      return
    }
    if peer.current != volumes[v].size.value { sendSizes(v, flags: peer.resizeFlags) }
    if size > old || volumes[v].resize.awaitsPeer {
      volumes[v].resize.awaitsPeer = false
      resyncGrown(v, assumeClean: peer.resizeFlags & 2 != 0)
    }
  }
}
