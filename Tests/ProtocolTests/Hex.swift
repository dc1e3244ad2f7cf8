// Bytes written as in the specification: hexadecimal digits in groups.
import Protocol
import Testing

func hex(_ text: String) -> [UInt8] {
  let digits = text.filter { !$0.isWhitespace }
  precondition(digits.count % 2 == 0, "half a byte")
  return stride(from: 0, to: digits.count, by: 2).map { i in
    let start = digits.index(digits.startIndex, offsetBy: i)
    return UInt8(digits[start..<digits.index(start, offsetBy: 2)], radix: 16)!
  }
}

extension Packet {
  /// What `encode` writes.
  func encoded(
    version: UInt32 = 101, features: FeatureFlags = .all, volume: UInt16 = 0, payload: Int = 0
  ) -> [UInt8] {
    let size = encodedSize(version: version, features: features, payload: payload)
    var bytes = [UInt8](repeating: 0xee, count: size)
    let written = bytes.withUnsafeMutableBytes {
      encode(into: $0, version: version, features: features, volume: volume, payload: payload)
    }
    precondition(written == size, "encodedSize and encode differ")
    return bytes
  }
}

extension PacketStream {
  static func agreed(
    _ socket: SocketKind, version: UInt32 = 101, features: FeatureFlags = .all, digest: Int = 0
  ) -> PacketStream {
    PacketStream(socket: socket, version: version, features: features, integrityDigestSize: digest)
  }

  /// The one packet in `bytes`.
  func only(_ bytes: [UInt8]) throws -> (packet: Packet, volume: UInt16, payload: Int) {
    switch try next(bytes.span.bytes) {
    case .packet(let packet, let volume, let consumed, let payload):
      #expect(consumed == bytes.count)
      return (packet, volume, payload)
    case .more(let needed):
      throw StillMore(needed: needed)
    }
  }
}

struct StillMore: Error { let needed: Int }

/// What parsing `bytes` throws; nil when it does not.
func violation(_ stream: PacketStream, _ bytes: [UInt8]) -> ProtocolViolation? {
  do throws(ProtocolViolation) {
    _ = try stream.next(bytes.span.bytes)
    return nil
  } catch {
    return error
  }
}
