// From argv to one command, and its exit code: 1 for a command line that makes no sense, as drbdadm has it. The list of
// commands below is also the source of completions and manual pages.
import ArgumentParser
import Control

/// A subcommand of `repladm`.
protocol AdminCommand: ParsableCommand {
  var general: GeneralOptions { get }
  /// Returns the exit code.
  func perform(_ admin: Admin) throws -> Int32
}

struct Repladm: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "repladm",
    abstract: "Administer replicated block devices: DRBD's drbdadm for repld.",
    discussion: """
      Objects are named RES, RES/VOLUME, RES:PEER, RES:PEER/VOLUME, minor-N or all, as the configuration file calls them.
      Options may stand before or after the command.
      """,
    version: VersionText.lines(environment: [:]),
    subcommands: [
      AdjustWithProgress.self, ExpectSuccessor.self, NewResource.self, NewMinor.self, NewPeer.self, NewPath.self,
      DelPeer.self,
      StateWord.self, HiddenCommands.self, ManualPages.self, RunHandler.self, Syncer.self,
    ],
    groupedSubcommands: [
      CommandGroup(
        name: "Everyday", subcommands: [Up.self, Down.self, Primary.self, Secondary.self, Status.self, Adjust.self]),
      CommandGroup(
        name: "Metadata",
        subcommands: [
          CreateMD.self, WipeMD.self, DumpMD.self, RestoreMD.self, ApplyAL.self, GetGI.self, ShowGI.self,
          NewCurrentUUID.self, CheckResize.self, ConvertMD.self, RepairMD.self,
        ]),
      CommandGroup(
        name: "Disks and connections",
        subcommands: [
          Attach.self, Detach.self, Connect.self, Disconnect.self, Invalidate.self, InvalidateRemote.self, Outdate.self,
          PauseSync.self, ResumeSync.self, Verify.self, SuspendIO.self, ResumeIO.self, Resize.self,
          DiskOptionsCommand.self, NetOptionsCommand.self, PeerDeviceOptionsCommand.self, ResourceOptionsCommand.self,
        ]),
      CommandGroup(
        name: "Waiting and asking",
        subcommands: [
          WaitConnect.self, WaitConInt.self, WaitSync.self, Explain.self, Monitor.self, Metrics.self, Events2.self,
          RoleWord.self, CState.self, DState.self, Dump.self, DumpXML.self,
        ]),
      CommandGroup(
        name: "For scripts",
        subcommands: [
          ShDev.self, ShNBDURI.self, ShResources.self, ShResource.self, ShMinor.self, ShLLDev.self, ShMDDev.self,
          ShMDIdx.self, ShIP.self, ShUdev.self, ShModParms.self, ShNop.self, ShLROf.self,
          InstallNames.self,
        ]),
    ])

  func run() throws { throw CleanExit.helpRequest(self) }

  private static var words: [String] { names(of: configuration.subcommands) }

  static func knows(_ word: String) -> Bool { words.contains(word) }

  /// What was typed for this command.
  static func typedName(of command: any AdminCommand) -> String {
    if let run = command as? RunHandler { return run.handler }
    return type(of: command).configuration.commandName ?? "repladm"
  }

  /// What `help` lists.
  private static var shownWords: [String] {
    names(of: configuration.subcommands.filter { $0.configuration.shouldDisplay })
  }

  private static func names(of commands: [any ParsableCommand.Type]) -> [String] {
    commands.flatMap { command in
      (command.configuration.commandName.map { [$0] } ?? []) + command.configuration.aliases
    } + ["help"]
  }

  /// `, did you mean 'primary'`, or nothing. A command that `help` does not list is never meant.
  static func nearest(to word: String) -> String {
    let known = shownWords.filter { $0.first == word.first || $0.last == word.last }
    let best = known.min { editDistance($0, word) < editDistance($1, word) }
    guard let best, editDistance(best, word) <= 2 else { return "" }
    return ", did you mean '\(best)'"
  }
}

