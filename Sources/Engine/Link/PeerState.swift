// The peer's P_STATE and P_UUIDS (wire spec 4.5): where a connection becomes usable, where a resync is decided on, and
// where its end is noticed.
import Base
import MetaDisk
import Protocol

extension Engine {
  mutating func generationsReceived(_ v: Int, _ peer: GenerationIdentifiers) {
    volumes[v].peer.says(peer)
    // One that was sent for a `resize` may arrive after the attach has begun; the peer has not seen this disk then.
    if !link.features.contains(.marksAnswers) || peer.flags.contains(.answersAttach) {
      volumes[v].attach.awaitsPeer = false
    }
    if peer.flags.contains(.skipInitialSync), volumes[v].state.conn == .connected, link.version >= 90,
      volumes[v].generations.current == justCreated, diskCounts(v)
    {
      log(.peerDevice(v), "accepted new current UUID, preparing to skip initial sync")
      volumes[v].backing.bitmap.clearAll()
      volumes[v].generations.current = peer.current
      volumes[v].generations.setPrimary(role == .primary)
      volumes[v].generations.bitmap = 0
      volumes[v].peer.hasSame(volumes[v].generations)
      flushBitmap(v, lazy: true, then: .nothing)
      change(v) {
        $0.disk = .upToDate
        $0.peerDisk = .upToDate
      }
      writeSuperblock(v, then: .nothing)
      return
    }
    followGeneration(v, peer)
    if volumes[v].state.disk < .inconsistent, role == .primary {
      if volumes[v].state.conn < .connected {
        if volumes[v].exposed.differs(from: peer.current) {
          giveUpLink(
            "the peer's data of \(name(v)) are not the data that this Primary has in use: connect the node that has them"
          )
        }
      } else if volumes[v].state.peerDisk == .upToDate {
        volumes[v].exposed.show(peer.current)
        volumes[v].peer.generationIsRecorded()
        releaseHeld(v)
      }
    }
  }

  /// A Primary without disk uses the disk here, and says by that what only its exposed generation can tell: the data here are current.
  mutating func trustedByPrimary(_ v: Int) {
    let state = volumes[v].state
    guard state.disk == .consistent, state.conn == .connected, state.peerRole == .primary, state.peerDisk <= .failed
    else { return }
    change(v) { $0.disk = .upToDate }
    sendState(v)
  }

