// `monitor` and the bar of `verify` on a terminal: the real program on a pseudo-terminal, beside daemons that answer what they are told to.
import Base
import Control
import Foundation
import Glibc
import Testing

@testable import ReplAdmin

@Suite(.serialized) struct MonitorOnATerminal {
  private static func snapshot(syncing: Bool = false) -> StatusSnapshot {
    var snapshot = StatusSnapshot(name: "r0", nodeID: 0, role: .primary)
    var device = DeviceStatus(volume: VolumeNumber(0), minor: 90, disk: .upToDate)
    device.size = 10_000
    snapshot.devices = [device]
    var connection = ConnectionStatus(name: "two", peerNodeID: 1, state: .connected, peerRole: .secondary)
    var peer = PeerDeviceStatus(
      volume: VolumeNumber(0), replication: syncing ? .syncSource : .connected,
      peerDisk: syncing ? .inconsistent : .upToDate)
    if syncing {
      peer.outOfSync = 5000
      peer.resync = ResyncStatus(totalSectors: 20_000)
      peer.resync?.newerMark = .init(milliseconds: 1000, sectors: 2048)
    }
    connection.peerDevices = [peer]
    snapshot.connections = [connection]
    return snapshot
  }

  /// A resource, and its daemon.
  private final class Watched {
    let bench: AdminBench
    let daemon: FakeDaemon
    init(syncing: Bool = false) throws {
      bench = try AdminBench()
      try bench.configure()
      let answer = Reply.status(MonitorOnATerminal.snapshot(syncing: syncing))
      daemon = FakeDaemon("r0", bench.files) { _ in [.reply(answer)] }
    }
    deinit { daemon.stop() }

    var environment: [String: String] {
      var all = bench.environment
      all["__DRBD_NODE__"] = "one"
      all["TERM"] = "xterm-256color"
      return all
    }

    func monitor(
      _ arguments: String..., surroundings: [String: String] = [:], columns: Int = 80, rows: Int = 24
    ) throws -> Pty {
      try Pty(
        try program("repladm"), ["monitor"] + arguments,
        environment: environment.merging(surroundings) { $1 }, columns: columns, rows: rows)
    }
  }

  /// Nothing of the picture is left.
  private func expectRestored(_ pty: Pty, at location: SourceLocation = #_sourceLocation) {
    #expect(pty.isCooked, sourceLocation: location)
    let screen = pty.screen
    #expect(!screen.isAlternate && !screen.hidesCursor, sourceLocation: location)
    #expect(!screen.overflowed, sourceLocation: location)
  }

  @Test func thePictureFitsTheTerminalAndFollowsItsSize() throws {
    let watched = try Watched(syncing: true)
    let pty = try watched.monitor()
    defer { pty.end() }
    try pty.shows("      sent 0 KiB/s  received 0 KiB/s")
    let picture = pty.screen
    #expect(picture.lines[0].hasPrefix("repl \(Product.version)  one  1 resource, 1 not in order"))
    #expect(picture.lines[0].count == 80, "the time stands at the right end, whole")
    #expect(picture.lines[1] == "r0  Primary")
    #expect(picture.lines[4] == "    0 SyncSource  Inconsistent  out of sync 4.9 MiB")
    #expect(picture.lines[6].hasPrefix("      [==") && picture.lines[6].hasSuffix("] 50.00 % 1.0 MiB/s 0:05"))
    #expect(picture.lines[23] == "q quit  h help")
    #expect(picture.isAlternate && picture.hidesCursor && !pty.isCooked)
    pty.forget()
    pty.resize(columns: 30, rows: 5)
    try pty.shows("q quit  h help  up/down scroll")
    #expect(pty.screen.lines[1] == "r0  Primary")
    pty.type("G")
    try pty.shows("      50.00 % 1.0 MiB/s 0:05")
    #expect(!pty.screen.overflowed)
    pty.type("q")
    #expect(try pty.code() == 0)
    expectRestored(pty)
  }

