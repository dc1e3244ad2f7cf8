// A peer without manners, driven by a seed: what recordings and the protocol's catalogue hold, sent as bytes with some of them
// changed, in any order and at any moment, to one engine that works for an application meanwhile.
import Base
import Protocol
import Testing

@testable import Engine

final class RudePeer {
  let node: Node
  var random: SeededGenerator
  let corpus: [Packet]
  var streams: [SocketID: PacketStream] = [:]
  var open: [SocketID] = []
  var paused: Set<SocketID> = []
  var lastSocket: UInt32 = 0
  var isAwaited = false
  var tickets: [Ticket] = []
  /// Writes and reads of the engine that wait for an answer.
  var writes: [BlockAck] = []
  var reads: [BlockRequest] = []
  /// Of hundred packets so many fit the state that the engine is in.
  let manners: UInt64
  /// It announces versions above 101, and the engine follows the rules of DRBD 9.
  let isDRBD9: Bool
  /// Handles of the engine that a peer has seen.
  var seen: [UInt64] = [syncerBlockID]
  var met: [String: Int] = [:]

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
    isDRBD9 = seed % 3 == 0 && settings.net.maximumVersion >= 100
    manners = [0, 60, 90, 97, 97, 99][Int(random.below(6))]
    let bytes: UInt64 = [4 << 20, 8 << 20, 64 << 20][Int(random.below(3))]
    let disks = settings.volumes[0].hasDisk ? [VolumeNumber.zero: try FakeDisk.created(bytes: bytes)] : [:]
    node = Node("alpha", settings: settings, disks: disks, seed: seed)
    self.random = random
    node.onNetwork = { [unowned self] in self.carry($0) }
  }

  // MARK: The network

  func newSocket() -> SocketID {
    lastSocket += 1
    open.append(SocketID(lastSocket))
    return SocketID(lastSocket)
  }

  func carry(_ effect: Effect) {
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

  func wrote(_ head: DataHeader, _ size: UInt32) {
    seen.append(head.blockID)
    writes.append(BlockAck(sector: head.sector, blockID: head.blockID, size: size, sequence: 1))
  }

  func end(_ socket: SocketID) {
    guard let at = open.firstIndex(of: socket) else { return }
    open.remove(at: at)
    streams[socket] = nil
    writes = []
    reads = []
    node.inbox.append(.event(.socketClosed(socket)))
  }

  func socket(_ kind: SocketKind) -> SocketID? {
    let link = node.engine.link
    switch kind {
    case .data: return link.data
    case .meta: return link.meta
    case .undecided: return open.last
    }
  }

  /// As bytes through the parser, some of them changed.
  func send(_ packet: Packet, on kind: SocketKind, changed: Bool, payload wanted: Int? = nil) {
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

  func deliver(_ packet: Packet, _ volume: VolumeNumber, _ payload: Int, _ socket: SocketID) {
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
  func change(_ bytes: inout [UInt8], _ header: Int) {
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

  func put(_ value: UInt64, _ count: Int, _ at: Int, _ bytes: inout [UInt8]) {
    for i in 0..<count where at + i < bytes.count {
      bytes[at + i] = UInt8(truncatingIfNeeded: value >> UInt64((count - 1 - i) * 8))
    }
  }

  func number() -> UInt64 {
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
}
