// The numbers of the activity log's transactions begin anew at 0 long before they reach 2^31, where deployed tools take an older
// block of the ring for the newest one (metadata spec 3.7). Law: at that moment no extent is in use and the bitmap is durable, so
// whatever mixture of old and empty blocks a crash leaves names at worst blocks that are equal.
import Base
import MetaDisk

extension Engine {
  /// New writes wait until the ring is empty. Those that have extents already go on: they end, or nothing would.
  mutating func logMustRest(_ v: Int) -> Bool {
    guard volumes[v].backing.log.shouldRestart, volumes[v].move.phase == .idle else { return false }
    // Only a barrier sets the extents free.
    closeEpoch()
    return true
  }

  /// Begins anew as soon as nothing refers to the log.
  mutating func restartLog(_ v: Int) {
    guard volumes[v].backing.log.shouldRestart, volumes[v].transaction == .idle, volumes[v].move.phase == .idle,
      volumes[v].detach.phase == .none, volumes[v].backing.log.references == 0, !volumes[v].backing.log.hasPending
    else { return }
    volumes[v].transaction.go(to: .flushing)
    flushBitmap(v, lazy: true, then: .logUnused)
  }

  /// The pages of the bitmap are on disk; the barrier of the first block makes them durable before the ring forgets anything.
  mutating func logUnused(_ v: Int) {
    guard volumes[v].transaction == .flushing else { return }
    writeEmptyRing(v, 0, outstanding: 0)
  }

  private mutating func writeEmptyRing(_ v: Int, _ first: UInt32, outstanding: Int) {
    let blocks = UInt32(logBytes(v) / 4096)
    var (next, outstanding) = (first, outstanding)
    while next < blocks, outstanding < 32 {
      if next == 1, outstanding > 0 { break }
      let offset = volumes[v].backing.placement.activityLogOffset + UInt64(next) * 4096
      fx.append(
        .metaWrite(
          pageWork(.activityLog, v, next), volumes[v].number, .emptyTransaction(next), offset: offset,
          barrier: next == 0 ? .everything : .nothing))
      next += 1
      outstanding += 1
    }
    volumes[v].transaction.go(to: .emptying(next: next, outstanding: outstanding))
    if outstanding > 0 { return }
    // The barrier of the first transaction comes before it in the ring's place.
    volumes[v].backing.log.reset()
    volumes[v].transaction.go(to: .idle)
    log(.device(v), "the activity log was emptied, its transactions are numbered from 0 again")
    volumes[v].gate.mayFit = true
    lookAgain = true
    advanceMove(v)
  }

  mutating func emptyBlockDone(_ v: Int, _ fault: DiskFault?) {
    guard case .emptying(let next, let outstanding) = volumes[v].transaction else { return }
    volumes[v].transaction.go(to: .emptying(next: next, outstanding: outstanding - 1))
    if let fault {
      metadataFailed(v, fault)
      lookAgain = true
    } else if !isClosing(v) {
      writeEmptyRing(v, next, outstanding: outstanding - 1)
    }
  }
}
