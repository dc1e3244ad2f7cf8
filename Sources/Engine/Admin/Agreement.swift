// State changes that need the other node's consent (wire spec 4.4): asked on the data socket, answered on the meta
// socket, one of ours at a time. The answer says yes only when the change is safe on this side, too.
import Base
import Protocol

/// A change of ours that waits: for the peer's answer, or for something local before the peer is asked. The command that wants
/// it waits for `.change`.
enum PendingChange {
  /// Whose copy is Outdated when the connection has ended.
  enum Outdating { case nobody, own, peer }
  case none
  /// Asking for volume after volume; `granted` counts them.
  case promote(force: Bool, volume: Int)
  /// Asked and granted: waits for the metadata of all volumes. `wasPrimary`: only disks are declared good, of volumes that have come.
  case promoting(left: Int, forced: VolumeSet, wasPrimary: Bool)
  case demoting(left: Int?)
  case detach(Int)
  case invalidate(Int, remote: Bool)
  case verify(Int, start: UInt64, stop: UInt64)
  case disconnect(outdating: Outdating)
  /// The connection ends to be made again with a disk (`Reattach`), or with other volumes (`VolumeChange`).
  case reconnect(outdatingOwn: Bool)

  var isNone: Bool { if case .none = self { true } else { false } }
}

extension Engine {
  // MARK: asking

  mutating func ask(_ v: Int, mask: UInt32, value: UInt32) {
    sendData(
      .stateChangeRequest(StateChange(mask: PackedState(word: mask), value: PackedState(word: value))),
      volumes[v].number)
  }

  mutating func askToDisconnect(outdating: PendingChange.Outdating) {
    if outdating == .own, link.ownCopy != .outdated {
      recordOutdated()
      return
    }
    let mask: UInt32
    let value: UInt32
    switch outdating {
    case .nobody: (mask, value) = (0x1f0, 0x10)
    case .own: (mask, value) = (0x1ff0, 0xa10)
    case .peer: (mask, value) = (0x1e1f0, 0xa010)
    }
    let request = StateChange(mask: PackedState(word: mask), value: PackedState(word: value))
    sendData(link.version >= 100 ? .connectionChangeRequest(request) : .stateChangeRequest(request))
  }

  /// The copy here is going to be Outdated from the end of this connection on. Law: the metadata of every volume say so before the peer
  /// is told, which then goes on as if nothing could happen to this node.
  private mutating func recordOutdated() {
    link.ownCopy = .recording(hasLostDisk: false)
    // A disk that is Inconsistent may not have recorded that either.
    for v in 0..<volumes.count where volumes[v].recordsState && volumes[v].state.disk > .negotiating {
      writeSuperblock(v, then: .outdatedRecorded)
    }
  }

  /// Looked at after every event: the peer is told when the metadata of all disks that are left say so.
  mutating func advanceDeparture() {
    guard case .recording(let hasLostDisk) = link.ownCopy, link.phase.isUp else { return }
    if waits.all.contains(where: { $0.then == .outdatedRecorded }) { return }
    link.ownCopy = .outdated
    if let departure = link.departure {
      if hasLostDisk {
        // The peer may get the answer before it hears of the disk, and would record a disk as Outdated that has not recorded it.
        link.departure = nil
        staysUpToDate()
        sendMeta(departure.reply(-18))
        return
      }
      letGo(departure)
      return
    }
    switch pending {
    case .disconnect(outdating: .own), .reconnect(outdatingOwn: true): askToDisconnect(outdating: .own)
    default: break
    }
  }

  /// The peer has refused that: the copy here is what it was.
  private mutating func staysUpToDate() {
    link.ownCopy = .kept
    for v in 0..<volumes.count where volumes[v].recordsState { updateSuperblock(v) }
  }

