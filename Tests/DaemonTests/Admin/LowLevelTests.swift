// What calls the tool below drbdadm: DRBD's service scripts, its cluster agent, LINSTOR. `drbdsetup` brings the block device along,
// takes `--force=yes`, `all`, and the steps of `up`. With real daemons and the real scripts of drbd-utils.
import Base
import Control
import Foundation
import Glibc
import Testing

private let shim = "/lib/drbd/scripts/drbd-service-shim.sh"

/// A desk whose node `a` has DRBD's names in a directory of its own.
private struct LowDesk {
  let desk: Desk
  let names: String
  let device: String
  let ownID: Int

  init(net: String = "") throws {
    desk = try Desk(net: net)
    names = desk.bench.directory + "/names"
    // Another run of these tests may go on beside this one.
    device = "/dev/drbd_low\(getpid())"
    try FileManager.default.createDirectory(atPath: names, withIntermediateDirectories: true)
    succeeds(try desk.a("install-names \(names)"))
    try desk.edit("device /dev/drbd90;", "device \(device) minor 90;")
    ownID = try #require(
      Int(try desk.a("-d new-resource r0").out.split(separator: " ").last.map { String($0.dropLast()) } ?? ""))
  }

  var peerID: Int { 1 - ownID }

  /// Runs `NAME ARGUMENTS` as node `a`.
  func call(_ line: String) throws -> Said {
    var words = line.split(separator: " ").map(String.init)
    return try desk.run("\(names)/\(words.removeFirst())", words, on: desk.bench.a)
  }

  var hasDevice: Bool {
    var status = stat()
    return stat(device, &status) == 0 && status.st_mode & S_IFMT == S_IFBLK
  }

  /// It has the device of a Primary, not DRBD's number, which opens nothing.
  var deviceOpens: Bool {
    var status = stat()
    return stat(device, &status) == 0 && status.st_rdev >> 8 & 0xfff == 7
  }

  var role: String? {
    do { return try call("drbdsetup role r0").out.trimmingCharacters(in: .whitespacesAndNewlines) } catch { return nil }
  }

  func createMetadata() throws {
    for node in [desk.bench.a, desk.bench.b] { succeeds(try desk.type("create-md r0", on: node, [:])) }
  }

  /// Both up, equal, both Secondary.
  func up() throws {
    try createMetadata()
    succeeds(try desk.a("up r0"))
    succeeds(try desk.b("up --no-device r0"))
    for node in [desk.bench.a, desk.bench.b] { succeeds(try desk.type("wait-connect r0", on: node, [:])) }
    succeeds(try desk.a("new-current-uuid --clear-bitmap r0"))
    try desk.bench.inSync()
  }
}

@Suite(.serialized) struct BelowDrbdadm {
  @Test(.enabled(if: hasFuseDevices, "needs root and FUSE, and a kernel without nbd"))
  func theDeviceFollowsTheRoleWhoeverChangesIt() throws {
    let low = try LowDesk()
    try low.up()
    succeeds(try low.call("drbdsetup primary r0"))
    #expect(low.deviceOpens && low.role == "Primary")
    succeeds(try low.call("drbdsetup secondary r0"))
    #expect(low.hasDevice && !low.deviceOpens && low.role == "Secondary")
    // What drbdadm began, drbdsetup ends.
    succeeds(try low.desk.a("primary r0"))
    #expect(low.deviceOpens)
    succeeds(try low.call("drbdsetup down r0"))
    #expect(!low.hasDevice && access(low.desk.bench.a.files.controlSocket("r0"), F_OK) != 0)
    succeeds(try low.call("drbdsetup down r0"))
  }

  @Test(.enabled(if: hasFuseDevices, "needs root and FUSE, and a kernel without nbd"))
  func forceEndsTheUseOfTheDevice() throws {
    let low = try LowDesk()
    try low.up()
    succeeds(try low.call("drbdsetup --force primary r0"))
    let holder = open(low.device, O_RDONLY | O_CLOEXEC)
    try #require(holder >= 0)
    defer { close(holder) }
    for line in ["drbdsetup secondary r0", "drbdsetup secondary --force=no r0", "drbdsetup down r0"] {
      let said = try low.call(line)
      #expect(said.code == 11 && said.err.contains("(-12) Device is held open by someone"), "\(line): \(said.err)")
    }
    #expect(low.deviceOpens && low.role == "Primary")
    let forced = try low.call("drbdsetup secondary --force=yes r0")
    #expect(forced.code == 0 && forced.err.contains("its requests end with errors"), "\(forced.err)")
    #expect(low.hasDevice && !low.deviceOpens && low.role == "Secondary")
    var byte: UInt8 = 0
    #expect(pread(holder, &byte, 1, 1 << 20) < 0, "what is open has no data any more")
    // The next promotion makes another one.
    succeeds(try low.call("drbdsetup primary r0"))
    #expect(low.deviceOpens)
    succeeds(try low.call("drbdsetup secondary r0"))
  }

