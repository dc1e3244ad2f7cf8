// The superblock is hostile input without a checksum: each field that can hurt is refused by name, and bytes of unknown
// meaning survive.
import Base
import MetaDisk
import Testing

@Suite struct SuperblockTests {
  static func fresh(_ format: MetaFormat, peers: UInt32 = 1) throws -> Superblock {
    Superblock(creating: format, at: try Placement(location: .internal, deviceBytes: 1 << 30, peers: peers))
  }

  @Test(arguments: MetaFormat.allCases)
  func whatIsWrittenIsReadBack(_ format: MetaFormat) throws {
    var random = SeededGenerator(seed: 3)
    for _ in 0..<200 {
      var sb = try Self.fresh(format, peers: format == .v08 ? 1 : 5)
      sb.effectiveSize = SectorCount(random.below(1 << 41))
      sb.current = random.next()
      sb.deviceUUID = random.next()
      sb.flags = DeviceFlags(rawValue: UInt32(truncatingIfNeeded: random.next()))
      sb.unclean = format == .v08 && random.oneIn(2)
      sb.peerMaxBioSize = UInt32(random.below(1 << 20))
      sb.alExtents = UInt32(random.below(65535))
      sb.history[0] = random.next()
      sb.history[1] = random.next()
      sb.peers[0].bitmapUUID = random.next()
      if format == .v09 {
        sb.history[31] = random.next()
        sb.members = random.next()
        sb.nodeID = Int32(random.below(32))
        let peer = (Int(sb.nodeID) + 1) % 32
        sb.peers[peer].bitmapIndex = Int32(random.below(5))
        sb.peers[peer].bitmapDagtag = random.next()
        sb.peers[31].flags = [.connected, .nodeExists]
      }
      let block = bytes(4096, sb.write)
      #expect(try Superblock(reading: block.span.bytes) == sb)
    }
  }

  @Test(arguments: MetaFormat.allCases)
  func bytesOfUnknownMeaningSurviveAChange(_ format: MetaFormat) throws {
    var block = bytes(4096, try Self.fresh(format).write)
    let places = format == .v08 ? [48, 96, 4095] : [24, 104, 112 + 24, 112 + 31 * 32 + 31, 1392, 4095]
    for at in places { block[at] = 0xA5 }
    var sb = try Superblock(reading: block.span.bytes)
    sb.current = 0x1234_5678_9ABC_DEF0
    let after = bytes(4096, sb.write)
    let changed = (0..<4096).filter { after[$0] != block[$0] }
    #expect(!changed.isEmpty && changed.allSatisfy { (8..<16).contains($0) })
  }

  @Test func zeroStripingOfOldMetadataMeansTheDefault() throws {
    var block = bytes(4096, try Self.fresh(.v08).write)
    for i in 88..<96 { block[i] = 0 }
    let sb = try Superblock(reading: block.span.bytes)
    #expect(sb.alStripes == 1 && sb.alStripeSize4k == 8)
  }

  @Test func theFlagOfTheKernelsMemoryIsNeverStored() throws {
    var sb = try Self.fresh(.v09)
    sb.peers[3].flags = PeerFlags(rawValue: 0x8000_0011)
    let block = bytes(4096, sb.write)
    #expect(try Superblock(reading: block.span.bytes).peers[3].flags.rawValue == 0x11)
  }

  struct Damage: Sendable {
    let format: MetaFormat, at: Int, bytes: [UInt8], field: String
  }

  @Test(arguments: [
    Damage(format: .v09, at: 88, bytes: [0, 0, 0, 0], field: "bm_max_peers"),
    Damage(format: .v09, at: 88, bytes: [0, 0, 0, 32], field: "bm_max_peers"),
    Damage(format: .v09, at: 92, bytes: [0, 0, 0, 32], field: "node_id"),
    Damage(format: .v09, at: 92, bytes: [0xFF, 0xFF, 0xFF, 0xFE], field: "node_id"),
    Damage(format: .v09, at: 112 + 20, bytes: [0, 0, 0, 1], field: "bitmap_index of peer 0"),
    Damage(format: .v09, at: 112 + 31 * 32 + 20, bytes: [0xFF, 0xFF, 0xFF, 0xFE], field: "bitmap_index of peer 31"),
    Damage(format: .v08, at: 80, bytes: [0, 0, 0x0F, 0], field: "bm_bytes_per_bit"),
    Damage(format: .v09, at: 96, bytes: [0, 0, 0, 0], field: "the activity log size in blocks"),
    Damage(format: .v09, at: 96, bytes: [0xFF, 0xFF, 0xFF, 0xFF], field: "the activity log size in blocks"),
    Damage(format: .v08, at: 0, bytes: [0, 0, 2, 0, 0, 0, 0, 1], field: "la_size"),
    Damage(format: .v08, at: 0, bytes: [0xFF, 0, 0, 0, 0, 0, 0, 1], field: "la_size"),
  ])
  func aFieldThatCannotBeIsRefusedByName(_ damage: Damage) throws {
    var block = bytes(4096, try Self.fresh(damage.format).write)
    block.replaceSubrange(damage.at..<damage.at + damage.bytes.count, with: damage.bytes)
    do {
      _ = try Superblock(reading: block.span.bytes)
      Issue.record("accepted")
    } catch {
      guard case .corrupt(let field, _) = error else { throw error }
      #expect(field == damage.field && error.text.contains(field))
    }
  }

