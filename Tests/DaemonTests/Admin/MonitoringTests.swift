// What monitoring systems get: the Nagios plugin beside real daemons, the alert rules by Prometheus' own tool, the Zabbix template and
// the Grafana dashboard as their generators write them.
import Base
import Control
import Foundation
import Testing

@testable import ReplAdmin

@Suite(.serialized) struct Monitoring {
  private static let packaging = URL(filePath: #filePath).deletingLastPathComponent().appending(
    path: "../../../packaging"
  ).standardizedFileURL.path

  /// Runs the plugin as node `a`, with `replsetup` in its PATH.
  private func plugin(_ desk: Desk, _ arguments: String...) throws -> Said {
    let names = desk.bench.directory + "/names"
    if access(names, F_OK) != 0 {
      try FileManager.default.createDirectory(atPath: names, withIntermediateDirectories: true)
      succeeds(try desk.a("install-names \(names)"))
    }
    return try desk.run(
      "/usr/bin/python3", ["\(Self.packaging)/nagios/check_repl"] + arguments, on: desk.bench.a,
      ["PATH": "\(names):/usr/bin:/bin"])
  }

  @Test func theNagiosPluginJudgesEachState() throws {
    let desk = try Desk()
    let nothing = try plugin(desk)
    #expect(nothing.code == 2 && nothing.out.contains("no resource runs: repladm up all"), "\(nothing)")
    try desk.synced()
    let good = try plugin(desk)
    #expect(
      good.code == 0
        && good.out.hasPrefix("REPL OK - r0 Primary: connected and UpToDate | 'r0/0 b out of sync'=0B;0;;0"), "\(good)")
    let absent = try plugin(desk, "-r", "r0", "-r", "r7")
    #expect(absent.code == 2 && absent.out.contains("r7: is not running"), "\(absent)")
    succeeds(try desk.b("down r0"))
    let client = try Client(desk.bench.a.exportPath)
    try client.write(pattern(65536, 3), at: 0)
    try client.leave()
    try until("the peer is looked for") { try desk.a("cstate r0").out == "Connecting\n" }
    let alone = try plugin(desk)
    #expect(alone.code == 1 && alone.out.contains("r0 b: connection is Connecting"), "\(alone)")
    #expect(alone.out.contains("65536 bytes are out of sync"), "\(alone)")
    #expect(try plugin(desk, "-c", "32K").code == 2)
    #expect(try plugin(desk, "-w", "1M").out.contains("bytes are out of sync") == false)
    let wrong = try plugin(desk, "-w", "much")
    #expect(wrong.code == 3 && wrong.out.contains("'much' is no size"), "\(wrong)")
    let lost = try desk.run(
      "/usr/bin/python3", ["\(Self.packaging)/nagios/check_repl"], on: desk.bench.a, ["PATH": "/nonexistent"])
    #expect(lost.code == 3 && lost.out.contains("replsetup is not installed"), "\(lost)")
  }

  @Test func theNagiosPluginSaysThatADiskIsGone() throws {
    let desk = try Desk()
    try desk.synced()
    succeeds(try desk.a("detach r0"))
    let said = try plugin(desk)
    #expect(said.code == 2 && said.out.contains("r0/0: disk is Diskless"), "\(said)")
  }

  @Test(.enabled(if: isInstalled("promtool"), "needs promtool"))
  func theAlertsFireWhenTheyShould() throws {
    let rules = "\(Self.packaging)/prometheus"
    let said = try shell(
      "promtool check rules \(rules)/repl.rules.yml 2>&1 && promtool test rules \(rules)/repl.rules.test.yml 2>&1; echo $?"
    )
    #expect(said.hasSuffix("SUCCESS\n\n0"), "\(said)")
  }

  @Test(.enabled(if: hasYAML, "needs python3-yaml"))
  func theZabbixTemplateIsWhatItsGeneratorWrites() throws {
    let written = try shell("/usr/bin/python3 \(Self.packaging)/zabbix/make-template.py")
    #expect(written + "\n" == (try String(contentsOfFile: "\(Self.packaging)/zabbix/repl.yaml", encoding: .utf8)))
  }

  @Test func theDashboardIsWhatItsGeneratorWrites() throws {
    let written = try shell("/usr/bin/python3 \(Self.packaging)/grafana/make-dashboard.py")
    #expect(written + "\n" == (try String(contentsOfFile: Dashboard.path, encoding: .utf8)))
  }

  /// Every metric with every label that a query or a legend names is one that `repladm metrics` writes.
  @Test func theDashboardNamesWhatMetricsWrites() throws {
    let bench = try AdminBench()
    try bench.configure()
    let snapshot = Self.everything
    let daemon = FakeDaemon("r0", bench.files) { _ in [.reply(.status(snapshot))] }
    defer { daemon.stop() }
    var labels: [String: Set<String>] = [:]
    for line in bench.run("metrics").out.split(separator: "\n") where !line.hasPrefix("#") {
      let name = String(line.prefix { $0 != "{" && $0 != " " })
      labels[name, default: []].formUnion(line.matches(of: /(\w+)="/).map { String($0.1) })
    }
    let targets = try Dashboard.targets()
    #expect(targets.count > 20)
    for target in targets {
      let metrics = target.expression.matches(of: /\b(drbd|repl)_\w+(?=\{)/).map { String($0.0) }
      #expect(!metrics.isEmpty, "\(target.expression)")
      var known: Set<String> = ["instance"]
      for metric in metrics {
        #expect(labels[metric] != nil, "\(metric) is no metric")
        known.formUnion(labels[metric] ?? [])
      }
      let named =
        target.legend.matches(of: /\{\{(\w+)\}\}/).map { String($0.1) }
        + target.expression.matches(of: /(\w+)=~?"/).map { String($0.1) }
        + target.expression.matches(of: /by \(([^)]*)\)/).flatMap { $0.1.split(separator: ", ").map(String.init) }
      for label in named { #expect(known.contains(label), "\(label) in \(target.expression) / \(target.legend)") }
    }
  }

  @Test(.enabled(if: isInstalled("promtool"), "needs promtool"))
  func theQueriesOfTheDashboardAreQueries() throws {
    let bench = try AdminBench()
    // A dashboard's variables are filled in before Prometheus sees the query.
    let rules = try Dashboard.targets().enumerated().map { i, target in
      let query = target.expression.replacing("$__rate_interval", with: "2m").replacing("'", with: "''")
      return "  - record: rule\(i)\n    expr: '\(query)'\n"
    }
    try bench.write("rules.yml", "groups:\n- name: dashboard\n  rules:\n" + rules.joined())
    let said = try shell("promtool check rules \(bench.directory)/rules.yml 2>&1; echo $?")
    #expect(said.contains("SUCCESS: \(rules.count) rules found") && said.hasSuffix("\n0"), "\(said)")
  }

  /// A resource with all that metrics tell of: a resync, latencies.
  private static var everything: StatusSnapshot {
    var one = StatusSnapshot(name: "r0", nodeID: 0, role: .primary)
    var device = DeviceStatus(volume: VolumeNumber(0), minor: 90, disk: .upToDate)
    device.latencies = Latencies().table
    one.devices = [device]
    var connection = ConnectionStatus(name: "two", peerNodeID: 1, state: .connected, peerRole: .secondary)
    var peer = PeerDeviceStatus(volume: VolumeNumber(0), replication: .syncSource, peerDisk: .inconsistent)
    peer.resync = ResyncStatus(totalSectors: 8)
    connection.peerDevices = [peer]
    one.connections = [connection]
    return one
  }

  /// The part of Grafana's file that has queries.
  private struct Dashboard: Decodable {
    struct Panel: Decodable { var targets: [Target] }
    struct Target: Decodable {
      var expr: String
      var legendFormat: String
    }
    var panels: [Panel]

    static let path = "\(Monitoring.packaging)/grafana/repl-dashboard.json"

    static func targets() throws -> [(expression: String, legend: String)] {
      let data = try Data(contentsOf: URL(filePath: path))
      return try JSONDecoder().decode(Dashboard.self, from: data).panels.flatMap(\.targets).map {
        ($0.expr, $0.legendFormat)
      }
    }
  }

  private static var hasYAML: Bool { FileManager.default.fileExists(atPath: "/usr/lib/python3/dist-packages/yaml") }
}
