// The objects of `events2` with their fields in DRBD's groups: what belongs to a group is printed together.
import Base

extension EventText {
  /// An object of a line: who it is, then its groups of fields, each with the values before.
  struct Object {
    let kind: String
    private(set) var identities: [(key: String, value: String, survives: Bool)] = []
    private var groups: [Group] = []

    struct Group {
      var fields: [(key: String, value: String, old: String?)]
      var hasChanged: Bool
    }

    init(_ kind: String) { self.kind = kind }

    /// `survives`: printed when the object is destroyed, too.
    mutating func identity(_ key: String, _ value: String, survives: Bool = true) {
      identities.append((key, value, survives))
    }

    /// Fields that are printed when one of them changed. `old` is parallel to `fields`, or nil for a new object.
    /// `with`: changed also when these differ, which are not printed.
    mutating func group(_ fields: [(String, String)], old: [(String, String)]?, with unseen: Bool = false) {
      guard !fields.isEmpty else { return }
      let before = old.map { old in fields.map { field in old.first { $0.0 == field.0 }?.1 } }
      let pairs = fields.enumerated().map { ($1.0, $1.1, before?[$0]) }
      let differs = before == nil || pairs.contains { $0.1 != $0.2 } || unseen
      groups.append(Group(fields: pairs.map { (key: $0.0, value: $0.1, old: $0.2) }, hasChanged: differs))
    }

    var hasChanged: Bool { groups.contains(where: \.hasChanged) }
    var destroyed: [String] { identities.filter(\.survives).map { "\($0.key):\($0.value)" } }

    func words(full: Bool, diff: Bool) -> [String] {
      identities.map { "\($0.key):\($0.value)" }
        + groups.filter { full || $0.hasChanged }.flatMap { group in
          group.fields.map { field in
            guard diff, let old = field.old, old != field.value else { return "\(field.key):\(field.value)" }
            return "\(field.key):\(old)->\(field.value)"
          }
        }
    }
  }

  func resource(_ s: StatusSnapshot, from old: StatusSnapshot?) -> Object {
    var object = Object("resource")
    object.identity("name", s.name)
    object.group([("role", s.role.name)], old: old.map { [("role", $0.role.name)] })
    func suspended(_ s: StatusSnapshot) -> [(String, String)] { [("suspended", s.suspendedWords)] }
    object.group(suspended(s), old: old.map(suspended))
    func failures(_ s: StatusSnapshot) -> [(String, String)] { [("force-io-failures", yesNo(s.forcesIOFailures))] }
    object.group(failures(s), old: old.map(failures))
    if statistics {
      object.group([("write-ordering", s.writeOrdering)], old: old.map { [("write-ordering", $0.writeOrdering)] })
    }
    func promotion(_ s: StatusSnapshot) -> [(String, String)] {
      [("may_promote", yesNo(s.mayPromote)), ("promotion_score", "\(s.promotionScore)")]
    }
    // A role that changed is shown together with what it means for a promotion.
    object.group(promotion(s), old: old.map(promotion), with: old.map { $0.role != s.role } ?? false)
    return object
  }

  func device(_ d: DeviceStatus, of s: StatusSnapshot, from old: DeviceStatus?) -> Object {
    var object = Object("device")
    object.identity("name", s.name)
    object.identity("volume", "\(d.volume.value)")
    object.identity("minor", "\(d.minor)", survives: false)
    func state(_ d: DeviceStatus) -> [(String, String)] {
      [
        ("backing_dev", d.backingDevice.isEmpty ? "none" : d.backingDevice), ("disk", d.disk.name),
        ("client", yesNo(d.isClient)), ("quorum", yesNo(d.hasQuorum)),
      ]
    }
    object.group(state(d), old: old.map(state))
    guard statistics else { return object }
    func counters(_ d: DeviceStatus) -> [(String, String)] {
      [
        ("size", "\(d.size)"), ("read", "\(d.read)"), ("written", "\(d.written)"),
        ("al-writes", "\(d.activityLogWrites)"), ("bm-writes", "\(d.bitmapWrites)"),
        ("upper-pending", "\(d.upperPending)"), ("lower-pending", "\(d.lowerPending)"),
      ]
    }
    func suspended(_ d: DeviceStatus) -> [(String, String)] { [("al-suspended", yesNo(d.activityLogSuspended))] }
    object.group(
      counters(d), old: old.map(counters), with: old.map { $0.activityLogSuspended != d.activityLogSuspended } ?? false)
    object.group(suspended(d), old: old.map(suspended))
    object.group([("blocked", "no")], old: old.map { _ in [("blocked", "no")] })
    return object
  }

