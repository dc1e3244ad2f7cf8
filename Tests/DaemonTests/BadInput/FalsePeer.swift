// A peer made of two sockets that speaks well up to a point of a test's choice: it connects to a real node, introduces both
// sockets, agrees on a version and, when asked, goes through the handshake as a new and empty node would.
import Base
import Protocol
import Testing

final class FalsePeer {
  let data: Wire
  let meta: Wire
  private var version: UInt32 = 80
  private let features: FeatureFlags = []
  private static let magic: UInt32 = 0x8374_0267

  /// Two connections to the port of a node that looks for its peer. Throws `WireEnded` while nobody listens there.
  init(port: UInt16) throws {
    data = try Wire(port: port)
    try data.send(big(FalsePeer.magic) + [0xff, 0xf2, 0, 0])
    meta = try Wire(port: port)
    try meta.send(big(FalsePeer.magic) + [0xff, 0xf1, 0, 0])
    // The node's features: it is sure of both sockets.
    _ = try data.receive(8 + 72)
  }

  /// The same, again and again until the node listens.
  static func meeting(_ port: UInt16) throws -> FalsePeer {
    var peer: FalsePeer?
    try until("the node takes a peer") {
      do { peer = try FalsePeer(port: port) } catch is WireEnded { return false }
      return true
    }
    return try #require(peer)
  }

  func bytes(_ packet: Packet, payload: [UInt8] = []) -> [UInt8] {
    let size = packet.encodedSize(version: version, features: features, payload: payload.count)
    var bytes = [UInt8](repeating: 0, count: size)
    let used = bytes.withUnsafeMutableBytes {
      packet.encode(into: $0, version: version, features: features, volume: 0, payload: payload.count)
    }
    return bytes[..<used] + payload
  }

  func agree(minimum: UInt32 = 86, maximum: UInt32 = 101) throws {
    try data.send(bytes(.features(Features(minimum: minimum, maximum: maximum, flags: []))))
    version = min(maximum, 101)
  }

  /// The next packet of the node's data socket, without the payload that may follow.
  func next() throws -> Packet {
    let header = try data.receive(16)
    let length = header[8..<12].reduce(0) { $0 << 8 | Int($1) }
    let bytes = header + (try data.receive(length))
    let stream = PacketStream(socket: .data, version: version, features: features)
    guard case .packet(let packet, _, _, _) = try stream.next(bytes.span.bytes) else { throw WireEnded() }
    return packet
  }

  /// As an equal of the node, which is Primary: what it says of its disk is what this peer says.
  func introduceAsEqual(sectors: UInt64, withGenerations: Bool = true) throws {
    try agree()
    var own: GenerationIdentifiers?
    while own == nil { if case .uuids(let slots) = try next() { own = slots } }
    try data.send(bytes(.protocolOffer(ProtocolOffer())))
    try data.send(bytes(.syncParameters(SyncParameters())))
    var sizes = Sizes()
    sizes.backing = sectors
    sizes.current = sectors
    try data.send(bytes(.sizes(sizes)))
    if withGenerations, let own { try data.send(bytes(.uuids(own))) }
    try data.send(
      bytes(
        .state(
          PackedState(
            role: .secondary, peer: .unknown, connection: .wfConnection, disk: .upToDate, peerDisk: .unknown))))
  }

  /// As a Secondary with a new disk of this size.
  func introduce(sectors: UInt64, version: UInt32 = 101) throws {
    try agree(maximum: version)
    try data.send(bytes(.protocolOffer(ProtocolOffer())))
    try data.send(bytes(.syncParameters(SyncParameters())))
    var sizes = Sizes()
    sizes.backing = sectors
    sizes.current = sectors
    try data.send(bytes(.sizes(sizes)))
    var generations = GenerationIdentifiers()
    generations.current = 4
    try data.send(bytes(.uuids(generations)))
    try data.send(
      bytes(
        .state(
          PackedState(
            role: .secondary, peer: .unknown, connection: .wfConnection, disk: .inconsistent, peerDisk: .unknown))))
  }

  /// The node has hung up on both sockets, now or within the wire's patience.
  var wasHungUpOn: Bool { data.hasEnded() && meta.hasEnded() }
}
