// The volatile write cache of one device. Law: a completed write survives a power cut only by chance, whole or in parts of a
// sector, until a flush that was started after it has completed.
import Base

/// A completed write that is not durable yet.
struct Unflushed {
  enum What { case stamps, fill, meta }
  var what: What
  var start: Int
  var count: Int
  /// Position of its contents in `stamps` or `blocks`; the stamp itself for a fill.
  var contents: Int
  /// Counts completed writes of this device.
  var serial = 0
}

final class WriteCache {
  private let durable: StampMap
  private let metaDurable: UnsafeMutableRawBufferPointer
  /// 512-byte sectors that are written whole or not at all.
  private let unit: Int
  private(set) var records: [Unflushed] = []
  private var completed = 0
  private var stamps: [Stamp] = []
  private var blocks: [UInt8] = []
  private static let most = 768

  /// What becomes durable goes to these two.
  init(durable: StampMap, metaDurable: UnsafeMutableRawBufferPointer, unit: Int) {
    self.durable = durable
    self.metaDurable = metaDurable
    self.unit = unit
    records.reserveCapacity(Self.most + 1)
  }

  /// Everything completed so far lies in front of this mark.
  var mark: Int { completed + 1 }

  func add(_ start: Int, _ count: Int, _ contents: UnsafePointer<Stamp>) {
    let at = stamps.count
    stamps.append(contentsOf: UnsafeBufferPointer(start: contents, count: count))
    remember(Unflushed(what: .stamps, start: start, count: count, contents: at))
  }

  func add(_ start: Int, _ count: Int, fill stamp: Stamp) {
    remember(Unflushed(what: .fill, start: start, count: count, contents: Int(stamp)))
  }

  func add(block: Int, _ bytes: UnsafeRawBufferPointer) {
    let at = blocks.count
    blocks.append(contentsOf: bytes)
    remember(Unflushed(what: .meta, start: block, count: 1, contents: at))
  }

  private func remember(_ record: Unflushed) {
    completed += 1
    records.append(record)
    records[records.count - 1].serial = completed
    // A cache that is full writes its older half back by itself.
    if records.count > Self.most {
      for i in 0..<Self.most / 2 { settle(records[i]) }
      drop(Self.most / 2)
      compact()
    }
  }

  func flush(upTo mark: Int) {
    var count = 0
    while count < records.count, records[count].serial < mark {
      settle(records[count])
      count += 1
    }
    drop(count)
  }

  /// The block is durable in a newer state.
  func forget(block: Int) { records.removeAll { $0.what == .meta && $0.start == block } }

  /// Older records of these sectors must not come back over what is durable now.
  func overtake(_ start: Int, _ count: Int, _ contents: (Int) -> Stamp) {
    let end = start + count
    var i = 0
    while i < records.count {
      let record = records[i]
      if record.what == .meta || record.start >= end || start >= record.start + record.count {
        i += 1
        continue
      }
      if record.what == .fill { unfold(i) }
      let base = records[i].contents
      for sector in max(start, record.start)..<min(end, record.start + record.count) {
        stamps[base + sector - record.start] = contents(sector - start)
      }
      i += 1
    }
  }

  /// Gives a fill a stamp per sector.
  private func unfold(_ i: Int) {
    let stamp = Stamp(records[i].contents)
    records[i].contents = stamps.count
    records[i].what = .stamps
    stamps.append(contentsOf: repeatElement(stamp, count: records[i].count))
  }

  /// Every record survives or not, each by itself, and some of them in parts.
  func losePower(_ random: inout SeededGenerator) {
    let survives = 1 + random.below(4)
    for record in records {
      if !random.oneIn(survives) {
        settle(record)
      } else if random.oneIn(4) {
        let seed = random.next()
        var apart = SeededGenerator(seed: seed)
        let sectors = record.what == .meta ? 8 : record.count
        var sector = 0
        while sector < sectors {
          let next = min(sectors, (record.start + sector) / unit * unit + unit - record.start)
          let end = record.what == .meta ? min(sectors, sector + unit) : next
          if apart.oneIn(2) { settle(record, sector..<end) }
          sector = end
        }
      }
    }
  }

  func removeAll() { drop(records.count) }

  /// Makes one record durable.
  private func settle(_ record: Unflushed) { settle(record, 0..<(record.what == .meta ? 8 : record.count)) }

  private func settle(_ record: Unflushed, _ sectors: Range<Int>) {
    switch record.what {
    case .stamps:
      stamps.withUnsafeBufferPointer {
        durable.write(
          record.start + sectors.lowerBound, sectors.count, from: $0.baseAddress! + record.contents + sectors.lowerBound
        )
      }
    case .fill: durable.fill(record.start + sectors.lowerBound, sectors.count, with: Stamp(record.contents))
    case .meta:
      blocks.withUnsafeBytes {
        let from = record.contents + sectors.lowerBound * 512
        let at = record.start * 4096 + sectors.lowerBound * 512
        UnsafeMutableRawBufferPointer(rebasing: metaDurable[at..<at + sectors.count * 512]).copyMemory(
          from: UnsafeRawBufferPointer(rebasing: $0[from..<from + sectors.count * 512]))
      }
    }
  }

  private func drop(_ count: Int) {
    if count == records.count {
      records.removeAll(keepingCapacity: true)
      stamps.removeAll(keepingCapacity: true)
      blocks.removeAll(keepingCapacity: true)
    } else {
      records.removeFirst(count)
    }
  }

  private func compact() {
    var newStamps: [Stamp] = []
    var newBlocks: [UInt8] = []
    for i in records.indices {
      let from = records[i].contents
      switch records[i].what {
      case .stamps:
        records[i].contents = newStamps.count
        newStamps.append(contentsOf: stamps[from..<from + records[i].count])
      case .meta:
        records[i].contents = newBlocks.count
        newBlocks.append(contentsOf: blocks[from..<from + 4096])
      case .fill: break
      }
    }
    stamps = newStamps
    blocks = newBlocks
  }
}
