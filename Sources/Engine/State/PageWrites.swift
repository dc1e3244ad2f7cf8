// Writes of bitmap pages. Laws: a page is never written twice at once, as the older bytes could land last; and a page does not say
// "equal" on disk while the data it speaks of may still be lost with the power.
import Base

struct PageWrites {
  /// Pages being written.
  private(set) var inFlight = 0
  /// Next page to look at while everything dirty is being written.
  private(set) var scanning: UInt32?
  private(set) var includeLazy = false
  private var again = false
  /// Blocks whose bits were cleared because the peer's data are on this disk, perhaps only in its cache; and how many
  /// of them are known to be durable.
  private(set) var cleared: UInt64 = 0
  private(set) var durable: UInt64 = 0
  /// The write with a barrier that will make more of them durable.
  private var barrier: (page: UInt32, cleared: UInt64)?

  static let most = 32

  var hasRoom: Bool { inFlight < Self.most }
  var isIdle: Bool { scanning == nil && inFlight == 0 }

  /// Everything that is dirty now.
  mutating func scan(lazy: Bool) {
    if scanning == nil {
      scanning = 0
      includeLazy = lazy
    } else {
      again = true
      includeLazy = includeLazy || lazy
    }
  }

  /// This page is being written, and has changed since: later.
  mutating func stop(at page: UInt32) { scanning = page }
  mutating func goOn(behind page: UInt32) { scanning = page + 1 }

  /// Nothing is dirty behind the last place; once more from the front for those who came meanwhile.
  mutating func endOfRound() {
    scanning = again ? 0 : nil
    again = false
  }
  mutating func finish() { includeLazy = false }

  /// Returns whether the data have to be durable before the page.
  mutating func begin(_ page: UInt32) -> Bool {
    inFlight += 1
    let needsBarrier = cleared != durable
    if needsBarrier, barrier == nil { barrier = (page, cleared) }
    return needsBarrier
  }

  mutating func end() { inFlight -= 1 }

  /// The answer to a page of this disk.
  mutating func written(_ page: UInt32, _ fault: DiskFault?) {
    guard let barrier, barrier.page == page else { return }
    if fault == nil { durable = barrier.cleared }
    self.barrier = nil
  }

  /// Data of the peer have been written here, and their bits are cleared.
  mutating func clearedForPeer() { cleared += 1 }
}