  /// P_STATE_CHG_REPLY, P_CONN_ST_CHG_REPLY.
  mutating func changeReplied(_ code: Int32) {
    let granted = code >= 1
    switch pending {
    case .none, .promoting, .demoting: break
    case .promote(let force, let v):
      if granted {
        promotionGranted(force: force, next: v + 1)
      } else {
        pending = .none
        refusePromotion(
          takeChange(), code == -1 ? -1 : -10,
          why: code == -2
            ? "the disk that \(settings.peerName) has detached from \(name(v)) may have newer data"
            : code == -18
              ? "\(settings.peerName) has another state change under way, for example an attach, or a demotion that is not yet in its "
                + "metadata"
              : "\(settings.peerName) answered \(code)",
          next: code == -2
            ? "attach it there (repladm attach \(name(v))); if it is lost: repladm disconnect \(settings.name), then repladm "
              + "primary --force \(settings.name)" : "")
      }
    case .detach(let v):
      pending = .none
      let reply = takeChange()
      if granted, volumes[v].state.disk == .diskless || volumes[v].attach.phase != .idle {
        // It failed and was closed while the peer was asked.
        if let reply { fx.append(.reply(reply, .done)) }
      } else if granted {
        beginDetach(v, graceful: true, reply)
      } else {
        refuseChange(reply, -10, why: "\(settings.peerName) needs this disk (answer \(code))")
      }
    case .invalidate(let v, let remote):
      pending = .none
      let reply = takeChange()
      let state = volumes[v].state
      if granted, state.disk < .inconsistent || state.peerDisk < .inconsistent {
        // The peer hears of it by P_STATE, too, and goes back to Connected.
        refuseChange(reply, -5, why: "a disk of \(name(v)) was lost meanwhile")
      } else if granted, (remote ? state.disk : state.peerDisk) != .upToDate {
        // So it does of a disk that has failed and is kept (`pass_on`): that disk cannot be the source.
        refuseChange(reply, -2, why: "the disk that would be copied is not UpToDate any more")
      } else if granted {
        remote ? startFullSource(v) : startFullTarget(v)
        if let reply { fx.append(.reply(reply, .done)) }
      } else {
        refuseChange(reply, -10, why: "\(settings.peerName) answered \(code)")
      }
    case .verify(let v, let start, let stop):
      pending = .none
      let reply = takeChange()
      let state = volumes[v].state
      if granted, state.conn != .connected || state.disk != .upToDate || state.peerDisk != .upToDate {
        refuseChange(reply, -18, why: "\(name(v)) is \(state.conn.name) and \(state.disk.name) meanwhile")
      } else if granted {
        startVerifySource(v, start: start, stop: stop)
        if let reply { fx.append(.reply(reply, .done)) }
      } else {
        refuseChange(reply, -10, why: "\(settings.peerName) answered \(code)")
      }
    case .reconnect(let outdatingOwn): leaveAnswered(granted: granted, outdatingOwn: outdatingOwn)
    case .disconnect(let outdating):
      if granted {
        pending = .none
        link.outdatesPeer = outdating == .peer
        link.ownCopy = outdating == .own ? .outdated : .kept
        standAlone(takeChange())
      } else if code == -7, outdating == .nobody, role != .primary, !canBeOutdated {
        // Nothing here that the peer, a Primary with fencing, would have to fear.
        pending = .none
        standAlone(takeChange())
      } else if outdating == .nobody, role != .primary {
        pending = .disconnect(outdating: .own)
        askToDisconnect(outdating: .own)
      } else {
        pending = .none
        staysUpToDate()
        refuseChange(
          takeChange(), -10,
          why: code == -18
            ? "\(settings.peerName) has lost a disk at this moment, or another state change is under way there"
            : "\(settings.peerName) would lose its only good data (answer \(code))",
          next: code == -18 ? "repeat the command" : "")
      }
    }
  }

  private var canBeOutdated: Bool {
    for v in 0..<volumes.count where volumes[v].state.disk >= .outdated { return true }
    return false
  }

  mutating func outdateSelf() {
    for v in 0..<volumes.count where volumes[v].isAttached {
      if volumes[v].state.disk > .outdated {
        change(v) { $0.disk = .outdated }
      } else if volumes[v].state.disk == .negotiating {
        // It waits for a handshake (`Reattach`), and is what its metadata say until then.
        volumes[v].backing.superblock.flags.remove(.wasUpToDate)
        writeSuperblock(v, then: .nothing)
      }
    }
  }

