// `metrics`: the state of all resources in Prometheus' text format (version 0.0.4). Metrics that DRBD's own exporter has carry its
// names, labels and units, so that its dashboards and alerts work; what it has no name for begins with `repl_`.
import Base

public struct MetricsText {
  /// A resource of the configuration, and how it stands; nil while its daemon is not running.
  public typealias Resource = (name: String, snapshot: StatusSnapshot?)

  private var families: [Family] = []

  private struct Family {
    var name: String
    var help: String
    var type: String
    var samples: [String] = []
  }

  public static func render(_ resources: [Resource]) -> String {
    var text = MetricsText()
    text.sample("repl_version", help: "Version of repl.", [("version", Product.version)], 1)
    text.sample("drbd_resource_resources", help: "Number of resources.", [], UInt64(resources.count))
    for resource in resources.sorted(by: { $0.name < $1.name }) {
      text.sample(
        "repl_resource_up", help: "Whether repld runs for the resource and answers.", [("name", resource.name)],
        resource.snapshot == nil ? 0 : 1)
      if let snapshot = resource.snapshot { text.add(snapshot) }
    }
    return text.families.map { family in
      "# HELP \(family.name) \(family.help)\n# TYPE \(family.name) \(family.type)\n"
        + family.samples.map { $0 + "\n" }.joined()
    }.joined()
  }

  private mutating func add(_ r: StatusSnapshot) {
    let labels = [("name", r.name)]
    states("drbd_resource_role", help: "Role of the resource.", labels, Role.allCases.map(\.name), r.role.name)
    flag("drbd_resource_suspended", help: "Whether I/O of the resource is suspended.", labels, r.isSuspended)
    flag("drbd_resource_maypromote", help: "Whether the resource may be promoted here.", labels, r.mayPromote)
    sample(
      "drbd_resource_promotionscore", help: "Promotion score: the node with the higher score is to be preferred.",
      labels,
      UInt64(r.promotionScore))
    for device in r.devices { add(device, of: r) }
    for connection in r.connections { add(connection, of: r) }
  }

  private mutating func add(_ d: DeviceStatus, of r: StatusSnapshot) {
    let labels = [("name", r.name), ("volume", "\(d.volume.value)"), ("minor", "\(d.minor)")]
    states("drbd_device_state", help: "Disk state of the device.", labels, DiskState.allCases.map(\.name), d.disk.name)
    flag("drbd_device_client", help: "Whether the device is Diskless on purpose.", labels, d.isClient)
    flag(
      "drbd_device_unintentionaldiskless", help: "Whether the device is Diskless, and not on purpose.", labels,
      d.disk == .diskless && !d.isClient)
    flag("drbd_device_quorum", help: "Whether the device has quorum.", labels, d.hasQuorum)
    flag("repl_device_open", help: "Whether a client has the device open.", labels, d.isOpen)
    bytes("drbd_device_size_bytes", help: "Size of the device.", labels, d.size)
    bytes("drbd_device_read_bytes_total", help: "Read from the local disk.", labels, d.read, type: "counter")
    bytes("drbd_device_written_bytes_total", help: "Written to the local disk.", labels, d.written, type: "counter")
    sample(
      "drbd_device_alwrites_total", help: "Writes of the activity log.", labels, d.activityLogWrites, type: "counter")
    sample("drbd_device_bmwrites_total", help: "Writes of bitmap pages.", labels, d.bitmapWrites, type: "counter")
    sample("drbd_device_upperpending", help: "Requests of the application without an answer.", labels, d.upperPending)
    sample("drbd_device_lowerpending", help: "Requests to the local disk without an answer.", labels, d.lowerPending)
    flag(
      "drbd_device_alsuspended", help: "Whether the activity log is suspended.", labels, d.activityLogSuspended)
    guard let latencies = d.latencies else { return }
    for stage in LatencyStage.ofAWrite {
      histogram(
        "repl_device_write_stage_seconds", help: "How long a stage of the application's writes took.",
        labels + [("stage", stage.name)], latencies[stage.name] ?? LatencyCounts())
    }
    for request in LatencyStage.ofARequest {
      histogram(
        "repl_device_request_seconds", help: "Time from the arrival of a request of the application to its answer.",
        labels + [("request", request.name)], latencies[request.name] ?? LatencyCounts())
    }
  }

  private mutating func add(_ c: ConnectionStatus, of r: StatusSnapshot) {
    let labels = [("name", r.name), ("conn_name", c.name), ("peer_node_id", "\(c.peerNodeID)")]
    let words = Self.distinct(ConnectionState.allCases.map(\.connectionName))
    states("drbd_connection_state", help: "State of the connection.", labels, words, c.state.connectionName)
    states("repl_connection_peer_role", help: "Role of the peer.", labels, Role.allCases.map(\.name), c.peerRole.name)
    flag(
      "repl_connection_given_up", help: "Whether the connection was given up until an operator connects it again.",
      labels,
      c.refusedBecause != nil)
    flag("drbd_connection_congested", help: "Whether the send buffer is nearly full.", labels, c.isCongested)
    sample(
      "drbd_connection_apinflight_bytes", help: "On its way to the peer for the application.", labels,
      c.applicationInFlight &* 512)
    sample("drbd_connection_rsinflight_bytes", help: "On its way for a resync.", labels, c.resyncInFlight &* 512)
    for peer in c.peerDevices { add(peer, labels + [("volume", "\(peer.volume.value)")]) }
  }

