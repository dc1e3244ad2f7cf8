// The one function through which a volume's state changes: the intended change is normalised (wire spec 4.2), logged in
// DRBD's shape, and then has its consequences. Vetoes come before, in the flows that intend a change.
import Base
import MetaDisk
import Protocol

extension VolumeState {
  /// Fields that follow from others (wire spec 4.2).
  mutating func normalise() {
    if conn < .connected {
      peerRole = .unknown
      peerPaused = false
      if peerDisk < .inconsistent || peerDisk > .unknown { peerDisk = .unknown }
    }
    if conn > .connected, disk <= .failed || peerDisk <= .failed { conn = .connected }
    // Only two disks that were compared make each other UpToDate: a resync that ends because one of them went leaves
    // the other what it was (the kernel would declare an interrupted target good).
    if conn == .connected, disk > .negotiating, peerDisk > .failed {
      if disk == .consistent || disk == .outdated { disk = .upToDate }
      if peerDisk == .consistent || peerDisk == .outdated { peerDisk = .upToDate }
    }
    let paused = userPaused || peerPaused || dependencyPaused
    switch conn {
    case .syncSource where paused: conn = .pausedSyncS
    case .syncTarget where paused: conn = .pausedSyncT
    case .pausedSyncS where !paused: conn = .syncSource
    case .pausedSyncT where !paused: conn = .syncTarget
    default: break
    }
    switch conn {
    case .wfBitMapT, .wfSyncUUID, .startingSyncT, .pausedSyncT, .behind:
      disk = min(max(disk, .inconsistent), .outdated)
      peerDisk = .upToDate
    case .wfBitMapS, .startingSyncS, .pausedSyncS, .ahead:
      disk = .upToDate
      // A target that calls itself Outdated on its way to the resync has not been lost.
      peerDisk = peerDisk == .outdated ? .consistent : min(max(peerDisk, .inconsistent), .consistent)
    case .syncTarget:
      disk = .inconsistent
      peerDisk = .upToDate
    case .syncSource:
      disk = .upToDate
      peerDisk = .inconsistent
    case .verifyS, .verifyT:
      disk = .upToDate
      peerDisk = .upToDate
    default: break
    }
  }

  /// A write is sent to the peer (wire spec 7.1).
  var replicates: Bool {
    if conn < .connected { return false }
    if conn == .wfBitMapS || conn == .ahead { return false }
    return peerDisk == .upToDate || (peerDisk >= .inconsistent && conn >= .wfBitMapT && conn < .ahead)
  }

  /// A write is announced to the peer as out of sync instead.
  var announcesOutOfSync: Bool { conn == .wfBitMapS || conn == .ahead }

  /// Between the comparison of generations and the end of a resync.
  var isSyncing: Bool { conn >= .startingSyncS && conn <= .pausedSyncT && conn != .verifyS && conn != .verifyT }

  /// The application is here, on a good disk, and no disk of the peer takes its writes: the peer is out of reach, or has none.
  var isPrimaryAlone: Bool { role == .primary && disk == .upToDate && (conn < .connected || peerDisk < .inconsistent) }

  /// Neither copy that the application here could reach is good.
  var isPrimaryWithoutGoodData: Bool { role == .primary && disk < .upToDate && peerDisk < .upToDate }

  /// Also while paused: with nothing left to copy a resync ends all the same.
  var isSyncTarget: Bool { conn == .syncTarget || conn == .pausedSyncT }

  /// The only good copy is here, and the application at the peer, which has none.
  var servesDisklessPrimary: Bool {
    disk == .upToDate && peerRole == .primary && peerDisk <= .failed && conn >= .connected
  }

  /// The peer's data were within reach in `old` and are not any more.
  static func lostPeerData(_ old: VolumeState, _ new: VolumeState) -> Bool {
    let gone = new.peerDisk < .inconsistent || new.peerDisk == .outdated || new.peerDisk == .unknown
    switch old.peerDisk {
    case .inconsistent, .consistent, .upToDate: return gone
    case .unknown: return new.peerDisk == .diskless || new.peerDisk == .failed || new.peerDisk == .outdated
    default: return false
    }
  }
}

extension Engine {
  /// Changes a volume. The caller has checked that it may.
  mutating func change(_ v: Int, _ edit: (inout VolumeState) -> Void) {
    let old = volumes[v].state
    var new = old
    edit(&new)
    new.normalise()
    if new == old { return }
    if volumes[v].peer.invalidateCanBeUndone, new.conn != .wfSyncUUID {
      volumes[v].peer.invalidateIsFinal()
      if new.conn == .connected, new.disk == .inconsistent, new.peerDisk <= .inconsistent { new.disk = .upToDate }
    }
    volumes[v].become(new)
    logChange(v, old, new)
    watchForLoss(old, new)
    consequences(v, old, new)
    fx.append(.stateChanged)
  }

