// A set of places of a table, one bit each.

struct PlaceSet {
  static let capacity = 256
  private var words = InlineArray<4, UInt64>(repeating: 0)

  var isEmpty: Bool { words[0] | words[1] | words[2] | words[3] == 0 }

  mutating func insert(_ place: Int) { words[place >> 6] |= 1 << UInt64(place & 63) }

  mutating func formUnion(_ other: PlaceSet) { for i in 0..<4 { words[i] |= other.words[i] } }

  /// The lowest place.
  mutating func popFirst() -> Int? {
    for i in 0..<4 where words[i] != 0 {
      let bit = words[i].trailingZeroBitCount
      words[i] &= words[i] - 1
      return i << 6 | bit
    }
    return nil
  }
}