  mutating func stateReceived(_ v: Int, _ packed: PackedState) {
    let old = volumes[v].state
    if old.conn <= .tearDown { return }
    let theirConn = packed.connection ?? .connected
    if let wrong = contradiction(v, packed, theirConn) {
      breakLink(.protocolError, "P_STATE of \(name(v)): \(wrong)")
      return
    }
    if packed.role == .primary { link.mayWrite = false }
    var disk = packed.disk
    if disk == .negotiating {
      disk = volumes[v].peer.generations?.flags.contains(.inconsistent) == true ? .inconsistent : .consistent
    }

    if old.disk <= .failed, disk == .consistent, holdsExposedData(v), !mayHoldNewerData(v) { disk = .upToDate }

    if yieldsToSource(v, packed, theirConn) { return }

    // The end of a resync, said by the target.
    if old.disk == .upToDate, old.conn > .connected, old.peerDisk == .inconsistent || old.peerDisk == .consistent {
      if disk == .upToDate {
        if theirConn >= .startingSyncS, theirConn <= .wfSyncUUID {
          disk = .inconsistent
        } else if old.conn >= .syncSource, theirConn == .connected {
          volumes[v].resync.targetIsDone()
          checkSourceEnd(v)
          return
        }
      } else if disk == .inconsistent, theirConn == .connected,
        old.conn == .syncSource || old.conn == .pausedSyncS
      {
        // It has given up on blocks that failed (K17).
        change(v) { $0.conn = .connected }
        return
      }
    }
    // VerifyS has reached its stop sector.
    if old.conn == .verifyT, old.disk == .upToDate, theirConn == .connected, disk == .upToDate {
      finishVerify(v)
      return
    }
    if old.peerDisk == .upToDate, disk == .inconsistent, old.conn == .connected, theirConn > .syncSource {
      disk = .upToDate
    }

    var conn = old.conn == .wfReportParams ? ConnectionState.connected : old.conn
    if theirConn == .ahead, conn >= .connected { conn = .behind }
    if old.isVerifying, disk < .upToDate { conn = .connected }
    // It was to be the source, and its disk has failed something meanwhile: nothing has been overwritten here.
    if volumes[v].peer.invalidateCanBeUndone, old.conn == .wfSyncUUID, theirConn == .connected, disk == .inconsistent {
      conn = .connected
    }
    var verdict: GenerationVerdict?
    var heedsWord = false
    let compared = volumes[v].generations
    if comparisonIsDue(v, packed, theirConn) {
      let input = comparison(v, role: packed.role, disk: packed.disk)
      var decided = decideGenerations(input)
      resyncGrownApart(v, input, packed, &decided)
      heedsWord = heedsSource(v, input, theirConn)
      if heedsWord { decided.action = .target(full: false) }
      volumes[v].peer.compared()
      report(v, decided)
      verdict = decided
      if old.disk == .negotiating, isStale(v) {
        guard case .target = decided.action else {
          if case .refuse(let reason) = decided.action {
            volumes[v].attach.refusal = doesNotFit(v, reason, haveAncestor: decided.comparison != -100)
          } else {
            volumes[v].attach.refusal = tooOld(v)
          }
          beginDetach(v, graceful: true, nil)
          return
        }
      }
      takeCorrections(v, decided)
      if decided.splitBrain, old.conn == .wfReportParams { call(.initialSplitBrain, v) }
      if decided.losesAsPrimary {
        warn(.connection, "this node has to discard its data and cannot be demoted: a volume is in use")
        call(.primaryLostAfterSplitBrain, v)
      }
      if decided.mustDemote, !isDryRun { stepDown() }
      switch decided.action {
      case .noSync: conn = .connected
      case .source: conn = .wfBitMapS
      case .target: conn = .wfBitMapT
      case .refuse(let reason):
        refuseComparison(v, reason, packed, haveAncestor: decided.comparison != -100)
        return
      }
    }
    if old.conn == .wfReportParams, isTooSmallForPeer(v, packed) { return }
    if old.conn == .wfReportParams { noteAgreedSize(v) }
    if old.conn == .wfReportParams, verdict == nil, isDryRun {
      endDryRun(v, .noSync)
      return
    }
    if old.conn < .connected, packed.role == .primary, role == .primary {
      giveUpLink("both nodes are Primary: demote one of them, then: repladm connect \(settings.name)")
      return
    }

    // Without a disk it has nothing to compare.
    if disk <= .failed { volumes[v].attach.awaitsPeer = false }
    let wasNegotiating = old.disk == .negotiating && !volumes[v].attach.awaitsPeer
    if wasNegotiating, verdict == nil, link.reattach != nil, isStale(v) {
      volumes[v].attach.refusal = tooOld(v)
      beginDetach(v, graceful: true, nil)
      return
    }
    let recorded = recordedDisk(v)
    change(v) {
      $0.conn = conn
      $0.peerRole = packed.role
      $0.peerDisk = disk
      $0.peerPaused = packed.dependencyPaused || packed.userPaused
      // A target's data are old, and good until the source begins to overwrite them.
      if wasNegotiating, conn == .connected || conn == .wfBitMapT { $0.disk = recorded }
    }
    if old.conn < .connected { connectionStands(v) }
    releaseHeld(v)
    if old.conn == .connected, theirConn == .connected, packed.peerDisk == .upToDate { trustedByPrimary(v) }

    if let verdict {
      if case .target = verdict.action, role == .primary, old.disk >= .consistent, !wasNegotiating {
        warn(.peerDevice(v), "Becoming SyncTarget, violating the stable-data assumption!")
      }
      startFrom(v, verdict)
    }
    let answersAttach = packed.disk == .negotiating && old.conn >= .connected
    if old.conn == .wfReportParams || answersAttach
      || (old.conn > .wfReportParams && verdict != nil && conn > .connected && theirConn <= .connected)
    {
      if old.conn != .wfReportParams {
        sendGenerations(v, compared: verdict == nil ? nil : compared, answersAttach: answersAttach)
      }
      sendState(v)
    } else if heedsWord {
      sendState(v)
    }
    forgetDiscardMyData()
    if verdict != nil, conn == .wfBitMapS { beginBitmapExchange(v) }
    if conn == .connected, verdict != nil, volumes[v].outOfSync > 0, volumes[v].state.disk == .upToDate,
      volumes[v].state.peerDisk == .upToDate
    {
      warn(
        .peerDevice(v),
        "no resync, but \(volumes[v].outOfSync) bits in bitmap! "
          + "Make these blocks equal: repladm invalidate \(name(v)) on the node whose data may be replaced")
    }
    if volumes[v].state.conn == .syncTarget { askForBlocks(v) }
    lookAgain = true
  }

