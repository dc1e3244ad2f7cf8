// The manual pages of repladm, of its commands, and of repld.
import Control

struct ManualPage {
  let name: String
  var section = 8
  let text: String

  /// The page of `repladm`, and one for each command.
  static func all(of tool: DescribedCommand) -> [ManualPage] {
    let shown = (tool.subcommands ?? []).filter { $0.shouldDisplay != false && $0.commandName != "help" }
    var main = Roff.head("repladm", section: 8, tool.abstract ?? "")
    main += ".SH SYNOPSIS\n.B repladm\n[\\fIoptions\\fR] \\fIcommand\\fR [\\fIoptions\\fR] \\fIobject\\fR ...\n"
    main += ".SH DESCRIPTION\n" + Roff.paragraphs(overview + [tool.discussion ?? ""])
    main += ".SH COMMANDS\n"
    for command in shown {
      main += ".TP\n.BR repladm-\(Roff.escaped(command.commandName)) (8)\n\(Roff.escaped(command.abstract ?? ""))\n"
    }
    main += options(shown.first?.arguments ?? [], among: Set(GeneralOptions.shown), title: "GENERAL OPTIONS")
    main += environment + exitStatus(ExitStatus.all) + examples(overviewExamples)
    main += Roff.seeAlso(["repld (8)", "repl.conf (5)"])
    return [ManualPage(name: "repladm", text: main)] + shown.map(page)
  }

  private static func page(of command: DescribedCommand) -> ManualPage {
    let title = "repladm-\(command.commandName)"
    let manual = ManualText.of(command.commandName)
    var text = Roff.head(title, section: 8, command.abstract ?? "")
    text += ".SH SYNOPSIS\n.B repladm \(Roff.escaped(command.commandName))\n\(synopsis(command.arguments ?? []))\n"
    text += ".SH DESCRIPTION\n" + Roff.paragraphs(manual?.paragraphs ?? [])
    text += options(command.arguments ?? [], among: nil, title: "OPTIONS")
    text += examples(manual?.examples ?? [])
    text += exitStatus(ExitStatus.all)
    text += Roff.seeAlso(["repladm (8)", "repl.conf (5)"] + (manual?.related ?? []).map { "repladm-\($0) (8)" })
    return ManualPage(name: title, text: text)
  }

  /// The page of the daemon, from what it says of its own command line.
  static func daemon(_ program: DescribedCommand) -> ManualPage {
    var text = Roff.head("repld", section: 8, program.abstract ?? "")
    text += ".SH SYNOPSIS\n.B repld\n\(synopsis(program.arguments ?? []))\n"
    text += ".SH DESCRIPTION\n" + Roff.paragraphs(daemonTexts)
    text += options(program.arguments ?? [], among: nil, title: "OPTIONS")
    text += examples([
      .init("repld --nbd-tcp 0=127.0.0.1:10809 r0", "Export volume 0 to clients of this host over TCP, too.")
    ])
    text += exitStatus(ExitStatus.ofDaemon)
    text += Roff.seeAlso(["repladm (8)", "repl.conf (5)"])
    return ManualPage(name: "repld", text: text)
  }

  private static let overview = [
    """
    repladm administers replicated block devices. It reads the configuration file and tells the daemon repld of each resource what to \
    do; its commands, options, outputs and exit codes are those of drbdadm. Commands on metadata work on the disks themselves.
    """
  ]

  private static let overviewExamples: [ManualText.Example] = [
    .init("repladm create-md r0 && repladm up r0", "On both nodes: prepare the disks and start the resource."),
    .init("repladm primary --force r0", "On one node, once: declare its data UpToDate."),
    .init("mkfs.xfs /dev/drbd0 && mount /dev/drbd0 /mnt", "Use the device."),
    .init("repladm status r0", "Look at the resource."),
  ]

  private static let daemonTexts = [
    """
    repld serves one resource: it replicates each write to the peer, keeps the metadata, and exports the volumes by NBD on a socket in \
    the run directory. repladm up starts it; nothing is attached or connected before repladm says so.
    """,
    """
    The daemon refuses to start when a daemon of the same resource runs already, and when the run directory belongs to another user or \
    is writable for others. An address that is missing or in use is tried again every connect-int.
    """,
    """
    SIGTERM ends the daemon as repladm down does, without the checks for users: end it by repladm down. The log is RES.log in the run \
    directory.
    """,
  ]

