// What the three headers have in common: a command, a volume and a length. Reading is strict: the wrong magic for the
// version, or anything in h100's pad, costs the connection.
import Base

public struct PacketHeader: Equatable, Sendable {
  public var kind: HeaderKind
  /// 0 where the header has no room for it.
  public var volume: UInt16
  public var command: UInt16
  /// Bytes behind the header: fixed part, variable part and payload.
  public var length: Int

  public init(kind: HeaderKind, volume: UInt16, command: UInt16, length: Int) {
    self.kind = kind
    self.volume = volume
    self.command = command
    self.length = length
  }

  /// Reads from the front of `bytes`, which must hold `HeaderKind.size(version:)` bytes at least.
  public init(reading bytes: RawSpan, version: UInt32, socket: SocketKind) throws(ProtocolViolation) {
    precondition(bytes.byteCount >= HeaderKind.size(version: version), "header read from too few bytes")
    if version >= 100 {
      let header: Header100 = bytes.layout(at: 0)
      guard header.magic == Header100.magic else { throw .wrongMagic(header.magic, on: socket) }
      guard header.mustBeZero == 0 else { throw .padNotZero(header.mustBeZero, on: socket) }
      self.init(kind: .h100, volume: header.volume, command: header.command, length: Int(header.length))
      return
    }
    let short: Header80 = bytes.layout(at: 0)
    if short.magic == Header80.magic {
      self.init(kind: .h80, volume: 0, command: short.command, length: Int(short.length))
      return
    }
    let long: Header95 = bytes.layout(at: 0)
    guard long.magic == Header95.magic, version > HeaderKind.versionBeforeAgreement else {
      throw .wrongMagic(short.magic, on: socket)
    }
    self.init(kind: .h95, volume: 0, command: long.command, length: Int(long.length))
  }

  /// Returns the offset behind the header.
  func write(to base: UnsafeMutableRawBufferPointer) -> Int {
    switch kind {
    case .h80:
      precondition(length <= Int(UInt16.max), "packet too long for an h80 header")
      return Header80(command: command, length: UInt16(length)).write(to: base)
    case .h95:
      return Header95(command: command, length: UInt32(length)).write(to: base)
    case .h100:
      return Header100(volume: volume, command: command, length: UInt32(length)).write(to: base)
    }
  }
}

extension RawSpan {
  /// A layout whose bytes are known to be there: lengths are checked once per packet, before its fields are read.
  @inline(__always)
  func layout<L: Layout>(at offset: Int) -> L {
    var value = L()
    var reader = LayoutReader(self, at: offset)
    value.fields(&reader)
    precondition(!reader.short, "layout read beyond the packet")
    return value
  }
}
