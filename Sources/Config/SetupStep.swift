// The low-level commands that put a resource, a disk, a connection or a section of options into force, as `--dry-run` prints
// them: one line each, with all options (admin spec 4.1).

import Base

public struct SetupStep: Sendable, Equatable, CustomStringConvertible {
  public var words: [String]

  public init(_ words: [String]) { self.words = words }

  /// A line for a shell: characters that mean something to it stand behind a backslash.
  public var description: String {
    words.map { word in
      String(
        word.flatMap { character -> [Character] in
          let isPlain =
            character.isASCII && (character.isLetter || character.isNumber || "/._-:=,+@%[]".contains(character))
          return isPlain ? [character] : ["\\", character]
        })
    }.joined(separator: " ")
  }

  /// `--NAME=VALUE` for everything that is set.
  private static func flags(_ options: EffectiveOptions) -> [String] { options.all.map { "--\($0.name)=\($0.text)" } }

  // MARK: One object

  /// Nil for a volume without a disk.
  public static func attach(_ volume: HostedVolume) -> SetupStep? {
    guard let disk = volume.disk else { return nil }
    let place = [disk, volume.metaDiskPath ?? disk, volume.metaDisk.modeWord]
    return SetupStep(["replsetup", "attach", "\(volume.minor)"] + place + flags(volume.effective))
  }

  public static func detach(_ volume: HostedVolume) -> SetupStep {
    SetupStep(["replsetup", "detach", "\(volume.minor)"])
  }

  public static func newMinor(_ volume: HostedVolume, of resource: HostedResource) -> SetupStep {
    SetupStep(["replsetup", "new-minor", resource.name, "\(volume.minor)", "\(volume.number.value)"])
  }

  public static func delMinor(_ volume: HostedVolume) -> SetupStep {
    SetupStep(["replsetup", "del-minor", "\(volume.minor)"])
  }

  public static func connect(_ peer: HostedPeer, of resource: HostedResource) -> SetupStep {
    let addresses = [peer.ownAddress, peer.address].map { $0.description.replacing(" ", with: ":") }
    return SetupStep(["replsetup", "connect", resource.name, "\(peer.nodeID)"] + addresses + flags(peer.effective))
  }

  public static func disconnect(_ peer: HostedPeer, of resource: HostedResource) -> SetupStep {
    SetupStep(["replsetup", "disconnect", resource.name, "\(peer.nodeID)"])
  }

  // MARK: Options

  private static func options(
    _ section: OptionSection, _ object: [String], _ effective: EffectiveOptions
  ) -> SetupStep {
    SetupStep(["replsetup", section.commandName] + object + ["--set-defaults"] + flags(effective))
  }

  /// What `up` does, in order.
  public static func up(_ resource: HostedResource) -> [SetupStep] {
    var steps = [SetupStep(["repld", resource.name])]
    if !resource.effective.all.isEmpty { steps.append(options(.resource, [resource.name], resource.effective)) }
    for peer in resource.peers {
      for (volume, effective) in peerDevices(of: peer, in: resource) where !effective.all.isEmpty {
        steps.append(options(.peerDevice, [resource.name, "\(peer.nodeID)", "\(volume.value)"], effective))
      }
    }
    steps += resource.volumes.compactMap { attach($0) }
    steps += resource.peers.map { connect($0, of: resource) }
    return steps
  }

  /// The sections whose values differ, as the commands that take them over. A volume or peer that only one of the two has is
  /// none of this function's business.
  public static func changes(from old: HostedResource, to new: HostedResource) -> [SetupStep] {
    var steps: [SetupStep] = []
    if !old.effective.hasValues(of: new.effective) { steps.append(options(.resource, [new.name], new.effective)) }
    for volume in new.volumes where volume.disk != nil {
      guard let before = old.volume(volume.number), !before.effective.hasValues(of: volume.effective) else { continue }
      steps.append(options(.disk, ["\(volume.minor)"], volume.effective))
    }
    for peer in new.peers {
      guard let before = old.peer(named: peer.name) else { continue }
      let object = [new.name, "\(peer.nodeID)"]
      if !before.effective.hasValues(of: peer.effective) { steps.append(options(.net, object, peer.effective)) }
      for (volume, effective) in peerDevices(of: peer, in: new) {
        guard let earlier = before.effectiveResync[volume], !earlier.hasValues(of: effective) else { continue }
        steps.append(options(.peerDevice, object + ["\(volume.value)"], effective))
      }
    }
    return steps
  }

  private static func peerDevices(
    of peer: HostedPeer, in resource: HostedResource
  ) -> [(VolumeNumber, EffectiveOptions)] {
    resource.volumes.compactMap { volume in peer.effectiveResync[volume.number].map { (volume.number, $0) } }
  }
}

extension MetaDiskKey {
  /// As drbdmeta and drbdsetup are told where the metadata lie.
  public var modeWord: String {
    switch self {
    case .internal: "internal"
    case .external: "flex-external"
    case .indexed(_, let index): "\(index)"
    }
  }
}
