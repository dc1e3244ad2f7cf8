// How much an engine keeps on behalf of others, for the law that no peer makes it grow without end.
import Base

extension Engine {
  /// Entries in all queues and tables that a peer or an application can fill.
  public var footprint: Int {
    var sum = entrance.count + digests.count + waits.all.count
    sum += epochs.closed.count + epochs.log.count + inbound.waiting.count
    sum += writes.count + reads.count + flushes.count + peerRequests.count
    for v in 0..<volumes.count {
      sum += volumes[v].parked.count + volumes[v].held.count
      sum += volumes[v].gate.exchanging.count + volumes[v].gate.starved.count + volumes[v].gate.ready.count
      sum += volumes[v].verify.asked.count + volumes[v].resync.asked.count
    }
    return sum
  }
}
