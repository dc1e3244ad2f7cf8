// Where a DRBD 9 follows rules of its own at version 101 (wire spec 14.2), and this node helps: it believes such a peer where the peer knows
// more than its packets can say, and begins what the peer does not begin. Law: towards any other peer nothing here happens
// (`Link.peerIsDRBD9`), and a Primary's data are never given up at the peer's word.
import Base
import Protocol

extension Engine {
  // MARK: a generation that the peer began (14.2 number 26)

  /// A Primary has begun a generation while both disks are equal, and tells it by P_UUIDS with this node's own in the first place of the
  /// history. Both nodes have every write of the old one, so the new one is this node's, too: without it the next meeting would find
  /// it in no bitmap slot, and copy the whole device.
  mutating func followGeneration(_ v: Int, _ peer: GenerationIdentifiers) {
    let state = volumes[v].state
    let own = volumes[v].generations
    guard link.peerIsDRBD9, role != .primary, state.peerRole == .primary, state.conn == .connected,
      state.disk == .upToDate, state.peerDisk == .upToDate, volumes[v].outOfSync == 0, peer.dirtyBits == 0,
      own.bitmap == 0, peer.bitmap == 0, peer.history0 & ~1 == own.current & ~1, peer.current & ~1 != own.current & ~1
    else { return }
    volumes[v].generations.push(own.current & ~1)
    volumes[v].generations.current = peer.current
    volumes[v].generations.setPrimary(false)
    log(.peerDevice(v), "took over the peer's new current UUID, \(hex(volumes[v].generations.current))")
    writeSuperblock(v, then: .nothing)
  }

  // MARK: equal generations, and the peer is the source (14.2 numbers 23 and 24)

  /// The generations are equal and nothing here asks for a resync, but the peer says that it is the source: it knows that the two had
  /// this connection before one of them crashed, or that it has lost its quorum meanwhile.
  func heedsSource(_ v: Int, _ input: GenerationInput, _ theirConn: ConnectionState) -> Bool {
    guard link.peerIsDRBD9, theirConn == .wfBitMapS, role != .primary, !input.dryRun else { return false }
    return input.peerDisk > .inconsistent && input.own.current & ~1 == input.peer.current & ~1
  }

  /// The same where this node has begun as the source by its own mark of a crash: the bitmaps cross, each node has the union of both,
  /// and this node becomes the target.
  mutating func yieldsToSource(_ v: Int, _ packed: PackedState, _ theirConn: ConnectionState) -> Bool {
    guard link.peerIsDRBD9, theirConn == .wfBitMapS, volumes[v].state.conn == .wfBitMapS, role != .primary,
      packed.disk > .inconsistent, packed.disk != .unknown, let peer = volumes[v].peer.generations,
      peer.current & ~1 == volumes[v].generations.current & ~1
    else { return false }
    log(
      .peerDevice(v),
      "both nodes are the source and their generations are equal: DRBD 9 knows more, this node becomes the target"
    )
    volumes[v].exchange.cross()
    change(v) {
      $0.conn = .wfBitMapT
      $0.peerRole = packed.role
      $0.peerPaused = packed.dependencyPaused || packed.userPaused
    }
    beginPatience(v)
    sendState(v)
    return true
  }

  // MARK: a forced promotion of several volumes (14.2 number 22)

  /// The role belongs to the connection there: the request for the first volume has made this node Primary, and those for the others
  /// compare nothing any more. For them this node begins as the source, which a connected peer has to answer by comparing.
  mutating func startsForcedResync(_ v: Int) -> Bool {
    let state = volumes[v].state
    guard link.peerIsDRBD9, state.conn == .connected, state.peerDisk == .inconsistent else { return false }
    guard (0..<v).contains(where: { volumes[$0].state.conn >= .connected }) else { return false }
    log(.peerDevice(v), "the resync is begun by this node: DRBD 9 begins only that of the first volume")
    setAllBits(v)
    volumes[v].exchange = Exchange()
    change(v) { $0.conn = .wfBitMapS }
    sendState(v)
    beginBitmapExchange(v)
    return true
  }

  // MARK: refusals

  /// Its module parameter forbids the versions of DRBD 8.4, and its first packet says so.
  func withholdsItsDialect(_ peer: Features) -> String {
    "\(settings.peerName) runs a DRBD 9 that speaks version \(peer.minimum) and above, this node speaks up to "
      + "\(settings.net.maximumVersion): load its kernel module with protocol_version_min=86 (a file in /etc/modprobe.d: options drbd "
      + "protocol_version_min=86)"
  }

  /// It takes this node's features, and hangs up before it says anything else. No packet explains it.
  var refusesBehindFeatures: Bool {
    guard link.peerIsDRBD9 else { return false }
    switch link.phase {
    case .greeting(.challenge(_, let theirs, _)): return theirs == nil
    case .up: return link.state == .wfReportParams && link.peerOffer == nil && settings.net.cramHMAC.isEmpty
    case .down, .searching, .resting, .greeting: return false
    }
  }

  /// What `refusesBehindFeatures` mostly means.
  var whyRefusedBehindFeatures: String {
    "; \(settings.peerName) runs DRBD 9 and ended the handshake behind its first packet: its resource must have this one connection only "
      + "and no third node, and the same authentication; see the kernel log on \(settings.peerName), then connect it there again"
  }
}
