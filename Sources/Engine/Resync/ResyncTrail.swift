// What the running resync has called equal on its target, in 8192 parts of the volume. A kernel that pulls ahead in the middle
// of it writes on blocks whose acks it has not seen yet, and says nothing of those that are still marked on its side; the late
// acks then clear its marks (K31). So whatever this resync has cleared is marked anew: more is copied, never less.
import Base

struct ResyncTrail {
  static let parts: UInt64 = 8192

  private var marks = [UInt64](repeating: 0, count: Int(parts / 64))
  private var bitsPerPart: UInt64 = 1

  mutating func begin(bits: UInt64) {
    bitsPerPart = max(1, (bits + Self.parts - 1) / Self.parts)
    for i in marks.indices { marks[i] = 0 }
  }

  /// A volume that has grown since belongs to the last part.
  mutating func note(_ bits: Range<UInt64>) {
    if bits.isEmpty { return }
    let first = min(bits.lowerBound / bitsPerPart, Self.parts - 1)
    let last = min((bits.upperBound - 1) / bitsPerPart, Self.parts - 1)
    for part in first...last { marks[Int(part >> 6)] |= 1 << (part & 63) }
  }

  /// The bits of the first noted part at or after `part`.
  func next(from part: UInt64, bits: UInt64) -> (part: UInt64, bits: Range<UInt64>)? {
    for i in part..<max(part, Self.parts) where marks[Int(i >> 6)] & 1 << (i & 63) != 0 {
      let begin = min(i * bitsPerPart, bits)
      let end = i == Self.parts - 1 ? bits : min(begin + bitsPerPart, bits)
      return (i, begin..<end)
    }
    return nil
  }
}

extension Engine {
  /// The source has pulled ahead while we were its target.
  mutating func distrustResync(_ v: Int) {
    if !volumes[v].isAttached { return }
    let bits = volumes[v].backing.bitmap.bits
    var from: UInt64 = 0
    while let found = volumes[v].trail.next(from: from, bits: bits) {
      from = found.part + 1
      _ = volumes[v].backing.bitmap.set(found.bits)
    }
    markOvertaken(v, BlockRange(Sector(0), volumes[v].size))
  }

  /// What came before and is not written yet may not call the range equal: a source that pulls ahead in the middle of a resync
  /// writes again what it has just sent (K30).
  mutating func markOvertaken(_ v: Int, _ range: BlockRange) {
    volumes[v].resync.overtake(range)
    var from = 0
    while let id = peerRequests.next(from: from) {
      from = id.index + 1
      if peerRequests[id].volume == v, peerRequests[id].range.overlaps(range) { peerRequests[id].overtaken = true }
    }
  }
}
