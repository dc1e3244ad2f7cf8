// What an engine asked for in one life, as one number: two builds that do the same have the same number for every seed. A change of
// structure is proven by it (`scripts/fingerprints.sh`).
import Base
import Engine
import Protocol

/// A hash of bytes in their order (FNV-1a, 64 bits, by words of eight bytes).
struct Fingerprint {
  private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

  @inline(__always) mutating func mix(_ word: UInt64) {
    value = (value ^ word) &* 0x0000_0100_0000_01b3
    value ^= value >> 29
  }

  mutating func mix(_ bytes: UnsafeRawBufferPointer) {
    mix(UInt64(bytes.count))
    var at = 0
    while at + 8 <= bytes.count {
      mix(bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      at += 8
    }
    while at < bytes.count {
      mix(UInt64(bytes[at]))
      at += 1
    }
  }

  mutating func mix(_ text: String) {
    var text = text
    text.withUTF8 { mix(UnsafeRawBufferPointer($0)) }
  }
}

extension World {
  /// Every effect with all that it carries: also its handles, the bytes of its packet, and its words. The bytes of a metadata block
  /// are mixed in when they are rendered.
  func mix(_ n: Int, _ effect: borrowing Effect) {
    effectsPrint.mix(now << 1 | UInt64(n))
    effectsPrint.mix(Trace.effect(effect))
    switch copy effect {
    case .send(let socket, let volume, let packet, let payload, let notify):
      guard let stream = writing(n, socket) else { return }
      let waiting = Waiting(packet: packet, volume: volume, payload: payload, notify: notify, bytes: 0)
      World.encode(waiting, stream).withUnsafeBytes { effectsPrint.mix($0) }
    case .sign(_, let algorithm, let message):
      effectsPrint.mix(algorithm)
      message.withUnsafeBytes { effectsPrint.mix($0) }
    case .reply(let to, let outcome):
      effectsPrint.mix(to.raw)
      effectsPrint.mix("\(outcome)")
    case .announced(_, let traits): effectsPrint.mix("\(traits)")
    case .answer(let ticket, let fault):
      effectsPrint.mix(ticket.raw)
      effectsPrint.mix("\(fault as DiskFault?)")
    default: break
    }
  }

  /// How this node writes to a socket that it has.
  private func writing(_ n: Int, _ socket: SocketID) -> PacketStream? {
    for entry in nodes[n].sockets where entry.socket == socket {
      return connections[entry.connection]?.withLane(n) { $0.writing }
    }
    return nil
  }
}
