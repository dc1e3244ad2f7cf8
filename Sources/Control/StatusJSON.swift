// `status --json` (admin spec 5.2), written by hand: readers parse it, and the byte details of drbd-utils 9.22 are kept (a
// blank after the connection state, an empty line at the end). Law (spec section 11): keys may be added, no type changes.
import Base

public enum StatusJSON {
  public static func render(_ resources: [StatusSnapshot]) -> String {
    guard !resources.isEmpty else { return "[\n]\n\n" }
    let sorted = resources.sorted { $0.name < $1.name }
    return "[\n" + sorted.map(resource).joined(separator: ",\n") + "\n]\n\n"
  }

  private static func resource(_ r: StatusSnapshot) -> String {
    var object = JSONLines(indent: 0)
    object.string("name", r.name)
    object.raw("node-id", "\(r.nodeID)")
    object.string("role", r.role.name)
    object.raw("suspended", "\(r.isSuspended)")
    object.raw("suspended-user", "\(r.suspendedByUser)")
    object.raw("suspended-no-data", "\(r.suspendedNoData)")
    object.raw("suspended-fencing", "\(r.suspendedFencing)")
    object.raw("suspended-quorum", "\(r.suspendedQuorum)")
    object.raw("force-io-failures", "\(r.forcesIOFailures)")
    object.string("write-ordering", r.writeOrdering)
    object.list("devices", r.devices.sorted { $0.volume < $1.volume }.map(device))
    let sizes = r.devices.reduce(into: [VolumeNumber: UInt64]()) { $0[$1.volume] = $1.size }
    object.list("connections", r.connections.sorted { $0.name < $1.name }.map { connection($0, sizes: sizes) })
    return object.text
  }

  private static func device(_ d: DeviceStatus) -> String {
    var object = JSONLines(indent: 4)
    object.raw("volume", "\(d.volume.value)")
    object.raw("minor", "\(d.minor)")
    object.string("disk-state", d.disk.name)
    object.raw("client", "\(d.isClient)")
    object.raw("quorum", "\(d.hasQuorum)")
    object.raw("size", "\(d.size)")
    object.raw("read", "\(d.read)")
    object.raw("written", "\(d.written)")
    object.raw("al-writes", "\(d.activityLogWrites)")
    object.raw("bm-writes", "\(d.bitmapWrites)")
    object.raw("upper-pending", "\(d.upperPending)")
    object.raw("lower-pending", "\(d.lowerPending)")
    return object.text
  }

  private static func connection(_ c: ConnectionStatus, sizes: [VolumeNumber: UInt64]) -> String {
    var object = JSONLines(indent: 4)
    object.raw("peer-node-id", "\(c.peerNodeID)")
    object.string("name", c.name)
    object.string("connection-state", c.state.connectionName, blankAfter: true)
    if let why = c.refusedBecause { object.string("refused-because", why) }
    if let why = c.cannotListen { object.string("cannot-listen", why) }
    object.raw("congested", "\(c.isCongested)")
    object.string("peer-role", c.peerRole.name)
    object.raw("ap-in-flight", "\(c.applicationInFlight)")
    object.raw("rs-in-flight", "\(c.resyncInFlight)")
    let peers = c.peerDevices.sorted { $0.volume < $1.volume }
    object.list("peer_devices", peers.map { peerDevice($0, size: sizes[$0.volume] ?? 0) })
    return object.text
  }

  private static func peerDevice(_ p: PeerDeviceStatus, size: UInt64) -> String {
    var object = JSONLines(indent: 8)
    object.raw("volume", "\(p.volume.value)")
    object.string("replication-state", p.replication.replicationName)
    object.string("peer-disk-state", p.peerDisk.name)
    object.raw("peer-client", "\(p.isPeerClient)")
    object.string("resync-suspended", p.resyncSuspendedWords)
    object.raw("received", "\(p.received)")
    object.raw("sent", "\(p.sent)")
    object.raw("out-of-sync", "\(p.outOfSync)")
    object.raw("pending", "\(p.pending)")
    object.raw("unacked", "\(p.unacked)")
    object.raw("has-sync-details", "\(p.resync != nil)")
    object.raw("has-online-verify-details", "\(p.resync?.verify != nil)")
    object.raw("percent-in-sync", decimals(p.percentInSync(ofKiB: size)))
    if let resync = p.resync { details(resync, of: p, &object) }
    return object.text
  }

  private static func details(_ r: ResyncStatus, of p: PeerDeviceStatus, _ object: inout JSONLines) {
    object.raw("rs-total", "\(r.totalSectors)")
    object.raw("rs-dt-start-ms", "\(r.elapsedMilliseconds)")
    object.raw("rs-paused-ms", "\(r.pausedMilliseconds)")
    object.raw("rs-dt0-ms", "\(r.olderMark.milliseconds)")
    object.raw("rs-db0-sectors", "\(r.olderMark.sectors)")
    object.raw("rs-dt1-ms", "\(r.newerMark.milliseconds)")
    object.raw("rs-db1-sectors", "\(r.newerMark.sectors)")
    if let verify = r.verify {
      object.raw("ov-start-sector", "\(verify.startSector)")
      object.raw("ov-stop-sector", verify.stopSector.map { "\($0)" } ?? "-1")
      object.raw("ov-position", "\(verify.positionSector)")
      object.raw("ov-left", "\(verify.leftSectors)")
      object.raw("ov-skipped", "\(verify.skippedSectors)")
    } else {
      object.raw("rs-failed", "\(r.failedSectors)")
      object.raw("rs-same-csum", "\(r.sameChecksumSectors)")
    }
    object.raw("want", decimals(Double(r.wantedRate) / 1024))
    object.raw("db0/dt0 [MiB/s]", decimals(r.olderMark.rate))
    object.raw("db1/dt1 [MiB/s]", decimals(r.newerMark.rate))
    object.raw("estimated-seconds-to-finish", p.secondsLeft.map { "\($0)" } ?? "-1")
    object.raw("db/dt [MiB/s]", decimals(r.overallRate(left: p.sectorsLeft)))
    object.raw("percent-resync-done", decimals(p.percentDone ?? 0))
  }
}

/// An object with one member per line.
private struct JSONLines {
  private var members: [String] = []
  private let margin: String

  init(indent: Int) { margin = String(repeating: " ", count: indent) }

  var text: String { "\(margin){\n" + members.joined(separator: "\n").dropTrailingComma() + "\n\(margin)}" }

  mutating func raw(_ key: String, _ value: String) { members.append("\(margin)  \"\(key)\": \(value),") }

  mutating func string(_ key: String, _ value: String, blankAfter: Bool = false) {
    members.append("\(margin)  \"\(key)\": \"\(value.escapedForJSON)\"," + (blankAfter ? " " : ""))
  }

  mutating func list(_ key: String, _ objects: [String]) {
    let body = objects.isEmpty ? "" : objects.joined(separator: ",\n") + " "
    members.append("\(margin)  \"\(key)\": [\n\(body)],")
  }
}

extension String {
  fileprivate func dropTrailingComma() -> Substring { hasSuffix(",") ? dropLast() : self[...] }
}
