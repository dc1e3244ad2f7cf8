// One backing device with its volatile write cache: data as stamps, metadata as real bytes. Laws: a completed write is
// read back at once but survives a power cut only by chance, until a flush that was started after it has completed; a
// FUA write and a metadata barrier are durable when they complete.
import Base
import Engine
import MetaDisk

final class FakeDisk {
  private(set) var facts: DiskFacts
  /// Sectors in front of the metadata, before the device grows.
  let dataSectors: Int
  /// So many bytes it may still grow by, and the sizes it has had.
  private(set) var room: UInt64
  private(set) var sizes: [UInt64]
  /// The metadata area: position on its device, and length in 4 KiB blocks.
  let metaStart: UInt64
  let metaBlocks: Int

  let cache: StampMap
  let durable: StampMap
  let meta: UnsafeMutableRawBufferPointer
  let metaDurable: UnsafeMutableRawBufferPointer

  /// Which blocks of the metadata area are what.
  var logBlocks = 0..<0
  var bitmapBlocks = 0..<0

  /// Fails everything while set.
  var broken = false
  /// Plants a fault: flushes are answered and not done.
  var forgetsFlushes = false

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
  private(set) var unflushed: [Unflushed] = []
  private var completed = 0
  private var stamps: [Stamp] = []
  private var blocks: [UInt8] = []
  private static let mostUnflushed = 768

  init(
    facts: DiskFacts, dataSectors: Int, metaStart: UInt64, metaBytes: Int, original: Stamp, room: UInt64, hidden: Stamp
  ) {
    self.facts = facts
    self.dataSectors = dataSectors
    self.room = room
    sizes = [facts.dataBytes]
    self.metaStart = metaStart
    metaBlocks = metaBytes / 4096
    let reach = room == 0 ? dataSectors : Int((facts.dataBytes + room) / 512)
    cache = StampMap(sectors: reach, fill: original)
    durable = StampMap(sectors: reach, fill: original)
    cache.fill(dataSectors, reach - dataSectors, with: hidden)
    durable.fill(dataSectors, reach - dataSectors, with: hidden)
    meta = .allocate(byteCount: metaBytes, alignment: 4096)
    metaDurable = .allocate(byteCount: metaBytes, alignment: 4096)
    meta.initializeMemory(as: UInt8.self, repeating: 0)
    metaDurable.initializeMemory(as: UInt8.self, repeating: 0)
    unflushed.reserveCapacity(Self.mostUnflushed + 1)
  }

  deinit {
    meta.deallocate()
    metaDurable.deallocate()
  }

  /// The metadata as create-md leaves it, durable.
  func format(_ write: (UnsafeMutableRawBufferPointer) -> Void) {
    write(meta)
    metaDurable.copyMemory(from: UnsafeRawBufferPointer(meta))
  }

  /// Everything completed so far lies in front of this mark.
  var mark: Int { completed + 1 }

  /// The device is larger from now on.
  func grow(by bytes: UInt64) {
    precondition(bytes <= room, "no room to grow")
    room -= bytes
    resize(to: facts.dataBytes + bytes)
    sizes.append(facts.dataBytes)
  }

  /// To one of the sizes it has had.
  func resize(to bytes: UInt64) {
    if facts.metaBytes == facts.dataBytes { facts.metaBytes = bytes }
    facts.dataBytes = bytes
  }

  // MARK: completion of operations

  func completeWrite(_ start: Int, _ count: Int, _ contents: UnsafePointer<Stamp>, fua: Bool) {
    cache.write(start, count, from: contents)
    if fua && !forgetsFlushes {
      overtake(start, count) { contents[$0] }
      durable.write(start, count, from: contents)
      return
    }
    let at = stamps.count
    stamps.append(contentsOf: UnsafeBufferPointer(start: contents, count: count))
    remember(Unflushed(what: .stamps, start: start, count: count, contents: at))
  }

  func completeFill(_ start: Int, _ count: Int, _ stamp: Stamp) {
    cache.fill(start, count, with: stamp)
    remember(Unflushed(what: .fill, start: start, count: count, contents: Int(stamp)))
  }

  /// `barrier`: the mark taken when the write was started.
  func completeMeta(_ block: Int, _ bytes: UnsafeRawBufferPointer, barrier: Int?) {
    precondition(block >= 0 && block < metaBlocks, "metadata beyond its area")
    UnsafeMutableRawBufferPointer(rebasing: meta[block * 4096..<block * 4096 + 4096]).copyMemory(from: bytes)
    guard let barrier, !forgetsFlushes else {
      let at = blocks.count
      blocks.append(contentsOf: bytes)
      remember(Unflushed(what: .meta, start: block, count: 1, contents: at))
      return
    }
    flush(upTo: barrier)
    unflushed.removeAll { $0.what == .meta && $0.start == block }
    harden(block, bytes)
  }

  func harden(_ block: Int, _ bytes: UnsafeRawBufferPointer) {
    UnsafeMutableRawBufferPointer(rebasing: metaDurable[block * 4096..<block * 4096 + 4096]).copyMemory(from: bytes)
  }

