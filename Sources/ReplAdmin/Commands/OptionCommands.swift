// `disk-options`, `net-options`, `resource-options`, `peer-device-options`: what the file says about a section, and what the command
// line adds, put into force while the resource runs. On the command line the options are written as themselves: `--timeout=30`.
import ArgumentParser
import Base
import Config
import Control

/// `--NAME=VALUE` of an option of the section becomes `--set NAME=VALUE`, which the argument parser knows.
enum OptionWords {
  /// The section whose options a command takes as its own.
  static func section(of command: String) -> OptionSection? {
    let sections: [OptionSection] = [.disk, .peerDevice, .net, .resource]
    return command == Syncer.name ? .peerDevice : sections.first { $0.commandName == command }
  }

  static func rewritten(_ arguments: [String]) -> [String] {
    guard let command = arguments.first, let section = section(of: command) else { return arguments }
    var result: [String] = [command]
    var index = 1
    while index < arguments.count {
      let word = arguments[index]
      index += 1
      guard word.hasPrefix("--"), let row = row(word, in: section) else {
        result.append(word)
        continue
      }
      var text = String(word.dropFirst(2))
      if !text.contains("="), row.type != .boolean, index < arguments.count {
        text += "=" + arguments[index]
        index += 1
      }
      result += ["--set", text]
    }
    return result
  }

  /// An option that another section has, such as 8.4's `disk-options --resync-rate`: what to type instead. Nil: there is none.
  static func misplaced(_ arguments: [String]) -> String? {
    guard let command = arguments.first, let own = section(of: command) else { return nil }
    var words = Array(arguments.dropFirst())
    for index in words.indices where words[index] == "--set" && index + 1 < words.count {
      words[index + 1] = "--" + words[index + 1]
    }
    for (index, word) in words.enumerated() where word.hasPrefix("--") {
      guard row(word, in: own) == nil, !GeneralOptions.valued.contains(word) else { continue }
      let others: [OptionSection] = [.disk, .peerDevice, .net, .resource]
      guard let place = others.first(where: { $0 != own && row(word, in: $0) != nil }), let row = row(word, in: place)
      else { continue }
      let next = word.contains("=") || row.type == .boolean ? nil : words.dropFirst(index + 1).first
      let value = next.map { "=\($0)" } ?? ""
      let object = words.enumerated().first { !$0.element.hasPrefix("-") && (next == nil || $0.offset != index + 1) }
      return "repladm: \(row.name) is no option of \(command): type repladm \(place.commandName) \(word)\(value)"
        + " \(object?.element ?? "RES").\n"
    }
    return nil
  }

  private static func row(_ word: String, in section: OptionSection) -> OptionDefinition? {
    let name = String(word.dropFirst(2).prefix { $0 != "=" })
    return OptionTable.rows.first {
      $0.section == section && ($0.name == name || ($0.type == .boolean && "no-" + $0.name == name))
    }
  }
}

struct SectionOptions: ParsableArguments {
  @Option(
    name: .customLong("set"), parsing: .singleValue,
    help: ArgumentHelp("Set one option; the same as --NAME=VALUE.", valueName: "name=value"))
  var settings: [String] = []
  @Flag(help: "Undo earlier changes at run time: the file and this command count.")
  var setDefaults = false
}

extension Admin {
  fileprivate func changeOptions(
    _ section: OptionSection, _ names: [String], _ scope: CommandScope, _ options: SectionOptions,
    object: (Selection) -> [[String]]
  ) -> Int32 {
    forEach(names, scope) { target in
      // A word that is wrong is refused before anything is asked.
      for text in options.settings { _ = try OptionOverride(text, of: section) }
      let flags = (options.setDefaults ? ["--set-defaults"] : []) + options.settings.map { "--" + $0 }
      if self.options.dryRun {
        for words in object(target) {
          console.out((["replsetup", section.commandName] + words + flags).joined(separator: " ") + "\n")
        }
        return
      }
      try daemon(target.resource).ask(
        .changeOptions(
          section: section.commandName, volume: target.namedVolume, settings: options.settings,
          setDefaults: options.setDefaults), deadline: self.deadline(30))
    }
  }
}

struct DiskOptionsCommand: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "disk-options", abstract: "Change options of the disk section while the resource runs.")
  @OptionGroup var section: SectionOptions
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.changeOptions(.disk, objects.names, .volume, section) { $0.volumes.map { ["\($0.minor)"] } }
  }
}

struct NetOptionsCommand: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "net-options", abstract: "Change options of the net section while the resource runs.",
    discussion: "What both nodes have to agree on, such as the protocol, is agreed on by connecting anew.")
  @OptionGroup var section: SectionOptions
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ConnectionArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.changeOptions(.net, objects.names, .connection, section) { target in
      target.peers.map { [target.resource.name, "\($0.nodeID)"] }
    }
  }
}

struct PeerDeviceOptionsCommand: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "peer-device-options", abstract: "Change the resync rates of a volume while the resource runs.")
  @OptionGroup var section: SectionOptions
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.changePeerDeviceOptions(objects.names, section)
  }
}

struct ResourceOptionsCommand: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "resource-options", abstract: "Change options of the options section while the resource runs.")
  @OptionGroup var section: SectionOptions
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.changeOptions(.resource, objects.names, .resource, section) { [[$0.resource.name]] }
  }
}

/// 8.4's name for the options of a resync.
struct Syncer: AdminCommand {
  static let name = "syncer"
  static let configuration = CommandConfiguration(commandName: name, shouldDisplay: false)
  @OptionGroup var section: SectionOptions
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 { admin.changePeerDeviceOptions(objects.names, section) }
}

extension Admin {
  fileprivate func changePeerDeviceOptions(_ names: [String], _ section: SectionOptions) -> Int32 {
    changeOptions(.peerDevice, names, .peerVolume, section) { target in
      target.peers.flatMap { peer in
        target.volumes.map { [target.resource.name, "\(peer.nodeID)", "\($0.number.value)"] }
      }
    }
  }
}
