// Images of metadata devices for tests: only pages that are not all zero are kept, so a 1 TiB device costs nothing.
// Reads the fixtures' sparse text and writes sparse files for the real tools.
import Base
import Foundation
import MetaDisk
import Testing

struct SparseImage: Equatable {
  var size: UInt64
  private var pages: [UInt64: [UInt8]] = [:]

  init(size: UInt64) { self.size = size }

  func read(_ offset: UInt64, _ count: Int) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(count)
    var at = offset
    while result.count < count {
      let within = Int(at % 4096)
      let n = min(4096 - within, count - result.count)
      if let page = pages[at / 4096] {
        result += page[within..<within + n]
      } else {
        result += [UInt8](repeating: 0, count: n)
      }
      at += UInt64(n)
    }
    return result
  }

  mutating func write(_ offset: UInt64, _ bytes: [UInt8]) {
    var done = 0
    while done < bytes.count {
      let at = offset + UInt64(done)
      let within = Int(at % 4096)
      let n = min(4096 - within, bytes.count - done)
      var page = pages[at / 4096] ?? [UInt8](repeating: 0, count: 4096)
      page.replaceSubrange(within..<within + n, with: bytes[done..<done + n])
      pages[at / 4096] = page.allSatisfy { $0 == 0 } ? nil : page
      done += n
    }
  }

  /// `size BYTES`, then `HEXOFFSET 32HEXDIGITS [*N]` per row of 16 bytes.
  init(sparseText: String) throws {
    struct Malformed: Error {}
    var lines = sparseText.split(separator: "\n").makeIterator()
    guard let first = lines.next(), first.hasPrefix("size "), let size = UInt64(first.dropFirst(5)) else {
      throw Malformed()
    }
    self.init(size: size)
    while let line = lines.next() {
      let words = line.split(separator: " ")
      guard words.count >= 2, let offset = UInt64(words[0], radix: 16) else { throw Malformed() }
      var row: [UInt8] = []
      var digits = words[1]
      while !digits.isEmpty {
        guard let byte = UInt8(digits.prefix(2), radix: 16) else { throw Malformed() }
        row.append(byte)
        digits = digits.dropFirst(2)
      }
      let times = words.count > 2 ? Int(words[2].dropFirst()) ?? 1 : 1
      let end = min(size - offset, UInt64(times * 16))
      var bytes: [UInt8] = []
      bytes.reserveCapacity(times * 16)
      for _ in 0..<times { bytes += row }
      write(offset, Array(bytes.prefix(Int(end))))
    }
  }

  init(file: URL) throws {
    let handle = try FileHandle(forReadingFrom: file)
    let size = try handle.seekToEnd()
    self.init(size: size)
    var at: UInt64 = 0
    while at < size {
      let data = lseek(handle.fileDescriptor, off_t(at), 3)  // SEEK_DATA
      if data < 0 { break }
      let hole = lseek(handle.fileDescriptor, data, 4)  // SEEK_HOLE
      try handle.seek(toOffset: UInt64(data))
      var next = UInt64(data)
      while next < UInt64(hole) {
        guard let bytes = try handle.read(upToCount: min(1 << 20, Int(UInt64(hole) - next))), !bytes.isEmpty else {
          break
        }
        write(next, [UInt8](bytes))
        next += UInt64(bytes.count)
      }
      at = UInt64(hole)
    }
    try handle.close()
  }

  func store(to file: URL) throws {
    try Data().write(to: file)
    let handle = try FileHandle(forWritingTo: file)
    try handle.truncate(atOffset: size)
    for (page, bytes) in pages {
      try handle.seek(toOffset: page * 4096)
      try handle.write(contentsOf: bytes.prefix(Int(min(4096, size - page * 4096))))
    }
    try handle.close()
  }
}

/// One file of `Tests/Fixtures/metadata`.
struct Fixture: CustomTestStringConvertible, Sendable {
  let name: String
  static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("Fixtures/metadata")

  static let all: [Fixture] = {
    let found = Result { try FileManager.default.contentsOfDirectory(atPath: directory.path) }
    guard case .success(let names) = found else { return [] }
    return names.filter { $0.hasSuffix(".sparse") }.sorted().map { Fixture(name: String($0.dropLast(7))) }
  }()

