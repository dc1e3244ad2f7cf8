// How a volume uses its disk, and how it is resynced with one peer: `disk` options after inheritance, as types.

import Base

public enum OnIOError: String, Sendable {
  case passOn = "pass_on"
  case callLocalIOError = "call-local-io-error"
  case detach
}

public struct DiskOptions: Sendable, Equatable {
  public var onIOError: OnIOError
  /// Nil = the whole device.
  public var size: SectorCount?
  /// Already within 67..65534; the ring on disk may allow fewer.
  public var alExtents: Int
  public var alUpdates: Bool
  public var diskFlushes: Bool
  public var mdFlushes: Bool
  public var discardZeroesIfAligned: Bool
  /// Bytes; 0 = off.
  public var rsDiscardGranularity: UInt32
  /// 0 = never.
  public var diskTimeout: Interval

  init(_ options: EffectiveOptions) {
    onIOError = options.choice("on-io-error")
    let sectors = options.number("size")
    size = sectors == 0 ? nil : SectorCount(sectors)
    alExtents = Int(options.number("al-extents"))
    alUpdates = options.flag("al-updates")
    diskFlushes = options.flag("disk-flushes")
    mdFlushes = options.flag("md-flushes")
    discardZeroesIfAligned = options.flag("discard-zeroes-if-aligned")
    rsDiscardGranularity = UInt32(options.number("rs-discard-granularity"))
    diskTimeout = .deciseconds(options.number("disk-timeout"))
  }
}

/// Speed of a resync. Which values the file sets matters: the defaults slow a fast link down (admin spec 3.2).
public struct ResyncOptions: Sendable, Equatable {
  public struct Written: OptionSet, Sendable, Hashable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let resyncRate = Written(rawValue: 1)
    public static let cPlanAhead = Written(rawValue: 2)
    public static let cDelayTarget = Written(rawValue: 4)
    public static let cFillTarget = Written(rawValue: 8)
    public static let cMaxRate = Written(rawValue: 16)
    public static let cMinRate = Written(rawValue: 32)
  }

  /// KiB/s; used when `cPlanAhead` is 0.
  public var resyncRate: UInt64
  public var cPlanAhead: Interval
  public var cDelayTarget: Interval
  public var cFillTarget: SectorCount
  /// KiB/s; 0 = no limit.
  public var cMaxRate: UInt64
  /// KiB/s; 0 = application I/O never slows the resync down.
  public var cMinRate: UInt64
  /// What the file sets itself.
  public var written: Written

  init(_ options: EffectiveOptions) {
    resyncRate = options.number("resync-rate")
    cPlanAhead = .deciseconds(options.number("c-plan-ahead"))
    cDelayTarget = .deciseconds(options.number("c-delay-target"))
    cFillTarget = SectorCount(options.number("c-fill-target"))
    cMaxRate = options.number("c-max-rate")
    cMinRate = options.number("c-min-rate")
    let names: [(String, Written)] = [
      ("resync-rate", .resyncRate), ("c-plan-ahead", .cPlanAhead), ("c-delay-target", .cDelayTarget),
      ("c-fill-target", .cFillTarget), ("c-max-rate", .cMaxRate), ("c-min-rate", .cMinRate),
    ]
    written = names.reduce(into: []) { if options.isSet($1.0) { $0.insert($1.1) } }
  }
}
