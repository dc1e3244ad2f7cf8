// A disk request that failed: what, where, and the kernel's error number. Travels as a value; the sentence is made only
// when somebody reads it.

public struct DiskFault: Error, Hashable, Sendable {
  public enum Operation: UInt8, Sendable {
    case read, write, flush, discard, zero
  }

  public var operation: Operation
  /// EIO too when the device moved fewer bytes than asked for and then none.
  public var error: Errno
  public var offset: UInt64
  public var bytes: UInt64

  public init(_ operation: Operation, _ error: Errno, offset: UInt64, bytes: UInt64) {
    self.operation = operation
    self.error = error
    self.offset = offset
    self.bytes = bytes
  }

  public var text: String {
    operation == .flush
      ? "flush failed: \(error)" : "\(operation) of \(bytes) bytes at byte \(offset) failed: \(error)"
  }
}
