// Commands that bring metadata of a volume that is down in order: to where a grown device ends, into the other format, out of a
// crash that damaged them.
import ArgumentParser
import Base
import BlockIO
import Config
import Control
import MetaDisk

struct CheckResize: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-resize", abstract: "Move internal metadata to the end of a device that has grown while down.",
    discussion: """
      Silent when they are in place. How large the device was is known from the last command that wrote its metadata; where that \
      is not on record, --from says it.
      """)
  @Option(help: ArgumentHelp("Size of the device before it grew, with K, M, G or s (sectors).", valueName: "size"))
  var from: String?
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .volume) { target in
      for volume in target.volumes {
        try admin.requireDisk(volume, of: target.resource)
        guard volume.metaDisk == .internal else { continue }
        if admin.instead(Admin.replmeta(volume) + ["check-resize"] + (from.map { ["--from=\($0)"] } ?? [])) { continue }
        // What is attached is resized by repladm resize.
        guard try !admin.isAttached(volume, of: target.resource) else { continue }
        try check(volume, of: target.resource, admin)
      }
    }
  }

  private func check(_ volume: HostedVolume, of resource: HostedResource, _ admin: Admin) throws {
    var disk = try OfflineMetadata(volume, of: resource, for: .change)
    if disk.areInPlace {
      admin.rememberSize(of: disk, volume)
      return
    }
    let device = disk.disk.path
    let said = try from.map { text in
      guard let sectors = SizeText.sectors(text) else {
        throw Refusal("'\(text)' is no size", next: "write 10G, 512M, 4096K or 8192s", exitCode: 1)
      }
      return sectors * 512
    }
    let known = admin.sizeRecords.bytes(minor: volume.minor, device: device)
    guard let bytes = said ?? known, bytes < disk.disk.bytes else {
      throw Refusal(
        "no suitable meta data found :(",
        why: "\(device) has \(disk.disk.bytes) bytes and no metadata at its end, and "
          + (known == nil ? "it is not on record how large it was" : "it was not smaller before"),
        next:
          "say how large it was with repladm check-resize --from SIZE \(Refusal.object); if it never had metadata, type "
          + "repladm create-md \(Refusal.object)", exitCode: 1)
    }
    disk.metaBytes = bytes
    guard disk.areInPlace else {
      throw Refusal(
        "no suitable meta data found :(", why: "there are none at the end of the first \(bytes) bytes of \(device)",
        next: "say how large it was with repladm check-resize --from SIZE \(Refusal.object)", exitCode: 1)
    }
    try disk.move(fromEndOf: bytes, admin.console)
    admin.rememberSize(of: disk, volume)
  }
}

struct ConvertMD: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "convert-md", abstract: "Convert metadata between the formats of DRBD 8.4 and DRBD 9.",
    discussion:
      "The bitmap, the generations and the flags stay what they are: the next connection resyncs what differs.")
  @Option(help: ArgumentHelp("Format to convert to.", valueName: "v08|v09")) var to: MetaFormat
  @Flag(help: "Answer all questions with yes.") var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .volume) { target in
      for volume in target.volumes {
        try admin.requireDisk(volume, of: target.resource)
        if admin.instead(Admin.replmeta(volume) + ["convert-md", to.name] + (force ? ["--force"] : [])) { continue }
        try admin.requireDetached(volume, of: target.resource)
        let disk = try OfflineMetadata(volume, of: target.resource, peer: target.peers.first, for: .change)
        try disk.convert(to: to, admin.console, force: force)
        admin.rememberSize(of: disk, volume)
      }
    }
  }
}

struct RepairMD: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair-md", abstract: "Repair metadata whose activity log cannot be read.",
    discussion:
      "A log that can be read is applied. One that cannot costs a full resync: everything is marked out of sync.")
  @Flag(help: "Answer all questions with yes.") var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .volume) { target in
      for volume in target.volumes {
        try admin.requireDisk(volume, of: target.resource)
        if admin.instead(Admin.replmeta(volume) + ["repair-md"] + (force ? ["--force"] : [])) { continue }
        try admin.requireDetached(volume, of: target.resource)
        try OfflineMetadata(volume, of: target.resource, for: .change).repair(admin.console, force: force)
      }
    }
  }
}

extension Admin {
  func isAttached(_ volume: HostedVolume, of resource: HostedResource) throws(Refusal) -> Bool {
    let daemon = daemon(resource)
    guard daemon.isRunning else { return false }
    let snapshot = try daemon.status(deadline: deadline(10))
    return snapshot.devices.contains { $0.volume == volume.number && $0.disk != .diskless }
  }

  /// Before an attach, as DRBD's apply-al does: metadata at the end of what a device once was move to its end. What is not found
  /// there, or cannot be opened, is for the attach to refuse.
  func followGrowth(_ volumes: [HostedVolume], of resource: HostedResource) throws(Refusal) {
    for volume in volumes where volume.metaDisk == .internal {
      guard let path = volume.disk,
        let known = sizeRecords.bytes(minor: volume.minor, device: path)
      else { continue }
      let bytes: UInt64
      do throws(DeviceRefusal) { bytes = try PlainDisk(path: path, access: .readOnly).bytes } catch { continue }
      guard known < bytes, try !isAttached(volume, of: resource) else { continue }
      var disk = try OfflineMetadata(volume, of: resource, for: .change)
      if !disk.areInPlace {
        disk.metaBytes = known
        guard disk.areInPlace else { continue }
        try disk.move(fromEndOf: known, console)
      }
      rememberSize(of: disk, volume)
    }
  }

  /// Where metadata of devices that have grown are looked for; the daemon keeps the records true while it runs.
  var sizeRecords: SizeRecords { SizeRecords(directory: surroundings.environment[SizeRecords.environmentKey]) }

  /// For check-resize, when the device has another size one day.
  func rememberSize(of disk: borrowing OfflineMetadata, _ volume: HostedVolume) {
    guard volume.metaDisk == .internal else { return }
    do throws(Errno) {
      try sizeRecords.remember(disk.disk.bytes, minor: volume.minor, device: disk.disk.path)
    } catch {
      // Only a help for later: check-resize --from says the size as well.
      if options.verbose { console.err("the size is not on record in \(sizeRecords.directory): \(error)\n") }
    }
  }
}
