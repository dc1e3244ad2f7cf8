// Seeded garbage: recorded packets with bytes changed, cut or replaced. Whatever comes out of the parser is a request for
// more, a violation, or a packet that encodes and reads back as itself; nothing ends the process.
import Base
import Protocol
import Testing

@Suite("Hostile streams")
struct HostileStreamTests {
  static let samples: [(bytes: [UInt8], stream: PacketStream)] = {
    let names = [
      "02-initial-sync", "03-writes-c", "06-resync-plain-bitmap", "09-auth-sha1", "12b-integrity-zeroes",
      "13-csums-resync",
      "14b-verify-resync", "20-diskless-primary", "22-thin-resync", "23-options-change", "28-out-of-sync",
      "38b-read-error-detach", "39-version-86", "39-version-88", "39-version-94", "39-version-96", "43-ahead-behind",
    ]
    var samples: [(bytes: [UInt8], stream: PacketStream)] = []
    var seen: [String: Int] = [:]
    for name in names {
      do {
        for (stream, packets) in try Recording.named(name).decodedStreams() {
          for found in packets {
            let kind = "\(found.packet.name) \(found.stream.version)"
            guard seen[kind, default: 0] < 8 else { continue }
            seen[kind, default: 0] += 1
            samples.append((Array(stream.bytes[found.offset..<(found.offset + found.front)]), found.stream))
          }
        }
      } catch {
        preconditionFailure("\(name): \(error)")
      }
    }
    return samples
  }()

  @Test("100000 mutated packets: no crash, and what passes reads back as itself")
  func mutated() throws {
    var random = SeededGenerator(seed: 0x5eed)
    var outcomes = (more: 0, refused: 0, passed: 0)
    var words = [UInt64](repeating: 0, count: 32)
    for _ in 0..<100_000 {
      var (bytes, stream) = Self.samples[Int(random.below(UInt64(Self.samples.count)))]
      mutate(&bytes, &random)
      if random.oneIn(20) { stream.socket = [.data, .meta, .undecided][Int(random.below(3))] }
      if random.oneIn(20) { stream.version = UInt32([80, 86, 88, 90, 95, 99, 100, 101][Int(random.below(8))]) }
      if random.oneIn(20) { stream.features = FeatureFlags(rawValue: UInt32(random.below(16))) }
      do throws(ProtocolViolation) {
        switch try stream.next(bytes.span.bytes) {
        case .more(let needed):
          if needed <= bytes.count || needed > PacketStream.longestFront { Issue.record("more(\(needed)): \(bytes)") }
          outcomes.more += 1
        case .packet(let packet, let volume, let consumed, let payload):
          if consumed > bytes.count || payload > 1 << 20 { Issue.record("\(consumed), \(payload): \(bytes)") }
          let again = packet.encoded(
            version: stream.version, features: stream.features, volume: volume, payload: payload)
          if stream.readBack(again) != packet { Issue.record("\(packet): \(again)") }
          try receive(packet, &words, stream.version)
          outcomes.passed += 1
        }
      } catch {
        if error.description.isEmpty { Issue.record("no sentence") }
        outcomes.refused += 1
      }
    }
    #expect(outcomes.more > 1000 && outcomes.refused > 1000 && outcomes.passed > 1000)
  }

  @Test("garbage from the first byte on is refused at once")
  func garbage() {
    var random = SeededGenerator(seed: 1)
    for _ in 0..<2000 {
      let bytes = (0..<16).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      for version: UInt32 in [80, 86, 96, 101] {
        #expect(violation(PacketStream(socket: .data, version: version), bytes) != nil)
      }
    }
  }

  @Test("mutated bitmaps never set a bit behind the end")
  func bitmaps() {
    var random = SeededGenerator(seed: 2)
    for _ in 0..<20_000 {
      let bits = 1 + random.below(1990)
      var words = [UInt64](repeating: 0, count: 32)
      let count = 2 + Int(random.below(40))
      var bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next() & random.next()) }
      bytes[0] = bytes[0] & 0xf0 | 2
      var receiver = BitmapReceiver(bits: bits)
      do throws(ProtocolViolation) {
        _ = try words.withUnsafeMutableBufferPointer { words throws(ProtocolViolation) in
          try receiver.receive(.compressedBitmap(bytes), into: words, version: 101)
        }
      } catch {}
      var set = 0
      for word in words { set += word.nonzeroBitCount }
      var behind = words[Int(bits / 64)] & ~0 << (bits % 64)
      for word in words[(Int(bits / 64) + 1)...] { behind |= word }
      if receiver.newlySet != UInt64(set) || behind != 0 { Issue.record("\(bits) bits: \(bytes)") }
    }
  }

  private func mutate(_ bytes: inout [UInt8], _ random: inout SeededGenerator) {
    for _ in 0...random.below(3) {
      let at = Int(random.below(UInt64(min(bytes.count, random.oneIn(2) ? 16 : bytes.count))))
      switch random.below(6) {
      case 0: bytes[at] = UInt8(truncatingIfNeeded: random.next())
      case 1: bytes[at] ^= 1 << UInt8(random.below(8))
      case 2: bytes[at] = [0, 1, 0x7f, 0x80, 0xff][Int(random.below(5))]
      case 3: if bytes.count > 8 { bytes.removeLast(Int(random.below(UInt64(bytes.count - 8)))) }
      case 4: bytes += (0..<random.below(64)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      default: bytes[at] &+= 1
      }
    }
  }

  private func receive(
    _ packet: Packet, _ words: inout [UInt64], _ version: UInt32
  ) throws(ProtocolViolation) {
    switch packet {
    case .bitmap, .compressedBitmap:
      var receiver = BitmapReceiver(bits: 2038)
      _ = try words.withUnsafeMutableBufferPointer { words throws(ProtocolViolation) in
        try receiver.receive(packet, into: words, version: version)
      }
    default: break
    }
  }
}

extension PacketStream {
  /// nil: refused, or not whole.
  fileprivate func readBack(_ bytes: [UInt8]) -> Packet? {
    do throws(ProtocolViolation) {
      if case .packet(let packet, _, _, _) = try next(bytes.span.bytes) { return packet }
      return nil
    } catch {
      return nil
    }
  }
}
