// `up` and `adjust`: a resource's daemon comes. `up` is the steps of admin spec 4.1; what a failed step leaves
// behind is what DRBD leaves behind: a daemon that runs, Diskless or StandAlone.
import ArgumentParser
import Base
import Config
import Control
import Glibc
import MetaDisk

struct Up: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "up", abstract: "Start a resource: its daemon, its disks, its connection.")
  @Flag(help: "Make no block device; export the volumes by NBD only (sh-nbd-uri).") var noDevice = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .resourceOrVolume, .needed) { target in
      let resource = target.resource
      admin.remarkOnWholeResource(target)
      if admin.options.dryRun { return try admin.printSteps(of: resource) }
      guard !admin.daemon(resource).isRunning else {
        throw Refusal(
          .minorExists, why: "repld for \(resource.name) is running already",
          next: "bring it in line with the file by repladm adjust \(resource.name), or end it with repladm down first",
          exitCode: 1)
      }
      try admin.up(resource, noDevice: noDevice, deadline: admin.deadline(30))
    }
  }
}

struct Adjust: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "adjust", abstract: "Change a running resource to what the file says; start a resource that is down.")
  @Flag(help: "Leave the disks as they are.") var skipDisk = false
  @Flag(help: "Leave the connection as it is.") var skipNet = false
  @Flag(help: "At a split brain, overwrite the changes of this node.")
  var discardMyData = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.adjust(objects.names, skipDisk: skipDisk, skipNet: skipNet, discardMyData: discardMyData)
  }
}

struct AdjustWithProgress: AdminCommand {
  static let configuration = CommandConfiguration(commandName: "adjust-with-progress", shouldDisplay: false)
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 { admin.adjust(objects.names) }
}

/// For the unit, which starts the daemon without `up`: what `up` does with the devices of a daemon that died.
struct ExpectSuccessor: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "expect-successor", abstract: "Keep the devices of a daemon that died for the next one.",
    shouldDisplay: false)
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .resource, .skipped) { target in
      guard !admin.options.dryRun, !admin.daemon(target.resource).isRunning else { return }
      let devices = try admin.devices(target.resource)
      devices.remark(devices.each.flatMap { $0.expectSuccessor() })
    }
  }
}

extension Admin {
  func up(_ resource: HostedResource, noDevice: Bool, discardMyData: Bool = false, deadline: Deadline) throws {
    try startDaemon(resource, noDevice: noDevice, deadline: deadline)
    let daemon = daemon(resource)
    try devices(resource).showNames(minors(of: resource), deadline: deadline)
    try followGrowth(resource.volumes, of: resource)
    do throws(Refusal) {
      try daemon.ask(.attach(volume: nil), deadline: deadline)
    } catch {
      guard error.number == .noValidMetadata else { throw error }
      throw Refusal("No valid meta data found", why: error.why, next: error.next, exitCode: 1)
    }
    pass(on: try daemon.ask(.connect(peer: nil, discardMyData: discardMyData), deadline: deadline), about: resource)
  }

  private func minors(of resource: HostedResource) -> [VolumeNumber: UInt32] {
    Dictionary(
      resource.volumes.map { ($0.number, UInt32(clamping: $0.minor)) }, uniquingKeysWith: { first, _ in first })
  }

  /// The daemon, with nothing attached and nothing connected.
  func startDaemon(_ resource: HostedResource, noDevice: Bool, deadline: Deadline) throws {
    if let refusal = resource.refusals.first { throw refusal }
    for notice in try configuration().notices + resource.notices { console.err(notice.description + "\n") }
    let devices = try devices(resource)
    devices.remark(devices.each.flatMap { $0.expectSuccessor() })
    let start = DaemonStart(surroundings: surroundings, configurationFile: configurationFile, nodeName: nodeName)
    try start.makeRunDirectory(files.directory)
    let remembered = exists(files.noDevice(resource.name))
    try remember(noDevice: noDevice, resource)
    do throws(Refusal) { try start.start(resource.name, deadline: deadline) } catch {
      if !remembered { unlink(files.noDevice(resource.name)) }
      throw error
    }
  }

