// `adjust`: the configuration is read again and the running state made equal to it: options are taken over as they are,
// disks that lie elsewhere now are detached and attached, volumes come and go (VolumeAdjustment), and what both nodes have to agree on
// is agreed on anew. What lives as long as the process is refused with the way out.
import Base
import BlockIO
import Config
import Control
import Engine

/// What `adjust` would do: decided before anything is changed.
struct Adjustment {
  var fresh: HostedResource
  /// When the engine has these volumes.
  var steps: [EngineCommand]
  var notices: [ConfigurationNotice]
  var globals: GlobalOptions
  /// Options that were changed at run time stay so.
  var keepsOptions = false
  /// Nil: the connection stays as it is.
  var addresses: (own: SocketAddress, peer: SocketAddress)?

  func added(to old: HostedResource) -> [HostedVolume] { fresh.volumes.filter { old.volume($0.number) == nil } }
  func removed(from old: HostedResource) -> [HostedVolume] { old.volumes.filter { fresh.volume($0.number) == nil } }
  func changesVolumes(of old: HostedResource) -> Bool { !added(to: old).isEmpty || !removed(from: old).isEmpty }
}

extension Reactor {
  mutating func adjust(
    _ job: ControlConnection.Job, _ place: Int, skipDisk: Bool = false, skipNet: Bool = false,
    discardMyData: Bool = false
  ) {
    do throws(ControlRefusal) {
      let plan = try adjustment(skipDisk: skipDisk, skipNet: skipNet, discardMyData: discardMyData)
      for notice in plan.notices where !setup.hosted.notices.contains(notice) { journal.warning(notice.description) }
      if plan.changesVolumes(of: setup.hosted) { return try changeVolumes(plan, job, place) }
      adopt(plan)
      run(plan.steps, job, place)
    } catch { refuse(error, place) }
  }

  mutating func adopt(_ plan: Adjustment) {
    if !plan.keepsOptions { setup.overrides = [] }
    setup.globals = plan.globals
    if let addresses = plan.addresses { peers.move(own: addresses.own, peer: addresses.peer) }
    adopt(plan.fresh)
  }

  /// The same without doing it: what would be done, as the low-level commands that stand for it.
  mutating func planAdjust(_ place: Int, skipDisk: Bool, skipNet: Bool) {
    do throws(ControlRefusal) {
      let plan = try adjustment(skipDisk: skipDisk, skipNet: skipNet, discardMyData: false)
      var before: [SetupStep] = []
      var after: [SetupStep] = []
      for volume in plan.removed(from: setup.hosted) { before += [.detach(volume), .delMinor(volume)] }
      for volume in plan.fresh.volumes {
        let old = setup.hosted.volume(volume.number)
        if let old, old.minor != volume.minor { before.append(.delMinor(old)) }
        if old?.minor != volume.minor { after.append(.newMinor(volume, of: plan.fresh)) }
      }
      for step in plan.steps {
        switch step {
        case .detach(let number, _): before += setup.hosted.volume(number).map { [.detach($0)] } ?? []
        case .disconnect: before += setup.hosted.peers.map { .disconnect($0, of: setup.hosted) }
        case .attach(let number): after += plan.fresh.volume(number).flatMap { .attach($0) }.map { [$0] } ?? []
        case .connect: after += plan.fresh.peers.map { .connect($0, of: plan.fresh) }
        default: break
        }
      }
      let lines = before + SetupStep.changes(from: setup.hosted, to: plan.fresh) + after
      reply(lines.isEmpty ? .done : .text(lines.map(\.description).joined(separator: "\n")), place)
    } catch { refuse(error, place) }
  }

  private func adjustment(
    skipDisk: Bool, skipNet: Bool, discardMyData: Bool
  ) throws(ControlRefusal) -> Adjustment {
    let read = try readFile()
    if let refusal = cutsOff(read.hosted) { throw refusal }
    let addresses: (own: SocketAddress, peer: SocketAddress)
    do throws(StartRefusal) { addresses = try Daemon.addresses(read.hosted) } catch {
      throw ControlRefusal(
        "configuration refused", details: [error.text], next: "correct the file and repeat the command",
        exitCode: UInt8(clamping: error.exitCode))
    }
    let steps = steps(to: read.hosted, discardMyData: discardMyData).filter { step in
      switch step {
      case .attach, .detach: !skipDisk
      case .connect, .disconnect: !skipNet
      default: true
      }
    }
    return Adjustment(
      fresh: read.hosted, steps: steps, notices: read.notices, globals: read.globals,
      addresses: skipNet ? nil : addresses)
  }

  func readFile() throws(ControlRefusal) -> (
    hosted: HostedResource, globals: GlobalOptions, notices: [ConfigurationNotice]
  ) {
    let read: (mainFile: String, hosted: HostedResource, globals: GlobalOptions, notices: [ConfigurationNotice])
    do throws(ConfigurationError) {
      read = try Setup.read(resource: setup.hosted.name, configPath: setup.configPath, host: setup.host)
      if let refusal = read.hosted.refusals.first { throw refusal }
    } catch {
      throw ControlRefusal(
        "configuration refused", details: [error.text], next: "correct the file and repeat the command",
        exitCode: UInt8(clamping: error.exitCode))
    }
    if let refusal = needsRestart(from: setup.hosted, to: read.hosted) { throw refusal }
    return (read.hosted, read.globals, read.notices)
  }

