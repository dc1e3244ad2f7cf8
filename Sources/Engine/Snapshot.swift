// What `status` shows: a value, taken between two events, that never touches the flow.
import Base

public struct ResourceSnapshot: Equatable, Sendable {
  public var role: Role
  /// The connection's word: below Connected the state of the link, else Connected.
  public var connection: ConnectionState
  public var peerRole: Role
  /// Of the connection; without one, what the next one is to have.
  public var wireProtocol: WireProtocol
  /// `suspend-io` holds the application back.
  public var isSuspended: Bool
  /// Frozen until the peer is fenced.
  public var isFrozen: Bool
  public var volumes: [VolumeSnapshot]
}

public struct VolumeSnapshot: Equatable, Sendable {
  public var number: VolumeNumber
  public var disk: DiskState
  public var peerDisk: DiskState
  /// At least Connected: the replication state; else as `ResourceSnapshot.connection`.
  public var replication: ConnectionState
  /// Exported size; 0 when not usable.
  public var size: SectorCount
  public var outOfSync: SectorCount
  /// Bits at the start of the running resync, bits left; 0 and 0 when none runs.
  public var resyncTotal: UInt64
  public var resyncLeft: UInt64
  public var resyncStarted: Instant?
  /// Blocks that could not be copied, and blocks whose checksums were equal.
  public var resyncFailed: UInt64
  public var resyncSame: UInt64
  /// A running verify: then the three before speak of it.
  public var verify: VerifySnapshot?
  public var userPaused: Bool
  public var peerPaused: Bool
  public var dependencyPaused: Bool
  /// Sectors read, written by the application and peer; sent and received; metadata writes.
  public var read: UInt64
  public var written: UInt64
  public var sent: UInt64
  public var received: UInt64
  public var activityLogWrites: UInt64
  public var bitmapWrites: UInt64
  public var latencies: Latencies
  /// Application requests waiting for the local disk or anything; requests waiting for the peer; the peer's requests
  /// not yet acked by us.
  public var upperPending: Int
  public var lowerPending: Int
  public var pending: Int
  public var unacked: Int
  public var current: UInt64
  public var bitmap: UInt64
  public var history0: UInt64
  public var history1: UInt64
  /// The device flags of the metadata (metadata spec 2.3), nil when diskless.
  public var metaFlags: UInt32?
  /// What the metadata told at attach: this node was Primary and not connected to its peer when it stopped.
  public var wasDegraded: Bool
}

/// Progress of an online verify, in sectors.
public struct VerifySnapshot: Equatable, Sendable {
  public var start: UInt64
  public var stop: UInt64
  public var position: UInt64
  public var left: UInt64
  public var skipped: UInt64
}
