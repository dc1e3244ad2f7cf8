// What a volume is to the peer: what the peer has said of it since the two met, and what this node makes of that. Law: each fact
// changes only by the method here that says what has happened; what one meeting has told is forgotten when the next one begins.
import Base
import Protocol

struct PeerDevice {
  /// The peer's slots as its last P_UUIDS had them, corrected by the comparison; after a resync the own ones.
  private(set) var generations: GenerationIdentifiers?
  /// Its last P_SIZES, with the size that was agreed on since.
  private(set) var sizes: Sizes?
  /// Both disks have grown since they were compared last: the new blocks may differ although the generations are equal.
  private(set) var grewApart = false
  /// The peer became Primary while both disks were Inconsistent: compare again once its new generation is known and its P_STATE
  /// says so (4.5 rule 7.3).
  private(set) var compareAgain = false
  /// P_SYNC_UUID that overtook what has to come before it, as the two travel on different sockets.
  private var earlySync: UInt64?
  /// The own disk failed under a Primary. What that disk does not have is answered when the peer has recorded the generation that
  /// tells the disk to be old (its next P_UUIDS).
  private(set) var owesGeneration = false
  /// A resync of the own disk has ended on the running connection or the last one, and its source need not have heard of the end.
  private(set) var mayMissTheEnd = false
  /// `fence-peer` returned 3 (Inconsistent or worse) for the lost peer, which may be Diskless, or the peer was Diskless when it agreed to
  /// be Outdated: a disk that it attaches later has not recorded that.
  private(set) var isHearsay = false
  /// An invalidate has made the own disk Inconsistent, and nothing has been overwritten yet: if the source cannot begin it is what
  /// it was. It has every write, and a Primary that lost its disk meanwhile has no other.
  private(set) var invalidateCanBeUndone = false
  /// Target: the end was announced, the source has not pinged since (K6).
  private(set) var awaitsSourcePing = false
  /// Writes and reads of the application that the peer has to answer, and the peer's requests that this node has to.
  var pending = Outstanding()
  var unacked = Outstanding()
  /// P_OUT_OF_SYNC on their way to the socket.
  var announcing = Outstanding()
  /// Shared by writes and acks of our direction (7.7).
  private var sequence: UInt32 = 0

  /// The handshake has come to the parameters: nothing is known of this peer yet.
  mutating func meet() {
    generations = nil
    sizes = nil
    grewApart = false
    compareAgain = false
    earlySync = nil
    sequence = 0
  }

  mutating func nextSequence() -> UInt32 {
    sequence &+= 1
    return sequence
  }

  // MARK: generations

  /// P_UUIDS, or the comparison has corrected them.
  mutating func says(_ generations: GenerationIdentifiers) { self.generations = generations }

  /// It becomes the target without having said any.
  mutating func assumeGenerations() {
    if generations == nil { generations = GenerationIdentifiers() }
  }

  /// After a resync without failures both nodes hold the same slots (wire spec 5.1, copy of the peer's slots, c).
  mutating func hasSame(_ own: Generations) {
    var copy = generations ?? GenerationIdentifiers()
    copy.current = own.current
    copy.bitmap = own.bitmap
    copy.history0 = own.history0
    copy.history1 = own.history1
    copy.dirtyBits = 0
    generations = copy
  }

  /// Whether answers wait for the next generation that the peer records.
  mutating func expectGeneration(_ expected: Bool) { owesGeneration = expected }
  mutating func generationIsRecorded() { owesGeneration = false }

  mutating func expectComparison() { compareAgain = true }
  mutating func compared() { compareAgain = false }

  // MARK: sizes

  /// P_SIZES.
  mutating func says(_ sizes: Sizes) { self.sizes = sizes }

  /// What it said before it heard of this disk is not its size any more.
  mutating func agreed(on size: UInt64) { sizes?.current = size }

  mutating func disksHaveGrown(_ apart: Bool) { grewApart = apart }

  // MARK: resync

  mutating func syncCameEarly(_ sync: UInt64) { earlySync = sync }
  var hasEarlySync: Bool { earlySync != nil }
  mutating func takeEarlySync() -> UInt64? {
    defer { earlySync = nil }
    return earlySync
  }

  mutating func invalidated(canBeUndone: Bool) { invalidateCanBeUndone = canBeUndone }
  mutating func invalidateIsFinal() { invalidateCanBeUndone = false }

  mutating func targetHasEnded() { mayMissTheEnd = true }
  mutating func endWasAnnounced() { awaitsSourcePing = true }
  /// It has pinged, or nothing more is expected of it.
  mutating func sourceHasPinged() { awaitsSourcePing = false }
  /// The next handshake has told both what they are.
  mutating func metAgain() { mayMissTheEnd = false }

  // MARK: its disk

  /// What `fence-peer`, or a peer that leaves, says of a disk out of reach.
  mutating func isFenced(byHearsay: Bool) { isHearsay = byHearsay }
  mutating func diskIsKnown() { isHearsay = false }

  /// What holds between two events.
  func check(_ state: VolumeState) {
    precondition(!invalidateCanBeUndone || state.conn == .wfSyncUUID, "an invalidate that nothing would undo")
    precondition(
      !owesGeneration || (state.conn >= .connected && state.peerDisk == .upToDate),
      "answers wait for the generation of a peer without good data")
    precondition(
      !isHearsay || (state.conn < .connected && state.peerDisk == .inconsistent), "hearsay of a disk that is known")
    precondition(!compareAgain || state.conn >= .connected, "a comparison without a connection")
  }
}