  @Test func keysScrollAndHelp() throws {
    let watched = try Watched()
    let pty = try watched.monitor(rows: 5)
    defer { pty.end() }
    try pty.shows("r0  Primary")
    pty.type("h")
    try pty.shows("Keys")
    pty.type("x")
    try pty.shows("r0  Primary")
    // An arrow, in two parts.
    pty.type("\u{1B}[")
    pty.type("B")
    try pty.shows("    0 Established  UpToDate  out of sync 0 KiB  sent 0 KiB/s  received 0 KiB/s")
    pty.type("k")
    try pty.shows("r0  Primary")
    pty.type("q")
    #expect(try pty.code() == 0)
    expectRestored(pty)
  }

  @Test func withoutColoursThereAreWords() throws {
    let watched = try Watched()
    let colours = try watched.monitor()
    defer { colours.end() }
    try colours.sees("\u{1B}[32mUpToDate\u{1B}[0m")
    colours.type("q")
    #expect(try colours.code() == 0)
    let plain = try watched.monitor(surroundings: ["NO_COLOR": "1"])
    defer { plain.end() }
    try plain.sees("UpToDate")
    plain.type("q")
    #expect(try plain.code() == 0)
    #expect(!plain.text.replacing("\u{1B}[0m\u{1B}[?25h", with: "").contains(/\x1b\[[0-9;]*m/))
    let dumb = try watched.monitor(surroundings: ["TERM": "dumb"])
    defer { dumb.end() }
    try dumb.sees("Established")
    dumb.type("q")
    #expect(try dumb.code() == 0)
    #expect(!dumb.text.contains("\u{1B}"), "\(dumb.text.debugDescription)")
    expectRestored(dumb)
  }

  @Test(arguments: [(SIGINT, "\u{3}"), (SIGTERM, ""), (SIGHUP, ""), (SIGQUIT, "\u{1C}")])
  func everySignalThatEndsItLeavesTheTerminalAsItWas(_ number: Int32, _ key: String) throws {
    let watched = try Watched()
    let pty = try watched.monitor()
    defer { pty.end() }
    try pty.shows("r0  Primary")
    if key.isEmpty { kill(pty.child, number) } else { pty.type(key) }
    #expect(try pty.code() == 128 + number)
    expectRestored(pty)
  }

  @Test func theTimeLimitLeavesTheTerminalAsItWas() throws {
    let watched = try Watched()
    let pty = try watched.monitor("--timeout", "0.5")
    defer { pty.end() }
    #expect(try pty.code() == 5)
    #expect(pty.text.contains("monitor ended after 0.5 s"))
    expectRestored(pty)
  }

  @Test func aTerminalThatGoesAwayEndsIt() throws {
    let watched = try Watched()
    let pty = try watched.monitor()
    defer { pty.end() }
    try pty.shows("r0  Primary")
    pty.hangUp()
    try until("the monitor ends") { !pty.isRunning }
  }

  /// ^Z and fg of a real shell.
  @Test func aShellStopsItAndGoesOn() throws {
    let watched = try Watched()
    var environment = watched.environment
    environment["PS1"] = "ready> "
    environment["TERM"] = "xterm"
    let pty = try Pty("/bin/bash", ["--norc", "--noprofile", "-i"], environment: environment)
    defer { pty.end() }
    try pty.sees("ready> ")
    pty.type("\(try program("repladm")) monitor\n")
    try pty.shows("r0  Primary")
    pty.type("\u{1A}")
    try pty.sees("Stopped")
    #expect(!pty.screen.isAlternate && !pty.screen.hidesCursor)
    pty.type("stty -a | tr ' ;' '\\n\\n' | grep -cx -e icanon -e echo\n")
    try pty.sees("\r2\r")
    pty.forget()
    pty.type("fg\n")
    try pty.shows("r0  Primary")
    #expect(pty.screen.isAlternate && pty.screen.hidesCursor)
    pty.type("q")
    try pty.sees("\u{1B}[?1049l")
    pty.type("echo ended $?\n")
    try pty.sees("ended 0")
    #expect(!pty.screen.isAlternate && !pty.screen.hidesCursor && !pty.screen.overflowed)
    // The shell's line editor has its own mode; a program that it runs has the terminal's.
    pty.forget()
    pty.type("stty -a | tr ' ;' '\\n\\n' | grep -cx -e icanon -e echo\n")
    try pty.sees("\r2\r")
    pty.type("exit\n")
    #expect(try pty.code() == 0)
  }