private func editDistance(_ a: String, _ b: String) -> Int {
  let second = Array(b.utf8)
  var row = Array(0...second.count)
  for (i, x) in a.utf8.enumerated() {
    var diagonal = row[0]
    row[0] = i + 1
    for (j, y) in second.enumerated() {
      let next = min(row[j], row[j + 1]) + 1
      (diagonal, row[j + 1]) = (row[j + 1], min(next, diagonal + (x == y ? 0 : 1)))
    }
  }
  return row[second.count]
}

public enum CommandLineRun {
  /// Runs one command line (without argv[0]); returns the exit code.
  public static func run(_ arguments: [String], surroundings: Surroundings, console: Console) -> Int32 {
    switch surroundings.programName {
    case "replmeta", "drbdmeta": return MetaPersonality.run(arguments, surroundings, console)
    case "replsetup", "drbdsetup": return SetupPersonality.run(arguments, surroundings, console)
    default: return repladm(arguments, surroundings, console)
    }
  }

  static func repladm(_ arguments: [String], _ surroundings: Surroundings, _ console: Console) -> Int32 {
    if arguments == ["--version"] || arguments == ["-V"] {
      console.out(VersionText.lines(environment: surroundings.environment) + "\n")
      return 0
    }
    var ordered = ArgumentOrder.commandFirst(PassedWords.withGeneralTimeout(arguments))
    ordered = OptionWords.rewritten(PassedWords.rewritten(ordered))
    if let word = ordered.first, RunHandler.knows(word) { ordered.insert(RunHandler.word, at: 0) }
    if let word = ordered.first, !word.hasPrefix("-"), !Repladm.knows(word) {
      let unknown = "repladm: there is no command '\(word)'\(Repladm.nearest(to: word)): type repladm help.\n"
      let object = GeneralOptions.objects(ordered.dropFirst()).first
      console.err(AbsentCommands.refusal(of: word, object: object) ?? unknown)
      return 1
    }
    if let misplaced = OptionWords.misplaced(ordered) {
      console.err(misplaced)
      return 1
    }
    if ordered.first == "help", let word = ordered.dropFirst().first(where: { !$0.hasPrefix("-") }),
      !Repladm.knows(word)
    {
      console.err("repladm: there is no command '\(word)'\(Repladm.nearest(to: word)): type repladm help.\n")
      return 1
    }
    do {
      let command = try Repladm.parseAsRoot(ordered)
      guard let command = command as? any AdminCommand else {
        var command = command
        try command.run()
        return 0
      }
      for line in command.general.withoutEffect { console.err("repladm: \(line).\n") }
      return try command.perform(
        Admin(Repladm.typedName(of: command), command.general, surroundings, console))
    } catch let exit as AdminExit {
      return exit.code
    } catch {
      let text = Repladm.fullMessage(for: error)
      if Repladm.exitCode(for: error) == .success {
        console.out(text + "\n")
        return 0
      }
      console.err(text + "\n")
      return 1
    }
  }
}

/// `--version`: lines a shell can evaluate.
enum VersionText {
  static func lines(environment: [String: String]) -> String {
    var driver = Product.driverVersion
    var code = Product.driverVersionCode
    if let override = environment["DRBD_DRIVER_VERSION_OVERRIDE"], let forced = versionCode(override) {
      driver = override
      code = forced
    }
    return [
      "DRBDADM_BUILDTAG=repl\\ \(Product.version)", "DRBDADM_API_VERSION=2", "DRBD_KERNEL_VERSION_CODE=\(hex(code))",
      "DRBD_KERNEL_VERSION=\(driver)", "DRBDADM_VERSION_CODE=\(hex(Product.toolsVersionCode))",
      "DRBDADM_VERSION=\(Product.toolsVersion)", "REPL_VERSION=\(Product.version)",
    ].joined(separator: "\n")
  }

  private static func versionCode(_ text: String) -> UInt32? {
    let parts = text.split(separator: ".").map { UInt32($0.prefix { $0.isNumber }) }
    guard parts.count == 3, let major = parts[0], let minor = parts[1], let patch = parts[2],
      max(major, minor, patch) < 256
    else { return nil }
    return major << 16 | minor << 8 | patch
  }

  private static func hex(_ code: UInt32) -> String {
    let digits = String(code, radix: 16)
    return "0x" + String(repeating: "0", count: max(0, 6 - digits.count)) + digits
  }
}
