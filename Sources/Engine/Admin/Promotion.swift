// Becoming Primary and becoming Secondary (wire spec 4.4, metadata spec 2.6). Laws: the peer has agreed, and the
// metadata says "Primary" before the first write is accepted; it says "Secondary" only after the bitmap is written.
import Base
import Protocol

/// What a promotion has already asked.
enum PromotionStep: Equatable {
  case begun
  /// The peer that is Primary has answered a ping.
  case peerAnswered
  /// `fence-peer` has said what became of the peer.
  case fenced
}

extension Engine {
  mutating func promote(force: Bool, _ reply: ReplyTo?, _ step: PromotionStep = .begun) {
    let afterFencing = step == .fenced
    if role == .primary, !(force && canForceMore) {
      if let reply { fx.append(.reply(reply, .done)) }
      return
    }
    guard pending.isNone, link.departure == nil else {
      refusePromotion(reply, -18, why: "another state change is under way")
      return
    }
    for v in 0..<volumes.count where takesPart(v) {
      let state = volumes[v].state
      if state.peerRole == .primary {
        // It may be gone, and not be missed yet: its answer, or the end of the connection, decides.
        if step == .begun, state.conn >= .connected {
          sendPing(.promote(force: force, reply))
        } else {
          refusePromotion(reply, -1)
        }
        return
      }
      if (state.conn == .wfReportParams && !isUnknownToPeer(v)) || volumes[v].attach.phase != .idle {
        refusePromotion(reply, -18, why: "\(name(v)) is in a handshake")
        return
      }
      let couldBeGood = state.disk == .consistent && state.conn < .connected && !(afterFencing && state.isUnfenced)
      let good = state.disk == .upToDate || couldBeGood || (state.conn >= .connected && state.peerDisk == .upToDate)
      let forcible = force && state.disk >= .inconsistent && state.disk != .unknown
      if !good, !forcible {
        refusePromotion(
          reply, -2,
          why: "the disk of \(name(v)) is \(state.disk.name) and "
            + (state.conn >= .connected
              ? "the peer's is \(state.peerDisk.name)" : "\(settings.peerName) is not connected")
            + (afterFencing ? ", and fence-peer did not say that it is fenced" : ""))
        return
      }
      if !force, doubtsPeersData(v) {
        refusePromotion(
          reply, -2,
          why: "the data of \(settings.peerName) are not those on the disk of \(name(v)) that was detached here",
          next: "repladm attach \(name(v))")
        return
      }
    }
    if role != .primary, needsFencing {
      if !afterFencing {
        waits.add(.fencing, nil, .promote(force: force, reply))
        fencing.becomeDue()
        fenceIfDue()
        return
      }
      guard force else {
        refusePromotion(
          reply, -7, why: "\(settings.peerName) is not connected, and fence-peer did not say that it is fenced")
        return
      }
      warn(.resource, "forced into split brain situation!")
      for v in 0..<volumes.count where volumes[v].state.isUnfenced { change(v) { $0.peerDisk = .outdated } }
    }
    // Nobody has gone on without this disk.
    for v in 0..<volumes.count where volumes[v].state.disk == .consistent && volumes[v].state.conn < .connected {
      change(v) { $0.disk = .upToDate }
    }
    wait(for: .change, reply)
    promotionGranted(force: force, next: 0)
  }

  mutating func refusePromotion(_ reply: ReplyTo?, _ code: Int32, why: String = "", next: String = "") {
    refuse(reply, .stateChange(code, resource: settings.name, peer: settings.peerName, why: why, next: next))
  }

