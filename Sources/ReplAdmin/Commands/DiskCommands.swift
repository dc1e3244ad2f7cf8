// Commands about volumes of a running resource: each becomes one request to its daemon.
import ArgumentParser
import Base
import Config
import Control

extension Admin {
  /// Sends each object's command to its daemon. `low` is the low-level command that stands for it.
  func tell(
    _ names: [String], _ scope: CommandScope, seconds: Double? = 30, needsDisk: Bool = false,
    low: (Selection) -> [[String]],
    _ command: (Selection) throws -> Command
  ) -> Int32 {
    forEach(names, scope) { target in
      if needsDisk { try requireAnyDisk(target) }
      if instead(low(target)) { return }
      try daemon(target.resource).ask(command(target), deadline: deadline(seconds))
    }
  }

  /// An option that was given and changes nothing: said once.
  func reportWithoutEffect(_ option: String, _ why: String) {
    console.err("\(commandName): \(option): accepted, no effect here: \(why).\n")
  }

  fileprivate func report(_ resetBitmap: YesNo) {
    if resetBitmap == .no { reportWithoutEffect("--reset-bitmap=no", "everything is compared or copied") }
  }

  /// `replsetup WORD MINOR OPTIONS` for each volume.
  static func onMinors(_ word: String, _ flags: [String] = []) -> (Selection) -> [[String]] {
    { target in target.volumes.map { ["replsetup", word, "\($0.minor)"] + flags } }
  }
}

struct Attach: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "attach", abstract: "Attach the backing devices of a running resource.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.tell(objects.names, .volume, needsDisk: true, low: { $0.volumes.compactMap { SetupStep.attach($0)?.words } })
    {
      try admin.followGrowth($0.volumes, of: $0.resource)
      return .attach(volume: $0.namedVolume)
    }
  }
}

struct Detach: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "detach", abstract: "Detach the backing devices of a running resource.")
  @Flag(help: "Do not wait for requests under way.") var force = false
  @Flag(help: .hidden) var diskless = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    if diskless {
      admin.reportWithoutEffect("--diskless", "'disk none' in the file makes a volume Diskless on purpose")
    }
    return admin.tell(
      objects.names, .volume, needsDisk: true,
      low: Admin.onMinors("detach", (force ? ["--force"] : []) + (diskless ? ["--diskless"] : []))
    ) {
      .detach(volume: $0.namedVolume, force: force)
    }
  }
}

struct Invalidate: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "invalidate", abstract: "Replace all local data by those of the peer.")
  @Option(help: ArgumentHelp("Accepted; all data are resynced in any case.", valueName: "yes|no"))
  var resetBitmap: YesNo = .yes
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) throws -> Int32 {
    admin.report(resetBitmap)
    return admin.forEach(objects.names, .peerVolume) { target in
      try admin.requireAnyDisk(target)
      if admin.instead(Admin.onMinors("invalidate", resetBitmap.flags("--reset-bitmap"))(target)) { return }
      guard admin.daemon(target.resource).isRunning else {
        return try admin.offline(target) { (disk) throws(Refusal) in try disk.invalidate() }
      }
      try admin.daemon(target.resource).ask(
        .invalidate(volume: target.namedVolume, resetBitmap: resetBitmap == .yes), deadline: admin.deadline(30))
    }
  }
}

struct InvalidateRemote: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "invalidate-remote", abstract: "Replace all data of the peer by those of this node.")
  @Option(help: ArgumentHelp("Accepted; all data are resynced in any case.", valueName: "yes|no"))
  var resetBitmap: YesNo = .yes
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.report(resetBitmap)
    return admin.tell(
      objects.names, .peerVolume, low: Admin.onMinors("invalidate-remote", resetBitmap.flags("--reset-bitmap"))
    ) {
      .invalidateRemote(volume: $0.namedVolume, resetBitmap: resetBitmap == .yes)
    }
  }
}

struct Outdate: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "outdate", abstract: "Mark the local data Outdated.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .volume) { target in
      try admin.requireAnyDisk(target)
      if admin.instead(Admin.onMinors("outdate")(target)) { return }
      guard admin.daemon(target.resource).isRunning else {
        return try admin.offline(target) { (disk) throws(Refusal) in try disk.outdate() }
      }
      try admin.daemon(target.resource).ask(.outdate(volume: target.namedVolume), deadline: admin.deadline(30))
    }
  }
}

struct PauseSync: AdminCommand {
  static let configuration = CommandConfiguration(commandName: "pause-sync", abstract: "Pause a resync.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.tell(objects.names, .peerVolume, low: Admin.onMinors("pause-sync")) { .pauseSync(volume: $0.namedVolume) }
  }
}

struct ResumeSync: AdminCommand {
  static let configuration = CommandConfiguration(commandName: "resume-sync", abstract: "End the pause of a resync.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.tell(objects.names, .peerVolume, low: Admin.onMinors("resume-sync")) { .resumeSync(volume: $0.namedVolume) }
  }
}