  @Test func aPeerWithTheOwnNodeIdIsRefused() throws {
    var sb = try Self.fresh(.v09)
    sb.nodeID = 4
    sb.peers[4].bitmapIndex = 0
    let block = bytes(4096, sb.write)
    #expect(throws: MetaFault.self) { try Superblock(reading: block.span.bytes) }
  }

  @Test func otherBlockSizesOfTheBitmapAreUnsupportedNotCorrupt() throws {
    var sb = try Self.fresh(.v09)
    sb.bytesPerBit = 65536
    let block = bytes(4096, sb.write)
    #expect(throws: MetaFault.unsupported("a bitmap block size of 65536 bytes")) {
      try Superblock(reading: block.span.bytes)
    }
  }

  @Test func noiseAndShortBlocksAreAbsentMetadata() {
    var random = SeededGenerator(seed: 4)
    for _ in 0..<500 {
      let noise = (0..<4096).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      #expect(throws: MetaFault.absent) { try Superblock(reading: noise.span.bytes) }
    }
    #expect(throws: MetaFault.absent) { try Superblock(reading: [UInt8](repeating: 0, count: 4096).span.bytes) }
    #expect(throws: MetaFault.absent) { try Superblock(reading: [UInt8](repeating: 0, count: 100).span.bytes) }
  }

  @Test func noiseBehindAGoodMagicIsRefusedOrWrittenBackAsItWas() throws {
    var random = SeededGenerator(seed: 5)
    for round in 0..<2000 {
      var block = bytes(4096, try Self.fresh(round % 2 == 0 ? .v08 : .v09).write)
      for _ in 0..<1 + random.below(6) {
        let at = Int(random.below(160))
        if !(60..<64).contains(at) { block[at] = UInt8(truncatingIfNeeded: random.next()) }
      }
      let read = Result { () throws(MetaFault) in try Superblock(reading: block.span.bytes) }
      guard case .success(let sb) = read else { continue }
      // Bit 31 of a peer's flags is the one thing that is dropped.
      for node in 0..<32 where sb.format == .v09 { block[112 + node * 32 + 16] &= 0x7F }
      #expect(bytes(4096, sb.write) == block)
    }
  }

  @Test func offsetsThatDoNotFitTheDeviceAreMisplaced() throws {
    let sb = try Self.fresh(.v08)
    #expect(throws: MetaFault.misplaced(field: "bm_offset", found: -128, expected: -160)) {
      try Placement(superblock: sb, location: .internal, deviceBytes: 3 << 29)
    }
    #expect(throws: MetaFault.misplaced(field: "al_offset", found: -64, expected: 8)) {
      try Placement(superblock: sb, location: .external, deviceBytes: 1 << 30)
    }
  }

  @Test func bothFormatsLookAlikeFromThePeersSide() throws {
    for format in MetaFormat.allCases {
      var sb = try Self.fresh(format)
      sb.setGenerations(current: 10, bitmap: 8, history0: 6, history1: 4, peerNode: 1)
      let g = sb.generations(peerNode: 1)
      #expect(g.current == 10 && g.bitmap == 8 && g.history0 == 6 && g.history1 == 4)
      sb.setPeerFlags([.connected, .fullSync], peerNode: 1)
      #expect(sb.peerFlags(peerNode: 1) == [.connected, .fullSync])
      sb.setPeerFlags([.outdated], peerNode: 1)
      #expect(sb.peerFlags(peerNode: 1) == [.outdated])
      #expect(try sb.assignBitmapSlot(peerNode: 1) == 0 && sb.bitmapSlot(peerNode: 1) == 0)
      let block = bytes(4096, sb.write)
      #expect(try Superblock(reading: block.span.bytes) == sb)
    }
  }

  @Test func aRotationKeepsTheOlderHistoryOfV09() throws {
    var sb = try Self.fresh(.v09)
    for generation in stride(from: UInt64(2), through: 12, by: 2) {
      sb.setGenerations(
        current: 100, bitmap: 0, history0: generation, history1: sb.generations(peerNode: 0).history0, peerNode: 0)
    }
    #expect(Array(sb.history.prefix(7)) == [12, 10, 8, 6, 4, 2, 0])
  }

  @Test func slotsGoToTheLowestFreeNumberUntilNoneIsLeft() throws {
    var sb = try Self.fresh(.v09, peers: 2)
    sb.peers[9].bitmapIndex = 0
    #expect(try sb.assignBitmapSlot(peerNode: 3) == 1)
    #expect(try sb.assignBitmapSlot(peerNode: 3) == 1)
    #expect(throws: MetaFault.noFreeSlot(peers: 2)) { try sb.assignBitmapSlot(peerNode: 4) }
  }
}
