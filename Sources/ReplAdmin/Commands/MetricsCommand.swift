// `metrics`: for Prometheus, by the textfile collector of node_exporter or any program that runs a command.
import ArgumentParser
import BlockIO
import Config
import Control

struct Metrics: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "metrics", abstract: "Print the state of all resources in Prometheus' text format.")
  @Option(help: ArgumentHelp("Write the metrics to FILE, which is replaced in one step.", valueName: "file"))
  var output: String?
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    let names = objects.names.isEmpty ? ["all"] : objects.names
    if general.dryRun {
      return admin.forEach(names, .resource) { target in
        _ = admin.instead(["replsetup", "status", target.resource.name])
      }
    }
    var resources: [MetricsText.Resource] = []
    let code = admin.forEach(names, .resource) { target in
      let name = target.resource.name
      do throws(Refusal) {
        resources.append((name, try admin.daemon(target.resource).status(deadline: admin.deadline(10))))
      } catch {
        resources.append((name, nil))
        if error != .notRunning(name) { throw error }
      }
    }
    // A file that cannot be read tells nothing about what is configured: the old metrics stay.
    guard code == 0 || !resources.isEmpty else { return code }
    let text = MetricsText.render(resources)
    guard let output else {
      admin.console.out(text)
      return code
    }
    do throws(Errno) { try ReplacedFile.write(text, to: output) } catch {
      admin.console.err(
        "metrics: \(output) was not written: \(error)\nname a file in a directory that exists and has room.\n")
      return 20
    }
    return code
  }
}
