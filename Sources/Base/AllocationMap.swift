// What a disk knows about a range: runs of data, of zeroes and of holes, in order and without gaps, from the start of the
// range on. It may end before the range does. In place, so that nothing is allocated for it.

public struct AllocationMap: Equatable, Sendable {
  public enum Kind: UInt8, Sendable {
    case data
    /// Allocated, and reads as zeroes.
    case zeroes
    /// Not allocated, and reads as zeroes.
    case hole
  }
  public struct Run: Equatable, Sendable {
    public var kind: Kind
    public var bytes: UInt64
    public init(kind: Kind, bytes: UInt64) {
      self.kind = kind
      self.bytes = bytes
    }
  }

  public static let mostRuns = 16
  /// Runs end at multiples of this, or at the end of the range: the largest block an export has.
  private static let unit: UInt64 = 4096

  public let start: UInt64
  public private(set) var end: UInt64
  public private(set) var count = 0
  private var runs = InlineArray<16, UInt64>(repeating: 0)
  private var kinds = InlineArray<16, UInt8>(repeating: 0)

  /// Empty, of a range that starts at this byte.
  public init(at start: UInt64) {
    self.start = start
    end = start
  }

  public static func == (a: AllocationMap, b: AllocationMap) -> Bool {
    if a.start != b.start || a.count != b.count { return false }
    for i in 0..<a.count where a[i] != b[i] { return false }
    return true
  }

  public subscript(_ i: Int) -> Run {
    precondition(i >= 0 && i < count, "no such run")
    guard let kind = Kind(rawValue: kinds[i]) else { preconditionFailure("a run without a kind") }
    return Run(kind: kind, bytes: runs[i])
  }

  /// Goes on up to this byte, which a block of data next to it may move: a block that holds data in part is data. `isLast`: the
  /// range ends there. False when there is no room for another run.
  @discardableResult
  public mutating func extend(_ kind: Kind, to byte: UInt64, isLast: Bool = false) -> Bool {
    if isLast { return append(kind, to: byte) }
    let rounded = byte & ~(Self.unit - 1)
    return append(kind, to: kind == .data && rounded < byte ? rounded + Self.unit : rounded)
  }

  private mutating func append(_ kind: Kind, to byte: UInt64) -> Bool {
    guard byte > end else { return true }
    if count > 0, kinds[count - 1] == kind.rawValue {
      runs[count - 1] += byte - end
    } else {
      if count == Self.mostRuns { return false }
      kinds[count] = kind.rawValue
      runs[count] = byte - end
      count += 1
    }
    end = byte
    return true
  }
}