  var testDescription: String { name }
  var format: MetaFormat { name.hasPrefix("v08") ? .v08 : .v09 }
  var location: MetaLocation {
    if name.contains("flexext") { return .external }
    if name.contains("index1") { return .indexed(1) }
    return name.contains("index0") ? .indexed(0) : .internal
  }
  func text(_ suffix: String) throws -> String {
    try String(contentsOf: Fixture.directory.appendingPathComponent(name + suffix), encoding: .utf8)
  }
  func image() throws -> SparseImage { try SparseImage(sparseText: text(".sparse")) }
}

/// What any test does with an image.
struct OpenedImage {
  var image: SparseImage
  var superblock: Superblock
  var placement: Placement

  init(_ image: SparseImage, _ location: MetaLocation) throws {
    let at = try Placement.superblockOffset(location: location, deviceBytes: image.size)
    let block = image.read(at, 4096)
    superblock = try Superblock(reading: block.span.bytes)
    placement = try Placement(superblock: superblock, location: location, deviceBytes: image.size)
    self.image = image
  }

  init(creating format: MetaFormat, _ placement: Placement) {
    image = SparseImage(size: placement.deviceBytes)
    self.placement = placement
    superblock = Superblock(creating: format, at: placement)
    initializeLog()
    storeSuperblock()
  }

  mutating func initializeLog() {
    let block = bytes(4096, ActivityLogBlock.initialize)
    for i in 0..<UInt64(placement.activityLogBlocks) { image.write(placement.activityLogOffset + i * 4096, block) }
  }

  mutating func storeSuperblock() {
    image.write(placement.superblockOffset, bytes(4096, superblock.write))
  }

  func replay() throws(MetaFault) -> ActivityLogReplay.Outcome {
    var replay = ActivityLogReplay(stripes: placement.alStripes, stripeSize4k: placement.alStripeSize4k)
    for i in 0..<placement.activityLogBlocks {
      let block = image.read(placement.activityLogOffset + UInt64(i) * 4096, 4096)
      replay.absorb(i, block)
    }
    return try replay.finish()
  }

  func bitmap(slot: Int = 0) -> Bitmap {
    var bitmap = Bitmap(bits: superblock.effectiveSize.bits, maxPeers: Int(superblock.maxPeers), slotIndex: slot)
    for page in 0..<bitmap.pageCount {
      let block = image.read(placement.bitmapOffset + UInt64(page) * 4096, 4096)
      bitmap.absorb(page: page, from: block.span.bytes)
    }
    return bitmap
  }

  mutating func store(_ bitmap: borrowing Bitmap) {
    for page in 0..<bitmap.pageCount {
      image.write(placement.bitmapOffset + UInt64(page) * 4096, render(bitmap, page))
    }
  }

  /// What `repladm apply-al` does. Returns the newly set bits.
  mutating func applyActivityLog() throws -> UInt64 {
    let replayed = Result { () throws(MetaFault) in try replay() }
    let plan = try ActivityLogApplication(superblock: superblock, replay: replayed)
    var map = bitmap()
    var added: UInt64 = 0
    for extent in plan.marked { added += map.markOutOfSync(extent) }
    store(map)
    if plan.initializesLog { initializeLog() }
    superblock = plan.superblock
    storeSuperblock()
    return added
  }
}

func bytes(_ count: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) -> [UInt8] {
  [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
    fill(UnsafeMutableRawBufferPointer(buffer))
    initialized = count
  }
}

func render(_ bitmap: borrowing Bitmap, _ page: UInt32) -> [UInt8] {
  let result = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
  defer { result.deallocate() }
  bitmap.render(page: page, into: result)
  return [UInt8](result)
}

func render(_ log: borrowing ActivityLog) -> [UInt8] {
  let result = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 4096)
  defer { result.deallocate() }
  log.render(into: result)
  return [UInt8](result)
}

/// `#expect` and `#require` for expressions that call noncopyable values, which the macros cannot take apart.
func check(_ holds: Bool, _ comment: Comment? = nil, at location: SourceLocation = #_sourceLocation) {
  #expect(holds, comment, sourceLocation: location)
}

func required<T>(_ value: T?, at location: SourceLocation = #_sourceLocation) throws -> T {
  try #require(value, sourceLocation: location)
}

extension ActivityLogReplay {
  mutating func absorb(_ index: UInt32, _ bytes: [UInt8]) { absorb(block: index, bytes.span.bytes) }
}
