// The derived numbers of a resync or verify: percent done, rates, seconds to go. Law: hostile or early input (zero time,
// more left than there is) gives a number that can be printed, never a trap.
import Base

extension PeerDeviceStatus {
  /// Sectors still to be done: of the verify when one runs, else out of sync.
  var sectorsLeft: UInt64 {
    if let verify = resync?.verify { return verify.leftSectors }
    let (sectors, overflow) = outOfSync.multipliedReportingOverflow(by: 2)
    return overflow ? .max : sectors
  }

  /// Percent of this resync or verify already done; nil when none runs.
  public var percentDone: Double? {
    guard let resync else { return nil }
    return percent(resync.doneSectors(left: sectorsLeft), of: resync.totalSectors)
  }

  /// Seconds to go at the pace of the newer mark; nil while nothing has moved.
  public var secondsLeft: UInt64? {
    guard let resync, resync.newerMark.sectors > 0, resync.newerMark.milliseconds > 0 else { return nil }
    let seconds =
      Double(sectorsLeft) * Double(resync.newerMark.milliseconds) / Double(resync.newerMark.sectors) / 1000
    return seconds < 1e15 ? UInt64(seconds.rounded()) : nil
  }

  /// Of a volume of this size, how much is the same on both sides.
  func percentInSync(ofKiB size: UInt64) -> Double {
    size == 0 ? 100 : percent(size > outOfSync ? size - outOfSync : 0, of: size)
  }
}

extension ResyncStatus {
  func doneSectors(left: UInt64) -> UInt64 { totalSectors > left ? totalSectors - left : 0 }

  /// MiB/s since the resync began, pauses left out.
  func overallRate(left: UInt64) -> Double {
    let moving = elapsedMilliseconds > pausedMilliseconds ? elapsedMilliseconds - pausedMilliseconds : 0
    return Mark(milliseconds: moving, sectors: doneSectors(left: left)).rate
  }
}

extension ResyncStatus.Mark {
  /// MiB/s.
  public var rate: Double { milliseconds == 0 ? 0 : Double(sectors) / 2048 * 1000 / Double(milliseconds) }
}

private func percent(_ part: UInt64, of whole: UInt64) -> Double {
  whole == 0 ? 100 : Double(min(part, whole)) * 100 / Double(whole)
}

/// Two decimals, as C prints them.
func decimals(_ value: Double) -> String {
  guard value.isFinite, abs(value) < 1e15 else { return "0.00" }
  let hundredths = UInt64((abs(value) * 100).rounded(.toNearestOrEven))
  let fraction = hundredths % 100
  return "\(value < 0 ? "-" : "")\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction)"
}
