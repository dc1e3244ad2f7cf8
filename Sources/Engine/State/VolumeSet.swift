// A set of the resource's volumes, by their place in the table: 64 at most.
import Base

struct VolumeSet: Equatable {
  private var bits: UInt64 = 0

  var isEmpty: Bool { bits == 0 }
  func contains(_ v: Int) -> Bool { bits & 1 << UInt64(v) != 0 }
  mutating func insert(_ v: Int) { bits |= 1 << UInt64(v) }
  mutating func remove(_ v: Int) { bits &= ~(1 << UInt64(v)) }
  mutating func removeAll() { bits = 0 }
}
