// How fast a target, or VerifyS, asks. Without a configured rate the window alone bounds it; with one, tokens are granted every
// 100 ms: resync-rate when c-plan-ahead is 0, else c-max-rate as a ceiling. A verify gives way to the application by a small window, and
// by c-min-rate where the file names it. Law: what is asked for stays at the rate,
// however low it is.
import Base

/// Sectors that may still be asked for in this step; negative: asked for in advance. Only with a configured rate.
struct Pace {
  private var budget: Int64 = 0
  private var since: Instant?

  var isSpent: Bool { budget <= 0 }

  /// `rate`: sectors per second.
  mutating func refill(_ rate: UInt64, at now: Instant) {
    guard let since else {
      self.since = now
      budget = Int64(max(rate / 10, 8))
      return
    }
    let elapsed = (now - since).nanoseconds
    if elapsed >= 100_000_000 {
      let grant = Int64(Double(rate) * Double(min(elapsed, 1_000_000_000)) / 1e9)
      budget = min(budget + grant, Int64(max(rate / 5, 8)))
      self.since = now
    }
  }

  mutating func spend(_ sectors: SectorCount) { budget -= Int64(sectors.value) }
}

extension Engine {
  /// Sectors per second; nil: unlimited.
  private func rateLimit(_ v: Int) -> UInt64? {
    let resync = volumes[v].settings.resync
    // A verify beside an application that is at work is held to the rate that the file names for that.
    if volumes[v].verify.givesWay, resync.minRateIsConfigured, resync.minRate > 0 { return UInt64(resync.minRate) * 2 }
    if !resync.rateIsConfigured { return nil }
    let kib = resync.planAhead == 0 ? resync.rate : resync.maxRate
    return kib == 0 ? nil : UInt64(kib) * 2
  }

  mutating func refillBudget(_ v: Int) {
    if let rate = rateLimit(v) { volumes[v].resync.pace.refill(rate, at: now) }
  }

  /// A request is no longer than what one step grants: a low rate comes in small pieces, not in bursts.
  func blocksInAStep(_ v: Int) -> UInt64 { rateLimit(v).map { max($0 / 80, 1) } ?? .max }

  func hasBudget(_ v: Int) -> Bool { rateLimit(v) == nil || !volumes[v].resync.pace.isSpent }
}