  @Test func itWorksInsideScript() throws {
    let watched = try Watched()
    let record = watched.bench.directory + "/typescript"
    let pty = try Pty(
      "/usr/bin/script", ["-qec", "\(try program("repladm")) monitor", record],
      environment: watched.environment.merging(["NO_COLOR": "1"]) { $1 })
    defer { pty.end() }
    try pty.shows("r0  Primary")
    pty.type("q")
    #expect(try pty.code() == 0)
    #expect(try String(contentsOfFile: record, encoding: .utf8).contains("r0  Primary"))
    expectRestored(pty)
  }

  @Test func aSilentDaemonHidesNothingElse() throws {
    let watched = try Watched()
    let main = try String(contentsOfFile: watched.bench.directory + "/repl.conf", encoding: .utf8)
    try watched.bench.write(
      "repl.conf",
      main + """
        resource r1 { device minor 91; disk /dev/vdx; meta-disk internal;
          on one { address 127.0.0.1:7792; } on two { address 127.0.0.1:7793; } }
        resource r2 { device minor 92; disk /dev/vdy; meta-disk internal;
          on one { address 127.0.0.1:7794; } on two { address 127.0.0.1:7795; } }
        """)
    let silent = FakeDaemon("r1", watched.bench.files) { _ in [.silence] }
    defer { silent.stop() }
    let pty = try watched.monitor()
    defer { pty.end() }
    try pty.shows("r0  Primary")
    try pty.shows("r1  being asked")
    #expect(pty.screen.lines.contains("r2  repld does not run: repladm up r2"))
    try pty.shows("r1  repld does not answer")
    pty.type("q")
    #expect(try pty.code() == 0)
  }

  @Test func withoutATerminalItPrintsOnePicture() throws {
    let watched = try Watched()
    let said = watched.bench.run("monitor")
    #expect(said.code == 0 && said.err.isEmpty)
    #expect(said.out.hasPrefix("r0  Primary\n  0 minor 90  UpToDate  9.8 MiB  read -  write -\n"))
    #expect(!said.out.contains("\u{1B}"))
    // What runs can be looked at without the file.
    try watched.bench.write("repl.conf", "no such thing")
    let unread = watched.bench.run("monitor")
    #expect(unread.code == 0 && unread.out == said.out && unread.err.contains("only what runs is shown"))
  }

  @Test func aVerifyShowsABarOnATerminalAndNothingElsewhere() throws {
    let bench = try AdminBench()
    try bench.configure()
    var running = Self.snapshot(syncing: true)
    running.connections[0].peerDevices[0].replication = .verifyS
    let progress = running
    var after = Self.snapshot()
    after.connections[0].peerDevices[0].outOfSync = 12
    let result = after
    let daemon = FakeDaemon("r0", bench.files) { command in
      switch command {
      case .waitSync: [.reply(.progress(progress)), .reply(.done)]
      case .status: [.reply(.status(result))]
      default: [.reply(.done)]
      }
    }
    defer { daemon.stop() }
    #expect(bench.run("verify", "r0") == AdminBench.Outcome(code: 0, out: "", err: ""))
    #expect(daemon.commands == [.verify(volume: nil, startSector: nil, stopSector: nil)])
    bench.outputIsTerminal = true
    let shown = bench.run("verify", "r0")
    #expect(shown.code == 0 && shown.err.isEmpty)
    #expect(shown.out.contains("] 50.00 % 1.0 MiB/s 0:05"))
    #expect(shown.out.hasSuffix("\nr0/0 two: 12 KiB out of sync\n"))
    #expect(daemon.commands.suffix(3).map(\.name) == ["verify", "wait-sync", "status"])
  }
}
