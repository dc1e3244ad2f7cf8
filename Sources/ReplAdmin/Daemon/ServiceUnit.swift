// `repld@RES.service`: where systemd runs and the unit is installed, it is what starts the daemon, so that the daemon belongs to the
// machine and not to the session or the agent that typed `up`, is restarted when it crashed, and ends in order at shutdown. Law: the
// unit knows the defaults only; a command with another file, host name, run directory or program starts the daemon itself.
import Control
import FoundationEssentials
import Glibc

struct ServiceUnit {
  /// Where systemd says that it runs, and where units lie; a test has places of its own.
  struct Places {
    var systemd = "/run/systemd/system"
    var units = ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system"]
    var runDirectory = RunFiles.defaultDirectory
  }

  static let template = "repld@.service"
  let name: String
  private let resource: String
  private let files: RunFiles
  private let tools: Tools

  /// Nil: the daemons of this run directory have no unit.
  init?(_ resource: String, files: RunFiles, tools: Tools, places: Places = Places()) {
    guard files.directory == places.runDirectory, exists(places.systemd),
      places.units.contains(where: { exists("\($0)/\(ServiceUnit.template)") }),
      ServiceUnit.canBeNamed(resource)
    else { return nil }
    name = "repld@\(resource).service"
    self.resource = resource
    self.files = files
    self.tools = tools
  }

  /// systemd's names of units have these characters, and no more than 255 of them; any other would have to be escaped.
  static func canBeNamed(_ resource: String) -> Bool {
    (1...200).contains(resource.utf8.count)
      && resource.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
          UInt8(ascii: "0")...UInt8(ascii: "9"),
          UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: ":"):
          true
        default: false
        }
      }
  }

  /// Starts the daemon, with nothing attached and nothing connected: that is for the command to do. Done when the daemon has said
  /// that it is ready.
  func start(deadline: Deadline) throws(Refusal) {
    // How often it may be started in a minute holds for crashes, not for who types this.
    _ = tools.run("systemctl", ["reset-failed", name], deadline: deadline)
    // The unit's own way, at boot and after a crash, is to attach and to connect. It takes this file for a request not to.
    let bare = files.bare(resource)
    let descriptor = open(bare, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard descriptor >= 0 else {
      throw Refusal(systemError("writing \(bare)"), next: "make room in \(files.directory)", exitCode: 20)
    }
    close(descriptor)
    defer { unlink(bare) }
    // What it said when it was started last, outside of the unit.
    unlink(files.log(resource))
    let result = tools.run("systemctl", ["start", name], deadline: deadline)
    if result.ok { return }
    // It is not to be tried again behind the back of who typed this.
    let invocation = property("InvocationID")
    let status = property("ExecMainStatus").flatMap { Int32($0) }
    let code = property("ExecMainCode")
    stop(waits: true)
    let details = lines(of: invocation)
    if result.status == 124 {
      throw Refusal(
        "repld did not open its control socket within \(deadline.text)", details: details,
        next: "see \(log), or allow it more with --timeout", exitCode: 20)
    }
    // 1 is CLD_EXITED.
    guard code == "1", let status, status != 0 else {
      throw Refusal(
        "systemd did not start \(name)", why: result.lastLine, details: details, next: "see \(log)", exitCode: 20)
    }
    throw Refusal(
      "repld ended at once, with exit code \(status)", details: details,
      next: "set right what it says and repeat repladm up \(resource)",
      exitCode: DaemonStart.exitCode(status))
  }

  /// A daemon that was killed, or that did not start, is not to be started again. `waits`: not when this is part of the unit's own stop.
  func stop(waits: Bool) {
    _ = tools.run("systemctl", (waits ? [] : ["--no-block"]) + ["stop", name], deadline: Deadline(after: 40))
  }

  /// Where people find what the daemon said.
  var log: String { "journalctl -u \(name)" }
  /// The last lines of it.
  var lastLines: String { tools.run("journalctl", ["-u", name, "-n", "200", "-o", "cat", "--no-pager"]).output }

  private func property(_ property: String) -> String? {
    let result = tools.run("systemctl", ["show", "-P", property, name])
    guard result.ok else { return nil }
    return result.output.split(separator: "\n").first.map(String.init)
  }

  /// What the daemon of one start said.
  private func lines(of invocation: String?) -> [String] {
    guard let invocation else { return [] }
    let words = ["_SYSTEMD_INVOCATION_ID=\(invocation)", "-n", "8", "-o", "cat", "--no-pager"]
    let result = tools.run("journalctl", words)
    return result.ok ? result.output.split(separator: "\n").map(String.init) : []
  }
}
