// Commands on metadata. Where a daemon has the volume attached it is asked, or the command refuses; else the disk is opened
// here.
import ArgumentParser
import Base
import Config
import Control
import FoundationEssentials
import Glibc
import MetaDisk

struct CreateMD: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "create-md", abstract: "Write new metadata; the disk is Inconsistent.",
    discussion: """
      Existing metadata are overwritten only after the answer yes. A file system that reaches into the place of the metadata is \
      refused: shrink it, use external metadata, or wipe it.
      """)
  @Flag(help: "Answer all questions with yes.") var force = false
  @Option(help: ArgumentHelp("Room for this number of peers, 1 to 31.", valueName: "n")) var maxPeers: Int?
  @Option(help: ArgumentHelp("Metadata of DRBD 9 (v09) or of DRBD 8.4 (v08).", valueName: "v08|v09")) var format:
    MetaFormat = .v09
  @Option(name: .customLong("al-stripes"), help: ArgumentHelp("Number of stripes of the activity log.", valueName: "n"))
  var alStripes: UInt32 = 1
  @Option(
    name: .customLong("al-stripe-size-kB"), help: ArgumentHelp("Size of a stripe in KiB.", valueName: "kib"))
  var alStripeSize: UInt32 = 32
  @Option(help: ArgumentHelp("Largest request that the peer takes, in bytes.", valueName: "bytes"))
  var peerMaxBioSize: UInt32 = 0
  @Flag(help: "Overwrite swap, LVM and file systems on a metadata device.") var ignoreSanityChecks = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .volume) { target in
      for volume in target.volumes {
        try admin.requireDisk(volume, of: target.resource)
        let peers = maxPeers ?? (format == .v08 ? 1 : volume.bitmapSlots)
        if admin.instead(lowWords(volume, peers)) { continue }
        guard (1...31).contains(peers) else {
          throw Refusal(
            "MAX_PEERS argument not in allowed range 1 .. 31", next: "choose --max-peers between 1 and 31", exitCode: 20
          )
        }
        try admin.requireDetached(volume, of: target.resource)
        let disk = try OfflineMetadata(volume, of: target.resource, peer: target.peers.first, for: .change)
        let creation = MetadataCreation(
          format: format, maxPeers: UInt32(peers), alStripes: alStripes, alStripeSizeKiB: alStripeSize,
          peerMaxBioSize: peerMaxBioSize, force: force, ignoresSanityChecks: ignoreSanityChecks, console: admin.console)
        try creation.perform(on: disk)
        admin.rememberSize(of: disk, volume)
      }
    }
  }

  private func lowWords(_ volume: HostedVolume, _ peers: Int) -> [String] {
    var words = Admin.replmeta(volume, format) + ["create-md"] + (format == .v09 ? ["\(peers)"] : [])
    if alStripes != 1 { words.append("--al-stripes=\(alStripes)") }
    if alStripeSize != 32 { words.append("--al-stripe-size-kB=\(alStripeSize)") }
    if peerMaxBioSize != 0 { words.append("--peer-max-bio-size=\(peerMaxBioSize)") }
    if ignoreSanityChecks { words.append("--ignore-sanity-checks") }
    return words + (force ? ["--force"] : [])
  }
}

struct WipeMD: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "wipe-md", abstract: "Remove the metadata; the data are not touched.")
  @Flag(help: "Answer all questions with yes.") var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .volume) { target in
      for volume in target.volumes {
        try admin.requireDisk(volume, of: target.resource)
        if admin.instead(Admin.replmeta(volume) + ["wipe-md"] + (force ? ["--force"] : [])) { continue }
        try admin.requireDetached(volume, of: target.resource)
        try OfflineMetadata(volume, of: target.resource, for: .change).wipe(admin.console, force: force)
        admin.sizeRecords.forget(minor: volume.minor)
      }
    }
  }
}

struct ApplyAL: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "apply-al", abstract: "Mark the extents of the activity log out of sync.")
  @Flag(help: .hidden) var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    if force { admin.reportWithoutEffect("--force", "apply-al asks nothing") }
    return admin.forEach(objects.names, .volume) { target in
      for volume in target.volumes {
        try admin.requireDisk(volume, of: target.resource)
        if admin.instead(Admin.replmeta(volume) + ["apply-al"] + (force ? ["--force"] : [])) { continue }
        try admin.requireDetached(volume, of: target.resource)
        let disk = try OfflineMetadata(volume, of: target.resource, for: .change)
        if let said = try disk.applyActivityLog() { admin.console.out(said + "\n") }
        admin.rememberSize(of: disk, volume)
      }
    }
  }
}

