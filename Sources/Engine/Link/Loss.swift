// The end of a connection (wire spec 11.2): by error, by the peer, by an operator, or for good. Whatever is not known to
// be on both nodes is marked before anything is answered.
import Base
import Protocol

extension Engine {
  /// A fault: the connection ends and is tried again.
  mutating func breakLink(_ reason: ConnectionState, _ why: String) {
    guard link.phase.isConnecting else { return }
    warn(.connection, "connection lost (\(reason.name)): \(why)")
    if case .disconnect(let outdating) = pending { return disconnectUnanswered(outdating) }
    let pause = pauseForRepetition(reason, why)
    endLink(reason)
    beginSearch(after: pause ?? (link.wasUp ? .milliseconds(100) : .seconds(1)))
  }

  /// The connection ends before the peer has answered a `disconnect`: its end was wanted. The peer may have agreed, and have
  /// recorded that this copy is Outdated.
  private mutating func disconnectUnanswered(_ outdating: PendingChange.Outdating) {
    pending = .none
    link.ownCopy = outdating == .own ? .outdated : .kept
    standAlone(takeChange())
  }

  /// A refusal: the connection ends, and an operator has to do something before it is tried again.
  mutating func giveUpLink(_ why: String) {
    fail(.connection, "giving up the connection: \(why)")
    link.refusedBecause = why
    // What was said before still goes out: the peer finds out the same way that it has to give up, too.
    endLink(.disconnecting, afterSending: true)
    link.phase = .down
    link.state = .standAlone
    setConnection(.standAlone)
  }

  /// End of stream on one of the sockets.
  mutating func peerHungUp(_ reason: ConnectionState) {
    switch pending {
    case .disconnect(let outdating): disconnectUnanswered(outdating)
    default:
      if link.state == .tearDown {
        endLink(.tearDown)
        beginSearch()
      } else {
        let why = "the peer closed the connection"
        breakLink(reason, refusesBehindFeatures ? why + whyRefusedBehindFeatures : why)
      }
    }
  }

  /// An operator's end of the connection.
  mutating func standAlone(_ reply: ReplyTo?) {
    endLink(.disconnecting)
    if case .searching(let search) = link.phase {
      for one in search.undecided { fx.append(.close(one.socket, afterSending: false)) }
      if let data = search.data { fx.append(.close(data, afterSending: false)) }
      if let meta = search.meta { fx.append(.close(meta, afterSending: false)) }
      fx.append(.stopListening)
    }
    link.phase = .down
    link.state = .standAlone
    link.refusedBecause = nil
    link.fault = nil
    setConnection(.standAlone)
    giveUpReattach()
    if let reply { fx.append(.reply(reply, .done)) }
  }

  /// Takes down sockets and everything that lived on them. The phase is set by the caller.
  mutating func endLink(_ reason: ConnectionState, afterSending: Bool = false) {
    guard link.phase.isConnecting else { return }
    link.wasUp = link.state >= .connected
    link.lastLoss = reason
    let keepsWaiting = keepsDisksWaiting(reason)
    let outdatesPeer = link.outdatesPeer
    link.outdatesPeer = false
    link.departure = nil
    // An answer given just before (a disconnect granted) still has to get out.
    let afterSending = afterSending || reason == .tearDown
    if let data = link.data { fx.append(.close(data, afterSending: afterSending)) }
    if let meta = link.meta { fx.append(.close(meta, afterSending: afterSending)) }
    link.data = nil
    link.meta = nil
    link.metaLost = nil
    link.phase = .down
    link.state = reason
    link.generation &+= 1
    link.pingDeadline = nil

    // Looked at before anything is marked that the peer only may lack.
    let mayBeGood = (0..<volumes.count).map { fences && peerMayBeGood($0) }
    // Mark first: the generation that is drawn next says "from here on alone".
    dropEpochs()
    dropInbound()
    dropParkedPeer()
    for v in 0..<volumes.count {
      volumes[v].peer.unacked.forget()
      volumes[v].attach.awaitsPeer = false
      // A peer without a disk has agreed, and recorded nothing: the disk that it attaches later does not know of it.
      let isHearsay = outdatesPeer && volumes[v].state.peerDisk < .inconsistent
      if isHearsay { volumes[v].peer.isFenced(byHearsay: true) }
      change(v) {
        $0.conn = reason
        if mayBeGood[v] { $0.peerDisk = .unknown }
        if isHearsay {
          $0.peerDisk = .inconsistent
        } else if outdatesPeer, $0.peerDisk > .outdated {
          $0.peerDisk = .outdated
        }
      }
      if volumes[v].state.disk == .negotiating, volumes[v].isAttached, !keepsWaiting { settleUncompared(v) }
    }
    if link.ownCopy != .kept { outdateSelf() }
    link.ownCopy = .kept
    settleDropped()
    for v in 0..<volumes.count { releaseHeld(v) }
    dropRemoteReads()
    // A demotion waited for the ack of an epoch.
    requestsDrained()
    answerLossOfPeer()
    if link.wasUp { call(.disconnected, 0) }
    // The last answer did not help, or was not for this loss.
    if fencing.isFrozen { fencing.becomeDue() }
    fenceIfDue()
    lookAgain = true
  }

  /// Requests of the peer that wait for a range: their connection is gone.
  private mutating func dropParkedPeer() {
    for v in 0..<volumes.count {
      var kept = Queue<Parked>(capacity: 16)
      while let one = volumes[v].parked.popFirst() {
        switch one {
        case .appWrite: kept.append(one)
        case .peer(let id): dropPeerRequest(id)
        }
      }
      swap(&kept, &volumes[v].parked)
    }
  }
}

extension LinkPhase {
  /// Two sockets stand.
  var isConnecting: Bool {
    switch self {
    case .greeting, .up: true
    case .down, .searching, .resting: false
    }
  }
}
