// Which names and which order of options the commands take, and what they would do: `--dry-run` beside the real drbdadm.
import Foundation
import Testing

@Suite struct DryRunCommands {
  /// Two volumes that the file writes out, or one that stands in the resource; with node ids for 9, without for 8.4.
  static func file(explicit: Bool, ids: Bool, disk: String) -> String {
    let volumes =
      explicit
      ? """
      volume 0 { device /dev/drbd90 minor 90; meta-disk internal; disk \(disk); }
      volume 1 { device /dev/drbd91 minor 91; meta-disk internal; disk \(disk)-1; }
      """ : "device /dev/drbd90 minor 90; meta-disk internal; disk \(disk);"
    return """
      global { disable-ip-verification; }
      resource r0 {
        net { verify-alg sha1; }
        \(volumes)
        on one { \(ids ? "node-id 0;" : "") address 127.0.0.1:7790; }
        on two { \(ids ? "node-id 1;" : "") address 127.0.0.1:7791; }
      }

      """
  }

  private enum Drbdadm {
    static var isInstalled: Bool { DRBDTool.isInstalled(DRBDTool.drbdadm) }

    static func run(_ arguments: [String], driver: String) throws -> (code: Int32, out: String) {
      let environment = [
        "DRBD_DRIVER_VERSION_OVERRIDE": driver, "__DRBD_NODE__": "one", "PATH": "/usr/sbin:/usr/bin",
      ]
      return try DRBDTool.run(DRBDTool.drbdadm, arguments, environment: environment)
    }
  }

  /// One for each kind of object that a command is about; all of them were compared once (admin spec 4).
  private static let commands = [
    "attach", "connect", "up", "down", "adjust", "primary", "cstate", "status", "verify", "wait-connect", "create-md",
    "net-options", "sh-dev", "sh-resource", "dump", "fence-peer",
  ]

