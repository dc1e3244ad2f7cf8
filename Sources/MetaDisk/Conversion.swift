// Between v08 and v09 in place (metadata spec 5.5), and the small commands on a disk that is not attached (5.3). With
// one peer both formats put log and bitmap at the same place, so only the superblock changes. DRBD's own converter
// drops the bitmap UUID and makes set bits meaningless; this one keeps everything the other format can hold.
import Base

extension Superblock {
  /// The same metadata in another format. `peerNode` is the node id of the one peer, `ownNode` ours; v08 has neither.
  public func converted(to target: MetaFormat, ownNode: Int, peerNode: Int) throws(MetaFault) -> Superblock {
    if target == format { return self }
    guard isClean else { throw .unclean }
    return target == .v09 ? try asV09(ownNode, peerNode) : try asV08(peerNode)
  }

  private func asV09(_ ownNode: Int, _ peerNode: Int) throws(MetaFault) -> Superblock {
    guard (0..<Superblock.nodes).contains(ownNode), (0..<Superblock.nodes).contains(peerNode), ownNode != peerNode
    else {
      throw .notConvertible("node ids \(ownNode) and \(peerNode) must differ and lie between 0 and 31")
    }
    var result = Superblock(unplaced: .v09)
    result.takeShared(from: self)
    result.nodeID = Int32(ownNode)
    result.peers[peerNode].bitmapIndex = 0
    result.peers[peerNode].bitmapUUID = peers[0].bitmapUUID
    result.setPeerFlags(peerFlags(peerNode: peerNode), peerNode: peerNode)
    result.flags = flags.subtracting([.connectedIndicator, .fullSync, .peerOutdated])
    return result
  }

  private func asV08(_ peerNode: Int) throws(MetaFault) -> Superblock {
    guard maxPeers == 1 else { throw .notConvertible("v08 has one bitmap, this metadata has \(maxPeers)") }
    guard (0..<Superblock.nodes).contains(peerNode) else { throw .notConvertible("\(peerNode) is no node id") }
    if let other = peers.indices.first(where: { $0 != peerNode && peers[$0].bitmapIndex >= 0 }) {
      throw .notConvertible("its bitmap belongs to node \(other), not to node \(peerNode)")
    }
    if flags.contains(.primaryLostQuorum) { throw .notConvertible("v08 cannot say that quorum was lost") }
    var result = Superblock(unplaced: .v08)
    result.takeShared(from: self)
    result.peers[0].bitmapUUID = peers[peerNode].bitmapUUID
    result.flags = flags.subtracting([.connectedIndicator, .fullSync, .peerOutdated, .haveQuorum])
    result.setPeerFlags(peers[peerNode].flags, peerNode: 0)
    return result
  }

  private mutating func takeShared(from other: Superblock) {
    effectiveSize = other.effectiveSize
    current = other.current
    deviceUUID = other.deviceUUID
    mdSizeSectors = other.mdSizeSectors
    alOffset = other.alOffset
    bmOffset = other.bmOffset
    alExtents = other.alExtents
    bytesPerBit = other.bytesPerBit
    peerMaxBioSize = other.peerMaxBioSize
    alStripes = other.alStripes
    alStripeSize4k = other.alStripeSize4k
    for i in 0..<(format == .v08 ? 2 : Superblock.nodes) { history[i] = other.history[i] }
  }

  /// `outdate`: false when the data are not even consistent, and nothing is changed.
  public mutating func outdate() -> Bool {
    guard flags.contains(.consistent) else { return false }
    flags.remove(.wasUpToDate)
    return true
  }

  /// `invalidate`: the next attach finds an Inconsistent disk and a bitmap that is all ones.
  public mutating func invalidate() {
    flags.subtract([.consistent, .wasUpToDate])
    if format == .v08 { flags.insert(.fullSync) }
    if format == .v09 { for node in peers.indices { peers[node].flags.insert(.fullSync) } }
  }

  /// `forget-peer`: frees the slot of a node. Its bits stay where they are until another peer gets the slot.
  public mutating func forget(peerNode: Int) {
    precondition(format == .v09 && peers.indices.contains(peerNode), "only v09 remembers peers by node id")
    let unused = peers.lastIndex { $0.bitmapIndex == -1 && $0.flags.isEmpty }
    var entry = PeerEntry()
    if let unused {
      entry.bitmapUUID = peers[unused].bitmapUUID
      entry.bitmapDagtag = peers[unused].bitmapDagtag
    }
    peers[peerNode] = entry
  }
}
