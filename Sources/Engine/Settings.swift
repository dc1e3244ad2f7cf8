// What the configuration says, in the engine's types. Ranges were checked by Config.
import Base
import MetaDisk
import Protocol

public enum WireProtocol: UInt32, Sendable {
  case a = 1
  case b = 2
  case c = 3
  public var letter: String {
    switch self {
    case .a: "A"
    case .b: "B"
    case .c: "C"
    }
  }
}

public enum OnIOError: Sendable, Equatable { case passOn, callLocalIOError, detach }

public struct NetSettings: Sendable {
  public var wireProtocol = WireProtocol.c
  public var timeout = Interval.deciseconds(60)
  public var connectInterval = Interval.seconds(10)
  public var pingInterval = Interval.seconds(10)
  public var pingTimeout = Interval.deciseconds(5)
  /// 0: never give up.
  public var koCount: UInt64 = 7
  public var maxEpochSize: UInt32 = 2048
  /// 4 KiB pages; half of it bounds the resync requests in flight.
  public var maxBuffers: UInt32 = 2048
  /// Zero: use `pingTimeout`.
  public var socketCheckTimeout = Interval.deciseconds(0)
  /// Empty: no authentication. The secret itself stays outside the engine.
  public var cramHMAC = ""
  public var afterSplitBrain0 = SplitBrainPolicy.disconnect
  public var afterSplitBrain1 = SplitBrainPolicy.disconnect
  public var afterSplitBrain2 = SplitBrainPolicy.disconnect
  public var alwaysAfterSplitBrain = false
  public var roleConflict = ResyncRolePolicy.disconnect
  public var fencing = FencingPolicy.dontCare
  /// Digest in front of every payload (`data-integrity-alg`); empty: none.
  public var integrityAlgorithm = ""
  public var verifyAlgorithm = ""
  public var checksumAlgorithm = ""
  /// Checksums are compared only in a resync after this node was Primary in a crash.
  public var checksumsAfterCrashOnly = false
  public var useRLE = true
  /// Digests that a policy of this system forbids: they are treated as unknown.
  public var forbiddenDigests: Set<DigestName> = []
  /// Highest version offered: 101. A test switch.
  public var maximumVersion: UInt32 = 101
  public init() {}
}

public struct ResyncSettings: Sendable, Equatable {
  /// KiB/s; sent to the peer, and the rate of our own requests when `planAhead` is 0.
  public var rate: UInt32 = 250
  public var planAhead: UInt32 = 20
  public var delayTarget: UInt32 = 10
  public var fillTarget: UInt32 = 100
  /// KiB/s; sent to the peer. Bounds our own requests only when `rateIsConfigured`.
  public var maxRate: UInt32 = 102400
  public var minRate: UInt32 = 250
  /// Bytes, a multiple of 4096 up to 1 MiB: blocks of zeroes of this size are not copied but deallocated. 0: off.
  public var discardGranularity: UInt32 = 0
  /// The file names a rate (resync-rate or c-max-rate).
  public var rateIsConfigured = false
  /// The file names c-min-rate: a verify beside an application at work goes no faster. 0: it gives no way at all.
  public var minRateIsConfigured = false
  public init() {}
}

public struct VolumeSettings: Sendable, Equatable {
  public var number: VolumeNumber
  /// A volume configured with `disk none` is a client.
  public var hasDisk = true
  public var metaLocation = MetaLocation.internal
  /// Zero: the whole device.
  public var sizeLimit = SectorCount.zero
  public var onIOError = OnIOError.detach
  public var alExtents: UInt32 = 1237
  public var alUpdates = true
  public var resync = ResyncSettings()
  public init(number: VolumeNumber) { self.number = number }
}

public struct ResourceSettings: Sendable {
  public var name: String
  public var nodeID: Int32
  public var peerNodeID: Int32
  public var peerName: String
  public var net = NetSettings()
  public var volumes: [VolumeSettings]
  /// Application requests under way at once, all volumes. Bounds the tables.
  public var maxRequests = 4096
  public init(name: String, nodeID: Int32, peerNodeID: Int32, peerName: String, volumes: [VolumeSettings]) {
    self.name = name
    self.nodeID = nodeID
    self.peerNodeID = peerNodeID
    self.peerName = peerName
    self.volumes = volumes
  }
}