  /// Asks for the next connected volume; when all have been granted, goes on.
  mutating func promotionGranted(force: Bool, next: Int) {
    var v = next
    while v < volumes.count {
      if volumes[v].state.conn >= .connected, takesPart(v) {
        pending = .promote(force: force, volume: v)
        sendPing(.nothing)
        if needsForce(v) { ask(v, mask: 0x1e03, value: 0x1001) } else { ask(v, mask: 0x3, value: 0x1) }
        return
      }
      v += 1
    }
    // The peer has said so while it was asked: one of the two has to wait.
    for v in 0..<volumes.count where volumes[v].state.peerRole == .primary {
      pending = .none
      refusePromotion(takeChange(), -1)
      return
    }
    if let v = (0..<volumes.count).first(where: { takesPart($0) && lacksData($0, force: force) }) {
      pending = .none
      refusePromotion(
        takeChange(), -2,
        why: "good data of \(name(v)) were lost while \(settings.peerName) was asked: the disk here is "
          + "\(volumes[v].state.disk.name), the peer's is \(volumes[v].state.peerDisk.name)")
      // The peer has agreed, and takes this node for a Primary.
      for v in 0..<volumes.count where volumes[v].state.conn >= .connected { sendState(v) }
      return
    }
    becomePrimary()
  }

  /// Looked at once more when the peer has agreed: a disk may have failed meanwhile, here or there. Only an operator who forces may call
  /// data good that are not known to be, and no one a disk that is not there.
  private func lacksData(_ v: Int, force: Bool) -> Bool {
    let disk = volumes[v].state.disk
    return needsForce(v) && !(force && disk >= .inconsistent && disk != .unknown)
  }

  private func needsForce(_ v: Int) -> Bool {
    let state = volumes[v].state
    return state.disk != .upToDate && !(state.conn >= .connected && state.peerDisk == .upToDate)
  }

  /// This node is Primary already, and a volume that came meanwhile has a disk that is not good yet.
  private var canForceMore: Bool { (0..<volumes.count).contains(where: { takesPart($0) }) }

  /// Of a Primary only a volume that came meanwhile is promoted.
  private func takesPart(_ v: Int) -> Bool {
    role != .primary || (volumes[v].isNew && needsForce(v) && !lacksData(v, force: true))
  }

  private mutating func becomePrimary() {
    let wasPrimary = role == .primary
    var forced = VolumeSet()
    for v in 0..<volumes.count where needsForce(v) && takesPart(v) {
      warn(.device(v), "forced to consider local data as UpToDate!")
      forced.insert(v)
    }
    pending = .promoting(left: volumes.count, forced: forced, wasPrimary: wasPrimary)
    // The new generation is drawn while the old one still says Secondary: bit 0 of what becomes the bitmap slot tells
    // whether this node was Primary when the histories parted (wire spec 5.1, 5.4).
    for v in 0..<volumes.count {
      if wasPrimary, !forced.contains(v) { continue }
      if !volumes[v].hasDisk { volumes[v].exposed.show(volumes[v].peer.generations?.current ?? 0) }
      let state = volumes[v].state
      let isForced = forced.contains(v)
      let isAlone = state.conn < .connected || state.peerDisk <= .failed
      if isForced || (isAlone && state.disk == .upToDate && volumes[v].generations.bitmap == 0) {
        volumes[v].generations.rotateToNew(random.next(), primary: true)
        log(.device(v), "new current UUID \(hex(volumes[v].generations.current))")
      }
    }
    setRole(.primary)
    for v in 0..<volumes.count {
      if forced.contains(v) { change(v) { $0.disk = .upToDate } }
      if volumes[v].isAttached { writeSuperblock(v, then: .promoted) } else { promotionDurable(v) }
    }
  }

  /// Its disk is declared good in the next step.
  func isBeingForced(_ v: Int) -> Bool {
    if case .promoting(_, let forced, _) = pending { forced.contains(v) } else { false }
  }

  mutating func promotionDurable(_ v: Int) {
    guard case .promoting(let left, let forced, let wasPrimary) = pending else { return }
    if left > 1 {
      pending = .promoting(left: left - 1, forced: forced, wasPrimary: wasPrimary)
      return
    }
    pending = .none
    for v in 0..<volumes.count where volumes[v].state.conn >= .connected {
      let isForced = forced.contains(v)
      if isForced { sendGenerations(v) }
      if isForced, startsForcedResync(v) { continue }
      sendState(v)
    }
    answer(.change, .done)
  }