  mutating func refuseChange(_ reply: ReplyTo?, _ code: Int32, why: String = "", next: String = "") {
    let refusal = Refusal.stateChange(
      code, resource: settings.name, peer: settings.peerName, why: why, next: next)
    refuse(reply, refusal)
    // A step that no command of its own asked for is one of `down`.
    if reply == nil { answer(.down, .refused(refusal)) }
  }

  /// The connection ended while a change was pending.
  mutating func pendingLost() {
    switch pending {
    case .none, .promoting: break
    case .reconnect(let outdatingOwn):
      pending = .none
      // The peer may have agreed to that.
      if outdatingOwn { outdateSelf() }
    case .demoting: requestsDrained()
    case .promote(let force, _):
      pending = .none
      promote(force: force, takeChange())
    case .detach(let v):
      pending = .none
      detach(v, force: false, takeChange())
    case .invalidate, .verify:
      pending = .none
      refuseChange(takeChange(), -15)
    case .disconnect(let outdating):
      pending = .none
      // As in `disconnectUnanswered`.
      if outdating == .own { outdateSelf() }
      answer(.change, .done)
    }
  }

  // MARK: answering

  mutating func stateChangeRequested(_ v: Int, _ request: StateChange) {
    if request.mask.word & PackedState.connectionMask != 0, request.value.connection == .disconnecting {
      connectionChangeRequested(request, wide: false)
      return
    }
    let code = judge(v, request)
    if code >= 1 { apply(v, request) }
    if link.phase.isUp { sendMeta(.stateChangeReply(code), volumes[v].number) }
    if code >= 1 { follow(v, request) }
  }

  private mutating func judge(_ v: Int, _ request: StateChange) -> Int32 {
    let state = volumes[v].state
    let mask = request.mask.word
    if state.conn == .wfReportParams { return -18 }
    if link.resolveConflicts, !pending.isNone {
      if case .demoting = pending {} else { return -19 }
    }
    if mask & PackedState.roleMask != 0, request.value.role == .primary {
      if role == .primary { return -1 }
      if case .promoting = pending { return -1 }
      if case .promote = pending { return -1 }
      if isRecordingDemotion { return -18 }
      if attachMayFindNewerData(v) { return -18 }
      if doubtsPeersData(v) {
        warn(
          .peerDevice(v), "refused the promotion of the peer: the disk that was detached here has newer data")
        return -2
      }
    }
    if mask & PackedState.diskMask != 0, request.value.disk <= .failed {
      // The peer wants to let its disk go.
      if role == .primary, state.disk != .upToDate { return -2 }
      if state.peerRole == .primary, state.disk != .upToDate { return -2 }
    }
    if mask & PackedState.connectionMask != 0 {
      // A disk that is let go in the same word takes no part in what is asked for.
      let peerDisk = mask & PackedState.diskMask != 0 ? min(state.peerDisk, request.value.disk) : state.peerDisk
      switch request.value.connection {
      case .startingSyncT:
        if state.conn != .connected { return -8 }
        if state.disk != .upToDate { return -2 }
        if peerDisk < .inconsistent { return -4 }
      case .startingSyncS:
        if state.conn != .connected { return -8 }
        if peerDisk != .upToDate { return -2 }
        if state.disk < .inconsistent { return -4 }
        // What the application here uses is not replaced because another node wants it.
        if role == .primary, state.disk > .inconsistent { return -12 }
      case .verifyS:
        if digest(link.verifyAlgorithm) == nil { return -14 }
        if state.conn != .connected { return -8 }
        if state.disk != .upToDate || peerDisk != .upToDate { return -2 }
      default: break
      }
    }
    return 1
  }

  /// Before its metadata are read and compared, no node knows whether the disk that is being attached has newer data than the peer's. A
  /// disk that hangs does not hold up a failover: after `handshakeLimit` the peer may be promoted without it.
  private func attachMayFindNewerData(_ v: Int) -> Bool {
    if volumes[v].state.disk == .negotiating { return volumes[v].attach.deadline != nil }
    guard let began = volumes[v].attach.began else { return false }
    return now < began + handshakeLimit
  }

