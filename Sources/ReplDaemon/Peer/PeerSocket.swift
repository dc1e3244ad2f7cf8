// One TCP connection to the peer. In: bytes to packets, payload straight into the pool (only what has arrived with its
// header is copied). Out: headers encoded here, payload sent from where it lies. Laws: every `.send` that asked for it is
// answered by `.sent`, sent or not; `.socketClosed` is the last word; a peer whose data have used up their share of the
// pool, or of the engine's tables, is not read until the disk has taken some, nor one that leaves too many answers unread. It
// is read on while its own reading is what we wait for: requests without memory for the answer wait aside.
import Base
import BlockIO
import Engine
import Protocol

struct PeerSocket: ~Copyable {
  /// What the socket has to tell the engine next.
  enum Arrival {
    case packet(Packet, VolumeNumber, PayloadRef?)
    case violation(ProtocolViolation)
    case sent(WorkID)
    case closed
  }

  enum Phase: Equatable {
    case connecting
    case open
    /// What is queued still goes out, and the peer gets the time to read it and to hang up by itself, at most until then:
    /// closing with unread input would take from it what it has not read yet. What it sends is thrown away.
    case lingering(until: Instant)
    /// Shut down: what is under way ends, then the socket goes.
    case ending
  }

  /// A packet whose payload is on its way.
  struct Pending {
    var packet: Packet
    var volume: VolumeNumber
    /// Bytes that follow on the stream.
    var bytes: Int
    var payload: PayloadRef?
    var filled = 0
  }

  let id: SocketID
  let socket: Socket
  let file: RingFile
  var phase: Phase
  /// Bytes of answers that may wait to be sent; while there are more, what would set off more is not read.
  let answerLimit: Int
  private var stream: PacketStream?
  /// Digests of the two directions, made ready.
  private var sending = Checker()
  private var receiving = Checker()
  private var isPaused = true
  private var staging = Staging()
  private var pending: Pending?
  private var requests = WaitingRequests()
  private var message = Message()
  /// The receive under way fills the payload first, this many bytes of it.
  private var directBytes = 0
  private var isReceiving = false
  /// End of stream or an error was seen.
  private var hasEnded = false
  /// Nothing more is parsed: a violation was reported, or the engine wants it closed.
  private var isDeaf = false
  /// Nothing is received: it waits for pool memory, or for room in the engine.
  private var isStalled = false
  var out = SendQueue()

  /// Has to be looked at when memory or room has come back.
  var waits: Bool { isStalled || !requests.isEmpty }

  init(id: SocketID, socket: consuming Socket, file: RingFile, phase: Phase, answerLimit: Int) {
    self.answerLimit = answerLimit
    self.id = id
    self.socket = socket
    self.file = file
    self.phase = phase
  }

  // MARK: Orders of the engine

  mutating func configure(_ stream: PacketStream) {
    self.stream = stream
    sending.prepare(stream.sends)
    receiving.prepare(stream.receives)
    isPaused = false
  }

  mutating func send(
    _ packet: Packet, _ volume: VolumeNumber, _ payload: PayloadRef?, notify: WorkID?, _ pool: borrowing Pool
  ) {
    let bytes = Int(payload?.bytes ?? 0)
    let version = stream?.version ?? HeaderKind.versionBeforeAgreement
    let features = stream?.features ?? []
    // The digest is counted as payload and written behind the head.
    let digest = payload == nil || !packet.carriesDigest ? 0 : sending.size
    let size = packet.encodedSize(version: version, features: features, payload: bytes + digest)
    let room = out.head(size + digest)
    let used = packet.encode(
      into: room, version: version, features: features, volume: volume.value, payload: bytes + digest)
    if digest > 0, let payload, let base = room.baseAddress {
      sending.digest(UnsafeRawBufferPointer(start: pool.pointer(to: payload), count: bytes), into: base + used)
    }
    out.put(headBytes: used + digest, payload: payload, notify: notify, isAnswer: packet.isAnswer)
  }

  mutating func close(afterSending: Bool, until: Instant) {
    if phase == .ending { return }
    isDeaf = true
    if afterSending, !hasEnded, phase == .open {
      isStalled = false
      phase = .lingering(until: until)
    } else if isLingering, afterSending {
      return
    } else {
      end()
    }
  }

  mutating func end() {
    isDeaf = true
    phase = .ending
    socket.shutdown()
  }

  // MARK: What it has to say

  var isBackedUp: Bool { out.answerBytes > answerLimit }

  /// The next thing to tell the engine; nil when there is none now. `hasRoom`: the engine takes requests of the peer, and no other
  /// socket is backed up by their answers.
  mutating func next(_ pool: inout Pool, hasRoom: Bool) -> Arrival? {
    while let entry = out.popSent() {
      if let id = entry.notify { return .sent(id) }
    }
    if case .lingering = phase, hasEnded { end() }
    if phase == .ending {
      guard !out.isSending else { return nil }
      while let entry = out.popUnsent() {
        if let id = entry.notify { return .sent(id) }
      }
      guard !isReceiving else { return nil }
      if let payload = pending?.payload { pool.release(payload) }
      pending = nil
      return .closed
    }
    if isDeaf { return nil }
    if let arrival = parse(&pool, hasRoom) { return arrival }
    if hasEnded, !isStalled { end() }
    return phase == .ending ? next(&pool, hasRoom: hasRoom) : nil
  }