  mutating func demote(_ reply: ReplyTo?) {
    guard pending.isNone else {
      refuseChange(reply, -18, why: "another state change is under way")
      return
    }
    if role != .primary {
      if let reply { fx.append(.reply(reply, .done)) }
      return
    }
    pending = .demoting(left: nil)
    wait(for: .change, reply)
    endFreeze()
    requestsDrained()
  }

  /// The application waits for nothing, or the peer has acknowledged an epoch: a demotion may go on.
  mutating func requestsDrained() {
    guard case .demoting(nil) = pending else { return }
    for v in 0..<volumes.count where volumes[v].requests.count > 0 { return }
    if link.phase.isUp {
      closeEpoch()
      if !epochs.closed.isEmpty { return }
    }
    pending = .demoting(left: volumes.count)
    for v in 0..<volumes.count {
      if volumes[v].recordsState { flushBitmap(v, lazy: true, then: .demoted) } else { demotionFlushed(v) }
    }
  }

  mutating func demotionFlushed(_ v: Int) {
    guard case .demoting(let left?) = pending else { return }
    if left > 1 {
      pending = .demoting(left: left - 1)
      return
    }
    pending = .none
    setRole(.secondary)
    for v in 0..<volumes.count {
      if volumes[v].state.conn >= .connected { sendState(v) }
      if volumes[v].recordsState { writeSuperblock(v, then: .nothing) }
    }
    // Answered when the metadata of every volume with a disk say so: their barriers make this node's writes durable before the
    // other node may be promoted.
    guard let reply = takeChange() else { return }
    for v in 0..<volumes.count where volumes[v].recordsState {
      waits.add(.superblock(volumes[v].superblock.wanted), v, .demotionReply(reply))
    }
    demotionStored(reply)
  }

  /// One volume's metadata say so, or its disk is gone.
  mutating func demotionStored(_ reply: ReplyTo) {
    if waits.all.contains(where: { $0.then == .demotionReply(reply) }) { return }
    fx.append(.reply(reply, .done))
  }

  /// The role is Secondary, and what was written as Primary is not durable yet. A flush of the next Primary could not promise it.
  var isRecordingDemotion: Bool {
    waits.all.contains { if case .demotionReply = $0.then { true } else { false } }
  }

  /// Nobody uses a node that is demoted, so nobody waits for the end of a fencing. What was written and not answered
  /// fails, and is a history of its own.
  private mutating func endFreeze() {
    guard fencing.isFrozen else { return }
    for v in 0..<volumes.count {
      partIfNeeded(v)
      _ = fencing.takeOwedGeneration(v)
    }
    fencing.giveUp(true)
    thaw()
  }

  /// The policy call-pri-lost-after-sb may take the role from this node: nobody uses it.
  var canStepDown: Bool {
    if role != .primary || isOpen || !pending.isNone || fencing.isFrozen || !entrance.isEmpty { return false }
    for v in 0..<volumes.count where volumes[v].requests.count > 0 || volumes[v].attach.phase != .idle { return false }
    return true
  }

  /// Gives up the role within a handshake. The metadata say so once the bitmap is written.
  mutating func stepDown() {
    precondition(canStepDown, "a Primary whose device is in use is not demoted")
    log(.resource, "demoted: the data of the peer are kept")
    for v in 0..<volumes.count where volumes[v].isAttached {
      volumes[v].superblock.waitForPages()
      flushBitmap(v, lazy: true, then: .superblock)
    }
    setRole(.secondary)
    for v in 0..<volumes.count where volumes[v].isAttached { writeSuperblock(v, then: .nothing) }
  }

  /// Writes are accepted: the role is Primary, and the metadata say so.
  public var acceptsWrites: Bool {
    if role != .primary { return false }
    switch pending {
    case .promoting(_, _, let wasPrimary): return wasPrimary
    case .demoting: return false
    default: return true
    }
  }
}
