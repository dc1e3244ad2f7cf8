// How connections come to be, carry packets, and end. Laws of TCP kept here: what arrives is a prefix of what was sent;
// the end of a stream comes after it; a connection may be lost on one side only. Law of the reactor kept here: every
// `.sent` of a socket comes before its `.socketClosed`, and nothing after.
import Base
import Engine
import Protocol

extension World {
  // MARK: a connection comes to be

  func connect(_ n: Int) {
    if nodes[n].isConnecting { return breakLaw("\(name(n)) asks for a second connection attempt at once") }
    nodes[n].isConnecting = true
    plan(.attempt, after: circumstances.latency, on: n, now)
  }

  func attemptArrives(_ started: Int, _ n: Int, _ life: UInt8) {
    guard nodes[n].isRunning, nodes[n].life == life else { return }
    let peer = nodes[1 - n]
    if !cableIsWhole || isMuted[0] || isMuted[1] || !peer.hasPower {
      let limit = UInt64(started) + nodes[n].settings.net.connectInterval.nanoseconds
      schedule.add(.connectFailed, at: max(limit, now), node: n, life: life, extra: 1)
    } else if !peer.isRunning || !peer.isListening {
      plan(.connectFailed, after: circumstances.latency, on: n)
    } else {
      stand(from: n)
    }
  }

  private func stand(from n: Int) {
    let latency = circumstances.latency
    var ends: [End] = []
    for node in nodes {
      ends.append(End(socket: SocketID(node.nextSocket)))
      node.nextSocket += 1
    }
    let c = connections.count
    connections.append(Connection(ends: ends, from: now + latency + 30_000))
    openConnections.append(c)
    plan(.connected, after: latency, on: n, UInt64(c))
    plan(.accepted, after: 5_000 + random.below(10_000), on: 1 - n, UInt64(c))
  }

  func connectionStands(_ n: Int, _ c: Int) {
    nodes[n].isConnecting = false
    guard let connection = connections[c], connection.ends[n].state == .open else {
      return feed(n, .connectFailed(why: "connection reset by peer"))
    }
    introduce(n, c)
    feed(n, .connected(connection.ends[n].socket))
  }

  func connectionAccepted(_ n: Int, _ c: Int) {
    guard let connection = connections[c], connection.ends[n].state == .open else { return }
    // The listener may have been closed while the connection waited in its backlog.
    if !nodes[n].isListening && random.oneIn(2) { return closeEnd(c, n) }
    introduce(n, c)
    feed(n, .accepted(connection.ends[n].socket))
  }

  private func introduce(_ n: Int, _ c: Int) {
    connections[c]!.ends[n].isKnown = true
    nodes[n].sockets.append(SocketEntry(socket: connections[c]!.ends[n].socket, connection: c, side: n))
  }

  private func connection(of n: Int, _ socket: SocketID) -> Int? {
    for entry in nodes[n].sockets where entry.socket == socket { return entry.connection }
    return nil
  }

  func configure(_ n: Int, _ socket: SocketID, _ stream: PacketStream) {
    guard let c = connection(of: n, socket), let connection = connections[c] else { return }
    connection.withLane(n) { $0.writing = stream }
    connection.withLane(1 - n) { lane in
      lane.reading = stream
      lane.isPaused = false
    }
    scheduleDelivery(c, 1 - n)
  }

  /// As `Effect.configure` has it.
  static func pauses(_ packet: Packet) -> Bool {
    switch packet {
    case .initialData, .initialMeta, .features: true
    default: false
    }
  }

  // MARK: sending

  func send(
    _ n: Int, _ socket: SocketID, _ volume: VolumeNumber, _ packet: consuming Packet, _ payload: PayloadRef?,
    _ notify: WorkID?
  ) {
    if let payload {
      guard owns(n, payload, orClient: false) else {
        return breakLaw("\(name(n)) sends a payload that it does not have")
      }
      pool.begin(payload)
    }
    guard let c = connection(of: n, socket), let connection = connections[c], connection.ends[n].state == .open,
      !isLost(n, &packet)
    else {
      return report(n, payload, notify)
    }
    var waiting = Waiting(
      packet: packet, volume: volume, payload: payload, notify: notify, bytes: 32 + Int(payload?.bytes ?? 0))
    if circumstances.encodesPackets {
      waiting.encoded = connection.withLane(n) { World.encode(waiting, $0.writing) }
    }
    connection.withLane(n) { $0.waiting.append(waiting) }
    moveOn(c, n)
  }

