// Bytes of one socket in, packets out: the one parser that daemon and simulator share. It keeps no bytes; the caller
// offers the front of what has arrived and drops what was consumed. Law: a length is checked against the packet table
// before a single field behind the header is read, and a packet of the hot path (data, acks, requests, barriers) is
// read without allocating.
import Base

public struct PacketStream: Equatable, Sendable {
  /// Agreed version; 80 before agreement.
  public var version: UInt32
  public var features: FeatureFlags
  public var socket: SocketKind
  /// Bytes of the peer's integrity digest in front of every payload; 0 = none. Belongs to this direction only (3.3).
  public var integrityDigestSize: Int
  /// The digest that the payloads of this node's packets carry. Known to whoever writes the stream.
  public var sends: DigestName?
  /// The digest that is to be checked on the peer's payloads.
  public private(set) var receives: DigestName?

  /// The caller's buffer must hold this much: no packet without its payload is longer.
  public static let longestFront = PacketRow.longestBufferedPacket

  public init(
    socket: SocketKind, version: UInt32 = HeaderKind.versionBeforeAgreement, features: FeatureFlags = [],
    integrityDigestSize: Int = 0
  ) {
    precondition((0...64).contains(integrityDigestSize), "no digest is that long")
    self.version = version
    self.features = features
    self.socket = socket
    self.integrityDigestSize = integrityDigestSize
  }

  /// The same stream with digests in front of payloads; each direction has its own.
  public func protected(sends: DigestName?, receives: DigestName?) -> PacketStream {
    var stream = self
    stream.sends = sends
    stream.receives = receives
    stream.integrityDigestSize = receives?.size ?? 0
    return stream
  }

  public enum Step: Equatable, Sendable {
    /// Total bytes needed from the front before another attempt makes sense.
    case more(Int)
    /// `payload` bytes of block payload follow the `consumed` ones on the stream.
    case packet(Packet, volume: UInt16, consumed: Int, payload: Int)
  }

  /// Reads the packet at the front of `bytes`.
  public func next(_ bytes: RawSpan) throws(ProtocolViolation) -> Step {
    let headerSize = HeaderKind.size(version: version)
    guard bytes.byteCount >= headerSize else { return .more(headerSize) }
    let header = try PacketHeader(reading: bytes, version: version, socket: socket)
    guard let code = PacketCode(rawValue: header.command) else {
      throw .unknownPacket(code: header.command, on: socket)
    }
    let row = code.row
    guard admits(row, header) else { throw refusal(code, row) }
    let front = try frontLength(code, row, header.length)
    guard bytes.byteCount >= headerSize + front else { return .more(headerSize + front) }
    let body = PacketBody(code: code, length: front, socket: socket)
    let packet = try body.packet(
      from: bytes, at: headerSize, version: version, features: features, integrityDigest: integrityDigestSize)
    return .packet(packet, volume: header.volume, consumed: headerSize + front, payload: header.length - front)
  }

  private func admits(_ row: PacketRow, _ header: PacketHeader) -> Bool {
    let agreed = version > HeaderKind.versionBeforeAgreement
    switch row.place {
    case .first: return socket == .undecided
    case .handshake: return socket == .data && !agreed
    case .data: guard socket == .data else { return false }
    case .meta: guard socket == .meta else { return false }
    case .both: guard socket != .undecided else { return false }
    }
    return agreed && row.versions.contains(version) && row.needs.isSubset(of: features)
  }

  /// Packets of DRBD 9 that a kernel 8.4 does not know are unknown here too, except where they are skipped.
  private func refusal(_ code: PacketCode, _ row: PacketRow) -> ProtocolViolation {
    switch code {
    case .enableReplication, .enableReplicationNext: .unknownPacket(code: code.rawValue, on: socket)
    default: .unexpectedPacket(packet: row.name.description, on: socket)
    }
  }

  /// Length of the packet without its payload, after `length` has been found legal.
  private func frontLength(_ code: PacketCode, _ row: PacketRow, _ length: Int) throws(ProtocolViolation) -> Int {
    let rest = row.restLengths(version: version, features: features, integrityDigest: integrityDigestSize)
    let shortest = row.fixed + rest.lowerBound
    guard length >= shortest else {
      throw .wrongLength(packet: row.name.description, length: length, on: socket)
    }
    switch row.rest {
    case .block:
      let payload = length - shortest
      let limit = PacketRow.longestBlock(version: version)
      guard payload <= limit else {
        throw .tooLong(packet: row.name.description, length: payload, limit: limit, on: socket)
      }
      guard payload % 512 == 0, payload > 0 || code == .data else {
        throw .badField(packet: row.name.description, problem: "a payload of \(payload) bytes", on: socket)
      }
      return shortest
    case .bitmapWords, .bitmapCode:
      guard length <= rest.upperBound else {
        throw .tooLong(packet: row.name.description, length: length, limit: rest.upperBound, on: socket)
      }
      return length
    default:
      guard length <= row.fixed + rest.upperBound else {
        throw .wrongLength(packet: row.name.description, length: length, on: socket)
      }
      return length
    }
  }
}
