// Bitmaps over the wire: the examples of the specification, every recorded bitmap, mixed transfers, hostile packets.
import Base
import Protocol
import Testing

/// A bitmap of `bits` bits and its words.
struct Bits: Equatable {
  let bits: UInt64
  var words: [UInt64]

  init(_ bits: UInt64, set: [ClosedRange<UInt64>] = []) {
    self.bits = bits
    words = [UInt64](repeating: 0, count: Int((bits + 63) / 64))
    for range in set { for bit in range { words[Int(bit / 64)] |= 1 << (bit % 64) } }
  }

  var count: Int { words.map(\.nonzeroBitCount).reduce(0, +) }

  func packets(useRLE: Bool = true, version: UInt32 = 101) -> [Packet] {
    var sender = BitmapSender(bits: bits)
    var packets: [Packet] = []
    words.withUnsafeBufferPointer {
      while let packet = sender.nextPacket(words: $0, useRLE: useRLE, version: version) { packets.append(packet) }
    }
    return packets
  }

  /// ORs the packets in; true when the last one ended the transfer.
  mutating func receive(_ packets: [Packet], version: UInt32 = 101) throws -> Bool {
    var receiver = BitmapReceiver(bits: bits)
    let before = count
    var inTurn = true
    for (i, packet) in packets.enumerated() {
      let complete = try words.withUnsafeMutableBufferPointer { words throws(ProtocolViolation) in
        try receiver.receive(packet, into: words, version: version)
      }
      if complete != (i == packets.count - 1) { inTurn = false }
    }
    #expect(receiver.newlySet == UInt64(count - before))
    return inTurn && receiver.isComplete
  }
}

@Suite("Bitmap over the wire")
struct BitmapRunsTests {
  @Test("the compressed examples of the specification")
  func examples() {
    #expect(Bits(16, set: [0...15]).packets() == [.compressedBitmap([0x92, 0x77])])
    #expect(Bits(256, set: [0...255]).packets() == [.compressedBitmap([0xa2, 0xdf, 0x33])])
    #expect(Bits(2038, set: [0...2037]).packets() == [.compressedBitmap(hex("b23fc506"))])
    #expect(Bits(2038).packets() == [.compressedBitmap(hex("323fc506"))])
  }

  static let captured = Bits(
    2038, set: [1...1, 3...5, 40...41, 100...100, 500...503, 800...800, 1280...1407])

