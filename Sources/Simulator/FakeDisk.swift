// One backing disk: data as stamps, metadata as real bytes, on one device or on two that have a volatile cache each. Laws: a
// completed write is read back at once but survives a power cut only by chance, until a flush of its own device that was
// started after it has completed; a FUA write and a metadata barrier are durable when they complete; a sector is old or new.
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
  /// Plants a fault: a barrier of metadata on a device of their own does not flush the data.
  var barriersSpareData = false

  /// Data and metadata share a cache when they share a device.
  private let dataCache: WriteCache
  private let metaCache: WriteCache
  var isOnOneDevice: Bool { dataCache === metaCache }
  /// Bytes that a power cut leaves whole.
  private let sector: Int

  init(
    facts: DiskFacts, dataSectors: Int, metaStart: UInt64, metaBytes: Int, isOnOneDevice: Bool, original: Stamp,
    room: UInt64, hidden: Stamp, reach: Int? = nil
  ) {
    self.facts = facts
    self.dataSectors = dataSectors
    self.room = room
    sizes = [facts.dataBytes]
    self.metaStart = metaStart
    metaBlocks = metaBytes / 4096
    let reach = reach ?? (room == 0 ? dataSectors : Int((facts.dataBytes + room) / 512))
    cache = StampMap(sectors: reach, fill: original)
    durable = StampMap(sectors: reach, fill: original)
    cache.fill(dataSectors, reach - dataSectors, with: hidden)
    durable.fill(dataSectors, reach - dataSectors, with: hidden)
    meta = .allocate(byteCount: metaBytes, alignment: 4096)
    metaDurable = .allocate(byteCount: metaBytes, alignment: 4096)
    meta.initializeMemory(as: UInt8.self, repeating: 0)
    metaDurable.initializeMemory(as: UInt8.self, repeating: 0)
    sector = Int(facts.logicalBlock)
    dataCache = WriteCache(durable: durable, metaDurable: metaDurable, unit: sector / 512)
    metaCache =
      isOnOneDevice ? dataCache : WriteCache(durable: durable, metaDurable: metaDurable, unit: sector / 512)
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
  struct Mark {
    var data = 0
    var meta = 0
  }
  var mark: Mark { Mark(data: dataCache.mark, meta: metaCache.mark) }

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
      dataCache.overtake(start, count) { contents[$0] }
      durable.write(start, count, from: contents)
      return
    }
    dataCache.add(start, count, contents)
  }

  func completeFill(_ start: Int, _ count: Int, _ stamp: Stamp) {
    cache.fill(start, count, with: stamp)
    dataCache.add(start, count, fill: stamp)
  }

  /// `mark`: taken when the write was started.
  func completeMeta(_ block: Int, _ bytes: UnsafeRawBufferPointer, _ barrier: WriteBarrier, _ mark: Mark) {
    precondition(block >= 0 && block < metaBlocks, "metadata beyond its area")
    UnsafeMutableRawBufferPointer(rebasing: meta[block * 4096..<block * 4096 + 4096]).copyMemory(from: bytes)
    if barrier == .nothing || forgetsFlushes {
      metaCache.add(block: block, bytes)
      return
    }
    flush(mark, for: barrier)
    metaCache.forget(block: block)
    UnsafeMutableRawBufferPointer(rebasing: metaDurable[block * 4096..<block * 4096 + 4096]).copyMemory(from: bytes)
  }

  /// The device with the data.
  func flush(_ mark: Mark) { if !forgetsFlushes { dataCache.flush(upTo: mark.data) } }

  /// What a barrier asks for.
  func flush(_ mark: Mark, for barrier: WriteBarrier) {
    if barrier == .everything, !barriersSpareData { flush(mark) }
    flushMeta(mark)
  }

  /// The device with the metadata.
  func flushMeta(_ mark: Mark) { if !forgetsFlushes { metaCache.flush(upTo: mark.meta) } }

  // MARK: the power goes

  /// What is completed and not flushed survives or not, on each device by itself.
  func losePower(_ random: inout SeededGenerator) {
    dataCache.losePower(&random)
    for record in dataCache.records where record.what != .meta {
      cache.copy(record.start, record.count, from: durable)
    }
    dataCache.removeAll()
    if metaCache !== dataCache {
      metaCache.losePower(&random)
      metaCache.removeAll()
    }
    meta.copyMemory(from: UnsafeRawBufferPointer(metaDurable))
  }

  /// A write that was under way when the power went: some of its sectors reached the medium.
  func tear(_ start: Int, _ count: Int, _ random: inout SeededGenerator, _ contents: (Int) -> Stamp) {
    let mode = random.below(4)
    // Most writes are torn in pieces of 4 KiB, some in the smallest there are.
    let unit = mode == 3 ? sector / 512 : 8
    var sector = start
    while sector < start + count {
      let end = min(start + count, sector / unit * unit + unit)
      if mode == 1 || (mode > 1 && random.oneIn(2)) {
        for s in sector..<end {
          durable.write(s, 1, from: [contents(s - start)])
          cache.write(s, 1, from: [contents(s - start)])
        }
      }
      sector = end
    }
  }

  /// A metadata write that was under way when the power went: none, all, or some of its sectors reached the medium.
  func tearMeta(_ block: Int, _ bytes: UnsafeRawBufferPointer, _ random: inout SeededGenerator) {
    precondition(block >= 0 && block < metaBlocks, "metadata beyond its area")
    let mode = random.below(3)
    var from = 0
    while from < 4096 {
      let end = from + sector
      if mode == 1 || (mode == 2 && random.oneIn(2)) {
        let part = UnsafeRawBufferPointer(rebasing: bytes[from..<end])
        let at = block * 4096 + from
        UnsafeMutableRawBufferPointer(rebasing: metaDurable[at..<at + sector]).copyMemory(from: part)
        UnsafeMutableRawBufferPointer(rebasing: meta[at..<at + sector]).copyMemory(from: part)
      }
      from = end
    }
  }
}
