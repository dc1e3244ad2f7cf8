// Fencing (admin spec 7): a Primary that loses sight of its peer's data asks the `fence-peer` handler for word that nobody
// goes on with them. Laws: one handler at a time, and its word counts only for the loss it was asked about; while I/O
// is frozen nothing is answered that the peer may not have, and no new generation is drawn; a node that could not fence
// its peer is not promoted without force.
import Base

public enum FencingPolicy: Sendable { case dontCare, resourceOnly, resourceAndStonith }

struct Fencing {
  private enum Answers {
    case free
    /// Requests of the application wait for the end of a fencing (resource-and-stonith). Generations that ended meanwhile: the next
    /// one is drawn when I/O goes on.
    case frozen(owes: VolumeSet)
  }
  private var answers = Answers.free
  /// A demotion lets nobody wait: what the lost peer may lack is answered with an error.
  private(set) var isGivenUp = false
  /// The peer was lost, or a promotion wants to know.
  private(set) var isDue = false
  private(set) var running: WorkID?
  /// `Link.established` when the handler was started.
  private(set) var asked: UInt32 = 0

  var isFrozen: Bool { if case .frozen = answers { true } else { false } }

  mutating func freeze() {
    precondition(!isFrozen, "frozen twice")
    answers = .frozen(owes: VolumeSet())
  }

  /// I/O goes on; returns the volumes whose next generation is to be drawn first.
  mutating func thaw() -> VolumeSet {
    guard case .frozen(let owes) = answers else { preconditionFailure("nothing is frozen") }
    answers = .free
    return owes
  }

  mutating func oweGeneration(_ v: Int) {
    guard case .frozen(var owes) = answers else { preconditionFailure("a generation is owed while I/O goes on") }
    owes.insert(v)
    answers = .frozen(owes: owes)
  }

  /// Whether one was owed.
  mutating func takeOwedGeneration(_ v: Int) -> Bool {
    guard case .frozen(var owes) = answers, owes.contains(v) else { return false }
    owes.remove(v)
    answers = .frozen(owes: owes)
    return true
  }

  mutating func giveUp(_ given: Bool) { isGivenUp = given }

  mutating func becomeDue() { isDue = true }
  mutating func isLookedAt() { isDue = false }
  mutating func ask(_ handler: WorkID, connection: UInt32) {
    precondition(running == nil, "two handlers fence the peer at once")
    running = handler
    asked = connection
  }
  mutating func hasAnswered() { running = nil }
}

extension VolumeState {
  /// The application is here, and the peer might serve another one from its copy.
  var isUnfencedPrimary: Bool { role == .primary && isUnfenced }

  /// Out of reach, and not known to be Outdated or worse.
  var isUnfenced: Bool { conn < .connected && peerDisk > .outdated }

  /// What `isUnfenced` will be when the connection ends as it is.
  var wouldBeUnfenced: Bool { peerDisk > .outdated || peerDisk < .inconsistent }
}

extension Engine {
  var fences: Bool { settings.net.fencing != .dontCare }

  /// Some volume needs word about the peer before its data may be used here.
  var needsFencing: Bool {
    if !fences { return false }
    for v in 0..<volumes.count
    where volumes[v].state.disk >= .inconsistent && volumes[v].state.isUnfenced && !isUnknownToPeer(v) { return true }
    return false
  }

  /// Ending the connection as it is would leave a peer that nobody has outdated.
  var wouldNeedFencing: Bool {
    if !fences || role != .primary { return false }
    for v in 0..<volumes.count where volumes[v].state.disk >= .inconsistent {
      if volumes[v].state.wouldBeUnfenced || peerMayBeGood(v) { return true }
    }
    return false
  }

  private var bestDisk: DiskState {
    var best = DiskState.diskless
    for v in 0..<volumes.count where volumes[v].state.disk != .unknown { best = max(best, volumes[v].state.disk) }
    return best
  }

