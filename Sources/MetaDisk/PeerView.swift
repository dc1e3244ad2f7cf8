// The superblock seen from one peer. v08 keeps its one peer's facts in device-wide fields, v09 in an entry per node id;
// who asks here need not know which. When generations change is the engine's business, where they lie is ours.
import Base

extension Superblock {
  /// The entry that stands for a peer. v08 has one, whatever the peer's node id.
  private func entry(of peerNode: Int) -> Int {
    if format == .v08 { return 0 }
    precondition((0..<Superblock.nodes).contains(peerNode), "node ids are 0...31")
    return peerNode
  }

  public func generations(peerNode: Int) -> (current: UInt64, bitmap: UInt64, history0: UInt64, history1: UInt64) {
    (current, peers[entry(of: peerNode)].bitmapUUID, history[0], history[1])
  }

  /// Stores four generations. When the new history is the old one moved by one place, the older ones of v09 move too.
  public mutating func setGenerations(
    current: UInt64, bitmap: UInt64, history0: UInt64, history1: UInt64, peerNode: Int
  ) {
    if format == .v09, history1 == history[0], history0 != history[0] { pushHistory(history0) }
    if current & ~1 != self.current & ~1 { partFromOthers(peerNode: peerNode) }
    replaceGenerations(current: current, bitmap: bitmap, history0: history0, history1: history1, peerNode: peerNode)
  }

  /// The generation ends: from it on the slots of nodes that are not spoken to count, unless they count from an older one.
  private mutating func partFromOthers(peerNode: Int) {
    if format == .v08 || current == 0 || current == Superblock.justCreated { return }
    for node in peers.indices where node != peerNode && peers[node].bitmapIndex >= 0 && peers[node].bitmapUUID == 0 {
      peers[node].bitmapUUID = current
    }
  }

  /// Slots beside this peer's whose bits count: those of other nodes, and those without a node when a generation is on record from
  /// which they count ("day 0").
  public func otherSlots(peerNode: Int) -> UInt32 {
    if format == .v08 { return 0 }
    var others: UInt32 = 0
    var taken: UInt32 = 0
    var countsUnused = false
    for node in peers.indices {
      if peers[node].bitmapIndex >= 0 {
        taken |= 1 << UInt32(peers[node].bitmapIndex)
        if node != peerNode { others |= 1 << UInt32(peers[node].bitmapIndex) }
      } else if node != Int(nodeID), peers[node].bitmapUUID != 0 {
        countsUnused = true
      }
    }
    if countsUnused { others |= ~taken & UInt32(truncatingIfNeeded: UInt64(1) << UInt64(maxPeers) - 1) }
    return others
  }

  /// Stores four generations where they lie and moves nothing.
  mutating func replaceGenerations(
    current: UInt64, bitmap: UInt64, history0: UInt64, history1: UInt64, peerNode: Int
  ) {
    self.current = current
    peers[entry(of: peerNode)].bitmapUUID = bitmap
    history[0] = history0
    history[1] = history1
  }

  /// Puts a generation in front of the history; the oldest one falls out.
  public mutating func pushHistory(_ generation: UInt64) {
    let kept = format == .v08 ? 2 : Superblock.nodes
    for i in stride(from: kept - 1, to: 0, by: -1) { history[i] = history[i - 1] }
    history[0] = generation
  }

  /// Bitmap slot of a peer, or nil when it has none yet.
  public func bitmapSlot(peerNode: Int) -> Int? {
    let index = peers[entry(of: peerNode)].bitmapIndex
    return index >= 0 ? Int(index) : nil
  }

  /// Gives a peer the lowest slot no entry uses, as the kernel does at the first connect. Keeps the one it has.
  @discardableResult
  public mutating func assignBitmapSlot(peerNode: Int) throws(MetaFault) -> Int {
    if let slot = bitmapSlot(peerNode: peerNode) { return slot }
    let taken = Set(peers.map(\.bitmapIndex))
    guard let free = (0..<Int32(maxPeers)).first(where: { !taken.contains($0) }) else {
      throw .noFreeSlot(peers: maxPeers)
    }
    peers[entry(of: peerNode)].bitmapIndex = free
    return Int(free)
  }

  public func peerFlags(peerNode: Int) -> PeerFlags {
    if format == .v09 { return peers[entry(of: peerNode)].flags }
    var result: PeerFlags = []
    for (device, peer) in Superblock.sharedFlags where flags.contains(device) { result.insert(peer) }
    return result
  }

  /// v08 has room for connected, outdated and full sync; the others are dropped there.
  public mutating func setPeerFlags(_ new: PeerFlags, peerNode: Int) {
    if format == .v09 {
      peers[entry(of: peerNode)].flags = new
      return
    }
    for (device, peer) in Superblock.sharedFlags {
      if new.contains(peer) { flags.insert(device) } else { flags.remove(device) }
    }
  }

  /// Facts about the peer that v08 keeps among the device flags.
  static let sharedFlags: [(DeviceFlags, PeerFlags)] = [
    (.connectedIndicator, .connected), (.peerOutdated, .outdated), (.fullSync, .fullSync),
  ]

  /// What the disk is by its metadata alone (the `dstate` of a device that is not attached).
  public var diskState: DiskState {
    if !flags.contains(.consistent) { return .inconsistent }
    if !flags.contains(.wasUpToDate) { return .outdated }
    return flags.contains(.peerOutdated) ? .upToDate : .consistent
  }
}
