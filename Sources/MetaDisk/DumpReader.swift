// Reads the text of `dump-md` back (`restore-md`, `verify-dump`; metadata spec 5.2). The order of the items is fixed,
// every number is checked, and what is wrong is named with its line.
import Base

/// Metadata out of a dump: everything but its place.
public struct DumpedMetadata: Equatable, Sendable {
  struct Run: Equatable, Sendable {
    var count: UInt64
    var word: UInt64
  }

  /// Sizes and offsets are not filled in.
  var superblock: Superblock
  /// Per slot, from bit 0 on.
  var runs: [[Run]]

  public var format: MetaFormat { superblock.format }
  public var maxPeers: UInt32 { superblock.maxPeers }

  /// Where it would lie on a device.
  public func placement(location: MetaLocation, deviceBytes: UInt64) throws(MetaFault) -> Placement {
    try Placement(
      location: location, deviceBytes: deviceBytes, peers: superblock.maxPeers, alStripes: superblock.alStripes,
      alStripeSize4k: superblock.alStripeSize4k)
  }

  /// The superblock to write there. An agreed size beyond what fits is cut, and returned as `truncatedFrom`.
  public func restored(
    at placement: Placement, dataDeviceBytes: UInt64
  ) -> (superblock: Superblock, truncatedFrom: SectorCount?) {
    var result = superblock
    result.place(at: placement)
    let usable = placement.usableSectors(dataDeviceBytes: dataDeviceBytes)
    guard result.effectiveSize > usable else { return (result, nil) }
    result.effectiveSize = usable
    return (result, superblock.effectiveSize)
  }

  /// The bitmap of all slots for a size; every page of it has to be written.
  public func bitmap(sectors: SectorCount) -> Bitmap {
    var bitmap = Bitmap(bits: sectors.bits, maxPeers: Int(superblock.maxPeers))
    for (slot, runs) in runs.enumerated() {
      var at = 0
      for run in runs {
        let stop = min(UInt64(bitmap.wordsPerSlot), UInt64(at) + run.count)
        while at < stop {
          bitmap.slot(slot)[at] = run.word
          at += 1
        }
      }
      if bitmap.wordsPerSlot > 0 { bitmap.slot(slot)[bitmap.wordsPerSlot - 1] &= bitmap.lastWordMask }
    }
    bitmap.recount()
    bitmap.markAllDirty()
    return bitmap
  }
}

extension DumpedMetadata {
  public init(text: String) throws(MetaFault) {
    var reader = DumpReader(Array(text.utf8))
    self = try reader.metadata()
  }
}

struct DumpReader {
  private enum Token: Equatable {
    case word(String)
    case string(String)
    case number(Int64)
    case hex(UInt64, digits: Int)
    case mark(UInt8)
    case end
  }

  private let text: [UInt8]
  private var at = 0
  private var line = 1
  /// Line of the token read last.
  private var tokenLine = 1

  init(_ text: [UInt8]) { self.text = text }

  mutating func metadata() throws(MetaFault) -> DumpedMetadata {
    try word("version")
    guard case .string(let name) = try token(), let format = MetaFormat.allCases.first(where: { $0.name == name })
    else {
      throw syntax("\"v08\" or \"v09\"")
    }
    try mark(";")
    var sb = Superblock(unplaced: format)
    if format == .v08 { try readV08(into: &sb) } else { try readV09(into: &sb) }
    sb.effectiveSize = SectorCount(UInt64(try value("la-size-sect", 0...Int64(Placement.maxSectors))))
    guard try value("bm-byte-per-bit", 0...1_048_576) == 4096 else { throw syntax("4096") }
    sb.deviceUUID = try hexValue("device-uuid", digits: 16)
    sb.peerMaxBioSize = UInt32(try value("la-peer-max-bio-size", 0...Int64(UInt32.max)))
    sb.alStripes = UInt32(try value("al-stripes", 1...4_194_304))
    sb.alStripeSize4k = UInt32(try value("al-stripe-size-4k", 1...4_194_304))
    var runs: [[DumpedMetadata.Run]] = []
    let words = (sb.effectiveSize.bits + 63) / 64
    for slot in 0..<Int64(sb.maxPeers) {
      try word(format == .v08 ? "bm" : "bitmap")
      if format == .v09 { try index(slot...slot) }
      // A slot may be padded by what rounding the area to 4 KiB leaves.
      runs.append(try bitmapBody(limit: words == 0 ? 0 : words + 512))
    }
    if try token() != .end { throw syntax("the end of the dump") }
    return DumpedMetadata(superblock: sb, runs: runs)
  }

  private mutating func readV08(into sb: inout Superblock) throws(MetaFault) {
    try word("uuid")
    try mark("{")
    sb.current = try hexItem()
    sb.peers[0].bitmapUUID = try hexItem()
    sb.history[0] = try hexItem()
    sb.history[1] = try hexItem()
    sb.flags = DeviceFlags(rawValue: UInt32(try hexValue("flags", digits: 8)))
    try mark("}")
  }

