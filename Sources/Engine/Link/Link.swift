// The connection to the peer, from the search for two sockets to the session. One connection per resource; its state
// below Connected is the same for all volumes.
import Base
import Protocol

/// Looking for the peer: both nodes listen and connect (wire spec 1.2).
struct Search {
  struct Undecided {
    var socket: SocketID
    var until: Instant
  }
  var data: SocketID?
  var meta: SocketID?
  var undecided: [Undecided] = []
  var nextAttempt: Instant
  /// Both sockets stand; they are relied on from here on.
  var settled: Instant?
  /// Listening failed, and is tried again then.
  var nextListen: Instant?
  /// Why it failed last, as the log has it.
  var cannotListen: String?
  /// The peer relies on the data socket already: the nodes do not become sure at the same moment.
  var features: Features?
}

/// Both sockets stand, the parameters are not exchanged yet. One case per awaited packet.
enum Greeting {
  case features(until: Instant)
  /// `mine` is empty until it is drawn; `theirs` came before that.
  case challenge(mine: [UInt8], theirs: [UInt8]?, until: Instant)
  /// Waits for our own HMACs and for the peer's response.
  case response(Authentication, until: Instant)
}

struct Authentication {
  var mine: [UInt8]
  var theirs: [UInt8]
  /// What the peer must answer to our challenge.
  var expected: [UInt8]?
  /// Our answer has been sent.
  var answered = false
  /// What it did answer.
  var received: [UInt8]?
}

enum LinkPhase {
  case down
  case searching(Search)
  /// The handshake failed: wait a moment before the next search.
  case resting(until: Instant)
  case greeting(Greeting)
  case up
}

struct Link {
  var phase = LinkPhase.down
  /// An attempt is under way, perhaps of an earlier search: there is one at a time.
  var isConnecting = false
  /// The state all volumes show while it is below Connected.
  var state = ConnectionState.standAlone
  var data: SocketID?
  var meta: SocketID?
  /// Breaks ties: set on the node that accepted the meta socket.
  var resolveConflicts = false
  var version: UInt32 = 101
  var features: FeatureFlags = []
  /// The highest version that the peer's P_CONNECTION_FEATURES names; 0 before that.
  var peerMaximum: UInt32 = 0
  /// What new writes are sent under: a connected node may change it.
  var wireProtocol = WireProtocol.c
  /// Digests in front of payloads: of our direction, and of the peer's (wire spec 7.8).
  var sendsDigest: DigestName?
  var receivesDigest: DigestName?
  /// As both nodes have them now: a connected peer may change them, and its word counts.
  var verifyAlgorithm = ""
  var checksumAlgorithm = ""
  /// The peer asked to become Primary and was allowed to: a P_STATE that was on its way may still call it Secondary.
  var mayWrite = false
  /// The connection is made anew for a disk (DRBD 9).
  var reattach: Reattach?
  /// Counts connections: what belongs to an earlier one is not answered.
  var generation: UInt32 = 0
  /// One-shot options of `connect`.
  var discardMyData = false
  /// A dry run: compare the generations, say what would follow, and end the connection.
  var tentative = false
  var peerOffer: ProtocolOffer?
  /// The connection that ended last had been usable.
  var wasUp = false
  /// Counts the connections that became usable.
  var established: UInt32 = 0
  var lastLoss = ConnectionState.standAlone
  /// The peer has agreed to be Outdated from the end of this connection on, or has said so itself.
  var outdatesPeer = false
  var ownCopy = OwnCopy.kept
  /// The peer disconnects, and waits until this node has recorded that its copy is Outdated.
  var departure: Departure?
  /// Why the connection was given up for good, for `status` and the log.
  var refusedBecause: String?

  /// The meta socket ended during the handshake, or the data socket after a request to disconnect: until then the other
  /// one may still tell why.
  var metaLost: Instant?
  /// The same protocol error again and again (`Link/RepeatedFault`), and when the last connection began.
  var fault: RepeatedFault?
  var began = Instant(nanoseconds: 0)

  // Keepalive (wire spec 11.1).
  var pingTimer = Instant(nanoseconds: 0)
  var dataHeard = false
  var pingDeadline: Instant?
  /// Towards a DRBD 9: how many entries of `waits` the ping under way was sent for.
  var pingCovers = 0

  /// DRBD 9, which speaks at most version 101 with this node and has rules of its own there (wire spec 14.2): the only kind of peer that
  /// names a higher version.
  var peerIsDRBD9: Bool { peerMaximum > 101 }
}

/// What becomes of the copy of this node when the connection ends.
enum OwnCopy: Equatable {
  /// It is what it was.
  case kept
  /// It will be Outdated, and the metadata are about to say so. A disk that is lost meanwhile never will.
  case recording(hasLostDisk: Bool)
  /// The metadata say so, or no disk is left to say it.
  case outdated

  mutating func diskIsLost() { if case .recording = self { self = .recording(hasLostDisk: true) } }
}

/// A request of the peer to disconnect that this node has agreed to.
struct Departure: Equatable {
  /// P_CONN_ST_CHG_REQ; else P_STATE_CHG_REQ (versions below 100).
  var wide: Bool
  /// The peer's copy is Outdated from then on.
  var outdatesPeer: Bool

  func reply(_ code: Int32) -> Packet { wide ? .connectionChangeReply(code) : .stateChangeReply(code) }
}
