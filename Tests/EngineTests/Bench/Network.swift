// Two nodes and the sockets between them. Packets travel as bytes, through the encoder of one and the parser of the
// other. Delivery is at once and in order, unless a direction is held, cut, or the peer is gone.
import Base
import Protocol
import Testing

@testable import Engine

/// One end of a TCP connection.
struct End: Hashable {
  var node: Int
  var socket: SocketID
}

final class Network {
  struct Segment {
    var bytes: [UInt8]
    var payload: [UInt64]
  }
  final class Direction {
    let to: End
    var segments: [Segment] = []
    /// The sender has closed: end of stream follows the last segment.
    var ended = false
    init(to: End) { self.to = to }
  }

  let nodes: [Node]
  /// No packet gets through, and nothing tells.
  var isCut = false
  /// Directions that deliver nothing for now, by receiving node and kind of socket.
  var held: Set<Hold> = []
  struct Hold: Hashable {
    var to: Int
    var kind: SocketKind
  }
  var isListening: [Bool]

  private var incoming: [End: Direction] = [:]
  private var peers: [End: End] = [:]
  /// How each end reads and writes; nil before the first `configure`.
  private(set) var streams: [End: PacketStream] = [:]
  private var paused: Set<End> = []
  private var lastSocket: UInt32 = 0

  init(_ nodes: [Node]) {
    self.nodes = nodes
    isListening = nodes.map { _ in false }
    for (i, node) in nodes.enumerated() { node.onNetwork = { [unowned self] in self.carry(i, $0) } }
  }

  private func carry(_ me: Int, _ effect: Effect) {
    switch effect {
    case .listen: isListening[me] = true
    case .stopListening: isListening[me] = false
    case .connect: connect(me)
    case .configure(let socket, let stream):
      let end = End(node: me, socket: socket)
      streams[end] = stream
      paused.remove(end)
    case .send(let socket, let volume, let packet, let payload, _):
      send(End(node: me, socket: socket), volume, packet, payload.map { nodes[me][$0] } ?? [])
    case .close(let socket, let afterSending): close(End(node: me, socket: socket), afterSending)
    default: preconditionFailure("not for the network")
    }
  }

  private func connect(_ me: Int) {
    let other = 1 - me
    guard !isCut, isListening[other] else {
      nodes[me].inbox.append(.event(.connectFailed(why: "connection refused")))
      return
    }
    let here = End(node: me, socket: SocketID(lastSocket + 1))
    let there = End(node: other, socket: SocketID(lastSocket + 2))
    lastSocket += 2
    peers[here] = there
    peers[there] = here
    incoming[here] = Direction(to: here)
    incoming[there] = Direction(to: there)
    nodes[me].inbox.append(.event(.connected(here.socket)))
    nodes[other].inbox.append(.event(.accepted(there.socket)))
  }

  private func send(_ from: End, _ volume: VolumeNumber, _ packet: Packet, _ payload: [UInt64]) {
    guard let to = peers[from], incoming[from] != nil else { return }
    let stream = streams[from] ?? PacketStream(socket: .undecided)
    let size = packet.encodedSize(version: stream.version, features: stream.features, payload: payload.count * 512)
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = packet.encode(
        into: UnsafeMutableRawBufferPointer(buffer), version: stream.version, features: stream.features,
        volume: volume.value, payload: payload.count * 512)
    }
    put(bytes, payload, to: to)
  }

  /// Also for bytes that no node would send.
  func put(_ bytes: [UInt8], _ payload: [UInt64], to end: End) {
    if !isCut { incoming[end]?.segments.append(Segment(bytes: bytes, payload: payload)) }
  }

  private func close(_ end: End, _ afterSending: Bool) {
    guard incoming.removeValue(forKey: end) != nil else { return }
    if let peer = peers[end], let direction = incoming[peer] {
      if !afterSending { direction.segments.removeAll() }
      direction.ended = !isCut
    }
    nodes[end.node].inbox.append(.event(.socketClosed(end.socket)))
  }

  /// All sockets end, for both, with everything on its way lost.
  func reset() {
    for end in incoming.keys.sorted(by: { ($0.node, $0.socket.raw) < ($1.node, $1.socket.raw) }) {
      nodes[end.node].inbox.append(.event(.socketClosed(end.socket)))
    }
    incoming = [:]
  }

  /// A node has died: its ends are gone, and the peer hears of it if it is told.
  func lose(_ node: Int, told: Bool) {
    isListening[node] = false
    for end in incoming.keys where end.node == node { incoming[end] = nil }
    if told { for direction in incoming.values { direction.ended = true } }
  }

  /// The open end of this kind of socket at a node.
  func end(_ node: Int, _ kind: SocketKind) -> End? {
    incoming.keys.first { $0.node == node && streams[$0]?.socket == kind }
  }

  // MARK: Delivery

  /// Hands one packet to a node; false when nothing can be delivered.
  func deliver() -> Bool {
    for end in incoming.keys.sorted(by: { ($0.node, $0.socket.raw) < ($1.node, $1.socket.raw) }) {
      guard let direction = incoming[end] else { continue }
      if let segment = direction.segments.first {
        guard let stream = streams[end], !paused.contains(end), !held.contains(Hold(to: end.node, kind: stream.socket))
        else { continue }
        direction.segments.removeFirst()
        receive(end, stream, segment)
        return true
      }
      if direction.ended {
        incoming[end] = nil
        nodes[end.node].inbox.append(.event(.socketClosed(end.socket)))
        return true
      }
    }
    return false
  }

  /// One packet to an end whose direction is held.
  func deliverHeld(to end: End) {
    guard let direction = incoming[end], let stream = streams[end], !paused.contains(end),
      let segment = direction.segments.first
    else { return }
    direction.segments.removeFirst()
    receive(end, stream, segment)
    while nodes[end.node].step() {}
  }

  private func receive(_ end: End, _ stream: PacketStream, _ segment: Segment) {
    let node = nodes[end.node]
    do throws(ProtocolViolation) {
      guard
        case .packet(let packet, let volume, let consumed, let payload) = try stream.next(segment.bytes.span.bytes)
      else {
        // Half a packet: nothing happens until more comes, and here nothing more comes.
        return
      }
      precondition(consumed == segment.bytes.count && payload == segment.payload.count * 512, "a packet in pieces")
      switch packet {
      case .initialData, .initialMeta, .features: paused.insert(end)
      default: break
      }
      var ref: PayloadRef?
      if payload > 0 { ref = node.allocate(segment.payload, lent: true) }
      if let size = packet.answerSize {
        ref = node.allocate([UInt64](repeating: .max, count: size / 512), lent: true)
      }
      node.inbox.append(.event(.packet(end.socket, VolumeNumber(volume), packet, ref)))
    } catch {
      node.inbox.append(.event(.violation(end.socket, error)))
    }
  }
}

extension Packet {
  /// Bytes of the buffer that the reactor adds to a request.
  var answerSize: Int? {
    switch self {
    case .dataRequest(let request), .resyncRequest(let request), .thinRequest(let request),
      .checksumRequest(let request, _):
      request.size >= 512 && request.size <= 1 << 20 && request.size % 512 == 0 ? Int(request.size) : nil
    default: nil
    }
  }
}