  func flush(upTo mark: Int) {
    if forgetsFlushes { return }
    var count = 0
    while count < unflushed.count, unflushed[count].serial < mark {
      settle(unflushed[count])
      count += 1
    }
    drop(count)
  }

  /// Makes one record durable.
  private func settle(_ record: Unflushed) {
    switch record.what {
    case .stamps:
      stamps.withUnsafeBufferPointer {
        durable.write(record.start, record.count, from: $0.baseAddress! + record.contents)
      }
    case .fill: durable.fill(record.start, record.count, with: Stamp(record.contents))
    case .meta:
      blocks.withUnsafeBytes {
        harden(record.start, UnsafeRawBufferPointer(rebasing: $0[record.contents..<record.contents + 4096]))
      }
    }
  }

  private func drop(_ count: Int) {
    if count == unflushed.count {
      unflushed.removeAll(keepingCapacity: true)
      stamps.removeAll(keepingCapacity: true)
      blocks.removeAll(keepingCapacity: true)
    } else {
      unflushed.removeFirst(count)
    }
  }

  private func remember(_ record: Unflushed) {
    completed += 1
    unflushed.append(record)
    unflushed[unflushed.count - 1].serial = completed
    // A cache that is full writes its older half back by itself.
    if unflushed.count > Self.mostUnflushed {
      for i in 0..<Self.mostUnflushed / 2 { settle(unflushed[i]) }
      drop(Self.mostUnflushed / 2)
      compact()
    }
  }

  private func compact() {
    var newStamps: [Stamp] = []
    var newBlocks: [UInt8] = []
    for i in unflushed.indices {
      let from = unflushed[i].contents
      switch unflushed[i].what {
      case .stamps:
        unflushed[i].contents = newStamps.count
        newStamps.append(contentsOf: stamps[from..<from + unflushed[i].count])
      case .meta:
        unflushed[i].contents = newBlocks.count
        newBlocks.append(contentsOf: blocks[from..<from + 4096])
      case .fill: break
      }
    }
    stamps = newStamps
    blocks = newBlocks
  }

  /// Older records of these sectors must not come back over what is durable now.
  private func overtake(_ start: Int, _ count: Int, _ contents: (Int) -> Stamp) {
    let end = start + count
    var i = 0
    while i < unflushed.count {
      let record = unflushed[i]
      if record.what == .meta || record.start >= end || start >= record.start + record.count {
        i += 1
        continue
      }
      if record.what == .fill { unfold(i) }
      let base = unflushed[i].contents
      for sector in max(start, record.start)..<min(end, record.start + record.count) {
        stamps[base + sector - record.start] = contents(sector - start)
      }
      i += 1
    }
  }

  /// Gives a fill a stamp per sector.
  private func unfold(_ i: Int) {
    let stamp = Stamp(unflushed[i].contents)
    unflushed[i].contents = stamps.count
    unflushed[i].what = .stamps
    stamps.append(contentsOf: repeatElement(stamp, count: unflushed[i].count))
  }

  // MARK: the power goes

  /// Every record survives or not, each by itself. What is being written (`inFlight`) may survive in parts.
  func losePower(_ random: inout SeededGenerator) {
    let survives = 1 + random.below(4)
    for record in unflushed where !random.oneIn(survives) { settle(record) }
    for record in unflushed {
      switch record.what {
      case .stamps, .fill: cache.copy(record.start, record.count, from: durable)
      case .meta: break
      }
    }
    drop(unflushed.count)
    meta.copyMemory(from: UnsafeRawBufferPointer(metaDurable))
  }

  /// A write that was under way when the power or the process went: pieces of 4 KiB reached the medium.
  func tear(_ start: Int, _ count: Int, _ random: inout SeededGenerator, _ contents: (Int) -> Stamp) {
    let mode = random.below(4)
    var sector = start
    while sector < start + count {
      let end = min(start + count, (sector | 7) + 1)
      if mode == 1 || (mode > 1 && random.oneIn(2)) {
        for s in sector..<end {
          durable.write(s, 1, from: [contents(s - start)])
          cache.write(s, 1, from: [contents(s - start)])
        }
      }
      sector = end
    }
  }

  /// A metadata write that was under way. Superblocks and bitmap pages are old or new; a block of the activity log may
  /// be torn at 512 bytes.
  func tearMeta(_ block: Int, _ bytes: UnsafeRawBufferPointer, torn: Bool, _ random: inout SeededGenerator) {
    precondition(block >= 0 && block < metaBlocks, "metadata beyond its area")
    let mode = random.below(torn ? 3 : 2)
    for part in 0..<8 where mode == 1 || (mode == 2 && random.oneIn(2)) {
      let from = UnsafeRawBufferPointer(rebasing: bytes[part * 512..<part * 512 + 512])
      let at = block * 4096 + part * 512
      UnsafeMutableRawBufferPointer(rebasing: metaDurable[at..<at + 512]).copyMemory(from: from)
      UnsafeMutableRawBufferPointer(rebasing: meta[at..<at + 512]).copyMemory(from: from)
    }
  }
}
