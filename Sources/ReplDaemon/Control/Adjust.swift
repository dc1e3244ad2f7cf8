// `adjust`: the configuration is read again and the running state made equal to it. What the engine fixed when it was made
// (sizes of tables, peers, options) changes only while nothing is attached and nothing connected; else the refusal says so.
import Base
import BlockIO
import Config
import Control
import Engine

extension Reactor {
  mutating func adjust(_ job: ControlConnection.Job, _ place: Int) {
    let fresh: HostedResource
    do throws(ConfigurationError) {
      let read = try Setup.read(resource: setup.hosted.name, configPath: setup.configPath, host: setup.host)
      fresh = read.hosted
      if let refusal = fresh.refusals.first { throw refusal }
      for notice in read.notices where !setup.hosted.notices.contains(notice) { journal.warning(notice.description) }
    } catch {
      refuse(
        ControlRefusal(
          "configuration refused", details: [error.text], next: "correct the file and repeat the command",
          exitCode: UInt8(clamping: error.exitCode)), place)
      return
    }
    let snapshot = engine.snapshot()
    let atRest =
      snapshot.connection == .standAlone && snapshot.role == .secondary
      && snapshot.volumes.allSatisfy { $0.disk == .diskless } && exports.users == 0 && peers.sockets.count == 0
    if needsRestart(from: setup.hosted, to: fresh, atRest: atRest) {
      let name = setup.hosted.name
      refuse(
        ControlRefusal(
          "the change needs a restart of the resource",
          why: "volumes, addresses, disks or options of \(name) differ from what runs",
          next: "repladm down \(name), then repladm up \(name)", exitCode: 10), place)
      return
    }
    if atRest, fresh != setup.hosted {
      engine = Engine(settings: ResourceSettings(fresh), random: Entropy.generator(), at: now)
      for volume in fresh.volumes { disks.move(volume.number, to: DiskTable.Place(volume)) }
    }
    handlers.commands = fresh.handlers
    handlers.volumes = fresh.volumes
    setup.hosted = fresh
    var steps: [EngineCommand] = []
    for volume in snapshot.volumes where volume.disk == .diskless && fresh.volume(volume.number)?.disk != nil {
      steps.append(.attach(volume.number))
    }
    if snapshot.connection == .standAlone, !fresh.peers.isEmpty { steps.append(.connect(discardMyData: false)) }
    run(steps, job, place)
  }

  private mutating func refuse(_ refusal: ControlRefusal, _ place: Int) {
    control.connections[place].put(ControlLines.line(.refused(refusal)))
    control.finish(place)
  }

  /// What cannot be taken over: sockets and exports live as long as the process, the rest as long as the engine.
  private func needsRestart(from old: HostedResource, to new: HostedResource, atRest: Bool) -> Bool {
    guard
      old.volumes.map(\.number) == new.volumes.map(\.number),
      old.peers.first?.ownAddress == new.peers.first?.ownAddress,
      old.peers.first?.address == new.peers.first?.address
    else { return true }
    if atRest { return false }
    return old.nodeID != new.nodeID || old.volumes != new.volumes || old.peers != new.peers
      || old.options != new.options
  }
}