  @Test func yesAndNoAreTakenWhereDrbdsetupTakesThem() throws {
    let low = try LowDesk()
    try low.up()
    for line in [
      "drbdsetup primary --force=no r0", "drbdsetup secondary r0", "drbdsetup --force=yes primary r0",
      "drbdadm secondary --force=yes r0", "drbdadm -W --force primary r0", "drbdadm --force=no secondary r0",
      "drbdsetup disconnect r0 \(low.peerID) --force=yes", "drbdsetup connect --discard-my-data=no r0 \(low.peerID)",
      "drbdsetup wait-connect-resource --wait-after-sb=yes --wfc-timeout=20 r0",
      "drbdsetup resource-options --on-no-quorum suspend-io --on-no-data io-error r0",
      "drbdsetup disk-options 90 --al-extents=127", "drbdsetup net-options r0 \(low.peerID) --ping-int=3",
      "drbdsetup peer-device-options r0 \(low.peerID) 0 --c-max-rate 100M",
      "drbdsetup resource-options r0 --set-defaults",
    ] { succeeds(try low.call(line)) }
    for (line, part) in [
      ("drbdsetup primary --force=maybe r0", "--force is yes or no"),
      ("drbdsetup role --force r0", "--force is no option of role"),
      ("drbdsetup disk-options 90 --al-extents=many", "al-extents"),
      ("drbdsetup secondary --no-such r0", "--no-such is no option of secondary"),
    ] {
      let said = try low.call(line)
      #expect(said.code == 20 && said.err.contains(part), "\(line): \(said.err)")
    }
  }

  @Test func downAllEndsEveryResourceThatRuns() throws {
    let low = try LowDesk()
    let desk = low.desk
    let text = try String(contentsOfFile: desk.config, encoding: .utf8)
    let other = """
      resource r1 { device minor 99; disk \(desk.bench.directory)/second.img; meta-disk internal;
        on a { address 127.0.0.1:\(try freePort()); } on b { address 127.0.0.1:\(try freePort()); } }
      """
    try (text + other).write(toFile: desk.config, atomically: true, encoding: .utf8)
    try desk.bench.makeDisk(desk.bench.directory + "/second.img", mebibytes: 8)
    succeeds(try desk.a("create-md all"))
    succeeds(try desk.a("up --no-device all"))
    let sockets = ["r0", "r1"].map { desk.bench.a.files.controlSocket($0) }
    #expect(sockets.allSatisfy { access($0, F_OK) == 0 })
    succeeds(try low.call("drbdsetup down all"))
    #expect(sockets.allSatisfy { access($0, F_OK) != 0 })
    succeeds(try low.call("drbdsetup down all"))
    #expect(try low.call("drbdsetup down").code == 20)
  }

