// Finding the peer (wire spec 1.2): both nodes listen and both connect; the first connection becomes the data socket,
// the second the meta socket. Attempts that cross are thrown away by rule and by coin, and the pair is relied on only
// after it has stood for `socket-check-timeout`.
import Base
import Protocol

extension Engine {
  mutating func beginSearch(after pause: Interval? = nil) {
    link.state = .unconnected
    setConnection(.unconnected)
    if let pause {
      link.phase = .resting(until: now + pause)
      return
    }
    link.state = .wfConnection
    setConnection(.wfConnection)
    link.phase = .searching(Search(nextAttempt: now))
    fx.append(.listen)
    linkTick()
  }

  /// connect-int, plus or minus one seventh.
  private mutating func attemptPause() -> Interval {
    let base = settings.net.connectInterval.nanoseconds
    let seventh = base / 7
    return Interval(nanoseconds: base - seventh + random.below(2 * seventh + 1))
  }

  private var socketCheck: Interval {
    let own = settings.net.socketCheckTimeout
    return own.nanoseconds == 0 ? settings.net.pingTimeout : own
  }

  var handshakeLimit: Interval {
    // Four ping-timeouts, and room for a peer that noticed late that one of its sockets had died (v41b).
    max(settings.net.pingTimeout * 4 + socketCheck * 3, .seconds(10))
  }

  var linkDeadline: Instant? {
    guard let lost = link.metaLost else { return phaseDeadline }
    return min(lost, phaseDeadline ?? lost)
  }

  private var phaseDeadline: Instant? {
    switch link.phase {
    case .down, .up: return nil
    // With other volumes, once the table has changed.
    case .resting(let until): return volumeChange?.holdsSearch == true ? nil : until
    case .greeting(.features(let until)), .greeting(.challenge(_, _, let until)), .greeting(.response(_, let until)):
      return until
    case .searching(let search):
      var next = volumeChange?.holdsSearch == true ? nil : search.settled
      if search.settled == nil, !link.isConnecting { next = search.nextAttempt }
      if let listen = search.nextListen, next == nil || listen < next! { next = listen }
      for one in search.undecided where next == nil || one.until < next! { next = one.until }
      return next
    }
  }

  mutating func linkTick() {
    if let lost = link.metaLost, now >= lost {
      link.metaLost = nil
      peerHungUp(.networkFailure)
      return
    }
    switch link.phase {
    case .down, .up: break
    case .resting(let until): if now >= until, volumeChange?.holdsSearch != true { beginSearch() }
    case .greeting(.features(let until)), .greeting(.challenge(_, _, let until)), .greeting(.response(_, let until)):
      if now >= until { breakLink(.networkFailure, "the peer did not go on with the handshake") }
    case .searching(var search):
      for one in search.undecided where now >= one.until { fx.append(.close(one.socket, afterSending: false)) }
      search.undecided.removeAll { now >= $0.until }
      if let listen = search.nextListen, now >= listen {
        search.nextListen = nil
        fx.append(.listen)
      }
      if let settled = search.settled {
        if now >= settled, volumeChange?.holdsSearch != true, let data = search.data, let meta = search.meta {
          beginGreeting(data, meta, leftOver: search.undecided)
          if let peer = search.features { featuresReceived(peer) }
          return
        }
      } else if !link.isConnecting, now >= search.nextAttempt {
        link.isConnecting = true
        fx.append(.connect)
      }
      link.phase = .searching(search)
    }
  }

  /// The address is not on this host yet or no more, its port is taken, descriptors or memory are short: all of that
  /// passes without an operator, so the search goes on, and listening is tried again. Said once for each reason.
  mutating func listenFailed(_ why: String) {
    guard case .searching(var search) = link.phase else { return }
    if search.cannotListen != why {
      let pause = settings.net.connectInterval.nanoseconds / 1_000_000_000
      warn(.connection, "cannot listen: \(why); repld tries again every \(pause) s")
      search.cannotListen = why
    }
    search.nextListen = now + settings.net.connectInterval
    link.phase = .searching(search)
  }

