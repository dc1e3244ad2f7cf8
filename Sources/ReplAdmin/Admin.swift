// One run of `repladm`: what it was told, where it is, what it read. Commands are handed this; it finds the objects they name
// and turns whatever they throw into lines on stderr and an exit code (admin spec 6.2).
import Base
import Config
import Control
import Glibc

/// An exit code without a further word: the words were said.
struct AdminExit: Error {
  let code: Int32
  init(_ code: Int32) { self.code = code }
}

final class Admin {
  let console: Console
  let surroundings: Surroundings
  let options: GeneralOptions
  let configurationFile: String
  let nodeName: String
  /// For sentences about the command itself.
  let commandName: String
  private var loaded: Configuration?
  /// `--timeout`: of the whole command.
  private let limit: Deadline?

  init(_ commandName: String, _ options: GeneralOptions, _ surroundings: Surroundings, _ console: Console) {
    self.commandName = commandName
    self.options = options
    self.surroundings = surroundings
    self.console = console
    let environment = surroundings.environment
    configurationFile = ConfigurationPlace.absolute(
      ConfigurationPlace.find(option: options.configFile, environment: environment))
    nodeName = options.node ?? environment["__DRBD_NODE__"] ?? surroundings.hostName
    limit = options.timeout.map { Deadline(after: $0 == 0 ? nil : $0) }
  }

  var files: RunFiles { surroundings.runFiles }
  func daemon(_ resource: HostedResource) -> DaemonProcess {
    DaemonProcess(resource.name, files: files, configurationFile: configurationFile)
  }

  var hasLimit: Bool { limit != nil }
  /// `--timeout`, else what a step of this kind normally takes at most.
  func deadline(_ seconds: Double?) -> Deadline { limit ?? Deadline(after: seconds) }

  func configuration() throws(ConfigurationError) -> Configuration {
    if let loaded { return loaded }
    let configuration: Configuration
    if options.configToTest == nil, options.configToExclude == nil {
      configuration = try Configuration.load(configurationFile, from: FileSource())
    } else {
      configuration = try Configuration.load(configurationFile, from: try testedSource())
    }
    loaded = configuration
    return configuration
  }

  private func testedSource() throws(ConfigurationError) -> TestedSource {
    let tested = options.configToTest.map(ConfigurationPlace.absolute)
    if tested != nil, !["dump", "sh-nop"].contains(commandName) {
      throw ConfigurationError(
        .unknownObject, "--config-to-test (-t) goes with dump and sh-nop only", advice: "Leave it out")
    }
    if let tested { _ = try readable(tested) }
    return TestedSource(
      mainFile: configurationFile, tested: tested, excluded: options.configToExclude.map(ConfigurationPlace.absolute))
  }

  /// Its own error, not one of the line that includes it.
  private func readable(_ path: String) throws(ConfigurationError) -> String {
    do throws(ConfigurationSourceFault) { return try FileSource().read(path) } catch {
      throw ConfigurationError(
        .unreadable, "\(path) cannot be read: \(error.reason)", advice: "Name a file that exists")
    }
  }

  // MARK: Objects

  /// Whether the configured addresses must be found on this host.
  enum AddressCheck {
    case needed
    /// Taking things down, or looking, must work after the address has moved away.
    case skipped
  }

  private func select(_ names: [String], _ scope: CommandScope, _ check: AddressCheck) throws(ConfigurationError)
    -> [Selection]
  {
    let configuration = try configuration()
    var objects: [ObjectName] = []
    for name in names {
      let object = try ObjectName(name)
      objects += object == .all && options.stacked ? try stackedResources(configuration) : [object]
    }
    var result: [Selection]
    do throws(ConfigurationError) {
      let addresses = check == .needed && !options.dryRun ? HostAddresses.own() : nil
      result = try configuration.select(objects, onHost: nodeName, ownAddresses: addresses)
    } catch {
      // A floating host is known by its address only.
      guard check == .skipped || options.dryRun, error.kind == .unknownObject else { throw error }
      result = try configuration.select(objects, onHost: nodeName, ownAddresses: HostAddresses.own())
    }
    for selection in result { try selection.check(scope: scope, of: commandName) }
    return result
  }

  /// What `all` stands for with `--stacked`.
  private func stackedResources(_ configuration: Configuration) throws(ConfigurationError) -> [ObjectName] {
    let names = configuration.stackedResourceNames(onHost: nodeName, ownAddresses: HostAddresses.own())
    guard !names.isEmpty else {
      throw ConfigurationError(
        .unknownObject, "nothing stacked for this host (\(nodeName)), nothing to do in stacked mode!",
        advice: "Leave out --stacked")
    }
    return names.map { .resource($0) }
  }

