// What goes back to the client: a short head in place and, for data of a read, the name of the bytes that follow it.
// The outbox keeps them in order; the reactor gathers many into one send. Heads of transmission are at most 34 bytes
// long, so no reply allocates; texts of the handshake are cut into several heads.

import Base

/// Bytes to send: `head[0..<headBytes]`, then the payload if there is one. Whoever sends it gives the payload back to
/// the pool afterwards.
public struct Reply: Sendable {
  public static let room = 48
  public internal(set) var head = InlineArray<48, UInt8>(repeating: 0)
  public internal(set) var headBytes = 0
  public internal(set) var payload: PayloadRef?

  init() {}
  init(payload: PayloadRef) { self.payload = payload }

  init<L: Layout>(_ layout: L) {
    var writer = layout
    append(&writer)
  }

  /// Head and payload together.
  public var bytes: Int { headBytes + Int(payload?.bytes ?? 0) }

  /// Copies the head to the front of `memory`; returns its length.
  @discardableResult
  public func copyHead(to memory: UnsafeMutableRawBufferPointer) -> Int {
    precondition(memory.count >= headBytes, "no room for the head of a reply")
    for i in 0..<headBytes { memory[i] = head[i] }
    return headBytes
  }

  mutating func append<L: Layout>(_ layout: inout L) {
    let start = headBytes
    headBytes = withUnsafeMutableBytes(of: &head) { layout.write(to: $0, at: start) }
  }
}

/// The replies of one connection, oldest first.
struct Outbox: ~Copyable {
  private var queue: Queue<Reply>
  /// Bytes of pool memory named by the replies that wait.
  private(set) var payloadBytes: UInt64 = 0
  /// The last reply may still take bytes of the handshake.
  private var open = false

  init(capacity: Int) { queue = Queue(capacity: capacity) }

  var count: Int { queue.count }
  var isEmpty: Bool { queue.isEmpty }

  mutating func put(_ reply: Reply) {
    open = false
    payloadBytes += UInt64(reply.payload?.bytes ?? 0)
    queue.append(reply)
  }

  mutating func put<L: Layout>(_ layout: L) { put(Reply(layout)) }

  mutating func pop() -> Reply? {
    guard let reply = queue.popFirst() else { return nil }
    if queue.isEmpty { open = false }
    payloadBytes -= UInt64(reply.payload?.bytes ?? 0)
    return reply
  }

  // Bytes of the handshake, one by one.

  mutating func byte(_ value: UInt8) {
    if !open || queue[queue.count - 1].headBytes == Reply.room {
      queue.append(Reply())
      open = true
    }
    let last = queue.count - 1
    queue[last].head[queue[last].headBytes] = value
    queue[last].headBytes += 1
  }

  mutating func integer<T: FixedWidthInteger>(_ value: T) {
    var shift = T.bitWidth
    while shift > 0 {
      shift -= 8
      byte(UInt8(truncatingIfNeeded: value >> T(shift)))
    }
  }

  mutating func text(_ text: String) { for unit in text.utf8 { byte(unit) } }

  /// The head of an option reply; `bytes` of data have to follow.
  mutating func option(_ option: UInt32, _ type: UInt32, bytes: Int) {
    integer(Magic.optionReply)
    integer(option)
    integer(type)
    integer(UInt32(bytes))
  }

  /// An option reply whose data is a text, or nothing.
  mutating func option(_ option: UInt32, _ type: UInt32, _ message: String = "") {
    self.option(option, type, bytes: message.utf8.count)
    text(message)
  }
}

/// NBD_SIMPLE_REPLY, 16 bytes.
struct SimpleReply: Layout {
  var magic = Magic.simpleReply
  var error: UInt32 = 0
  var cookie: UInt64 = 0
  init() {}
  init(cookie: UInt64, error: NBDError? = nil) {
    self.cookie = cookie
    self.error = error?.rawValue ?? 0
  }
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u32(&magic)
    walk.u32(&error)
    walk.opaque64(&cookie)
  }
}

/// Head of a structured reply chunk, 20 bytes; `length` bytes follow.
struct ChunkHead: Layout {
  var magic = Magic.structuredReply
  var flags: UInt16 = 0
  var type: UInt16 = 0
  var cookie: UInt64 = 0
  var length: UInt32 = 0
  init() {}
  init(_ type: UInt16, cookie: UInt64, length: UInt32, done: Bool) {
    self.type = type
    self.cookie = cookie
    self.length = length
    flags = done ? Chunk.done : 0
  }
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u32(&magic)
    walk.u16(&flags)
    walk.u16(&type)
    walk.opaque64(&cookie)
    walk.u32(&length)
  }
}

/// OFFSET_DATA: the data follow as payload.
struct DataChunk: Layout {
  var head = ChunkHead()
  var offset: UInt64 = 0
  init() {}
  init(cookie: UInt64, offset: UInt64, dataBytes: UInt32, done: Bool) {
    head = ChunkHead(Chunk.offsetData, cookie: cookie, length: 8 + dataBytes, done: done)
    self.offset = offset
  }
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    head.fields(&walk)
    walk.u64(&offset)
  }
}

/// ERROR without a text, always the last chunk of its reply.
struct ErrorChunk: Layout {
  var head = ChunkHead()
  var error: UInt32 = 0
  var messageBytes: UInt16 = 0
  init() {}
  init(cookie: UInt64, error: NBDError) {
    head = ChunkHead(Chunk.error, cookie: cookie, length: 6, done: true)
    self.error = error.rawValue
  }
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    head.fields(&walk)
    walk.u32(&error)
    walk.u16(&messageBytes)
  }
}

/// ERROR_OFFSET without a text: the piece of a read that starts at `offset` could not be read.
struct ErrorOffsetChunk: Layout {
  var head = ChunkHead()
  var error: UInt32 = 0
  var messageBytes: UInt16 = 0
  var offset: UInt64 = 0
  init() {}
  init(cookie: UInt64, error: NBDError, offset: UInt64, done: Bool) {
    head = ChunkHead(Chunk.errorOffset, cookie: cookie, length: 14, done: done)
    self.error = error.rawValue
    self.offset = offset
  }
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    head.fields(&walk)
    walk.u32(&error)
    walk.u16(&messageBytes)
    walk.u64(&offset)
  }
}

/// Head of a BLOCK_STATUS chunk; its extents follow.
struct StatusHead: Layout {
  var head = ChunkHead()
  var context = AllocationContext.id
  init() {}
  init(cookie: UInt64, extents: Int) {
    head = ChunkHead(Chunk.blockStatus, cookie: cookie, length: UInt32(4 + extents * StatusExtent.bytes), done: true)
  }
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    head.fields(&walk)
    walk.u32(&context)
  }
}

/// One extent of a BLOCK_STATUS chunk, 8 bytes.
struct StatusExtent: Layout {
  static let bytes = 8
  var length: UInt32 = 0
  var status: UInt32 = 0
  init() {}
  init(_ run: AllocationMap.Run) {
    length = UInt32(run.bytes)
    status =
      switch run.kind {
      case .data: 0
      case .zeroes: AllocationContext.zero
      case .hole: AllocationContext.zero | AllocationContext.hole
      }
  }
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u32(&length)
    walk.u32(&status)
  }
}
