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
    return size
  }

  /// Of two limits, where 0 is none.
  func smaller(_ own: SectorCount, _ peer: UInt64) -> SectorCount {
    own == .zero ? SectorCount(peer) : peer == 0 ? own : min(own, SectorCount(peer))
  }

  /// `asks`: the peer is to look at its disk and to answer. An answer repeats the limit that was said: a kernel takes over
  /// what it is told (rule 1).
  mutating func sendSizes(_ v: Int, asks: Bool = false, flags: UInt16 = 0, answering: Sizes? = nil) {
    var own = Sizes()
    if diskCounts(v) {
      own.backing = volumes[v].backing.usable.value
      own.userLimit = smaller(sizeLimit(v), answering?.userLimit ?? 0).value
    }
    own.current = asks ? 0 : volumes[v].size.value
    own.resizeFlags = flags
    own.maxRequest = longestBlock
    own.limits = ownLimits(v)
    sendData(.sizes(own), volumes[v].number)
  }

  /// New blocks are out of sync, unless both nodes are said to hold the same there.
  mutating func adoptSize(_ v: Int, _ size: SectorCount, assumeClean: Bool) {
    let old = volumes[v].size
    log(.device(v), "size is \(size.bytes >> 10) KiB now, was \(old.bytes >> 10) KiB")
    volumes[v].backing.bitmap.resize(bits: size.bits, newBitsSet: size > old && !assumeClean)
    volumes[v].size = size
    if size > old {
      // Of a block that was there in part the rest is new. A kernel does not think of it, and would not ask for it.
      let isAgreed = volumes[v].state.conn < .wfReportParams || link.features.contains(.resyncsGrown)
      if old.value % 8 != 0, !assumeClean, isAgreed {
        _ = volumes[v].backing.bitmap.setInAllSlots(old.bits - 1..<old.bits)
      }
      volumes[v].backing.bitmap.noteChange(old.bits..<size.bits)
      let freed = volumes[v].resize.freed.clamped(to: old.bits..<size.bits)
      if assumeClean, !freed.isEmpty {
        _ = volumes[v].backing.bitmap.set(freed)
        log(.device(v), "\(freed.count * 4) KiB that held metadata are out of sync until the next resync")
      }
      // The superblock that calls the new blocks part of the volume must not be durable before their bits are.
      volumes[v].superblock.waitForPages()
      flushBitmap(v, lazy: false, then: .superblock)
    }
    writeSuperblock(v, then: .nothing)
    announceSize(v)
  }

  mutating func sizesReceived(_ v: Int, _ peer: Sizes) {
    if asksForMeasure(v, peer), diskCounts(v), volumes[v].state.conn == .connected {
      switch volumes[v].resize.phase {
      case .idle:
        // It has grown and asks for our size: our disk may have, too.
        volumes[v].resize.phase = .answering(peer, connection: link.generation)
        fx.append(.measureDisk(volumes[v].number))
        return
      case .answering where link.peerIsDRBD9:
        volumes[v].resize.phase = .answering(peer, connection: link.generation)
        return
      case .answering, .measuring: break
      }
    }
    takeSizes(v, peer)
  }

  /// 8.4 says "please measure" by a current size of 0. A DRBD 9 tells what its disk holds, and keeps the agreed size (14.2 number 25).
  private func asksForMeasure(_ v: Int, _ peer: Sizes) -> Bool {
    if peer.current == 0, peer.backing > 0 { return true }
    return link.peerIsDRBD9 && peer.backing > volumes[v].size.value
  }

  mutating func takeSizes(_ v: Int, _ peer: Sizes) {
    guard peer.backing <= 1 << 41, peer.current <= 1 << 41, peer.userLimit <= 1 << 41 else {
      giveUpLink("the peer announces a device larger than 1 PiB")
      return
    }
    guard peer.backing == 0 || peer.current <= peer.backing else {
      giveUpLink(
        "the peer announces \(peer.current >> 1) KiB of \(name(v)) on a disk of \(peer.backing >> 1) KiB")
      return
    }
    guard acceptsBlocks(v, of: peer) else { return }
    volumes[v].peer.says(peer)
    defer { answerResize(v) }
    announceTraits(v)
    if !volumes[v].isAttached {
      takeSizesWithoutDisk(v, peer)
      return
    }
    // What is being attached is compared when its metadata are known, what is being let go does not count any more.
    if !diskCounts(v) { return }
    let first = volumes[v].state.conn == .wfReportParams
    let limit = smaller(sizeLimit(v), peer.backing > 0 ? peer.userLimit : 0)
    let last = volumes[v].backing.superblock.effectiveSize
    let usable = volumes[v].backing.usable
    let size = agreedSize(own: usable, peer: SectorCount(peer.backing), last: last, limit: limit)
    let old = volumes[v].size
    if size < old, !shrinksForPeer(v, to: size, peer) { return }
    // Parts of a block are read, changed and written by the disk, also at the end of the volume.
    if size != old { adoptSize(v, size, assumeClean: peer.resizeFlags & 2 != 0) }
    if first {
      volumes[v].peer.disksHaveGrown(size.value > min(old.value, peer.current))
      return
    }
    if size > old, volumes[v].state.disk != .upToDate || volumes[v].state.peerDisk != .upToDate {
      // One of the disks is being attached: the comparison that follows knows nothing of the new blocks.
      volumes[v].peer.disksHaveGrown(true)
    }
    if peer.current != volumes[v].size.value { sendSizes(v, flags: peer.resizeFlags, answering: peer) }
    noteAgreedSize(v)
    if size > old || volumes[v].resize.awaitsPeer {
      volumes[v].resize.awaitsPeer = false
      resyncGrown(v, assumeClean: peer.resizeFlags & 2 != 0)
    }
  }

  /// Both disks count: the peer has the size that was agreed on. What it said before it heard of this disk is not its size any more.
  mutating func noteAgreedSize(_ v: Int) {
    let size = volumes[v].size.value
    guard diskCounts(v), let peer = volumes[v].peer.sizes, peer.backing > 0, peer.current > size else { return }
    volumes[v].peer.agreed(on: size)
  }

  /// A disk that is gone may have been too small: the volume is as large as the peer has said.
  mutating func takeSizeOfPeer(_ v: Int) {
    guard volumes[v].state.conn >= .wfReportParams, let peer = volumes[v].peer.sizes, peer.backing > 0,
      peer.current > volumes[v].size.value
    else { return }
    volumes[v].size = SectorCount(peer.current)
  }

  /// A diskless node takes the peer's size; from a diskless peer there is nothing to take.
  private mutating func takeSizesWithoutDisk(_ v: Int, _ peer: Sizes) {
    if peer.backing == 0 { return }
    if peer.current == 0, volumes[v].size > .zero, volumes[v].state.conn >= .connected {
      // It asks, and has the size still that it had: what its disk has room for is not what the nodes have agreed on.
      sendSizes(v)
      return
    }
    let limited = peer.userLimit > 0 ? min(peer.userLimit, peer.backing) : peer.backing
    let size = SectorCount(peer.current > 0 ? peer.current : limited)
    if isInUse, size < volumes[v].size {
      giveUpLink(
        "the peer's device is smaller than the one in use here: \(size.bytes >> 10) KiB there, "
          + "\(volumes[v].size.bytes >> 10) KiB here; connect the node that has the data")
      return
    }
    volumes[v].size = size
    announceSize(v)
  }
}