  /// A state changes (called before its consequences): has a Primary lost sight of its peer? Or got its disk back while it was
  /// alone: without it there was nothing to ask for.
  mutating func watchForLoss(_ old: VolumeState, _ new: VolumeState) {
    let returns = old.disk < .consistent && new.disk >= .consistent
    guard fences, new.isUnfencedPrimary, !old.isUnfencedPrimary || returns else { return }
    // The peer is to be back at once, and the application waits until then.
    if link.reattach != nil || volumeChange != nil { return }
    if case .demoting = pending {
      fencing.giveUp(settings.net.fencing == .resourceAndStonith)
      return
    }
    fencing.becomeDue()
    if settings.net.fencing == .resourceAndStonith, new.disk >= .consistent { freeze() }
  }

  /// The peer that was to be back at once (`Reattach`, `VolumeChange`) is not: this is a loss like any other.
  mutating func fenceAfterReattach() {
    guard fences, (0..<volumes.count).contains(where: { volumes[$0].state.isUnfencedPrimary }) else { return }
    fencing.becomeDue()
    if settings.net.fencing == .resourceAndStonith, bestDisk >= .consistent { freeze() }
  }

  /// The connection has ended: now is the time to ask, once for all volumes.
  mutating func fenceIfDue() {
    guard fencing.isDue, fencing.running == nil else { return }
    fencing.isLookedAt()
    if role != .primary, !waits.contains(.fencing) { return }
    if !needsFencing || link.state >= .wfReportParams { return promoteFenced() }
    guard bestDisk >= .consistent else {
      warn(.connection, "not fenced: the data of this node are not Consistent")
      thaw()
      return promoteFenced()
    }
    fencing.ask(call(.fencePeer, 0), connection: link.established)
  }

  /// What the handler said (admin spec 7).
  mutating func fencingAnswered(_ exit: Int32) {
    fencing.hasAnswered()
    if link.established != fencing.asked || link.state >= .wfReportParams {
      log(.connection, "the exit code of fence-peer is ignored: the peer has connected meanwhile")
    } else {
      judgeAnswer(exit)
      if fencing.isFrozen, !needsFencing { thaw() }
      if fencing.isFrozen {
        let next = "fence \(settings.peerName) by hand and then: repladm resume-io \(settings.name)"
        fail(.connection, "I/O stays frozen: connect \(settings.peerName) again, or \(next)")
      }
    }
    promoteFenced()
    fenceIfDue()
  }

  private mutating func judgeAnswer(_ exit: Int32) {
    switch exit {
    case 3: peerIsFenced(.inconsistent, "peer is inconsistent or worse")
    case 4: peerIsFenced(.outdated, "peer was fenced")
    case 5 where bestDisk == .upToDate: peerIsFenced(.outdated, "peer is unreachable, assumed to be dead")
    case 5:
      warn(
        .connection, "fence-peer returned 5: the peer is unreachable; nothing is done, the disk here is not UpToDate")
    case 6:
      warn(.connection, "fence-peer returned 6: the peer is Primary; the disk here becomes Outdated")
      for v in 0..<volumes.count where volumes[v].isAttached && volumes[v].state.disk > .outdated {
        change(v) { $0.disk = .outdated }
      }
    case 7:
      if settings.net.fencing != .resourceAndStonith {
        fail(
          .connection,
          "fence-peer ended with 7, the node was powered off, although `fencing` is not resource-and-stonith")
      }
      peerIsFenced(.outdated, "peer was stonithed")
    default:
      fail(.connection, "fence-peer helper broken, returned \(exit)")
    }
  }

  private mutating func peerIsFenced(_ disk: DiskState, _ how: String) {
    log(.connection, "fence-peer: \(how)")
    for v in 0..<volumes.count where volumes[v].state.isUnfenced {
      volumes[v].peer.isFenced(byHearsay: disk == .inconsistent)
      change(v) {
        $0.peerDisk = disk
        // The disk of this Primary was attached while the peer was away. The peer is fenced: it has no newer data.
        if $0.role == .primary, $0.disk == .consistent { $0.disk = .upToDate }
      }
    }
  }

