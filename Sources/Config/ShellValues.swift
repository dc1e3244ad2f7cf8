// What `sh-*` commands print for scripts: one value per line, pure functions of the configuration.

import Base

public enum ShellValues {
  /// `sh-dev`: the device path of every volume named.
  public static func devices(_ selection: Selection) -> [String] { selection.volumes.map(\.devicePath) }

  public static func minors(_ selection: Selection) -> [String] { selection.volumes.map { String($0.minor) } }

  /// `sh-ll-dev`: backing devices; `none` for a volume without one.
  public static func lowerDevices(_ selection: Selection) -> [String] { selection.volumes.map { $0.disk ?? "none" } }

  /// `sh-md-dev`: where the metadata lies.
  public static func metaDevices(_ selection: Selection) throws(ConfigurationError) -> [String] {
    var result: [String] = []
    for volume in selection.volumes {
      guard let path = volume.metaDiskPath else { throw needsDisk("sh-md-dev", selection, volume) }
      result.append(path)
    }
    return result
  }

  /// `sh-md-idx`: `internal`, `flexible` or an index.
  public static func metaIndexes(_ selection: Selection) throws(ConfigurationError) -> [String] {
    var result: [String] = []
    for volume in selection.volumes {
      guard volume.disk != nil else { throw needsDisk("sh-md-idx", selection, volume) }
      switch volume.metaDisk {
      case .internal: result.append("internal")
      case .external: result.append("flexible")
      case .indexed(_, let index): result.append(String(index))
      }
    }
    return result
  }

  /// `sh-ip`: own address, for every path of every peer and volume, as often as DRBD repeats it.
  public static func addresses(_ selection: Selection) -> [String] {
    selection.peers.flatMap { peer in selection.volumes.map { _ in peer.ownAddress.host } }
  }

  /// `sh-udev`: assignments for a udev rule. One volume at a time; without an explicit volume section the link below
  /// `by-res` has no number, unless `udev-always-use-vnr` says so.
  public static func udev(_ selection: Selection, globals: GlobalOptions) throws(ConfigurationError) -> [String] {
    let volume = selection.volumes[0]
    let name = selection.resource.name
    guard selection.namesVolume || (selection.volumes.count == 1 && !volume.isExplicit) else {
      throw ConfigurationError(
        .unknownObject, "sh-udev requires a specific volume id, but none is specified",
        advice: "Try 'sh-udev minor-<minor_number>' or 'sh-udev \(name)/<vnr>'")
    }
    let links = links(of: volume, in: selection.resource, globals: globals)
    let device = volume.devicePath.hasPrefix("/dev/") ? String(volume.devicePath.dropFirst(5)) : volume.devicePath
    var result = ["DEVICE=\(device)", "SYMLINK=\(links.byResource)", "SYMLINK_BY_RES=\(links.byResource)"]
    if let byDisk = links.byDisk { result.append("SYMLINK_BY_DISK=\(byDisk)") }
    return result
  }

  /// Links below `/dev` that lead to the device of a volume.
  public static func links(
    of volume: HostedVolume, in resource: HostedResource, globals: GlobalOptions
  ) -> (byResource: String, byDisk: String?) {
    let number = volume.isExplicit || globals.udevAlwaysUseVnr ? "/\(volume.number.value)" : ""
    let disk = volume.disk.map { $0.hasPrefix("/dev/") ? String($0.dropFirst(5)) : $0 }
    return ("drbd/by-res/\(resource.name)\(number)", disk.map { "drbd/by-disk/\($0)" })
  }

  /// The configured path of a volume's device first, then the links that lead to it. A backing file somewhere in the file system
  /// gives no link.
  public static func devicePaths(
    of volume: HostedVolume, in resource: HostedResource, globals: GlobalOptions
  ) -> [String] {
    let names = links(of: volume, in: resource, globals: globals)
    let byDisk = volume.disk?.hasPrefix("/dev/") == true ? names.byDisk : nil
    return [volume.devicePath] + ([names.byResource] + (byDisk.map { [$0] } ?? [])).map { "/dev/\($0)" }
  }

  private static func needsDisk(
    _ command: String, _ selection: Selection, _ volume: HostedVolume
  ) -> ConfigurationError {
    volume.needsDisk(command, selection.resource)
  }
}

extension HostedVolume {
  /// The refusal of a command that works on the backing device or its metadata, for a volume with `disk none`.
  public func needsDisk(_ command: String, _ resource: HostedResource) -> ConfigurationError {
    ConfigurationError(
      .invalid, "The \(command) command requires a local disk, but the configuration gives none",
      advice: "Volume \(resource.name)/\(number.value) has 'disk none' on this host")
  }
}
