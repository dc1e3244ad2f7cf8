// The recorded traffic of two kernels (Tests/Fixtures/wire, wire9): finds the scenarios, unpacks their streams, and pairs
// the data and the meta socket of every connection that got as far as agreeing on a version.
import Foundation
import Protocol
import Testing

/// One direction of one TCP connection, byte for byte.
struct RecordedStream {
  /// "01-data"
  let connection: String
  let fromAlpha: Bool
  let bytes: [UInt8]
  var isMeta: Bool { connection.hasSuffix("-meta") }
}

/// One line of packets.txt that names a packet.
struct ListedPacket: Equatable {
  let offset: Int
  let headerBits: Int
  let name: String
  let length: Int
}

/// A connection of the two nodes: two sockets and what the features packets agreed on.
struct RecordedLink {
  let dataConnection: String
  let metaConnection: String
  let dataOpenedByAlpha: Bool
  let metaOpenedByAlpha: Bool
  let version: UInt32
  let features: FeatureFlags

  /// The acceptor of the meta socket holds `resolve_conflicts`.
  var alphaResolvesConflicts: Bool { !metaOpenedByAlpha }
}

struct Recording: CustomTestStringConvertible {
  let directory: URL
  var name: String { directory.lastPathComponent }
  var isWithDRBD9: Bool { directory.deletingLastPathComponent().lastPathComponent == "wire9" }
  var testDescription: String { "\(directory.deletingLastPathComponent().lastPathComponent)/\(name)" }

  static let fixtures = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures")

  /// Every scenario, in order of name.
  static let all: [Recording] = ["wire", "wire9"].flatMap { part in
    let folder = fixtures.appending(path: part)
    return FileManager.default.enumerator(atPath: folder.path)!.map { $0 as! String }.filter { !$0.contains("/") }
      .sorted()
      .map { Recording(directory: folder.appending(path: $0)) }
      .filter { FileManager.default.fileExists(atPath: $0.directory.appending(path: "packets.txt").path) }
  }

  static func named(_ name: String) -> Recording { all.first { $0.name == name }! }

  func text(_ file: String) throws -> String {
    try String(contentsOf: directory.appending(path: file), encoding: .utf8)
  }

  func lines(_ file: String) throws -> [Substring] {
    try text(file).split(separator: "\n")
  }

  /// All streams, unpacked by one `xz`; their lengths come from timeline.tsv.
  func streams() throws -> [RecordedStream] {
    let files = try FileManager.default.contentsOfDirectory(atPath: directory.path)
      .filter { $0.hasSuffix(".bin.xz") }.sorted()
    let all = try Self.unpack(files.map { directory.appending(path: $0).path })
    var lengths: [String: Int] = [:]
    for line in try lines("timeline.tsv") {
      let fields = line.split(separator: "\t")
      let key = "\(fields[1]).\(fields[2])"
      lengths[key] = max(lengths[key] ?? 0, Int(fields[3])! + Int(fields[4])!)
    }
    var at = 0
    let streams = files.map { file in
      let key = String(file.dropLast(".bin.xz".count))
      defer { at += lengths[key]! }
      return RecordedStream(
        connection: String(key.prefix { $0 != "." }), fromAlpha: key.hasSuffix("a2b"),
        bytes: Array(all[at..<(at + lengths[key]!)]))
    }
    precondition(at == all.count, "timeline.tsv and the streams of \(name) differ")
    return streams
  }

  static func unpack(_ files: [String]) throws -> [UInt8] {
    let process = Process()
    let pipe = Pipe()
    process.executableURL = URL(filePath: "/usr/bin/xz")
    process.arguments = ["-dc"] + files
    process.standardOutput = pipe
    try process.run()
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    precondition(process.terminationStatus == 0, "xz failed")
    return [UInt8](data)
  }

  /// The packets of each stream as packets.txt lists them; keys like "01-data.a2b".
  func listedPackets() throws -> [String: [ListedPacket]] {
    var packets: [String: [ListedPacket]] = [:]
    for line in try lines("packets.txt") {
      let fields = line.split(separator: " ", omittingEmptySubsequences: true)
      guard fields.count >= 7, fields[3].hasPrefix("@"), fields[4].hasPrefix("h"), fields[6] == "len" else { continue }
      let packet = ListedPacket(
        offset: Int(fields[3].dropFirst())!, headerBits: Int(fields[4].dropFirst())!, name: String(fields[5]),
        length: Int(fields[7])!)
      packets["\(fields[1]).\(fields[2])", default: []].append(packet)
    }
    return packets
  }

