// `disk-options`, `net-options`, `resource-options`, `peer-device-options`: options of one section changed while the resource runs.
// Law: nothing but that section is taken over; what both nodes have to agree on is agreed on anew, as adjust does it.
import Base
import Config
import Control
import Engine

extension Reactor {
  mutating func changeOptions(
    _ command: String, _ volume: VolumeNumber?, _ settings: [String], setDefaults: Bool, _ job: ControlConnection.Job,
    _ place: Int
  ) {
    let sections: [OptionSection] = [.disk, .peerDevice, .net, .resource]
    guard let section = sections.first(where: { $0.commandName == command }) else {
      return refuse(.notUnderstood("there are no options called \(command)"), place)
    }
    if let refusal = standsAgainst(section, volume) { return refuse(refusal, place) }
    let changed: (overrides: [OptionOverride], named: Set<String>, hosted: HostedResource)
    do throws(ConfigurationError) {
      changed = try overridden(section, volume, settings, setDefaults: setDefaults)
      if let refusal = changed.hosted.refusals.first { throw refusal }
    } catch {
      refuse(
        ControlRefusal(
          .invalidRequest, details: [error.text], next: "correct the option or the file and repeat the command",
          exitCode: UInt8(clamping: error.exitCode)), place)
      return
    }
    if section == .disk, let refusal = cutsOff(changed.hosted) { return refuse(refusal, place) }
    setup.overrides = changed.overrides
    let steps: [EngineCommand] =
      mustReconnect(to: changed.hosted)
      ? [.disconnect(force: false), .connect(discardMyData: false)] : [.announceOptions]
    let net: NetAdoption =
      section == .net ? .taken(except: setDefaults ? [] : unnamed(in: changed.named)) : .kept
    take(changed.hosted, steps, net: net, job, place)
  }

  /// What the peer has announced stays, where nobody names it here.
  private func unnamed(in named: Set<String>) -> AnnouncedOptions {
    let options: [(String, AnnouncedOptions)] = [
      ("protocol", .wireProtocol), ("after-sb-0pri", .afterSplitBrain0), ("after-sb-1pri", .afterSplitBrain1),
      ("after-sb-2pri", .afterSplitBrain2),
    ]
    return options.reduce(into: []) { kept, option in
      if !named.contains(option.0) { kept.insert(option.1) }
    }
  }

  private func standsAgainst(_ section: OptionSection, _ volume: VolumeNumber?) -> ControlRefusal? {
    if let volume, setup.hosted.volume(volume) == nil {
      return ControlRefusal(
        .unknownMinor, why: "\(setup.hosted.name) has no volume \(volume.value)",
        next: "see repladm dump \(setup.hosted.name)")
    }
    guard section == .disk else { return nil }
    let diskless = engine.snapshot().volumes.first { (volume == nil || $0.number == volume) && $0.disk == .diskless }
    guard let diskless else { return nil }
    let name = "\(setup.hosted.name)/\(diskless.number.value)"
    return ControlRefusal(.noDisk, why: "\(name) is Diskless", next: "repladm attach \(name)")
  }

  /// The options that were changed at run time then, and the resource with this section as it is then.
  private func overridden(
    _ section: OptionSection, _ volume: VolumeNumber?, _ settings: [String], setDefaults: Bool
  ) throws(ConfigurationError) -> ([OptionOverride], Set<String>, HostedResource) {
    var overrides = setup.overrides
    var named: Set<String> = []
    if setDefaults { overrides.removeAll { $0.setting.definition.section == section && $0.volume == volume } }
    for text in settings {
      let new = try OptionOverride(text, of: section, volume: volume)
      overrides.removeAll { $0.setting.definition == new.setting.definition && $0.volume == volume }
      overrides.append(new)
      named.insert(new.setting.definition.name)
    }
    let fresh = try Setup.read(
      resource: setup.hosted.name, configPath: setup.configPath, host: setup.host, overrides: overrides
    ).hosted
    var result = setup.hosted
    result.refusals = fresh.refusals
    switch section {
    case .resource:
      result.options = fresh.options
      result.effective = fresh.effective
    case .disk:
      for i in result.volumes.indices {
        guard let new = fresh.volume(result.volumes[i].number) else { continue }
        result.volumes[i].options = new.options
        result.volumes[i].effective = new.effective
      }
    case .net, .peerDevice:
      for i in result.peers.indices {
        guard let new = fresh.peer(named: result.peers[i].name) else { continue }
        if section == .net {
          result.peers[i].net = new.net
          result.peers[i].effective = new.effective
        } else {
          result.peers[i].resync = new.resync
          result.peers[i].effectiveResync = new.effectiveResync
        }
      }
    default: preconditionFailure("\(section.rawValue) is not changed at run time")
    }
    return (overrides, named, result)
  }
}
