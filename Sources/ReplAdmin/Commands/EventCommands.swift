// `events2` by the names of the configuration: the stream of `replsetup events2`.
import ArgumentParser
import Base
import Config
import Control

struct Events2: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "events2", abstract: "Print how things are, then every change as it happens.")
  @Flag(help: "Print how things are and end.") var now = false
  @Flag(help: "Begin each line with the time.") var timestamps = false
  @Flag(help: "With counters.") var statistics = false
  @Flag(help: "Changes print every field.") var full = false
  @Flag(help: "Changed fields as OLD->NEW.") var diff = false
  @Flag(help: "An n on standard input asks for whatever changed since, counters too.") var poll = false
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