  private mutating func promoteFenced() {
    for one in waits.take(.fencing) {
      if case .promote(let force, let reply) = one.then { promote(force: force, reply, .fenced) }
    }
  }

  // MARK: frozen I/O

  private mutating func freeze() {
    if fencing.isFrozen { return }
    fencing.freeze()
    log(.resource, "susp_fen( 0 -> 1 )")
    fx.append(.stateChanged)
  }

  /// Lets the application go on; generations that were not drawn in the meantime are drawn first.
  mutating func thaw() {
    guard fencing.isFrozen else { return }
    let owed = fencing.thaw()
    log(.resource, "susp_fen( 1 -> 0 )")
    for v in 0..<volumes.count {
      if owed.contains(v) { drawGeneration(v) }
      releaseHeld(v)
    }
    lookAgain = true
    fx.append(.stateChanged)
  }

  private mutating func drawGeneration(_ v: Int) {
    let state = volumes[v].state
    if state.disk == .upToDate, volumes[v].generations.bitmap == 0 { newGeneration(v) }
  }

  /// The generations are about to be told to the peer. If anything may differ already, or was begun, the histories have
  /// parted: only then the marked blocks are copied. So have they if the peer may have missed the end of the resync that it was the
  /// source of: by rule 35 it would be the source again, of a Primary.
  mutating func partIfNeeded(_ v: Int) {
    if volumes[v].outOfSync > 0 || volumes[v].requests.count > 0 || volumes[v].peer.mayMissTheEnd {
      if fencing.takeOwedGeneration(v) { drawGeneration(v) }
    }
  }

  /// The peer is there again, and knows what it lacks: a target has called itself one before it sent its bitmap.
  mutating func thawIfReunited() {
    guard fencing.isFrozen else { return }
    for v in 0..<volumes.count {
      let state = volumes[v].state
      if state.conn < .connected || state.conn == .wfBitMapS || state.conn == .startingSyncS { return }
    }
    // A peer that came back without its disk has parted all the same.
    for v in 0..<volumes.count where volumes[v].state.peerDisk >= .inconsistent { _ = fencing.takeOwedGeneration(v) }
    thaw()
  }

  /// The freeze was for an option that has been changed (`adjust`).
  private var isFrozenInVain: Bool { fencing.isFrozen && settings.net.fencing != .resourceAndStonith }

  /// Word is wanted, and no connection has to end first (a disk came back).
  private var asksAtOnce: Bool {
    guard fencing.isDue, fencing.running == nil else { return false }
    switch link.state {
    case .standAlone, .unconnected, .wfConnection: return true
    default: return false
    }
  }

  var fencingDeadline: Instant? { isFrozenInVain || asksAtOnce ? now : nil }

  mutating func fencingTick() {
    if isFrozenInVain { thaw() }
    if asksAtOnce { fenceIfDue() }
  }

  /// No disk is left that the freeze could protect.
  mutating func thawIfDiskless() {
    if fencing.isFrozen, bestDisk <= .failed { thaw() }
  }

  /// An answer would claim what the peer may contradict.
  func holdsAnswers(_ v: Int) -> Bool {
    volumes[v].superblock.isFenced || volumes[v].peer.owesGeneration || (fencing.isFrozen && acceptsWrites)
  }

  /// The peer is good again, after a resync from here or for an application here: what the fencing put up can go.
  mutating func unfenceIfReunited(_ old: VolumeState, _ new: VolumeState) {
    guard fences, new.conn == .connected, new.peerDisk == .upToDate, new.disk == .upToDate else { return }
    let wasSource = old.conn == .syncSource || old.conn == .pausedSyncS
    guard wasSource || (role == .primary && old.conn < .connected) else { return }
    for v in 0..<volumes.count {
      let state = volumes[v].state
      if state.conn < .connected || state.disk != .upToDate || state.peerDisk != .upToDate { return }
    }
    call(.unfencePeer, 0)
  }
}
