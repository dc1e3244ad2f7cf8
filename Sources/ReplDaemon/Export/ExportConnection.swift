// One NBD client: its socket around a session. Bytes go in, payload of writes straight into the pool where possible; heads
// and payload of replies are gathered into one send per turn. Law: everything the session was promised (answers, payload
// given back) happens also when the client is gone; only then the place is free. The end of a client is seen also while
// nothing can be received from it.
import Base
import BlockIO
import Export

struct ExportConnection: ~Copyable {
  let volume: VolumeNumber
  /// The host of a client over TCP; nil: it is of this machine.
  let address: SocketAddress?
  let socket: Socket
  let file: RingFile
  var session: ClientSession
  /// A client that has not finished the negotiation by then is hung up on.
  let patience: Instant
  private var staging = Staging()
  private var out = SendQueue(chunkBytes: 4096, entries: 64)

  // The payload of a write on its way.
  private var payload: PayloadRef?
  private var filled = 0

  private var message = Message()
  private var directBytes = 0
  private var isReceiving = false
  private var hasEnded = false
  /// The ring tells when the client hangs up; until then the place is not free.
  private var isWatched = false
  private var hasHungUp = false
  private(set) var isEnding = false
  /// A wish that found no room in the engine.
  var postponed: Wish?
  /// Waits for pool memory or for room.
  var isStalled = false
  /// Requests in the engine.
  var underWay = 0

  init(
    volume: VolumeNumber, address: SocketAddress?, socket: consuming Socket, file: RingFile,
    session: consuming ClientSession, patience: Instant
  ) {
    self.volume = volume
    self.address = address
    self.socket = socket
    self.file = file
    self.session = session
    self.patience = patience
  }

  /// Uses the volume, so that the node cannot be demoted.
  var isUser: Bool { session.volume != nil && !isEnding }

  // MARK: In

  /// Feeds the session with what has arrived, and with memory as the client of this place. Returns whether anything was
  /// taken.
  mutating func takeInput(_ place: Int, of side: Budget, _ pool: inout Pool) -> Bool {
    var progress = false
    while !isEnding {
      switch session.need {
      case .bytes:
        guard !staging.isEmpty else { return progress }
        let taken = feed()
        // Nothing taken: the unit is not whole yet, or the session has seen enough.
        if taken == 0, session.need == .bytes { return progress }
        staging.drop(taken)
      case .memory(let bytes, let whole):
        if let memory = pool.grant(upTo: Int(bytes), whole: whole, to: place, of: side) {
          payload = session.take(memory: memory)
          filled = 0
        } else {
          // What is on its way out comes back by itself.
          guard out.isEmpty, session.memoryIsShort() else {
            isStalled = true
            return progress
          }
        }
      case .payload:
        guard takePayload(pool) else { return progress }
      case .drain(let left):
        let count = min(Int(left), staging.count)
        guard count > 0 else { return progress }
        staging.drop(count)
        session.drained(UInt32(count))
      case .pause: return progress
      case .hangUp:
        // What is still to be said goes out first.
        if refill() || !out.isEmpty { return progress }
        end()
      }
      progress = true
    }
    return progress
  }

  @inline(__always) private mutating func feed() -> Int {
    session.receive(RawSpan(_unsafeStart: staging.front, byteCount: staging.count))
  }

  /// True when the payload is complete and the session has it.
  private mutating func takePayload(_ pool: borrowing Pool) -> Bool {
    guard let target = payload else { preconditionFailure("a payload without memory") }
    filled += staging.move(to: pool.pointer(to: target) + filled, limit: Int(target.bytes) - filled)
    guard filled == Int(target.bytes) else { return false }
    payload = nil
    session.received(payload: target)
    return true
  }

  /// From the first moment on the ring tells of a hang-up.
  mutating func watch(_ place: Int, _ ring: inout Ring) {
    isWatched = true
    ring.pollHangUp(socket.descriptor, tag: Tag(kind: Kind.clientHangUp, UInt64(place)))
  }

  /// Bytes it has sent before may still be received.
  mutating func hungUp() {
    isWatched = false
    hasHungUp = true
  }

  /// Asks for more bytes when the session can use them.
  mutating func receive(_ place: Int, _ pool: borrowing Pool, _ ring: inout Ring) {
    guard !isReceiving, !hasEnded, !isEnding else { return }
    let tag = Tag(kind: Kind.clientReceive, UInt64(place))
    let room = staging.room()
    if let target = payload {
      // Complete payload is never left here, so the staging is empty.
      directBytes = Int(target.bytes) - filled
      message.clear()
      message.append(pool.pointer(to: target) + filled, count: directBytes)
      message.append(room.start, count: room.count)
      ring.receive(file, into: message, tag: tag)
    } else {
      guard room.count > 0 else {
        // Full of requests whose turn has not come. Who has left meanwhile waits for none of them.
        if hasHungUp { end() }
        return
      }
      directBytes = 0
      ring.receive(file, into: room.start, count: room.count, tag: tag)
    }
    isReceiving = true
  }

  mutating func received(_ completion: Completion) {
    isReceiving = false
    let bytes = Int(max(0, completion.result))
    let direct = min(bytes, directBytes)
    staging.arrived(bytes - direct)
    filled += direct
    // Interrupted: asked again.
    if bytes > 0 || completion.fault?.isInterruption == true { return }
    hasEnded = true
    end()
  }

  // MARK: Out

  /// Moves replies to the send queue, as many as one send takes. Returns whether there were any.
  @discardableResult
  private mutating func refill() -> Bool {
    guard !out.isSending, !isEnding else { return false }
    var any = false
    while out.count < 31, let reply = session.nextReply() {
      let bytes = reply.copyHead(to: out.head(ClientReply.room))
      out.put(headBytes: bytes, payload: reply.payload, notify: nil)
      any = true
    }
    return any
  }

  mutating func submit(_ place: Int, _ pool: borrowing Pool, _ ring: inout Ring) {
    guard !isEnding else { return }
    refill()
    out.submit(file, pool, tag: Tag(kind: Kind.clientSend, UInt64(place)), &ring)
  }

  mutating func sent(_ completion: Completion, _ pool: inout Pool) {
    if let fault = completion.fault {
      out.completed(0)
      // Interrupted: sent again.
      if !fault.isInterruption { end() }
    } else {
      out.completed(Int(completion.result))
      while let entry = out.popSent() {
        if let payload = entry.payload { pool.release(payload) }
      }
    }
  }

  // MARK: The end

  mutating func end() {
    guard !isEnding else { return }
    isEnding = true
    session.close()
    socket.shutdown()
  }

  /// Gives back what no request of the kernel uses any more. True when the place can be freed.
  mutating func settle(_ pool: inout Pool) -> Bool {
    guard isEnding, !isReceiving, !out.isSending, !isWatched else { return false }
    while let entry = out.popUnsent() {
      if let payload = entry.payload { pool.release(payload) }
    }
    if let target = payload {
      pool.release(target)
      payload = nil
    }
    return session.isIdle && postponed == nil
  }
}
