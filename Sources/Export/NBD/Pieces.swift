// Requests are cut into pieces: one ticket each, at most 1 MiB of data, cut where the volume's offset is a multiple of
// that, and shorter when memory is. A request is answered when the last of its pieces has come back; the first fault wins.
// One request is cut at a time, as pieces and memory allow; meanwhile the connection takes no further request. A piece that
// moves data begins with its memory: nothing that waits for memory stands in front of something that holds some.

import Base

struct Piece: Sendable {
  enum State: Sendable { case receiving, asked, held, failed }
  let request: SlotID
  let range: BlockRange
  /// Bytes of pool memory it stands for.
  let payloadBytes: UInt32
  var state: State
  /// The next piece of an ordered read, 0 for none.
  var next: UInt64 = 0
  var payload: PayloadRef?
}

/// What is left of the request that is being cut.
struct Cut: Sendable {
  let request: SlotID
  var offset: UInt64
  var left: UInt32
  /// All pieces of a gathered read are made at once, or none.
  var reserve: UInt32
}

extension Session {
  // MARK: Cutting

  mutating func open(_ head: RequestHead) {
    guard let command = Command(rawValue: head.type) else { preconditionFailure("a request without a verdict") }
    let style = style(head)
    let id = requests.insert(
      Request(
        cookie: head.cookie, offset: head.offset, length: head.length, command: command, flags: head.flags,
        style: style))
    let gathered = command == .read && style == .gathered
    isStreaming = command == .read && style == .streamed
    cut = Cut(request: id, offset: head.offset, left: head.length, reserve: gathered ? head.length : 0)
    advance()
  }

  /// Cuts on as far as there is room. Called whenever room may have come back. Data wait for `take(memory:)`.
  mutating func advance() {
    while let now = cut, receiving == nil, !isClosed {
      if requests[now.request].fault != nil, requests[now.request].command != .write {
        stopCutting(now.request)  // the rest would be in vain
        return
      }
      guard !movesData(now), hasRoom(for: now) else { return }
      let bytes: UInt32 =
        switch requests[now.request].command {
        case .flush: 0
        case .blockStatus: now.left
        default: firstPiece(now, limits.discardBytes)
        }
      makePiece(now, bytes: bytes, memory: nil)
    }
  }

  private func movesData(_ now: Cut) -> Bool {
    let command = requests[now.request].command
    return command == .read || command == .write
  }

  // MARK: Memory

  /// What the next piece needs, when it is its turn.
  var memoryWanted: Need? {
    guard let now = cut, !isClosed, movesData(now), hasRoom(for: now) else { return nil }
    // Pieces that are held together are counted on to be few.
    return .memory(firstPiece(now, limits.pieceBytes), whole: now.reserve > 0)
  }

  /// The memory that `need` asked for. Of a write: the part of it that its payload has to be put into.
  @discardableResult
  public mutating func take(memory: PayloadRef) -> PayloadRef? {
    guard case .memory(let wanted, let whole) = need, let now = cut else {
      preconditionFailure("no memory was asked for")
    }
    precondition(
      memory.bytes == wanted || (!whole && memory.bytes >= 4096 && memory.bytes < wanted), "too little memory")
    var part = memory
    // A piece cut short ends where a block of the bitmap does.
    if part.bytes < wanted { part.bytes -= UInt32(truncatingIfNeeded: now.offset + UInt64(part.bytes)) & 4095 }
    makePiece(now, bytes: part.bytes, memory: part)
    advance()
    return receiving == nil ? nil : part
  }

  /// There is no memory now, and none of this client's is on its way out. True: `need` has become another. A read whose
  /// pieces are held until all are there would wait for ever while others hold the rest: its pieces are sent as they come.
  public mutating func memoryIsShort() -> Bool {
    guard let now = cut, now.reserve > 0, requests.count == 1, outbox.isEmpty else { return false }
    isStreaming = true
    requests[now.request].style = .streamed
    cut?.reserve = 0
    sendOldest(now.request)
    return true
  }

  private func hasRoom(for now: Cut) -> Bool {
    guard pieces.hasRoom, !isStreaming || requests.count == 1 else { return false }
    guard movesData(now) else { return true }
    let held = pieceBytes + outbox.payloadBytes
    if now.reserve > 0, now.reserve == now.left {
      let count = Int(now.reserve / limits.pieceBytes) + 2
      return pieces.room >= count && held + UInt64(now.reserve) <= UInt64(limits.payloadBytes)
    }
    return held == 0 || held + UInt64(firstPiece(now, limits.pieceBytes)) <= UInt64(limits.payloadBytes)
  }

  /// Bytes up to the next multiple of `unit`.
  private func firstPiece(_ now: Cut, _ unit: UInt32) -> UInt32 {
    min(now.left, unit - UInt32(truncatingIfNeeded: now.offset & UInt64(unit - 1)))
  }

