// The buckets of latency: comparisons and table say the same.
import Testing

@testable import Base

@Suite("Latency buckets") struct LatencyBucketTests {
  @Test("a time is in the first bucket whose end it does not pass")
  func ends() {
    for (i, bound) in Histogram.bounds.enumerated() {
      #expect(Histogram.bucket(of: bound) == i)
      #expect(Histogram.bucket(of: Interval(nanoseconds: bound.nanoseconds + 1)) == i + 1)
    }
    #expect(Histogram.bucket(of: Interval(nanoseconds: 0)) == 0)
    #expect(Histogram.bucket(of: Interval(nanoseconds: .max)) == Histogram.bounds.count)
    #expect(Histogram().counts.count == Histogram.bounds.count + 1)
  }

  @Test("stages do not share their counters")
  func stages() {
    for stage in LatencyStage.allCases {
      var all = Latencies()
      all.add(stage, .milliseconds(3))
      for other in LatencyStage.allCases {
        #expect(all[other].counts.reduce(0, +) == (other == stage ? 1 : 0))
        #expect(all[other].nanoseconds == (other == stage ? 3_000_000 : 0))
      }
    }
    #expect(Set(LatencyStage.ofAWrite + LatencyStage.ofARequest) == Set(LatencyStage.allCases))
  }
}
