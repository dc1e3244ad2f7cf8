// How long requests of the application take, and each stage of a write: counters in fixed buckets, in place, so that counting one
// costs a few comparisons and two additions. Times are differences of the `Instant`s that the engine is handed, one for each turn of
// the reactor: what begins and ends in one turn took no time.

/// What is measured. The first six are stages of a write, the others are from a request's arrival to its answer.
public enum LatencyStage: UInt8, CaseIterable, Sendable {
  /// From the arrival until no other request uses the range: full tables, suspended I/O, writes to the same blocks.
  case queue
  /// Until the activity log covers the range.
  case activityLog
  /// The local disk.
  case localWrite
  /// Until the kernel has all bytes for the peer.
  case send
  /// From then until the peer's acknowledgement (protocols B and C): network, the peer's log and disk, and back.
  case peer
  /// From the moment when disk and peer are done until the answer: an epoch, a fence, a new generation.
  case acknowledgement
  case write
  case read
  case flush

  public var name: String {
    switch self {
    case .queue: "queue"
    case .activityLog: "activity_log"
    case .localWrite: "local_write"
    case .send: "send"
    case .peer: "peer"
    case .acknowledgement: "acknowledgement"
    case .write: "write"
    case .read: "read"
    case .flush: "flush"
    }
  }

  public static let ofAWrite: [LatencyStage] = [.queue, .activityLog, .localWrite, .send, .peer, .acknowledgement]
  public static let ofARequest: [LatencyStage] = [.write, .read, .flush]
}

public struct Histogram: Equatable, Sendable {
  /// The upper ends of the buckets but the last, which has none.
  public static let bounds: [Interval] = [
    50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000,
    100_000_000, 250_000_000, 500_000_000, 1_000_000_000, 2_500_000_000, 5_000_000_000, 10_000_000_000,
  ].map(Interval.init(nanoseconds:))

  private var buckets = InlineArray<18, UInt64>(repeating: 0)
  /// The sum of all times.
  public private(set) var nanoseconds: UInt64 = 0

  public init() {}

  public mutating func add(_ time: Interval) {
    buckets[Histogram.bucket(of: time)] &+= 1
    nanoseconds &+= time.nanoseconds
  }

  /// How many were in each bucket, without those of the buckets before.
  public var counts: [UInt64] { (0..<18).map { buckets[$0] } }

  public static func == (a: Histogram, b: Histogram) -> Bool {
    for i in 0..<18 where a.buckets[i] != b.buckets[i] { return false }
    return a.nanoseconds == b.nanoseconds
  }

  /// `bounds` as comparisons: the table is an array, and lies on the heap.
  static func bucket(of time: Interval) -> Int {
    switch time.nanoseconds {
    case ...50_000: 0
    case ...100_000: 1
    case ...250_000: 2
    case ...500_000: 3
    case ...1_000_000: 4
    case ...2_500_000: 5
    case ...5_000_000: 6
    case ...10_000_000: 7
    case ...25_000_000: 8
    case ...50_000_000: 9
    case ...100_000_000: 10
    case ...250_000_000: 11
    case ...500_000_000: 12
    case ...1_000_000_000: 13
    case ...2_500_000_000: 14
    case ...5_000_000_000: 15
    case ...10_000_000_000: 16
    default: 17
    }
  }
}

/// The histograms of one volume.
public struct Latencies: Equatable, Sendable {
  private var stages = InlineArray<9, Histogram>(repeating: Histogram())

  public init() {}

  public mutating func add(_ stage: LatencyStage, _ time: Interval) { stages[Int(stage.rawValue)].add(time) }

  public subscript(_ stage: LatencyStage) -> Histogram { stages[Int(stage.rawValue)] }

  public static func == (a: Latencies, b: Latencies) -> Bool {
    for stage in LatencyStage.allCases where a[stage] != b[stage] { return false }
    return true
  }
}