  private mutating func makePiece(_ now: Cut, bytes: UInt32, memory: PayloadRef?) {
    let id = now.request
    let command = requests[id].command
    let range = BlockRange(Sector(now.offset >> 9), SectorCount(bytes: UInt64(bytes)))
    let piece = pieces.insert(
      Piece(
        request: id, range: range, payloadBytes: memory?.bytes ?? 0, state: command == .write ? .receiving : .asked))
    let ticket = Ticket(piece, client: client)
    let fua = requests[id].has(CommandFlags.fua)
    pieceBytes += UInt64(memory?.bytes ?? 0)
    requests[id].outstanding += 1
    if command != .write { tickets += 1 }
    switch command {
    case .read:
      guard let memory else { preconditionFailure("a read without memory") }
      if requests[id].style != .chunks { link(piece, to: id) }
      wishes.append(.read(ticket, range, memory))
    case .write: receiving = piece
    case .flush: wishes.append(.flush(ticket))
    case .trim: wishes.append(.trim(ticket, range, fua: fua))
    case .writeZeroes:
      wishes.append(
        .zero(
          ticket, range, mayUnmap: !requests[id].has(CommandFlags.noHole), fua: fua,
          fast: requests[id].has(CommandFlags.fastZero)))
    case .blockStatus: wishes.append(.locate(ticket, range))
    case .disconnect, .cache: preconditionFailure("a request that needs no piece")
    }
    var rest = now
    rest.offset += UInt64(bytes)
    rest.left -= bytes
    if rest.left > 0 {
      cut = rest
    } else {
      cut = nil
      requests[id].isBeingCut = false
    }
  }

  private mutating func link(_ piece: SlotID, to id: SlotID) {
    if requests[id].newest == 0 {
      requests[id].oldest = piece.raw
    } else {
      pieces[SlotID(raw: requests[id].newest)].next = piece.raw
    }
    requests[id].newest = piece.raw
  }

  private mutating func stopCutting(_ id: SlotID) {
    cut = nil
    requests[id].isBeingCut = false
    finishIfDone(id)
  }

  // MARK: Answers

  /// The engine's answer to `ticket`. A read without fault brings its payload; a `locate` without a map means data everywhere.
  public mutating func answered(
    _ ticket: Ticket, fault: NBDError? = nil, payload: PayloadRef? = nil, map: AllocationMap? = nil
  ) {
    precondition(ticket.client == client, "an answer for another session")
    let piece = ticket.slot
    precondition(pieces[piece].state == .asked, "a ticket was answered twice")
    let id = pieces[piece].request
    let isRead = requests[id].command == .read
    precondition((payload != nil) == (isRead && fault == nil), "payload comes with a read that succeeded, only")
    if let payload { precondition(UInt64(payload.bytes) == pieces[piece].range.bytes, "payload of another length") }
    tickets -= 1
    requests[id].outstanding -= 1
    if let fault, requests[id].fault == nil { requests[id].fault = meant(fault, requests[id]) }
    if isClosed {
      if let payload { wishes.append(.giveBack(payload)) }
      drop(piece)
      forgetIfDone(id)
      return
    }
    if isRead {
      readAnswered(id, piece, fault, payload)
    } else if requests[id].command == .blockStatus {
      drop(piece)
      if requests[id].fault == nil { putStatus(requests[id], map) }
    } else {
      drop(piece)
    }
    if !isClosed {
      finishIfDone(id)
      advance()
    }
  }

  /// Two errors have a meaning only where the client asked for it.
  private func meant(_ fault: NBDError, _ request: Request) -> NBDError {
    switch fault {
    case .notSupported: request.has(CommandFlags.fastZero) ? fault : .io
    case .overflow: .io
    default: fault
    }
  }

  private mutating func readAnswered(_ id: SlotID, _ piece: SlotID, _ fault: NBDError?, _ payload: PayloadRef?) {
    if requests[id].style == .chunks {
      putChunk(id, pieces[piece].range, fault, payload)
      drop(piece)
      return
    }
    pieces[piece].payload = payload
    pieces[piece].state = fault == nil ? .held : .failed
    if requests[id].style == .streamed {
      if requests[id].fault == nil {
        sendOldest(id)
      } else if requests[id].hasBegun {
        hangUp(.lateReadFault)
        abandon()
      }
    }
  }