  // MARK: Running

  /// Does it for every object named. A failure ends the steps of its own object only; the first one is the exit code.
  func forEach(
    _ names: [String], _ scope: CommandScope, _ check: AddressCheck = .skipped, _ body: (Selection) throws -> Void
  ) -> Int32 {
    do {
      guard !names.isEmpty else {
        throw ConfigurationError(
          .unknownObject, "this command needs to know what it is about", advice: "Name a resource, or all")
      }
      var code: Int32 = 0
      for target in try select(names, scope, check) {
        do {
          try body(target)
        } catch {
          let failed = report(error, about: target.label)
          if code == 0 { code = failed }
        }
      }
      return code
    } catch {
      let code = report(error, about: names.first ?? "repladm")
      if (error as? ConfigurationError)?.kind == .unknownObject { pointAtRunning(names) }
      return code
    }
  }

  /// A resource that was named, is not in the file, and runs: its daemon has to be ended without the file.
  private func pointAtRunning(_ names: [String]) {
    do throws(ConfigurationError) {
      let known = try configuration().resourceNames(onHost: nodeName, ownAddresses: HostAddresses.own())
      for name in names {
        guard let resource = try ObjectName(name).resourceName, !known.contains(resource) else { continue }
        remarkOnRunning(resource)
      }
    } catch {
      // That it cannot be read, or that this is no name, was said.
    }
  }

  /// Says so when the daemon of a resource runs that the file does not have.
  func remarkOnRunning(_ resource: String) {
    guard DaemonProcess(resource, files: files).isRunning else { return }
    console.err(
      "\(resource): repld runs for it, and \(configurationFile) does not have it for this host: put the resource back into"
        + " the file, or end it with replsetup down \(resource).\n")
  }

  /// Says what went wrong; returns the exit code.
  func report(_ error: any Error, about object: String) -> Int32 {
    switch error {
    case let exit as AdminExit: return exit.code
    case let refusal as Refusal:
      console.err(refusal.text(for: object))
      return Int32(refusal.exitCode)
    case let error as ConfigurationError:
      console.err(error.text + "\n")
      return error.exitCode
    default:
      console.err("\(object): \(error)\n")
      return 20
    }
  }

  /// A low-level command as the caller knows its program: under DRBD's names by DRBD's.
  func typed(_ step: SetupStep) -> String {
    let line = step.description
    guard surroundings.programName.hasPrefix("drbd"), line.hasPrefix("replsetup ") || line.hasPrefix("replmeta ")
    else { return line }
    return "drbd" + line.dropFirst(4)
  }

  /// With `--dry-run`: says the low-level command that stands for this step, with all of its options, and is true.
  func instead(_ words: [String]) -> Bool { instead([words]) }

  func instead(_ steps: [[String]]) -> Bool {
    for words in steps {
      let line = typed(SetupStep(words)) + "\n"
      if options.dryRun {
        console.out(line)
      } else if options.verbose {
        console.err(line)
      }
    }
    return options.dryRun
  }

  /// A command about the whole resource was told one volume of several, as 9.22 and 8.4 take it.
  func remarkOnWholeResource(_ target: Selection) {
    guard target.namesExplicitVolume, target.resource.volumes.count > 1 else { return }
    console.err("\(target.resource.name): \(commandName) is about the whole resource, with all of its volumes\n")
  }
}

extension Selection {
  /// For messages: what was named, or the resource that `all` came to.
  var label: String {
    let connection = namedPeer.map { "\(resource.name):\($0)" } ?? resource.name
    return namedVolume.map { "\(connection)/\($0.value)" } ?? connection
  }
  /// Nil: every one.
  var namedVolume: VolumeNumber? { namesVolume ? volumes.first?.number : nil }
  var namedPeer: String? { namesPeer ? peers.first?.name : nil }
}

/// The addresses of this host's interfaces, as text without scope.
enum HostAddresses {
  static func own() -> [String] {
    var first: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&first) == 0 else { return [] }
    defer { freeifaddrs(first) }
    var result: [String] = []
    var next = first
    while let entry = next {
      next = entry.pointee.ifa_next
      guard let address = entry.pointee.ifa_addr else { continue }
      let length: Int
      switch Int32(address.pointee.sa_family) {
      case AF_INET: length = MemoryLayout<sockaddr_in>.size
      case AF_INET6: length = MemoryLayout<sockaddr_in6>.size
      default: continue
      }
      var name = [CChar](repeating: 0, count: Int(NI_MAXHOST))
      guard getnameinfo(address, socklen_t(length), &name, socklen_t(name.count), nil, 0, NI_NUMERICHOST) == 0 else {
        continue
      }
      result.append(String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))
    }
    return result
  }
}
