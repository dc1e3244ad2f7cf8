// The packets of the handshake (wire spec 3). Versions change their length, not the meaning of their fields; the packet
// table knows which length belongs to which version.
import Base

public struct FeatureFlags: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let trim = FeatureFlags(rawValue: 1)
  public static let thinResync = FeatureFlags(rawValue: 2)
  public static let writeSame = FeatureFlags(rawValue: 4)
  public static let writeZeroes = FeatureFlags(rawValue: 8)
  /// Ours alone; DRBD passes over flags it does not know. What has grown while the nodes were apart is resynced when they meet.
  public static let resyncsGrown = FeatureFlags(rawValue: 1 << 31)
  /// Ours alone, too: a write smaller than a block of the disk is carried out.
  public static let takesSectors = FeatureFlags(rawValue: 1 << 30)
  /// Ours alone: the P_UUIDS that answers an attach says so (`GenerationIdentifiers.Flags.answersAttach`).
  public static let marksAnswers = FeatureFlags(rawValue: 1 << 29)
  /// What a node of version 101 offers.
  public static let all: FeatureFlags = [.trim, .thinResync, .writeSame, .writeZeroes]
}

/// P_CONNECTION_FEATURES, 72 bytes.
public struct Features: Layout, Equatable, Sendable {
  public var minimum: UInt32 = 86
  public var flags: FeatureFlags = []
  /// 0 means "same as minimum".
  public var maximum: UInt32 = 101
  public init() {}
  public init(minimum: UInt32, maximum: UInt32, flags: FeatureFlags) {
    self.minimum = minimum
    self.maximum = maximum
    self.flags = flags
  }
  public mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u32(&minimum)
    walk.u32(&flags.rawValue)
    walk.u32(&maximum)
    walk.pad(60)
  }
}

/// P_PROTOCOL and P_PROTOCOL_UPDATE: 24 bytes, then (version 87 and up) the NUL-terminated integrity algorithm.
public struct ProtocolOffer: Layout, Equatable, Sendable {
  /// A = 1, B = 2, C = 3.
  public var letter: UInt32 = 3
  public var afterSplitBrain0: UInt32 = 0
  public var afterSplitBrain1: UInt32 = 0
  public var afterSplitBrain2: UInt32 = 0
  /// Bit 0: discard my data. Bit 1: dry run.
  public var connectionFlags: UInt32 = 0
  public var twoPrimaries: UInt32 = 0
  /// Not part of the fixed layout.
  public var integrityAlgorithm = ""
  public init() {}
  public mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u32(&letter)
    walk.u32(&afterSplitBrain0)
    walk.u32(&afterSplitBrain1)
    walk.u32(&afterSplitBrain2)
    walk.u32(&connectionFlags)
    walk.u32(&twoPrimaries)
  }
}

/// P_SYNC_PARAM89 (148 bytes at 95 and up, 132 at 89...94) and P_SYNC_PARAM (86...88).
public struct SyncParameters: Equatable, Sendable {
  /// KiB/s
  public var resyncRate: UInt32 = 250
  public var verifyAlgorithm = ""
  public var checksumAlgorithm = ""
  /// 0.1 s
  public var planAhead: UInt32 = 20
  /// 0.1 s
  public var delayTarget: UInt32 = 10
  /// sectors
  public var fillTarget: UInt32 = 100
  /// KiB/s
  public var maxRate: UInt32 = 102400
  public init() {}
}

/// P_SIZES: 32 bytes, and 24 more when FF_WSAME is agreed. Sizes in sectors unless said otherwise.
public struct Sizes: Equatable, Sendable {
  /// Usable on the backing device; 0 = diskless.
  public var backing: UInt64 = 0
  /// Configured limit; 0 = none.
  public var userLimit: UInt64 = 0
  /// Exported now; 0 asks for an answer after a resize.
  public var current: UInt64 = 0
  /// bytes
  public var maxRequest: UInt32 = 1 << 20
  public var queueOrder: UInt16 = 0
  /// Bit 0: forced resize. Bit 1: do not resync new space.
  public var resizeFlags: UInt16 = 0
  public var limits = Limits()

  /// The limits block, in bytes.
  public struct Limits: Equatable, Sendable {
    public var physicalBlock: UInt32 = 512
    public var logicalBlock: UInt32 = 512
    public var alignmentOffset: UInt32 = 0
    public var ioMin: UInt32 = 512
    public var ioOpt: UInt32 = 0
    public var discardEnabled: UInt8 = 1
    public var discardZeroesData: UInt8 = 0
    /// Always 0 from us: the in-tree driver has no handler for P_WSAME (K3).
    public var writeSameCapable: UInt8 = 0
    public init() {}
  }
  public init() {}
}

/// P_UUIDS, 48 bytes.
public struct GenerationIdentifiers: Layout, Equatable, Sendable {
  public var current: UInt64 = 0
  public var bitmap: UInt64 = 0
  public var history0: UInt64 = 0
  public var history1: UInt64 = 0
  public var dirtyBits: UInt64 = 0
  public var flags: Flags = []

  public struct Flags: OptionSet, Hashable, Sendable {
    public var rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public static let discardMyData = Flags(rawValue: 1)
    public static let crashedPrimary = Flags(rawValue: 2)
    public static let inconsistent = Flags(rawValue: 4)
    public static let skipInitialSync = Flags(rawValue: 8)
    /// Between two nodes of `repl` (`FeatureFlags.marksAnswers`): the answer to a P_STATE with a disk in Negotiating.
    public static let answersAttach = Flags(rawValue: 1 << 63)
  }
  public init() {}
  public mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u64(&current)
    walk.u64(&bitmap)
    walk.u64(&history0)
    walk.u64(&history1)
    walk.u64(&dirtyBits)
    walk.u64(&flags.rawValue)
  }
}
