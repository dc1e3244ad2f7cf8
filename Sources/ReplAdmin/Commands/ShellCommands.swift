// Commands for scripts: one value per line, nothing else on stdout.
import ArgumentParser
import Base
import Config
import Control

struct Dump: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "dump", abstract: "Print the parsed configuration.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    do {
      let configuration = try admin.configuration()
      for line in configuration.noticeText { admin.console.err(line + "\n") }
      let addresses = HostAddresses.own()
      if objects.names.isEmpty || objects.names == ["all"] {
        admin.console.out(Config.Dump.text(of: configuration, onHost: admin.nodeName, ownAddresses: addresses))
        return 0
      }
      var chosen: [ResourceDefinition] = []
      for name in objects.names {
        let selection = try configuration.select([ObjectName(name)], onHost: admin.nodeName, ownAddresses: nil)
        for one in selection {
          try one.check(scope: .resource, of: "dump")
          for notice in one.resource.notices { admin.console.err(notice.description + "\n") }
          chosen += configuration.resources.filter { $0.name == one.resource.name }
        }
      }
      admin.console.out(
        Config.Dump.text(of: chosen, in: configuration, onHost: admin.nodeName, ownAddresses: addresses))
      return 0
    } catch {
      return admin.report(error, about: "dump")
    }
  }
}

struct DumpXML: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "dump-xml", abstract: "Print the parsed configuration as XML.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    do {
      let configuration = try admin.configuration()
      var names: [String]?
      if !objects.names.isEmpty, objects.names != ["all"] {
        names = []
        for name in objects.names {
          for one in try configuration.select([ObjectName(name)], onHost: admin.nodeName, ownAddresses: nil) {
            try one.check(scope: .resource, of: "dump-xml")
            names?.append(one.resource.name)
          }
        }
      }
      admin.console.out(Config.DumpXML.text(of: configuration, only: names))
      return 0
    } catch {
      return admin.report(error, about: "dump-xml")
    }
  }
}

extension Admin {
  func printLines(
    _ names: [String], _ scope: CommandScope = .volume, _ lines: (Selection) throws(ConfigurationError) -> [String]
  ) -> Int32 {
    forEach(names, scope) { target in
      for line in try lines(target) { console.out(line + "\n") }
    }
  }
}

struct ShDev: AdminCommand {
  static let configuration = CommandConfiguration(commandName: "sh-dev", abstract: "Print the device paths.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments
  func perform(_ admin: Admin) -> Int32 { admin.printLines(objects.names) { ShellValues.devices($0) } }
}

struct ShNBDURI: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "sh-nbd-uri", abstract: "Print the NBD URI of each volume, for nbdinfo, nbdcopy, qemu-io, fio.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.printLines(objects.names) { target in
      target.volumes.map { admin.files.exportURI(target.resource.name, $0.number) }
    }
  }
}

struct ShResources: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "sh-resources", abstract: "Print the names of this host's resources.")
  @OptionGroup var general: GeneralOptions
  @Argument(help: .hidden) var names: [String] = []

  /// A host that has none is told nothing.
  func perform(_ admin: Admin) -> Int32 {
    do {
      let configuration = try admin.configuration()
      if !names.isEmpty { admin.console.err("This command will ignore resource names!\n") }
      let host = admin.nodeName
      let addresses = HostAddresses.own()
      let resources =
        general.stacked
        ? configuration.stackedResourceNames(onHost: host, ownAddresses: addresses)
        : configuration.resourceNames(onHost: host, ownAddresses: addresses)
      // A file in which two sections are this host's is refused here as everywhere.
      for name in resources where !general.stacked {
        _ = try configuration.resource(named: name, onHost: host, ownAddresses: addresses)
      }
      for name in resources { admin.console.out(name + "\n") }
      return 0
    } catch {
      return admin.report(error, about: "sh-resources")
    }
  }
}

struct ShResource: AdminCommand {
  static let configuration = CommandConfiguration(commandName: "sh-resource", abstract: "Print a resource's name.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments
  func perform(_ admin: Admin) -> Int32 { admin.printLines(objects.names, .resourceByAnyName) { [$0.resource.name] } }
}

struct ShMinor: AdminCommand {
  static let configuration = CommandConfiguration(commandName: "sh-minor", abstract: "Print the minor numbers.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments
  func perform(_ admin: Admin) -> Int32 { admin.printLines(objects.names) { ShellValues.minors($0) } }
}

struct ShLLDev: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "sh-ll-dev", abstract: "Print the backing devices.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments
  func perform(_ admin: Admin) -> Int32 { admin.printLines(objects.names) { ShellValues.lowerDevices($0) } }
}

struct ShMDDev: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "sh-md-dev", abstract: "Print the devices that hold the metadata.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.printLines(objects.names) { (target) throws(ConfigurationError) in try ShellValues.metaDevices(target) }
  }
}

struct ShMDIdx: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "sh-md-idx", abstract: "Print where the metadata are: internal, flexible or an index.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.printLines(objects.names) { (target) throws(ConfigurationError) in try ShellValues.metaIndexes(target) }
  }
}

struct ShIP: AdminCommand {
  static let configuration = CommandConfiguration(commandName: "sh-ip", abstract: "Print this host's address.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments
  func perform(_ admin: Admin) -> Int32 {
    admin.printLines(objects.names, .resourceByAnyName) { ShellValues.addresses($0) }
  }
}

struct ShUdev: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "sh-udev", abstract: "Print the names of a volume's device for a udev rule.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.printLines(objects.names) { (target) throws(ConfigurationError) in
      try ShellValues.udev(target, globals: admin.configuration().globals)
    }
  }
}

struct ShModParms: AdminCommand {
  static let configuration = CommandConfiguration(commandName: "sh-mod-parms", shouldDisplay: false)
  @OptionGroup var general: GeneralOptions

  func perform(_ admin: Admin) -> Int32 {
    do {
      admin.console.out("minor_count=\(try admin.configuration().globals.minorCount)\n")
      return 0
    } catch {
      return admin.report(error, about: "sh-mod-parms")
    }
  }
}

struct ShNop: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "sh-nop", abstract: "Check the configuration only.")
  @OptionGroup var general: GeneralOptions
  @Argument(help: .hidden) var names: [String] = []

  func perform(_ admin: Admin) -> Int32 {
    do {
      _ = try admin.configuration()
      return 0
    } catch {
      return admin.report(error, about: "sh-nop")
    }
  }
}

struct ShLROf: AdminCommand {
  static let configuration = CommandConfiguration(commandName: "sh-lr-of", shouldDisplay: false)
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .resource) { _ in
      throw Refusal(
        "sh-lr-of prints the lower resource of a stacked one, and stacked resources are not supported",
        next: "give the resource a disk of its own", exitCode: 1)
    }
  }
}

struct HiddenCommands: AdminCommand {
  static let configuration = CommandConfiguration(commandName: "hidden-commands", shouldDisplay: false)
  @OptionGroup var general: GeneralOptions

  func perform(_ admin: Admin) -> Int32 {
    let names = Repladm.configuration.subcommands.filter { !$0.configuration.shouldDisplay }
      .compactMap { $0.configuration.commandName }.filter { $0 != RunHandler.word }.sorted()
    admin.console.out("These commands are for scripts and experts:\n\n")
    for name in names { admin.console.out(" \(name)\n") }
    admin.console.out("\nThese run the command that the file names for an event:\n\n")
    for name in HandlerEnvironment.names.sorted() { admin.console.out(" \(name)\n") }
    return 0
  }
}
