// What waits to be sent on one socket: short heads, encoded here, each with the payload that follows it. One send is under
// way at a time and gathers as many as fit; a short one is continued from where it stopped. Laws: bytes leave in the order
// in which they were put; a head stays where it is until it has left; nothing is allocated once the queue has been as long
// before.
import Base
import BlockIO
import Engine

struct SendQueue: ~Copyable {
  struct Entry {
    var head: UnsafeMutableRawPointer
    var headBytes: Int
    var payload: PayloadRef?
    /// Whom to tell when the bytes have left.
    var notify: WorkID?
    var isAnswer: Bool
    var bytes: Int { headBytes + Int(payload?.bytes ?? 0) }
  }

  struct Chunk {
    var base: UnsafeMutableRawPointer
    var used = 0
    var left = 0
  }

  private let chunkBytes: Int
  private var chunks: Queue<Chunk>
  private var spare: Queue<UnsafeMutableRawPointer>
  private var entries: Queue<Entry>
  private var message = Message()
  /// Bytes of the first entry that have left.
  private var begun = 0
  private(set) var isSending = false
  /// Bytes of answers that have not left.
  private(set) var answerBytes = 0

  init(chunkBytes: Int = 64 << 10, entries: Int = 64) {
    self.chunkBytes = chunkBytes
    self.entries = Queue(capacity: entries)
    chunks = Queue(capacity: 4)
    spare = Queue(capacity: 4)
  }

  deinit {
    for i in 0..<chunks.count { chunks[i].base.deallocate() }
    for i in 0..<spare.count { spare[i].deallocate() }
  }

  var count: Int { entries.count }
  var isEmpty: Bool { entries.isEmpty }

  /// Room for a head of up to `bytes`; what was written to it is said to `put`.
  mutating func head(_ bytes: Int) -> UnsafeMutableRawBufferPointer {
    precondition(bytes <= chunkBytes, "a head longer than a chunk")
    if chunks.isEmpty || chunks[chunks.count - 1].used + bytes > chunkBytes {
      let base = spare.popFirst() ?? .allocate(byteCount: chunkBytes, alignment: 64)
      chunks.append(Chunk(base: base))
    }
    let last = chunks.count - 1
    return UnsafeMutableRawBufferPointer(start: chunks[last].base + chunks[last].used, count: bytes)
  }

  /// Appends the head written last, `bytes` long, and what follows it. `isAnswer`: a packet of the peer has set it off, and nothing
  /// but the reader of that peer's packets keeps it from being set off again and again.
  mutating func put(headBytes: Int, payload: PayloadRef?, notify: WorkID?, isAnswer: Bool = false) {
    if isAnswer { answerBytes += headBytes }
    var place = UnsafeMutableRawPointer(bitPattern: 1)!
    if headBytes > 0 {
      let last = chunks.count - 1
      place = chunks[last].base + chunks[last].used
      chunks[last].used += headBytes
    }
    entries.append(
      Entry(head: place, headBytes: headBytes, payload: payload, notify: notify, isAnswer: isAnswer))
  }

  /// Starts a send of what waits, unless one is under way.
  mutating func submit(_ file: RingFile, _ pool: borrowing Pool, tag: Tag, _ ring: inout Ring) {
    guard !isSending, !entries.isEmpty else { return }
    message.clear()
    var skip = begun
    for i in 0..<entries.count where message.room >= 2 {
      let entry = entries[i]
      if skip < entry.headBytes {
        message.append(entry.head + skip, count: entry.headBytes - skip)
        skip = 0
      } else {
        skip -= entry.headBytes
      }
      if let payload = entry.payload {
        message.append(pool.pointer(to: payload) + skip, count: Int(payload.bytes) - skip)
        skip = 0
      }
    }
    guard !message.isEmpty else { return }
    isSending = true
    ring.send(file, from: message, tag: tag)
  }

  /// The send has ended and took this many bytes; `popSent` tells which entries have left.
  mutating func completed(_ bytes: Int) {
    precondition(isSending, "a send ended that was not begun")
    isSending = false
    begun += bytes
  }

  /// The oldest entry that has left as a whole.
  mutating func popSent() -> Entry? {
    guard let first = entries.first, begun >= first.bytes, !isSending else { return nil }
    begun -= first.bytes
    return pop()
  }

  /// For a socket that is gone: the oldest entry, sent or not.
  mutating func popUnsent() -> Entry? {
    precondition(!isSending, "entries taken from under a send")
    begun = 0
    return entries.isEmpty ? nil : pop()
  }

  private mutating func pop() -> Entry? {
    guard let entry = entries.popFirst() else { return nil }
    if entry.isAnswer { answerBytes -= entry.headBytes }
    var bytes = entry.headBytes
    while bytes > 0 {
      let taken = min(bytes, chunks[0].used - chunks[0].left)
      chunks[0].left += taken
      bytes -= taken
      if chunks[0].left == chunks[0].used {
        if chunks.count == 1 {
          // The tail starts over.
          chunks[0].left = 0
          chunks[0].used = 0
        } else if let done = chunks.popFirst() {
          spare.append(done.base)
        }
      }
    }
    return entry
  }
}
