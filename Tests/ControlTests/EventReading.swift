// From recorded lines of `events2` back to a snapshot: the reader of the tests.
import Base
import Control

enum EventReading {
  /// A change that names its object and nothing else.
  static func isEmpty(_ line: String) -> Bool {
    let known = ["name", "peer-node-id", "conn-name", "volume", "minor", "local", "peer"]
    return line.hasPrefix("change")
      && line.split(separator: " ").dropFirst(2).allSatisfy { word in
        known.contains(String(word.prefix { $0 != ":" }))
      }
  }

  static func apply(_ line: String, to state: StatusSnapshot?) -> StatusSnapshot? {
    let words = line.split(separator: " ").map(String.init)
    guard words.count > 2 else { return state }
    let fields = Fields(Array(words.dropFirst(2)))
    let isGone = words[0] == "destroy"
    var s = state ?? StatusSnapshot(name: fields["name"] ?? "", nodeID: 0, role: .secondary)
    let volume = VolumeNumber(UInt16(fields.number("volume")))
    let connection = s.connections.firstIndex { $0.name == fields["conn-name"] }
    switch words[1] {
    case "resource":
      if isGone { return nil }
      if let role = fields["role"].flatMap({ Role(word: $0) }) { s.role = role }
      if let ordering = fields["write-ordering"] { s.writeOrdering = ordering }
    case "device":
      s.devices.removeAll { isGone && $0.volume == volume }
      if isGone { break }
      var device =
        s.devices.first { $0.volume == volume }
        ?? DeviceStatus(volume: volume, minor: UInt32(fields.number("minor")), disk: .diskless)
      read(fields, into: &device)
      s.devices = s.devices.filter { $0.volume != volume } + [device]
    case "connection":
      s.connections.removeAll { isGone && $0.name == fields["conn-name"] }
      if isGone { break }
      if connection == nil {
        s.connections.append(
          ConnectionStatus(
            name: fields["conn-name"] ?? "", peerNodeID: fields.number("peer-node-id"), state: .standAlone,
            peerRole: .unknown))
      }
      let at = connection ?? s.connections.count - 1
      if let word = fields["connection"] { s.connections[at].state = ConnectionState(connection: word) }
      if let role = fields["role"].flatMap({ Role(word: $0) }) { s.connections[at].peerRole = role }
    case "peer-device":
      guard let connection else { break }
      var peer =
        s.connections[connection].peerDevices.first { $0.volume == volume }
        ?? PeerDeviceStatus(volume: volume, replication: .standAlone, peerDisk: .unknown)
      read(fields, size: s.devices.first?.size ?? 0, into: &peer)
      s.connections[connection].peerDevices.removeAll { $0.volume == volume }
      if !isGone { s.connections[connection].peerDevices.append(peer) }
    case "path":
      guard let connection, let local = fields["local"], let other = fields["peer"] else { break }
      s.connections[connection].paths.removeAll { $0.local == local }
      if !isGone {
        s.connections[connection].paths.append(
          PathStatus(local: local, peer: other, isEstablished: fields["established"] == "yes"))
      }
    default: return state
    }
    return s
  }

  /// 9's Detaching is Failed here.
  private static func disk(_ word: String?) -> DiskState? {
    word.flatMap { DiskState(word: $0 == "Detaching" ? "Failed" : $0) }
  }

  private static func read(_ fields: Fields, into device: inout DeviceStatus) {
    if let word = disk(fields["disk"]) {
      device.disk = word
      device.backingDevice = fields["backing_dev"] == "none" ? "" : fields["backing_dev"] ?? ""
    }
    if fields["size"] != nil { Recording.readCounters(fields, into: &device) }
    if let suspended = fields["al-suspended"] { device.activityLogSuspended = suspended == "yes" }
  }

  private static func read(_ fields: Fields, size: UInt64, into peer: inout PeerDeviceStatus) {
    if let word = fields["replication"] { peer.replication = ConnectionState(replication: word) }
    if let word = disk(fields["peer-disk"]) { peer.peerDisk = word }
    if let suspended = fields["resync-suspended"] {
      peer.resyncSuspendedByUser = suspended.contains("user")
      peer.resyncSuspendedByPeer = suspended.contains("peer")
    }
    let counts = fields["received"] != nil
    if counts {
      peer.received = UInt64(fields.number("received"))
      peer.sent = UInt64(fields.number("sent"))
      peer.outOfSync = UInt64(fields.number("out-of-sync"))
      peer.pending = UInt64(fields.number("pending"))
      peer.unacked = UInt64(fields.number("unacked"))
    }
    if let done = fields["done"].flatMap(Double.init) {
      var resync = ResyncStatus(totalSectors: counts ? size * 2 : 20_000)
      if !counts { peer.outOfSync = UInt64((10_000 - done * 100).rounded()) }
      let rate = Double(fields["dbdt1"] ?? "1") ?? 1
      resync.newerMark = .init(milliseconds: 1_000_000, sectors: UInt64(rate * 2048 * 1000))
      if peer.replication == .verifyS || peer.replication == .verifyT {
        resync.totalSectors = 10_000
        resync.verify = .init(
          start: 0, stop: nil, position: 0, left: UInt64((10_000 - done * 100).rounded()), skipped: 0)
      }
      peer.resync = resync
    } else if counts || fields["replication"] != nil {
      peer.resync = nil
    }
  }
}