  @Test("the captured bitmap of 140 bits, compressed and plain")
  func capturedBits() throws {
    #expect(
      Self.captured.packets() == [.compressedBitmap(hex("32405ef44be0c70bf4bbe7c7157c4f3f4501"))])
    let plain = Self.captured.packets(useRLE: false)
    #expect(plain.count == 2)
    #expect(plain[1] == .bitmap([]))
    guard case .bitmap(let bytes) = plain[0] else {
      Issue.record("not plain")
      return
    }
    #expect(bytes.count == 256)
    #expect(Array(bytes.prefix(13)) == hex("3a000000 00030000 00000000 10"))
    for packets in [plain, Self.captured.packets()] {
      var received = Bits(2038)
      #expect(try received.receive(packets))
      #expect(received == Self.captured)
    }
  }

  @Test("chunks are 4080 bytes from version 100 on, 4088 below, and an empty one ends a plain transfer")
  func chunks() {
    let bits = Bits(49141)
    #expect(bits.packets(useRLE: false).map(Self.length) == [4080, 2064, 0])
    #expect(bits.packets(useRLE: false, version: 99).map(Self.length) == [4088, 2056, 0])
    // Compression exists from version 90 on.
    #expect(bits.packets(useRLE: true, version: 89).map(Self.length) == [4088, 2056, 0])
    #expect(bits.packets(useRLE: true, version: 90).count == 1)
  }

  @Test("every other block dirty: one plain chunk, then runs from the bit behind it")
  func mixed() throws {
    let bits = Bits(49141, set: (0..<16800).map { $0 * 2...$0 * 2 })
    let packets = bits.packets()
    guard packets.count == 2, case .bitmap(let plain) = packets[0], case .compressedBitmap = packets[1] else {
      Issue.record("\(packets.count) packets")
      return
    }
    #expect(plain.count == 4080)
    var received = Bits(49141)
    #expect(try received.receive(packets))
    #expect(received == bits)
  }

  @Test("every recorded bitmap sets the bits it stands for and encodes to the same bytes")
  func recorded() throws {
    var transfers = 0
    for recording in Recording.all {
      let useRLE = try !recording.text("config.res").contains("use-rle no")
      var sizes: [String: [(UInt16, UInt64, UInt64)]] = [:]
      let streams = try recording.decodedStreams()
      for (stream, packets) in streams {
        for found in packets {
          if case .sizes(let size) = found.packet {
            sizes[stream.connection, default: []].append((found.volume, size.backing, size.userLimit))
          }
        }
      }
      for (stream, packets) in streams {
        for volume in Set(packets.map(\.volume)) {
          let bitmaps = packets.filter { found in
            guard found.volume == volume else { return false }
            switch found.packet {
            case .bitmap, .compressedBitmap: return true
            default: return false
            }
          }
          guard let version = bitmaps.first?.stream.version else { continue }
          let ofVolume = sizes[stream.connection]!.filter { $0.0 == volume }
          let sectors = (ofVolume.map(\.1) + ofVolume.map(\.2)).filter { $0 > 0 }.min()!
          // One connection may carry several transfers.
          var rest = bitmaps.map(\.packet)[...]
          while !rest.isEmpty {
            var bits = Bits((sectors + 7) / 8)
            var receiver = BitmapReceiver(bits: bits.bits)
            var used: [Packet] = []
            while !receiver.isComplete, let packet = rest.popFirst() {
              used.append(packet)
              _ = try bits.words.withUnsafeMutableBufferPointer { words throws(ProtocolViolation) in
                try receiver.receive(packet, into: words, version: version)
              }
            }
            #expect(receiver.isComplete, "\(recording.name) \(stream.connection)")
            #expect(bits.packets(useRLE: useRLE, version: version) == used, "\(recording.name) \(stream.connection)")
            transfers += 1
          }
        }
      }
    }
    #expect(transfers == 238)
  }

  @Test("random bitmaps survive the way, whatever the version and the mix")
  func random() throws {
    var random = SeededGenerator(seed: 77)
    for round in 0..<150 {
      let size = 1 + random.below(60000)
      var bits = Bits(size)
      for i in bits.words.indices {
        switch random.below(5) {
        case 0: bits.words[i] = random.next()
        case 1: bits.words[i] = 1 << random.below(64)
        case 2: bits.words[i] = ~0
        case 3: bits.words[i] = random.next() & random.next() & random.next()
        default: break
        }
      }
      let clean = bits.words.count - 1
      if size % 64 != 0 { bits.words[clean] &= 1 << (size % 64) - 1 }
      let version: UInt32 = round % 3 == 0 ? 99 : 101
      let packets = bits.packets(useRLE: round % 4 != 0, version: version)
      var dirtyTail = bits
      if size % 64 != 0 { dirtyTail.words[clean] |= ~0 << (size % 64) }
      #expect(dirtyTail.packets(useRLE: round % 4 != 0, version: version) == packets)
      var received = Bits(size)
      #expect(try received.receive(packets, version: version))
      #expect(received == bits)
    }
  }

  @Test("a long run is cut at 2^26 bits so that one call stays short")
  func longRun() throws {
    let bits = Bits((1 << 26) + 1000)
    let packets = bits.packets()
    #expect(packets.count == 2)
    var received = Bits(bits.bits)
    #expect(try received.receive(packets))
    #expect(received.count == 0)
  }

  @Test("receiving ORs and masks what lies behind the end")
  func merge() throws {
    var bits = Bits(100, set: [0...0])
    #expect(try bits.receive([.bitmap([2] + [UInt8](repeating: 0, count: 14) + [0xff]), .bitmap([])]))
    #expect(bits == Bits(100, set: [0...1]))
  }

  @Test("hostile packets are refused")
  func hostile() {
    func refuses(_ packets: [Packet], bits: UInt64 = 2038) -> Bool {
      var target = Bits(bits)
      do {
        _ = try target.receive(packets)
        return false
      } catch {
        return true
      }
    }
    #expect(refuses([.bitmap([UInt8](repeating: 0, count: 248))]), "a short chunk")
    #expect(refuses([.bitmap([])]), "no chunk")
    #expect(refuses([.bitmap([UInt8](repeating: 0, count: 264))]), "a long chunk")
    #expect(refuses([.compressedBitmap([0xb1, 0x3f, 0xc5, 0x06])]), "another encoding")
    #expect(refuses([.compressedBitmap([0xb2])]), "no code")
    #expect(refuses([.compressedBitmap(hex("b23fc506"))], bits: 2037), "a set run beyond the end")
    #expect(refuses([.compressedBitmap(hex("323fc506"))], bits: 2037), "a clear run beyond the end")
    #expect(refuses([.compressedBitmap([0x82] + [UInt8](repeating: 0xff, count: 8))]), "an endless run")
    #expect(refuses([.compressedBitmap([0xf2, 0x00])]), "a single bit of code")
    #expect(refuses([.compressedBitmap(hex("323fc506")), .compressedBitmap(hex("323fc506"))]), "a second bitmap")
  }

  private static func length(_ packet: Packet) -> Int {
    switch packet {
    case .bitmap(let bytes), .compressedBitmap(let bytes): bytes.count
    default: -1
    }
  }
}