  /// Plants faults on the wire.
  private func isLost(_ n: Int, _ packet: inout Packet) -> Bool {
    switch (circumstances.planted, packet) {
    case (.misplacedWrite, .data(var header)) where header.sector >= 8 && random.oneIn(200):
      header.sector -= 8
      packet = .data(header)
      return false
    case (.lostAck, .resyncWriteAck): return random.oneIn(20)
    default: return false
    }
  }

  /// The kernel has taken the bytes, or nobody ever will.
  private func report(_ n: Int, _ payload: PayloadRef?, _ notify: WorkID?) {
    guard let notify else {
      if let payload { pool.end(payload) }
      return
    }
    let node = nodes[n]
    node.lastSent = max(node.lastSent, now + 1_000 + random.below(4_000))
    node.sending.append(payload)
    plan(.sent, at: node.lastSent, on: n, notify)
  }

  /// Moves what waits into the send buffer, and so onto the cable.
  private func moveOn(_ c: Int, _ from: Int) {
    guard let connection = connections[c] else { return }
    while let next = connection.withLane(
      from,
      { lane -> Waiting? in
        guard lane.inKernel < circumstances.sendBuffer, let next = lane.waiting.popFirst() else { return nil }
        lane.inKernel += next.bytes
        return next
      })
    {
      var moving = Moving(
        packet: next.packet, volume: next.volume, payload: nil, at: 0, bytes: next.bytes, encoded: next.encoded)
      if let payload = next.payload {
        if circumstances.encodesPackets {
          World.append(pool[payload], Int(payload.bytes) >> 9, to: &moving.encoded)
        } else {
          let copy = pool.take(payload.bytes, for: .wire)
          pool[copy].update(from: pool[payload], count: Int(payload.bytes) >> 9)
          moving.payload = copy
        }
      }
      report(from, next.payload, next.notify)
      let latency = circumstances.latency
      let jitter = random.below(latency / 4 + 1)
      connection.withLane(from) { lane in
        lane.clock =
          max(lane.clock, now + latency + jitter)
          + UInt64(next.bytes) * 1_000_000 * linkSlowness / circumstances.bandwidth
        moving.at = lane.clock
        if !rudeness.isOn { lane.moving.append(moving) }
      }
      if rudeness.isOn {
        if circumstances.rude == from {
          sendRudely(c, from, moving)
        } else {
          overhear(moving.encoded)
          connection.withLane(from) { $0.moving.append(moving) }
        }
      }
    }
    scheduleDelivery(c, from)
    let closes = connection.withLane(from) { $0.closesWhenSent && $0.waiting.isEmpty }
    if closes && connection.ends[from].state == .open { closeEnd(c, from) }
  }

  private func scheduleDelivery(_ c: Int, _ from: Int, notBefore: UInt64 = 0) {
    guard let connection = connections[c] else { return }
    let at = connection.withLane(from) { lane -> UInt64? in
      guard !lane.isScheduled, lane.hasSomethingToDeliver else { return nil }
      lane.isScheduled = true
      return lane.moving.isEmpty ? lane.clock : lane.moving[0].at
    }
    if let at { schedule.add(.delivery, at: max(at, now, notBefore), node: from, UInt64(c)) }
  }

  // MARK: arriving

  func deliver(_ c: Int, from: Int) {
    guard let connection = connections[c] else { return }
    connection.withLane(from) { $0.isScheduled = false }
    guard cableIsWhole, !isMuted[from] else { return }
    let n = 1 - from
    if nodes[n].stalledUntil > now { return scheduleDelivery(c, from, notBefore: nodes[n].stalledUntil) }
    switch connection.ends[n].state {
    case .forgotten:
      // Nobody answers while the machine is off; afterwards it says that it knows no such connection.
      if nodes[n].hasPower {
        dropMoving(c, from, keep: 0)
        if connection.ends[from].state == .open { closeEnd(c, from) }
      }
    case .gone: refuseRest(c, from)
    case .closing where !random.oneIn(3): refuseRest(c, from)
    case .open, .closing:
      guard connection.ends[n].isKnown else { return scheduleDelivery(c, from, notBefore: now + 20_000) }
      if connection.withLane(from, { $0.isPaused }) { return seeEnd(c, n) }
      if hasNoRoom(n, c) { return scheduleDelivery(c, from, notBefore: now + 100_000) }
      if connection.withLane(from, { $0.isHeldBack }) {
        parse(c, n)
        return scheduleDelivery(c, from)
      }
      if let moving = connection.withLane(
        from,
        { lane -> Moving? in
          guard let moving = lane.moving.popFirst() else { return nil }
          lane.inKernel -= moving.bytes
          return moving
        })
      {
        moveOn(c, from)
        scheduleDelivery(c, from)
        arrive(c, n, moving)
      } else if connection.ends[n].state == .open, connection.withLane(from, { $0.ends && $0.waiting.isEmpty }) {
        closeEnd(c, n)
      }
    }
  }

