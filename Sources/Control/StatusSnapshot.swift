// How a resource stands at one moment: everything the formats of `status` show (admin spec 5.1 and 5.2), as plain values.
// The daemon fills it, the renderers only print. Sizes are KiB unless the name says otherwise, as in DRBD's own output.
import Base

public struct StatusSnapshot: Codable, Equatable, Sendable {
  public var name: String
  public var nodeID: Int
  public var role: Role
  public var suspendedByUser = false
  public var suspendedNoData = false
  public var suspendedFencing = false
  public var suspendedQuorum = false
  public var forcesIOFailures = false
  public var writeOrdering = "flush"
  public var devices: [DeviceStatus] = []
  public var connections: [ConnectionStatus] = []

  public init(name: String, nodeID: Int, role: Role) {
    self.name = name
    self.nodeID = nodeID
    self.role = role
  }

  public var isSuspended: Bool { suspendedByUser || suspendedNoData || suspendedFencing || suspendedQuorum }
}

/// One volume on this node.
public struct DeviceStatus: Codable, Equatable, Sendable {
  public var volume: VolumeNumber
  public var minor: UInt32
  public var disk: DiskState
  /// Diskless on purpose.
  public var isClient = false
  public var isOpen = false
  public var hasQuorum = true
  /// The path of the backing device; empty without one.
  public var backingDevice = ""
  public var size: UInt64 = 0
  public var read: UInt64 = 0
  public var written: UInt64 = 0
  public var activityLogWrites: UInt64 = 0
  public var bitmapWrites: UInt64 = 0
  public var upperPending: UInt64 = 0
  public var lowerPending: UInt64 = 0
  public var activityLogSuspended = false
  /// The configured path of its block device first, then the links that lead there.
  public var devicePaths: [String]?
  /// The metadata told at attach that this node was Primary and not connected when it stopped.
  public var wasDegraded: Bool?
  /// How long requests and the stages of writes took, since the daemon began.
  public var latencies: LatencyTable?

  public init(volume: VolumeNumber, minor: UInt32, disk: DiskState) {
    self.volume = volume
    self.minor = minor
    self.disk = disk
  }
}

public struct ConnectionStatus: Codable, Equatable, Sendable {
  /// The peer's host name.
  public var name: String
  public var peerNodeID: Int
  public var state: ConnectionState
  public var peerRole: Role
  public var isCongested = false
  /// A, B or C.
  public var protocolLetter: String?
  /// Sectors on their way for the application and for a resync.
  public var applicationInFlight: UInt64 = 0
  public var resyncInFlight: UInt64 = 0
  public var peerDevices: [PeerDeviceStatus] = []
  public var paths: [PathStatus] = []
  /// Why the connection was given up for good: one sentence, absent while it was not.
  public var refusedBecause: String?
  /// Why this node cannot be reached by the peer just now: one sentence. It is tried again.
  public var cannotListen: String?

  public init(name: String, peerNodeID: Int, state: ConnectionState, peerRole: Role) {
    self.name = name
    self.peerNodeID = peerNodeID
    self.state = state
    self.peerRole = peerRole
  }
}

/// One way to the peer: addresses as `ipv4:10.0.0.1:7789`.
public struct PathStatus: Codable, Equatable, Sendable {
  public var local: String
  public var peer: String
  public var isEstablished: Bool

  public init(local: String, peer: String, isEstablished: Bool) {
    self.local = local
    self.peer = peer
    self.isEstablished = isEstablished
  }
}

/// One volume as seen over one connection.
public struct PeerDeviceStatus: Codable, Equatable, Sendable {
  public var volume: VolumeNumber
  /// Off, Established or what is beyond: `ConnectionState.replicationName`.
  public var replication: ConnectionState
  public var peerDisk: DiskState
  public var isPeerClient = false
  public var resyncSuspendedByUser = false
  public var resyncSuspendedByPeer = false
  public var resyncSuspendedByDependency = false
  public var received: UInt64 = 0
  public var sent: UInt64 = 0
  public var outOfSync: UInt64 = 0
  public var pending: UInt64 = 0
  public var unacked: UInt64 = 0
  /// Present while a resync or a verify runs or is paused.
  public var resync: ResyncStatus?

  public init(volume: VolumeNumber, replication: ConnectionState, peerDisk: DiskState) {
    self.volume = volume
    self.replication = replication
    self.peerDisk = peerDisk
  }
}

/// Progress of a resync or verify. `recent` marks span the last two progress samples, as DRBD's db0 and db1 do.
public struct ResyncStatus: Codable, Equatable, Sendable {
  public var totalSectors: UInt64
  public var elapsedMilliseconds: UInt64 = 0
  public var pausedMilliseconds: UInt64 = 0
  /// Sectors done since the older of the two marks, and since when.
  public var olderMark = Mark()
  public var newerMark = Mark()
  public var failedSectors: UInt64 = 0
  public var sameChecksumSectors: UInt64 = 0
  /// The rate the pace controller asks for, KiB/s.
  public var wantedRate: UInt64 = 0
  /// Present for a verify.
  public var verify: VerifyStatus?

  public struct Mark: Codable, Equatable, Sendable {
    public var milliseconds: UInt64
    public var sectors: UInt64
    public init(milliseconds: UInt64 = 0, sectors: UInt64 = 0) {
      self.milliseconds = milliseconds
      self.sectors = sectors
    }
  }

  public struct VerifyStatus: Codable, Equatable, Sendable {
    public var startSector: UInt64
    /// Absent: to the end.
    public var stopSector: UInt64?
    public var positionSector: UInt64
    public var leftSectors: UInt64
    public var skippedSectors: UInt64

    public init(start: UInt64, stop: UInt64?, position: UInt64, left: UInt64, skipped: UInt64) {
      startSector = start
      stopSector = stop
      positionSector = position
      leftSectors = left
      skippedSectors = skipped
    }
  }

  public init(totalSectors: UInt64) { self.totalSectors = totalSectors }
}
