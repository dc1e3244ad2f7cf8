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
  private(set) var current: UInt32 = 0
  /// Writes and write packets sent in it.
  private(set) var writes = 0
  private(set) var sent: UInt32 = 0
  /// Not replicated writes were tagged with it.
  private var unreplicated = false
  /// Closed by a P_BARRIER, not acknowledged; oldest first.
  private(set) var closed = Queue<Open>(capacity: 64)
  /// Replicated writes whose epoch is not acknowledged, in the order they were sent.
  private(set) var log = Queue<SlotID>(capacity: 4096)
  /// When the last write went out; a barrier follows when nothing else does.
  private(set) var lastWrite: Instant?
  /// When the peer last made progress on what it owes us.
  private(set) var lastProgress: Instant?

  /// Epochs up to and including this number are acknowledged (modulo 2^32 order is not needed: compared by distance).
  func isAcknowledged(_ epoch: UInt32) -> Bool {
    if let oldest = closed.first { return Int32(bitPattern: epoch &- oldest.number) < 0 }
    return sent == 0 || Int32(bitPattern: epoch &- current) < 0
  }

  /// One packet of a write goes out in the running epoch.
  mutating func send() { sent += 1 }

  /// All packets of this write have been sent; returns its epoch.
  mutating func add(_ id: SlotID, at now: Instant) -> UInt32 {
    precondition(sent > 0, "a write in an epoch without packets")
    writes += 1
    log.append(id)
    lastWrite = now
    if lastProgress == nil { lastProgress = now }
    return current
  }

  /// A write that the peer does not get belongs to the running epoch, too.
  mutating func addUnreplicated() { unreplicated = true }

  /// nil: it has no writes. `isSent`: the peer has to hear of it.
  mutating func close() -> (number: UInt32, isSent: Bool)? {
    let (number, isSent) = (current, sent > 0)
    guard isSent || unreplicated else { return nil }
    if isSent { closed.append(.init(number: number, writes: writes, packets: sent)) }
    begin(number &+ 1)
    return (number, isSent)
  }

  private mutating func begin(_ number: UInt32) {
    current = number
    writes = 0
    sent = 0
    unreplicated = false
    lastWrite = nil
  }

  /// P_BARRIER_ACK: the oldest epoch; its writes are taken out of the log one by one.
  mutating func acknowledge(at now: Instant) {
    guard closed.popFirst() != nil else { preconditionFailure("an epoch is acknowledged that was not closed") }
    lastProgress = now
  }
  mutating func takeOldest() -> SlotID? { log.popFirst() }
  mutating func progress(at now: Instant) { lastProgress = now }
  mutating func restIfNothingIsOwed() { if closed.isEmpty, sent == 0 { lastProgress = nil } }

  /// The connection is gone, and what was in the log has been taken out.
  mutating func drop() {
    precondition(log.isEmpty, "writes of a connection that is gone")
    closed.removeAll()
    begin(sent > 0 || unreplicated ? current &+ 1 : current)
    lastProgress = nil
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
  private var received: UInt32 = 0
  /// Writes of the running epoch that are not complete.
  private var active = Outstanding()
  /// The barrier that waits for them, or for the flush.
  private(set) var barrier: (handle: UInt32, count: UInt32)?
  private(set) var flushing = Outstanding()
  /// Which volumes have writes since their last flush.
  private(set) var unflushed = VolumeSet()
  /// Arrived behind the barrier.
  private(set) var waiting = Queue<Item>(capacity: 64)
  /// `advanceInbound` is under way.
  private var isAdvancing = false

  /// Everything in front of the barrier is complete, and no flush is under way.
  var isComplete: Bool { active.count == 0 && flushing.count == 0 }

  mutating func receive() { received &+= 1 }
  /// A barrier has come: so many packets are in front of it.
  mutating func takeReceived() -> UInt32 {
    defer { received = 0 }
    return received
  }

  mutating func stand(behind handle: UInt32, _ count: UInt32) {
    precondition(barrier == nil, "two barriers are looked at at once")
    barrier = (handle, count)
  }
  mutating func pass() { barrier = nil }
  mutating func wait(_ item: Item) {
    precondition(barrier != nil, "nothing stands in front of what waits")
    waiting.append(item)
  }
  mutating func takeWaiting() -> Item? { waiting.popFirst() }

  mutating func begin() { active.begin() }
  mutating func end() { active.end() }
  mutating func needsFlush(_ v: Int) { unflushed.insert(v) }
  mutating func isFlushed(_ v: Int) { unflushed.remove(v) }
  mutating func beginFlush() { flushing.begin() }
  mutating func endFlush() { flushing.end() }
  mutating func allAreFlushing() { unflushed.removeAll() }

  /// False: the call that is under way goes on.
  mutating func beginAdvance() -> Bool {
    if isAdvancing { return false }
    isAdvancing = true
    return true
  }
  mutating func endAdvance() { isAdvancing = false }

  /// The connection is gone.
  mutating func drop() {
    precondition(waiting.isEmpty, "requests of a connection that is gone")
    received = 0
    active.forget()
    barrier = nil
    flushing.forget()
    unflushed.removeAll()
  }

  /// What holds between two events.
  func check() {
    precondition(waiting.isEmpty || barrier != nil, "requests wait behind no barrier")
    precondition(flushing.count == 0 || barrier != nil, "a flush for no barrier")
  }
}
