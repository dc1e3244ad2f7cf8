// The requests under way, each the set of its legs: it is answered when the legs its promise needs are gone, and
// forgotten when none is left.
import Base
import Protocol

enum WriteKind: Equatable {
  case data
  case discard
  case zero(mayUnmap: Bool)
}

/// A write of the application.
/// What the peer's answers say of a write: it may travel in several packets, and one that was refused is not made good by another.
struct PeerCopy {
  private enum Word { case unknown, whole, refused }
  private var word = Word.unknown

  init() {}
  /// The peer has all of it, as far as the protocol in use can tell.
  var isWhole: Bool { word == .whole }
  /// The last answer that was awaited has come.
  mutating func wasTaken() { if word == .unknown { word = .whole } }
  /// P_NEG_ACK for one of its packets.
  mutating func wasRefused() { word = .refused }
  /// What the peer has only received, or has in its cache, does not count any more.
  mutating func mayBeLost() { if word == .whole { word = .unknown } }
}

struct AppWrite {
  struct Legs: OptionSet {
    let rawValue: UInt8
    /// The local disk has not completed it.
    static let disk = Legs(rawValue: 1)
    /// The peer has not acknowledged it as the protocol demands.
    static let peer = Legs(rawValue: 2)
    /// The kernel still reads the payload for the socket.
    static let socket = Legs(rawValue: 4)
    /// Its epoch has not been acknowledged: the peer may hold it in a volatile cache only.
    static let epoch = Legs(rawValue: 8)
  }
  let ticket: Ticket
  let volume: Int
  let range: BlockRange
  let kind: WriteKind
  /// The application asked for it to be durable when it is answered.
  let asksForFUA: Bool
  /// It is durable when it is answered: asked for, or a flush is expected.
  let fua: Bool
  var payload: PayloadRef?
  var legs: Legs = []
  var epoch: UInt32 = 0
  var hold: RangeHold?
  /// Activity-log extents referenced so far, from the first on.
  var extents = 0
  /// Handed to disk and peer; before that it waits for its range or the activity log.
  var launched = false
  /// The protocol it was sent under: it says which ack the peer sends, and what has to be there before the answer.
  var wireProtocol = WireProtocol.c
  /// The peer was asked to ack it from its disk.
  var asksForDiskAck = false
  /// Answered only when its epoch is acknowledged: no ack of the peer alone keeps what was promised.
  var needsBarrier = false
  var answered = false
  /// Answered once the new generation is durable (see `held`).
  var isHeld = false
  var diskFault: DiskFault?
  /// The own disk does not have it: there was none, or it failed to write it.
  var missesDisk = false
  var peerCopy = PeerCopy()
  /// Packets (by position) whose blocks the peer has cleared: ours are cleared when our own disk has them, too.
  var clearsWhenWritten: UInt64 = 0
  /// Its blocks are marked out of sync.
  var marked = false
  /// Packets it was sent in whose ack is missing. More than one only below version 100, or for a large discard.
  var pieces: UInt32 = 0
  var times: WriteTimes

  var peerHasIt: Bool { peerCopy.isWhole }
}

/// When a write came, and when its present stages began: `volumes[v].latencies` counts what lies between.
struct WriteTimes {
  let arrived: Instant
  /// Its range was free; later: it was handed to disk and peer.
  var since: Instant
  /// The kernel had all its bytes for the peer.
  var sent: Instant?
  /// Neither the disk nor the peer is waited for any more.
  var done: Instant?

  init(arrived: Instant) {
    self.arrived = arrived
    since = arrived
  }
}

struct AppRead {
  let ticket: Ticket
  let volume: Int
  let range: BlockRange
  let buffer: PayloadRef
  let arrived: Instant
  /// Waits for P_DATA_REPLY, else for the local disk.
  var remote: Bool
  /// Requests to the peer that are not answered, by their position: at most 32 of 32 KiB.
  var asked: UInt64 = 0
  var pieceRefused = false
  var tries = 0
}

struct AppFlush {
  let ticket: Ticket
  let volume: Int
  let arrived: Instant
  var diskPending: Bool
  /// Where the volume's habit was when it began.
  let moment: UInt64
  /// Answered when every epoch up to this one is acknowledged.
  var epoch: UInt32?
  var fault: DiskFault?
}

/// A request of the peer, or a resync block, between its packet and its answer.
struct PeerRequest {
  enum Kind: Equatable {
    case write(WriteKind)
    case read
    case resyncRead
    /// P_CSUM_RS_REQUEST, P_RS_THIN_REQ: a resync read whose answer may be shorter than the data.
    case checksumRead
    case thinRead
    /// A block of an online verify, as VerifyT and as VerifyS.
    case verifyRead
    case verifyCompare
    case resyncWrite
    case resyncZero
  }
  let kind: Kind
  let volume: Int
  let range: BlockRange
  let blockID: UInt64
  let flags: DataFlags
  var payload: PayloadRef?
  var hold: RangeHold?
  /// Connection it came over: an answer goes out only while that one lives.
  let connection: UInt32
  /// A block of a resync: the one that it belongs to (`Resync.number`).
  var resync: UInt64 = 0
  /// The only copy will be ours: the peer had no disk when it sent this.
  var isOnlyCopy = false
  /// Activity-log extents referenced (only for those).
  var extents = 0
  /// The peer has written this range again, without us (P_OUT_OF_SYNC): it is not equal when this is written.
  var overtaken = false
  /// Its answer is on the way to the socket, with the payload.
  var isAnswered = false
  /// Came while this disk was there, and is for no other: a disk is not let go while such a write waits.
  var needsThisDisk = false
}

/// A request that waits until nobody uses its range any more.
enum Parked: Equatable {
  case appWrite(SlotID)
  case peer(SlotID)
}
