// A life beside a peer without manners: the handshake, the application and the operator of the engine, and the laws.
import Base
import Protocol
import Testing

@testable import Engine

extension RudePeer {
  func introduce() {
    while open.count < 3, node.engine.link.data == nil {
      let socket = newSocket()
      node.inbox.append(.event(.accepted(socket)))
      node.settle()
      guard open.contains(socket) else { return pass(500) }
      node.inbox.append(.event(.packet(socket, .zero, random.oneIn(2) ? .initialData : .initialMeta, nil)))
      node.settle()
      pass(700)
    }
    if node.engine.link.data == nil { pass(1500) }
  }

  /// A good handshake for the most part.
  func greet() {
    introduce()
    let version = node.settings.net.maximumVersion
    let announced = isDRBD9 ? 124 : version
    send(.features(Features(minimum: 86, maximum: announced, flags: .all)), on: .data, changed: false)
    node.settle()
    if !node.settings.net.cramHMAC.isEmpty {
      send(.authChallenge([UInt8](repeating: 5, count: 64)), on: .data, changed: false)
      node.sign = { _ in [UInt8](repeating: 6, count: 20) }
      node.settle()
      send(.authResponse([UInt8](repeating: 6, count: 20)), on: .data, changed: false)
      node.settle()
    }
    var offer = ProtocolOffer()
    offer.letter = node.settings.net.wireProtocol.rawValue
    var parameters = SyncParameters()
    parameters.verifyAlgorithm = node.engine.link.verifyAlgorithm
    parameters.checksumAlgorithm = node.engine.link.checksumAlgorithm
    var sizes = Sizes()
    sizes.backing = max(node.engine.volumes[0].size.value, 8192)
    sizes.current = sizes.backing
    let disk: DiskState = random.oneIn(5) ? .inconsistent : .upToDate
    let state = PackedState(
      role: random.oneIn(2) && node.engine.role != .primary ? .primary : .secondary, peer: .unknown,
      connection: .wfConnection, disk: disk, peerDisk: .unknown)
    for packet: Packet in [
      .protocolOffer(offer), .syncParameters(parameters), .sizes(sizes), .uuids(someGenerations()), .state(state),
    ] where !random.oneIn(20) {
      var isChanged = random.oneIn(20)
      if case .sizes = packet { isChanged = false }
      send(packet, on: .data, changed: isChanged)
      node.settle()
    }
  }

  func pass(_ milliseconds: UInt64) {
    let end = node.now + .milliseconds(milliseconds)
    node.settle()
    while node.now < end {
      node.now = max(node.now, min(node.engine.nextDeadline ?? end, end))
      node.settle()
    }
  }

  func application() {
    let size = node.engine.exportedSize(.zero).value
    guard node.engine.role == .primary, node.engine.acceptsWrites, size >= 4096 else { return }
    let sector = random.below(size / 8 - 256) * 8
    switch random.below(6) {
    case 0: tickets.append(node.read(sector, 8 << random.below(8)).ticket)
    case 1: tickets.append(node.flush())
    case 2: tickets.append(node.discard(sector, 2048))
    default: tickets.append(node.write(sector, 8 << random.below(8), stamp: 1, fua: random.oneIn(5)))
    }
  }

  func operate() {
    let commands: [Command] = [
      .primary(force: random.oneIn(3)), .secondary, .invalidate(.zero), .invalidateRemote(.zero),
      .verify(.zero, start: nil, stop: nil), .pauseSync(.zero), .resumeSync(.zero),
      .detach(.zero, force: random.oneIn(2)),
      .attach(.zero), .disconnect(force: random.oneIn(2)), .connect(discardMyData: random.oneIn(4)),
    ]
    _ = node.order(commands[Int(random.below(UInt64(commands.count)))])
  }

