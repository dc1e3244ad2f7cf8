// The counts that flows keep on their way, worked out anew from the tables of requests: between two events both are equal. Looked at
// by `checkInvariants`, that is in debug builds, in tests and in simulated lives.
import Base

/// What the tables say of one volume.
private struct Recount {
  var requests = 0
  var pending = 0
  var unacked = 0
  var writesForDisk = 0
  /// Blocks of the running resync.
  var blocks = 0
  /// At least so many operations are on their way to the disk.
  var diskWork = 0
}

extension Engine {
  func checkCounts() {
    var all = [Recount](repeating: Recount(), count: volumes.count)
    countWrites(&all)
    countReads(&all)
    countFlushes(&all)
    countPeerRequests(&all)
    for v in 0..<volumes.count {
      precondition(volumes[v].requests.count == all[v].requests, "requests of the application that are in no table")
      precondition(volumes[v].peer.pending.count == all[v].pending, "the peer owes another number of answers")
      // Without its data socket a request is dropped unanswered, and forgotten with the connection.
      precondition(
        link.data == nil || volumes[v].peer.unacked.count == all[v].unacked, "another number of the peer's requests")
      precondition(volumes[v].writesForDisk.count == all[v].writesForDisk, "another number of writes for this disk")
      volumes[v].resync.check(volumes[v].state.conn, arrived: all[v].blocks)
      precondition(volumes[v].diskWork.count >= all[v].diskWork, "disk work that was not counted")
    }
    checkEpochs()
  }

  private func countWrites(_ all: inout [Recount]) {
    var (at, left) = (0, writes.count)
    while left > 0, let id = writes.next(from: at) {
      (at, left) = (id.index + 1, left - 1)
      let v = writes[id].volume
      if !writes[id].answered { all[v].requests += 1 }
      if writes[id].legs.contains(.peer) { all[v].pending += 1 }
      if writes[id].legs.contains(.disk) { all[v].diskWork += 1 }
      precondition(writes[id].launched || writes[id].legs.isEmpty, "legs of a write that has not been launched")
    }
  }

  private func countReads(_ all: inout [Recount]) {
    var (at, left) = (0, reads.count)
    while left > 0, let id = reads.next(from: at) {
      (at, left) = (id.index + 1, left - 1)
      let v = reads[id].volume
      all[v].requests += 1
      if reads[id].remote { all[v].pending += 1 } else { all[v].diskWork += 1 }
    }
  }

  private func countFlushes(_ all: inout [Recount]) {
    var (at, left) = (0, flushes.count)
    while left > 0, let id = flushes.next(from: at) {
      (at, left) = (id.index + 1, left - 1)
      all[flushes[id].volume].requests += 1
      if flushes[id].diskPending { all[flushes[id].volume].diskWork += 1 }
    }
  }

  private func countPeerRequests(_ all: inout [Recount]) {
    var (at, left) = (0, peerRequests.count)
    while left > 0, let id = peerRequests.next(from: at) {
      (at, left) = (id.index + 1, left - 1)
      let request = peerRequests[id]
      let v = request.volume
      if request.needsThisDisk { all[v].writesForDisk += 1 }
      if request.kind == .resyncWrite || request.kind == .resyncZero, isOfRunningResync(request) { all[v].blocks += 1 }
      if request.connection == link.generation, !request.isAnswered, request.kind.isOwedToPeer { all[v].unacked += 1 }
    }
    for id in digests.keys {
      precondition(peerRequests.contains(SlotID(raw: id)), "a digest of a request that is not under way")
    }
  }

  /// The transfer log holds the writes of every epoch that is not acknowledged, and no other.
  private func checkEpochs() {
    var writes = epochs.writes
    for i in 0..<epochs.closed.count { writes += epochs.closed[i].writes }
    precondition(epochs.log.count == writes, "writes in the transfer log that are in no epoch")
    precondition(epochs.sent > 0 || epochs.writes == 0, "an epoch of writes that were not sent")
    inbound.check()
  }
}

extension PeerRequest.Kind {
  /// The peer has asked, and waits for this node; the others are blocks that this node has asked for.
  fileprivate var isOwedToPeer: Bool {
    switch self {
    case .write, .read, .resyncRead, .checksumRead, .thinRead, .verifyRead: true
    case .verifyCompare, .resyncWrite, .resyncZero: false
    }
  }
}