  /// The engine has no room for a request of its peer: the data socket is not read, as by the daemon (`PeerSocket.next`).
  func hasNoRoom(_ n: Int, _ c: Int) -> Bool {
    !nodes[n].engine.takesPeerRequests && connections[c]!.withLane(1 - n) { $0.reading.socket == .data }
  }

  /// A paused socket keeps what arrives, and sees the end of the stream all the same.
  private func seeEnd(_ c: Int, _ n: Int) {
    guard let connection = connections[c], connection.ends[n].state == .open,
      connection.withLane(1 - n, { $0.ends && $0.waiting.isEmpty })
    else { return }
    dropMoving(c, 1 - n, keep: 0)
    closeEnd(c, n)
  }

  /// The receiver has closed: what still arrives is thrown away, and the sender is told.
  private func refuseRest(_ c: Int, _ from: Int) {
    let had = connections[c]!.withLane(from) { !$0.moving.isEmpty }
    dropMoving(c, from, keep: 0)
    if had, connections[c]!.ends[from].state == .open { closeEnd(c, from) }
  }

  private func arrive(_ c: Int, _ n: Int, _ moving: consuming Moving) {
    if circumstances.encodesPackets { return arriveAsBytes(c, n, moving.encoded, pauses: World.pauses(moving.packet)) }
    if World.pauses(moving.packet) { connections[c]!.withLane(1 - n) { $0.isPaused = true } }
    if isDamaged(n, connections[c]!.ends[n].socket, moving.packet, moving.payload) { return }
    if let payload = moving.payload { pool.hand(payload, to: .engine(n)) }
    receive(n, connections[c]!.ends[n].socket, moving.volume, moving.packet, moving.payload)
  }

  func receive(_ n: Int, _ socket: SocketID, _ volume: VolumeNumber, _ packet: consuming Packet, _ payload: PayloadRef?)
  {
    var payload = payload
    switch packet {
    case .dataRequest(let request), .resyncRequest(let request), .thinRequest(let request),
      .checksumRequest(let request, _):
      guard request.size > 0, request.size <= 1 << 20, request.size % 512 == 0 else {
        if circumstances.rude != nil { return refuseSize(n, socket, volume, packet, request.size) }
        return breakLaw("\(name(1 - n)) asks its peer for \(request.size) bytes")
      }
      payload = pool.take(request.size, for: .engine(n))
    case .resyncReply(let header): keeper.resyncArrived(n, volume, header.sector, payload?.bytes ?? 0)
    default: break
    }
    if era >= .second { nodes[n].ticksInARow = 0 }
    feed(n, .packet(socket, volume, packet, payload))
  }

  /// A rude peer asks for so many bytes: the reactor has no buffer for them, and hands the request on if it needs none.
  private func refuseSize(
    _ n: Int, _ socket: SocketID, _ volume: VolumeNumber, _ packet: consuming Packet, _ size: UInt32
  ) {
    if size == 0 { return feed(n, .packet(socket, volume, packet, nil)) }
    feed(n, .violation(socket, .badField(packet: "a request", problem: "\(size) bytes", on: .data)))
  }

  // MARK: a connection ends

  func close(_ n: Int, _ socket: SocketID, afterSending: Bool) {
    guard let c = connection(of: n, socket), let connection = connections[c], connection.ends[n].state == .open
    else { return }
    if afterSending && connection.withLane(n, { !$0.waiting.isEmpty }) {
      connection.withLane(n) { $0.closesWhenSent = true }
      return
    }
    // Whoever closes with unread input resets the connection: the peer may lose what it has not read yet.
    let unread = connection.withLane(1 - n) { !$0.moving.isEmpty }
    if unread && random.oneIn(2) { dropMoving(c, n, keep: random.next()) }
    closeEnd(c, n)
  }

