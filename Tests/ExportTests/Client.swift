// A client, a pool and an engine in one object, so that a test reads like a conversation: bytes go in, bytes come out,
// and what the engine was asked can be answered at once or held back and answered by hand.

import Base
import Testing

@testable import Export

final class Client {
  var session: Session
  /// Bytes sent and not taken yet.
  var waiting: [UInt8] = []
  /// Bytes that came back.
  var output: [UInt8] = []
  var volume: [UInt8]
  var pool: [UInt32: [UInt8]] = [:]
  private var nextPage: UInt32 = 1
  /// When set, wishes are kept in `held` and replies stay in the session.
  var holdsWishes = false
  var holdsReplies = false
  var held: [Wish] = []
  /// Every wish, in order, but `giveBack`.
  var asked: [Wish] = []
  /// What `need` is given of the memory it asks for, in bytes; 0: there is none.
  var memory: (UInt32, Bool) -> UInt32 = { wanted, _ in wanted }
  /// Memory taken for the payload of a write.
  private var room: PayloadRef?
  /// The answer of the engine to a wish.
  var fault: (Wish) -> NBDError? = { _ in nil }
  /// What the disk knows of holes.
  var map: (BlockRange) -> AllocationMap? = { _ in nil }

  init(
    _ exports: [Export] = [Client.export()], limits: Limits = Limits(), volumeBytes: Int = 8 << 20
  ) {
    session = Session(exports: exports, client: 7, limits: limits)
    volume = [UInt8](repeating: 0, count: volumeBytes)
    pump()
  }

  static func export(
    size: UInt64 = 8 << 20, minimumBlock: UInt32 = 512, offersTrim: Bool = true, refusal: String? = nil
  ) -> Export {
    Export(
      volume: VolumeNumber(0), name: "drbd0/0", size: size, minimumBlock: minimumBlock, offersTrim: offersTrim,
      refusal: refusal)
  }

  /// A client in transmission, its output empty.
  static func inTransmission(
    _ exports: [Export] = [Client.export()], structured: Bool = true, limits: Limits = Limits(),
    volumeBytes: Int = 8 << 20
  ) -> Client {
    let client = Client(exports, limits: limits, volumeBytes: volumeBytes)
    client.send(be(UInt32(3)))
    if structured { client.send(option(8)) }
    if structured { client.send(option(10, metaQuery("", ["base:allocation"]))) }
    client.send(option(7, infoData("")))
    client.output = []
    return client
  }

  func send(_ bytes: [UInt8]) {
    waiting += bytes
    pump()
  }

  /// What the session wants, carried out as far as the bytes go.
  func pump() {
    while true {
      deliver()
      switch session.need {
      case .bytes:
        let taken = session.receive(waiting.span.bytes)
        if taken == 0 {
          deliver()
          return
        }
        waiting.removeFirst(taken)
      case .memory(let wanted, let whole):
        let bytes = memory(wanted, whole)
        if bytes > 0 {
          room = session.take(memory: store([UInt8](repeating: 0, count: Int(bytes))))
        } else if !session.memoryIsShort() {
          let before = (output.count, asked.count)
          deliver()
          if before == (output.count, asked.count) { return }
        }
      case .payload(_, let range):
        guard waiting.count >= Int(range.bytes), let payload = room else { return }
        pool[payload.page] = Array(waiting.prefix(Int(range.bytes)))
        waiting.removeFirst(Int(range.bytes))
        room = nil
        session.received(payload: payload)
      case .drain(let left):
        let count = min(waiting.count, Int(left))
        if count == 0 { return }
        waiting.removeFirst(count)
        session.drained(UInt32(count))
      case .pause:
        let before = (output.count, asked.count)
        deliver()
        if session.need == .pause, before == (output.count, asked.count) { return }
      case .hangUp:
        return
      }
    }
  }

  private func deliver() {
    while true {
      var moved = false
      while let wish = session.nextWish() {
        moved = true
        if case .giveBack(let payload) = wish {
          giveBack(payload)
          continue
        }
        asked.append(wish)
        if holdsWishes { held.append(wish) } else { answer(wish) }
      }
      if !holdsReplies { moved = takeReplies() || moved }
      if !moved { return }
    }
  }

  @discardableResult
  func takeReplies() -> Bool {
    var moved = false
    while let reply = session.nextReply() {
      moved = true
      var head = [UInt8](repeating: 0, count: Reply.room)
      let count = head.withUnsafeMutableBytes { reply.copyHead(to: $0) }
      output += head.prefix(count)
      if let payload = reply.payload {
        output += pool[payload.page] ?? []
        giveBack(payload)
      }
    }
    return moved
  }

  /// Carries out a wish on the volume and answers it, unless `fault` says otherwise.
  func answer(_ wish: Wish) {
    if let error = fault(wish) {
      switch wish {
      case .write(_, _, let payload, _), .read(_, _, let payload): giveBack(payload)
      default: break
      }
      session.answered(wish.ticket, fault: error)
      return
    }
    switch wish {
    case .read(let ticket, let range, let payload):
      let start = Int(range.start.bytes)
      pool[payload.page] = Array(volume[start..<start + Int(range.bytes)])
      session.answered(ticket, payload: payload)
    case .write(let ticket, let range, let payload, _):
      let start = Int(range.start.bytes)
      volume.replaceSubrange(start..<start + Int(range.bytes), with: pool[payload.page] ?? [])
      giveBack(payload)
      session.answered(ticket)
    case .zero(let ticket, let range, _, _, _):
      let start = Int(range.start.bytes)
      for i in start..<start + Int(range.bytes) { volume[i] = 0 }
      session.answered(ticket)
    case .flush(let ticket), .trim(let ticket, _, _):
      session.answered(ticket)
    case .locate(let ticket, let range): session.answered(ticket, map: map(range))
    case .giveBack(let payload):
      giveBack(payload)
    }
  }

