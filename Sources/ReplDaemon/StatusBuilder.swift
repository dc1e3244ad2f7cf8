// From the engine's snapshot and the configuration to what `status` shows. Sectors become KiB, numbers get their names.
import Base
import Config
import Control
import Engine

/// Two samples of each resync under way, for the recent rate: DRBD's marks, three seconds apart at least.
struct ResyncMarks: Sendable {
  struct Mark: Sendable {
    var at: Instant
    var left: UInt64
  }
  struct Pair: Sendable {
    var started: Instant
    var older: Mark
    var newer: Mark
  }
  private var pairs: [VolumeNumber: Pair] = [:]
  private static let spacing = Interval.seconds(3)

  /// Milliseconds and blocks done since each mark.
  mutating func sample(
    _ volume: VolumeSnapshot, at now: Instant
  ) -> (older: ResyncStatus.Mark, newer: ResyncStatus.Mark)? {
    guard let started = volume.resyncStarted else {
      pairs[volume.number] = nil
      return nil
    }
    let beginning = Mark(at: started, left: volume.resyncTotal)
    var pair = pairs[volume.number] ?? Pair(started: started, older: beginning, newer: beginning)
    if pair.started != started { pair = Pair(started: started, older: beginning, newer: beginning) }
    func since(_ mark: Mark) -> ResyncStatus.Mark {
      ResyncStatus.Mark(
        milliseconds: (now - mark.at).nanoseconds / 1_000_000,
        sectors: (mark.left > volume.resyncLeft ? mark.left - volume.resyncLeft : 0) * 8)
    }
    let result = (older: since(pair.older), newer: since(pair.newer))
    if now - pair.newer.at >= ResyncMarks.spacing {
      pair.older = pair.newer
      pair.newer = Mark(at: now, left: volume.resyncLeft)
    }
    pairs[volume.number] = pair
    return result
  }
}

extension Reactor {
  mutating func status() -> StatusSnapshot {
    let snapshot = engine.snapshot()
    let hosted = setup.hosted
    var status = StatusSnapshot(name: hosted.name, nodeID: hosted.nodeID, role: snapshot.role)
    status.suspendedByUser = snapshot.isSuspended
    status.suspendedFencing = snapshot.isFrozen
    for volume in snapshot.volumes { status.devices.append(device(volume, hosted)) }
    if let peer = hosted.peers.first {
      var connection = ConnectionStatus(
        name: peer.name, peerNodeID: peer.nodeID, state: snapshot.connection, peerRole: snapshot.peerRole)
      connection.refusedBecause = engine.connectionRefusal
      connection.cannotListen = peers.listenRefusal?.text
      connection.protocolLetter = snapshot.wireProtocol.letter
      connection.paths = peer.paths.enumerated().map { index, path in
        // The first one is used, the others are not built yet.
        PathStatus(
          local: path.own.eventWord, peer: path.peer.eventWord,
          isEstablished: index == 0 && snapshot.connection >= .connected)
      }
      for volume in snapshot.volumes { connection.peerDevices.append(peerDevice(volume, peer)) }
      status.connections.append(connection)
    }
    return status
  }

  private func device(_ volume: VolumeSnapshot, _ hosted: HostedResource) -> DeviceStatus {
    let configured = hosted.volume(volume.number)
    var device = DeviceStatus(
      volume: volume.number, minor: UInt32(clamping: configured?.minor ?? 0), disk: volume.disk)
    device.isClient = configured != nil && configured?.disk == nil
    device.isOpen = exports.users(of: volume.number) > 0
    device.backingDevice = volume.disk > .attaching ? configured?.disk ?? "" : ""
    device.size = volume.size.value / 2
    device.read = volume.read / 2
    device.written = volume.written / 2
    device.activityLogWrites = volume.activityLogWrites
    device.bitmapWrites = volume.bitmapWrites
    device.upperPending = UInt64(volume.upperPending)
    device.lowerPending = UInt64(volume.lowerPending)
    device.devicePaths = configured.map { ShellValues.devicePaths(of: $0, in: hosted, globals: setup.globals) }
    device.wasDegraded = volume.wasDegraded
    device.latencies = volume.latencies.table
    return device
  }

  private mutating func peerDevice(_ volume: VolumeSnapshot, _ peer: HostedPeer) -> PeerDeviceStatus {
    var device = PeerDeviceStatus(volume: volume.number, replication: volume.replication, peerDisk: volume.peerDisk)
    device.isPeerClient = !peer.diskful.contains(volume.number)
    device.resyncSuspendedByUser = volume.userPaused
    device.resyncSuspendedByPeer = volume.peerPaused
    device.resyncSuspendedByDependency = volume.dependencyPaused
    device.received = volume.received / 2
    device.sent = volume.sent / 2
    device.outOfSync = volume.outOfSync.value / 2
    device.pending = UInt64(volume.pending)
    device.unacked = UInt64(volume.unacked)
    if let recent = marks.sample(volume, at: now), let started = volume.resyncStarted {
      var resync = ResyncStatus(totalSectors: volume.resyncTotal * 8)
      resync.elapsedMilliseconds = (now - started).nanoseconds / 1_000_000
      resync.olderMark = recent.older
      resync.newerMark = recent.newer
      resync.failedSectors = volume.resyncFailed * 8
      resync.sameChecksumSectors = volume.resyncSame * 8
      resync.verify = volume.verify.map {
        ResyncStatus.VerifyStatus(
          start: $0.start, stop: $0.stop < volume.size.value ? $0.stop : nil, position: $0.position, left: $0.left,
          skipped: $0.skipped)
      }
      device.resync = resync
    }
    return device
  }
}

extension HostAddress {
  /// `ipv4:10.0.0.1:7789`, as paths are written on the event stream.
  fileprivate var eventWord: String { description.replacing(" ", with: ":", maxReplacements: 1) }
}