struct Verify: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Compare the data of both nodes online.")
  @Option(help: ArgumentHelp("First sector of 512 bytes.", valueName: "sector")) var start: UInt64?
  @Option(help: ArgumentHelp("End before this sector.", valueName: "sector")) var stop: UInt64?
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    let flags = [("start", start), ("stop", stop)].compactMap { name, sector in sector.map { "--\(name)=\($0)" } }
    let low = Admin.onMinors("verify", flags)
    var begun: [HostedResource] = []
    let code = admin.forEach(objects.names, .peerVolume) { target in
      if admin.instead(low(target)) { return }
      try admin.daemon(target.resource).ask(
        .verify(volume: target.namedVolume, startSector: start, stopSector: stop), deadline: admin.deadline(30))
      if !begun.contains(where: { $0.name == target.resource.name }) { begun.append(target.resource) }
    }
    // A person sees how it goes; a script goes on at once.
    guard admin.console.outputIsTerminal else { return code }
    return begun.reduce(code) { code, resource in
      let watched = watch(resource, admin)
      return code == 0 ? watched : code
    }
  }

  /// Until the end of the verify. Whatever ends this command ends the display alone.
  private func watch(_ resource: HostedResource, _ admin: Admin) -> Int32 {
    let daemon = admin.daemon(resource)
    do throws(Refusal) {
      var display = SyncProgress(console: admin.console)
      defer { display.finish() }
      try daemon.ask(.waitSync(waitAfterSb: false), deadline: admin.deadline(nil)) { display.show($0) }
    } catch {
      admin.console.err("\(resource.name): the verify has begun, and is not watched to its end.\n")
      return admin.report(error, about: resource.name)
    }
    do throws(Refusal) {
      for connection in try daemon.status(deadline: admin.deadline(10)).connections {
        for peer in connection.peerDevices {
          admin.console.out(
            "\(resource.name)/\(peer.volume.value) \(connection.name): \(peer.outOfSync) KiB out of sync\n")
        }
      }
      return 0
    } catch {
      return admin.report(error, about: resource.name)
    }
  }
}

struct SuspendIO: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "suspend-io", abstract: "Suspend the I/O of applications.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.tell(objects.names, .volume, low: Admin.onMinors("suspend-io")) { .suspendIO(volume: $0.namedVolume) }
  }
}

struct ResumeIO: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "resume-io", abstract: "Resume the I/O of applications.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.tell(objects.names, .volume, low: Admin.onMinors("resume-io")) { .resumeIO(volume: $0.namedVolume) }
  }
}

struct Resize: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "resize", abstract: "Grow a volume to the size of its backing devices.",
    discussion: """
      Grow the devices of both nodes first, then say this on the Primary. Metadata at the end of a device move to its new end. \
      The smaller device decides; when nothing grows, the command says why. The block device grows at once, in use or not; clients of the \
      export have the new size when they are connected again.
      """)
  @Option(help: ArgumentHelp("New size, with K, M, G or s (sectors).", valueName: "size")) var size: String?
  @Flag(help: "Do not resync the new blocks.") var assumeClean = false
  @Flag(help: "Without a connection or a disk of the peer: assume that the peer's device is large enough.")
  var assumePeerHasSpace = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) throws -> Int32 {
    let sectors = try size.map { text in
      guard let sectors = SizeText.sectors(text) else {
        throw ValidationError("'\(text)' is not a size: write 10G, 512M, 4096K or 8192s")
      }
      return sectors
    }
    return admin.forEach(objects.names, .volume) { target in
      let flags =
        (size.map { ["--size=\($0)"] } ?? []) + (assumeClean ? ["--assume-clean"] : [])
        + (assumePeerHasSpace ? ["--assume-peer-has-space"] : [])
      try admin.requireAnyDisk(target)
      if admin.instead(Admin.onMinors("resize", flags)(target)) { return }
      let deadline = admin.deadline(60)
      let reply = try admin.daemon(target.resource).ask(
        .resize(
          volume: target.namedVolume, sizeSectors: sectors, assumeClean: assumeClean,
          assumePeerHasSpace: assumePeerHasSpace),
        deadline: deadline)
      if case .text(let remarks) = reply { admin.console.err(remarks + "\n") }
      let numbers = Set(target.volumes.map(\.number))
      for device in try admin.devices(target.resource).each where numbers.contains(device.volume) {
        do throws(DeviceFault) {
          if let said = try device.grow(deadline: deadline) { admin.console.out("\(target.resource.name): \(said).\n") }
        } catch {
          admin.console.err(
            "\(target.resource.name): \(device.path) keeps its size (\(error.text)) until repladm secondary and then "
              + "repladm primary.\n")
        }
      }
    }
  }
}

enum YesNo: String, ExpressibleByArgument, CaseIterable {
  case yes, no

  /// The option as it was written; nothing for yes, which is the default.
  func flags(_ name: String) -> [String] { self == .yes ? [] : ["\(name)=\(rawValue)"] }
}

enum SizeText {
  /// DRBD's sizes: KiB without a suffix.
  static func sectors(_ text: String) -> UInt64? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard let number = UInt64(digits) else { return nil }
    let factor: UInt64
    switch text.dropFirst(digits.count) {
    case "s": factor = 1
    case "", "k", "K": factor = 2
    case "m", "M": factor = 2 << 10
    case "g", "G": factor = 2 << 20
    case "t", "T": factor = 2 << 30
    default: return nil
    }
    let (sectors, overflow) = number.multipliedReportingOverflow(by: factor)
    return overflow ? nil : sectors
  }
}
