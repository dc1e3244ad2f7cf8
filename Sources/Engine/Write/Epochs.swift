// Epochs (wire spec 7.4). An epoch is the set of writes between two barriers, over all volumes of the connection. The
// counter is never reset while the engine lives: not by a reconnect, and writes that were not replicated count too.
import Base

/// Our writes, as the peer will acknowledge them.
struct SenderEpochs: ~Copyable {
  struct Open {
    var number: UInt32
    var writes: Int
    var packets: UInt32
  }
  /// Number of the epoch that takes new writes.
  var current: UInt32 = 0
  /// Writes and write packets sent in it.
  var writes = 0
  var sent: UInt32 = 0
  /// Not replicated writes were tagged with it.
  var unreplicated = false
  /// Closed by a P_BARRIER, not acknowledged; oldest first.
  var closed = Queue<Open>(capacity: 64)
  /// Replicated writes whose epoch is not acknowledged, in the order they were sent.
  var log = Queue<SlotID>(capacity: 4096)
  /// When the last write went out; a barrier follows when nothing else does.
  var lastWrite: Instant?
  /// When the peer last made progress on what it owes us.
  var lastProgress: Instant?

  /// Epochs up to and including this number are acknowledged (modulo 2^32 order is not needed: compared by distance).
  func isAcknowledged(_ epoch: UInt32) -> Bool {
    if let oldest = closed.first { return Int32(bitPattern: epoch &- oldest.number) < 0 }
    return sent == 0 || Int32(bitPattern: epoch &- current) < 0
  }
}

/// The peer's writes, as we have to acknowledge them.
struct ReceiverEpochs: ~Copyable {
  enum Item {
    case write(SlotID)
    case read(SlotID)
    case barrier(handle: UInt32, count: UInt32)
  }
  /// Write packets since the last barrier.
  var received: UInt32 = 0
  /// Writes of the running epoch that are not complete.
  var active = 0
  /// The barrier that waits for them, or for the flush.
  var barrier: (handle: UInt32, count: UInt32)?
  var flushing = 0
  /// Which volumes have writes since their last flush.
  var unflushed: UInt64 = 0
  /// Arrived behind the barrier.
  var waiting = Queue<Item>(capacity: 64)
  /// `advanceInbound` is under way.
  var isAdvancing = false
}