  private mutating func add(_ p: PeerDeviceStatus, _ labels: [(String, String)]) {
    bytes("drbd_peerdevice_outofsync_bytes", help: "Out of sync with the peer, by the bitmap.", labels, p.outOfSync)
    bytes("drbd_peerdevice_sent_bytes", help: "Sent to the peer.", labels, p.sent)
    bytes("drbd_peerdevice_received_bytes", help: "Received from the peer.", labels, p.received)
    sample("repl_peerdevice_pending", help: "Requests to the peer without an answer.", labels, p.pending)
    sample("repl_peerdevice_unacked", help: "Requests of the peer without an answer.", labels, p.unacked)
    states(
      "repl_peerdevice_disk_state", help: "Disk state of the peer.", labels, DiskState.allCases.map(\.name),
      p.peerDisk.name)
    let words = Self.distinct(ConnectionState.allCases.map(\.replicationName))
    states(
      "repl_peerdevice_replication_state", help: "Replication state.", labels, words, p.replication.replicationName)
    if let percent = p.percentDone {
      sample(
        "repl_peerdevice_resync_done_percent", help: "Part of the running resync or verify that is done.", labels,
        decimals(percent))
    }
  }

  // MARK: samples

  private mutating func flag(_ name: String, help: String, _ labels: [(String, String)], _ value: Bool) {
    sample(name, help: help, labels, value ? 1 : 0)
  }

  /// A value in KiB, printed in bytes.
  private mutating func bytes(
    _ name: String, help: String, _ labels: [(String, String)], _ kibibytes: UInt64, type: String = "gauge"
  ) {
    let (value, overflow) = kibibytes.multipliedReportingOverflow(by: 1024)
    sample(name, help: help + " In bytes.", labels, overflow ? .max : value, type: type)
  }

  /// Buckets count what is at most so long, those of the shorter ones included.
  private mutating func histogram(
    _ name: String, help: String, _ labels: [(String, String)], _ counts: LatencyCounts
  ) {
    var sum: UInt64 = 0
    for (i, bound) in Histogram.bounds.enumerated() {
      if i < counts.counts.count { sum &+= counts.counts[i] }
      sample(
        name, suffix: "_bucket", help: help, labels + [("le", Self.seconds(bound.nanoseconds))], "\(sum)",
        type: "histogram")
    }
    sample(name, suffix: "_bucket", help: help, labels + [("le", "+Inf")], "\(counts.total)", type: "histogram")
    sample(name, suffix: "_sum", help: help, labels, Self.seconds(counts.nanoseconds), type: "histogram")
    sample(name, suffix: "_count", help: help, labels, "\(counts.total)", type: "histogram")
  }

  /// `0.00025`, without zeros at the end.
  private static func seconds(_ nanoseconds: UInt64) -> String {
    let fraction = String(nanoseconds % 1_000_000_000)
    var digits = String(repeating: "0", count: 9 - fraction.count) + fraction
    while digits.last == "0" { digits.removeLast() }
    return "\(nanoseconds / 1_000_000_000)" + (digits.isEmpty ? "" : "." + digits)
  }

  /// One sample for each state: 1 for the one that holds. The label with the state has the metric's name, as in DRBD's exporter.
  private mutating func states(
    _ name: String, help: String, _ labels: [(String, String)], _ all: [String], _ state: String
  ) {
    for one in all { sample(name, help: help, labels + [(name, one)], one == state ? 1 : 0) }
  }

  private mutating func sample(
    _ name: String, help: String, _ labels: [(String, String)], _ value: UInt64, type: String = "gauge"
  ) {
    sample(name, help: help, labels, "\(value)", type: type)
  }

  private mutating func sample(
    _ name: String, suffix: String = "", help: String, _ labels: [(String, String)], _ value: String,
    type: String = "gauge"
  ) {
    let text = labels.map { "\($0.0)=\"\(Self.escaped($0.1))\"" }.joined(separator: ",")
    let line = name + suffix + (text.isEmpty ? "" : "{\(text)}") + " \(value)"
    if let i = families.firstIndex(where: { $0.name == name }) {
      families[i].samples.append(line)
    } else {
      families.append(Family(name: name, help: help, type: type, samples: [line]))
    }
  }

  private static func escaped(_ value: String) -> String {
    var text = ""
    for character in value.unicodeScalars {
      switch character {
      case "\\": text += "\\\\"
      case "\"": text += "\\\""
      case "\n": text += "\\n"
      default: text.unicodeScalars.append(character)
      }
    }
    return text
  }

  private static func distinct(_ words: [String]) -> [String] {
    words.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
  }
}
