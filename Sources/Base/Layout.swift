// A byte layout is declared once, as a function that visits its fields in order. A reader, a writer and a sizer walk
// the same function, so encoding and decoding cannot disagree.

/// Visits fields in order. All integers are big endian unless the call says otherwise.
public protocol LayoutWalk: ~Copyable, ~Escapable {
  mutating func u8(_ field: inout UInt8)
  mutating func u16(_ field: inout UInt16)
  mutating func u32(_ field: inout UInt32)
  mutating func u64(_ field: inout UInt64)
  /// A handle of the sender: its bytes are copied, never interpreted (stored in native order).
  mutating func opaque32(_ field: inout UInt32)
  mutating func opaque64(_ field: inout UInt64)
  /// `count` bytes that are ignored on reading and zero on writing.
  mutating func pad(_ count: Int)
}

public protocol Layout {
  init()
  mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W)
}

/// Bytes too few for the layout.
public struct ShortLayout: Error, Equatable {}

/// Reads fields from the front of bytes it does not own. Running short is remembered, not trapped: check `short`.
public struct LayoutReader: LayoutWalk, ~Copyable, ~Escapable {
  private let bytes: RawSpan
  public private(set) var offset: Int
  public private(set) var short = false

  @_lifetime(copy bytes)
  public init(_ bytes: RawSpan, at offset: Int = 0) {
    self.bytes = bytes
    self.offset = offset
  }

  private mutating func take(_ count: Int) -> Int? {
    guard !short, offset + count <= bytes.byteCount else {
      short = true
      return nil
    }
    defer { offset += count }
    return offset
  }

  public mutating func u8(_ field: inout UInt8) {
    if let at = take(1) { field = bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt8.self) }
  }
  public mutating func u16(_ field: inout UInt16) {
    if let at = take(2) { field = UInt16(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt16.self)) }
  }
  public mutating func u32(_ field: inout UInt32) {
    if let at = take(4) { field = UInt32(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt32.self)) }
  }
  public mutating func u64(_ field: inout UInt64) {
    if let at = take(8) { field = UInt64(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt64.self)) }
  }
  public mutating func opaque32(_ field: inout UInt32) {
    if let at = take(4) { field = bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt32.self) }
  }
  public mutating func opaque64(_ field: inout UInt64) {
    if let at = take(8) { field = bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt64.self) }
  }
  public mutating func pad(_ count: Int) { _ = take(count) }
}

/// Writes fields to memory the caller has sized with `LayoutSizer` or knows to be large enough.
public struct LayoutWriter: LayoutWalk, ~Copyable {
  private let base: UnsafeMutableRawBufferPointer
  public private(set) var offset: Int

  public init(_ base: UnsafeMutableRawBufferPointer, at offset: Int = 0) {
    self.base = base
    self.offset = offset
  }

  private mutating func put<T: FixedWidthInteger>(_ value: T) {
    let size = MemoryLayout<T>.size
    precondition(offset + size <= base.count, "layout does not fit")
    base.storeBytes(of: value, toByteOffset: offset, as: T.self)
    offset += size
  }

  public mutating func u8(_ field: inout UInt8) { put(field) }
  public mutating func u16(_ field: inout UInt16) { put(field.bigEndian) }
  public mutating func u32(_ field: inout UInt32) { put(field.bigEndian) }
  public mutating func u64(_ field: inout UInt64) { put(field.bigEndian) }
  public mutating func opaque32(_ field: inout UInt32) { put(field) }
  public mutating func opaque64(_ field: inout UInt64) { put(field) }
  public mutating func pad(_ count: Int) { for _ in 0..<count { put(UInt8(0)) } }
}

/// Adds up the size of a layout.
public struct LayoutSizer: LayoutWalk, ~Copyable {
  public private(set) var size = 0
  public init() {}
  public mutating func u8(_ field: inout UInt8) { size += 1 }
  public mutating func u16(_ field: inout UInt16) { size += 2 }
  public mutating func u32(_ field: inout UInt32) { size += 4 }
  public mutating func u64(_ field: inout UInt64) { size += 8 }
  public mutating func opaque32(_ field: inout UInt32) { size += 4 }
  public mutating func opaque64(_ field: inout UInt64) { size += 8 }
  public mutating func pad(_ count: Int) { size += count }
}

extension Layout {
  /// Size in bytes.
  public static var size: Int {
    var value = Self()
    var sizer = LayoutSizer()
    value.fields(&sizer)
    return sizer.size
  }

  /// Reads from the front of `bytes`; bytes beyond the layout are left alone.
  public init(reading bytes: RawSpan, at offset: Int = 0) throws(ShortLayout) {
    self.init()
    var reader = LayoutReader(bytes, at: offset)
    fields(&reader)
    if reader.short { throw ShortLayout() }
  }

  /// Writes at `offset`; returns the offset behind the last byte written.
  @discardableResult
  public func write(to base: UnsafeMutableRawBufferPointer, at offset: Int = 0) -> Int {
    var copy = self
    var writer = LayoutWriter(base, at: offset)
    copy.fields(&writer)
    return writer.offset
  }
}