  @Test(.enabled(if: Drbdadm.isInstalled, "needs drbdadm of Debian's drbd-utils"), arguments: [false, true])
  func everyCommandTakesTheNamesThatOneOfDRBDsGenerationsTakes(_ explicit: Bool) throws {
    let bench = try AdminBench()
    let files = [("9.2.9", "9.res", true), ("8.4.11", "84.res", false)]
    for (_, name, ids) in files { try bench.write(name, Self.file(explicit: explicit, ids: ids, disk: bench.disk)) }
    try bench.write("repl.conf", Self.file(explicit: explicit, ids: true, disk: bench.disk))
    let volume = explicit ? 1 : 0
    for wrong in ["r0/7", "r0:three", "minor-7"] { #expect(bench.run("-d", "attach", wrong).code == 1) }
    for command in Self.commands {
      for name in ["r0", "r0/\(volume)", "r0:two", "r0:two/\(volume)", "minor-9\(volume)"] {
        let theirs = try files.contains { driver, file, _ in
          try Drbdadm.run(["-c", "\(bench.directory)/\(file)", "-d", command, name], driver: driver).code == 0
        }
        let ours = bench.run("-d", command, name)
        #expect((ours.code == 0) == theirs, "\(command) \(name): \(ours)")
      }
    }
  }

  /// What LINSTOR, how-tos and habits from 8.3 write, and the low-level command that drbdadm 9.22 makes of it.
  private static let orders: [(words: [String], low: String)] = [
    (["-vvv", "--max-peers", "7", "--", "--force", "create-md", "r0/0"], "create-md 7 --force"),
    (["--max-peers=7", "create-md", "r0/0"], "create-md 7"),
    (["--", "--force", "create-md", "r0"], "create-md 1 --force"),
    (["--al-stripes", "2", "create-md", "--force", "r0"], "create-md 1 --al-stripes=2 --force"),
    (["create-md", "r0", "--al-stripe-size-kB", "64"], "create-md 1 --al-stripe-size-kB=64"),
    (["--", "--overwrite-data-of-peer", "primary", "r0/0"], "primary r0 --force"),
    (["primary", "--", "r0"], "primary r0"),
    (["--", "--discard-my-data", "connect", "r0"], "connect r0 1 --discard-my-data"),
    (["--size", "10G", "resize", "r0"], "resize 90 --size=10G"),
    (["--", "--size=10G", "--assume-clean", "resize", "r0"], "resize 90 --size=10G --assume-clean"),
    (["resize", "--assume-peer-has-space", "r0"], "resize 90 --assume-peer-has-space"),
    (["--start", "0", "verify", "r0"], "verify 90 --start=0"),
    (["verify", "r0", "--start=8", "--stop", "99"], "verify 90 --start=8 --stop=99"),
    (["invalidate", "r0", "--reset-bitmap=no"], "invalidate 90 --reset-bitmap=no"),
    (["--reset-bitmap", "no", "invalidate-remote", "r0"], "invalidate-remote 90 --reset-bitmap=no"),
    (["--timeout", "20", "net-options", "r0"], "net-options r0 1"),
    (["net-options", "--timeout", "20", "r0"], "net-options r0 1 --timeout=20"),
    (["--", "--timeout=20", "net-options", "r0"], "net-options r0 1 --timeout=20"),
    (["--resync-rate", "10M", "peer-device-options", "r0"], "peer-device-options r0 1 0 --resync-rate=10M"),
    (["--al-extents", "99", "disk-options", "r0"], "disk-options 90 --al-extents=99"),
    (["--wfc-timeout", "5", "wait-connect", "r0"], "wait-connect-resource r0 --wfc-timeout=5"),
    (["wait-sync", "--wait-after-sb", "yes", "r0:two"], "wait-sync-connection r0 1 --wait-after-sb=yes"),
    (["wait-connect", "r0:two/0"], "wait-connect-volume r0 1 0"),
    (["disconnect", "r0", "--force"], "disconnect r0 1 --force"),
    (["detach", "--diskless", "r0"], "detach 90 --diskless"),
    (["--", "--statistics", "status", "r0"], "status r0 --statistics"),
    (["--clear-bitmap", "new-current-uuid", "r0"], "new-current-uuid 90 --clear-bitmap"),
    (["--from", "8M", "check-resize", "r0"], "internal check-resize --from=8M"),
    (["--to", "v08", "convert-md", "r0"], "internal convert-md v08"),
    (["wipe-md", "r0", "--force"], "wipe-md --force"),
  ]

  @Test func optionsMayStandAnywhereWithTheirValues() throws {
    let bench = try AdminBench()
    try bench.configure()
    for (words, low) in Self.orders {
      let said = bench.run(["-d"] + words)
      #expect(said.code == 0 && said.out.hasSuffix(low + "\n"), "\(words): \(said)")
    }
    // A value that is the name of a command, and words that no command explains.
    #expect(bench.run("-c", "status", "sh-dev", "r0").code == 20)
    #expect(bench.run("--frobnicate", "7", "create-md", "r0").err.contains("there is no command '7'"))
  }

  @Test(.enabled(if: Drbdadm.isInstalled, "needs drbdadm of Debian's drbd-utils"))
  func drbdadmMakesTheSameOfThem() throws {
    let bench = try AdminBench()
    try bench.write("9.res", Self.file(explicit: false, ids: true, disk: bench.disk))
    let ownOnes = ["convert-md", "check-resize", "wait-connect", "wait-sync", "status"]
    for (words, low) in Self.orders where !words.contains(where: ownOnes.contains) {
      let theirs = try Drbdadm.run(["-c", bench.directory + "/9.res", "-d"] + words, driver: "9.2.9")
      // drbdsetup is told of a peer's volume by three words where replsetup takes the minor; a file's options come along.
      let options = low.split(separator: " ").filter { $0.hasPrefix("--") }
      // `-- --overwrite-data-of-peer` is shown by nobody; the lower tool is given it.
      guard !words.contains("--overwrite-data-of-peer") else { continue }
      #expect(theirs.code == 0, "\(words)")
      // It drops the value of --reset-bitmap when that stands in front of the command.
      for option in options where option != "--reset-bitmap=no" || words[0] == "invalidate" {
        #expect(theirs.out.contains(option), "\(words): \(theirs.out)")
      }
    }
  }

  @Test func upShowsTheOptionsOfEveryStep() throws {
    let bench = try AdminBench()
    try bench.configure(
      extra:
        "options { auto-promote no; } net { verify-alg sha1; ping-int 7; } disk { al-extents 999; resync-rate 10M; }")
    #expect(
      bench.run("-d", "up", "r0").out
        == """
        repld r0
        replsetup resource-options r0 --set-defaults --auto-promote=no
        replsetup peer-device-options r0 1 0 --set-defaults --resync-rate=10M
        replsetup attach 90 \(bench.disk) \(bench.disk) internal --al-extents=999
        replsetup connect r0 1 ipv4:127.0.0.1:7790 ipv4:127.0.0.1:7791 --ping-int=7 --verify-alg=sha1

        """)
    #expect(bench.run("-d", "adjust", "r0").out == bench.run("-d", "up", "r0").out)
    try bench.configure(extra: "options { quorum majority; }")
    for command in ["up", "adjust"] {
      let refused = bench.run("-d", command, "r0")
      #expect(refused.code == 10 && refused.out.isEmpty && refused.err.contains("quorum"))
    }
  }

