// The snapshot, taken between two events, and what must hold between any two.
import Base

extension Engine {
  public func snapshot() -> ResourceSnapshot {
    var all: [VolumeSnapshot] = []
    var peerRole = Role.unknown
    var connection = link.state
    for v in 0..<volumes.count {
      let state = volumes[v].state
      if state.peerRole == .primary || peerRole == .unknown { peerRole = state.peerRole }
      if state.conn >= .connected { connection = .connected }
      let left = volumes[v].outOfSync
      let resync = volumes[v].resync
      let verify = volumes[v].verify
      let syncing = resync.started != nil
      let verifying = verify.started != nil
      all.append(
        VolumeSnapshot(
          number: volumes[v].number, disk: state.disk, peerDisk: state.peerDisk, replication: state.conn,
          size: exportedSize(volumes[v].number), outOfSync: SectorCount(left * 8),
          resyncTotal: syncing ? resync.total : verify.total,
          resyncLeft: syncing ? left : verify.left, resyncStarted: resync.started ?? verify.started,
          resyncFailed: resync.failed, resyncSame: resync.same,
          verify: verifying
            ? VerifySnapshot(
              start: verify.start, stop: verify.stop, position: verify.start + (verify.total - verify.left) * 8,
              left: verify.left * 8, skipped: verify.skipped * 8) : nil,
          userPaused: state.userPaused, peerPaused: state.peerPaused, dependencyPaused: state.dependencyPaused,
          read: volumes[v].counters.read, written: volumes[v].counters.written, sent: volumes[v].counters.sent,
          received: volumes[v].counters.received, activityLogWrites: volumes[v].counters.activityLogWrites,
          bitmapWrites: volumes[v].counters.bitmapWrites, latencies: volumes[v].latencies,
          upperPending: volumes[v].requests.count,
          lowerPending: volumes[v].diskWork.count, pending: volumes[v].peer.pending.count,
          unacked: volumes[v].peer.unacked.count,
          current: volumes[v].generations.current, bitmap: volumes[v].generations.bitmap,
          history0: volumes[v].generations.history0, history1: volumes[v].generations.history1,
          metaFlags: volumes[v].isAttached ? volumes[v].backing.superblock.flags.rawValue : nil,
          wasDegraded: volumes[v].isAttached && volumes[v].backing.wasDegraded))
    }
    return ResourceSnapshot(
      role: role, connection: connection, peerRole: peerRole, wireProtocol: wireProtocol, isSuspended: isSuspended,
      isFrozen: fencing.isFrozen, volumes: all)
  }

  /// Why the connection was given up for good; nil: it was not.
  public var connectionRefusal: String? { link.refusedBecause }

  /// How the last connection ended: what the `disconnected` handler is told.
  public var lastLoss: ConnectionState { link.lastLoss }

  /// What must hold between two events.
  public func checkInvariants() {
    precondition(link.phase.isConnecting || (link.data == nil && link.meta == nil), "sockets without a connection")
    precondition(link.phase.isUp || (epochs.closed.isEmpty && epochs.sent == 0), "epochs without a connection")
    for v in 0..<volumes.count {
      let state = volumes[v].state
      precondition(state.role == role, "a volume with another role than its resource")
      var normal = state
      normal.normalise()
      precondition(normal == state, "a state that contradicts itself")
      volumes[v].peer.check(state)
      volumes[v].superblock.check()
      volumes[v].verify.check(state.conn)
      volumes[v].exchange.check(state.conn)
      precondition(
        volumes[v].ranges.count == 0 || !writes.isEmpty || !peerRequests.isEmpty || !volumes[v].resync.asked.isEmpty
          || !volumes[v].verify.asked.isEmpty, "a range in use that nobody uses")
    }
    checkWaits()
    checkCounts()
  }
}
