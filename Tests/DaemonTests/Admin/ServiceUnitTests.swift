// `repladm up` where systemd runs: what it asks of systemctl, which a script plays here, and how it tells of failures.
import Base
import Control
import Foundation
import Testing

@testable import ReplAdmin

@Suite struct StartingTheUnit {
  private let bench: AdminBench
  private var places: ServiceUnit.Places

  init() throws {
    bench = try AdminBench()
    places = ServiceUnit.Places()
    places.systemd = bench.directory + "/systemd"
    places.units = [bench.directory + "/units", bench.directory + "/more-units"]
    places.runDirectory = bench.files.directory
    for directory in [places.systemd, places.units[1], bench.directory + "/bin"] {
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    }
    try bench.write("more-units/repld@.service", "")
    try tool("journalctl", "echo the entries of $1; echo another")
  }

  private func tool(_ name: String, _ body: String) throws {
    let path = "\(bench.directory)/bin/\(name)"
    try "#!/bin/sh\necho \"\(name) $*\" >>\(bench.directory)/calls\n\(body)\n"
      .write(toFile: path, atomically: true, encoding: .utf8)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
  }

  private var tools: Tools { Tools(environment: ["PATH": bench.directory + "/bin:/usr/bin:/bin"]) }
  private var calls: [String] {
    FileManager.default.contents(atPath: bench.directory + "/calls")
      .map { String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init) } ?? []
  }

  private func unit(_ resource: String = "r0") -> ServiceUnit? {
    ServiceUnit(resource, files: bench.files, tools: tools, places: places)
  }

  @Test func thereIsAUnitOnlyWhereSystemdRunsAndKnowsIt() throws {
    #expect(unit()?.name == "repld@r0.service")
    #expect(unit("my-db.1")?.name == "repld@my-db.1.service")
    #expect(unit("a b") == nil && unit("a%n") == nil && unit(String(repeating: "x", count: 201)) == nil)
    let elsewhere = RunFiles(directory: bench.directory)
    #expect(ServiceUnit("r0", files: elsewhere, tools: tools, places: places) == nil)
    var without = places
    without.units = [bench.directory]
    #expect(ServiceUnit("r0", files: bench.files, tools: tools, places: without) == nil)
    without = places
    without.systemd = bench.directory + "/none"
    #expect(ServiceUnit("r0", files: bench.files, tools: tools, places: without) == nil)
  }

  @Test func theUnitIsStartedBare() throws {
    let bare = bench.files.bare("r0")
    try tool("systemctl", "test -e \(bare) && echo bare >>\(bench.directory)/calls")
    try "old\n".write(toFile: bench.files.log("r0"), atomically: true, encoding: .utf8)
    try #require(unit()).start(deadline: Deadline(after: 20))
    #expect(calls == ["systemctl reset-failed repld@r0.service", "systemctl start repld@r0.service", "bare"])
    #expect(!FileManager.default.fileExists(atPath: bare), "whoever starts the unit next means all of it")
    #expect(!FileManager.default.fileExists(atPath: bench.files.log("r0")))
  }

  @Test func whatTheDaemonRefusesIsQuotedWithItsExitCode() throws {
    try tool(
      "systemctl",
      """
      case "$*" in
      start*) echo 'Job for repld@r0.service failed.' >&2; exit 1 ;;
      *InvocationID*) echo 12ab ;;
      *ExecMainStatus*) echo 10 ;;
      *ExecMainCode*) echo 1 ;;
      esac
      """)
    let refusal = #expect(throws: Refusal.self) { try unit()?.start(deadline: Deadline(after: 20)) }
    #expect(refusal?.headline == "repld ended at once, with exit code 10")
    #expect(refusal?.exitCode == 10)
    #expect(refusal?.details == ["the entries of _SYSTEMD_INVOCATION_ID=12ab", "another"])
    #expect(refusal?.next == "set right what it says and repeat repladm up r0")
    #expect(
      calls.contains("systemctl stop repld@r0.service"), "it is not tried again behind the back of who typed this")
    #expect(!FileManager.default.fileExists(atPath: bench.files.bare("r0")))
  }

  @Test func aUnitThatSystemdDoesNotStartIsToldInSystemdsWords() throws {
    try tool("systemctl", "case $1 in start) echo 'Unit repld@r0.service is masked.'; exit 1 ;; show) echo 0 ;; esac")
    let refusal = #expect(throws: Refusal.self) { try unit()?.start(deadline: Deadline(after: 20)) }
    #expect(refusal?.headline == "systemd did not start repld@r0.service")
    #expect(refusal?.why == "Unit repld@r0.service is masked." && refusal?.exitCode == 20)
  }

  @Test func aStartThatTakesTooLongIsGivenUp() throws {
    try tool("systemctl", "case $1 in start) exec sleep 100 ;; show) echo 0 ;; esac")
    let refusal = #expect(throws: Refusal.self) { try unit()?.start(deadline: Deadline(after: 0.3)) }
    #expect(refusal?.headline.hasPrefix("repld did not open its control socket within") == true)
    #expect(refusal?.next == "see journalctl -u repld@r0.service, or allow it more with --timeout")
    #expect(calls.last(where: { $0.contains(" stop ") }) == "systemctl stop repld@r0.service")
  }

  @Test func theLogIsWhereTheDaemonWrites() throws {
    let log = ReplAdmin.DaemonLog("r0", files: bench.files, unit: unit())
    #expect(log.place == "journalctl -u repld@r0.service")
    #expect(log.tail == "the entries of -u\nanother\n")
    try "a line\n".write(toFile: bench.files.log("r0"), atomically: true, encoding: .utf8)
    #expect(log.place == "journalctl -u repld@r0.service and \(bench.files.log("r0"))")
    #expect(log.tail == "the entries of -u\nanother\na line\n")
    let alone = ReplAdmin.DaemonLog("r0", files: bench.files, unit: nil)
    #expect(alone.place == bench.files.log("r0") && alone.tail == "a line\n")
  }
}