  @Test func theStepsOfUpAreThereOneByOne() throws {
    let low = try LowDesk()
    try low.createMetadata()
    let files = low.desk.bench.a.files
    let paths = try low.call("drbdadm -d new-path r0").out.split(separator: " ").suffix(2).joined(separator: " ")
      .trimmingCharacters(in: .newlines)
    #expect(try low.call("drbdadm -d new-minor r0").out == "drbdsetup new-minor r0 90 0\n")
    #expect(try low.call("drbdadm -d new-peer r0").out.hasPrefix("drbdsetup new-peer r0 \(low.peerID) --_name=b"))
    #expect(try low.call("drbdsetup new-minor r0 90 0").code == 10, "the resource comes first")
    let wrong = try low.call("drbdsetup new-resource r0 \(low.peerID)")
    #expect(wrong.code == 10 && wrong.err.contains("the node id of this host"), "\(wrong.err)")

    // As the cluster agent calls them.
    succeeds(try low.call("drbdadm new-resource r0"))
    #expect(try low.call("drbdsetup status r0").out.contains("disk:Diskless"))
    #expect(try low.call("drbdadm cstate r0").out == "StandAlone\n")
    succeeds(try low.call("drbdadm new-resource r0"))
    succeeds(try low.call("drbdadm new-minor r0"))
    if isRoot { #expect(low.hasDevice, "a script waits for the node") }
    succeeds(try low.call("drbdsetup new-minor r0 90 0"))
    succeeds(try low.call("drbdadm new-peer r0"))
    succeeds(try low.call("drbdsetup new-peer r0 \(low.peerID) --_name=b --ping-int=3"))
    succeeds(try low.call("drbdadm new-path r0"))
    succeeds(try low.call("drbdsetup new-path r0 \(low.peerID) \(paths)"))
    for (line, part) in [
      ("drbdsetup new-minor r0 91 0", "is not in the configuration"),
      ("drbdsetup new-peer r0 \(low.peerID) --_name=c", "is b, not c"),
      ("drbdsetup new-peer r0 7", "no peer with node id 7"),
      ("drbdsetup new-path r0 \(low.peerID) ipv4:1.2.3.4:5 ipv4:6.7.8.9:10", "the path to b in the configuration"),
    ] {
      let said = try low.call(line)
      #expect(said.code == 10 && said.err.contains(part), "\(line): \(said.err)")
    }
    succeeds(try low.call("drbdadm adjust --skip-net r0"))
    #expect(try low.call("drbdadm dstate r0").out.hasPrefix("Inconsistent/"))
    let again = try low.call("drbdadm new-minor r0")
    #expect(again.code == 10 && again.err.contains("(161)"), "\(again.err)")
    // It makes its wait out of what drbdadm would do.
    let connect = try low.call("drbdadm -d connect r0:b").out
    #expect(connect == "drbdsetup connect r0 \(low.peerID)\n")
    succeeds(try low.desk.b("up --no-device r0"))
    succeeds(try low.call("drbdadm adjust r0"))
    let wait = connect.trimmingCharacters(in: .newlines).replacingOccurrences(
      of: " connect ", with: " wait-connect-connection ")
    succeeds(try low.call(wait + " --wfc-timeout=20 --degr-wfc-timeout=20 --outdated-wfc-timeout=20"))
    succeeds(try low.call("drbdsetup del-peer r0 \(low.peerID)"))
    #expect(try low.call("drbdadm cstate r0").out == "StandAlone\n")
    succeeds(try low.call("drbdadm down r0"))
    #expect(!low.hasDevice && access(files.pidFile("r0"), F_OK) != 0)
    // The low-level way, with an option of the section.
    succeeds(try low.call("drbdsetup new-resource r0 \(low.ownID) --auto-promote=no"))
    #expect(try low.call("drbdsetup show r0").out.contains("auto-promote"))
    succeeds(try low.call("drbdsetup down r0"))
  }

  @Test(.enabled(if: access(shim, R_OK) == 0, "needs the scripts of drbd-utils"))
  func theServiceScriptOfDRBDDoesItsWork() throws {
    let low = try LowDesk()
    try low.createMetadata()
    let script = low.desk.bench.directory + "/shim.sh"
    try String(contentsOfFile: shim, encoding: .utf8).replacingOccurrences(of: "/usr/sbin/", with: low.names + "/")
      .write(toFile: script, atomically: true, encoding: .utf8)
    func service(_ verb: String) throws -> Said {
      try low.desk.run("/bin/bash", [script, verb, "r0"], on: low.desk.bench.a)
    }
    succeeds(try low.desk.b("up --no-device r0"))
    succeeds(try service("adjust"))
    succeeds(try low.call("drbdadm wait-connect r0"))
    succeeds(try low.call("drbdsetup new-current-uuid 90 --clear-bitmap"))
    for _ in 0..<2 { succeeds(try service("primary")) }
    #expect(low.role == "Primary")
    for verb in ["secondary", "secondary-force", "primary", "secondary-secondary-force"] { succeeds(try service(verb)) }
    #expect(low.role == "Secondary")
    for _ in 0..<2 { succeeds(try service("down")) }
    #expect(try low.call("drbdsetup status").out.hasPrefix("# No currently configured"))
  }

  @Test func adjustBringsLINSTORsOptions() throws {
    let bench = try AdminBench()
    try bench.configure()
    let daemon = FakeDaemon("r0", bench.files) { FakeDaemon.saysVolumeOrDone($0) }
    defer { daemon.stop() }
    #expect(bench.run("adjust", "--discard-my-data", "--skip-disk", "r0").code == 0)
    // Which volumes it has is asked first.
    #expect(
      daemon.commands.filter { $0 != .status } == [.adjustPart(skipDisk: true, skipNet: false, discardMyData: true)])
  }

  /// A file is tested beside the others, in the place of the one that it will replace.
  @Test func aFileIsTestedInThePlaceOfAnother() throws {
    let bench = try AdminBench()
    try bench.configure()
    func resource(_ name: String, _ minor: Int) -> String {
      "resource \(name) { device minor \(minor); disk /dev/vdx; meta-disk internal; "
        + "on one { address 127.0.0.1:\(7000 + minor); } on two { address 127.0.0.1:\(8000 + minor); } }\n"
    }
    let main = try String(contentsOfFile: bench.directory + "/repl.conf", encoding: .utf8)
    try bench.write("repl.conf", main + "include \"*.res\";\n")
    try bench.write("old.res", resource("r5", 5))
    try bench.write("new.tmp", resource("r5", 6))
    let (new, old) = (bench.directory + "/new.tmp", bench.directory + "/old.res")
    #expect(bench.run("sh-nop").code == 0)
    let both = bench.run("--config-to-test", new, "sh-nop")
    #expect(both.code == 10 && both.err.contains("r5"), "two of one name: \(both.err)")
    #expect(bench.run("--config-to-test", new, "--config-to-exclude", old, "sh-nop").code == 0)
    try bench.write("new.tmp", resource("r5", 90))
    let clash = bench.run("--config-to-test", new, "--config-to-exclude", old, "sh-nop")
    #expect(clash.code == 10 && clash.err.contains("90"), "the minor of another resource: \(clash.err)")
    #expect(bench.run("-E", old, "sh-resources").out == "r0\n")
    #expect(bench.run("-t", new, "up", "r0").code == 1)
  }
}