struct DumpMD: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "dump-md", abstract: "Print the metadata as text that restore-md reads.")
  @Flag(help: "Dump although the activity log is not applied; restore-md refuses such a dump.") var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .volume) { target in
      for volume in target.volumes {
        try admin.requireDisk(volume, of: target.resource)
        let words = Admin.replmeta(volume) + ["dump-md"] + (force ? ["--force"] : [])
        if admin.instead(words) { continue }
        try admin.requireDetached(volume, of: target.resource)
        let disk = try OfflineMetadata(volume, of: target.resource, for: .look)
        let text = try disk.dump(evenUnclean: force)
        admin.console.out(admin.dumpHeader(words) + text)
      }
    }
  }
}

struct RestoreMD: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "restore-md", abstract: "Write metadata from a dump of dump-md.")
  @Flag(help: "Answer all questions with yes.") var force = false
  @OptionGroup var general: GeneralOptions
  @Argument(help: ArgumentHelp("The volume.", valueName: "res/vol")) var name: String
  @Argument(help: ArgumentHelp("The dump.", valueName: "file"), completion: .file()) var file: String

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach([name], .volume) { target in
      guard target.volumes.count == 1 else {
        throw Refusal(
          "a dump belongs to one volume, and \(name) has \(target.volumes.count)", next: "name one as \(name)/N",
          exitCode: 1)
      }
      let volume = target.volumes[0]
      try admin.requireDisk(volume, of: target.resource)
      if admin.instead(Admin.replmeta(volume) + ["restore-md", file] + (force ? ["--force"] : [])) { return }
      try admin.requireDetached(volume, of: target.resource)
      let disk = try OfflineMetadata(volume, of: target.resource, for: .change)
      try disk.restore(from: file, admin.console, force: force)
      admin.rememberSize(of: disk, volume)
    }
  }
}

struct GetGI: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "get-gi", abstract: "Print the generation identifiers in one line.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.printGenerations(objects.names, "get-gi") { $0.generationLine(peerNode: $1) + "\n" }
  }
}

struct ShowGI: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "show-gi", abstract: "Print the generation identifiers with a legend.")
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: PeerVolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.printGenerations(objects.names, "show-gi") { $0.generationLegend(peerNode: $1) }
  }
}

struct NewCurrentUUID: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "new-current-uuid", abstract: "Begin a new data generation.",
    discussion:
      "With --clear-bitmap on two connected nodes with new metadata, both become UpToDate without a resync.")
  @Flag(help: "Declare both disks equal: nothing is out of sync.") var clearBitmap = false
  @Flag(help: .hidden) var forceResync = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    if forceResync { admin.reportWithoutEffect("--force-resync", "a resync begins by the generations alone") }
    return admin.forEach(objects.names, .volume) { target in
      let flags = (clearBitmap ? ["--clear-bitmap"] : []) + (forceResync ? ["--force-resync"] : [])
      if admin.instead(Admin.onMinors("new-current-uuid", flags)(target)) { return }
      for volume in target.volumes {
        try admin.daemon(target.resource).ask(
          .newCurrentUUID(volume: volume.number, clearBitmap: clearBitmap), deadline: admin.deadline(30))
      }
    }
  }
}

extension MetaFormat: ExpressibleByArgument {
  public init?(argument: String) {
    guard let format = MetaFormat.allCases.first(where: { $0.name == argument.lowercased() }) else { return nil }
    self = format
  }
  public static var allValueStrings: [String] { allCases.map(\.name) }
}

extension Admin {
  /// `replmeta MINOR v09 /dev/sdb1 internal`.
  static func replmeta(_ volume: HostedVolume, _ format: MetaFormat = .v09) -> [String] {
    [
      "replmeta", "\(volume.minor)", format.name, volume.metaDiskPath ?? "none",
      volume.metaDisk.modeWord,
    ]
  }

  /// Changes every volume named on its disk.
  func offline(_ target: Selection, _ body: (borrowing OfflineMetadata) throws(Refusal) -> Void) throws(Refusal) {
    for volume in target.volumes where volume.disk != nil {
      try body(OfflineMetadata(volume, of: target.resource, for: .change))
    }
  }

  /// A volume with `disk none` ends the steps of its resource, as in DRBD.
  func requireDisk(_ volume: HostedVolume, of resource: HostedResource) throws(ConfigurationError) {
    if volume.disk == nil { throw volume.needsDisk(commandName, resource) }
  }

  /// For commands that one request brings to all volumes: at least one of them has a disk.
  func requireAnyDisk(_ target: Selection) throws(ConfigurationError) {
    guard target.volumes.allSatisfy({ $0.disk == nil }), let volume = target.volumes.first else { return }
    throw volume.needsDisk(commandName, target.resource)
  }