  @Test func aVolumeOfSeveralStandsForTheResourceAndThatIsSaid() throws {
    let bench = try AdminBench()
    try bench.write("repl.conf", Self.file(explicit: true, ids: true, disk: bench.disk))
    for (command, low) in [("primary", "replsetup primary r0\n"), ("secondary", "replsetup secondary r0\n")] {
      let said = bench.run("-d", command, "r0/1")
      #expect(said.code == 0 && said.out == low)
      #expect(said.err == "r0: \(command) is about the whole resource, with all of its volumes\n")
      #expect(bench.run("-d", command, "r0").err.isEmpty)
    }
    #expect(bench.run("-d", "resize", "r0").out == "replsetup resize 90\nreplsetup resize 91\n")
    #expect(bench.run("-d", "resize", "r0/1").out == "replsetup resize 91\n")
    #expect(
      bench.run("down", "r0/1").err.contains("down operates on whole resources, but you specified a specific volume!"))
  }

  @Test func listsOfNothingAreQuiet() throws {
    let nothing = AdminBench.Outcome(code: 0, out: "", err: "")
    let bench = try AdminBench()
    try bench.configure()
    #expect(bench.run("sh-resources", node: "three") == nothing)
    #expect(bench.run("-S", "sh-resources") == nothing)
    #expect(bench.run("--stacked", "sh-resources") == nothing)
    #expect(bench.run("-S", "sh-nop") == nothing)
    #expect(bench.run("-S", "-d", "primary", "r0").out == "replsetup primary r0\n")
    let stacked = bench.run("-S", "up", "all")
    #expect(stacked.code == 1 && stacked.err.contains("nothing stacked for this host (one)"))
    #expect(bench.run("sh-dev", "all", node: "three").code == 1)
    try bench.write("repl.conf", "")
    #expect(bench.run("sh-resources") == nothing)
    try bench.write(
      "repl.conf",
      """
      resource low { device minor 1; disk /dev/a; meta-disk internal;
        on one { address 127.0.0.1:7790; } on two { address 127.0.0.1:7791; } }
      resource high { stacked-on-top-of low { device minor 11; address 127.0.0.1:7792; }
        on four { device minor 11; disk /dev/d; meta-disk internal; address 127.0.0.4:7792; } }
      """)
    #expect(bench.run("sh-resources").out == "low\n")
    #expect(bench.run("-S", "sh-resources").out == "high\n")
    try bench.write("repl.conf", "resource {")
    #expect(bench.run("sh-resources").code == 10)
  }
}