  private mutating func parse(_ pool: inout Pool, _ hasRoom: Bool) -> Arrival? {
    isStalled = false
    if hasRoom, let bytes = requests.bytesWanted, let buffer = pool.allocate(bytes: bytes, budget: .requested),
      let (packet, volume) = requests.popFirst()
    {
      return .packet(packet, volume, buffer)
    }
    while pending == nil {
      guard let stream, !isPaused, !staging.isEmpty else { return nil }
      guard hasRoom || stream.socket != .data, !requests.isFull, !isBackedUp else {
        isStalled = true
        return nil
      }
      let step: PacketStream.Step
      do throws(ProtocolViolation) {
        step = try staging.read { (bytes) throws(ProtocolViolation) in try stream.next(bytes) }
      } catch {
        isDeaf = true
        return .violation(error)
      }
      guard case .packet(let packet, let volume, let consumed, let payload) = step else { return nil }
      staging.drop(consumed)
      let number = VolumeNumber(volume)
      if let bytes = WaitingRequests.bytes(askedBy: packet) {
        if requests.isEmpty, let buffer = pool.allocate(bytes: bytes, budget: .requested) {
          return .packet(packet, number, buffer)
        }
        requests.append(packet, number)
      } else if payload > 0 {
        pending = Pending(packet: packet, volume: number, bytes: payload)
      } else {
        isPaused = PeerSocket.pauses(packet)
        return .packet(packet, number, nil)
      }
    }
    return fill(&pool, hasRoom)
  }

  /// Goes on with the packet whose payload is awaited.
  private mutating func fill(_ pool: inout Pool, _ hasRoom: Bool) -> Arrival? {
    guard var waiting = pending else { return nil }
    if waiting.payload == nil {
      guard let payload = pool.allocate(bytes: waiting.bytes, budget: .received) else {
        isStalled = true
        return nil
      }
      waiting.payload = payload
    }
    guard let payload = waiting.payload else { return nil }
    waiting.filled += staging.move(
      to: pool.pointer(to: payload) + waiting.filled, limit: waiting.bytes - waiting.filled)
    guard waiting.filled == waiting.bytes, hasRoom else {
      pending = waiting
      isStalled = waiting.filled == waiting.bytes
      return nil
    }
    pending = nil
    if let head = waiting.packet.digested {
      let bytes = UnsafeRawBufferPointer(start: pool.pointer(to: payload), count: Int(payload.bytes))
      if !receiving.accepts(head.digest, of: bytes) {
        pool.release(payload)
        isDeaf = true
        return .violation(.wrongDigest(packet: waiting.packet.name, sector: head.sector, on: .data))
      }
    }
    return .packet(waiting.packet, waiting.volume, payload)
  }

  private static func pauses(_ packet: Packet) -> Bool {
    switch packet {
    case .initialData, .initialMeta, .features: true
    default: false
    }
  }

  // MARK: The ring

  /// Asks for more bytes, if there is room for them and somebody to look at them.
  mutating func receive(_ pool: borrowing Pool, _ ring: inout Ring) {
    guard !isReceiving, !hasEnded, !isStalled, phase == .open || isLingering else { return }
    if isLingering { staging.drop(staging.count) }
    let tag = Tag(kind: Kind.peerReceive, UInt64(id.raw))
    let room = staging.room()
    if let waiting = pending, let payload = waiting.payload, !isLingering {
      precondition(staging.isEmpty, "payload is awaited while bytes lie unread")
      directBytes = waiting.bytes - waiting.filled
      message.clear()
      message.append(pool.pointer(to: payload) + waiting.filled, count: directBytes)
      message.append(room.start, count: room.count)
      ring.receive(file, into: message, tag: tag)
    } else {
      guard room.count > 0 else { return }
      directBytes = 0
      ring.receive(file, into: room.start, count: room.count, tag: tag)
    }
    isReceiving = true
  }

  private var isLingering: Bool {
    if case .lingering = phase { return true }
    return false
  }

  mutating func received(_ completion: Completion) {
    precondition(isReceiving, "a receive ended that was not begun")
    isReceiving = false
    let bytes = Int(max(0, completion.result))
    let direct = min(bytes, directBytes)
    staging.arrived(bytes - direct)
    if let fault = completion.fault {
      // Interrupted: asked again.
      if !fault.isInterruption { hasEnded = true }
      return
    }
    if bytes == 0 { hasEnded = true }
    if direct > 0 { pending?.filled += direct }
  }

  mutating func submit(_ pool: borrowing Pool, _ ring: inout Ring) {
    guard phase != .connecting, phase != .ending else { return }
    out.submit(file, pool, tag: Tag(kind: Kind.peerSend, UInt64(id.raw)), &ring)
  }

  mutating func sent(_ completion: Completion) {
    if let fault = completion.fault {
      out.completed(0)
      // Interrupted: sent again.
      if fault.isInterruption { return }
      hasEnded = true
      if phase != .ending { end() }
    } else {
      out.completed(Int(completion.result))
    }
  }
}
