// The options every command takes, before or after its name (admin spec 4). The ones that steer drbdadm's helper programs are
// accepted and have no effect: there are no helper programs.
import ArgumentParser

struct GeneralOptions: ParsableArguments {
  @Option(
    name: [.customShort("c", allowingJoined: true), .long],
    help: ArgumentHelp("Read this configuration file.", valueName: "file"), completion: .file())
  var configFile: String?

  @Option(
    name: [.customShort("t", allowingJoined: true), .long],
    help: ArgumentHelp("Check this file too (dump and sh-nop).", valueName: "file"), completion: .file())
  var configToTest: String?

  @Option(help: ArgumentHelp("The host of the file this one is, in place of uname -n.", valueName: "name"))
  var node: String?

  @Option(
    help: ArgumentHelp(
      "Give up after this many seconds and say what was waited for; 0 waits for as long as the daemon lives.",
      valueName: "seconds"))
  var timeout: Double?

  @Flag(name: .shortAndLong, help: "Say what would be done instead of doing it.")
  var dryRun = false

  @Flag(name: .shortAndLong, help: "Say more.")
  var verbose = false

  // drbdadm's, without effect here.
  @Option(name: [.customShort("E", allowingJoined: true), .long], help: .hidden)
  var configToExclude: String?
  @Option(name: [.customShort("s", allowingJoined: true), .long], help: .hidden)
  var drbdsetup: String?
  @Option(name: [.customShort("m", allowingJoined: true), .long], help: .hidden)
  var drbdmeta: String?
  @Option(name: [.customShort("p", allowingJoined: true), .long], help: .hidden)
  var drbdProxyCtl: String?
  @Option(name: [.customShort("n", allowingJoined: true), .long], help: .hidden)
  var shVarname: String?
  @Option(name: [.customShort("W", allowingJoined: true), .long], help: .hidden)
  var setupOption: [String] = []
  /// `all` stands for the stacked resources of this host. They are not supported: there are none to work on.
  @Flag(name: [.customShort("S"), .long], help: .hidden)
  var stacked = false

  func validate() throws {
    if let timeout, !(0...1e9).contains(timeout) { throw ValidationError("--timeout takes 0 to 1000000000 seconds") }
  }

  /// The deadline of a command that normally ends within `seconds`.
  func deadline(_ seconds: Double?) -> Deadline {
    guard let timeout else { return Deadline(after: seconds) }
    return Deadline(after: timeout == 0 ? nil : timeout)
  }

  /// The options that may stand before the command and take a value: whoever moves them must move two words.
  static let valued: Set<String> = [
    "-c", "--config-file", "-t", "--config-to-test", "--node", "--timeout", "-E", "--config-to-exclude", "-s",
    "--drbdsetup",
    "-m", "--drbdmeta", "-p", "--drbd-proxy-ctl", "-n", "--sh-varname", "-W", "--setup-option",
  ]
}