  /// Answers the oldest wish held back.
  func answerNext() {
    answer(held.removeFirst())
    pump()
  }

  func store(_ bytes: [UInt8]) -> PayloadRef {
    defer { nextPage += 1 }
    pool[nextPage] = bytes
    return PayloadRef(page: nextPage, bytes: UInt32(bytes.count))
  }

  private func giveBack(_ payload: PayloadRef) {
    #expect(pool.removeValue(forKey: payload.page) != nil, "payload given back twice")
  }

  var need: Need { session.need }

  /// The client is gone, with what it was sending.
  func close() {
    session.close()
    if let payload = room { giveBack(payload) }
    room = nil
  }
  var volumeInUse: VolumeNumber? { session.volume }
  /// Idle, and not a byte of payload anywhere.
  var isClean: Bool {
    session.isIdle && pool.isEmpty && session.pieceBytes == 0 && session.requests.isEmpty && session.pieces.isEmpty
  }

  func takeOutput() -> [UInt8] {
    defer { output = [] }
    return output
  }
}

extension Wish {
  var ticket: Ticket {
    switch self {
    case .read(let ticket, _, _), .write(let ticket, _, _, _), .flush(let ticket), .trim(let ticket, _, _),
      .zero(let ticket, _, _, _, _), .locate(let ticket, _):
      ticket
    case .giveBack: Ticket(raw: 0)
    }
  }

  var range: BlockRange? {
    switch self {
    case .read(_, let range, _), .write(_, let range, _, _), .trim(_, let range, _), .zero(_, let range, _, _, _),
      .locate(_, let range):
      range
    case .flush, .giveBack: nil
    }
  }
}

// MARK: Bytes by hand

func be<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }

func option(_ number: UInt32, _ data: [UInt8] = []) -> [UInt8] {
  be(UInt64(0x4948_4156_454f_5054)) + be(number) + be(UInt32(data.count)) + data
}

func text(_ text: String) -> [UInt8] { be(UInt32(text.utf8.count)) + Array(text.utf8) }

func infoData(_ name: String, _ wants: [UInt16] = []) -> [UInt8] {
  text(name) + be(UInt16(wants.count)) + wants.flatMap { be($0) }
}

func metaQuery(_ name: String, _ queries: [String]) -> [UInt8] {
  text(name) + be(UInt32(queries.count)) + queries.flatMap { text($0) }
}

func request(
  _ type: UInt16, offset: UInt64 = 0, length: UInt32 = 0, flags: UInt16 = 0, cookie: UInt64 = 0x1122_3344_5566_7788
) -> [UInt8] {
  be(UInt32(0x2560_9513)) + be(flags) + be(type) + be(cookie) + be(offset) + be(length)
}

func simple(_ error: UInt32 = 0, cookie: UInt64 = 0x1122_3344_5566_7788) -> [UInt8] {
  be(UInt32(0x6744_6698)) + be(error) + be(cookie)
}

func chunk(_ type: UInt16, _ data: [UInt8], done: Bool = true, cookie: UInt64 = 0x1122_3344_5566_7788) -> [UInt8] {
  be(UInt32(0x668e_33ef)) + be(UInt16(done ? 1 : 0)) + be(type) + be(cookie) + be(UInt32(data.count)) + data
}

/// Bytes that differ everywhere.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
  var generator = SeededGenerator(seed: seed)
  var bytes: [UInt8] = []
  bytes.reserveCapacity(count + 8)
  while bytes.count < count { bytes += be(generator.next()) }
  return Array(bytes.prefix(count))
}

/// An option reply as a client reads it.
struct OptionAnswer: Equatable {
  var option: UInt32
  var type: UInt32
  var data: [UInt8]
  var text: String { String(decoding: data, as: UTF8.self) }
}

/// Parses a stream of option replies; nil when it is not one.
func optionAnswers(_ bytes: [UInt8]) -> [OptionAnswer]? {
  var answers: [OptionAnswer] = []
  var at = 0
  func take<T: FixedWidthInteger>(_: T.Type) -> T {
    defer { at += MemoryLayout<T>.size }
    return bytes[at..<at + MemoryLayout<T>.size].reduce(0) { $0 << 8 | T(truncatingIfNeeded: $1) }
  }
  while at < bytes.count {
    guard bytes.count - at >= 20, take(UInt64.self) == 0x3_e889_0455_65a9 else { return nil }
    let option = take(UInt32.self)
    let type = take(UInt32.self)
    let length = Int(take(UInt32.self))
    guard bytes.count - at >= length else { return nil }
    answers.append(OptionAnswer(option: option, type: type, data: Array(bytes[at..<at + length])))
    at += length
  }
  return answers
}