  /// Why the peer's word cannot be true; nil: it can. Law: a Primary's UpToDate data, or any that were compared, are never given up
  /// for a P_STATE alone.
  private func contradiction(_ v: Int, _ packed: PackedState, _ theirConn: ConnectionState) -> String? {
    let old = volumes[v].state
    if packed.disk >= .negotiating, volumes[v].peer.generations == nil {
      return "a disk that is \(packed.disk.name), and no P_UUIDS before it"
    }
    if packed.role == .primary, role == .primary, old.conn >= .connected {
      return "the peer is Primary, and so is this node"
    }
    if theirConn == .ahead, old.conn != .behind {
      // A Primary whose peer cannot keep up: it goes on alone, and resyncs what it wrote meanwhile.
      let isSource =
        old.conn == .wfBitMapS || old.conn == .startingSyncS || old.conn == .syncSource || old.conn == .pausedSyncS
      if role == .primary || packed.role != .primary || packed.disk != .upToDate || isSource {
        return "Ahead, by a node that is \(packed.role.name) and \(packed.disk.name)"
      }
    }
    return nil
  }

  /// Equal generations, and blocks that came into being on each node by itself (both nodes judge alike).
  private mutating func resyncGrownApart(
    _ v: Int, _ input: GenerationInput, _ packed: PackedState, _ verdict: inout GenerationVerdict
  ) {
    let isMeeting =
      volumes[v].state.conn == .wfReportParams || input.ownDiskNegotiating || packed.disk == .negotiating
    guard volumes[v].peer.grewApart, isMeeting else { return }
    volumes[v].peer.disksHaveGrown(false)
    guard verdict.action == .noSync, link.features.contains(.resyncsGrown),
      min(input.ownDisk, input.peerDisk) > .inconsistent
    else { return }
    log(.peerDevice(v), "resync of blocks that were added while the nodes were not connected")
    let isSource = input.ownRole != input.peerRole ? input.ownRole == .primary : input.resolveConflicts
    verdict.action = isSource ? .source(full: false) : .target(full: false)
  }

  /// Without a disk of our own the peer's is what there is, unless a Primary has already shown something else.
  private func holdsExposedData(_ v: Int) -> Bool {
    if role != .primary || volumes[v].exposed.generation == 0 { return true }
    guard let peer = volumes[v].peer.generations else { return false }
    return !volumes[v].exposed.differs(from: peer.current)
  }

  /// With fencing a peer that is Consistent does not know whether its data are current, and the disk that is missing here could tell.
  private func mayHoldNewerData(_ v: Int) -> Bool { fences && role != .primary && volumes[v].settings.hasDisk }