  /// This end is no more: what waits is never sent, what was sent arrives, then the stream ends.
  private func closeEnd(_ c: Int, _ n: Int) {
    guard let connection = connections[c], connection.ends[n].state == .open else { return }
    while let waiting = connection.withLane(n, { $0.waiting.popFirst() }) {
      report(n, waiting.payload, waiting.notify)
    }
    connection.withLane(n) { lane in
      lane.ends = true
      lane.clock = max(lane.clock, now + circumstances.latency)
    }
    if connection.ends[n].isKnown {
      connection.ends[n].state = .closing
      schedule.add(
        .socketClosed, at: max(nodes[n].lastSent, now + 2_000), node: n, life: nodes[n].life, UInt64(c))
    } else {
      connection.ends[n].state = .gone
    }
    scheduleDelivery(c, n)
  }

  func socketIsClosed(_ n: Int, _ c: Int) {
    let socket = connections[c]!.ends[n].socket
    connections[c]!.ends[n].state = .gone
    nodes[n].sockets.removeAll { $0.socket == socket }
    forgetIfFinished(c)
    feed(n, .socketClosed(socket))
  }

  private func forgetIfFinished(_ c: Int) {
    guard let connection = connections[c], connection.isFinished else { return }
    dropMoving(c, 0, keep: 0)
    dropMoving(c, 1, keep: 0)
    connections[c] = nil
    openConnections.removeAll { $0 == c }
  }

  /// Keeps a random number of packets (none for 0) of those on the cable.
  private func dropMoving(_ c: Int, _ from: Int, keep: UInt64) {
    guard let connection = connections[c] else { return }
    let count = connection.withLane(from) { $0.moving.count }
    let kept = keep == 0 ? 0 : Int(keep % UInt64(count + 1))
    var rest = Queue<Moving>(capacity: 16)
    for i in 0..<count {
      let moving = connection.withLane(from) { $0.moving.popFirst()! }
      if i < kept {
        rest.append(moving)
      } else {
        connection.withLane(from) { $0.inKernel -= moving.bytes }
        if let payload = moving.payload { pool.giveBack(payload) }
      }
    }
    while let moving = rest.popFirst() { connection.withLane(from) { $0.moving.append(moving) } }
  }

  /// The process died: the kernel closes its sockets.
  func processLosesSockets(_ n: Int) {
    for c in openConnections {
      guard let connection = connections[c], connection.ends[n].state != .gone, connection.ends[n].state != .forgotten
      else { continue }
      if random.oneIn(2) { dropMoving(c, n, keep: random.next()) }
      connection.ends[n].state = .gone
      connection.withLane(n) { lane in
        lane.waiting.removeAll()
        lane.ends = true
        lane.clock = max(lane.clock, now + circumstances.latency)
      }
      scheduleDelivery(c, n)
    }
    for c in openConnections { forgetIfFinished(c) }
  }

  /// The machine died: nobody says a word.
  func machineLosesSockets(_ n: Int) {
    for c in openConnections {
      guard let connection = connections[c], connection.ends[n].state != .gone else { continue }
      dropMoving(c, n, keep: random.next())
      connection.ends[n].state = .forgotten
      connection.withLane(n) { $0.waiting.removeAll() }
    }
    for c in openConnections { forgetIfFinished(c) }
  }

  /// The machine has power again: it refuses what arrives for connections it does not know.
  func machineIsBack(_ n: Int) {
    for c in openConnections { scheduleDelivery(c, 1 - n, notBefore: now + random.below(50_000_000)) }
  }

  // MARK: the cable

  func cutCable() {
    cableIsWhole = false
    say("the cable is cut")
  }

  func mendCable() {
    if cableIsWhole, !isMuted[0], !isMuted[1] { return }
    cableIsWhole = true
    isMuted = [false, false]
    say("the cable is whole again")
    for c in openConnections {
      for from in 0...1 { scheduleDelivery(c, from, notBefore: now + random.below(200_000_000)) }
    }
  }

  /// Some device in between resets one connection.
  func resetOneConnection() {
    guard !openConnections.isEmpty else { return }
    let c = openConnections[Int(random.below(UInt64(openConnections.count)))]
    say("a connection is reset")
    for n in 0...1 { dropMoving(c, n, keep: random.next()) }
    for n in 0...1 { closeEnd(c, n) }
  }
}