  /// Only a daemon that has it attached may touch the metadata of a volume.
  func requireDetached(_ volume: HostedVolume, of resource: HostedResource) throws(Refusal) {
    let daemon = daemon(resource)
    guard daemon.isRunning else { return }
    let snapshot = try daemon.status(deadline: deadline(10))
    guard let device = snapshot.devices.first(where: { $0.volume == volume.number }), device.disk != .diskless else {
      return
    }
    throw Refusal(
      "Device '\(volume.minor)' is configured!", why: "repld has it attached",
      next: "type repladm detach \(resource.name)/\(volume.number.value), or repladm down \(resource.name), first",
      exitCode: 20)
  }

  /// One line or picture for each volume and peer, from the daemon or else from the disk.
  func printGenerations(_ names: [String], _ word: String, _ text: (Superblock, Int) -> String) -> Int32 {
    forEach(names, .peerVolume) { target in
      for volume in target.volumes {
        try requireDisk(volume, of: target.resource)
        if instead(target.peers.map { Admin.replmeta(volume) + ["--node-id=\($0.nodeID)", word] }) { continue }
        let superblock = try currentSuperblock(volume, of: target.resource)
        for peer in target.peers { console.out(text(superblock, peer.nodeID)) }
      }
    }
  }

  private func currentSuperblock(_ volume: HostedVolume, of resource: HostedResource) throws(Refusal) -> Superblock {
    let daemon = daemon(resource)
    guard daemon.isRunning else {
      return try OfflineMetadata(volume, of: resource, for: .look).superblock()
    }
    let bytes = try daemon.superblock(.metadata(volume: volume.number), deadline: deadline(10))
    guard bytes.count == Superblock.bytes else {
      throw Refusal(
        "repld answered with \(bytes.count) bytes of metadata", next: "install repladm and repld of the same version",
        exitCode: 20)
    }
    do throws(MetaFault) { return try Superblock(reading: bytes.span.bytes) } catch { throw Refusal(metadata: error) }
  }

  func dumpHeader(_ words: [String]) -> String {
    MetadataDumpHeader.now(host: nodeName, command: words.joined(separator: " "))
  }
}

extension OfflineMetadata {
  func wipe(_ console: Console, force: Bool) throws(Refusal) {
    do throws(MetaFault) {
      _ = try readSuperblock()
    } catch {
      switch error {
      case .absent:
        console.out("There appears to be no drbd meta data to wipe out?\n")
        return
      // Damaged metadata are metadata.
      case .corrupt: break
      default: throw Refusal(metadata: error)
      }
    }
    guard console.confirm("Do you really want to wipe out the DRBD meta data?", forced: force) else {
      throw Refusal("Operation cancelled", next: "answer yes, or use --force, if that is what you want", exitCode: 1)
    }
    console.out("Wiping meta data...\n")
    try eraseSuperblock()
    console.out("DRBD meta data block successfully wiped out.\n")
  }

  func restore(from file: String, _ console: Console, force: Bool) throws(Refusal) {
    guard let data = FileManager.default.contents(atPath: file) else {
      throw Refusal("can not read \(file)", next: "name a file that dump-md wrote", exitCode: 20)
    }
    let dump: DumpedMetadata
    do throws(MetaFault) { dump = try DumpedMetadata(text: String(decoding: data, as: UTF8.self)) } catch {
      throw Refusal(withoutPeriod(error.text), next: "correct the dump, or take another one", exitCode: 10)
    }
    do throws(MetaFault) {
      _ = try readSuperblock()
      console.out("Valid meta-data in place.\n")
      guard console.confirm("Do you really want to overwrite?", forced: force) else {
        throw .unsupported("")
      }
    } catch {
      guard error == .absent else {
        throw Refusal("Operation cancelled", next: "answer yes, or use --force, if that is what you want", exitCode: 1)
      }
    }
    for remark in try restore(dump) { console.err(remark + "\n") }
    console.out("Successfully restored meta data\n")
  }
}

/// The lines above a dump: when, where, by what.
enum MetadataDumpHeader {
  static func now(host: String, command: String) -> String {
    var seconds = time(nil)
    var local = tm()
    localtime_r(&seconds, &local)
    var text = [CChar](repeating: 0, count: 64)
    let length = strftime(&text, text.count, "%Y-%m-%d %H:%M:%S %z", &local)
    let date = String(decoding: text[0..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
    return MetaDump.header(date: date, epoch: UInt64(max(0, seconds)), host: host, command: command)
  }
}