  private mutating func consequences(_ v: Int, _ old: VolumeState, _ new: VolumeState) {
    volumes[v].habit.disturbed()
    if old.replicates != new.replicates { closeEpoch() }
    if new.disk == .upToDate, old.disk != .upToDate { volumes[v].exposed.diskIsGood() }
    if old.isSyncTarget, new.conn == .behind { distrustResync(v) }
    if old.isSyncing, !new.isSyncing { endResync(v) }
    // A pause must not hold up the application.
    if new.conn != .syncTarget { volumes[v].resync.want(nil) }
    if old.isVerifying, !new.isVerifying { endVerify(v) }
    if old.conn == .wfReportParams, new.conn >= .connected { volumes[v].peer.metAgain() }
    if new.disk >= .inconsistent { volumes[v].exposed.diskIsBack() }
    if new.conn >= .connected || new.peerDisk != .inconsistent { volumes[v].peer.diskIsKnown() }
    if old.disk == .negotiating, new.disk != .negotiating { comparisonEnded(v, new.disk) }
    if old.conn >= .connected, new.conn < .connected {
      volumes[v].peer.compared()
      // The next handshake compares the sizes.
      volumes[v].resize.awaitsPeer = false
      answerResize(v)
    }

    // A generation ends where the two copies part (wire spec 5.1).
    let separated = VolumeState.lostPeerData(old, new)
    // A disk that comes back while the Primary has none parts from the Primary's disk in the same way.
    let beginsToServe = new.servesDisklessPrimary && !old.servesDisklessPrimary
    // So does a Primary whose disk comes back when the peer is out of reach, or has no disk either.
    let beginsAlone = new.isPrimaryAlone && old.disk != .upToDate
    // So does a Primary that loses a peer which was Inconsistent without a resync (`on-io-error pass_on`): that peer may not
    // have recorded it, and would come back with the generation of now. A resync has a generation of its own already.
    let losesInconsistentPeer = old.conn >= .connected && new.isPrimaryAlone && new.peerDisk == .inconsistent
    if separated || beginsToServe || beginsAlone || losesInconsistentPeer, new.disk == .upToDate, !volumes[v].isLeaving,
      volumes[v].generations.bitmap == 0, new.role == .primary || new.servesDisklessPrimary
    {
      if fencing.isFrozen { fencing.oweGeneration(v) } else { newGeneration(v) }
    } else if separated, new.role == .primary, new.disk == .upToDate {
      // A resync has begun one: what tells the copies apart has to be durable as well.
      volumes[v].superblock.fenceAnswers()
    } else if beginsToServe, link.features.contains(.resyncsGrown) {
      // The Primary waits for it (`PeerDevice.owesGeneration`).
      writeSuperblock(v, then: .tellGenerations)
    }
    if new.conn < .connected || new.peerDisk != .upToDate { volumes[v].peer.generationIsRecorded() }
    if old.peerDisk >= .inconsistent, new.peerDisk < .inconsistent {
      markUnacknowledged(v)
      // A peer without disk does not say how large it has become.
      volumes[v].resize.awaitsPeer = false
      answerResize(v)
    }
    if new.conn >= .connected, new.disk == .upToDate, new.peerDisk == .upToDate {
      if volumes[v].isAttached { volumes[v].backing.crashedPrimary = false }
    }
    if volumes[v].isAttached, new.disk > .negotiating || old.disk > .negotiating { updateSuperblock(v) }
    let wasUsable = old.disk >= .consistent || old.peerDisk == .upToDate
    let isUsable = new.disk >= .consistent || new.peerDisk == .upToDate
    if wasUsable != isUsable { announceSize(v) }
    if new.isPrimaryWithoutGoodData, !old.isPrimaryWithoutGoodData, !isBeingForced(v) {
      call(.primaryOnInconsistentDegraded, v)
    }
    unfenceIfReunited(old, new)
    thawIfReunited()
    thawIfDiskless()
    lookAgain = true
  }

  /// bitmap <- current, current <- random; durable before any write that the peer does not have is answered.
  mutating func newGeneration(_ v: Int) {
    volumes[v].generations.rotateToNew(random.next(), primary: role == .primary)
    log(
      .device(v),
      "new current UUID \(hex(volumes[v].generations.current)), bitmap \(hex(volumes[v].generations.bitmap))"
    )
    // A Primary without disk has to know that it is durable.
    let servesPrimary = volumes[v].state.servesDisklessPrimary
    writeSuperblock(v, then: servesPrimary ? .tellGenerations : .nothing)
    volumes[v].superblock.fenceAnswers()
    if !servesPrimary, volumes[v].state.conn >= .connected { sendGenerations(v) }
  }

  mutating func setRole(_ new: Role) {
    if role == new { return }
    log(.resource, "role( \(role.name) -> \(new.name) )")
    role = new
    fencing.giveUp(false)
    for v in 0..<volumes.count {
      volumes[v].generations.setPrimary(new == .primary)
      volumes[v].owesFlushFailure = false
      change(v) { $0.role = new }
    }
    announceTraits()
  }

  private mutating func logChange(_ v: Int, _ old: VolumeState, _ new: VolumeState) {
    var device = "", peer = ""
    if old.peerRole != new.peerRole { peer += " peer( \(old.peerRole.name) -> \(new.peerRole.name) )" }
    if old.conn != new.conn { peer += " conn( \(old.conn.name) -> \(new.conn.name) )" }
    if old.disk != new.disk { device = " disk( \(old.disk.name) -> \(new.disk.name) )" }
    if old.peerDisk != new.peerDisk { peer += " pdsk( \(old.peerDisk.name) -> \(new.peerDisk.name) )" }
    if old.userPaused != new.userPaused {
      peer += " user_isp( \(old.userPaused ? 1 : 0) -> \(new.userPaused ? 1 : 0) )"
    }
    if old.peerPaused != new.peerPaused {
      peer += " peer_isp( \(old.peerPaused ? 1 : 0) -> \(new.peerPaused ? 1 : 0) )"
    }
    if !device.isEmpty { log(.device(v), String(device.dropFirst())) }
    if !peer.isEmpty { log(.peerDevice(v), String(peer.dropFirst())) }
  }

  mutating func announceSize(_ v: Int) {
    fx.append(.resized(volumes[v].number, exportedSize(volumes[v].number)))
  }

  /// 16 upper-case digits, as drbdmeta prints them.
  func hex(_ value: UInt64) -> String {
    let digits = String(value, radix: 16, uppercase: true)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