  /// One of the two nodes connects with `--tentative`.
  private var isDryRun: Bool { link.tentative || (link.peerOffer?.connectionFlags ?? 0) & 2 != 0 }

  /// The option of `connect` counts for one handshake, of all volumes.
  private mutating func forgetDiscardMyData() {
    for v in 0..<volumes.count where volumes[v].state.conn == .wfReportParams { return }
    link.discardMyData = false
  }

  /// What the disk of this volume was when it was last in use; Diskless without one.
  func recordedDisk(_ v: Int) -> DiskState {
    if !volumes[v].isAttached { .diskless } else { recordedDiskState(v) }
  }

  private func comparisonIsDue(_ v: Int, _ packed: PackedState, _ theirConn: ConnectionState) -> Bool {
    let state = volumes[v].state
    guard volumes[v].peer.generations != nil, packed.disk >= .negotiating, state.disk >= .negotiating else {
      return false
    }
    if state.conn < .connected { return true }
    if volumes[v].attach.awaitsPeer { return false }
    guard state.conn == .connected else { return false }
    if volumes[v].peer.compareAgain, forcedDataAreKnown(v, packed) { return true }
    return packed.disk == .negotiating || state.disk == .negotiating
      || (theirConn >= .startingSyncS && theirConn <= .wfBitMapT)
  }

  /// A kernel may say older states after its forced promotion, and before its new generation (K33).
  private func forcedDataAreKnown(_ v: Int, _ packed: PackedState) -> Bool {
    guard let peer = volumes[v].peer.generations else { return false }
    return packed.role == .primary && packed.disk == .upToDate
      && peer.current & ~1 != volumes[v].generations.current & ~1
  }

  /// Of the peer: what it says, or has said, of its role and disk.
  func comparison(_ v: Int, role peerRole: Role, disk saidDisk: DiskState) -> GenerationInput {
    var own = GenerationIdentifiers()
    own.current = volumes[v].generations.current
    own.bitmap = volumes[v].generations.bitmap
    own.history0 = volumes[v].generations.history0
    own.history1 = volumes[v].generations.history1
    own.dirtyBits = volumes[v].outOfSync
    if volumes[v].backing.crashedPrimary { own.flags.insert(.crashedPrimary) }
    if link.discardMyData { own.flags.insert(.discardMyData) }
    var disk = volumes[v].state.disk
    let isBeingAttached = disk == .negotiating || disk == .attaching
    if isBeingAttached { disk = recordedDiskState(v) }
    var peerDisk = saidDisk
    if peerDisk == .negotiating {
      peerDisk = volumes[v].peer.generations!.flags.contains(.inconsistent) ? .inconsistent : .consistent
    }
    var input = GenerationInput()
    input.own = own
    input.peer = volumes[v].peer.generations!
    input.ownRole = role
    input.peerRole = peerRole
    input.ownDisk = disk
    input.peerDisk = peerDisk
    input.ownDiskNegotiating = isBeingAttached
    input.resolveConflicts = link.resolveConflicts
    input.version = link.version
    input.features = link.features
    input.discardMyData = link.discardMyData
    input.afterSplitBrain0 = settings.net.afterSplitBrain0
    input.afterSplitBrain1 = settings.net.afterSplitBrain1
    input.afterSplitBrain2 = settings.net.afterSplitBrain2
    input.alwaysAfterSplitBrain = settings.net.alwaysAfterSplitBrain
    input.rrConflict = settings.net.roleConflict
    input.canDemote = canStepDown
    input.dryRun = isDryRun
    return input
  }

  private mutating func report(_ v: Int, _ verdict: GenerationVerdict) {
    let own = volumes[v].generations
    log(
      .peerDevice(v),
      "self \(hex(own.current)):\(hex(own.bitmap)):\(hex(own.history0)):\(hex(own.history1)) "
        + "bits:\(volumes[v].outOfSync)")
    if let peer = volumes[v].peer.generations {
      log(
        .peerDevice(v),
        "peer \(hex(peer.current)):\(hex(peer.bitmap)):\(hex(peer.history0)):\(hex(peer.history1)) "
          + "bits:\(peer.dirtyBits) flags:\(peer.flags.rawValue)")
    }
    log(.peerDevice(v), "uuid_compare()=\(verdict.comparison) by rule \(verdict.rule)")
  }