  /// The law is broken where data are replaced that nothing has given up.
  func look(at effects: [Effect], _ role: Role, _ disk: DiskState) {
    for case .disk(let id, _, let operation) in effects where operation.written != nil {
      if id.kind == .peerWrite, role == .primary { Issue.record("a Primary writes what its peer sent") }
      if id.kind == .resyncWrite, disk == .upToDate, node.volume().disk == .upToDate {
        Issue.record("an UpToDate disk is overwritten by a resync")
      }
    }
    let targets: Set<ConnectionState> = [
      .startingSyncT, .wfBitMapT, .wfSyncUUID, .syncTarget, .pausedSyncT, .behind,
    ]
    if role == .primary, disk == .upToDate, node.engine.role == .primary, targets.contains(node.volume().replication) {
      Issue.record("an UpToDate Primary has become a target")
    }
    let volume = node.engine.volumes[0].parked.count
    if node.engine.inbound.waiting.count > Engine.maxWaiting || node.engine.digests.count > Engine.maxPeerRequests
      || node.engine.waits.all.count > Engine.maxPings || volume > 3 * Engine.maxPeerRequests
    {
      Issue.record("a queue without end")
    }
  }

  func live(packets: Int) {
    if node.settings.volumes[0].hasDisk { _ = node.order(.attach(.zero)) }
    node.settle()
    if !random.oneIn(4), node.settings.volumes[0].hasDisk {
      _ = node.order(.primary(force: true))
      node.settle()
      if random.oneIn(2) {
        _ = node.order(.secondary)
        node.settle()
        // As if it had been equal to its peer's once.
        node.engine.volumes[0].generations.bitmap = 0
        node.engine.volumes[0].backing.bitmap.clearAll()
      }
    }
    _ = node.order(.connect(discardMyData: false))
    node.settle()
    let kinds: [WorkID.Kind] = [
      .peerWrite, .peerRead, .resyncRead, .resyncWrite, .appWrite, .epochFlush, .verify, .bracket,
    ]
    for _ in 0..<packets {
      if node.engine.link.data == nil {
        if case .down = node.engine.link.phase { _ = node.order(.connect(discardMyData: false)) }
        greet()
      }
      if random.oneIn(40) { node.holding = Set(kinds.filter { _ in random.oneIn(3) }) }
      if random.oneIn(40) { node.holdsSent = true }
      if random.oneIn(20) { node.stopHolding() }
      if random.oneIn(100), let disk = node.disks[.zero] {
        let bad = random.below(8000)
        disk.badForWriting = random.oneIn(3) ? bad..<bad + 100 : 0..<0
        disk.badForReading = random.oneIn(3) ? bad..<bad + 100 : 0..<0
        disk.flushFails = random.oneIn(10)
      }
      if random.oneIn(3) { application() }
      if random.oneIn(60) { operate() }
      if random.oneIn(30) { pass(random.below(2000)) }
      let role = node.engine.role
      let disk = node.volume().disk
      let isFitting = random.below(100) < manners
      let (packet, payload) = isFitting ? fitting() : (somePacket(), nil)
      let version = node.engine.link.version
      for kind in [SocketKind.data, .meta] where RudePeer.isSent(packet, on: kind, version) {
        for _ in 0..<(!isFitting && random.oneIn(50) ? 40 : 1) {
          var isChanged = !isFitting && random.oneIn(4)
          if case .sizes = packet { isChanged = false }
          send(packet, on: kind, changed: isChanged, payload: payload)
        }
      }
      node.settle()
      look(at: node.take(), role, disk)
    }
    node.stopHolding()
    node.settle()
    _ = node.order(.disconnect(force: true))
    pass(1000)
    if node.engine.link.data != nil || !node.engine.peerRequests.isEmpty {
      Issue.record("something of the peer is left: \(node.engine.peerRequests.count) requests")
    }
    let waiting = tickets.filter { !node.isAnswered($0) }
    if !waiting.isEmpty { Issue.record("\(waiting.count) requests of the application are not answered: \(node.state)") }
    if waiting.isEmpty, node.lentPayloads != 0 { Issue.record("\(node.lentPayloads) payloads are kept") }
  }
}
