// A flush of the data that failed, on a disk that is kept all the same (on-io-error pass_on). Law: what was written since the last
// flush that succeeded may be gone, whatever a later flush says: it is marked, and no promise rests on it.
import Base
import MetaDisk

extension Engine {
  /// True: the disk has been given up.
  @discardableResult
  mutating func flushFailed(_ v: Int, _ fault: DiskFault) -> Bool {
    let takesBack = volumes[v].state.isSyncTarget
    if diskFailed(v, fault, "flush") { return true }
    // An extent leaves the log behind a flush: all that was written as Primary since then is in those that it names.
    if role == .primary, !volumes[v].settings.alUpdates {
      volumes[v].backing.bitmap.setAll()
    } else {
      for extent in volumes[v].backing.log.namedExtents { volumes[v].backing.bitmap.markOutOfSync(extent) }
    }
    // What a resync has called equal. Writes of the peer are marked there, when their epoch is not acknowledged.
    if takesBack { distrustResync(v) }
    return false
  }
}
