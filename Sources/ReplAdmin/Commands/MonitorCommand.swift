// `monitor`: all resources on a terminal, until q is typed. Without a terminal: one picture.
import ArgumentParser
import BlockIO
import Config
import Control
import Glibc

struct Monitor: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "monitor", abstract: "Show all resources on a terminal: states, rates, progress, latency.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    let isNamed = !objects.names.isEmpty && objects.names != ["all"]
    if general.dryRun {
      return admin.forEach(isNamed ? objects.names : ["all"], .resource) { target in
        _ = admin.instead(["replsetup", "status", target.resource.name])
      }
    }
    var configured: [String] = []
    var note: String?
    if isNamed {
      let code = admin.forEach(objects.names, .resource) { configured.append($0.resource.name) }
      guard code == 0 else { return code }
    } else {
      do throws(ConfigurationError) {
        let configuration = try admin.configuration()
        configured = configuration.resourceNames(onHost: admin.nodeName, ownAddresses: HostAddresses.own())
      } catch {
        // A member of the group of readers may not be able to read the file: what runs can be looked at all the same.
        guard !RunningResources.names(admin.files).isEmpty else { return admin.report(error, about: "monitor") }
        note = "only what runs is shown; repladm sh-nop says what is wrong with \(admin.configurationFile)"
      }
    }
    guard admin.console.outputIsTerminal else { return printOnce(configured, isNamed: isNamed, note: note, admin) }
    do throws(Errno) {
      var loop = try MonitorLoop(
        configured: configured, isNamed: isNamed, files: admin.files, host: admin.nodeName, note: note,
        limit: admin.hasLimit ? admin.deadline(nil) : nil, environment: admin.surroundings.environment)
      switch loop.run() {
      case .quit, .terminalIsGone: return 0
      case .timeIsOver:
        return admin.report(
          Refusal("monitor ended after \(admin.deadline(nil).text)", next: "leave --timeout out to go on", exitCode: 5),
          about: "monitor")
      // As a shell has it for a program that a signal ended.
      case .signal(let number): return 128 + number
      }
    } catch {
      return admin.report(
        Refusal("the terminal cannot be used", why: "\(error)", next: "use repladm status", exitCode: 20),
        about: "monitor")
    }
  }

  /// For a pipe or a file: plain lines, as many as there are.
  private func printOnce(_ configured: [String], isNamed: Bool, note: String?, _ admin: Admin) -> Int32 {
    let running = isNamed ? [] : RunningResources.names(admin.files)
    var resources: [MonitoredResource] = []
    var code: Int32 = 0
    for name in Set(configured).union(running).sorted() {
      do throws(Refusal) {
        let snapshot = try DaemonProcess(name, files: admin.files).status(deadline: admin.deadline(10))
        resources.append(MonitoredResource(name, .running(snapshot)))
      } catch {
        if error == .notRunning(name) {
          if configured.contains(name) { resources.append(MonitoredResource(name, .notRunning)) }
        } else {
          code = admin.report(error, about: name)
          resources.append(MonitoredResource(name, .failed(error.headline)))
        }
      }
    }
    if let note { admin.console.err("monitor: \(note).\n") }
    for line in MonitorText(width: admin.console.columns).lines(resources) {
      admin.console.out(line.rendered(width: admin.console.columns, colours: false) + "\n")
    }
    return code
  }
}
