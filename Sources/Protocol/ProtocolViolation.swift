// What a peer can do wrong on the wire. A violation costs that connection, never the process; it says which packet on
// which socket, in one sentence fit for the log, and which state the connection falls into (wire spec 11.2).
import Base

/// The two sockets of a connection. An accepted one is undecided until its first packet has told.
public enum SocketKind: Sendable, Equatable {
  case data
  case meta
  case undecided

  public var name: String {
    switch self {
    case .data: "data"
    case .meta: "meta"
    case .undecided: "new"
    }
  }
}

public enum ProtocolViolation: Error, Equatable, Sendable {
  case wrongMagic(UInt32, on: SocketKind)
  case padNotZero(UInt32, on: SocketKind)
  case unknownPacket(code: UInt16, on: SocketKind)
  /// Known, but not on this socket, in this phase, at this version or with these features.
  case unexpectedPacket(packet: String, on: SocketKind)
  /// Bytes behind the header that the packet cannot have.
  case wrongLength(packet: String, length: Int, on: SocketKind)
  /// Longer than any version allows; `limit` counts what `length` counts.
  case tooLong(packet: String, length: Int, limit: Int, on: SocketKind)
  /// Well formed, but a field has an impossible value.
  case badField(packet: String, problem: String, on: SocketKind)
  /// The payload is not the one that was sent: the digest in front of it says so.
  case wrongDigest(packet: String, sector: UInt64, on: SocketKind)

  public var socket: SocketKind {
    switch self {
    case .wrongMagic(_, let socket), .padNotZero(_, let socket), .unknownPacket(_, let socket),
      .unexpectedPacket(_, let socket), .wrongLength(_, _, let socket), .tooLong(_, _, _, let socket),
      .badField(_, _, let socket), .wrongDigest(_, _, let socket):
      socket
    }
  }
  public var onData: Bool { socket == .data }
  public var onMeta: Bool { socket == .meta }

  /// DRBD's name of the packet, where there is one.
  public var packet: String? {
    switch self {
    case .wrongMagic, .padNotZero, .unknownPacket: nil
    case .unexpectedPacket(let packet, _), .wrongLength(let packet, _, _), .tooLong(let packet, _, _, _),
      .badField(let packet, _, _), .wrongDigest(let packet, _, _):
      packet
    }
  }

  /// The state that follows. Only an unknown packet on the meta socket ends in StandAlone; all others reconnect.
  public var consequence: ConnectionState {
    switch self {
    case .unknownPacket(_, .meta), .unexpectedPacket(_, .meta): .disconnecting
    default: onData ? .protocolError : .networkFailure
    }
  }
}

extension ProtocolViolation: CustomStringConvertible {
  /// One sentence without a full stop.
  public var description: String {
    switch self {
    case .wrongMagic(let magic, let socket):
      "the peer sent something that is no DRBD header (0x\(hex(magic))) on the \(socket.name) socket"
    case .padNotZero(let pad, let socket):
      "the peer sent a header with a non-zero pad (0x\(hex(pad))) on the \(socket.name) socket"
    case .unknownPacket(let code, let socket):
      "the peer sent the unknown packet 0x\(hex(code)) on the \(socket.name) socket"
    case .unexpectedPacket(let packet, let socket):
      "the peer sent \(packet) on the \(socket.name) socket, where it is not expected"
    case .wrongLength(let packet, let length, let socket):
      "the peer sent \(packet) of \(length) bytes on the \(socket.name) socket, which is not a length it can have"
    case .tooLong(let packet, let length, let limit, let socket):
      "the peer sent \(packet) with \(length) bytes on the \(socket.name) socket, and at most \(limit) are allowed"
    case .badField(let packet, let problem, let socket):
      "the peer sent \(packet) on the \(socket.name) socket with \(problem)"
    case .wrongDigest(let packet, let sector, let socket):
      "the digest of \(packet) at sector \(sector) on the \(socket.name) socket does not fit its data, which were "
        + "changed on the way"
    }
  }

  private func hex(_ value: some BinaryInteger) -> String { String(value, radix: 16) }
}
