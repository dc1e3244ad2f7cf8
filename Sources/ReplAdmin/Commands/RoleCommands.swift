// `primary` and `secondary`: the daemon decides, the block device follows (D7). Law: a device in use forbids the demotion
// before anything was changed, and a promotion succeeds even where no device can be made.
import ArgumentParser
import Base
import Config
import Control

struct Primary: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "primary", abstract: "Make this node the one that uses the data.")
  @Flag(
    name: [.long, .customLong("overwrite-data-of-peer")],
    help: "Do it also without UpToDate data: this copy becomes the good one.")
  var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .resourceOrVolume) { target in
      let resource = target.resource
      admin.remarkOnWholeResource(target)
      if admin.instead(["replsetup", "primary", resource.name] + (force ? ["--force"] : [])) { return }
      let deadline = general.deadline(60)
      let devices = try admin.devices(resource)
      admin.remark(resource, devices.flatMap { $0.cleanUp(mayResume: true) })
      let daemon = admin.daemon(resource)
      try daemon.ask(.primary(force: force), deadline: deadline)
      if devices.contains(where: \.awaitsDaemon), try force || !isUnchanged(daemon.status(deadline: deadline)) {
        admin.remark(resource, devices.flatMap { $0.cleanUp(mayResume: false) })
      }
      try admin.attachDevices(resource, deadline: deadline)
    }
  }

  /// Whether a file system that was in use when the last daemon died may go on: its data are here, and nobody has written to
  /// them since this daemon was started.
  private func isUnchanged(_ status: StatusSnapshot) -> Bool {
    status.devices.allSatisfy { $0.disk == .upToDate }
      && status.connections.allSatisfy { connection in
        connection.peerRole != .primary
          && connection.peerDevices.allSatisfy {
            $0.received == 0 && $0.replication != .syncTarget && $0.replication != .pausedSyncT
          }
      }
  }
}

struct Secondary: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "secondary", abstract: "Give the data back: nothing may use the device any more.")
  @Flag(help: "Answer all requests under way with errors first.") var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .resourceOrVolume) { target in
      let resource = target.resource
      admin.remarkOnWholeResource(target)
      if admin.instead(["replsetup", "secondary", resource.name] + (force ? ["--force"] : [])) { return }
      let daemon = admin.daemon(resource)
      guard daemon.isRunning else { throw Refusal.notRunning(resource.name) }
      let deadline = general.deadline(60)
      try admin.withoutDevices(resource, deadline: deadline) { () throws(Refusal) in
        try admin.askWhenClientsAreGone(daemon, .secondary(force: force), deadline: deadline)
      }
    }
  }
}

extension Admin {
  /// The block devices of a resource, one for each volume.
  func devices(_ resource: HostedResource) throws(ConfigurationError) -> [VolumeDevice] {
    let globals = try configuration().globals
    return resource.volumes.map { volume in
      let names = ShellValues.links(of: volume, in: resource, globals: globals)
      // A backing file somewhere in the file system gives no name below /dev.
      let byDisk = volume.disk?.hasPrefix("/dev/") == true ? names.byDisk : nil
      return VolumeDevice(
        resource: resource.name, volume: volume.number, path: volume.devicePath,
        links: ([names.byResource] + (byDisk.map { [$0] } ?? [])).map { "/dev/\($0)" }, surroundings: surroundings)
    }
  }

  func remark(_ resource: HostedResource, _ remarks: [String]) {
    for remark in remarks { console.err("\(resource.name): \(remark)\n") }
  }

  /// Makes the devices after a promotion. Where that cannot be, says so once and where the data are.
  func attachDevices(_ resource: HostedResource, deadline: Deadline) throws(ConfigurationError) {
    if exists(files.noDevice(resource.name)) { return }
    for device in try devices(resource) {
      do {
        guard surroundings.isRoot else { throw DeviceFault.noMeans("only root can make block devices") }
        try device.attach(deadline: deadline)
      } catch {
        let why = (error as? DeviceFault)?.text ?? "\(error)"
        console.err(
          "\(resource.name): \(device.path) was not made, because \(why); the data are at "
            + "\(files.exportURI(resource.name, device.volume)).\n")
      }
    }
  }

  /// Takes the devices away, does `body`, and brings them back when it is refused.
  func withoutDevices(_ resource: HostedResource, deadline: Deadline, _ body: () throws(Refusal) -> Void) throws {
    let devices = try devices(resource)
    let held = devices.flatMap { $0.settledHolders() }
    guard held.isEmpty else { throw VolumeDevice.inUse(held) }
    var detached: [VolumeDevice] = []
    do {
      for device in devices where try device.detach() { detached.append(device) }
      try body()
    } catch {
      for device in detached {
        do {
          try device.attach(deadline: deadline)
        } catch let fault {
          console.err("\(resource.name): \(device.path) could not be made again: \(fault.text).\n")
        }
      }
      throw error
    }
  }

  /// Demotion is refused while NBD clients are connected; the one that was just ended may not have been noticed yet.
  func askWhenClientsAreGone(_ daemon: DaemonProcess, _ command: Command, deadline: Deadline) throws(Refusal) {
    let patience = Deadline(after: 2)
    while true {
      do throws(Refusal) {
        try daemon.ask(command, deadline: deadline)
        return
      } catch {
        guard error.number == .deviceInUse, !patience.hasPassed, !deadline.hasPassed else { throw error }
        pause(milliseconds: 50)
      }
    }
  }
}
