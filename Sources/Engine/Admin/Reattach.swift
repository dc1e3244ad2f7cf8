// An attach beside a connected DRBD 9 (wire spec 14.2 number 20): that peer does not compare a disk which comes in the middle of a
// connection, so the connection is ended by agreement, and the handshake of the next one compares the disk. Laws: the disk takes part
// only when it has been compared; requests of the application wait meanwhile instead of failing; and the state has an exit: the
// comparison, a refusal, or the end of `until`.
import Base
import Protocol

struct Reattach {
  enum Step {
    /// The requests of the application that are under way end first.
    case draining
    /// The peer has been asked to let the connection go.
    case leaving
    /// The next handshake compares the disk.
    case meeting
  }
  var step = Step.draining
  var until: Instant
  /// The handshake has refused a disk; the next one is made without it.
  var isRefused = false
}

extension Engine {
  /// The metadata are read, and say "in use".
  mutating func attachByReconnect(_ v: Int) {
    if let (reason, haveAncestor) = refusedInAdvance(v) {
      volumes[v].attach.refusal = doesNotFit(v, reason, haveAncestor: haveAncestor)
      beginDetach(v, graceful: true, nil)
      return
    }
    volumes[v].attach.phase = .leaving
    log(.peerDevice(v), "the peer runs DRBD 9, which compares a disk only in a handshake: connecting again")
    if link.reattach == nil {
      // Time for the requests under way, for the search, and for the handshake.
      link.reattach = Reattach(until: now + handshakeLimit * 2 + settings.net.connectInterval)
    }
    link.reattach!.step = .draining
  }

  /// What the peer has said of its generations refuses the disk already. The peer would see so, too, and stay StandAlone.
  private func refusedInAdvance(_ v: Int) -> (GenerationRefusal, haveAncestor: Bool)? {
    let state = volumes[v].state
    guard volumes[v].peer.generations != nil, state.conn >= .connected, state.peerDisk >= .inconsistent,
      state.peerDisk != .unknown
    else { return nil }
    let verdict = decideGenerations(comparison(v, role: state.peerRole, disk: state.peerDisk))
    guard case .refuse(let reason) = verdict.action else { return nil }
    return (reason, verdict.comparison != -100)
  }

  /// Looked at after every event.
  mutating func advanceReattach() {
    switch link.reattach?.step {
    case .none, .leaving: break
    case .draining: leaveWhenDrained()
    case .meeting: endReattachWhenMet()
    }
  }

  private mutating func leaveWhenDrained() {
    // When the connection ends for another reason, `keepsDisksWaiting` sets the step to `.meeting`.
    guard link.phase.isUp else { return }
    for v in 0..<volumes.count where volumes[v].requests.count > 0 {
      // Some are answered by a barrier only.
      closeEpoch()
      return
    }
    if link.state < .connected {
      leaveForDisk()
      return
    }
    guard pending.isNone else { return }
    link.reattach!.step = .leaving
    pending = .reconnect(outdatingOwn: false)
    askToDisconnect(outdating: .nobody)
  }

  /// What the peer answered to the request to let the connection go. It may insist that this node is Outdated then; against any other no
  /// the connection ends all the same: without that the disk would never take part.
  mutating func leaveAnswered(granted: Bool, outdatingOwn: Bool) {
    if !granted, !outdatingOwn, role != .primary {
      pending = .reconnect(outdatingOwn: true)
      askToDisconnect(outdating: .own)
      return
    }
    pending = .none
    link.ownCopy = granted && outdatingOwn ? .outdated : .kept
    leaveForDisk()
  }

  private mutating func leaveForDisk() {
    endLink(.tearDown)
    beginSearch(after: .milliseconds(200))
  }

  /// The connection ends (called before its state changes). True: it comes back for the disks that wait.
  mutating func keepsDisksWaiting(_ reason: ConnectionState) -> Bool {
    guard link.reattach != nil else { return false }
    for v in 0..<volumes.count where volumes[v].attach.phase == .leaving {
      volumes[v].attach.phase = .idle
      change(v) { $0.disk = .negotiating }
    }
    if reason == .disconnecting {
      link.reattach = nil
      return false
    }
    link.reattach!.step = .meeting
    return true
  }

  private mutating func endReattachWhenMet() {
    for v in 0..<volumes.count {
      if volumes[v].state.disk == .negotiating || volumes[v].attach.phase == .leaving { return }
      if volumes[v].detach.phase != .none { return }
    }
    for v in 0..<volumes.count where volumes[v].state.conn < .connected {
      if link.reattach!.isRefused, link.phase.isUp {
        // The peer has been told of a disk that is gone again.
        link.reattach!.isRefused = false
        leaveForDisk()
      }
      return
    }
    link.reattach = nil
  }

  /// The peer is not back in time, or lets the application's requests wait.
  mutating func reattachTick() {
    guard let until = link.reattach?.until, now >= until else { return }
    giveUpReattach()
  }

  /// No handshake will compare the disks that wait.
  mutating func giveUpReattach() {
    guard link.reattach != nil else { return }
    link.reattach = nil
    if case .reconnect = pending { pending = .none }
    for v in 0..<volumes.count {
      if volumes[v].attach.phase == .leaving {
        // The connection has never ended.
        volumes[v].attach.phase = .idle
        volumes[v].attach.refusal = Refusal(
          number: nil, exit: 10, what: "attach of \(name(v)) failed",
          why:
            "requests of the application or of \(settings.peerName) did not end, so the nodes could not connect again",
          next: "see the log, then repeat repladm attach \(name(v))")
        beginDetach(v, graceful: true, nil)
      } else if volumes[v].state.disk == .negotiating {
        settleUncompared(v)
      }
    }
    fenceAfterReattach()
  }

  /// No peer is there to compare the disk with: it is what its metadata say, unless a Primary has shown newer data meanwhile.
  mutating func settleUncompared(_ v: Int) {
    if isStale(v) {
      warn(.peerDevice(v), "connection lost while the disk was being attached: it is older than the data in use")
      volumes[v].attach.refusal = tooOld(v)
      beginDetach(v, graceful: true, nil)
    } else {
      let recorded = recordedDiskState(v)
      change(v) { $0.disk = recorded }
    }
  }
}
