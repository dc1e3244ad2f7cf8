// What two kernels sent each other must decode without a byte left over, and encode again to the same bytes. Only the
// fields that cannot be ours are masked: pads of requests, reserved bytes, and what DRBD 9 puts where nothing is read.
import Protocol
import Testing

@Suite("Recorded streams")
struct RecordedStreamTests {
  @Test("every scenario is found")
  func scenarios() {
    #expect(Recording.all.count == 89)
  }

  @Test("every stream decodes as listed and encodes to the same bytes", arguments: Recording.all)
  func decodesAndEncodes(_ recording: Recording) throws {
    let listed = try recording.listedPackets()
    var buffer = [UInt8](repeating: 0, count: PacketStream.longestFront)
    for (stream, packets) in try recording.decodedStreams() {
      let key = "\(stream.connection).\(stream.fromAlpha ? "a2b" : "b2a")"
      #expect(packets.map(Self.listing) == listed[key] ?? [], "\(key)")
      for found in packets {
        let size = found.packet.encodedSize(
          version: found.stream.version, features: found.stream.features, payload: found.payload)
        #expect(size == found.front)
        let written = buffer.withUnsafeMutableBytes {
          found.packet.encode(
            into: $0, version: found.stream.version, features: found.stream.features, volume: found.volume,
            payload: found.payload)
        }
        var recorded = Array(stream.bytes[found.offset..<(found.offset + found.front)])
        Self.mask(&recorded, found, withDRBD9: recording.isWithDRBD9)
        #expect(recorded == Array(buffer[..<written]), "\(key) @\(found.offset) \(found.packet.name)")
      }
    }
  }

  @Test("the totals are those of the index")
  func totals() throws {
    let index = try String(
      contentsOf: Recording.fixtures.appending(path: "wire/index.tsv"), encoding: .utf8)
    var counts: [String: Int] = [:]
    for line in index.split(separator: "\n") {
      let fields = line.split(separator: "\t")
      let words = fields[2].split(separator: " ")
      counts[String(fields[0])] = Int(words[words.count - 2])
    }
    for recording in Recording.all where !recording.isWithDRBD9 {
      let packets = try recording.listedPackets().values.map(\.count).reduce(0, +)
      #expect(packets == counts[recording.name], "\(recording.name)")
    }
  }

  @Test("a prefix of a packet asks for more, and never for more than the packet has")
  func prefixes() throws {
    for (stream, packets) in try Recording.named("13-csums-resync").decodedStreams() {
      for found in packets {
        var have = 0
        var attempts = 0
        while have < found.front {
          let part = stream.bytes.span.bytes.extracting(found.offset..<(found.offset + have))
          guard case .more(let needed) = try found.stream.next(part) else {
            Issue.record("\(found.packet.name) came out of \(have) of \(found.front) bytes")
            break
          }
          #expect(needed > have && needed <= found.front)
          have = needed
          attempts += 1
        }
        #expect(attempts <= 2)
      }
    }
  }

  private static func listing(_ found: DecodedPacket) -> ListedPacket {
    let header = found.stream.version >= 100 ? 16 : 8
    let name: String
    if case .skipped(let code) = found.packet { name = "0x\(String(code, radix: 16))" } else { name = wireName(found) }
    return ListedPacket(
      offset: found.offset, headerBits: header * 8, name: name, length: found.front - header + found.payload)
  }

  private static func wireName(_ found: DecodedPacket) -> String {
    found.packet.code(version: found.stream.version).row.name.description
  }

  private static func mask(_ bytes: inout [UInt8], _ found: DecodedPacket, withDRBD9: Bool) {
    let header = found.stream.version >= 100 ? 16 : 8
    switch found.packet {
    case .dataRequest, .resyncRequest, .thinRequest, .verifyRequest, .checksumRequest, .verifyReply:
      for i in 20..<24 { bytes[header + i] = 0 }
    case .outOfSync, .deallocated: for i in 12..<16 { bytes[header + i] = 0 }
    case .skipped: for i in header..<bytes.count { bytes[i] = 0 }
    default: break
    }
    guard withDRBD9 else { return }
    if case .features = found.packet {
      for i in 12..<72 { bytes[header + i] = 0 }
    }
    if header == 16, found.packet.code(version: found.stream.version).isOfConnection {
      bytes[4] = 0
      bytes[5] = 0
    }
  }
}