  /// The connections that exchanged features on their data socket, in order of time.
  func links() throws -> [RecordedLink] {
    struct Life {
      var opened = 0.0
      var byAlpha = false
      var ended = Double.infinity
      var features: [(at: Double, words: [UInt32])] = []
    }
    var lives: [String: Life] = [:]
    for line in try lines("packets.txt") {
      let fields = line.split(separator: " ", omittingEmptySubsequences: true)
      guard fields.count >= 4, let time = Double(fields[0]), fields[1].contains("-"), fields[1] != "--" else {
        continue
      }
      let connection = String(fields[1])
      if fields[2] == "----" {
        lives[connection] = Life(opened: time, byAlpha: fields[3] == "alpha")
      } else if fields[3] == "FIN" || fields[3] == "RST" {
        if time < lives[connection]!.ended { lives[connection]!.ended = time }
      } else if fields.count > 10, fields[5] == "P_CONNECTION_FEATURES" {
        lives[connection]?.features.append((time, fields[8..<11].map { UInt32($0, radix: 16)! }))
      }
    }
    let used = lives.filter { $0.value.features.count == 2 }.sorted { $0.value.opened < $1.value.opened }
    return try used.map { name, life in
      let agreedAt = life.features[1].at
      let metas = lives.filter { $0.key.hasSuffix("-meta") && $0.value.opened < agreedAt && $0.value.ended > agreedAt }
      // After a power cut an old socket never ends in the recording: the youngest is the one in use.
      guard let (metaName, meta) = metas.max(by: { $0.value.opened < $1.value.opened }) else {
        throw Unpaired(connection: "\(self.name) \(name)")
      }
      let (one, other) = (life.features[0].words, life.features[1].words)
      return RecordedLink(
        dataConnection: name, metaConnection: metaName, dataOpenedByAlpha: life.byAlpha,
        metaOpenedByAlpha: meta.byAlpha, version: min(one[2], other[2]),
        features: FeatureFlags(rawValue: one[1] & other[1]))
    }
  }
}

struct Unpaired: Error {
  let connection: String
}

/// A packet where it was found.
struct DecodedPacket {
  let packet: Packet
  let volume: UInt16
  let offset: Int
  let front: Int
  let payload: Int
  /// The parser's settings for it.
  let stream: PacketStream
}

extension RecordedStream {
  static let digestSizes = ["": 0, "crc32c": 4, "md5": 16, "sha1": 20, "sha256": 32]

  /// Decodes the whole stream as its receiver would. Throws what the parser throws.
  func decode(agreed: (version: UInt32, features: FeatureFlags)?) throws -> [DecodedPacket] {
    var stream = PacketStream(socket: isMeta ? .meta : .data)
    var packets: [DecodedPacket] = []
    var at = 0
    if startsWithInitialPacket {
      stream.socket = .undecided
    } else if isMeta, let agreed {
      stream.version = agreed.version
      stream.features = agreed.features
    }
    while at < bytes.count {
      let left = bytes.span.bytes.extracting(at..<bytes.count)
      guard case .packet(let packet, let volume, let consumed, let payload) = try stream.next(left) else {
        throw Unfinished(connection: connection, offset: at, left: bytes.count - at)
      }
      packets.append(
        DecodedPacket(
          packet: packet, volume: volume, offset: at, front: consumed, payload: payload, stream: stream))
      at += consumed + payload
      switch packet {
      case .initialData: stream.socket = .data
      case .initialMeta:
        stream.socket = .meta
        if let agreed {
          stream.version = agreed.version
          stream.features = agreed.features
        }
      case .features:
        stream.version = agreed!.version
        stream.features = agreed!.features
      case .protocolOffer(let offer), .protocolUpdate(let offer):
        stream.integrityDigestSize = Self.digestSizes[offer.integrityAlgorithm]!
      default: break
      }
    }
    guard at == bytes.count else { throw Unfinished(connection: connection, offset: at, left: bytes.count - at) }
    return packets
  }

  private var startsWithInitialPacket: Bool {
    bytes.count >= 6 && bytes[4] == 0xff && (bytes[5] == 0xf1 || bytes[5] == 0xf2)
  }

  struct Unfinished: Error {
    let connection: String
    let offset: Int
    let left: Int
  }
}

extension Recording {
  /// Every stream with its packets. Surplus connections carry nothing but an initial packet.
  func decodedStreams() throws -> [(stream: RecordedStream, packets: [DecodedPacket])] {
    let links = try links()
    return try streams().map { stream in
      let link = links.first { $0.dataConnection == stream.connection || $0.metaConnection == stream.connection }
      return (stream, try stream.decode(agreed: link.map { ($0.version, $0.features) }))
    }
  }
}