  /// What the daemon has to remark on a command that it has carried out.
  func pass(on reply: Reply, about resource: HostedResource) {
    if case .text(let remark) = reply { console.err("\(resource.name): \(remark).\n") }
  }

  /// What `up` does, in order, as the low-level commands that stand for it; or its refusal.
  func printSteps(of resource: HostedResource) throws {
    if let refusal = resource.refusals.first { throw refusal }
    for step in SetupStep.up(resource) { console.out(typed(step) + "\n") }
  }

  /// What `adjust` would do to the resource that runs: nothing when nothing differs, or the refusal it would meet.
  private func printAdjustment(of resource: HostedResource, skipDisk: Bool, skipNet: Bool) throws {
    if let refusal = resource.refusals.first { throw refusal }
    let daemon = daemon(resource)
    guard daemon.isRunning else { return try printSteps(of: resource) }
    let held = try leavingDevices(resource, try daemon.status(deadline: deadline(10))).each.flatMap {
      $0.settledHolders()
    }
    guard held.isEmpty else { throw VolumeDevice.inUse(held) }
    let reply = try daemon.ask(.adjustPlan(skipDisk: skipDisk, skipNet: skipNet), deadline: deadline(30))
    if case .text(let lines) = reply { console.out(lines + "\n") }
  }

  func adjust(
    _ names: [String], skipDisk: Bool = false, skipNet: Bool = false, discardMyData: Bool = false
  ) -> Int32 {
    forEach(names, .resourceByAnyName, .needed) { target in
      let resource = target.resource
      remarkOnWholeResource(target)
      if options.dryRun { return try printAdjustment(of: resource, skipDisk: skipDisk, skipNet: skipNet) }
      if let refusal = resource.refusals.first { throw refusal }
      guard daemon(resource).isRunning else {
        let noDevice = exists(files.noDevice(resource.name))
        try up(resource, noDevice: noDevice, discardMyData: discardMyData, deadline: deadline(30))
        return
      }
      let command: Command =
        skipDisk || skipNet || discardMyData
        ? .adjustPart(skipDisk: skipDisk, skipNet: skipNet, discardMyData: discardMyData) : .adjust
      let daemon = daemon(resource)
      let snapshot = try daemon.status(deadline: deadline(10))
      let running = Set(snapshot.devices.map(\.volume))
      let leaving = try leavingDevices(resource, snapshot)
      let change = try roleChange(resource, seconds: 30)
      guard !leaving.each.isEmpty || resource.volumes.contains(where: { !running.contains($0.number) }) else {
        pass(on: try daemon.ask(command, deadline: deadline(30)), about: resource)
        return try change.mend(minors(of: resource))
      }
      try change.changeVolumes(to: minors(of: resource), leaving: leaving) { () throws(Refusal) in
        pass(on: try daemon.ask(command, deadline: deadline(30)), about: resource)
      }
    }
  }

  /// Devices, as the daemon names them, of volumes that the file does not have any more, or gives another name.
  private func leavingDevices(_ resource: HostedResource, _ snapshot: StatusSnapshot) throws -> ResourceDevices {
    let old = ResourceDevices(snapshot, surroundings, console)
    let new = try devices(resource)
    let minors = minors(of: resource)
    let leaving = old.each.filter { device in
      let minor = snapshot.devices.first { $0.volume == device.volume }?.minor
      return new.each.first { $0.volume == device.volume }?.path != device.path || minors[device.volume] != minor
    }
    return old.only(Set(leaving.map(\.volume)))
  }

  private func remember(noDevice: Bool, _ resource: HostedResource) throws(Refusal) {
    let path = files.noDevice(resource.name)
    guard noDevice else {
      unlink(path)
      return
    }
    let descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard descriptor >= 0 else {
      throw Refusal(systemError("writing \(path)"), next: "make room in \(files.directory)", exitCode: 20)
    }
    close(descriptor)
  }
}

func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

func pause(milliseconds: UInt32) { usleep(milliseconds * 1000) }
