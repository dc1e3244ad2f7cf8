// Requests of the peer that wait for the memory of their answer. Law: a request waits here and holds no memory, and the
// socket is read on behind it. So a node whose answers are not read yet still takes in the answers to its own requests:
// two nodes that resync from each other cannot both stop reading.
import Base
import Engine
import Protocol

struct WaitingRequests: ~Copyable {
  /// More than two DRBDs ask of each other. Whoever asks for more is not read until some were answered.
  static let limit = 65_536

  enum Kind { case data, resync, thin, checksum }
  struct Entry {
    var kind: Kind
    var volume: VolumeNumber
    var request: BlockRequest
    var digest: [UInt8]
  }

  private var entries = Queue<Entry>(capacity: 16)

  var isEmpty: Bool { entries.isEmpty }
  var isFull: Bool { entries.count >= WaitingRequests.limit }

  /// Size of the buffer that goes with a request which is answered with payload; nil: it is no such request.
  static func bytes(askedBy packet: Packet) -> Int? {
    switch packet {
    case .dataRequest(let request), .resyncRequest(let request), .thinRequest(let request),
      .checksumRequest(let request, _):
      Int(request.size)
    default: nil
    }
  }

  mutating func append(_ packet: Packet, _ volume: VolumeNumber) {
    switch packet {
    case .dataRequest(let request): entries.append(Entry(kind: .data, volume: volume, request: request, digest: []))
    case .resyncRequest(let request): entries.append(Entry(kind: .resync, volume: volume, request: request, digest: []))
    case .thinRequest(let request): entries.append(Entry(kind: .thin, volume: volume, request: request, digest: []))
    case .checksumRequest(let request, let digest):
      entries.append(Entry(kind: .checksum, volume: volume, request: request, digest: digest))
    default: preconditionFailure("\(packet.name) asks for no bytes")
    }
  }

  /// Bytes that the oldest one asks for.
  var bytesWanted: Int? { entries.first.map { Int($0.request.size) } }

  mutating func popFirst() -> (packet: Packet, volume: VolumeNumber)? {
    guard let entry = entries.popFirst() else { return nil }
    let packet: Packet =
      switch entry.kind {
      case .data: .dataRequest(entry.request)
      case .resync: .resyncRequest(entry.request)
      case .thin: .thinRequest(entry.request)
      case .checksum: .checksumRequest(entry.request, digest: entry.digest)
      }
    return (packet, entry.volume)
  }
}
