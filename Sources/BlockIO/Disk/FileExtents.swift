// Where a file has data, holes, and room that reads as zeroes: one system call that looks at a bounded number of extents, so
// that it does not hold up its caller however large or torn the file is. A block device does not tell: everything is data.

import Base
import CURing

extension BackingDevice {
  /// Nil: the backing does not know.
  public func allocation(from start: UInt64, bytes: UInt64) -> AllocationMap? {
    guard knowsHoles, bytes > 0 else { return nil }
    let most = 16
    let end = start + bytes
    return withUnsafeTemporaryAllocation(of: cu_extent.self, capacity: most) { extents in
      let found = Int(cu_extents(file.descriptor, start, bytes, extents.baseAddress, Int32(most)))
      if found < 0 { return nil }
      var map = AllocationMap(at: start)
      for extent in extents[..<found] {
        let from = min(max(extent.start, start), end)
        let to = min(extent.start + extent.bytes, end)
        // What lies in page cache alone, or somewhere else, is data.
        let kind: AllocationMap.Kind =
          extent.flags & ~UInt32(CU_EXTENT_PLAIN) == UInt32(CU_EXTENT_UNWRITTEN) ? .zeroes : .data
        guard map.extend(.hole, to: from), map.extend(kind, to: to, isLast: to == end) else { return map }
      }
      if found < most { map.extend(.hole, to: end, isLast: true) }
      return map.count > 0 ? map : nil
    }
  }
}
