// `replsetup` (and `drbdsetup` where that name is linked here): asks and tells the daemons that run, without a configuration.
// Objects are named as the low-level tool names them: RES, a minor number, RES NODE-ID, RES NODE-ID VOLUME.
import Base
import Control

enum SetupPersonality {
  static func run(_ arguments: [String], _ surroundings: Surroundings, _ console: Console) -> Int32 {
    if arguments.isEmpty || arguments.contains("--help") || arguments.first == "help" {
      if arguments.first == "help", arguments.count > 1 {
        guard let row = SetupTable.row(arguments[1]) else {
          console.err("replsetup: there is no command '\(arguments[1])': type replsetup --help.\n")
          return 20
        }
        console.out("USAGE: replsetup \(row.usage)\n")
        return 0
      }
      console.out(SetupTable.usage)
      return 0
    }
    if arguments == ["--version"] || arguments == ["-V"] {
      console.out(VersionText.lines(environment: surroundings.environment) + "\n")
      return 0
    }
    var subject = lastComponent(surroundings.programName)
    do throws(Refusal) {
      let line = try SetupArguments(arguments)
      subject = line.operands.first ?? subject
      for remark in line.remarks { console.err("\(subject): \(remark).\n") }
      return try SetupCall(line, surroundings, console).perform()
    } catch {
      let isMinor = subject.allSatisfy(\.isNumber)
      console.err(error.text(for: subject, hint: isMinor ? "minor-\(subject)" : nil))
      return Int32(error.exitCode)
    }
  }
}

/// One command line of `replsetup`.
struct SetupCall {
  let line: SetupArguments
  let surroundings: Surroundings
  let console: Console
  /// `--timeout`: of the whole command.
  private let limit: Deadline?

  init(_ line: SetupArguments, _ surroundings: Surroundings, _ console: Console) throws(Refusal) {
    self.line = line
    self.surroundings = surroundings
    self.console = console
    var seconds: Double?
    for option in line.row.general { seconds = try line.seconds(option.name) ?? seconds }
    limit = seconds.map { Deadline(after: $0 == 0 ? nil : $0) }
  }

  var files: RunFiles { surroundings.runFiles }
  var hasLimit: Bool { limit != nil }
  /// `--timeout`, else what a command of this kind normally takes at most.
  func deadline(_ seconds: Double?) -> Deadline { limit ?? Deadline(after: seconds) }
  func daemon(_ resource: String) -> DaemonProcess { DaemonProcess(resource, files: files) }

  func perform() throws(Refusal) -> Int32 {
    switch line.row.name {
    case "status": return try status()
    case "events2": return try events()
    case "show": return try show()
    case "proc": return try proc()
    case "down": return end()
    case "new-resource": return try newResource()
    case "wait-connect-resource", "wait-connect-connection", "wait-connect-volume", "wait-sync-resource",
      "wait-sync-connection", "wait-sync-volume":
      return try wait()
    default: return try tell()
    }
  }

  // MARK: Looking

  /// The one that was named, or every one.
  private func named() throws(Refusal) -> (names: [String], all: Bool) {
    guard line.operands.count <= 1 else { throw SetupArguments.wrong("\(line.row.name) takes one resource, or all") }
    guard let name = line.operands.first, name != "all" else { return (RunningResources.names(files), true) }
    return ([name], false)
  }

  private func snapshots(announcingNothing: Bool) throws(Refusal) -> [StatusSnapshot] {
    let (names, all) = try named()
    var snapshots: [StatusSnapshot] = []
    for name in names {
      let daemon = daemon(name)
      guard daemon.isRunning else {
        if all { continue }
        if announcingNothing { console.out(StatusText.nothingConfigured) }
        throw Refusal("No such resource", next: "start it with repladm up \(name)", exitCode: 10)
      }
      snapshots.append(try daemon.status(deadline: deadline(10)))
    }
    return snapshots
  }

  private func status() throws(Refusal) -> Int32 {
    let text = StatusText(
      verbose: line.flag("--verbose"), statistics: line.flag("--statistics"), columns: console.columns,
      toTerminal: console.outputIsTerminal)
    let json = line.flag("--json")
    let snapshots = try snapshots(announcingNothing: !json)
    console.out(json ? StatusJSON.render(snapshots) : text.render(snapshots))
    return 0
  }

  private func proc() throws(Refusal) -> Int32 {
    guard line.operands.isEmpty else { throw SetupArguments.wrong("proc takes no resource") }
    console.out(ProcText.render(try snapshots(announcingNothing: false)))
    return 0
  }

  private func events() throws(Refusal) -> Int32 {
    let text = EventText(statistics: line.flag("--statistics"), full: line.flag("--full"), diff: line.flag("--diff"))
    var options = EventFollower.Options(text: text)
    options.timestamps = line.flag("--timestamps")
    options.now = line.flag("--now")
    options.poll = line.flag("--poll")
    options.limit = limit
    let (names, all) = try named()
    options.resource = all ? nil : names[0]
    var follower = EventFollower(options, files: files, console: console)
    return try follower.run()
  }

  private func show() throws(Refusal) -> Int32 {
    let json = line.flag("--json")
    let (names, all) = try named()
    var texts: [String] = []
    for name in names {
      let daemon = daemon(name)
      guard daemon.isRunning else {
        if all { continue }
        throw Refusal("No such resource", next: "start it with repladm up \(name)", exitCode: 10)
      }
      texts.append(
        try daemon.text(.show(json: json, defaults: line.flag("--show-defaults")), deadline: deadline(10)))
    }
    if json {
      console.out(texts.isEmpty ? "[\n]\n\n" : "[\n" + texts.joined(separator: ",\n") + "\n]\n")
    } else {
      console.out(texts.isEmpty ? StatusText.nothingConfigured : texts.joined())
    }
    return 0
  }
}
