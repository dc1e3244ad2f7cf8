// From completions to events. Nothing is decided here: each completion finds the thing it belongs to, and what that thing
// then has to say goes to the engine one by one.
import Base
import BlockIO
import Engine

extension Reactor {
  mutating func arrive(_ completion: Completion) {
    switch completion.tag.kind {
    case Kind.disk:
      disks.complete(completion, &pool, &ring)
    case Kind.peerReceive:
      guard let place = peers.place(of: socket(completion)) else { return }
      peers.sockets[place].received(completion)
      pump(place)
    case Kind.peerSend:
      guard let place = peers.place(of: socket(completion)) else { return }
      peers.sockets[place].sent(completion)
      pump(place)
    case Kind.peerConnect: connectEnded(completion)
    case Kind.peerAccept:
      let journal = journal
      if let id = peers.accepted(completion, at: now, &ring, { journal.warning($0) }) { handle(.accepted(id)) }
    case Kind.clientAccept:
      let journal = journal
      exports.accepted(completion, at: now, &ring) { journal.warning($0) }
    case Kind.clientReceive:
      let place = Int(completion.tag.payload)
      exports.connections[place].received(completion)
      exports.dirty.insert(place)
    case Kind.clientSend:
      let place = Int(completion.tag.payload)
      exports.connections[place].sent(completion, &pool)
      exports.dirty.insert(place)
    case Kind.clientHangUp:
      let place = Int(completion.tag.payload)
      exports.connections[place].hungUp()
      exports.dirty.insert(place)
    case Kind.controlAccept:
      let journal = journal
      control.accepted(completion, at: now, &ring) { journal.warning($0) }
    case Kind.controlReceive: control.received(completion)
    case Kind.controlSend: control.sent(completion)
    case Kind.controlHangUp: control.hungUp(completion)
    case Kind.signal: signalled(completion)
    case Kind.child:
      let write = handlerLines
      if let ended = handlers.ended(completion, &ring, write) {
        tellWatchers(of: ended.handler, ended.volume, status: ended.exit)
        handle(.handlerDone(ended.id, exit: ended.exit))
      }
    case Kind.cancel: break
    default: preconditionFailure("a completion that nobody asked for")
    }
    settleAnswers()
  }

  @inline(__always) private func socket(_ completion: Completion) -> SocketID {
    SocketID(UInt32(truncatingIfNeeded: completion.tag.payload))
  }

  mutating func finish(_ done: DiskTable.Done) {
    switch done {
    case .disk(let id, let fault): handle(.diskDone(id, fault))
    case .examined(let id, let finding): handle(.examined(id, finding))
    case .meta(let id, let fault): handle(.metaDone(id, fault))
    case .metaRead(let id, let payload):
      let bytes = RawSpan(_unsafeStart: pool.pointer(to: payload), byteCount: Int(payload.bytes))
      engine.metaRead(id, bytes, at: now, into: &effects)
      pool.release(payload)
      carryAll()
    case .closed(let number): handle(.diskClosed(number))
    }
  }

  /// Everything a peer socket has to say.
  mutating func pump(_ place: Int) {
    // Once for all that lies here: what it sets off is no more than it is itself.
    let isBackedUp = peers.isBackedUpElsewhere(place)
    while peers.sockets.contains(place),
      let arrival = peers.sockets[place].next(&pool, hasRoom: engine.takesPeerRequests && !isBackedUp)
    {
      let id = peers.sockets[place].id
      switch arrival {
      case .packet(let packet, let volume, let payload): handle(.packet(id, volume, packet, payload))
      case .violation(let violation): handle(.violation(id, violation))
      case .sent(let work): handle(.sent(work))
      case .closed:
        peers.drop(place, &ring)
        handle(.socketClosed(id))
      }
      // What was asked for on the way (a challenge, a signature) comes before the next packet.
      while let event = inbox.popFirst() { handle(event) }
    }
  }

  private mutating func connectEnded(_ completion: Completion) {
    switch peers.connected(completion, &ring) {
    case .success(let id): handle(.connected(id))
    case .failure(let fault):
      say(fault)
      handle(.connectFailed(why: fault.text))
    }
  }

  func say(_ fault: AttemptFault) {
    guard fault.isNews, let name = setup.hosted.peers.first?.name else { return }
    journal.info("the peer does not answer (\(fault.text)); repld tries again and again", peer: name)
  }

  /// One NBD client: its input, its requests, its replies.
  mutating func service(_ place: Int) {
    guard exports.connections.contains(place) else { return }
    let zeroesFast = disks.zeroesFast(exports.connections[place].volume)
    var again = true
    while again {
      again = exports.takeInput(place, &pool)
      while let event = exports.nextRequest(place, &pool, zeroesFast: zeroesFast) {
        handle(event)
        settleAnswers()
        again = true
      }
    }
    exports.noteStalled(place)
    if exports.connections[place].settle(&pool) {
      exports.drop(place, &ring)
      return
    }
    exports.connections[place].submit(place, pool, &ring)
    exports.connections[place].receive(place, pool, &ring)
  }

  private mutating func signalled(_ completion: Completion) {
    let signal = signals.received(completion)
    signals.wait(&ring, tag: Tag(kind: Kind.signal))
    if let signal { obey(signal: signal) }
  }
}