  /// No option makes a volume smaller that holds data.
  func cutsOff(_ fresh: HostedResource) -> ControlRefusal? {
    for volume in engine.snapshot().volumes where volume.disk >= .outdated && volume.disk != .unknown {
      guard let limit = fresh.volume(volume.number)?.options.size, limit > .zero, limit < volume.size else { continue }
      return ControlRefusal(
        "`disk { size }` would make a volume smaller",
        why: "size is \(limit.bytes >> 10) KiB in the configuration, and \(fresh.name)/\(volume.number.value) has "
          + "\(volume.size.bytes >> 10) KiB of data",
        next: "raise size, or leave it out, and repeat the command", exitCode: 10)
    }
    return nil
  }

  /// From here on this is what counts.
  mutating func take(
    _ fresh: HostedResource, _ steps: [EngineCommand], net: NetAdoption = .taken(except: []),
    _ job: ControlConnection.Job, _ place: Int
  ) {
    adopt(fresh, net: net)
    run(steps, job, place)
  }

  private mutating func adopt(_ fresh: HostedResource, net: NetAdoption = .taken(except: [])) {
    engine.adopt(ResourceSettings(fresh), net: net)
    for volume in fresh.volumes { disks.move(volume.number, to: DiskTable.Place(volume)) }
    if let net = fresh.peers.first?.net {
      peers.options = SocketOptions(sendBuffer: net.sndbufSize, receiveBuffer: net.rcvbufSize)
      peers.patience = net.connectInt
    }
    handlers.resource = fresh
    setup.hosted = fresh
    stateMoved = true
  }

  /// What has to be detached, attached and connected anew, in DRBD's order.
  private func steps(to fresh: HostedResource, discardMyData: Bool) -> [EngineCommand] {
    let snapshot = engine.snapshot()
    var steps: [EngineCommand] = []
    var attaches: [EngineCommand] = []
    for volume in fresh.volumes where setup.hosted.volume(volume.number) == nil && volume.disk != nil {
      attaches.append(.attach(volume.number))
    }
    for volume in snapshot.volumes {
      guard let configured = fresh.volume(volume.number) else { continue }
      let place = DiskTable.Place(configured)
      let isElsewhere = place != disks.place(volume.number)
      if volume.disk != .diskless, isElsewhere { steps.append(.detach(volume.number, force: false)) }
      if configured.disk != nil, volume.disk == .diskless || isElsewhere { attaches.append(.attach(volume.number)) }
    }
    let isDown = snapshot.connection == .standAlone
    // Volumes that come or go take a connection of their own already.
    let hasOtherVolumes = setup.hosted.volumes.map(\.number) != fresh.volumes.map(\.number)
    let reconnects = !hasOtherVolumes && mustReconnect(to: fresh)
    if reconnects { steps.append(.disconnect(force: false)) }
    steps += attaches
    if !fresh.peers.isEmpty, isDown || reconnects { steps.append(.connect(discardMyData: discardMyData)) }
    if !isDown, !reconnects { steps.append(.announceOptions) }
    return steps
  }

  func mustReconnect(to fresh: HostedResource) -> Bool {
    let (old, new) = (setup.hosted.peers.first, fresh.peers.first)
    if engine.snapshot().connection == .standAlone { return false }
    return old?.ownAddress != new?.ownAddress || old?.address != new?.address || mustAgreeAnew(old?.net, new?.net)
  }

  /// Options that count from the next connection on: those of the sockets and of the handshake. The others that both
  /// nodes compare can be told to a connected peer, as far as the engine can change them under way.
  private func mustAgreeAnew(_ old: NetOptions?, _ new: NetOptions?) -> Bool {
    guard let old, let new else { return old != new }
    if old.cramHmacAlg != new.cramHmacAlg || old.sharedSecret != new.sharedSecret || old.sndbufSize != new.sndbufSize
      || old.rcvbufSize != new.rcvbufSize
    {
      return true
    }
    let told =
      old.wireProtocol != new.wireProtocol || old.dataIntegrityAlg != new.dataIntegrityAlg
      || old.afterSb0 != new.afterSb0 || old.afterSb1 != new.afterSb1 || old.afterSb2 != new.afterSb2
      || old.verifyAlg != new.verifyAlg || old.csumsAlg != new.csumsAlg
    return told && !engine.canAnnounce(NetSettings(new))
  }

  mutating func refuse(_ refusal: ControlRefusal, _ place: Int) {
    control.connections[place].put(ControlLines.line(.refused(refusal)))
    control.finish(place)
  }

  /// What lives as long as the process: the node's place in the metadata.
  private func needsRestart(from old: HostedResource, to new: HostedResource) -> ControlRefusal? {
    let name = old.name
    let restart = "repladm down \(name), then repladm up \(name)"
    func refusal(_ why: String, _ next: String) -> ControlRefusal {
      ControlRefusal("the change needs a restart of the resource", why: why, next: next, exitCode: 10)
    }
    let ids = [old.nodeID] + old.peers.map(\.nodeID)
    if ids == [new.nodeID] + new.peers.map(\.nodeID) { return nil }
    guard let peer = old.peers.first, new.peers.count == old.peers.count else {
      return refusal("the file has other hosts for \(name) than those that run", restart)
    }
    return refusal(
      "the file gives this node another node id than \(old.nodeID); without node-id lines the ids follow from the addresses",
      "to keep the ids: write 'node-id \(old.nodeID);' for \(old.host) and 'node-id \(peer.nodeID);' for \(peer.name), "
        + "then repladm adjust \(name)")
  }
}