  private mutating func apply(_ v: Int, _ request: StateChange) {
    let mask = request.mask.word
    let wasInconsistent = volumes[v].state.disk == .inconsistent && volumes[v].state.peerDisk == .inconsistent
    change(v) {
      if mask & PackedState.roleMask != 0 { $0.peerRole = request.value.role }
      if mask & PackedState.diskMask != 0 { $0.peerDisk = request.value.disk }
    }
    if mask & PackedState.roleMask != 0, request.value.role == .primary { link.mayWrite = true }
    if mask & PackedState.roleMask != 0, request.value.role == .primary, wasInconsistent {
      volumes[v].peer.expectComparison()
    }
  }

  /// What follows once the peer knows that it may.
  private mutating func follow(_ v: Int, _ request: StateChange) {
    guard request.mask.word & PackedState.connectionMask != 0 else { return }
    switch request.value.connection {
    case .startingSyncT: startFullSource(v)
    case .startingSyncS: startFullTarget(v)
    case .verifyS: change(v) { $0.conn = .verifyT }
    default: break
    }
  }

  /// P_CONN_ST_CHG_REQ, and a disconnect by the older packet.
  mutating func connectionChangeRequested(_ request: StateChange, wide: Bool) {
    let mask = request.mask.word
    var code: Int32 = 1
    let disconnects = mask & PackedState.connectionMask != 0 && request.value.connection == .disconnecting
    let outdatesItself = mask & PackedState.diskMask != 0 && request.value.disk == .outdated
    if mask & PackedState.roleMask != 0, !disconnects {
      // DRBD 9 asks for role changes this way, for all volumes at once (14.2 number 7).
      for v in 0..<volumes.count where code >= 1 { code = judge(v, request) }
      if code >= 1 { for v in 0..<volumes.count { apply(v, request) } }
    } else if disconnects {
      for v in 0..<volumes.count {
        let state = volumes[v].state
        if role == .primary, state.disk != .upToDate, state.peerDisk == .upToDate { code = -2 }
      }
      // A Primary with fencing wants to see the peer Outdated.
      if code >= 1, !outdatesItself, wouldNeedFencing { code = -7 }
    }
    let departure = Departure(wide: wide, outdatesPeer: outdatesItself)
    guard disconnects, code >= 1 else {
      sendMeta(departure.reply(code))
      return
    }
    if mask & PackedState.peerDiskMask != 0, request.value.peerDisk == .outdated, role != .primary {
      link.departure = departure
      recordOutdated()
    } else {
      letGo(departure)
    }
  }

  /// The peer disconnects, as it asked.
  private mutating func letGo(_ departure: Departure) {
    sendMeta(departure.reply(1))
    var isWantedHereToo = false
    if case .disconnect = pending { isWantedHereToo = true }
    link.outdatesPeer = departure.outdatesPeer
    endLink(.tearDown)
    if isWantedHereToo {
      // Both asked at once: neither looks for the other again.
      link.state = .standAlone
      setConnection(.standAlone)
    } else {
      beginSearch(after: .milliseconds(200))
    }
  }

  // MARK: full resync without exchange of bitmaps (wire spec 9.2)

  private mutating func startFullSource(_ v: Int) {
    setAllBits(v)
    startGrownSource(v)
  }

  /// What is marked, and nothing else.
  mutating func startGrownSource(_ v: Int) {
    change(v) { $0.conn = .startingSyncS }
    startSource(v, targetHasRecorded: false)
  }

  private mutating func startFullTarget(_ v: Int) {
    setAllBits(v)
    let wasGood = volumes[v].state.disk == .upToDate
    startGrownTarget(v, canBeUndone: wasGood)
  }

  mutating func startGrownTarget(_ v: Int, canBeUndone: Bool = false) {
    volumes[v].backing.bitsAreComplete = true
    // Not merely Outdated: if this node is lost before the source begins, the generations are still equal, and nothing but the
    // disk states would say that the blocks have to come again (K26).
    change(v) {
      $0.conn = .startingSyncT
      $0.disk = .inconsistent
    }
    change(v) { $0.conn = .wfSyncUUID }
    volumes[v].peer.invalidated(canBeUndone: canBeUndone)
    if let sync = volumes[v].peer.takeEarlySync() { syncUUIDReceived(v, sync) }
  }
}
