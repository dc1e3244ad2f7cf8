// One engine and a peer that says what the test lets it say. A story: attach, connect, handshake, then event by event.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

final class Bench {
  let node: Node
  let data = SocketID(1)
  let meta = SocketID(2)
  /// Closed by the engine.
  private(set) var closed: Set<SocketID> = []
  private(set) var connects = 0

  var disk: FakeDisk { node.disks[.zero]! }

  init(diskBytes: UInt64 = 8 << 20, seed: UInt64 = 7, _ adjust: (inout ResourceSettings) -> Void = { _ in }) throws {
    var settings = ResourceSettings(
      name: "r0", nodeID: 0, peerNodeID: 1, peerName: "beta", volumes: [VolumeSettings(number: .zero)])
    adjust(&settings)
    let location = settings.volumes[0].metaLocation
    var disks: [VolumeNumber: FakeDisk] = [:]
    for volume in settings.volumes {
      disks[volume.number] = try FakeDisk.created(
        bytes: diskBytes, metaBytes: location == .internal ? nil : 1 << 20, location: location)
    }
    node = Node("alpha", settings: settings, disks: disks, seed: seed)
    node.onNetwork = { [unowned self] effect in
      switch effect {
      case .connect: self.connects += 1
      case .close(let socket, _):
        if self.closed.insert(socket).inserted { self.node.inbox.append(.event(.socketClosed(socket))) }
      default: break
      }
    }
  }

  // MARK: Driving

  func settle() { node.settle() }

  func order(_ command: Command) -> ReplyTo {
    let to = node.order(command)
    settle()
    return to
  }

  func say(_ packet: Packet, payload: [UInt64]? = nil, volume: VolumeNumber = .zero) {
    let isMeta = packet.isForMeta
    var ref = payload.map { node.allocate($0, lent: true) }
    if let size = packet.answerSize { ref = node.allocate([UInt64](repeating: 0, count: size / 512), lent: true) }
    node.inbox.append(.event(.packet(isMeta ? meta : data, volume, packet, ref)))
    settle()
  }

  func pass(_ time: Interval) {
    let end = node.now + time
    settle()
    while node.now < end {
      node.now = max(node.now, min(node.engine.nextDeadline ?? end, end))
      settle()
    }
  }

  // MARK: Set-up

  func attach() {
    for volume in node.settings.volumes {
      let to = order(.attach(volume.number))
      #expect(node.replies[to] == .done)
    }
  }

  /// Declares the fresh disk good.
  func makeGood() {
    _ = order(.primary(force: true))
    _ = order(.secondary)
  }

  /// Both sockets stand; the peer has not spoken yet.
  func meet(again: Bool = false) {
    if again { pass(.seconds(2)) } else { _ = order(.connect(discardMyData: false)) }
    node.inbox.append(.event(.connected(data)))
    settle()
    node.inbox.append(.event(.accepted(meta)))
    node.inbox.append(.event(.packet(meta, .zero, .initialMeta, nil)))
    pass(.seconds(1))
  }

  /// Connected once, parted, and met again by a peer that is ahead by these blocks: both bitmaps are exchanged.
  func fallBehind(_ blocks: [UInt64], at location: SourceLocation = #_sourceLocation) {
    primary(at: location)
    _ = order(.secondary)
    node.inbox.append(.event(.socketClosed(data)))
    settle()
    _ = order(.disconnect(force: true))
    let own = node.volume()
    var slots = GenerationIdentifiers()
    slots.current = 0x1000
    slots.bitmap = own.current & ~1
    slots.history0 = own.history0
    slots.history1 = own.history1
    slots.dirtyBits = UInt64(blocks.count)
    handshake(slots: slots, at: location)
    #expect(node.volume().replication == .wfBitMapT, sourceLocation: location)
    var plain = [UInt8](repeating: 0, count: (Int(node.volume().size.bits) + 63) / 64 * 8)
    for block in blocks { plain[Int(block / 8)] |= 1 << UInt8(block % 8) }
    say(.bitmap(plain))
    say(.bitmap([]))
  }

