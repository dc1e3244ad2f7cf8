// `repladm man`: manual pages in roff, made from the same declarations as the command line itself, so that they cannot tell of
// an option that is not there. One page for the program and one for each command.
import ArgumentParser
import Control
import FoundationEssentials

struct ManualPages: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "man", abstract: "Write the manual pages.", shouldDisplay: false)
  @Option(help: ArgumentHelp("Write all pages into this directory.", valueName: "dir"), completion: .directory)
  var directory: String?
  @OptionGroup var general: GeneralOptions
  @Argument(help: "Print the page of this command.") var command: String?

  func perform(_ admin: Admin) -> Int32 {
    do {
      let tool = try JSONDecoder().decode(DescribedTool.self, from: Data(Repladm._dumpHelp().utf8)).command
      let pages = ManualPage.all(of: tool)
      guard let directory else {
        let wanted = command.map { "repladm-\($0)" } ?? "repladm"
        guard let page = pages.first(where: { $0.name == wanted }) else {
          admin.console.err("man: there is no command \(command ?? ""): type repladm help.\n")
          return 1
        }
        admin.console.out(page.text)
        return 0
      }
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      for page in pages {
        try page.text.write(toFile: "\(directory)/\(page.name).8", atomically: true, encoding: .utf8)
      }
      return 0
    } catch {
      return admin.report(error, about: "man")
    }
  }
}

/// What the argument parser tells about a command line; the part that pages need.
private struct DescribedTool: Decodable {
  var command: DescribedCommand
}

private struct DescribedCommand: Decodable {
  var commandName: String
  var abstract: String?
  var discussion: String?
  var shouldDisplay: Bool?
  var subcommands: [DescribedCommand]?
  var arguments: [DescribedArgument]?
}

private struct DescribedArgument: Decodable {
  struct Name: Decodable {
    var kind: String
    var name: String
    var text: String { (kind == "long" ? "--" : "-") + name }
  }
  var kind: String
  var shouldDisplay: Bool
  var isOptional: Bool
  var isRepeating: Bool
  var names: [Name]?
  var valueName: String?
  var abstract: String?
  var defaultValue: String?
}

private struct ManualPage {
  let name: String
  let text: String

  static func all(of tool: DescribedCommand) -> [ManualPage] {
    let shown = (tool.subcommands ?? []).filter { $0.shouldDisplay != false && $0.commandName != "help" }
    var main = head("repladm", tool)
    main += ".SH SYNOPSIS\n.B repladm\n[\\fIoptions\\fR] \\fIcommand\\fR [\\fIoptions\\fR] \\fIobject\\fR ...\n"
    main += section("DESCRIPTION", tool.discussion)
    main += ".SH COMMANDS\n"
    for command in shown {
      main += ".TP\n.BR repladm-\(escaped(command.commandName)) (8)\n\(escaped(command.abstract ?? ""))\n"
    }
    main += options(shown.first?.arguments ?? [], among: Set(GeneralOptions.shown), title: "GENERAL OPTIONS")
    main += environment + exitCodes
    var pages = [ManualPage(name: "repladm", text: main)]
    for command in shown {
      let title = "repladm-\(command.commandName)"
      var text = head(title, command)
      text += ".SH SYNOPSIS\n.B repladm \(escaped(command.commandName))\n\(synopsis(command.arguments ?? []))\n"
      text += section("DESCRIPTION", command.discussion ?? command.abstract)
      text += options(command.arguments ?? [], among: nil, title: "OPTIONS")
      text += exitCodes + ".SH SEE ALSO\n.BR repladm (8)\n"
      pages.append(ManualPage(name: title, text: text))
    }
    return pages
  }

  private static func head(_ name: String, _ command: DescribedCommand) -> String {
    ".TH \(escaped(name.uppercased())) 8 \"\" \"repl \(Product.version)\" \"System Administration\"\n"
      + ".SH NAME\n\(escaped(name)) \\- \(escaped(command.abstract ?? ""))\n"
  }

  private static func section(_ title: String, _ text: String?) -> String {
    guard let text, !text.isEmpty else { return "" }
    return ".SH \(title)\n\(escaped(text))\n"
  }

  private static func synopsis(_ arguments: [DescribedArgument]) -> String {
    arguments.filter {
      $0.shouldDisplay && $0.names?.contains { GeneralOptions.shown.contains($0.text) } != true
        && $0.valueName != "help" && $0.names?.contains { $0.name == "help" || $0.name == "version" } != true
    }
    .map { argument in
      let value = "\\fI\(escaped(argument.valueName ?? "value"))\\fR"
      let body: String
      switch argument.kind {
      case "positional": body = value
      case "flag": body = "\\fB\(escaped(argument.names?.last?.text ?? ""))\\fR"
      default: body = "\\fB\(escaped(argument.names?.last?.text ?? ""))\\fR \(value)"
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
      let shown = names.map { "\\fB\(escaped($0))\\fR" }.joined(separator: ", ")
      let value = argument.kind == "option" ? " \\fI\(escaped(argument.valueName ?? "value"))\\fR" : ""
      let standard = argument.kind == "option" ? argument.defaultValue.map { " Default: \($0)." } ?? "" : ""
      text += ".TP\n\(shown)\(value)\n\(escaped((argument.abstract ?? "") + standard))\n"
    }
    return text.isEmpty ? "" : ".SH \(title)\n" + text
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

  private static let exitCodes = """
    .SH EXIT STATUS
    0 done; 1 the command line or the object makes no sense; 5 a wait ran out of time; 10 the configuration or the request \
    was refused; 11 the state forbids it; 17 no access to UpToDate data; 20 it could not be carried out; 40 create\\-md \
    would cut off existing data.

    """

  /// Backslashes and dashes mean something to roff; so do a dot and a quote at the start of a line.
  private static func escaped(_ text: String) -> String {
    text.replacing("\\", with: "\\e").replacing("-", with: "\\-")
      .split(separator: "\n", omittingEmptySubsequences: false)
      .map { $0.hasPrefix(".") || $0.hasPrefix("'") ? "\\&\($0)" : String($0) }.joined(separator: "\n")
  }
}

extension GeneralOptions {
  /// Long names of the options that pages of commands leave to the main page's synopsis.
  fileprivate static let shown: Set<String> = [
    "--config-file", "--config-to-test", "--node", "--timeout", "--dry-run", "--verbose",
  ]
}
