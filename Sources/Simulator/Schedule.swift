// What is going to happen, in order of time. Law: two happenings of one instant come in the order they were scheduled,
// so a seed decides everything. Entries are small; details lie in the table of whoever scheduled them.
import Base

enum Kind: UInt8 {
  // One node
  case diskDone, metaDone, diskOpened, diskRefused, diskClosed, diskMeasured, sent, handlerDone, signed, drawn,
    connected,
    connectFailed
  case accepted, socketClosed, boot
  // The world
  case attempt, delivery, heal, client, operate, fault, mend
}

struct Happening {
  var time: UInt64
  var order: UInt32
  var kind: Kind
  var node: UInt8
  /// The life of the node it belongs to: what was scheduled in an earlier one is dropped.
  var life: UInt8
  var extra: UInt8
  var argument: UInt64

  @inline(__always) func isBefore(_ other: Happening) -> Bool {
    time < other.time || (time == other.time && order < other.order)
  }
}

/// A heap with four children per parent.
struct Schedule: ~Copyable {
  private var entries: UnsafeMutablePointer<Happening>
  private(set) var count = 0
  private var capacity = 4096
  private var order: UInt32 = 0

  init() { entries = .allocate(capacity: 4096) }
  deinit { entries.deallocate() }

  /// Time of the next happening; the end of time when there is none.
  var next: UInt64 { count > 0 ? entries[0].time : .max }

  mutating func add(
    _ kind: Kind, at time: UInt64, node: Int = 0, life: UInt8 = 0, extra: UInt8 = 0, _ argument: UInt64 = 0
  ) {
    order &+= 1
    insert(
      Happening(
        time: time, order: order, kind: kind, node: UInt8(truncatingIfNeeded: node), life: life, extra: extra,
        argument: argument))
  }

  private mutating func insert(_ new: Happening) {
    if count == capacity { grow() }
    var hole = count
    count += 1
    while hole > 0 {
      let parent = (hole - 1) >> 2
      if !new.isBefore(entries[parent]) { break }
      entries[hole] = entries[parent]
      hole = parent
    }
    entries[hole] = new
  }

  /// The same happening, later, and still before all that was scheduled after it.
  mutating func postpone(_ it: Happening, to time: UInt64) {
    var later = it
    later.time = time
    insert(later)
  }

  mutating func pop() -> Happening {
    precondition(count > 0, "nothing is scheduled")
    let first = entries[0]
    count -= 1
    if count == 0 { return first }
    let last = entries[count]
    var hole = 0
    while true {
      let child = hole << 2 + 1
      if child >= count { break }
      var best = child
      let end = min(child + 4, count)
      var c = child + 1
      while c < end {
        if entries[c].isBefore(entries[best]) { best = c }
        c += 1
      }
      if !entries[best].isBefore(last) { break }
      entries[hole] = entries[best]
      hole = best
    }
    entries[hole] = last
    return first
  }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<Happening>.allocate(capacity: capacity * 2)
    larger.moveInitialize(from: entries, count: count)
    entries.deallocate()
    entries = larger
    capacity *= 2
  }
}