  /// Both sockets stand, and the peer has said its parameters. Its slots are ours unless given.
  func handshake(
    role: Role = .secondary, disk: DiskState = .upToDate, slots: GenerationIdentifiers? = nil,
    features: Features = Features(), again: Bool = false, at location: SourceLocation = #_sourceLocation
  ) {
    meet(again: again)
    say(.features(features))
    say(.protocolOffer(node.settings.offer))
    for volume in node.settings.volumes.map(\.number) {
      introduce(volume, role, disk, slots)
      #expect(node.volume(volume).replication >= .connected, sourceLocation: location)
    }
    node.forgetTrace()
  }

  /// The peer's part of the handshake for one volume.
  private func introduce(_ volume: VolumeNumber, _ role: Role, _ disk: DiskState, _ slots: GenerationIdentifiers?) {
    var parameters = SyncParameters()
    parameters.verifyAlgorithm = node.settings.net.verifyAlgorithm
    parameters.checksumAlgorithm = node.settings.net.checksumAlgorithm
    say(.syncParameters(parameters), volume: volume)
    var sizes = Sizes()
    sizes.backing = node.volume(volume).size.value
    sizes.current = node.volume(volume).size.value
    say(.sizes(sizes), volume: volume)
    if disk > .diskless { say(.uuids(slots ?? ownSlots(volume)), volume: volume) }
    say(.state(state(role, .wfConnection, disk, .unknown)), volume: volume)
    say(.state(state(role, .connected, disk, node.volume(volume).disk)), volume: volume)
  }

  /// This node's generations, as an equal peer tells them.
  func ownSlots(_ volume: VolumeNumber = .zero) -> GenerationIdentifiers {
    let own = node.volume(volume)
    var slots = GenerationIdentifiers()
    slots.current = own.current & ~1
    slots.bitmap = own.bitmap
    slots.history0 = own.history0
    slots.history1 = own.history1
    return slots
  }

  /// A good, connected Primary with an equal Secondary.
  func primary(features: Features = Features(), at location: SourceLocation = #_sourceLocation) {
    attach()
    makeGood()
    forgetPeer()
    handshake(features: features, at: location)
    promote(at: location)
  }

  /// The bitmap UUID of a lonely promotion would mean a resync.
  private func forgetPeer() {
    for v in node.settings.volumes.indices {
      node.engine.volumes[v].generations.bitmap = 0
      node.engine.volumes[v].backing.bitmap.clearAll()
    }
  }

  func promote(at location: SourceLocation = #_sourceLocation) {
    let to = order(.primary(force: false))
    for _ in node.settings.volumes {
      say(.pingAck)
      say(.stateChangeReply(1))
    }
    #expect(node.replies[to] == .done, sourceLocation: location)
    node.forgetTrace()
  }

  func state(_ role: Role, _ conn: ConnectionState, _ disk: DiskState, _ peerDisk: DiskState) -> PackedState {
    PackedState(role: role, peer: node.engine.role, connection: conn, disk: disk, peerDisk: peerDisk)
  }

  // MARK: Asking

  /// Names of what was sent since the last look, without pings.
  func sent() -> [String] {
    let names = node.sent.map(\.packet).filter { $0 != .ping && $0 != .pingAck }.map(\.name)
    node.forgetTrace()
    return names
  }

  var lastWriteID: UInt64 {
    for one in node.sent.reversed() {
      if case .data(let head) = one.packet { return head.blockID }
    }
    return 0
  }

  func ackLastWrite(_ make: (BlockAck) -> Packet = { .writeAck($0) }) {
    for one in node.sent.reversed() {
      if case .data(let head) = one.packet {
        let size = UInt32(one.payload.count * 512)
        say(make(BlockAck(sector: head.sector, blockID: head.blockID, size: size, sequence: 1)))
        return
      }
    }
  }
}

extension ResourceSettings {
  fileprivate var offer: ProtocolOffer {
    var offer = ProtocolOffer()
    offer.letter = net.wireProtocol.rawValue
    return offer
  }
}
