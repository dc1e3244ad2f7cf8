// A recording as one list in order of time: steps of the operator, connections, packets, ends.
import Base
import Foundation
import Protocol

@testable import Engine

struct Script {
  enum Entry {
    /// What follows `##`.
    case note(String)
    case packet(link: Int, isMeta: Bool, fromAlpha: Bool, DecodedPacket, content: [UInt64])
    case ended(link: Int, isMeta: Bool, fromAlpha: Bool)
  }
  let recording: Recording
  let links: [RecordedLink]
  let entries: [Entry]

  init(_ name: String, withDRBD9: Bool = false) throws {
    recording = Recording.all.first { $0.name == name && $0.isWithDRBD9 == withDRBD9 }!
    links = try recording.links()
    var packets: [String: [Int: (DecodedPacket, [UInt64])]] = [:]
    for (stream, decoded) in try recording.decodedStreams() {
      let key = "\(stream.connection).\(stream.fromAlpha ? "a2b" : "b2a")"
      for packet in decoded {
        let start = packet.offset + packet.front
        packets[key, default: [:]][packet.offset] = (
          packet, Script.stamps(stream.bytes[start..<start + packet.payload])
        )
      }
    }
    var found: [Entry] = []
    for line in try recording.lines("packets.txt") {
      let fields = line.split(separator: " ", omittingEmptySubsequences: true)
      guard fields.count >= 3, Double(fields[0]) != nil else { continue }
      if fields[1] == "##" {
        let text = fields[2...].joined(separator: " ")
        if text.hasPrefix("proxy: a2b"), text.contains("is lost"),
          let last = found.lastIndex(where: { if case .packet(_, _, true, _, _) = $0 { true } else { false } })
        {
          found.remove(at: last)
        }
        found.append(.note(text))
        continue
      }
      let connection = String(fields[1])
      guard
        let link = links.firstIndex(where: { $0.dataConnection == connection || $0.metaConnection == connection })
      else { continue }
      let isMeta = links[link].metaConnection == connection
      let fromAlpha = fields[2] == "a2b"
      if fields[3] == "FIN" || fields[3] == "RST" {
        found.append(.ended(link: link, isMeta: isMeta, fromAlpha: fromAlpha))
      } else if fields[3].hasPrefix("@"), let offset = Int(fields[3].dropFirst()),
        let (packet, content) = packets["\(connection).\(fields[2])"]?[offset]
      {
        found.append(.packet(link: link, isMeta: isMeta, fromAlpha: fromAlpha, packet, content: content))
      }
    }
    entries = found
  }

  /// One number per sector; an empty sector is 0.
  private static func stamps(_ bytes: ArraySlice<UInt8>) -> [UInt64] {
    bytes.withUnsafeBytes { raw in
      stride(from: 0, to: raw.count, by: 512).map { at in
        var hash: UInt64 = 0
        for i in stride(from: at, to: min(at + 512, raw.count) & ~7, by: 8) {
          hash = (hash ^ raw.loadUnaligned(fromByteOffset: i, as: UInt64.self)) &* 0x100_0000_01b3
        }
        return hash
      }
    }
  }

  /// The metadata of a node, the last 64 KiB of its disk.
  func metadata(of alpha: Bool, _ when: String, volume: Int = 0) throws -> [UInt8] {
    let name = "md-\(alpha ? "alpha" : "beta")\(volume == 0 ? "" : "-vol\(volume)").\(when).xz"
    return try Recording.unpack([recording.directory.appending(path: name).path])
  }

  /// Values that a node drew at random, in the order in which they became known.
  func draws(ofAlpha: Bool, known before: [UInt64]) -> [UInt64] {
    var known = Set(before.map { $0 & ~1 })
    var found: [UInt64] = []
    for entry in entries {
      guard case .packet(_, _, let fromAlpha, let packet, _) = entry else { continue }
      switch packet.packet {
      case .uuids(let slots):
        let all = [slots.current, slots.bitmap, slots.history0, slots.history1].map { $0 & ~1 }
        if fromAlpha == ofAlpha, !known.contains(all[0]) { found.append(slots.current) }
        known.formUnion(all)
        known.formUnion(all.map { $0 &+ syncStep })
      case .syncUUID(let uuid):
        if fromAlpha == ofAlpha, !known.contains(uuid & ~1) { found.append(uuid) }
        known.insert(uuid & ~1)
        known.insert((uuid & ~1) &+ syncStep)
      default: break
      }
    }
    return found
  }
}

extension SeededGenerator {
  /// Its next number is `value`.
  init(next value: UInt64) {
    func inverse(_ odd: UInt64) -> UInt64 {
      var x = odd
      for _ in 0..<6 { x = x &* (2 &- odd &* x) }
      return x
    }
    func unshift(_ z: UInt64, _ n: UInt64) -> UInt64 {
      var x = z
      for _ in 0..<64 / n + 1 { x = z ^ (x >> n) }
      return x
    }
    var z = unshift(value, 31)
    z = unshift(z &* inverse(0x94d0_49bb_1331_11eb), 27)
    z = unshift(z &* inverse(0xbf58_476d_1ce4_e5b9), 30)
    self.init(seed: z &- 0x9e37_79b9_7f4a_7c15)
  }
}
