// The server's side of one NBD connection, without I/O. How a reactor drives it:
//
//   in      look at `need`. `.bytes`: hand what was received to `receive`, which says how much it took; keep the rest
//           in front of what comes next (`stagingBytes` is room enough). `.memory`: the next piece needs pool memory. Call
//           `take(memory:)` with as many bytes as there are now, at least a page; with all of them when it is `whole`.
//           When there is none call `memoryIsShort`, and look again when some was released. `.payload`: put the next
//           `range.bytes` bytes of the stream into the memory that was taken and call `received(payload:)`. `.drain`: throw
//           bytes away and call `drained`. `.pause`: stop receiving until something was answered or sent. `.hangUp`: send
//           what `nextReply` still gives, if the peer takes it at once, then close the socket and call `close`.
//   engine  carry out what `nextWish` gives and call `answered` exactly once for each ticket, in any order. The payload of
//           a write, and the memory of a read, belong to the engine from then on; a read's comes back with the answer, full.
//           No wish waits for memory: what has memory never stands behind what has none.
//   out     send what `nextReply` gives, in order; after it is sent, give its payload back to the pool.
//   end     `close` at any time (the socket died). Wishes that give payload back may follow, and answers to tickets
//           under way must still come; when `isIdle`, the session can go.
//
// After each call look at all three of `nextWish`, `nextReply` and `need`. No call of the transmission phase allocates.

import Base

/// Who waits for an answer: a piece of a request of one client. Never 0.
public struct Ticket: Hashable, Sendable {
  public let raw: UInt64
  public init(raw: UInt64) { self.raw = raw }
  init(_ slot: SlotID, client: UInt16) { raw = slot.raw | UInt64(client) << 16 }
  /// The number the session was made with.
  public var client: UInt16 { UInt16(truncatingIfNeeded: raw >> 16) }
  var slot: SlotID { SlotID(raw: raw & ~0xffff_0000) }
}

/// What the socket has to do next.
public enum Need: Equatable, Sendable {
  case bytes
  case memory(UInt32, whole: Bool)
  case payload(Ticket, BlockRange)
  case drain(UInt32)
  case pause
  case hangUp(HangUp)
}

/// What is asked of the engine or of the pool.
public enum Wish: Equatable, Sendable {
  case read(Ticket, BlockRange, PayloadRef)
  case write(Ticket, BlockRange, PayloadRef, fua: Bool)
  case flush(Ticket)
  case trim(Ticket, BlockRange, fua: Bool)
  /// `fast`: answer `notSupported` at once unless it is faster than writing.
  case zero(Ticket, BlockRange, mayUnmap: Bool, fua: Bool, fast: Bool)
  /// Where in this range are data, zeroes and holes?
  case locate(Ticket, BlockRange)
  case giveBack(PayloadRef)
}

/// What one connection may hold.
public struct Limits: Equatable, Sendable {
  /// Requests under way.
  public var requests = 128
  /// Pieces under way: each is one ticket.
  public var pieces = 256
  /// Pool memory of reads and writes under way and of replies that wait to be sent.
  public var payloadBytes: UInt32 = 8 << 20
  /// Longest read whose pieces are held until all are there.
  public var gatheredBytes: UInt32 = 4 << 20
  /// Data move in pieces up to this size, cut where the volume's offset is a multiple of it.
  public var pieceBytes: UInt32 = 1 << 20
  /// The same for trim and zeroing: one activity-log extent.
  public var discardBytes: UInt32 = 4 << 20
  /// Replies that may wait before no more requests are taken.
  public var waitingReplies = 128
  public init() {}
}

public struct Session: ~Copyable {
  /// Room a reactor needs to keep the bytes of one unit of the conversation together.
  public static let stagingBytes = 32 << 10

  enum Phase { case handshake, transmission }

  /// Bytes of a refused request that are still to come, and what is said when they have.
  struct Drain {
    var left: UInt32
    var cookie: UInt64
    var error: NBDError?
  }

