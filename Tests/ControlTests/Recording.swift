// The recorded outputs of DRBD 9.3.3 (Fixtures/admin), and the way from a recorded `status` back to a snapshot. The reader
// knows words and indents only, not where lines break: what it cannot know is the renderer's to get right.
import Base
import Control
import Foundation

enum Recording {
  static let directory = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures/admin")

  static func output(_ step: String) throws -> String {
    try String(contentsOf: directory.appending(path: step + ".out"), encoding: .utf8)
  }

  /// Every step whose command line has `part` in it and exited with 0, as `story/number`.
  static func steps(with command: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: directory.path).sorted().flatMap { story -> [String] in
      let table = directory.appending(path: story).appending(path: "steps.tsv")
      guard let text = try? String(contentsOf: table, encoding: .utf8) else { return [] }
      return text.split(separator: "\n").compactMap { line in
        let fields = line.split(separator: "\t", maxSplits: 3)
        return fields.count == 4 && fields[2] == "0" && fields[3] == command ? "\(story)/\(fields[0])" : nil
      }
    }
  }

  /// Reads `status` text. The first line is the resource; two blanks: device or connection; four: peer device.
  static func snapshot(ofText text: String) -> StatusSnapshot {
    var words: [(indent: Int, words: [String])] = []
    for line in text.split(separator: "\n") {
      let indent = line.prefix { $0 == " " }.count
      let parts = line.split(separator: " ").map(String.init)
      let continues = indent > 4 || (indent == 4 && words.last?.indent == 0)
      if continues { words[words.count - 1].words += parts } else { words.append((indent, parts)) }
    }
    var result = StatusSnapshot(name: words[0].words[0], nodeID: 0, role: .secondary)
    for (indent, parts) in words {
      let fields = Fields(parts)
      switch indent {
      case 0:
        result.role = Role(word: fields["role"] ?? "") ?? .unknown
        result.nodeID = fields.number("node-id")
      case 2 where fields["disk"] != nil: result.devices.append(device(fields))
      case 2: result.connections.append(connection(parts[0], fields))
      default:
        let size = result.devices.first?.size ?? 0
        result.connections[result.connections.count - 1].peerDevices.append(peerDevice(fields, size: size))
      }
    }
    return result
  }

  private static func device(_ fields: Fields) -> DeviceStatus {
    var device = DeviceStatus(
      volume: VolumeNumber(UInt16(fields.number("volume"))), minor: UInt32(fields.number("minor")),
      disk: DiskState(word: fields["disk"] ?? "") ?? .unknown)
    device.backingDevice = fields["backing_dev"] ?? ""
    readCounters(fields, into: &device)
    device.activityLogSuspended = fields["al-suspended"] == "yes"
    return device
  }

  static func readCounters(_ fields: Fields, into device: inout DeviceStatus) {
    device.size = UInt64(fields.number("size"))
    device.read = UInt64(fields.number("read"))
    device.written = UInt64(fields.number("written"))
    device.activityLogWrites = UInt64(fields.number("al-writes"))
    device.bitmapWrites = UInt64(fields.number("bm-writes"))
    device.upperPending = UInt64(fields.number("upper-pending"))
    device.lowerPending = UInt64(fields.number("lower-pending"))
  }

  private static func connection(_ name: String, _ fields: Fields) -> ConnectionStatus {
    var connection = ConnectionStatus(
      name: name, peerNodeID: fields.number("node-id"),
      state: ConnectionState(connection: fields["connection"] ?? "Connected"),
      peerRole: Role(word: fields["role"] ?? "Unknown") ?? .unknown)
    connection.applicationInFlight = UInt64(fields.number("ap-in-flight"))
    connection.resyncInFlight = UInt64(fields.number("rs-in-flight"))
    return connection
  }

  private static func peerDevice(_ fields: Fields, size: UInt64) -> PeerDeviceStatus {
    var peer = PeerDeviceStatus(
      volume: VolumeNumber(UInt16(fields.number("volume"))),
      replication: ConnectionState(replication: fields["replication"] ?? "Established"),
      peerDisk: DiskState(word: fields["peer-disk"] ?? "") ?? .unknown)
    let suspended = fields["resync-suspended"] ?? "no"
    peer.resyncSuspendedByUser = suspended.contains("user")
    peer.resyncSuspendedByPeer = suspended.contains("peer")
    peer.received = UInt64(fields.number("received"))
    peer.sent = UInt64(fields.number("sent"))
    peer.outOfSync = UInt64(fields.number("out-of-sync"))
    peer.pending = UInt64(fields.number("pending"))
    peer.unacked = UInt64(fields.number("unacked"))
    if let done = fields["done"].flatMap(Double.init) {
      var resync = ResyncStatus(totalSectors: size * 2)
      if fields["out-of-sync"] == nil {
        resync.totalSectors = 20_000
        peer.outOfSync = UInt64((10_000 - done * 100).rounded())
      }
      let rate = Double(fields["dbdt1"] ?? "1") ?? 1
      resync.newerMark = .init(milliseconds: 1_000_000, sectors: UInt64(rate * 2048 * 1000))
      peer.resync = resync
    }
    return peer
  }

  /// Reads `status --json`: a checker of the renderer that shares no code with it.
  static func snapshots(ofJSON text: String) throws -> [StatusSnapshot] {
    let list = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]] ?? []
    return list.map(JSONReading.resource)
  }
}

/// `key:value` words of one line.
struct Fields {
  private var values: [String: String] = [:]
  init(_ words: [String]) {
    for word in words {
      let parts = word.split(separator: ":", maxSplits: 1)
      if parts.count == 2 { values[String(parts[0])] = String(parts[1]) }
    }
  }
  subscript(_ key: String) -> String? { values[key] }
  func number(_ key: String) -> Int { values[key].flatMap { Int($0) } ?? 0 }
}

extension Role {
  init?(word: String) {
    guard let match = Role.allCases.first(where: { $0.name == word }) else { return nil }
    self = match
  }
}

extension DiskState {
  init?(word: String) {
    guard let match = DiskState.allCases.first(where: { $0.name == word }) else { return nil }
    self = match
  }
}

extension ConnectionState {
  init(connection word: String) {
    self = ConnectionState.allCases.first { $0.connectionName == word && $0 <= .connected } ?? .standAlone
  }
  init(replication word: String) {
    self = ConnectionState.allCases.first { $0.replicationName == word } ?? .standAlone
  }
}