  private static func synopsis(_ arguments: [DescribedArgument]) -> String {
    arguments.filter {
      $0.shouldDisplay && $0.names?.contains { GeneralOptions.shown.contains($0.text) } != true
        && $0.valueName != "help" && $0.names?.contains { $0.name == "help" || $0.name == "version" } != true
    }
    .map { argument in
      let value = "\\fI\(Roff.escaped(argument.valueName ?? "value"))\\fR"
      let body: String
      switch argument.kind {
      case "positional": body = value
      case "flag": body = "\\fB\(Roff.escaped(argument.longName))\\fR"
      default: body = "\\fB\(Roff.escaped(argument.longName))\\fR \(value)"
      }
      return (argument.isOptional && argument.kind != "positional" ? "[\(body)]" : body)
        + (argument.isRepeating ? " ..." : "")
    }.joined(separator: " ")
  }

  /// The options of a command, or those of them that are named.
  private static func options(_ arguments: [DescribedArgument], among: Set<String>?, title: String) -> String {
    var text = ""
    for argument in arguments where argument.shouldDisplay && argument.kind != "positional" {
      let names = (argument.names ?? []).map(\.text)
      if let among, names.allSatisfy({ !among.contains($0) }) { continue }
      let shown = names.map { "\\fB\(Roff.escaped($0))\\fR" }.joined(separator: ", ")
      let value = argument.kind == "option" ? " \\fI\(Roff.escaped(argument.valueName ?? "value"))\\fR" : ""
      let standard = argument.kind == "option" ? argument.defaultValue.map { " Default: \($0)." } ?? "" : ""
      text += ".TP\n\(shown)\(value)\n\(Roff.escaped((argument.abstract ?? "") + standard))\n"
    }
    return text.isEmpty ? "" : ".SH \(title)\n" + text
  }

  private static func examples(_ examples: [ManualText.Example]) -> String {
    if examples.isEmpty { return "" }
    return ".SH EXAMPLES\n"
      + examples.map { ".TP\n.B \(Roff.escaped($0.line))\n\(Roff.escaped($0.purpose))\n" }.joined()
  }

  private static func exitStatus(_ rows: [(code: Int, meaning: String)]) -> String {
    ".SH EXIT STATUS\n" + rows.map { ".TP\n.B \($0.code)\n\(Roff.escaped($0.meaning))\n" }.joined()
  }

  private static let environment = """
    .SH ENVIRONMENT
    .TP
    .B REPL_CONFIG
    The configuration file, unless \\fB\\-c\\fR names one. Default: /etc/repl.conf, then DRBD's own files.
    .TP
    .B REPL_RUN_DIR
    Sockets, pid files, logs. Default: /run/repl.
    .TP
    .B __DRBD_NODE__
    The host of the file this one is, unless \\fB\\-\\-node\\fR says so. Default: uname \\-n.

    """
}

/// What the exit codes mean (admin spec 6).
enum ExitStatus {
  static let all: [(code: Int, meaning: String)] = [
    (0, "The command has been carried out."),
    (1, "The command line or the object is wrong, or the resource is in the wrong state for `up`."),
    (5, "A wait ran out of time."),
    (10, "The daemon has refused the command, or the configuration has an error."),
    (11, "The state of the resource forbids the command."),
    (17, "There is no access to UpToDate data."),
    (20, "The command could not be carried out: a disk, the daemon or the system has failed."),
    (40, "create-md would overwrite a part of existing data."),
  ]

  static let ofDaemon: [(code: Int, meaning: String)] = [
    (0, "The daemon was told to end."),
    (10, "The configuration has an error, or asks for what repl does not have."),
    (20, "The daemon could not start: a socket, a file or memory is not to be had."),
  ]
}

extension GeneralOptions {
  /// Long names of the options that pages of commands leave to the main page's synopsis.
  fileprivate static let shown: Set<String> = [
    "--config-file", "--config-to-test", "--node", "--timeout", "--dry-run", "--verbose",
  ]
}