  private mutating func readV09(into sb: inout Superblock) throws(MetaFault) {
    sb.maxPeers = UInt32(try value("max-peers", 1...31))
    sb.nodeID = Int32(try value("node-id", -1...31))
    sb.current = try hexValue("current-uuid", digits: 16)
    sb.flags = DeviceFlags(rawValue: UInt32(try hexValue("flags", digits: 8)))
    if peekWord("members") { sb.members = try hexValue("members", digits: 16) }
    var seen = Set<Int>()
    while seen.count < Superblock.nodes {
      try word("peer")
      let node = Int(try index(0...31))
      guard seen.insert(node).inserted else { throw syntax("each peer once") }
      try mark("{")
      sb.peers[node].bitmapIndex = Int32(try value("bitmap-index", -1...Int64(sb.maxPeers) - 1))
      sb.peers[node].bitmapUUID = try hexValue("bitmap-uuid", digits: 16)
      sb.peers[node].bitmapDagtag = try hexValue("bitmap-dagtag", digits: 16)
      sb.peers[node].flags = PeerFlags(rawValue: UInt32(try hexValue("flags", digits: 8)))
      try mark("}")
    }
    try word("history-uuids")
    try mark("{")
    for i in 0..<Superblock.nodes { sb.history[i] = try hexItem() }
    try mark("}")
  }

  private mutating func bitmapBody(limit: UInt64) throws(MetaFault) -> [DumpedMetadata.Run] {
    try mark("{")
    var runs: [DumpedMetadata.Run] = []
    var total: UInt64 = 0
    while true {
      var run = DumpedMetadata.Run(count: 1, word: 0)
      switch try token() {
      case .mark(UInt8(ascii: "}")): return runs
      case .hex(let value, 16): run.word = value
      case .number(let count) where count > 0:
        try word("times")
        guard case .hex(let value, 16) = try token() else { throw syntax("0x and 16 digits") }
        run = DumpedMetadata.Run(count: UInt64(count), word: value)
      default: throw syntax("a bitmap word, a repetition or }")
      }
      try mark(";")
      guard run.count <= limit - total else { throw syntax("} where the agreed size ends") }
      total += run.count
      runs.append(run)
    }
  }

  // MARK: Items

  private func syntax(_ expected: String) -> MetaFault { .dumpSyntax(line: tokenLine, expected: expected) }

  private mutating func word(_ expected: String) throws(MetaFault) {
    let found = try token()
    if found == .word(expected) { return }
    if case .word(let other) = found, other == MetaDump.uncleanMark {
      throw syntax("a dump of clean metadata; this one says that its bitmap cannot be trusted")
    }
    throw syntax("\"\(expected)\"")
  }

  private mutating func peekWord(_ expected: String) -> Bool {
    var ahead = self
    let next = Result { () throws(MetaFault) in try ahead.token() }
    return next == .success(.word(expected))
  }

  private mutating func mark(_ expected: Character) throws(MetaFault) {
    guard try token() == .mark(expected.asciiValue ?? 0) else { throw syntax("\(expected)") }
  }

  private mutating func number(_ range: ClosedRange<Int64>) throws(MetaFault) -> Int64 {
    guard case .number(let value) = try token(), range.contains(value) else {
      throw syntax("a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return value
  }

  @discardableResult
  private mutating func index(_ range: ClosedRange<Int64>) throws(MetaFault) -> Int64 {
    try mark("[")
    let value = try number(range)
    try mark("]")
    return value
  }

  private mutating func value(_ name: String, _ range: ClosedRange<Int64>) throws(MetaFault) -> Int64 {
    try word(name)
    let value = try number(range)
    try mark(";")
    return value
  }

  private mutating func hexValue(_ name: String, digits: Int) throws(MetaFault) -> UInt64 {
    try word(name)
    return try hexItem(digits: digits)
  }

  private mutating func hexItem(digits: Int = 16) throws(MetaFault) -> UInt64 {
    guard case .hex(let value, digits) = try token() else { throw syntax("0x and \(digits) digits") }
    try mark(";")
    return value
  }

  // MARK: Tokens

  private mutating func token() throws(MetaFault) -> Token {
    skipBlanks()
    tokenLine = line
    guard at < text.count else { return .end }
    let c = text[at]
    switch c {
    case UInt8(ascii: "{"), UInt8(ascii: "}"), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: ";"):
      at += 1
      return .mark(c)
    case UInt8(ascii: "\""):
      let start = at + 1
      at = start
      while at < text.count, text[at] != c, text[at] != UInt8(ascii: "\n") { at += 1 }
      guard at < text.count, text[at] == c else { throw syntax("a closing quotation mark") }
      defer { at += 1 }
      return .string(String(decoding: text[start..<at], as: UTF8.self))
    default:
      let start = at
      while at < text.count, !DumpReader.endsWord(text[at]) { at += 1 }
      guard at > start else { throw syntax("a word or a number") }
      return try classify(String(decoding: text[start..<at], as: UTF8.self))
    }
  }

  private static func endsWord(_ c: UInt8) -> Bool {
    c <= UInt8(ascii: " ") || "{}[];\"#".utf8.contains(c)
  }

  private func classify(_ word: String) throws(MetaFault) -> Token {
    if word.hasPrefix("0x") {
      let digits = word.dropFirst(2)
      guard digits.utf8.count == 8 || digits.utf8.count == 16, let value = UInt64(digits, radix: 16),
        digits.utf8.allSatisfy({ $0 != UInt8(ascii: "+") })
      else { throw syntax("8 or 16 hexadecimal digits") }
      return .hex(value, digits: digits.utf8.count)
    }
    guard let first = word.utf8.first, first == UInt8(ascii: "-") || (48...57).contains(first) else {
      return .word(word)
    }
    guard word.utf8.count <= 20, let value = Int64(word) else { throw syntax("a decimal number") }
    return .number(value)
  }

  private mutating func skipBlanks() {
    while at < text.count {
      switch text[at] {
      case UInt8(ascii: "\n"):
        line += 1
        at += 1
      case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"): at += 1
      case UInt8(ascii: "#"): while at < text.count, text[at] != UInt8(ascii: "\n") { at += 1 }
      default: return
      }
    }
  }
}
