// Programs that know only DRBD's names and forms (admin spec 12): the exporter of Debian reads this program's JSON unmodified,
// and the calls of drbd-reactor and of ha_cluster_exporter are answered in the right form.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct ThirdPartyCallers {
  /// A desk whose nodes have DRBD's names in a directory of their own.
  private func named(_ desk: Desk) throws -> String {
    let names = desk.bench.directory + "/names"
    try FileManager.default.createDirectory(atPath: names, withIntermediateDirectories: true)
    succeeds(try desk.a("install-names \(names)"))
    return names
  }

  /// Runs `NAME ARGUMENTS` as node `a`.
  private func call(_ desk: Desk, _ path: String, _ arguments: String...) throws -> Said {
    try desk.run(path, arguments, on: desk.bench.a)
  }

  @Test func theNamesAreLinksThatComeAndGoOnRequest() throws {
    let desk = try Desk()
    let names = try named(desk)
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: names).sorted()
        == ["drbdadm", "drbdmeta", "drbdsetup", "replmeta", "replsetup"])
    succeeds(try desk.a("install-names \(names)"))
    try FileManager.default.removeItem(atPath: names + "/drbdmeta")
    try "not ours".write(toFile: names + "/drbdmeta", atomically: true, encoding: .utf8)
    let refused = try desk.a("install-names \(names)")
    #expect(refused.code == 20 && refused.err.contains("is there already and was left alone"))
    let kept = try desk.a("install-names --remove \(names)")
    #expect(kept.code == 20 && kept.err.contains("left alone"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: names) == ["drbdmeta"])
  }

  /// A version in a directory of its own, and a link that leads to the one in use.
  @Test func theNamesSurviveAnUpgrade() throws {
    let desk = try Desk()
    let place = desk.bench.directory
    for version in ["1", "2"] {
      try FileManager.default.createDirectory(atPath: "\(place)/\(version)", withIntermediateDirectories: true)
      try copyProgram("repladm", to: "\(place)/\(version)/repladm")
    }
    for directory in ["names", "fixed", "other"] {
      try FileManager.default.createDirectory(atPath: "\(place)/\(directory)", withIntermediateDirectories: true)
    }
    symlink("1", "\(place)/current")
    succeeds(try call(desk, "\(place)/current/repladm", "install-names", "\(place)/names"))
    succeeds(try call(desk, "\(place)/1/repladm", "install-names", "\(place)/fixed"))
    #expect(symlink("\(place)/1/something", "\(place)/other/drbdadm") == 0)
    // The upgrade.
    unlink("\(place)/current")
    symlink("2", "\(place)/current")
    try FileManager.default.removeItem(atPath: "\(place)/1")
    #expect(try call(desk, "\(place)/names/drbdadm", "--version").code == 0)
    #expect(try call(desk, "\(place)/names/drbdsetup", "status").code == 0)
    // What led to the version that is gone is brought up to date, and nothing else.
    #expect(access("\(place)/fixed/drbdadm", X_OK) != 0)
    succeeds(try call(desk, "\(place)/current/repladm", "install-names", "\(place)/fixed"))
    #expect(try call(desk, "\(place)/fixed/drbdadm", "--version").code == 0)
    #expect(try call(desk, "\(place)/current/repladm", "install-names", "\(place)/other").code == 20)
    #expect(
      try FileManager.default.destinationOfSymbolicLink(atPath: "\(place)/other/drbdadm") == "\(place)/1/something")
    succeeds(try call(desk, "\(place)/2/repladm", "install-names", "--remove", "\(place)/names"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: "\(place)/names").isEmpty)
  }

  @Test func drbdadmTellsItsVersionAndTheLowerDisk() throws {
    let desk = try Desk()
    let names = try named(desk)
    let version = try call(desk, names + "/drbdadm", "--version")
    #expect(version.code == 0)
    #expect(
      try shell("eval \"$(\(names)/drbdadm --version)\"; echo $DRBD_KERNEL_VERSION_CODE $DRBDADM_VERSION_CODE")
        != "0x000000 0x091600")
    #expect(try call(desk, names + "/drbdadm", "sh-ll-dev", "r0").out == desk.bench.a.disk(0) + "\n")
    #expect(try call(desk, names + "/drbdadm", "sh-dev", "r0").out == "/dev/drbd90\n")
  }

  @Test func drbdReactorsCallsAreAnswered() throws {
    let desk = try Desk()
    let names = try named(desk)
    try desk.synced()
    let setup = names + "/drbdsetup"
    let status = try call(desk, setup, "status", "--json", "r0")
    let list = try #require(try JSONSerialization.jsonObject(with: Data(status.out.utf8)) as? [[String: Any]])
    #expect(list.count == 1 && list[0]["name"] as? String == "r0" && list[0]["role"] as? String == "Primary")
    let show = try call(desk, setup, "show", "--show-defaults", "--json", "r0")
    let shown = try #require(try JSONSerialization.jsonObject(with: Data(show.out.utf8)) as? [[String: Any]])
    #expect(shown.count == 1 && shown[0]["resource"] as? String == "r0")
    let options = try #require(shown[0]["options"] as? [String: Any])
    #expect(options["quorum"] as? String == "off" && options["auto-promote"] as? Bool == true)
    let connections = try #require(shown[0]["connections"] as? [[String: Any]])
    let net = try #require(connections[0]["net"] as? [String: Any])
    #expect(net["_name"] as? String == "b" && net["protocol"] as? String == "C" && net["ping-int"] as? String == "2")
    let here = try #require(shown[0]["_this_host"] as? [String: Any])
    let volumes = try #require(here["volumes"] as? [[String: Any]])
    #expect(volumes[0]["device_minor"] as? Int == 90 && volumes[0]["backing-disk"] as? String == desk.bench.a.disk(0))

    // `events2 --full --poll`, an n every now and then.
    let follower = try Follower(
      setup, ["events2", "--full", "--poll"], on: desk.bench.a, directory: desk.bench.directory)
    defer { follower.end() }
    try follower.sees("exists -")
    #expect(follower.lines.first?.hasPrefix("exists resource name:r0 role:Primary suspended:no") ?? false)
    #expect(follower.lines.contains { $0.hasPrefix("exists device name:r0 volume:0 minor:90 backing_dev:") })
    let client = try Client(desk.bench.a.exportPath)
    try client.write(pattern(65536, 3), at: 0)
    try client.leave()
    try follower.type("n\n")
    try follower.sees(
      "change device name:r0 volume:0 minor:90 backing_dev:\(desk.bench.a.disk(0)) disk:UpToDate", "written:64")
    succeeds(try desk.a("secondary r0"))
    try follower.sees("change resource name:r0 role:Secondary suspended:no", "may_promote:yes promotion_score:10102")
    succeeds(try desk.a("down r0"))
    try follower.sees("destroy resource name:r0")
    succeeds(try desk.a("up --no-device r0"))
    try follower.sees("create resource name:r0 role:Secondary")
  }

  @Test(.enabled(if: isInstalled("ha_cluster_exporter"), "needs ha_cluster_exporter"))
  func theExporterOfDebianReadsTheStatus() throws {
    let desk = try Desk()
    let names = try named(desk)
    try desk.synced()
    let port = try freePort()
    let nothing = desk.bench.directory + "/none"
    for directory in ["none", "splitbrain"] {
      try FileManager.default.createDirectory(
        atPath: "\(desk.bench.directory)/\(directory)", withIntermediateDirectories: true)
    }
    let exporter = try Follower(
      "/usr/bin/ha_cluster_exporter",
      [
        "--address=127.0.0.1", "--port=\(port)", "--drbdsetup-path=\(names)/drbdsetup",
        "--drbdsplitbrain-path=\(desk.bench.directory)/splitbrain", "--crm-mon-path=\(nothing)/x",
        "--cibadmin-path=\(nothing)/x", "--corosync-cfgtoolpath-path=\(nothing)/x",
        "--corosync-quorumtool-path=\(nothing)/x", "--sbd-path=\(nothing)/x", "--sbd-config-path=\(nothing)/x",
      ], on: desk.bench.a, directory: desk.bench.directory)
    defer { exporter.end() }
    var page = ""
    try until("the exporter answers") {
      do {
        page = try shell(
          "exec 3<>/dev/tcp/127.0.0.1/\(port); printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3",
          with: "/bin/bash")
      } catch is Timeout { return false }
      return page.contains("ha_cluster_drbd_resources{")
    }
    #expect(
      page.contains(
        "ha_cluster_drbd_resources{disk_state=\"uptodate\",resource=\"r0\",role=\"Primary\",volume=\"0\"} 1"))
    #expect(page.contains("ha_cluster_drbd_connections{") && page.contains("peer_disk_state=\"uptodate\""))
    #expect(page.contains("ha_cluster_drbd_quorum{resource=\"r0\",volume=\"0\"} 1"))
    #expect(page.contains("ha_cluster_drbd_written{resource=\"r0\",volume=\"0\"}"))
  }

  /// Debian's package prometheus has it.
  @Test(.enabled(if: isInstalled("promtool"), "needs promtool"))
  func promtoolFindsNothingInTheMetrics() throws {
    let desk = try Desk()
    try desk.synced()
    let file = desk.bench.directory + "/metrics"
    let said = try desk.a("metrics --output \(file)")
    #expect(said.code == 0 && said.out.isEmpty, "\(said)")
    let judged = try shell("promtool check metrics < \(file) 2>&1; echo exit $?", with: "/bin/bash")
    #expect(judged == "exit 0", "\(judged)")
  }
}