  private mutating func putChunk(_ id: SlotID, _ range: BlockRange, _ fault: NBDError?, _ payload: PayloadRef?) {
    let request = requests[id]
    // After a fault nothing more is cut, so the last piece that is out makes the last chunk.
    let isLast = request.outstanding == 0 && (!request.isBeingCut || request.fault != nil)
    if let payload {
      var reply = Reply(
        DataChunk(cookie: request.cookie, offset: range.start.bytes, dataBytes: payload.bytes, done: isLast))
      reply.payload = payload
      outbox.put(reply)
    } else if let fault {
      outbox.put(
        ErrorOffsetChunk(
          cookie: request.cookie, error: meant(fault, request), offset: range.start.bytes, done: isLast))
    }
    if isLast { requests[id].hasBegun = true }
  }

  /// Sends the held pieces at the front of an ordered read.
  private mutating func sendOldest(_ id: SlotID) {
    while requests[id].oldest != 0 {
      let piece = SlotID(raw: requests[id].oldest)
      guard pieces[piece].state == .held, let payload = pieces[piece].payload else { return }
      var reply = requests[id].hasBegun ? Reply(payload: payload) : orderedHead(requests[id])
      reply.payload = payload
      requests[id].hasBegun = true
      outbox.put(reply)
      requests[id].oldest = pieces[piece].next
      if requests[id].oldest == 0 { requests[id].newest = 0 }
      drop(piece)
    }
  }

  private func orderedHead(_ request: Request) -> Reply {
    structuredReplies
      ? Reply(DataChunk(cookie: request.cookie, offset: request.offset, dataBytes: request.length, done: true))
      : Reply(SimpleReply(cookie: request.cookie))
  }

  private mutating func finishIfDone(_ id: SlotID) {
    guard requests.contains(id), requests[id].outstanding == 0 else { return }
    let request = requests[id]
    if request.isBeingCut {
      guard request.fault != nil, request.command != .write, let now = cut, now.request == id else { return }
      cut = nil
    }
    if request.command == .read {
      if let fault = request.fault {
        if !request.hasBegun {
          giveBackHeld(id)
          putError(request.cookie, fault, asChunk: structuredReplies)
        }
      } else if request.style != .chunks {
        sendOldest(id)
      }
    } else if request.command == .blockStatus {
      if request.fault != nil { putError(request.cookie, request.fault, asChunk: true) }
    } else {
      putError(request.cookie, request.fault, asChunk: false)
    }
    isStreaming = isStreaming && !(request.command == .read && request.style == .streamed)
    requests.remove(id)
  }

  /// A reply without data; no error means success.
  mutating func putError(_ cookie: UInt64, _ error: NBDError?, asChunk: Bool) {
    if asChunk, let error {
      outbox.put(ErrorChunk(cookie: cookie, error: error))
    } else {
      outbox.put(SimpleReply(cookie: cookie, error: error))
    }
  }

  /// What is known from the front of the range on, as far as one answer goes.
  private mutating func putStatus(_ request: Request, _ map: AllocationMap?) {
    var known = AllocationMap(at: request.offset)
    if let map, map.start == request.offset, map.count > 0, map.end <= request.offset + UInt64(request.length) {
      known = map
    } else {
      known.extend(.data, to: request.offset + UInt64(request.length), isLast: true)
    }
    let count = request.has(CommandFlags.reqOne) ? 1 : known.count
    var reply = Reply(StatusHead(cookie: request.cookie, extents: count))
    for i in 0..<count {
      if reply.headBytes + StatusExtent.bytes > Reply.room {
        outbox.put(reply)
        reply = Reply()
      }
      var extent = StatusExtent(known[i])
      reply.append(&extent)
    }
    outbox.put(reply)
  }

  private mutating func giveBackHeld(_ id: SlotID) {
    while requests[id].oldest != 0 {
      let piece = SlotID(raw: requests[id].oldest)
      requests[id].oldest = pieces[piece].next
      if let payload = pieces[piece].payload { wishes.append(.giveBack(payload)) }
      drop(piece)
    }
    requests[id].newest = 0
  }

  private mutating func drop(_ piece: SlotID) {
    pieceBytes -= UInt64(pieces[piece].payloadBytes)
    pieces.remove(piece)
  }

  // MARK: The end

  /// Forgets everything that needs no answer any more. Wishes already queued stay: their answers are awaited.
  mutating func abandon() {
    cut = nil
    if let piece = receiving {
      receiving = nil
      requests[pieces[piece].request].outstanding -= 1
      drop(piece)
    }
    var at = 0
    while let piece = pieces.next(from: at) {
      at = piece.index + 1
      guard pieces[piece].state != .asked else { continue }
      if let payload = pieces[piece].payload { wishes.append(.giveBack(payload)) }
      drop(piece)
    }
    at = 0
    while let id = requests.next(from: at) {
      at = id.index + 1
      requests[id].isBeingCut = false
      forgetIfDone(id)
    }
  }

  private mutating func forgetIfDone(_ id: SlotID) {
    if requests[id].outstanding == 0 { requests.remove(id) }
  }
}
