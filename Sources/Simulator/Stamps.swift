// What a sector contains, as a number instead of 512 bytes: which write put it there, and at which place of that write
// the sector lay. A sector that ends up anywhere else, or from the wrong write, is found by looking at its stamp.
import Base

/// Contents of one sector.
typealias Stamp = UInt32

enum Stamps {
  /// Zeroes.
  static let zero: Stamp = 0
  /// Whatever a discard leaves behind.
  static let discarded: Stamp = 1
  /// A payload whose bytes nobody has filled in yet, or that was given back.
  static let garbage: Stamp = 2
  /// What lay on the disk of node 0 and 1 before the first write.
  static func original(_ node: Int) -> Stamp { 3 + Stamp(node) }

  /// Writes carry at most 2048 sectors (1 MiB); their numbers start at 1.
  static let sectorsPerWrite: Stamp = 2048
  static func of(write: Int, sector: Int) -> Stamp { Stamp(truncatingIfNeeded: write) << 11 | Stamp(sector) }
  static func write(of stamp: Stamp) -> Int { Int(stamp >> 11) }
  static func sector(of stamp: Stamp) -> Int { Int(stamp & 2047) }
  static let mostWrites = 1 << 21
}

/// A stamp per sector, stored sparsely in pieces of 4 MiB.
final class StampMap {
  static let pieceSectors = 8192
  let sectors: Int
  let fill: Stamp
  private(set) var pieces: [UnsafeMutablePointer<Stamp>?]

  init(sectors: Int, fill: Stamp) {
    self.sectors = sectors
    self.fill = fill
    pieces = Array(repeating: nil, count: (sectors + Self.pieceSectors - 1) / Self.pieceSectors)
  }

  deinit { for piece in pieces { piece?.deallocate() } }

  @inline(__always) subscript(_ sector: Int) -> Stamp {
    guard let piece = pieces[sector >> 13] else { return fill }
    return piece[sector & 8191]
  }

  /// The piece, allocated when it did not exist.
  @inline(__always) private func piece(_ i: Int) -> UnsafeMutablePointer<Stamp> {
    if let piece = pieces[i] { return piece }
    let piece = UnsafeMutablePointer<Stamp>.allocate(capacity: Self.pieceSectors)
    piece.initialize(repeating: fill, count: Self.pieceSectors)
    pieces[i] = piece
    return piece
  }

  /// Calls `body` with the memory of each part of the range, and where in the range it starts.
  @inline(__always)
  func forParts(_ start: Int, _ count: Int, _ body: (UnsafeMutablePointer<Stamp>, Int, Int) -> Void) {
    precondition(start >= 0 && count >= 0 && start + count <= sectors, "beyond the end of the disk")
    var done = 0
    while done < count {
      let at = start + done
      let here = min(count - done, Self.pieceSectors - at & 8191)
      body(piece(at >> 13) + at & 8191, done, here)
      done += here
    }
  }

  func write(_ start: Int, _ count: Int, from stamps: UnsafePointer<Stamp>) {
    forParts(start, count) { part, offset, here in part.update(from: stamps + offset, count: here) }
  }

  func fill(_ start: Int, _ count: Int, with stamp: Stamp) {
    forParts(start, count) { part, _, here in part.update(repeating: stamp, count: here) }
  }

  func read(_ start: Int, _ count: Int, into stamps: UnsafeMutablePointer<Stamp>) {
    precondition(start >= 0 && start + count <= sectors, "beyond the end of the disk")
    var done = 0
    while done < count {
      let at = start + done
      let here = min(count - done, Self.pieceSectors - at & 8191)
      if let piece = pieces[at >> 13] {
        (stamps + done).update(from: piece + at & 8191, count: here)
      } else {
        (stamps + done).update(repeating: fill, count: here)
      }
      done += here
    }
  }

  func duplicate() -> StampMap {
    let other = StampMap(sectors: sectors, fill: fill)
    for i in pieces.indices {
      if let piece = pieces[i] { other.piece(i).update(from: piece, count: Self.pieceSectors) }
    }
    return other
  }

  func copy(_ start: Int, _ count: Int, from other: StampMap) {
    for sector in start..<start + count { write(sector, 1, from: [other[sector]]) }
  }
}
