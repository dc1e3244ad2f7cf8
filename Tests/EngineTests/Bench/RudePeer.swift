// A peer without manners, driven by a seed: what recordings and the protocol's catalogue hold, sent as bytes with some of them
// changed, in any order and at any moment, to one engine that works for an application meanwhile.
import Base
import Protocol
import Testing

@testable import Engine

final class RudePeer {
  let node: Node
  private(set) var random: SeededGenerator
  private let corpus: [Packet]
  private var streams: [SocketID: PacketStream] = [:]
  private var open: [SocketID] = []
  private var paused: Set<SocketID> = []
  private var lastSocket: UInt32 = 0
  private var isAwaited = false
  private var tickets: [Ticket] = []
  /// Writes and reads of the engine that wait for an answer.
  private var writes: [BlockAck] = []
  private var reads: [BlockRequest] = []
  /// Of hundred packets so many fit the state that the engine is in.
  private let manners: UInt64
  /// Handles of the engine that a peer has seen.
  private var seen: [UInt64] = [syncerBlockID]
  private(set) var met: [String: Int] = [:]

  init(seed: UInt64, corpus: [Packet]) throws {
    var random = SeededGenerator(seed: seed)
    self.corpus = corpus
    var settings = ResourceSettings(
      name: "r0", nodeID: 0, peerNodeID: 1, peerName: "beta", volumes: [VolumeSettings(number: .zero)])
    settings.net.maximumVersion = [86, 88, 94, 95, 96, 99, 100, 101, 101, 101][Int(random.below(10))]
    settings.net.wireProtocol = [.a, .b, .c, .c][Int(random.below(4))]
    if random.oneIn(2) { settings.net.verifyAlgorithm = "sha1" }
    if random.oneIn(3) { settings.net.checksumAlgorithm = "md5" }
    if random.oneIn(8) { settings.net.cramHMAC = "sha1" }
    if random.oneIn(4) { settings.volumes[0].onIOError = .passOn }
    if random.oneIn(8) { settings.volumes[0].hasDisk = false }
    manners = [0, 60, 90, 97, 97, 99][Int(random.below(6))]
    let bytes: UInt64 = [4 << 20, 8 << 20, 64 << 20][Int(random.below(3))]
    let disks = settings.volumes[0].hasDisk ? [VolumeNumber.zero: try FakeDisk.created(bytes: bytes)] : [:]
    node = Node("alpha", settings: settings, disks: disks, seed: seed)
    self.random = random
    node.onNetwork = { [unowned self] in self.carry($0) }
  }

  // MARK: The network

  private func newSocket() -> SocketID {
    lastSocket += 1
    open.append(SocketID(lastSocket))
    return SocketID(lastSocket)
  }

  private func carry(_ effect: Effect) {
    switch effect {
    case .connect:
      if random.oneIn(2) {
        node.inbox.append(.event(.connected(newSocket())))
      } else {
        node.inbox.append(.event(.connectFailed(why: "refused")))
      }
    case .configure(let socket, let stream):
      streams[socket] = stream
      paused.remove(socket)
    case .close(let socket, _): end(socket)
    case .send(_, _, let packet, let payload, _):
      switch packet {
      case .data(let head): wrote(head, payload?.bytes ?? 0)
      case .trim(let head), .zeroes(let head): wrote(head.data, head.size)
      case .dataRequest(let request):
        seen.append(request.blockID)
        reads.append(request)
      default: break
      }
      if seen.count > 64 { seen.removeFirst(32) }
    default: break
    }
  }

  private func wrote(_ head: DataHeader, _ size: UInt32) {
    seen.append(head.blockID)
    writes.append(BlockAck(sector: head.sector, blockID: head.blockID, size: size, sequence: 1))
  }

  private func end(_ socket: SocketID) {
    guard let at = open.firstIndex(of: socket) else { return }
    open.remove(at: at)
    streams[socket] = nil
    writes = []
    reads = []
    node.inbox.append(.event(.socketClosed(socket)))
  }