  let client: UInt16
  let limits: Limits
  private var exports: [Export]
  private var phase = Phase.handshake
  private var handshake = Handshake()
  private var drain: Drain?
  private var end: HangUp?
  private var isLeaving = false
  // The export in use, as plain values: no string is touched per request.
  private var served: VolumeNumber
  private(set) var bounds: Bounds
  private(set) var isServed = true
  private(set) var structuredReplies = false
  private(set) var allocationContext = false

  var requests: Slots<Request>
  var pieces: Slots<Piece>
  var wishes: Queue<Wish>
  var outbox: Outbox
  /// The request that is being cut into pieces.
  var cut: Cut?
  /// A streamed read is under way: nothing may come between its pieces, so it runs alone.
  var isStreaming = false
  /// The piece whose payload is awaited.
  var receiving: SlotID?
  /// Pool memory of pieces, beside that of the outbox.
  var pieceBytes: UInt64 = 0
  /// Tickets whose answer has not come.
  var tickets = 0

  /// `exports` must not be empty; the first one is the default. Two live sessions must not share a `client` number.
  public init(exports: [Export], client: UInt16 = 0, limits: Limits = Limits()) {
    precondition(!exports.isEmpty, "a session needs an export")
    precondition(limits.requests > 0 && limits.pieces < 1 << 16, "limits out of range")
    precondition(limits.pieceBytes >= 4096 && limits.pieceBytes & (limits.pieceBytes - 1) == 0, "limits out of range")
    precondition(
      limits.discardBytes >= 4096 && limits.discardBytes & (limits.discardBytes - 1) == 0, "limits out of range")
    precondition(
      limits.gatheredBytes >= 64 << 10 && limits.gatheredBytes <= limits.payloadBytes, "limits out of range")
    precondition(
      limits.pieces >= Int(limits.gatheredBytes / limits.pieceBytes) + 2, "a gathered read must fit in the pieces")
    self.exports = exports
    self.client = client
    self.limits = limits
    served = exports[0].volume
    bounds = Bounds(exports[0])
    requests = Slots(capacity: limits.requests)
    pieces = Slots(capacity: limits.pieces)
    wishes = Queue(capacity: limits.pieces * 2)
    outbox = Outbox(capacity: limits.pieces + limits.waitingReplies)
    Handshake.greet(&outbox)
  }

  /// The volume in use, nil before transmission.
  public var volume: VolumeNumber? { phase == .transmission ? served : nil }

  public var need: Need {
    if let end { return .hangUp(end) }
    if let drain { return .drain(drain.left) }
    if let receiving { return .payload(Ticket(receiving, client: client), pieces[receiving].range) }
    if let memory = memoryWanted { return memory }
    if isLeaving { return requests.isEmpty && outbox.isEmpty ? .hangUp(.clientLeft) : .pause }
    if cut != nil || isStreaming || outbox.count >= limits.waitingReplies || !requests.hasRoom { return .pause }
    return .bytes
  }

  /// True when no answer is awaited and nothing is left to take: the session can go.
  public var isIdle: Bool { tickets == 0 && wishes.isEmpty && outbox.isEmpty }

  /// True when requests are under way: what a demotion has to wait for, or refuse.
  public var isBusy: Bool { !requests.isEmpty }

  // MARK: In

  /// Takes whole units from the front of `bytes` while `need` is `.bytes`; returns how many bytes it took. The rest
  /// comes again, with more behind it.
  public mutating func receive(_ bytes: RawSpan) -> Int {
    var at = 0
    while need == .bytes {
      let taken = phase == .handshake ? negotiate(bytes, at: at) : takeRequest(bytes, at: at)
      if taken == 0 { break }
      at += taken
    }
    return at
  }

  /// The payload `need` asked for is in the pool.
  public mutating func received(payload: PayloadRef) {
    guard let id = receiving else { preconditionFailure("no payload was asked for") }
    precondition(UInt64(payload.bytes) == pieces[id].range.bytes, "payload of another length than asked for")
    receiving = nil
    let fua = requests[pieces[id].request].has(CommandFlags.fua)
    pieces[id].state = .asked
    tickets += 1
    wishes.append(.write(Ticket(id, client: client), pieces[id].range, payload, fua: fua))
    advance()
  }