/// A program that runs on, and what it has said.
final class Follower {
  private let process = Process()
  private let input = Pipe()
  private let path: String

  init(_ program: String, _ arguments: [String], on node: Node, directory: String) throws {
    path = "\(directory)/follower-\(UInt32.random(in: 0...UInt32.max))"
    _ = FileManager.default.createFile(atPath: path, contents: nil)
    process.executableURL = URL(filePath: program)
    process.arguments = arguments
    process.environment = [
      "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "REPL_CONFIG": node.config, "REPL_RUN_DIR": node.runDirectory,
      "__DRBD_NODE__": node.name,
    ]
    let output = try FileHandle(forWritingTo: URL(filePath: path))
    process.standardOutput = output
    process.standardError = output
    process.standardInput = input
    try process.run()
  }

  var lines: [String] {
    let data = FileManager.default.contents(atPath: path) ?? Data()
    return String(decoding: data, as: UTF8.self).split(separator: "\n").map(String.init)
  }

  func type(_ text: String) throws { try input.fileHandleForWriting.write(contentsOf: Data(text.utf8)) }

  /// Waits for a line that begins so and contains that.
  func sees(_ beginning: String, _ part: String = "") throws {
    do {
      try until("a line '\(beginning) ... \(part)'") {
        lines.contains { $0.hasPrefix(beginning) && (part.isEmpty || $0.contains(part)) }
      }
    } catch { throw Timeout(description: "\(error) in:\n" + lines.joined(separator: "\n")) }
  }

  func end() {
    guard process.isRunning else { return }
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
  }
}
