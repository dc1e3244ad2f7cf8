// The latency histograms of a volume as they travel to programs that look (Base/Latency says what is measured).
import Base

public struct LatencyCounts: Codable, Equatable, Sendable {
  /// By bucket of `Histogram.bounds`, each without those before; zeros at the end are left out.
  public var counts: [UInt64]
  /// The sum of all times.
  public var nanoseconds: UInt64

  public init(counts: [UInt64] = [], nanoseconds: UInt64 = 0) {
    self.counts = counts
    self.nanoseconds = nanoseconds
  }

  public init(_ histogram: Histogram) {
    counts = histogram.counts
    while counts.last == 0 { counts.removeLast() }
    nanoseconds = histogram.nanoseconds
  }

  public var total: UInt64 { counts.reduce(0, &+) }

  /// In seconds; nil: there was none.
  var mean: Double? { total == 0 ? nil : Double(nanoseconds) / 1e9 / Double(total) }

  /// What has come since an earlier picture of the same histogram; a daemon that began anew has everything since.
  func since(_ earlier: LatencyCounts) -> LatencyCounts {
    guard total >= earlier.total, nanoseconds >= earlier.nanoseconds else { return self }
    var difference = self
    difference.nanoseconds -= earlier.nanoseconds
    for i in counts.indices where i < earlier.counts.count { difference.counts[i] &-= earlier.counts[i] }
    return difference
  }

  /// The end of the bucket, in seconds, up to which this part of all have come; nil: there was none, or the last bucket has no end.
  func bound(ofPart part: Double) -> Double? {
    let all = total
    guard all > 0 else { return nil }
    var seen: UInt64 = 0
    for (i, count) in counts.enumerated() {
      seen &+= count
      if Double(seen) >= Double(all) * part {
        return i < Histogram.bounds.count ? Double(Histogram.bounds[i].nanoseconds) / 1e9 : nil
      }
    }
    return nil
  }
}

/// By the name of the stage.
public typealias LatencyTable = [String: LatencyCounts]

extension Latencies {
  public var table: LatencyTable {
    LatencyStage.allCases.reduce(into: [:]) { $0[$1.name] = LatencyCounts(self[$1]) }
  }
}
