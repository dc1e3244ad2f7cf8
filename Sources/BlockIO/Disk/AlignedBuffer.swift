// Memory that direct I/O accepts, outside the pool: for start-up, metadata and the admin program.

import Base

public struct AlignedBuffer: ~Copyable {
  public let bytes: UnsafeMutableRawBufferPointer

  /// Zeroed, page aligned.
  public init(count: Int) {
    precondition(count > 0, "a buffer needs a size")
    bytes = .allocate(byteCount: count, alignment: 4096)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
  }

  deinit { bytes.deallocate() }

  public var pointer: UnsafeMutableRawPointer { bytes.baseAddress! }
  public var count: Int { bytes.count }
}
