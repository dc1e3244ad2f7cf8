// What concerns a resource as a whole, and the file as a whole: `options`, `startup` and `global`, as types.

import Base

public enum OnNoDataAccessible: String, Sendable {
  case ioError = "io-error"
  case suspendIO = "suspend-io"
}

public enum Votes: Sendable, Equatable {
  case off, majority, all
  case number(Int)
}

public struct ResourceOptions: Sendable, Equatable {
  public var onNoDataAccessible: OnNoDataAccessible
  public var autoPromote: Bool
  public var autoPromoteTimeout: Interval
  public var quorum: Votes
  public var cpuMask: String?

  init(_ options: EffectiveOptions) {
    onNoDataAccessible = options.choice("on-no-data-accessible")
    autoPromote = options.flag("auto-promote")
    autoPromoteTimeout = .deciseconds(options.number("auto-promote-timeout"))
    cpuMask = options.word("cpu-mask")
    quorum =
      switch options.setting("quorum")?.value {
      case .number(let count)?: .number(Int(count))
      case .word("majority")?: .majority
      case .word("all")?: .all
      default: .off
      }
  }
}

public struct StartupOptions: Sendable, Equatable {
  /// How long waiting commands wait; nil = for ever.
  public var wfcTimeout: Interval?
  /// ... when the resource was degraded before.
  public var degrWfcTimeout: Interval?
  /// ... when every peer was Outdated.
  public var outdatedWfcTimeout: Interval?
  public var waitAfterSb: Bool
  public var becomePrimaryOn: [String]

  init(_ options: EffectiveOptions) {
    func timeout(_ name: String) -> Interval? {
      let seconds = options.number(name)
      return seconds == 0 ? nil : .seconds(seconds)
    }
    wfcTimeout = timeout("wfc-timeout")
    degrWfcTimeout = timeout("degr-wfc-timeout")
    outdatedWfcTimeout = timeout("outdated-wfc-timeout")
    waitAfterSb = options.flag("wait-after-sb")
    becomePrimaryOn = options.words("become-primary-on")
  }
}

public struct GlobalOptions: Sendable, Equatable {
  public var disableIPVerification: Bool
  /// Links below `by-res` carry the volume number even where the file has no volume section.
  public var udevAlwaysUseVnr: Bool
  public var minorCount: Int

  init(_ options: EffectiveOptions) {
    disableIPVerification = options.flag("disable-ip-verification")
    udevAlwaysUseVnr = options.flag("udev-always-use-vnr")
    minorCount = Int(options.number("minor-count"))
  }
}
