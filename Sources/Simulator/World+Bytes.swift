// Packets as bytes: what goes through `Packet.encode` on one side comes out of `PacketStream` on the other, in fragments
// of any size. Slow, so only some seeds do it. A sector of payload is 512 bytes that begin with its stamp.
import Base
import Engine
import Protocol

extension World {
  static func encode(_ waiting: Waiting, _ stream: PacketStream) -> [UInt8] {
    let payload = Int(waiting.payload?.bytes ?? 0)
    let size = waiting.packet.encodedSize(version: stream.version, features: stream.features, payload: payload)
    return [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = waiting.packet.encode(
        into: UnsafeMutableRawBufferPointer(buffer), version: stream.version, features: stream.features,
        volume: waiting.volume.value, payload: payload)
    }
  }

  private static let restOfSector = [UInt8](repeating: 0, count: 508)

  static func append(_ stamps: UnsafePointer<Stamp>, _ count: Int, to bytes: inout [UInt8]) {
    for i in 0..<count {
      let stamp = stamps[i]
      for shift in stride(from: UInt32(0), to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: stamp >> shift)) }
      bytes.append(contentsOf: World.restOfSector)
    }
  }

  /// A packet's bytes have come over the cable; some of them may be held back until the next ones come.
  /// A packet that pauses the stream comes whole: nothing may lie behind it when the pause begins.
  func arriveAsBytes(_ c: Int, _ n: Int, _ bytes: [UInt8], pauses: Bool) {
    let connection = connections[c]!
    let isLast = connection.withLane(1 - n) { $0.moving.isEmpty }
    let drawn = Int(random.below(UInt64(bytes.count) + 1))
    let cut = pauses ? bytes.count : drawn
    connection.withLane(1 - n) { lane in
      lane.pipe.append(contentsOf: bytes[..<cut])
      lane.inbox.append(contentsOf: lane.pipe)
      lane.pipe.removeAll(keepingCapacity: true)
    }
    parse(c, n)
    connection.withLane(1 - n) { lane in
      lane.pipe.append(contentsOf: bytes[cut...])
      if isLast {
        lane.inbox.append(contentsOf: lane.pipe)
        lane.pipe.removeAll(keepingCapacity: true)
      }
    }
    if isLast { parse(c, n) }
  }

  private struct Parsed {
    var packet: Packet
    var volume: UInt16
    var payload: PayloadRef?
  }
  private enum Outcome {
    case wait
    case packet(Parsed)
    case violation(ProtocolViolation)
  }

  /// Hands on every packet that is complete, as long as the engine has room for it.
  func parse(_ c: Int, _ n: Int) {
    connections[c]?.withLane(1 - n) { $0.isHeldBack = false }
    while broken == nil, let connection = connections[c], !connection.withLane(1 - n, { $0.isPaused }),
      connection.ends[n].state == .open || connection.ends[n].state == .closing
    {
      if hasNoRoom(n, c) { return connection.withLane(1 - n) { $0.isHeldBack = true } }
      let outcome = connection.withLane(1 - n) { next(&$0, n) }
      switch outcome {
      case .wait: return
      case .packet(let parsed):
        if World.pauses(parsed.packet) { connection.withLane(1 - n) { $0.isPaused = true } }
        receive(n, connection.ends[n].socket, VolumeNumber(parsed.volume), parsed.packet, parsed.payload)
      case .violation(let violation):
        if circumstances.rude == nil { breakLaw("\(name(1 - n)) violates the protocol: \(violation)") }
        feed(n, .violation(connection.ends[n].socket, violation))
        return
      }
    }
  }

  /// The packet at the front of the inbox, when it is complete.
  private func next(_ lane: inout Lane, _ n: Int) -> Outcome {
    let reading = lane.reading
    let step: PacketStream.Step
    do throws(ProtocolViolation) {
      step = try reading.next(lane.inbox.span.bytes)
    } catch {
      lane.inbox.removeAll()
      return .violation(error)
    }
    guard case .packet(let packet, let volume, let consumed, let payload) = step,
      lane.inbox.count >= consumed + payload
    else { return .wait }
    var ref: PayloadRef?
    if payload > 0 {
      let new = pool.take(UInt32(payload), for: .engine(n))
      for i in 0..<payload / 512 {
        let at = consumed + i * 512
        pool[new][i] =
          Stamp(lane.inbox[at]) | Stamp(lane.inbox[at + 1]) << 8 | Stamp(lane.inbox[at + 2]) << 16
          | Stamp(lane.inbox[at + 3]) << 24
      }
      ref = new
    }
    lane.inbox.removeFirst(consumed + payload)
    return .packet(Parsed(packet: packet, volume: volume, payload: ref))
  }
}
