// Registered files and buffers: the kernel looks them up once instead of per request. Both are an economy only, so each
// falls back in silence to the plain way, and `isRegistered`/`buffersAreFixed` say which it was.

import Base
import CURing
import Glibc

/// A descriptor as requests name it. Does not own the descriptor.
public struct RingFile: Hashable, Sendable {
  public let descriptor: Int32
  let slot: Int32
  public init(_ descriptor: Int32) {
    self.descriptor = descriptor
    slot = -1
  }
  init(descriptor: Int32, slot: Int32) {
    self.descriptor = descriptor
    self.slot = slot
  }
  public var isRegistered: Bool { slot >= 0 }
}

struct RingFileTable: ~Copyable {
  private var free: [Int32]

  init(_ ring: UnsafeMutablePointer<io_uring>, count: Int) {
    let empty = [Int32](repeating: -1, count: count)
    let rc = count > 0 ? io_uring_register_files(ring, empty, UInt32(count)) : -EINVAL
    free = rc == 0 ? (0..<Int32(count)).reversed() : []
  }

  mutating func put(_ descriptor: Int32, _ ring: UnsafeMutablePointer<io_uring>) -> RingFile {
    guard let slot = free.last else { return RingFile(descriptor) }
    var value = descriptor
    guard io_uring_register_files_update(ring, UInt32(slot), &value, 1) == 1 else { return RingFile(descriptor) }
    free.removeLast()
    return RingFile(descriptor: descriptor, slot: slot)
  }

  mutating func remove(_ file: RingFile, _ ring: UnsafeMutablePointer<io_uring>) {
    guard file.isRegistered else { return }
    var none: Int32 = -1
    let rc = io_uring_register_files_update(ring, UInt32(file.slot), &none, 1)
    precondition(rc == 1, "a registered file could not be taken back")
    free.append(file.slot)
  }
}

extension Ring {
  /// Registers a descriptor. The kernel holds the file open until `unregister`, whatever becomes of the descriptor.
  public mutating func register(_ descriptor: Int32) -> RingFile { files.put(descriptor, ring) }

  public mutating func unregister(_ file: RingFile) { files.remove(file, ring) }

  public var buffersAreFixed: Bool { fixedBytes > 0 }

  /// Registers the pool's memory. False when too little memory may be locked: everything works then too, a bit slower.
  @discardableResult
  public mutating func register(_ pool: borrowing Pool) -> Bool {
    precondition(!buffersAreFixed, "a ring takes one pool")
    let piece = Ring.fixedPiece
    let bytes = pool.bytes
    let start = pool.base
    let vectors = stride(from: 0, to: bytes, by: piece).map {
      iovec(iov_base: start + $0, iov_len: min(piece, bytes - $0))
    }
    guard io_uring_register_buffers(ring, vectors, UInt32(vectors.count)) == 0 else { return false }
    fixedStart = UInt(bitPattern: start)
    fixedBytes = UInt(bytes)
    return true
  }

  /// The kernel's limit for one fixed buffer. A run of pool pages never crosses it, being at most 1 MiB and aligned.
  static let fixedPiece = 1 << 30

  /// Number of the fixed buffer that holds `pointer`, or nil.
  @inline(__always) func fixedBuffer(_ pointer: UnsafeRawPointer) -> Int32? {
    let distance = UInt(bitPattern: pointer) &- fixedStart
    return distance < fixedBytes ? Int32(truncatingIfNeeded: distance >> 30) : nil
  }
}
