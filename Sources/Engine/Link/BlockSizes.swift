// What the export of a volume says of itself: the smallest block, and whether a discard gives room back. The engine decides,
// the daemon announces. Laws: the block is the largest of the own disk's, the peer's (P_SIZES, wire spec 3.5) and the one
// announced last; it never changes while a client has a volume open, and never falls while this node is Primary. A disk takes
// requests in sectors whatever its blocks are (the daemon reads, changes and writes whole ones): a peer with larger blocks
// that comes to a volume in use is a slower peer, and is refused only where it cannot do that.
import Base
import Protocol

public struct ExportTraits: Hashable, Sendable {
  /// A power of two from 512 to 4096.
  public var blockBytes: UInt32
  public var offersDiscard: Bool
  public init(blockBytes: UInt32 = 512, offersDiscard: Bool = false) {
    self.blockBytes = blockBytes
    self.offersDiscard = offersDiscard
  }
}

extension Engine {
  /// The largest block that the metadata allow for: they are written in units of it.
  static let largestBlock: UInt32 = 4096

  private func ownBlock(_ v: Int) -> UInt32 {
    volumes[v].isAttached ? volumes[v].backing.facts.logicalBlock : 512
  }

  /// The peer's, as it said last; 512 while it has said nothing.
  private func peerBlock(_ v: Int) -> UInt32 {
    let block = volumes[v].peer.sizes?.limits.logicalBlock ?? 512
    return Engine.isUsable(block) ? block : 512
  }

  private static func isUsable(_ block: UInt32) -> Bool {
    block >= 512 && block <= largestBlock && block & (block - 1) == 0
  }

  /// Discards are worth offering where both disks give the room back: where one writes zeroes instead, a discard costs as much
  /// as writing the range.
  private func offersDiscard(_ v: Int) -> Bool {
    let own = volumes[v].isAttached ? volumes[v].backing.facts.canDiscard : nil
    var peer: Bool?
    if let sizes = volumes[v].peer.sizes, sizes.backing > 0 {
      peer = sizes.limits.discardEnabled != 0 && (!link.phase.isUp || link.features.contains(.trim))
    }
    return (own ?? peer ?? false) && (peer ?? true)
  }

  /// Looked at again whenever a disk, the peer's word, the role or the use of the volume has changed.
  mutating func announceTraits(_ v: Int) {
    let old = volumes[v].traits
    let disks = max(ownBlock(v), peerBlock(v))
    var new = ExportTraits(blockBytes: disks, offersDiscard: offersDiscard(v))
    if role == .primary { new.blockBytes = isOpen ? old.blockBytes : max(disks, old.blockBytes) }
    if disks > new.blockBytes { noteSmallBlocks(v, disks) }
    if new == old { return }
    volumes[v].traits = new
    if new.blockBytes != old.blockBytes, role == .primary {
      log(.device(v), "the export has blocks of \(new.blockBytes) bytes now, had \(old.blockBytes)")
    }
    fx.append(.announced(volumes[v].number, new))
  }

  mutating func announceTraits() { for v in 0..<volumes.count { announceTraits(v) } }

  /// Said once for each size: the peer may say its own as often as it likes.
  private mutating func noteSmallBlocks(_ v: Int, _ disks: UInt32) {
    if disks <= volumes[v].notedBlock { return }
    volumes[v].notedBlock = disks
    let whose = ownBlock(v) == disks ? "the disk here" : "the disk of \(settings.peerName)"
    warn(
      .device(v),
      "\(whose) has blocks of \(disks) bytes, and the volume is in use with \(volumes[v].traits.blockBytes): "
        + "a smaller write costs a read and a write there until the next repladm secondary \(settings.name) "
        + "and repladm primary \(settings.name)")
  }

  /// Whether this node can live with the blocks of the peer's disk; if not, the connection has been given up.
  mutating func acceptsBlocks(_ v: Int, of peer: Sizes) -> Bool {
    let block = peer.limits.logicalBlock
    if block <= 512 { return true }
    guard Engine.isUsable(block) else {
      giveUpLink(
        "the disk of \(name(v)) on \(settings.peerName) has blocks of \(block) bytes, and \(Engine.largestBlock) is the "
          + "largest size that can be exported; give that node a disk with smaller blocks")
      return false
    }
    let inUse = volumes[v].traits.blockBytes
    if role == .primary, isOpen, block > inUse, !link.features.contains(.takesSectors) {
      giveUpLink(
        "the disk of \(name(v)) on \(settings.peerName) has blocks of \(block) bytes, the volume is in use here with \(inUse), "
          + "and that node cannot write less than a block: give it a disk with blocks of \(inUse) bytes, or "
          + "demote this node, run repladm connect \(settings.name), and promote it again")
      return false
    }
    return true
  }

  /// The limits block of P_SIZES.
  func ownLimits(_ v: Int) -> Sizes.Limits {
    var limits = Sizes.Limits()
    guard volumes[v].isAttached else { return limits }
    let block = volumes[v].backing.facts.logicalBlock
    limits.logicalBlock = block
    limits.physicalBlock = max(block, 512)
    limits.ioMin = max(block, 512)
    limits.discardEnabled = volumes[v].backing.facts.canDiscard ? 1 : 0
    return limits
  }

  // MARK: where data lie

  /// Block status of a client. What the own disk knows counts only where a read would be answered from it.
  mutating func locate(_ ticket: Ticket, _ number: VolumeNumber, _ range: BlockRange) {
    let v = index(number)
    guard acceptsWrites, range.end <= volumes[v].end else {
      fx.append(.answer(ticket, acceptsWrites ? Errno.io : Errno.shutdown))
      return
    }
    fx.append(isGoodHere(v, range) ? .locate(ticket, number, range) : .answer(ticket, nil))
  }
}