  mutating func connectFailed() {
    link.isConnecting = false
    guard case .searching(var search) = link.phase else { return }
    search.nextAttempt = now + attemptPause()
    link.phase = .searching(search)
  }

  mutating func connected(_ socket: SocketID) {
    link.isConnecting = false
    guard case .searching(var search) = link.phase else {
      fx.append(.close(socket, afterSending: false))
      return
    }
    search.nextAttempt = now + attemptPause()
    if search.data == nil {
      search.data = socket
      search.features = nil
      fx.append(.configure(socket, PacketStream(socket: .data)))
      fx.append(.send(socket, connectionVolume, .initialData, nil, notify: nil))
    } else if search.meta == nil {
      search.meta = socket
      link.resolveConflicts = false
      fx.append(.send(socket, connectionVolume, .initialMeta, nil, notify: nil))
    } else {
      fx.append(.close(socket, afterSending: false))
    }
    settleSockets(&search)
    link.phase = .searching(search)
  }

  mutating func accepted(_ socket: SocketID) {
    guard case .searching(var search) = link.phase, search.undecided.count < 5 else {
      fx.append(.close(socket, afterSending: false))
      return
    }
    search.undecided.append(.init(socket: socket, until: now + max(settings.net.pingTimeout * 4, .seconds(2))))
    link.phase = .searching(search)
    fx.append(.configure(socket, PacketStream(socket: .undecided)))
  }

  /// The first packet of an accepted socket gives it its purpose.
  mutating func introduced(_ socket: SocketID, asData: Bool) {
    guard case .searching(var search) = link.phase, search.undecided.contains(where: { $0.socket == socket }) else {
      fx.append(.close(socket, afterSending: false))
      return
    }
    search.undecided.removeAll { $0.socket == socket }
    let crossed: Bool
    if asData {
      crossed = search.data != nil
      if let own = search.data { fx.append(.close(own, afterSending: false)) }
      search.data = socket
      search.features = nil
      fx.append(.configure(socket, PacketStream(socket: .data)))
    } else {
      crossed = search.meta != nil
      link.resolveConflicts = true
      if let own = search.meta { fx.append(.close(own, afterSending: false)) }
      search.meta = socket
    }
    // A crossed attempt: with probability 1/2 wait for the peer, else go on at once; so the nodes fall out of step.
    if crossed, random.oneIn(2) { search.nextAttempt = now + attemptPause() } else { search.nextAttempt = now }
    search.settled = nil
    settleSockets(&search)
    link.phase = .searching(search)
    linkTick()
  }

  /// The peer was sure of the sockets before this node: its first packet is kept until then.
  mutating func featuresCameEarly(_ socket: SocketID, _ peer: Features) -> Bool {
    guard case .searching(var search) = link.phase, search.data == socket else { return false }
    search.features = peer
    link.phase = .searching(search)
    return true
  }

  private func settleSockets(_ search: inout Search) {
    if search.data != nil, search.meta != nil {
      if search.settled == nil { search.settled = now + socketCheck }
    } else {
      search.settled = nil
    }
  }

  /// A socket ended during the search.
  mutating func searchLost(_ socket: SocketID) {
    guard case .searching(var search) = link.phase else { return }
    search.undecided.removeAll { $0.socket == socket }
    if search.data == socket {
      search.data = nil
      search.features = nil
    }
    if search.meta == socket { search.meta = nil }
    if search.settled != nil, search.data == nil || search.meta == nil {
      search.settled = nil
      search.nextAttempt = random.oneIn(2) ? now : now + attemptPause()
    }
    link.phase = .searching(search)
  }

  /// The state all volumes show while the link is below Connected.
  mutating func setConnection(_ state: ConnectionState) {
    for v in 0..<volumes.count { change(v) { $0.conn = state } }
  }
}
