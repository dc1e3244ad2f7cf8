// `events2` by the names of the configuration: the stream of `replsetup events2`.
import ArgumentParser
import Base
import Config
import Control

struct Events2: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "events2", abstract: "Print the present state, then every change.")
  @Flag(help: "Print the present state and end.") var now = false
  @Flag(help: "Begin each line with the time.") var timestamps = false
  @Flag(help: "Print counters as well.") var statistics = false
  @Flag(help: "Print all fields of a changed object.") var full = false
  @Flag(help: "Print changed fields as OLD->NEW.") var diff = false
  @Flag(help: "Print what has changed, counters as well, for each line n on standard input.") var poll = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    guard objects.names.count <= 1 else {
      admin.console.err("events2 follows one resource, or all of them: name one, or none.\n")
      return 1
    }
    var options = EventFollower.Options(text: EventText(statistics: statistics, full: full, diff: diff))
    options.timestamps = timestamps
    options.now = now
    options.poll = poll
    options.limit = admin.hasLimit ? admin.deadline(nil) : nil
    if let name = objects.names.first, name != "all" {
      let code = admin.forEach([name], .resource) { options.resource = $0.resource.name }
      guard code == 0 else { return code }
    }
    do throws(Refusal) {
      var follower = EventFollower(options, files: admin.files, console: admin.console)
      return try follower.run()
    } catch {
      return admin.report(error, about: "events2")
    }
  }
}