  private func socket(_ kind: SocketKind) -> SocketID? {
    let link = node.engine.link
    switch kind {
    case .data: return link.data
    case .meta: return link.meta
    case .undecided: return open.last
    }
  }

  /// As bytes through the parser, some of them changed.
  private func send(_ packet: Packet, on kind: SocketKind, changed: Bool, payload wanted: Int? = nil) {
    guard let socket = socket(kind), open.contains(socket), let stream = streams[socket], !paused.contains(socket)
    else {
      return
    }
    var payload = 0
    switch packet {
    case .data, .dataReply, .resyncReply:
      payload = [512, 4096, 4096, 8192, 32 << 10, 128 << 10, 1 << 20][Int(random.below(7))]
      payload = min(wanted ?? payload, PacketRow.longestBlock(version: stream.version))
    default: break
    }
    let size = packet.encodedSize(version: stream.version, features: stream.features, payload: payload)
    var bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
      count = packet.encode(
        into: UnsafeMutableRawBufferPointer(buffer), version: stream.version, features: stream.features, volume: 0,
        payload: payload)
    }
    if changed { change(&bytes, HeaderKind.size(version: stream.version)) }
    do throws(ProtocolViolation) {
      guard case .packet(let read, let volume, _, let payload) = try stream.next(bytes.span.bytes) else { return }
      deliver(read, VolumeNumber(volume), payload, socket)
    } catch {
      node.inbox.append(.event(.violation(socket, error)))
    }
  }

  private func deliver(_ packet: Packet, _ volume: VolumeNumber, _ payload: Int, _ socket: SocketID) {
    switch packet {
    case .initialData, .initialMeta, .features: paused.insert(socket)
    default: break
    }
    // As the reactor: nothing is read from the data socket while the engine has no room.
    if socket == node.engine.link.data, !node.engine.takesPeerRequests { return }
    var ref: PayloadRef?
    if payload > 0 { ref = node.allocate([UInt64](repeating: 0xbad, count: payload / 512), lent: true) }
    if let size = packet.answerSize { ref = node.allocate([UInt64](repeating: 0, count: size / 512), lent: true) }
    met[packet.name, default: 0] += 1
    node.inbox.append(.event(.packet(socket, volume, packet, ref)))
  }

  /// Fields keep their places: a few bytes become others, or eight or four of them a number that is of interest.
  private func change(_ bytes: inout [UInt8], _ header: Int) {
    for _ in 0...random.below(2) {
      if bytes.count > header, !random.oneIn(8) {
        let body = UInt64(bytes.count - header)
        switch random.below(3) {
        case 0: put(number(), 8, header + Int(random.below(body)) & ~7, &bytes)
        case 1: put(number(), 4, header + Int(random.below(body)) & ~3, &bytes)
        default: bytes[header + Int(random.below(body))] ^= 1 << UInt8(random.below(8))
        }
      } else {
        let at = Int(random.below(UInt64(bytes.count)))
        bytes[at] = UInt8(truncatingIfNeeded: random.next())
      }
    }
  }

  private func put(_ value: UInt64, _ count: Int, _ at: Int, _ bytes: inout [UInt8]) {
    for i in 0..<count where at + i < bytes.count {
      bytes[at + i] = UInt8(truncatingIfNeeded: value >> UInt64((count - 1 - i) * 8))
    }
  }

  private func number() -> UInt64 {
    let size = node.engine.volumes[0].size.value
    switch random.below(10) {
    case 0: return [0, 1, 7, 8, 512, 4096, 65536, 1 << 20, 128 << 20][Int(random.below(9))]
    case 1:
      return [.max, .max - 7, .max - 8, 1 << 63, 1 << 41, 1 << 32, 0xffff_ffff, 0x8000_0000][Int(random.below(8))]
    case 2: return size &- random.below(20)
    case 3: return size
    case 4, 5: return seen[Int(random.below(UInt64(seen.count)))].bigEndian
    case 6: return random.next()
    default: return random.below(max(size, 1)) & ~7
    }
  }

  // MARK: What is sent

  private func someSector() -> UInt64 {
    let size = node.engine.volumes[0].size.value
    return random.oneIn(16) ? number() : random.below(max(size / 8, 1)) * 8
  }

  private func someHead() -> DataHeader {
    var head = DataHeader()
    head.sector = someSector()
    head.blockID = seen[Int(random.below(UInt64(seen.count)))]
    head.flags = DataFlags(rawValue: UInt32(truncatingIfNeeded: random.next()) & 0x7ff)
    return head
  }

  private func someAck() -> BlockAck {
    let marks = [Engine.inSyncMark, Engine.outOfSyncMark]
    let id = random.oneIn(4) ? marks[Int(random.below(2))] : seen[Int(random.below(UInt64(seen.count)))]
    return BlockAck(sector: someSector(), blockID: id, size: someSize(), sequence: 1)
  }

  private func someSize() -> UInt32 { [512, 4096, 4096, 4096, 8192, 65536, 1 << 20][Int(random.below(7))] }

  private func someRequest() -> BlockRequest {
    BlockRequest(sector: someSector(), blockID: seen[Int(random.below(UInt64(seen.count)))], size: someSize())
  }

  private func someState() -> PackedState {
    let conns: [ConnectionState] = [
      .connected, .connected, .connected, .startingSyncS, .startingSyncT, .wfBitMapS, .wfBitMapT, .wfSyncUUID,
      .syncSource,
      .syncTarget, .verifyS, .verifyT, .pausedSyncS, .pausedSyncT, .ahead, .behind,
    ]
    let disks: [DiskState] = [
      .upToDate, .upToDate, .upToDate, .inconsistent, .negotiating, .consistent, .outdated, .diskless,
    ]
    return PackedState(
      role: random.oneIn(3) ? .primary : .secondary, peer: node.engine.role,
      connection: conns[Int(random.below(UInt64(conns.count)))], disk: disks[Int(random.below(UInt64(disks.count)))],
      peerDisk: .upToDate, userPaused: random.oneIn(10))
  }

  private func someGenerations() -> GenerationIdentifiers {
    let own = node.volume()
    var slots = GenerationIdentifiers()
    slots.current = own.current & ~1
    slots.bitmap = own.bitmap
    slots.history0 = own.history0
    slots.history1 = own.history1
    switch random.below(6) {
    case 0:
      slots.bitmap = own.current & ~1
      slots.current = random.next()
    case 1: slots.current = own.bitmap & ~1
    case 2: slots.current = random.next()
    case 3: slots.flags = GenerationIdentifiers.Flags(rawValue: random.below(16))
    default: break
    }
    return slots
  }

  private func someChange() -> StateChange {
    let words: [(UInt32, UInt32)] = [
      (0x3, 0x1), (0x3, 0x2), (0x1f0, 0xb0), (0x1f0, 0xc0), (0x1f0, 0x120), (0x1e00, 0x400), (0x1e03, 0x1001),
      (0x1f0, 0x10),
    ]
    let (mask, value) = words[Int(random.below(UInt64(words.count)))]
    return StateChange(mask: PackedState(word: mask), value: PackedState(word: value))
  }

  private func someSizes() -> Sizes {
    var sizes = Sizes()
    let size = node.engine.volumes[0].size.value
    sizes.backing = random.oneIn(4) ? max(number(), size) : size
    sizes.current = random.oneIn(4) ? max(number(), size) : size
    if random.oneIn(8) { sizes.userLimit = max(number(), size) }
    if random.oneIn(8) { sizes.resizeFlags = UInt16(random.below(4)) }
    return sizes
  }

  private func somePacket() -> Packet {
    switch random.below(30) {
    case 0, 1: .data(someHead())
    case 2: .trim(RangeHeader(someHead(), size: someSize()))
    case 3: .zeroes(RangeHeader(someHead(), size: someSize()))
    case 4: .barrier(UInt32(random.below(4)))
    case 5:
      .barrierAck(BarrierAck(handle: node.engine.epochs.closed.first?.number ?? 0, setSize: UInt32(random.below(4))))
    case 6: .dataRequest(someRequest())
    case 7: .dataReply(someHead())
    case 8: .resyncRequest(someRequest())
    case 9: .resyncReply(asked() ?? someHead())
    case 10: .verifyRequest(someRequest())
    case 11: .verifyReply(someRequest(), digest: [UInt8](repeating: 1, count: 20))
    case 12: .outOfSync(BlockDescriptor(sector: someSector(), size: someSize()))
    case 13: .writeAck(someAck())
    case 14: .resyncWriteAck(someAck())
    case 15: .negativeAck(someAck())
    case 16: .verifyResult(someAck())
    case 17: .negativeResyncReply(someAck())
    case 18: .inSync(someAck())
    case 19: .state(someState())
    case 20: .uuids(someGenerations())
    case 21: .syncUUID(random.next())
    case 22: .stateChangeRequest(someChange())
    case 23: .stateChangeReply(random.oneIn(2) ? 1 : -10)
    case 24: .sizes(someSizes())
    case 25: bitmap()
    case 26: .pingAck
    case 27: .connectionChangeRequest(someChange())
    case 28: .checksumRequest(someRequest(), digest: [UInt8](repeating: 1, count: 16))
    default: corpus[Int(random.below(UInt64(corpus.count)))]
    }
  }

  /// What a resync of the engine waits for.
  private func asked() -> DataHeader? {
    guard let first = node.engine.volumes[0].resync.asked.first else { return nil }
    var head = DataHeader()
    head.sector = first.range.start.value
    head.blockID = syncerBlockID
    return head
  }

  /// What a good peer might say now, and the bytes of its payload.
  private func fitting() -> (Packet, Int?) {
    let volume = node.volume()
    let isPrimary = node.engine.role == .primary
    let size = node.engine.volumes[0].size.value
    func inside(_ request: BlockRequest) -> BlockRequest {
      var request = request
      request.sector = random.below(max(size, 2048) - 2047) & ~7
      request.size = min(request.size, UInt32(PacketRow.longestBlock(version: node.engine.link.version)))
      return request
    }
    switch volume.replication {
    case .wfBitMapS, .wfBitMapT: return (wholeBitmap(), nil)
    case .wfSyncUUID: return (.syncUUID(random.next()), nil)
    case .syncTarget, .pausedSyncT:
      if let head = asked(), !random.oneIn(5), let first = node.engine.volumes[0].resync.asked.first {
        let ack = BlockAck(
          sector: head.sector, blockID: syncerBlockID, size: UInt32(first.range.bytes), sequence: 1)
        switch random.below(8) {
        case 0: return (.negativeResyncReply(ack), nil)
        case 1: return (.inSync(ack), nil)
        default: return (.resyncReply(head), Int(first.range.bytes))
        }
      }
    case .syncSource, .pausedSyncS:
      switch random.below(4) {
      case 0: return (.resyncRequest(inside(someRequest())), nil)
      case 1:
        return (
          .resyncWriteAck(
            BlockAck(sector: random.below(max(size / 8, 1)) * 8, blockID: syncerBlockID, size: 4096, sequence: 1)),
          nil
        )
      case 2:
        return (
          .state(
            PackedState(role: .secondary, peer: .primary, connection: .connected, disk: .upToDate, peerDisk: .upToDate)),
          nil
        )
      default: break
      }
    case .verifyS:
      if let first = node.engine.volumes[0].verify.asked.first {
        let request = BlockRequest(
          sector: first.range.start.value, blockID: syncerBlockID, size: UInt32(first.range.bytes))
        return (.verifyReply(request, digest: [UInt8](repeating: 1, count: 20)), nil)
      }
    case .verifyT:
      return (
        random.oneIn(2)
          ? .verifyRequest(inside(someRequest()))
          : .verifyResult(BlockAck(sector: 0, blockID: Engine.inSyncMark, size: 4096, sequence: 1)), nil
      )
    default: break
    }
    if isPrimary {
      if let write = writes.popLast() {
        switch random.below(12) {
        case 0: return (.negativeAck(write), nil)
        case 1: return (.resyncWriteAck(write), nil)
        case 2: return (.receiveAck(write), nil)
        default: return (.writeAck(write), nil)
        }
      }
      if let read = reads.popLast() {
        var head = DataHeader()
        head.sector = read.sector
        head.blockID = read.blockID
        return random.oneIn(8)
          ? (
            .negativeDataReply(BlockAck(sector: read.sector, blockID: read.blockID, size: read.size, sequence: 1)), nil
          )
          : (.dataReply(head), Int(read.size))
      }
      if let epoch = node.engine.epochs.closed.first, random.oneIn(2) {
        return (.barrierAck(BarrierAck(handle: epoch.number, setSize: epoch.packets)), nil)
      }
    } else if node.engine.volumes[0].state.peerRole == .primary {
      var head = someHead()
      head.sector = random.below(max(size, 2048) - 2047) & ~7
      switch random.below(6) {
      case 0: return (.barrier(UInt32(truncatingIfNeeded: random.next())), nil)
      case 1: return (.trim(RangeHeader(head, size: 65536)), nil)
      default: return (.data(head), 4096)
      }
    }
    switch random.below(8) {
    case 0: return (.pingAck, nil)
    case 1: return (.dataRequest(inside(someRequest())), nil)
    case 2: return (.stateChangeReply(1), nil)
    case 3: return (.stateChangeRequest(someChange()), nil)
    case 4: return (.outOfSync(BlockDescriptor(sector: inside(someRequest()).sector, size: 4096)), nil)
    case 5: return (.ping, nil)
    case 6 where random.oneIn(4): return (.state(someState()), nil)
    default: return (.pingAck, nil)
    }
  }

  /// The next chunk that is due.
  private func wholeBitmap() -> Packet {
    guard let receiver = node.engine.volumes[0].exchange.receiver else { return .pingAck }
    let words = (Int(receiver.bits) + 63) / 64 - Int(receiver.bit / 64)
    let most = (4096 - HeaderKind.size(version: node.engine.link.version)) / 8
    let left = receiver.bit == receiver.bits ? 0 : words
    return .bitmap([UInt8](repeating: random.oneIn(2) ? 0 : 0x11, count: min(left, most) * 8))
  }

  private func bitmap() -> Packet {
    if random.oneIn(3) { return .bitmap([]) }
    let words = (Int(node.engine.volumes[0].size.bits) + 63) / 64
    return .bitmap([UInt8](repeating: random.oneIn(2) ? 0 : 0x11, count: min(words, 500) * 8))
  }

  private static func isSent(_ packet: Packet, on kind: SocketKind, _ version: UInt32) -> Bool {
    let row = packet.code(version: version).row
    guard row.versions.contains(version) else { return false }
    return row.place == .both || (row.place == .data && kind == .data) || (row.place == .meta && kind == .meta)
  }

  // MARK: A life

  private func introduce() {
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
  private func greet() {
    introduce()
    let version = node.settings.net.maximumVersion
    send(.features(Features(minimum: 86, maximum: version, flags: .all)), on: .data, changed: false)
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

  private func pass(_ milliseconds: UInt64) {
    let end = node.now + .milliseconds(milliseconds)
    node.settle()
    while node.now < end {
      node.now = max(node.now, min(node.engine.nextDeadline ?? end, end))
      node.settle()
    }
  }

  private func application() {
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

  private func operate() {
    let commands: [Command] = [
      .primary(force: random.oneIn(3)), .secondary, .invalidate(.zero), .invalidateRemote(.zero),
      .verify(.zero, start: nil, stop: nil), .pauseSync(.zero), .resumeSync(.zero),
      .detach(.zero, force: random.oneIn(2)),
      .attach(.zero), .disconnect(force: random.oneIn(2)), .connect(discardMyData: random.oneIn(4)),
    ]
    _ = node.order(commands[Int(random.below(UInt64(commands.count)))])
  }

  /// The law is broken where data are replaced that nothing has given up.
  private func look(at effects: [Effect], _ role: Role, _ disk: DiskState) {
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