  private mutating func takeCorrections(_ v: Int, _ verdict: GenerationVerdict) {
    volumes[v].generations.current = verdict.own.current
    volumes[v].generations.bitmap = verdict.own.bitmap
    volumes[v].generations.history0 = verdict.own.history0
    volumes[v].generations.history1 = verdict.own.history1
    volumes[v].peer.says(verdict.peer)
  }

  private mutating func refuseComparison(
    _ v: Int, _ reason: GenerationRefusal, _ packed: PackedState, haveAncestor: Bool
  ) {
    if volumes[v].state.disk == .negotiating {
      volumes[v].attach.refusal = doesNotFit(v, reason, haveAncestor: haveAncestor)
      beginDetach(v, graceful: true, nil)
      return
    }
    if packed.disk == .negotiating {
      // The attaching node compares our answer and gives up its attach by itself.
      warn(.peerDevice(v), "the peer's disk does not fit: \(reason.sentence)")
      sendGenerations(v, answersAttach: true)
      sendState(v)
      change(v) { $0.peerDisk = .diskless }
      return
    }
    if reason == .dryRun {
      var real = comparison(v, role: packed.role, disk: packed.disk)
      real.dryRun = false
      endDryRun(v, decideGenerations(real).action)
      return
    }
    if reason == .primaryWouldLose, settings.net.roleConflict == .callPrimaryLost { call(.primaryLost, v) }
    if reason == .splitBrain {
      fail(.peerDevice(v), "Split-Brain detected but unresolved, dropping connection!")
      call(.splitBrain, v)
    }
    giveUpLink("\(name(v)): \(reason.advised(resource: settings.name, volume: name(v)))")
  }

  /// The node that was told `--tentative` stays StandAlone; the other one waits for the real connection.
  private mutating func endDryRun(_ v: Int, _ action: GenerationAction) {
    let outcome =
      switch action {
      case .source(let full): "this node would be the source of a \(full ? "full resync" : "resync by bitmap")"
      case .target(let full): "this node would be the target of a \(full ? "full resync" : "resync by bitmap")"
      case .noSync, .refuse: "nothing would be resynced"
      }
    warn(.peerDevice(v), "\(GenerationRefusal.dryRun.sentence): \(outcome)")
    endLink(.disconnecting, afterSending: true)
    if !link.tentative {
      beginSearch(after: .seconds(1))
      return
    }
    link.phase = .down
    link.state = .standAlone
    setConnection(.standAlone)
  }

  private mutating func startFrom(_ v: Int, _ verdict: GenerationVerdict) {
    if verdict.splitBrainResolved {
      warn(
        .peerDevice(v),
        "split brain solved: \(volumes[v].state.conn == .wfBitMapS ? "peer" : "local") changes are discarded"
      )
    }
    switch verdict.action {
    case .source(let full), .target(let full):
      volumes[v].exchange = Exchange()
      if full {
        setAllBits(v)
      } else if volumes[v].backing.bitmap.bits % 64 == 0 {
        // A restarted kernel 8.4 forgets the last 64 bits of such a bitmap (K1): their blocks are always resynced.
        let bits = volumes[v].backing.bitmap.bits
        _ = volumes[v].backing.bitmap.set(bits - 64..<bits)
      }
      if case .target = verdict.action { expectBitmap(v) }
    case .noSync, .refuse: break
    }
  }

  /// The first P_STATE of a connection has been taken in.
  private mutating func connectionStands(_ v: Int) {
    if link.state < .connected { link.established &+= 1 }
    link.state = .connected
    announceSize(v)
  }
}
