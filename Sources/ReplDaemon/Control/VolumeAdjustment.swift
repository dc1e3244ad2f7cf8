// Volumes that come and go by `adjust`: judged first, then the exports of the new ones listen, then the engine changes its table, and only
// then the file counts. Laws: a volume that a client uses is not removed; what is refused has changed nothing.
import Base
import BlockIO
import Config
import Control
import Engine

struct VolumeAdjustment {
  let plan: Adjustment
  let added: [HostedVolume]
  let removed: [HostedVolume]
  /// Who waits for the engine's answer.
  let to: ReplyTo
  var job: ControlConnection.Job
}

extension Reactor {
  mutating func changeVolumes(
    _ plan: Adjustment, _ job: ControlConnection.Job, _ place: Int
  ) throws(ControlRefusal) {
    let added = plan.added(to: setup.hosted)
    let removed = plan.removed(from: setup.hosted)
    if let refusal = standsAgainst(removing: removed, all: plan.fresh.volumes.count) { throw refusal }
    try listen(for: added)
    allowFiles(volumes: plan.fresh.volumes.count)
    changing = VolumeAdjustment(
      plan: plan, added: added, removed: removed, to: control.replyTo(place), job: job)
    let attaches = plan.steps.contains { if case .attach = $0 { true } else { false } }
    run([.changeVolumes(ResourceSettings(plan.fresh).volumes, thenAttach: attaches)], job, place)
  }

  /// `new-minor` and `del-minor`: the file's word on one volume, and on nothing else. `minor` nil: it has gone there.
  mutating func adjustVolume(_ number: VolumeNumber, minor: UInt32?, _ job: ControlConnection.Job, _ place: Int) {
    do throws(ControlRefusal) {
      let file = try readFile().hosted
      if let refusal = standsAgainst(number, minor, file) { throw refusal }
      var fresh = setup.hosted
      fresh.volumes = fresh.volumes.filter { $0.number != number } + file.volumes.filter { $0.number == number }
      fresh.volumes.sort { $0.number < $1.number }
      for i in fresh.peers.indices {
        guard let peer = file.peer(named: fresh.peers[i].name) else { continue }
        fresh.peers[i].resync[number] = peer.resync[number]
        fresh.peers[i].effectiveResync[number] = peer.effectiveResync[number]
        if peer.diskful.contains(number) {
          fresh.peers[i].diskful.insert(number)
        } else {
          fresh.peers[i].diskful.remove(number)
        }
      }
      var plan = Adjustment(fresh: fresh, steps: [], notices: [], globals: setup.globals)
      plan.keepsOptions = true
      guard plan.changesVolumes(of: setup.hosted) else { return reply(.done, place) }
      try changeVolumes(plan, job, place)
    } catch { refuse(error, place) }
  }

  private func standsAgainst(_ number: VolumeNumber, _ minor: UInt32?, _ file: HostedResource) -> ControlRefusal? {
    let name = file.name
    if let minor {
      let known = (setup.hosted.volume(number) ?? file.volume(number))?.minor
      if known == Int(minor) { return nil }
      return ControlRefusal(
        .invalidRequest, why: "volume \(number.value) with the minor \(minor) is not in the configuration of \(name)",
        next: "write it into the file, then type repladm adjust \(name)", exitCode: 10)
    }
    if file.volume(number) != nil {
      return ControlRefusal(
        .invalidRequest, why: "\(name)/\(number.value) is in the configuration",
        next: "remove the volume from the file, then repeat the command", exitCode: 10)
    }
    let disk = engine.snapshot().volumes.first { $0.number == number }?.disk
    guard let disk, disk != .diskless else { return nil }
    return ControlRefusal(
      .invalidRequest, why: "\(name)/\(number.value) has its disk attached (\(disk.name))",
      next: "detach it first, or use repladm adjust \(name), which does both", exitCode: 10)
  }

  private func standsAgainst(removing removed: [HostedVolume], all: Int) -> ControlRefusal? {
    let name = setup.hosted.name
    if changing != nil {
      return ControlRefusal(
        .inTransientState, why: "another adjust changes the volumes of \(name)", next: "repeat the command in a moment")
    }
    for volume in removed {
      let users = exports.userNames(of: volume.number)
      if !users.isEmpty {
        return ControlRefusal(
          .deviceInUse, details: users,
          next:
            "\(name)/\(volume.number.value) is gone in the file: unmount it or end the program that uses it, then repeat "
            + "the command")
      }
      if exports.entrances.isExportedOverTCP(volume.number) {
        return ControlRefusal(
          "the change needs a restart of the resource",
          why: "repld was started with --nbd-tcp for \(name)/\(volume.number.value), which is gone in the file",
          next: "start repld without it: repladm down \(name), then repladm up \(name)", exitCode: 10)
      }
    }
    if !exports.hasPlaces(volumes: all) {
      return ControlRefusal(
        "the change needs a restart of the resource",
        why: "repld was started with fewer volumes, and has no room for the clients of \(all)",
        next: "repladm down \(name), then repladm up \(name)", exitCode: 10)
    }
    return nil
  }

  private mutating func listen(for added: [HostedVolume]) throws(ControlRefusal) {
    for (i, volume) in added.enumerated() {
      do throws(SocketRefusal) {
        try exports.add(volume.number, socket: setup.files.exportSocket(setup.hosted.name, volume.number), &ring)
      } catch {
        for one in added[..<i] { exports.remove(one.number, &ring) }
        throw ControlRefusal(
          "\(setup.hosted.name)/\(volume.number.value) was not added", why: error.text,
          next: "correct that, then repeat the command", exitCode: 20)
      }
    }
  }

  private func allowFiles(volumes: Int) {
    let needed = Daemon.filesNeeded(volumes: volumes, overTCP: 0, clients: exports.connections.capacity)
    let allowed = OpenFiles.allow(needed)
    if allowed < needed {
      journal.warning(
        "\(allowed) files may be open at once, and \(needed) are needed with \(volumes) volumes: set LimitNOFILE=\(needed) in the "
          + "unit, or raise 'ulimit -n'")
    }
  }

  /// The engine's answer. False: it belongs to another command.
  mutating func volumesChanged(_ to: ReplyTo, _ outcome: Outcome) -> Bool {
    guard let change = changing, change.to == to else { return false }
    changing = nil
    let place = control.place(of: to)
    if case .refused(let refusal) = outcome {
      for one in change.added { exports.remove(one.number, &ring) }
      if let place { refuse(ControlRefusal(refusal), place) }
      return true
    }
    for one in change.removed {
      disks.remove(one.number)
      exports.remove(one.number, &ring)
    }
    for one in change.added { disks.add(DiskTable.Place(one)) }
    peers.serve(volumes: change.plan.fresh.volumes.count)
    adopt(change.plan)
    // The program may have left: it types the command again, and the disks follow.
    if let place { run(change.plan.steps, change.job, place) }
    return true
  }
}
