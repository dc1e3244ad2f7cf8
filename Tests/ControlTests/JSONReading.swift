// From a recorded `status --json` to a snapshot.
import Base
import Control

enum JSONReading {
  static func resource(_ object: [String: Any]) -> StatusSnapshot {
    var r = StatusSnapshot(
      name: object["name"] as? String ?? "", nodeID: number(object, "node-id"),
      role: Role(word: object["role"] as? String ?? "") ?? .unknown)
    r.writeOrdering = object["write-ordering"] as? String ?? ""
    r.devices = (object["devices"] as? [[String: Any]] ?? []).map(device)
    r.connections = (object["connections"] as? [[String: Any]] ?? []).map(connection)
    return r
  }

  private static func device(_ object: [String: Any]) -> DeviceStatus {
    var d = DeviceStatus(
      volume: VolumeNumber(UInt16(number(object, "volume"))), minor: UInt32(number(object, "minor")),
      disk: DiskState(word: object["disk-state"] as? String ?? "") ?? .unknown)
    d.isClient = object["client"] as? Bool ?? true
    d.hasQuorum = object["quorum"] as? Bool ?? false
    d.size = count(object, "size")
    d.read = count(object, "read")
    d.written = count(object, "written")
    d.activityLogWrites = count(object, "al-writes")
    d.bitmapWrites = count(object, "bm-writes")
    d.upperPending = count(object, "upper-pending")
    d.lowerPending = count(object, "lower-pending")
    return d
  }

  private static func connection(_ object: [String: Any]) -> ConnectionStatus {
    var c = ConnectionStatus(
      name: object["name"] as? String ?? "", peerNodeID: number(object, "peer-node-id"),
      state: ConnectionState(connection: object["connection-state"] as? String ?? ""),
      peerRole: Role(word: object["peer-role"] as? String ?? "") ?? .unknown)
    c.isCongested = object["congested"] as? Bool ?? true
    c.applicationInFlight = count(object, "ap-in-flight")
    c.resyncInFlight = count(object, "rs-in-flight")
    c.peerDevices = (object["peer_devices"] as? [[String: Any]] ?? []).map(peerDevice)
    return c
  }

  private static func peerDevice(_ object: [String: Any]) -> PeerDeviceStatus {
    var p = PeerDeviceStatus(
      volume: VolumeNumber(UInt16(number(object, "volume"))),
      replication: ConnectionState(replication: object["replication-state"] as? String ?? ""),
      peerDisk: DiskState(word: object["peer-disk-state"] as? String ?? "") ?? .unknown)
    p.received = count(object, "received")
    p.sent = count(object, "sent")
    p.outOfSync = count(object, "out-of-sync")
    p.pending = count(object, "pending")
    p.unacked = count(object, "unacked")
    let suspended = object["resync-suspended"] as? String ?? ""
    p.resyncSuspendedByUser = suspended.contains("user")
    p.resyncSuspendedByPeer = suspended.contains("peer")
    if object["has-sync-details"] as? Bool == true { p.resync = resync(object) }
    return p
  }

  private static func resync(_ object: [String: Any]) -> ResyncStatus {
    var r = ResyncStatus(totalSectors: count(object, "rs-total"))
    r.elapsedMilliseconds = count(object, "rs-dt-start-ms")
    r.pausedMilliseconds = count(object, "rs-paused-ms")
    r.olderMark = .init(milliseconds: count(object, "rs-dt0-ms"), sectors: count(object, "rs-db0-sectors"))
    r.newerMark = .init(milliseconds: count(object, "rs-dt1-ms"), sectors: count(object, "rs-db1-sectors"))
    r.failedSectors = count(object, "rs-failed")
    r.sameChecksumSectors = count(object, "rs-same-csum")
    r.wantedRate = UInt64(((object["want"] as? Double ?? 0) * 1024).rounded())
    if object["has-online-verify-details"] as? Bool == true {
      let stop = number(object, "ov-stop-sector")
      r.verify = .init(
        start: count(object, "ov-start-sector"), stop: stop < 0 ? nil : UInt64(stop),
        position: count(object, "ov-position"), left: count(object, "ov-left"), skipped: count(object, "ov-skipped"))
    }
    return r
  }

  private static func number(_ object: [String: Any], _ key: String) -> Int { object[key] as? Int ?? 0 }
  private static func count(_ object: [String: Any], _ key: String) -> UInt64 { UInt64(number(object, key)) }
}
