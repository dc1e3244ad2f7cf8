// Ranges as recordings and tests write them; an engine takes those of a peer by `BlockRange.init(named:)` only.
import Base

extension BlockRange {
  init(start: UInt64, bytes: UInt32) { self.init(Sector(start), SectorCount(bytes: UInt64(bytes))) }
}