  func connection(_ c: ConnectionStatus, of s: StatusSnapshot, from old: ConnectionStatus?) -> Object {
    var object = named("connection", c, s)
    object.group(
      [("connection", c.state.connectionName)], old: old.map { [("connection", $0.state.connectionName)] })
    object.group([("role", c.peerRole.name)], old: old.map { [("role", $0.peerRole.name)] })
    guard statistics else { return object }
    func counters(_ c: ConnectionStatus) -> [(String, String)] {
      [
        ("congested", yesNo(c.isCongested)), ("ap-in-flight", "\(c.applicationInFlight)"),
        ("rs-in-flight", "\(c.resyncInFlight)"),
      ]
    }
    object.group(counters(c), old: old.map(counters))
    return object
  }

  func peerDevice(
    _ p: PeerDeviceStatus, of c: ConnectionStatus, _ s: StatusSnapshot, from old: PeerDeviceStatus?
  ) -> Object {
    var object = named("peer-device", c, s)
    object.identity("volume", "\(p.volume.value)")
    func replication(_ p: PeerDeviceStatus) -> [(String, String)] { [("replication", p.replication.replicationName)] }
    object.group(replication(p), old: old.map(replication))
    func disk(_ p: PeerDeviceStatus) -> [(String, String)] {
      [("peer-disk", p.peerDisk.name), ("peer-client", yesNo(p.isPeerClient))]
    }
    object.group(disk(p), old: old.map(disk))
    func suspended(_ p: PeerDeviceStatus) -> [(String, String)] { [("resync-suspended", p.resyncSuspendedWords)] }
    object.group(suspended(p), old: old.map(suspended))
    func done(_ p: PeerDeviceStatus) -> [(String, String)] { p.percentDone.map { [("done", decimals($0))] } ?? [] }
    // Another state of a resync tells how far it is, also when nothing has moved.
    let isOther = old.map { $0.replication != p.replication && p.percentDone != nil } ?? false
    let hasMoved = old.map { counters($0).map(\.1) != counters(p).map(\.1) } ?? false
    object.group(done(p), old: old.map(done), with: isOther || statistics && hasMoved)
    if statistics {
      object.group(
        counters(p), old: old.map(counters),
        with: isOther || old.map { done($0).map(\.1) != done(p).map(\.1) } ?? false)
    }
    return object
  }

  private func counters(_ p: PeerDeviceStatus) -> [(String, String)] {
    var fields = [
      ("received", "\(p.received)"), ("sent", "\(p.sent)"), ("out-of-sync", "\(p.outOfSync)"),
      ("pending", "\(p.pending)"), ("unacked", "\(p.unacked)"),
    ]
    if let resync = p.resync {
      fields.append(("dbdt1", decimals(resync.newerMark.rate)))
      fields.append(("eta", p.secondsLeft.map(String.init) ?? "nan"))
    }
    return fields
  }

  func path(_ p: PathStatus, of c: ConnectionStatus, _ s: StatusSnapshot, from old: PathStatus?) -> Object {
    var object = named("path", c, s)
    object.identity("local", p.local)
    object.identity("peer", p.peer)
    func established(_ p: PathStatus) -> [(String, String)] { [("established", yesNo(p.isEstablished))] }
    object.group(established(p), old: old.map(established))
    return object
  }

  private func named(_ kind: String, _ c: ConnectionStatus, _ s: StatusSnapshot) -> Object {
    var object = Object(kind)
    object.identity("name", s.name)
    object.identity("peer-node-id", "\(c.peerNodeID)")
    object.identity("conn-name", c.name)
    return object
  }
}
