// Payload bytes never enter the engine: it passes names of bytes around. The bytes themselves lie in the pool
// (BlockIO), are received once, and are written and sent from where they lie.

/// Names bytes in the pool: a run of whole 4 KiB pages of which the first `bytes` are used. Copying it copies no byte.
public struct PayloadRef: Hashable, Sendable {
  /// First 4 KiB page of the run, counted from the start of the pool.
  public var page: UInt32
  /// Bytes used, 1...1 MiB.
  public var bytes: UInt32
  public init(page: UInt32, bytes: UInt32) {
    self.page = page
    self.bytes = bytes
  }
}
