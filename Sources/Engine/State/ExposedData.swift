// What the application of this node has seen of a volume without its own disk. Law: a disk that lacks any of it is older than what is
// in use, and never takes its place unseen. Bit 0 of a generation is masked in every comparison.
import Base
import Protocol

struct ExposedData {
  /// Generation of the data a diskless Primary exposed last; 0: none.
  private(set) var generation: UInt64 = 0
  /// Generation of the UpToDate data on the disk that this node let go; 0: they were not UpToDate.
  private var letGo: UInt64 = 0
  /// Writes went to the peer alone since the own disk was last good. Its new generation may be on the way still.
  private(set) var hasMissedWrites = false

  /// The disk goes, the application stays. The peer may have drawn a generation of its own already, when it agreed to the detach.
  mutating func diskGoes(_ own: UInt64, isGood: Bool, peer: GenerationIdentifiers?) {
    letGo = isGood ? own : 0
    generation = own
    if let peer, peer.bitmap & ~1 == own & ~1 { generation = peer.current }
  }

  /// The peer's data are shown.
  mutating func show(_ generation: UInt64) { self.generation = generation }
  mutating func missWrite() { hasMissedWrites = true }

  /// The own disk is there, whatever it holds; and it is UpToDate.
  mutating func diskIsBack() { letGo = 0 }
  mutating func diskIsGood() { hasMissedWrites = false }

  /// Something else has been shown than this generation.
  func differs(from other: UInt64) -> Bool { generation != 0 && generation & ~1 != other & ~1 }

  /// A disk of this generation does not have all that was shown.
  func isNewer(than other: UInt64) -> Bool { hasMissedWrites || differs(from: other) }

  /// Whether the peer's data came out of those on the disk that was let go.
  func isPartOf(_ peer: GenerationIdentifiers) -> Bool {
    letGo == 0 || [peer.current, peer.bitmap, peer.history0, peer.history1].contains { $0 & ~1 == letGo & ~1 }
  }
}
