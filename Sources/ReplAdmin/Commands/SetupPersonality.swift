// `replsetup` (and `drbdsetup` where that name is linked here): asks the daemons that run, without a configuration. So far the
// commands that look and wait; the ones that change things are repladm's.
import Base
import Control
import FoundationEssentials

enum SetupPersonality {
  private static let usage = """
    USAGE: replsetup status [RES] [--verbose] [--statistics] [--json]
           replsetup {role|cstate} RES
           replsetup {wait-connect-resource|wait-sync-resource} RES [--wfc-timeout=SECONDS]

    """

  static func run(_ arguments: [String], _ surroundings: Surroundings, _ console: Console) -> Int32 {
    var words = Words(arguments)
    if arguments.isEmpty || words.flag("--help") {
      console.out(usage)
      return 0
    }
    do throws(Refusal) {
      return try perform(&words, surroundings, console)
    } catch {
      console.err(error.text(for: words.left.last ?? "replsetup"))
      return Int32(error.exitCode)
    }
  }

  private static func perform(
    _ words: inout Words, _ surroundings: Surroundings, _ console: Console
  ) throws(Refusal) -> Int32 {
    let text = StatusText(
      verbose: words.flag("--verbose"), statistics: words.flag("--statistics"), columns: console.columns,
      toTerminal: console.outputIsTerminal)
    let json = words.flag("--json")
    let timeout = words.value("--wfc-timeout")
    for ignored in ["--degr-wfc-timeout", "--outdated-wfc-timeout", "--wait-after-sb", "--color"] {
      _ = words.value(ignored)
    }
    if let unknown = words.left.first(where: { $0.hasPrefix("-") }) { throw wrong("\(unknown) is no option of it") }
    guard let command = words.left.first else { throw wrong("a command is needed") }
    let names = Array(words.left.dropFirst())
    if command == "status" { return try status(names, json: json, text, surroundings, console) }
    guard let name = names.first else { throw wrong("\(command) needs a resource") }
    let daemon = DaemonProcess(name, files: surroundings.runFiles)
    switch command {
    case "role": console.out(try daemon.status(deadline: Deadline(after: 10)).roleWord + "\n")
    case "cstate":
      for word in try daemon.status(deadline: Deadline(after: 10)).connectionWords { console.out(word + "\n") }
    case "wait-connect-resource", "wait-sync-resource":
      let seconds = timeout.flatMap(Double.init) ?? 0
      let deadline = Deadline(after: seconds > 0 ? seconds : nil)
      try daemon.ask(command.hasPrefix("wait-sync") ? .waitSync : .waitConnect, deadline: deadline)
    default:
      throw Refusal(
        "replsetup knows no \(command)", next: "type repladm \(command), which does it by the configuration",
        exitCode: 20)
    }
    return 0
  }

  private static func status(
    _ names: [String], json: Bool, _ text: StatusText, _ surroundings: Surroundings, _ console: Console
  ) throws(Refusal) -> Int32 {
    let files = surroundings.runFiles
    let all = names.isEmpty || names == ["all"]
    var snapshots: [StatusSnapshot] = []
    for name in all ? running(files) : names {
      let daemon = DaemonProcess(name, files: files)
      guard daemon.isRunning else {
        if all { continue }
        if !json { console.out(StatusText.nothingConfigured) }
        throw Refusal("No such resource", next: "start it with repladm up \(name)", exitCode: 10)
      }
      snapshots.append(try daemon.status(deadline: Deadline(after: 10)))
    }
    console.out(json ? StatusJSON.render(snapshots) : text.render(snapshots))
    return 0
  }

  /// The resources that have a control socket.
  private static func running(_ files: RunFiles) -> [String] {
    let suffix = ".sock"
    return directoryEntries(files.directory).filter { $0.hasSuffix(suffix) }.map { String($0.dropLast(suffix.count)) }
      .sorted()
  }

  private static func wrong(_ why: String) -> Refusal {
    Refusal("usage: \(why)", next: "type replsetup --help", exitCode: 20)
  }
}
