// The options every command takes, before or after its name (admin spec 4). Law: what is given acts, is refused or is reported.
import ArgumentParser

struct GeneralOptions: ParsableArguments {
  @Option(
    name: [.customShort("c", allowingJoined: true), .long],
    help: ArgumentHelp("Read this configuration file.", valueName: "file"), completion: .file())
  var configFile: String?

  @Option(
    name: [.customShort("t", allowingJoined: true), .long],
    help: ArgumentHelp("Check this file as well (dump, sh-nop).", valueName: "file"), completion: .file())
  var configToTest: String?

  @Option(help: ArgumentHelp("Name of this host in the file. Default: uname -n.", valueName: "name"))
  var node: String?

  @Option(
    name: [.long, .customLong("command-timeout")],
    help: ArgumentHelp(
      "Give up after this many seconds and say what was waited for; 0 waits for as long as the daemon lives. Behind net-options, "
        + "which has a --timeout of its own, it is --command-timeout.",
      valueName: "seconds"))
  var timeout: Double?

  @Flag(name: .shortAndLong, help: "Print the steps without doing them.")
  var dryRun = false

  @Flag(name: .shortAndLong, help: "Print more.")
  var verbose = false

  @Option(
    name: [.customShort("E", allowingJoined: true), .long],
    help: ArgumentHelp("Leave out this included file.", valueName: "file"), completion: .file())
  var configToExclude: String?

  // drbdadm's, for programs that it calls: reported, or refused.
  @Option(name: [.customShort("s", allowingJoined: true), .long], help: .hidden)
  var drbdsetup: String?
  @Option(name: [.customShort("m", allowingJoined: true), .long], help: .hidden)
  var drbdmeta: String?
  @Option(name: [.customShort("p", allowingJoined: true), .long], help: .hidden)
  var drbdProxyCtl: String?
  @Option(name: [.customShort("n", allowingJoined: true), .long], help: .hidden)
  var shVarname: String?
  /// `all` stands for the stacked resources of this host. They are not supported: there are none to work on.
  @Flag(name: [.customShort("S"), .long], help: .hidden)
  var stacked = false

  func validate() throws {
    if let timeout, !(0...1e9).contains(timeout) { throw ValidationError("--timeout takes 0 to 1000000000 seconds") }
    for (name, path) in [("drbdsetup", drbdsetup), ("drbdmeta", drbdmeta), ("drbd-proxy-ctl", drbdProxyCtl)] {
      // A program of another name, such as echo, would be called in place of what is done here.
      guard let path, ![name, name.replacing("drbd", with: "repl")].contains(lastComponent(path)) else { continue }
      throw ValidationError("--\(name) \(path): there are no helper programs to replace; see --dry-run")
    }
  }

  /// What was given and changes nothing, a line for each.
  var withoutEffect: [String] {
    let programs = [("drbdsetup", drbdsetup), ("drbdmeta", drbdmeta), ("drbd-proxy-ctl", drbdProxyCtl)]
    return programs.filter { $0.1 != nil }.map { "--\($0.0): accepted, no effect here: there are no helper programs" }
      + (shVarname == nil ? [] : ["--sh-varname: accepted, no effect here: values are printed without a name"])
  }

  /// What is neither an option nor the value of one.
  static func objects(_ words: ArraySlice<String>) -> [String] {
    var objects: [String] = []
    var isValue = false
    for word in words {
      if !isValue, !word.hasPrefix("-") { objects.append(word) }
      isValue = !isValue && valued.contains(word)
    }
    return objects
  }

  /// The options that may stand before the command and take a value: whoever moves them must move two words.
  static let valued: Set<String> = [
    "-c", "--config-file", "-t", "--config-to-test", "--node", "--timeout", "--command-timeout", "-E",
    "--config-to-exclude", "-s",
    "--drbdsetup",
    "-m", "--drbdmeta", "-p", "--drbd-proxy-ctl", "-n", "--sh-varname", "-W", "--setup-option",
  ]
}
