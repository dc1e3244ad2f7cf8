// A walk over every option there is: of every command, of every low-level command, of every section of the file. Law: an option acts,
// is refused or is reported; none is read and dropped. What acts is seen from outside, by what a command does with it and without it.
import Base
import Config
import Control
import Engine
import Foundation
import Testing

@testable import ReplAdmin
@testable import ReplDaemon

/// What one command line does: all that can be seen of it.
private struct Seen: Equatable {
  var code: Int32
  var out: String
  var err: String
  var commands: [Control.Command]
  /// Of each request, rounded: how long the daemon may take.
  var seconds: [UInt64]
  /// The metadata, as text.
  var disk: String
  var files: [String]
}

private enum Stage: CaseIterable { case daemon, blankDisk, writtenDisk }

private struct Walk {
  static func snapshot(_ option: String) -> StatusSnapshot {
    var snapshot = StatusSnapshot(name: "r0", nodeID: 0, role: .secondary)
    var device = DeviceStatus(volume: VolumeNumber(0), minor: 90, disk: .upToDate)
    device.wasDegraded = option == "degr-wfc-timeout"
    snapshot.devices = [device]
    var connection = ConnectionStatus(name: "two", peerNodeID: 1, state: .wfConnection, peerRole: .unknown)
    connection.peerDevices = [
      PeerDeviceStatus(
        volume: VolumeNumber(0), replication: .wfConnection,
        peerDisk: option == "outdated-wfc-timeout" ? .outdated : .unknown)
    ]
    snapshot.connections = [connection]
    return snapshot
  }

