// The command line: drbdadm's grammar, its exit codes for nonsense, and the commands that need neither disk nor daemon.
import Control
import Foundation
import Testing

@Suite struct CommandLineGrammar {
  @Test func optionsMayStandBeforeOrBehindTheCommand() throws {
    let bench = try AdminBench()
    try bench.configure()
    let expected = AdminBench.Outcome(code: 0, out: "replsetup primary r0 --force\n", err: "")
    #expect(bench.run("-d", "primary", "--force", "r0") == expected)
    #expect(bench.run("primary", "r0", "--force", "-d") == expected)
    #expect(bench.run("--dry-run", "--", "--overwrite-data-of-peer", "primary", "r0") == expected)
    #expect(bench.run("-d", "primary", "r0", "--", "--force") == expected)
  }

  @Test func optionsWithValuesMoveTogether() throws {
    let bench = try AdminBench()
    try bench.configure()
    try FileManager.default.moveItem(atPath: bench.directory + "/repl.conf", toPath: bench.directory + "/other.conf")
    let other = bench.directory + "/other.conf"
    #expect(bench.run("-c", other, "sh-dev", "r0").out == "/dev/drbd90\n")
    #expect(bench.run("--config-file=\(other)", "sh-dev", "r0").out == "/dev/drbd90\n")
    #expect(bench.run("sh-dev", "r0", "-c", other).out == "/dev/drbd90\n")
    #expect(bench.run("--timeout", "3", "-c", other, "sh-minor", "r0").out == "90\n")
    #expect(bench.run("-c\(other)", "sh-minor", "r0").out == "90\n")
  }

  @Test func nonsenseIsExitOne() throws {
    let bench = try AdminBench()
    try bench.configure()
    #expect(bench.run("prymary", "r0").code == 1)
    #expect(bench.run("prymary", "r0").err.contains("did you mean 'primary'"))
    #expect(bench.run("primary").code == 1)
    #expect(bench.run("primary", "--frobnicate", "r0").code == 1)
    #expect(bench.run("role", "r0/7").code == 1)
    #expect(bench.run("create-md", "r0/7").code == 1)
    #expect(bench.run("connect", "r0:nobody").code == 1)
    #expect(bench.run("--timeout", "-4", "role", "r0").code == 1)
    #expect(bench.run("create-md", "--format", "v10", "r0").code == 1)
    #expect(bench.run("resize", "--size", "10X", "r0").code == 1)
    #expect(bench.run("--stacked", "primary", "all").code == 1)
  }

  @Test func helpAndSuggestionsSpeakOfCommandsThatHelpLists() throws {
    let bench = try AdminBench()
    try bench.configure()
    let unknown = bench.run("help", "frobnicate")
    #expect(unknown.code == 1 && unknown.err.contains("there is no command 'frobnicate'"))
    #expect(bench.run("help", "primary").code == 0 && bench.run("help", "hidden-commands").code == 0)
    #expect(bench.run("help", "prymary").err.contains("did you mean 'primary'"))
    for word in ["statf", "run-handlr", "synce", "mann", "hidden-command", "adjust-with-progres"] {
      let said = bench.run(word, "r0")
      #expect(said.code == 1 && !said.err.contains("did you mean 'state'"))
      for hidden in ["run-handler", "syncer", "'man'", "hidden-commands", "adjust-with-progress"] {
        #expect(!said.err.contains(hidden), "\(word): \(said.err)")
      }
    }
  }

