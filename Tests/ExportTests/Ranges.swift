// Ranges as tests write them.
import Base

extension BlockRange {
  init(start: UInt64, bytes: UInt32) { self.init(Sector(start), SectorCount(bytes: UInt64(bytes))) }
}
