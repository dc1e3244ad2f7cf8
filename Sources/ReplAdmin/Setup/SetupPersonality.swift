// `replsetup` (and `drbdsetup` where that name is linked here): asks and tells the daemons that run, without a configuration.
// Objects are named as the low-level tool names them: RES, a minor number, RES NODE-ID, RES NODE-ID VOLUME.
import Base
import Control
import FoundationEssentials
import MetaDisk

enum SetupPersonality {
  private static let usage = """
    USAGE: replsetup status [RES] [--verbose] [--statistics] [--json]
           replsetup events2 [RES] [--now] [--timestamps] [--statistics] [--full] [--diff] [--poll]
           replsetup show [RES] [--json] [--show-defaults]
           replsetup proc
           replsetup {role|primary|secondary|down} RES [--force]
           replsetup {cstate|connect|disconnect} RES [NODE-ID] [--discard-my-data] [--force]
           replsetup attach MINOR [DISK META-DISK INDEX]
           replsetup {dstate|detach|outdate|invalidate|invalidate-remote|suspend-io|resume-io|udev} MINOR [--force]
           replsetup new-current-uuid MINOR [--clear-bitmap]
           replsetup {get-gi|show-gi|pause-sync|resume-sync} RES NODE-ID VOLUME
           replsetup verify RES NODE-ID VOLUME [--start=SECTOR] [--stop=SECTOR]
           replsetup resize MINOR [--size=SIZE] [--assume-clean] [--assume-peer-has-space]
           replsetup wait-{connect,sync}-{resource,connection,volume} RES [NODE-ID [VOLUME]] [--wfc-timeout=SECONDS]

    """

  static func run(_ arguments: [String], _ surroundings: Surroundings, _ console: Console) -> Int32 {
    if arguments.isEmpty || arguments.contains("--help") || arguments.first == "help" {
      console.out(usage)
      return 0
    }
    if arguments == ["--version"] || arguments == ["-V"] {
      console.out(VersionText.lines(environment: surroundings.environment) + "\n")
      return 0
    }
    var call = SetupCall(arguments, surroundings, console)
    do throws(Refusal) {
      return try call.perform()
    } catch {
      let isMinor = call.subject.allSatisfy(\.isNumber)
      console.err(error.text(for: call.subject, hint: isMinor ? "minor-\(call.subject)" : nil))
      return Int32(error.exitCode)
    }
  }
}

/// One command line of `replsetup`.
struct SetupCall {
  var words: Words
  let files: RunFiles
  let console: Console
  private let name: String

  init(_ arguments: [String], _ surroundings: Surroundings, _ console: Console) {
    words = Words(arguments)
    files = surroundings.runFiles
    self.console = console
    name = lastComponent(surroundings.programName)
  }

  /// What the command is about, for the beginning of an error message.
  var subject: String { words.left.dropFirst().first { !$0.hasPrefix("-") } ?? name }

  mutating func perform() throws(Refusal) -> Int32 {
    guard let command = words.left.first, !command.hasPrefix("-") else { throw wrong("a command is needed") }
    switch command {
    case "status": return try status()
    case "events2": return try events()
    case "show": return try show()
    case "proc":
      try expectNoOptions()
      var snapshots: [StatusSnapshot] = []
      for name in RunningResources.names(files) {
        let daemon = daemon(name)
        if daemon.isRunning { snapshots.append(try daemon.status(deadline: SetupCall.soon)) }
      }
      console.out(ProcText.render(snapshots))
      return 0
    default: return try tell(command)
    }
  }

  static var soon: Deadline { Deadline(after: 10) }
  func daemon(_ resource: String) -> DaemonProcess { DaemonProcess(resource, files: files) }

  func wrong(_ why: String) -> Refusal { Refusal("usage: \(why)", next: "type replsetup --help", exitCode: 20) }

  func expectNoOptions() throws(Refusal) {
    if let unknown = words.left.first(where: { $0.hasPrefix("-") }) { throw wrong("\(unknown) is no option of it") }
  }

  // MARK: Looking

  private mutating func status() throws(Refusal) -> Int32 {
    let text = StatusText(
      verbose: words.flag("--verbose"), statistics: words.flag("--statistics"), columns: console.columns,
      toTerminal: console.outputIsTerminal)
    let json = words.flag("--json")
    _ = words.value("--color")
    try expectNoOptions()
    let names = Array(words.left.dropFirst())
    let all = names.isEmpty || names == ["all"]
    var snapshots: [StatusSnapshot] = []
    for name in all ? RunningResources.names(files) : names {
      let daemon = daemon(name)
      guard daemon.isRunning else {
        if all { continue }
        if !json { console.out(StatusText.nothingConfigured) }
        throw Refusal("No such resource", next: "start it with repladm up \(name)", exitCode: 10)
      }
      snapshots.append(try daemon.status(deadline: SetupCall.soon))
    }
    console.out(json ? StatusJSON.render(snapshots) : text.render(snapshots))
    return 0
  }

  private mutating func events() throws(Refusal) -> Int32 {
    let text = EventText(
      statistics: words.flag("--statistics"), full: words.flag("--full"), diff: words.flag("--diff"))
    var options = EventFollower.Options(text: text)
    options.timestamps = words.flag("--timestamps")
    options.now = words.flag("--now")
    options.poll = words.flag("--poll")
    for ignored in ["--color", "--rcvbuf"] { _ = words.value(ignored) }
    try expectNoOptions()
    let names = Array(words.left.dropFirst())
    guard names.count <= 1 else { throw wrong("events2 follows one resource, or all") }
    options.resource = names.first.flatMap { $0 == "all" ? nil : $0 }
    var follower = EventFollower(options, files: files, console: console)
    return try follower.run()
  }

  private mutating func show() throws(Refusal) -> Int32 {
    let json = words.flag("--json")
    let defaults = words.flag("--show-defaults")
    try expectNoOptions()
    let names = Array(words.left.dropFirst())
    let all = names.isEmpty || names == ["all"]
    var texts: [String] = []
    for name in all ? RunningResources.names(files) : names {
      let daemon = daemon(name)
      guard daemon.isRunning else {
        if all { continue }
        throw Refusal("No such resource", next: "start it with repladm up \(name)", exitCode: 10)
      }
      texts.append(try daemon.text(.show(json: json, defaults: defaults), deadline: SetupCall.soon))
    }
    if json {
      console.out(texts.isEmpty ? "[\n]\n\n" : "[\n" + texts.joined(separator: ",\n") + "\n]\n")
    } else {
      console.out(texts.isEmpty ? StatusText.nothingConfigured : texts.joined())
    }
    return 0
  }
}
