// `repladm man`: manual pages in roff, made from the declarations of the command lines, from the option table and from the texts in
// Manual/, so that they cannot tell of an option that is not there. One page for each program, one for each command, one for the file.
import ArgumentParser
import Control
import FoundationEssentials

struct ManualPages: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "man", abstract: "Write the manual pages.", shouldDisplay: false)
  @Option(help: ArgumentHelp("Write all pages into this directory.", valueName: "dir"), completion: .directory)
  var directory: String?
  @OptionGroup var general: GeneralOptions
  @Argument(help: "Print the page of this command, of repld or of repl.conf.") var command: String?

  func perform(_ admin: Admin) -> Int32 {
    do {
      var pages = ManualPage.all(of: try DescribedCommand.decode(Repladm._dumpHelp()))
      pages.append(ManualPage(name: "repl.conf", section: 5, text: ConfigurationPage.text))
      if directory != nil || command == "repld" { pages.append(try daemonPage(admin)) }
      guard let directory else {
        let name = command ?? "repladm"
        guard let page = pages.first(where: { $0.name == name || $0.name == "repladm-\(name)" }) else {
          admin.console.err("man: there is no command \(name): type repladm help.\n")
          return 1
        }
        admin.console.out(page.text)
        return 0
      }
      try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
      for page in pages {
        try page.text.write(toFile: "\(directory)/\(page.name).\(page.section)", atomically: true, encoding: .utf8)
      }
      return 0
    } catch {
      return admin.report(error, about: "man")
    }
  }

  /// The daemon describes its own command line.
  private func daemonPage(_ admin: Admin) throws -> ManualPage {
    guard let program = admin.surroundings.daemonProgram else {
      throw Refusal("repld was not found", next: "install it beside repladm, or name it by REPLD", exitCode: 20)
    }
    let said = admin.surroundings.tools.run(program, ["--experimental-dump-help"])
    guard said.ok else {
      throw Refusal(
        "repld does not describe its options", why: said.lastLine, next: "check the installation of repld", exitCode: 20
      )
    }
    return ManualPage.daemon(try DescribedCommand.decode(said.output))
  }
}
