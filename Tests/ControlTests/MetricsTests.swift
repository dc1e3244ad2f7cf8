// `metrics`: what a monitoring system reads.
import Base
import Control
import Testing

@Suite("Metrics") struct MetricsTests {
  private var running: StatusSnapshot {
    var one = StatusSnapshot(name: "r0", nodeID: 0, role: .primary)
    var device = DeviceStatus(volume: VolumeNumber(1), minor: 7, disk: .upToDate)
    device.size = 1024
    device.written = 3
    one.devices = [device]
    var connection = ConnectionStatus(name: "be\"ta", peerNodeID: 1, state: .connected, peerRole: .secondary)
    connection.applicationInFlight = 8
    var peer = PeerDeviceStatus(volume: VolumeNumber(1), replication: .syncSource, peerDisk: .inconsistent)
    peer.outOfSync = 512
    peer.resync = ResyncStatus(totalSectors: 4096)
    connection.peerDevices = [peer]
    one.connections = [connection]
    return one
  }

  private func lines(_ resources: [MetricsText.Resource]) -> [Substring] {
    MetricsText.render(resources).split(separator: "\n")
  }

  @Test("states have one sample each, and 1 for the one that holds; sizes are bytes; names are escaped")
  func samples() {
    let lines = lines([("r0", running)])
    let device = "name=\"r0\",volume=\"1\",minor=\"7\""
    let peer = "name=\"r0\",conn_name=\"be\\\"ta\",peer_node_id=\"1\",volume=\"1\""
    for expected in [
      "repl_resource_up{name=\"r0\"} 1", "drbd_resource_role{name=\"r0\",drbd_resource_role=\"Primary\"} 1",
      "drbd_resource_role{name=\"r0\",drbd_resource_role=\"Secondary\"} 0",
      "drbd_device_state{\(device),drbd_device_state=\"UpToDate\"} 1",
      "drbd_device_state{\(device),drbd_device_state=\"Outdated\"} 0", "drbd_device_size_bytes{\(device)} 1048576",
      "drbd_device_written_bytes_total{\(device)} 3072",
      "drbd_connection_apinflight_bytes{name=\"r0\",conn_name=\"be\\\"ta\",peer_node_id=\"1\"} 4096",
      "drbd_peerdevice_outofsync_bytes{\(peer)} 524288",
      "repl_peerdevice_replication_state{\(peer),repl_peerdevice_replication_state=\"SyncSource\"} 1",
      "repl_peerdevice_disk_state{\(peer),repl_peerdevice_disk_state=\"Inconsistent\"} 1",
      "repl_peerdevice_resync_done_percent{\(peer)} 75.00",
    ] {
      #expect(lines.contains(expected[...]), "\(expected)")
    }
  }

  @Test("a resource that does not run is there, with repl_resource_up 0 and no states")
  func stopped() {
    let lines = lines([("r1", nil), ("r0", running)])
    #expect(lines.contains("repl_resource_up{name=\"r1\"} 0"))
    #expect(lines.contains("drbd_resource_resources 2"))
    #expect(!lines.contains { $0.hasPrefix("drbd_") && $0.contains("\"r1\"") })
  }

  @Test("a histogram counts what is at most so long, in seconds, for every stage")
  func histograms() {
    var one = running
    var latencies = Latencies()
    latencies.add(.localWrite, .milliseconds(1))
    latencies.add(.localWrite, .milliseconds(2))
    latencies.add(.localWrite, .seconds(60))
    latencies.add(.flush, Interval(nanoseconds: 50_000))
    one.devices[0].latencies = latencies.table
    let lines = lines([("r0", one)])
    let device = "name=\"r0\",volume=\"1\",minor=\"7\""
    let disk = "\(device),stage=\"local_write\""
    for expected in [
      "# TYPE repl_device_write_stage_seconds histogram",
      "repl_device_write_stage_seconds_bucket{\(disk),le=\"0.0005\"} 0",
      "repl_device_write_stage_seconds_bucket{\(disk),le=\"0.001\"} 1",
      "repl_device_write_stage_seconds_bucket{\(disk),le=\"0.0025\"} 2",
      "repl_device_write_stage_seconds_bucket{\(disk),le=\"10\"} 2",
      "repl_device_write_stage_seconds_bucket{\(disk),le=\"+Inf\"} 3",
      "repl_device_write_stage_seconds_sum{\(disk)} 60.003", "repl_device_write_stage_seconds_count{\(disk)} 3",
      "repl_device_request_seconds_bucket{\(device),request=\"flush\",le=\"0.00005\"} 1",
      "repl_device_request_seconds_sum{\(device),request=\"flush\"} 0.00005",
      "repl_device_request_seconds_count{\(device),request=\"read\"} 0",
    ] {
      #expect(lines.contains(expected[...]), "\(expected)")
    }
    for stage in LatencyStage.ofAWrite {
      #expect(
        lines.contains { $0.hasPrefix("repl_device_write_stage_seconds_count{\(device),stage=\"\(stage.name)\"") })
    }
    #expect(!self.lines([("r0", running)]).contains { $0.contains("_seconds") }, "a daemon that does not count them")
  }

  @Test("each metric is announced once, and its samples follow at once")
  func families() {
    var two = running
    two.name = "r1"
    two.devices[0].latencies = Latencies().table
    var announced: [Substring] = []
    for line in lines([("r0", running), ("r1", two), ("r2", two)]) {
      if line.hasPrefix("# HELP ") {
        announced.append(line.split(separator: " ")[2])
      } else if !line.hasPrefix("#") {
        let name = line.prefix { $0 != "{" && $0 != " " }
        let family = announced.last ?? ""
        #expect(name == family || ["_bucket", "_sum", "_count"].contains(name.dropFirst(family.count)))
        #expect(name.hasPrefix(family))
      }
    }
    #expect(Set(announced).count == announced.count)
  }
}