  @Test func anOptionOfAnotherSectionNamesItsPlace() throws {
    let bench = try AdminBench()
    try bench.configure()
    let expected = "type repladm peer-device-options --resync-rate=10M r0.\n"
    for words in [
      ["disk-options", "--resync-rate=10M", "r0"], ["disk-options", "--resync-rate", "10M", "r0"],
      ["--resync-rate", "10M", "disk-options", "r0"], ["disk-options", "r0", "--resync-rate=10M"],
      ["disk-options", "--set", "resync-rate=10M", "r0"],
    ] {
      let said = bench.run(words)
      #expect(said.code == 1 && said.err.hasSuffix(expected), "\(words): \(said)")
      #expect(said.err.hasPrefix("repladm: resync-rate is no option of disk-options"))
    }
    #expect(
      bench.run("net-options", "--al-extents=7", "r0").err.contains("type repladm disk-options --al-extents=7 r0."))
    #expect(bench.run("disk-options", "--frobnicate", "r0").err.contains("--frobnicate"))
  }

  @Test func aHintCarriesTheNameOfTheResource() throws {
    let bench = try AdminBench()
    try bench.configure()
    try bench.makeDisk(16 << 20)
    for command in ["dump-md", "get-gi", "outdate", "apply-al"] {
      let said = bench.run(command, "r0")
      #expect(said.code == 1 && said.err.contains("repladm create-md r0."), "\(command): \(said)")
    }
    #expect(bench.run("check-resize", "r0").err.contains("repladm check-resize --from SIZE r0;"))
    #expect(bench.run("del-minor", "r0").err.contains("use repladm adjust r0"))
    let low = bench.run("-", "v09", bench.disk, "internal", "dstate", program: "replmeta")
    #expect(low.err.contains("repladm create-md RES."))
  }

  @Test func aResourceThatRunsAndIsNotInTheFileIsPointedAt() throws {
    let bench = try AdminBench()
    try bench.configure()
    let daemon = FakeDaemon("gone", bench.files) { command in
      [.reply(command == .status ? .status(StatusSnapshot(name: "gone", nodeID: 0, role: .primary)) : .done)]
    }
    defer { daemon.stop() }
    let pointer = "gone: repld runs for it, and \(bench.directory)/repl.conf does not have it for this host: "
    for command in ["down", "primary", "status"] {
      let said = bench.run(command, "gone")
      #expect(said.code == 1 && said.err.contains(pointer) && said.err.contains("replsetup down gone."), "\(said)")
    }
    let all = bench.run("status")
    #expect(all.code == 0 && all.out.contains("gone role:Primary") && all.err.contains(pointer), "\(all)")
    #expect(!bench.run("primary", "nosuch").err.contains("repld runs"))
  }

  @Test func whatTheFileDoesNotHaveIsExitOneAndSaysWhatItHas() throws {
    let bench = try AdminBench()
    try bench.configure()
    let outcome = bench.run("primary", "r9")
    #expect(outcome.code == 1 && outcome.err.contains("r0"))
    let elsewhere = bench.run("primary", "r0", node: "three")
    #expect(elsewhere.code == 1 && elsewhere.err.contains("one") && elsewhere.err.contains("two"))
  }

  @Test func aBrokenFileIsExitTenAndAMissingOneTwenty() throws {
    let bench = try AdminBench()
    #expect(bench.run("role", "r0").code == 20)
    try bench.write("repl.conf", "resource r0 {\n  protocl C;\n}\n")
    let outcome = bench.run("role", "r0")
    #expect(outcome.code == 10)
    #expect(outcome.err.hasPrefix(bench.directory + "/repl.conf:2: Parse error"))
    #expect(outcome.err.contains("protocol"))
  }

  @Test func anAddressThatIsNotHereIsSaidByUpAndNotByDown() throws {
    let bench = try AdminBench()
    bench.environment["REPLD"] = "/nonexistent/repld"
    try bench.configure()
    let text = try String(contentsOfFile: bench.directory + "/repl.conf", encoding: .utf8)
    try bench.write(
      "repl.conf",
      text.replacingOccurrences(of: "global { disable-ip-verification; }", with: "")
        .replacingOccurrences(of: "127.0.0.1:7790", with: "192.0.2.77:7790"))
    let up = bench.run("up", "r0")
    #expect(up.err.contains("IP 192.0.2.77 not found on this host: the connection waits for it"), "\(up.err)")
    #expect(up.code == 20 && up.err.contains("/nonexistent/repld"), "it went on")
    #expect(bench.run("down", "r0") == AdminBench.Outcome(code: 0, out: "", err: ""))
  }

  @Test func aPromiseThatIsNotKeptStopsUp() throws {
    let bench = try AdminBench()
    try bench.configure(extra: "options { quorum majority; }")
    let outcome = bench.run("up", "r0")
    #expect(outcome.code == 10 && outcome.err.contains("quorum"))
  }

  @Test func versionIsForShells() throws {
    let bench = try AdminBench()
    let lines = bench.run("--version").out.split(separator: "\n")
    #expect(lines.contains("DRBDADM_API_VERSION=2"))
    #expect(
      lines.contains { $0.hasPrefix("DRBD_KERNEL_VERSION_CODE=0x0") && $0 != "DRBD_KERNEL_VERSION_CODE=0x000000" })
    #expect(lines.contains("DRBDADM_VERSION=9.22.0"))
    bench.environment["DRBD_DRIVER_VERSION_OVERRIDE"] = "8.4.11"
    #expect(bench.run("-V").out.contains("DRBD_KERNEL_VERSION_CODE=0x08040b\n"))
  }

  @Test func scriptsGetOneValuePerLine() throws {
    let bench = try AdminBench()
    try bench.configure()
    #expect(bench.run("sh-resources").out == "r0\n")
    #expect(bench.run("sh-dev", "r0").out == "/dev/drbd90\n")
    #expect(bench.run("sh-ll-dev", "all").out == bench.disk + "\n")
    #expect(bench.run("sh-md-idx", "minor-90").out == "internal\n")
    #expect(bench.run("sh-ip", "r0").out == "127.0.0.1\n")
    #expect(bench.run("sh-nbd-uri", "r0/0").out == "nbd+unix:///?socket=\(bench.directory)/run/r0-0.nbd\n")
    #expect(bench.run("sh-nop").code == 0)
    #expect(bench.run("sh-udev", "r0/0").out.contains("SYMLINK_BY_RES=drbd/by-res/r0\n"))
    #expect(bench.run("sh-mod-parms").out.hasPrefix("minor_count="))
  }

  @Test func dryRunNamesTheLowLevelCommands() throws {
    let bench = try AdminBench()
    try bench.configure()
    #expect(bench.run("-d", "create-md", "r0").out == "replmeta 90 v09 \(bench.disk) internal create-md 1\n")
    #expect(
      bench.run("-d", "up", "r0").out
        == "repld r0\nreplsetup attach 90 \(bench.disk) \(bench.disk) internal\n"
        + "replsetup connect r0 1 ipv4:127.0.0.1:7790 ipv4:127.0.0.1:7791\n")
    #expect(bench.run("-d", "down", "all").out == "replsetup down r0\n")
    #expect(bench.run("-d", "detach", "--force", "r0").out == "replsetup detach 90 --force\n")
  }

  @Test func helpManualAndCompletionsComeFromOneSource() throws {
    let bench = try AdminBench()
    let words = ["create-md", "wait-sync", "sh-nbd-uri"]
    let sources =
      ["help"].map { bench.run($0) }
      + ["bash", "zsh", "fish"].map {
        bench.run("--generate-completion-script", $0)
      }
    for source in sources {
      #expect(source.code == 0)
      for word in words { #expect(source.out.contains(word)) }
    }
    bench.environment["REPLD"] = try program("repld")
    #expect(bench.run("man", "--directory", bench.directory + "/man").code == 0)
    for word in words {
      let page = try String(contentsOfFile: "\(bench.directory)/man/repladm-\(word).8", encoding: .utf8)
      #expect(page.hasPrefix(".TH REPLADM\\-\(word.uppercased().replacingOccurrences(of: "-", with: "\\-")) 8"))
    }
    let main = try String(contentsOfFile: bench.directory + "/man/repladm.8", encoding: .utf8)
    #expect(main.contains("REPL_RUN_DIR") && main.contains("\\-\\-timeout"))
    #expect(bench.run("help", "create-md").out.contains("--max-peers"))
  }
}
