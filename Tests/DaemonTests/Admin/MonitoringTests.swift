// What monitoring systems get: the Nagios plugin beside real daemons, the alert rules by Prometheus' own tool, the Zabbix template as its
// generator writes it.
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

  private static var hasYAML: Bool { FileManager.default.fileExists(atPath: "/usr/lib/python3/dist-packages/yaml") }
}
