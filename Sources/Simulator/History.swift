// What the application did to one volume, and so what any sector may contain now. A write is in effect for sure once it
// is answered; before that, and for ever if its node died first, it may be. A value is superseded by a write that was
// submitted after the value's own write had ended. Law: no read, no disk that is to be trusted, shows anything else.
import Base

final class History {
  enum Action: UInt8 { case data, zero, discard }
  struct Write {
    var start: Int
    var count: Int
    var action: Action
    var answered = false
    /// Was answered, but the power went before it was flushed: it may be gone.
    var lost = false
    var submitted: UInt32
    /// When it was answered, or when its node died; until then `.max`.
    var ended = UInt32.max
  }

  /// By number; the first is a dummy, number 0 means nobody.
  private(set) var writes: [Write] = [
    Write(start: 0, count: 0, action: .zero, submitted: 0, ended: 0)
  ]
  let sectors: Int
  /// What untouched sectors contain.
  var original: Stamp
  /// Per sector: when the latest answered write was submitted. What ended before is superseded.
  let floor: StampMap
  /// The same, counting only what a flush has made durable.
  private let durableFloor: StampMap
  /// Answered and not flushed, in the order of their answers.
  private var unflushed: [Int] = []
  /// Numbers of zeroings and discards.
  private var fills: [Int] = []
  /// The one that explained the last sector looked at; most likely the next one, too.
  private var latestFill = 0
  private var clock: UInt32 = 1
  /// The application lives, and some of what it was told is written may be gone: a flush has to fail, to tell it. When
  /// that happened; 0: it has nothing to be told.
  private(set) var owesFailure: UInt32 = 0

  init(sectors: Int, original: Stamp) {
    self.sectors = sectors
    self.original = original
    floor = StampMap(sectors: sectors, fill: 0)
    durableFloor = StampMap(sectors: sectors, fill: 0)
  }

  var isFull: Bool { writes.count >= Stamps.mostWrites - 1 }

  /// A moment: everything that ends later ended after it.
  func moment() -> UInt32 {
    clock += 1
    return clock
  }

  func begin(_ action: Action, _ start: Int, _ count: Int) -> Int {
    let number = writes.count
    writes.append(Write(start: start, count: count, action: action, submitted: moment()))
    if action != .data { fills.append(number) }
    return number
  }

  func answer(_ number: Int, durable: Bool) {
    writes[number].answered = true
    writes[number].ended = moment()
    let write = writes[number]
    raise(floor, write)
    if durable { raise(durableFloor, write) } else { unflushed.append(number) }
  }

  /// Its node died, or it failed: nobody knows how much of it was done.
  func abandon(_ number: Int) { writes[number].ended = moment() }

  /// A flush that began at this moment has failed: the application knows that what it wrote may be gone.
  func flushFailed(_ began: UInt32) {
    if began > owesFailure { owesFailure = 0 }
    for number in unflushed where writes[number].ended < began { lose(number) }
    unflushed.removeAll { writes[$0].lost }
  }

  /// The application has gone.
  func forgetDebt() { owesFailure = 0 }

  /// A flush that began at this moment has been answered. Returns the writes that it covers.
  func flushed(_ began: UInt32) -> ArraySlice<Int> {
    var count = 0
    while count < unflushed.count, writes[unflushed[count]].ended < began {
      raise(durableFloor, writes[unflushed[count]])
      count += 1
    }
    defer { unflushed.removeFirst(count) }
    return unflushed[..<count]
  }

  /// The only copy lost its cache: what was not flushed may be gone, or not. An application that goes on with what is
  /// left has to hear if something is.
  func loseUnflushed(applicationGoesOnWith disk: FakeDisk?) {
    if let disk, unflushed.contains(where: { !isThere(writes[$0], disk) }) { owesFailure = moment() }
    for number in unflushed { lose(number) }
    unflushed.removeAll()
  }

  private func isThere(_ write: Write, _ disk: FakeDisk) -> Bool {
    let sectors = write.start..<write.start + write.count
    return sectors.upperBound <= disk.cache.sectors && sectors.allSatisfy { allows(disk.cache[$0], at: $0) }
  }

  private func lose(_ number: Int) {
    writes[number].lost = true
    let write = writes[number]
    floor.copy(write.start, write.count, from: durableFloor)
  }

  private func raise(_ map: StampMap, _ write: Write) {
    let submitted = write.submitted
    map.forParts(write.start, write.count) { part, _, here in
      for i in 0..<here where part[i] < submitted { part[i] = submitted }
    }
  }

  /// Whether a sector may contain this now.
  @inline(__always) func allows(_ stamp: Stamp, at sector: Int) -> Bool {
    allows(stamp, at: sector, floor: floor[sector])
  }

  /// Whether a sector may contain this after a power cut.
  func allowsDurably(_ stamp: Stamp, at sector: Int) -> Bool { allows(stamp, at: sector, floor: durableFloor[sector]) }

  /// Whether a read that began at this moment may have returned it.
  func allowed(_ stamp: Stamp, at sector: Int, since began: UInt32) -> Bool {
    if allows(stamp, at: sector) { return true }
    var number = writes.count - 1
    while number > 0 {
      let write = writes[number]
      if write.answered, !write.lost, write.ended < began, sector >= write.start, sector < write.start + write.count {
        return allows(stamp, at: sector, floor: write.submitted)
      }
      number -= 1
    }
    return allows(stamp, at: sector, floor: 0)
  }

  private func allows(_ stamp: Stamp, at sector: Int, floor: UInt32) -> Bool {
    let number = Stamps.write(of: stamp)
    if number > 0 {
      guard number < writes.count else { return false }
      let write = writes[number]
      return write.action == .data && write.start + Stamps.sector(of: stamp) == sector && write.ended >= floor
    }
    if floor == 0, stamp == original { return true }
    guard stamp == Stamps.zero || stamp == Stamps.discarded else { return false }
    if explains(latestFill, stamp, sector, floor) { return true }
    for number in fills.reversed() where explains(number, stamp, sector, floor) {
      latestFill = number
      return true
    }
    return false
  }

  /// Whether this zeroing or discard may have left it.
  @inline(__always) private func explains(_ number: Int, _ stamp: Stamp, _ sector: Int, _ floor: UInt32) -> Bool {
    let write = writes[number]
    return sector >= write.start && sector < write.start + write.count && write.ended >= floor
      && (write.action == .discard || stamp == Stamps.zero)
  }

  /// Pieces of 4 MiB that the application has touched.
  func isTouched(piece: Int) -> Bool { floor.pieces[piece] != nil }

  /// What is known about a sector, for a report.
  func explain(_ sector: Int) -> String {
    var text = ""
    var shown = 0
    for number in stride(from: writes.count - 1, to: 0, by: -1) {
      let write = writes[number]
      guard sector >= write.start, sector < write.start + write.count else { continue }
      text += " #\(number) \(write.action)"
      text +=
        write.answered
        ? (write.lost ? " (answered, not flushed)" : " (answered)")
        : write.ended == .max ? " (under way)" : " (never answered)"
      shown += 1
      if shown == 5 { break }
    }
    return shown == 0 ? "never written" : "written, latest first:" + text
  }
}
