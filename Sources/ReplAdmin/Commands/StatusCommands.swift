// Asking how things are: `status` in its forms, and the one-word commands (admin spec 5.1, 5.2, 5.4).
import ArgumentParser
import Base
import Config
import Control

struct Status: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Show roles, disks, connections and the progress of a resync.")
  @Flag(help: "Print counters as well: KiB read, written, sent, received, out of sync.") var statistics = false
  @Flag(help: "Print JSON.") var json = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    let named = !objects.names.isEmpty && objects.names != ["all"]
    if general.dryRun {
      let flags =
        (statistics ? ["--statistics"] : []) + (json ? ["--json"] : []) + (general.verbose ? ["--verbose"] : [])
      guard named else {
        _ = admin.instead(["replsetup", "status"] + flags)
        return 0
      }
      return admin.forEach(objects.names, .resource) { target in
        _ = admin.instead(["replsetup", "status", target.resource.name] + flags)
      }
    }
    var snapshots: [StatusSnapshot] = []
    var absent = false
    var code = admin.forEach(named ? objects.names : ["all"], .resource) { target in
      let daemon = admin.daemon(target.resource)
      do throws(Refusal) {
        snapshots.append(try daemon.status(deadline: admin.deadline(10)))
      } catch {
        guard error == .notRunning(target.resource.name) else { throw error }
        absent = true
        if !json { admin.explainDevices(try admin.devices(target.resource)) }
        guard named else { return }
        admin.console.err(
          "\(target.resource.name): No such resource\n"
            + "repld for \(target.resource.name) is not running: start it with repladm up \(target.resource.name).\n")
        throw AdminExit(10)
      }
    }
    // Nothing of this host in the file is nothing configured, when nothing was named.
    if code == 1, !named { code = 0 }
    if code == 0, !named { addUnknown(to: &snapshots, admin) }
    // A file that cannot be read says nothing about what is configured.
    guard code == 0 || absent || !snapshots.isEmpty else { return code }
    if json {
      admin.console.out(StatusJSON.render(snapshots))
    } else {
      let text = StatusText(
        verbose: general.verbose, statistics: statistics, columns: admin.console.columns,
        toTerminal: admin.console.outputIsTerminal)
      admin.console.out(text.render(snapshots))
      for snapshot in snapshots {
        admin.explainConnections(snapshot)
        admin.explainDevices(ResourceDevices(snapshot, admin.surroundings, admin.console))
      }
    }
    return code
  }
}

extension Status {
  /// What runs and is not in the file is shown as well, and said to be so.
  private func addUnknown(to snapshots: inout [StatusSnapshot], _ admin: Admin) {
    let known = Set(snapshots.map(\.name))
    for name in RunningResources.names(admin.files) where !known.contains(name) {
      let daemon = DaemonProcess(name, files: admin.files)
      guard daemon.isRunning else { continue }
      do throws(Refusal) { snapshots.append(try daemon.status(deadline: admin.deadline(10))) } catch {
        admin.console.err(error.text(for: name))
      }
      admin.remarkOnRunning(name)
    }
    snapshots.sort { $0.name < $1.name }
  }
}

extension Admin {
  /// Beside the text that scripts read: a device that does not work.
  fileprivate func explainDevices(_ devices: ResourceDevices) {
    devices.remark(devices.each.compactMap { $0.complaint() }.map { $0 + "." })
  }

  /// Beside the text that scripts read: a connection that somebody has to do something about.
  fileprivate func explainConnections(_ snapshot: StatusSnapshot) {
    for connection in snapshot.connections {
      if let why = connection.cannotListen {
        console.err("\(snapshot.name): repld cannot listen for \(connection.name) now, and tries again: \(why).\n")
      }
      guard let why = connection.refusedBecause else { continue }
      console.err("\(snapshot.name): the connection to \(connection.name) was given up: \(why).\n")
      if !why.contains("repladm ") { console.err("Then run repladm adjust \(snapshot.name).\n") }
    }
  }
}

struct RoleWord: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "role", abstract: "Print this node's role.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 { admin.printRole(objects.names) }
}

/// 8.4's name for `role`.
struct StateWord: AdminCommand {
  static let configuration = CommandConfiguration(commandName: "state", shouldDisplay: false)
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 { admin.printRole(objects.names) }
}

struct CState: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "cstate", abstract: "Print the state of each connection.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ConnectionArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .resourceOrVolume) { target in
      if admin.instead(target.peers.map { ["replsetup", "cstate", target.resource.name, "\($0.nodeID)"] }) { return }
      var snapshot = try admin.daemon(target.resource).status(deadline: admin.deadline(10))
      if let peer = target.namedPeer { snapshot.connections.removeAll { $0.name != peer } }
      for word in snapshot.connectionWords { admin.console.out(word + "\n") }
    }
  }
}

struct DState: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "dstate", abstract: "Print the state of each disk, this node's first.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .volume) { target in
      if admin.instead(Admin.onMinors("dstate")(target)) { return }
      let daemon = admin.daemon(target.resource)
      guard daemon.isRunning else {
        return try admin.offline(target) { (disk) throws(Refusal) in
          admin.console.out("\(try disk.superblock().diskState.name)\n")
        }
      }
      let snapshot = try daemon.status(deadline: admin.deadline(10))
      for volume in target.volumes {
        if let words = snapshot.diskWords(volume.number) { admin.console.out(words + "\n") }
      }
    }
  }
}

extension Admin {
  func printRole(_ names: [String]) -> Int32 {
    forEach(names, .resourceOrVolume) { target in
      if instead(["replsetup", "role", target.resource.name]) { return }
      let daemon = daemon(target.resource)
      guard daemon.isRunning else { throw Refusal.notRunning(target.resource.name).unnumbered }
      console.out(try daemon.status(deadline: deadline(10)).roleWord + "\n")
    }
  }
}
