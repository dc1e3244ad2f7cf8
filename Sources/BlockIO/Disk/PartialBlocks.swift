// Requests that cover a block of a disk only in part (a 512-byte write to a disk with 4096-byte blocks): whole blocks are read
// into a buffer, changed and written. Laws: two of them never change the same block at the same time; memory for them is
// bounded, and those that find none wait in their order. Two requests of which one covers whole blocks only overlap in their
// own ranges, or not at all: their order is the caller's business, as with any other disk.

import Base
import CURing
import Glibc

/// A request of the caller, and how far it has come.
struct PartialRequest {
  /// What the kernel has to be asked for next.
  enum Errand {
    case read(at: UInt64, into: UnsafeMutableRawPointer, bytes: UInt64)
    case write(at: UInt64, from: UnsafeMutableRawPointer, bytes: UInt64)
    /// Whole blocks in the middle of a discard or of zeroes.
    case clear(at: UInt64, bytes: UInt64)
  }

  let id: UInt64
  let operation: DiskFault.Operation
  let file: RingFile
  let block: UInt64
  let offset: UInt64
  let bytes: UInt64
  let durable: Bool
  /// A discard, or zeroes that may give the room back.
  let unmap: Bool
  /// Nil: zeroes.
  let pointer: UnsafeMutableRawPointer?
  private var part = 0
  private var step = 0

  init(
    id: UInt64, operation: DiskFault.Operation, file: RingFile, block: UInt32, offset: UInt64, bytes: UInt64,
    durable: Bool, unmap: Bool, pointer: UnsafeMutableRawPointer?
  ) {
    self.id = id
    self.operation = operation
    self.file = file
    self.block = UInt64(block)
    self.offset = offset
    self.bytes = bytes
    self.durable = durable
    self.unmap = unmap
    self.pointer = pointer
  }

  private var end: UInt64 { offset + bytes }
  private func down(_ byte: UInt64) -> UInt64 { byte & ~(block - 1) }
  private func up(_ byte: UInt64) -> UInt64 { down(byte + block - 1) }

  /// Another must not be under way while this one is.
  func excludes(_ other: PartialRequest) -> Bool {
    operation != .read && other.operation != .read && file == other.file && down(offset) < other.up(other.end)
      && other.down(other.offset) < up(end)
  }

  /// Bytes go through the buffer as a whole. Of zeroes only the two ends do, if there are whole blocks between them.
  private func bounds(of part: Int) -> (from: UInt64, to: UInt64) {
    guard pointer == nil, up(offset) < down(end) else { return part == 0 ? (offset, end) : (end, end) }
    switch part {
    case 0: return (offset, up(offset))
    case 1: return (up(offset), down(end))
    default: return (down(end), end)
    }
  }

  /// The next errand; nil when there is none left.
  mutating func next(_ buffer: UnsafeMutableRawPointer) -> Errand? {
    while part < 3 {
      let (from, to) = bounds(of: part)
      if from < to, let errand = next(from, to, buffer) { return errand }
      part += 1
      step = 0
    }
    return nil
  }

  private mutating func next(_ from: UInt64, _ to: UInt64, _ buffer: UnsafeMutableRawPointer) -> Errand? {
    let start = down(from)
    let stop = up(to)
    let last = stop - block
    step += 1
    if operation == .read {
      if step == 1 { return .read(at: start, into: buffer, bytes: stop - start) }
      if let pointer { memcpy(pointer, buffer + Int(from - start), Int(to - from)) }
      return nil
    }
    if from == start, to == stop { return step == 1 ? .clear(at: start, bytes: stop - start) : nil }
    if step == 1 {
      if from > start { return .read(at: start, into: buffer, bytes: block) }
      step = 2
    }
    if step == 2 {
      if to < stop, last > start || from == start {
        return .read(at: last, into: buffer + Int(last - start), bytes: block)
      }
      step = 3
    }
    guard step == 3 else { return nil }
    if let pointer {
      memcpy(buffer + Int(from - start), pointer, Int(to - from))
    } else {
      memset(buffer + Int(from - start), 0, Int(to - from))
    }
    return .write(at: start, from: buffer, bytes: stop - start)
  }
}

/// Those under way, each with its buffer, and those that wait.
struct PartialBlocks: ~Copyable {
  /// Under way at once: 1 MiB and two blocks of memory each, once it was needed.
  static let atOnce = 8
  static let longest: UInt64 = 1 << 20
  private static let bufferBytes = Int(longest) + 2 * 4096

  private var active: [PartialRequest?] = Array(repeating: nil, count: PartialBlocks.atOnce)
  private var buffers: [UnsafeMutableRawPointer?] = Array(repeating: nil, count: PartialBlocks.atOnce)
  private var waiting = Queue<PartialRequest>(capacity: 8)

  deinit { for case let buffer? in buffers { buffer.deallocate() } }

  var waitingCount: Int { waiting.count }

  mutating func add(_ request: PartialRequest) { waiting.append(request) }

  /// The place of the oldest that waits, when it can begin now.
  mutating func begin() -> Int? {
    guard let first = waiting.first, let place = active.firstIndex(where: { $0 == nil }) else { return nil }
    for case let other? in active where other.excludes(first) { return nil }
    _ = waiting.popFirst()
    active[place] = first
    if buffers[place] == nil {
      buffers[place] = .allocate(byteCount: PartialBlocks.bufferBytes, alignment: 4096)
    }
    return place
  }

  subscript(_ place: Int) -> PartialRequest {
    guard let request = active[place] else { preconditionFailure("no partial request here") }
    return request
  }

  mutating func next(_ place: Int) -> PartialRequest.Errand? {
    guard var request = active[place], let buffer = buffers[place] else {
      preconditionFailure("no partial request here")
    }
    let errand = request.next(buffer)
    active[place] = request
    return errand
  }

  mutating func end(_ place: Int) -> PartialRequest {
    guard let request = active[place].take() else { preconditionFailure("no partial request here") }
    return request
  }
}