  /// `bytes` of those `need` wanted drained are gone.
  public mutating func drained(_ bytes: UInt32) {
    guard var waiting = drain, bytes <= waiting.left else { preconditionFailure("drained more than was asked for") }
    waiting.left -= bytes
    drain = waiting.left > 0 ? waiting : nil
    if waiting.left == 0, let error = waiting.error { outbox.put(SimpleReply(cookie: waiting.cookie, error: error)) }
  }

  private mutating func negotiate(_ bytes: RawSpan, at start: Int) -> Int {
    switch handshake.receive(bytes, at: start, exports: exports, &outbox) {
    case .incomplete:
      return 0
    case .consumed(let count):
      return count
    case .drain(let count, let left):
      if left > 0 { drain = Drain(left: left, cookie: 0, error: nil) }
      return count
    case .enter(let count, let index):
      phase = .transmission
      served = exports[index].volume
      bounds = Bounds(exports[index])
      structuredReplies = handshake.structuredReplies
      allocationContext = handshake.allocationContext(for: index)
      return count
    case .leave:
      isLeaving = true
      return 0
    case .hangUp(let reason):
      end = reason
      return 0
    }
  }

  private mutating func takeRequest(_ bytes: RawSpan, at start: Int) -> Int {
    var reader = LayoutReader(bytes, at: start)
    var magic: UInt32 = 0
    reader.u32(&magic)
    if !reader.short, magic != Magic.request {
      end = .wrongRequestMagic
      return 0
    }
    guard bytes.byteCount - start >= RequestHead.bytes else { return 0 }
    var head = RequestHead()
    reader = LayoutReader(bytes, at: start)
    head.fields(&reader)
    switch head.verdict(
      bounds, isServed: isServed, structuredReplies: structuredReplies, allocationContext: allocationContext,
      maximumGathered: limits.gatheredBytes)
    {
    case .ask: open(head)
    case .succeed: succeed(head)
    case .refuse(let error): refuse(head, error)
    case .leave: isLeaving = true
    }
    return RequestHead.bytes
  }

  private mutating func succeed(_ head: RequestHead) {
    if head.type == Command.read.rawValue, structuredReplies {
      outbox.put(ChunkHead(Chunk.none, cookie: head.cookie, length: 0, done: true))
    } else {
      outbox.put(SimpleReply(cookie: head.cookie))
    }
  }

  /// The payload of a refused write still comes: it is drained, then the refusal is sent.
  private mutating func refuse(_ head: RequestHead, _ error: NBDError) {
    if head.type == Command.write.rawValue, head.length > 0 {
      drain = Drain(left: head.length, cookie: head.cookie, error: error)
    } else {
      let mustBeChunk = head.type == Command.read.rawValue || head.type == Command.blockStatus.rawValue
      putError(head.cookie, error, asChunk: mustBeChunk && structuredReplies)
    }
  }

  func style(_ head: RequestHead) -> ReadStyle {
    if structuredReplies, head.flags & CommandFlags.df == 0 { return .chunks }
    return head.length <= limits.gatheredBytes ? .gathered : .streamed
  }

  // MARK: Out

  public mutating func nextWish() -> Wish? { wishes.popFirst() }

  public mutating func nextReply() -> Reply? {
    guard let reply = outbox.pop() else { return nil }
    if cut != nil, reply.payload != nil { advance() }
    return reply
  }

  // MARK: Change and end

  /// An export changed its size or its role, or is new. A session in transmission follows: requests for a volume that
  /// is not served any more are answered `shutdown`. Another block size is for those who come later.
  public mutating func update(_ changed: Export) {
    if let index = exports.firstIndex(where: { $0.volume == changed.volume }) {
      exports[index] = changed
    } else {
      exports.append(changed)
    }
    guard phase == .transmission, changed.volume == served else { return }
    bounds = Bounds(changed)
    isServed = changed.refusal == nil
  }

  /// The connection is gone, or has to go. Nothing is sent any more; payload the session holds is given back.
  public mutating func close() {
    if end == nil { end = .closed }
    drain = nil
    while let reply = outbox.pop() {
      if let payload = reply.payload { wishes.append(.giveBack(payload)) }
    }
    abandon()
  }

  var isClosed: Bool { end != nil }

  mutating func hangUp(_ reason: HangUp) { if end == nil { end = reason } }
}
