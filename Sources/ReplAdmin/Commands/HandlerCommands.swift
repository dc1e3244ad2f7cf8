// `repladm split-brain RES` and its like: the command that the `handlers` section names for an event, run by hand with the
// environment it has when the event happens (admin spec 7). Its output is this program's, and so is its exit code; a handler
// that the file does not name has succeeded.
import ArgumentParser
import Base
import Config
import Control

struct RunHandler: AdminCommand {
  /// Not typed by anybody: the names of the handlers are the commands.
  static let word = "run-handler"
  static let configuration = CommandConfiguration(commandName: word, shouldDisplay: false)
  /// 8.3's name for fence-peer.
  private static let aliases = ["outdate-peer": "fence-peer"]

  static func knows(_ word: String) -> Bool { HandlerEnvironment.names.contains(word) || aliases[word] != nil }

  @Argument var handler: String
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    let name = RunHandler.aliases[handler] ?? handler
    return admin.forEach(objects.names, .resource) { target in
      let resource = target.resource
      guard let command = resource.handlers[name] else { return }
      if admin.instead(["/bin/sh", "-c", command]) { return }
      var environment = admin.surroundings.environment
      let facts = HandlerEnvironment.lines(
        of: resource, configuration: admin.configurationFile, volume: nil,
        connection: try admin.connectionState(of: resource))
      for line in facts {
        let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        // What the caller knows better, such as the volume an event is about, stands.
        if environment[String(parts[0])] == nil { environment[String(parts[0])] = String(parts[1]) }
      }
      // As when the daemon runs it: its own tools come first.
      let path = environment["PATH"] ?? "/sbin:/bin:/usr/sbin:/usr/bin"
      if exists(admin.files.tools) { environment["PATH"] = "\(admin.files.tools):\(path)" }
      let status: Int32
      do throws(ChildProcess.Fault) {
        var child = try ChildProcess.start(
          "/bin/sh", ["-c", command], environment: environment, sharesOutput: true, ownSession: false)
        status = child.wait()
      } catch {
        guard case .notStarted(let why) = error else { return }
        throw Refusal(why, next: "check /bin/sh and the '\(name)' line of the handlers section", exitCode: 20)
      }
      if status != 0 { throw AdminExit(status) }
    }
  }
}

extension Admin {
  /// Nil when no daemon runs that could tell.
  fileprivate func connectionState(of resource: HostedResource) throws(Refusal) -> ConnectionState? {
    let daemon = daemon(resource)
    guard daemon.isRunning else { return nil }
    return try daemon.status(deadline: deadline(10)).connections.first?.state
  }
}