  /// Does it and looks.
  static func see(_ words: [String], program: String, _ stage: Stage, _ option: String) throws -> Seen {
    let bench = try AdminBench()
    bench.isRoot = false
    try bench.configure()
    try bench.makeDisk(16 << 20)
    let place = bench.directory + "/place"
    try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
    if stage == .writtenDisk {
      #expect(bench.run("create-md", "r0").code == 0)
      try bench.write("place/dump", bench.run("dump-md", "r0").out)
    }
    var daemon: FakeDaemon?
    if stage == .daemon {
      let first = snapshot(option)
      var second = first
      second.role = .primary
      let later = second
      daemon = FakeDaemon("r0", bench.files) { command in
        switch command {
        case .status: [.reply(.status(first))]
        case .watch: [.reply(.progress(first)), .reply(.progress(later)), .silence]
        case .show: [.reply(.text(#"{"_this_host": {"volumes": []}}"#))]
        default: [.reply(.done)]
        }
      }
    }
    let said = bench.run(words.map { $0.replacing("PLACE", with: place) }, program: program)
    let commands = daemon?.commands ?? []
    let requests = daemon?.requests ?? []
    daemon?.stop()
    daemon = nil
    // Without what is drawn by lot and what the clock says.
    func plain(_ text: String) -> String {
      text.replacing(bench.directory, with: "DIR").split(separator: "\n", omittingEmptySubsequences: false)
        .filter { !$0.hasPrefix("#") && !$0.contains("device-uuid") }.joined(separator: "\n")
    }
    return Seen(
      code: said.code, out: plain(said.out), err: plain(said.err), commands: commands,
      seconds: requests.map { (($0.timeoutMilliseconds ?? 0) + 500) / 1000 },
      disk: plain(bench.run("dump-md", "--force", "r0").out),
      files: try FileManager.default.contentsOfDirectory(atPath: place).sorted())
  }

  /// Whether the words make a difference somewhere, or are spoken of.
  static func acts(
    _ before: [String], _ option: [String], _ after: [String], program: String, name: String
  ) throws -> Bool {
    for stage in Stage.allCases {
      let with = try see(before + option + after, program: program, stage, name)
      if with.err.contains(name), with.err.contains("no effect here") { return true }
      if with != (try see(before + after, program: program, stage, name)) { return true }
    }
    return false
  }
}

@Suite(.serialized) struct EveryOption {
  // MARK: repladm

  private struct Help: Decodable {
    struct Name: Decodable { var name: String }
    struct Argument: Decodable {
      var kind: String
      var names: [Name]?
      var preferredName: Name?
    }
    struct Command: Decodable {
      var commandName: String
      var arguments: [Argument]?
      var subcommands: [Command]?
    }
    var command: Command
  }

  private static let values = [
    "wfc-timeout": "7", "degr-wfc-timeout": "7", "outdated-wfc-timeout": "7", "wait-after-sb": "yes",
    "reset-bitmap": "no", "start": "8", "stop": "16", "size": "1M", "max-peers": "3", "format": "v08",
    "al-stripes": "2", "al-stripe-size-kB": "64", "peer-max-bio-size": "4096", "to": "v08", "node-id": "7",
    "output": "PLACE/metrics",
  ]
  private static let settings = [
    "disk-options": "al-extents=127", "net-options": "ping-int=3", "resource-options": "auto-promote=no",
    "peer-device-options": "c-max-rate=1M", "syncer": "c-max-rate=1M",
  ]
  /// What stands behind the command when it is not a resource.
  private static let objects: [String: [String]] = [
    "install-names": ["PLACE"], "events2": ["--timeout", "0.3"], "restore-md": ["r0/0", "PLACE/dump"],
    "convert-md": ["--to", "v08", "r0"], "hidden-commands": [], "sh-mod-parms": [], "sh-resources": [], "man": [],
    "sh-nop": [], "wait-con-int": [], "sh-udev": ["r0/0"],
  ]
  /// What this walk cannot show, and the test that does.
  private static let shownElsewhere = [
    "create-md --ignore-sanity-checks": "OfflineMetadata: a file system on a metadata device",
    "up --no-device": "StartingTheDaemon.upAttachesAndConnectsAndDownEnds",
    "down --force": "BoundedCommands.aDaemonThatHangsIsEnded",
    "events2 --poll": "ThirdPartyCallers.drbdReactorsCallsAreAnswered",
    "dump-md --force": "OfflineMetadata: a dump of unclean metadata",
    "repair-md --force": "OfflineMetadata: a damaged log", "check-resize --from": "Mending: a device that has grown",
    "man --directory": "the pages in docs/man", "convert-md --to": "needed by the command",
    "create-md --peer-max-bio-size": "CreateMetadata: the superblock's field",
  ]

  @Test func ofEveryCommandActsOrIsSpokenOf() throws {
    let help = try JSONDecoder().decode(Help.self, from: Data(Repladm._dumpHelp().utf8))
    let commands = (help.command.subcommands ?? []).filter { !["help", RunHandler.word].contains($0.commandName) }
    func options(_ command: Help.Command) -> [String: String] {
      var found: [String: String] = [:]
      for argument in command.arguments ?? [] where argument.kind != "positional" {
        guard let name = argument.preferredName?.name ?? argument.names?.first?.name, name.count > 1 else { continue }
        found[name] = argument.kind
      }
      return found
    }
    let general = Set(GeneralOptionSamples.all.map(\.name) + ["help", "version"])
    var walked = 0
    for command in commands {
      for (name, kind) in options(command).sorted(by: { $0.key < $1.key }) where !general.contains(name) {
        let label = "\(command.commandName) --\(name)"
        if Self.shownElsewhere[label] != nil { continue }
        walked += 1
        var option = ["--\(name)"]
        if kind == "option" {
          let value = name == "set" ? Self.settings[command.commandName] : Self.values[name]
          option.append(try #require(value, "\(label) needs a sample value here"))
        }
        let after = Self.objects[command.commandName] ?? ["r0"]
        #expect(
          try Walk.acts([command.commandName], option, after, program: "repladm", name: name),
          "\(label) is read and dropped")
      }
    }
    #expect(walked > 50)
  }

  /// The options that every command takes, each on a line where it matters.
  private struct GeneralOptionSamples {
    var name: String
    var option: [String]
    var command: [String]
    static let all: [GeneralOptionSamples] = [
      .init(name: "config-file", option: ["-c", "/nonexistent"], command: ["sh-nop"]),
      .init(name: "config-to-test", option: ["-t", "/nonexistent"], command: ["sh-nop"]),
      .init(name: "config-to-exclude", option: ["-E", "PLACE/dump"], command: ["sh-nop"]),
      .init(name: "node", option: ["--node", "two"], command: ["-d", "new-resource", "r0"]),
      .init(name: "timeout", option: ["--timeout", "77"], command: ["role", "r0"]),
      .init(name: "dry-run", option: ["-d"], command: ["role", "r0"]),
      .init(name: "verbose", option: ["-v"], command: ["role", "r0"]),
      .init(name: "drbdsetup", option: ["-s", "/sbin/drbdsetup"], command: ["role", "r0"]),
      .init(name: "drbdmeta", option: ["-m", "drbdmeta"], command: ["role", "r0"]),
      .init(name: "drbd-proxy-ctl", option: ["-p", "drbd-proxy-ctl"], command: ["role", "r0"]),
      .init(name: "sh-varname", option: ["-n", "NAME"], command: ["sh-dev", "r0"]),
      .init(name: "stacked", option: ["-S"], command: ["role", "all"]),
    ]
  }

  @Test func ofAllCommandsActsOrIsSpokenOf() throws {
    // Shown by LowLevelCommands: one file less is read.
    for sample in GeneralOptionSamples.all where sample.name != "config-to-exclude" {
      #expect(
        try Walk.acts(sample.option, [], sample.command, program: "repladm", name: sample.name)
          || (try Walk.see(sample.option + sample.command, program: "repladm", .daemon, ""))
            != (try Walk.see(sample.command, program: "repladm", .daemon, "")),
        "\(sample.name) is read and dropped")
    }
    // A program of another name would be called in place of what is done here.
    let echo = try Walk.see(["-s", "/bin/echo", "down", "r0"], program: "repladm", .daemon, "")
    #expect(echo.code == 1 && echo.commands.isEmpty && echo.err.contains("no helper programs to replace"))
  }

  // MARK: replsetup

  @Test func ofEveryLowLevelCommandActsOrIsSpokenOf() throws {
    let samples = [
      "SECONDS": "7", "WHEN": "always", "BYTES": "4096", "SIZE": "1M", "NODE-ID": "9", "SECTOR": "8", "NAME": "three",
    ]
    var walked = 0
    // It waits for the end of the process that answers, which is this one.
    for row in SetupTable.rows where row.name != "down" {
      let operands: [String] =
        switch row.scope {
        case .anything, .resourceOrAll: row.name == "proc" ? [] : ["r0"]
        case .resource:
          row.name == "new-minor" ? ["r0", "90", "0"] : row.name == "new-resource" ? ["r0", "0"] : ["r0"]
        case .connection: ["r0", "1"]
        case .minor: ["90"]
        case .peerDevice: ["r0", "1", "0"]
        }
      for option in row.options {
        let name = String(option.name.dropFirst(2))
        // Shown by ThirdPartyCallers.
        if name == "poll" { continue }
        walked += 1
        var word = option.name
        switch option.value {
        case .none: break
        case .yesNo: word += "=yes"
        case .word(let kind): word += "=" + (try #require(samples[kind], "\(kind) needs a sample value here"))
        }
        if name == "reset-bitmap" { word = "--reset-bitmap=no" }
        // A stream that is followed ends with its time.
        let end = row.name == "events2" ? ["--timeout=0.3"] : []
        #expect(
          try Walk.acts([row.name] + operands, [word], end, program: "replsetup", name: name),
          "\(row.name) \(word) is read and dropped")
      }
    }
    #expect(walked > 50)
  }

  @Test(arguments: SetupTable.rows.filter { $0.section != nil && $0.name != "new-resource" }.map(\.name))
  func ofASectionReachesTheDaemonFromBelow(_ name: String) throws {
    let row = try #require(SetupTable.row(name))
    let section = try #require(row.section)
    let operands = row.scope == .minor ? ["90"] : row.scope == .peerDevice ? ["r0", "1", "0"] : ["r0", "1"]
    for option in OptionTable.rows where option.section == section {
      let value = EveryFileOption.samples(option).first ?? ""
      let words = [row.name] + (row.scope == .resource ? ["r0"] : operands) + ["--\(option.name)=\(value)"]
      let seen = try Walk.see(words, program: "replsetup", .daemon, "")
      let asked = seen.commands.contains { command in
        if case .changeOptions(_, _, let settings, _) = command {
          settings == ["\(option.name)=\(value)"]
        } else {
          false
        }
      }
      #expect(asked, "\(words): \(seen.err)")
    }
  }
}

/// The sections of the file, as far as the daemon: what an option changes there.
@Suite struct EveryFileOption {
  static func samples(_ row: OptionDefinition) -> [String] {
    switch row.type {
    case .boolean: return ["yes", "no"]
    case .choice(let words), .letter(let words), .discardPolicy(let words): return words
    case .votes: return ["off", "majority", "all", "2"]
    case .text: return row.name.hasSuffix("-alg") ? ["sha1", "md5"] : ["tcp", "other"]
    case .number(let range, _), .clampedNumber(let range, _):
      let defaulted = row.defaultText.flatMap { UInt64($0) }
      // One that is neither the default nor rounded away.
      let other: UInt64 = [range.lowerBound, range.upperBound].first { $0 != defaulted } ?? range.upperBound
      return row.name == "rs-discard-granularity" ? ["65536"] : ["\(other)"]
    case .resyncAfter: return ["r0"]
    case .hosts: return ["alpha beta"]
    }
  }

  private func hosted(_ row: OptionDefinition, _ value: String?) throws -> HostedResource {
    let setting = value.map { "\(row.section.keyword) { \(row.name) \($0); }" } ?? ""
    let text = """
      resource r0 { device minor 0; disk /dev/vda; meta-disk internal; \(setting)
        on alpha { address 10.77.0.1:7789; } on beta { address 10.77.0.2:7789; } }
      """
    return try Configuration.load("/f", from: InMemorySource(["/f": text]))
      .resource(named: "r0", onHost: "alpha", ownAddresses: nil)
  }

  /// Read by the daemon or by repladm beside the engine's settings, each with the test that shows what it does.
  private static let readElsewhere = [
    "sndbuf-size": "SocketOptions", "rcvbuf-size": "SocketOptions", "shared-secret": "Setup.sign",
    "wfc-timeout": "Waiting", "degr-wfc-timeout": "Waiting", "outdated-wfc-timeout": "Waiting",
    "wait-after-sb": "Waiting", "auto-promote": "AutomaticRoles", "auto-promote-timeout": "AutomaticRoles",
  ]

  @Test(arguments: OptionTable.rows.filter { ![.global, .handlers].contains($0.section) })
  func actsIsRefusedOrIsReported(_ row: OptionDefinition) throws {
    let plain = try hosted(row, nil)
    var settings: [String: String] = [:]
    for value in Self.samples(row) {
      let resource = try hosted(row, value)
      if !resource.refusals.isEmpty { continue }
      if resource.notices.contains(where: { $0.message.hasPrefix("\(row.name):") }) { continue }
      if Self.readElsewhere[row.name] != nil {
        #expect(
          resource.peers.map(\.net) != plain.peers.map(\.net) || resource.startup != plain.startup
            || "\(resource.options)" != "\(plain.options)" || value == row.defaultText, "\(row.name) \(value)")
        continue
      }
      let own = "\(ResourceSettings(resource))"
      // Each value that acts is another one for the engine, and none but the default is what is there without it.
      for (other, theirs) in settings {
        #expect(own != theirs, "\(row.name): \(value) and \(other) are the same to the engine")
      }
      settings[value] = own
      let isDefault = value == row.defaultText
      let staysSilent: Bool =
        if case .partial = row.effect { true } else { if case .promise = row.effect { true } else { false } }
      if !isDefault, !staysSilent {
        #expect(own != "\(ResourceSettings(plain))", "\(row.name) \(value) changes nothing")
      }
    }
  }

  /// Every handler of the file is one that the daemon calls.
  @Test(arguments: OptionTable.rows.filter { $0.section == .handlers && $0.effect == .honoured })
  func ofAHandlerIsCalledOrReported(_ row: OptionDefinition) throws {
    #expect(EngineHandler(rawValue: row.name) != nil, "\(row.name) is never called")
  }

  /// What the settings carry is used by the engine.
  @Test func noSettingIsCarriedInVain() throws {
    let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Sources")
    let settings = try String(contentsOf: root.appending(path: "Engine/Settings.swift"), encoding: .utf8)
    var text = ""
    for case let file as URL in try #require(
      FileManager.default.enumerator(at: root.appending(path: "Engine"), includingPropertiesForKeys: nil))
    where file.pathExtension == "swift" && file.lastPathComponent != "Settings.swift" {
      text += try String(contentsOf: file, encoding: .utf8)
    }
    var seen = 0
    for match in settings.matches(of: /public var ([a-zA-Z0-9]+)\s*[:=]/) {
      let name = String(match.1)
      seen += 1
      #expect(text.contains("." + name), "nothing reads \(name)")
    }
    #expect(seen > 30)
  }
}
