// Metadata as text, the format of `drbdmeta dump-md` (metadata spec 5.2), which `restore-md` and DRBD's own tools read.
// Where theirs is wrong ours is right: v08 shows its real flags, `members` appears when it is not zero.
import Base

public struct MetaDump {
  public let superblock: Superblock
  public let placement: Placement

  public init(superblock: Superblock, placement: Placement) {
    self.superblock = superblock
    self.placement = placement
  }

  /// How much of the bitmap area the dump shows: nothing before the first size agreement.
  public var bitmapBytes: UInt64 { placement.bitmapBytes(sectors: superblock.effectiveSize) }

  /// The lines above the dump proper. Date and host are the caller's to know.
  public static func header(date: String, epoch: UInt64, host: String, command: String) -> String {
    "# DRBD meta data dump\n# \(date) [\(epoch)]\n# \(host)> \(command)\n#\n\n"
  }

  /// Writes everything from the version line on. `bitmapArea` are the first `bitmapBytes` of the area on disk.
  public func write<Output: TextOutputStream>(bitmapArea: RawSpan, to out: inout Output) {
    let sb = superblock
    out.write("version \"\(sb.format.name)\";\n\n")
    if !sb.isClean {
      out.write("\(MetaDump.uncleanMark)\n# You should \"apply-al\" first, if you plan to restore this.\n\n")
    }
    if sb.format == .v09 { out.write("max-peers \(sb.maxPeers);\n") }
    out.write("# md_size_sect \(sb.mdSizeSectors)\n")
    out.write("# md_offset \(placement.superblockOffset)\n")
    out.write("# al_offset \(placement.activityLogOffset)\n")
    out.write("# bm_offset \(placement.bitmapOffset)\n\n")
    if sb.format == .v08 { writeV08(to: &out) } else { writeV09(to: &out) }
    out.write("# al-extents \(sb.alExtents);\n")
    out.write("la-size-sect \(sb.effectiveSize.value);\n")
    out.write("bm-byte-per-bit \(sb.bytesPerBit);\n")
    out.write("device-uuid 0x\(hex(sb.deviceUUID));\n")
    out.write("la-peer-max-bio-size \(sb.peerMaxBioSize);\n")
    out.write("al-stripes \(sb.alStripes);\n")
    out.write("al-stripe-size-4k \(sb.alStripeSize4k);\n")
    out.write("# bm-bytes \(bitmapBytes);\n")
    var set: UInt64 = 0
    for slot in 0..<Int(sb.maxPeers) {
      out.write(sb.format == .v08 ? "bm {" : "bitmap[\(slot)] {")
      set = DumpedSlot(area: bitmapArea, slot: slot, slots: Int(sb.maxPeers)).write(to: &out)
      out.write("\n}\n")
    }
    out.write("# bits-set \(set);\n")
  }

  /// A deliberate syntax error, so that nobody restores such a dump by accident.
  static let uncleanMark = "This_is_an_unclean_meta_data_dump._Don't_trust_the_bitmap."

  private func writeV08<Output: TextOutputStream>(to out: inout Output) {
    let sb = superblock
    out.write("uuid {\n    0x\(hex(sb.current)); 0x\(hex(sb.peers[0].bitmapUUID)); ")
    out.write("0x\(hex(sb.history[0])); 0x\(hex(sb.history[1]));\n")
    out.write("    flags 0x\(hex(sb.flags.rawValue));\n}\n")
  }

  private func writeV09<Output: TextOutputStream>(to out: inout Output) {
    let sb = superblock
    out.write("node-id \(sb.nodeID);\ncurrent-uuid 0x\(hex(sb.current));\nflags 0x\(hex(sb.flags.rawValue));\n")
    if sb.members != 0 { out.write("members 0x\(hex(sb.members));\n") }
    for (node, peer) in sb.peers.enumerated() {
      out.write("peer[\(node)] {\n    bitmap-index \(peer.bitmapIndex);\n")
      out.write("    bitmap-uuid 0x\(hex(peer.bitmapUUID));\n    bitmap-dagtag 0x\(hex(peer.bitmapDagtag));\n")
      out.write("    flags 0x\(hex(peer.flags.rawValue));\(peer.flags.words)\n}\n")
    }
    out.write("history-uuids {")
    for (i, generation) in sb.history.enumerated() {
      out.write(i % 4 == 0 ? "\n        " : " ")
      out.write("0x\(hex(generation));")
    }
    out.write("\n}\n")
  }
}

/// Upper-case digits, as many as the type holds.
func hex<T: FixedWidthInteger & UnsignedInteger>(_ value: T) -> String {
  let digits = String(value, radix: 16, uppercase: true)
  return String(repeating: "0", count: T.bitWidth / 4 - digits.utf8.count) + digits
}

extension PeerFlags {
  private static let names: [UInt32: String] = [
    PeerFlags.connected.rawValue: "connected", PeerFlags.outdated.rawValue: "<=outdated",
    PeerFlags.fencing.rawValue: "fencing", PeerFlags.fullSync.rawValue: "full-sync",
    PeerFlags.seen.rawValue: "seen", PeerFlags.nodeExists.rawValue: "exists",
  ]

  /// The comment behind the number, empty when no flag is set.
  var words: String {
    var result: [String] = []
    for bit in 0..<32 where rawValue >> bit & 1 == 1 {
      let flag = UInt32(1) << bit
      result.append(PeerFlags.names[flag] ?? "0x\(String(flag, radix: 16))=?")
    }
    return result.isEmpty ? "" : " # " + result.joined(separator: " | ")
  }
}

/// One slot's share of the bitmap area, run-length coded. Lines hold four 64-bit words; runs are counted in lines and
/// within the window that DRBD's tool reads at a time, because the text shall be the same.
private struct DumpedSlot: ~Escapable {
  private let area: RawSpan
  private let slot: Int
  private let slots: Int
  private let count: Int

  @_lifetime(copy area)
  init(area: RawSpan, slot: Int, slots: Int) {
    self.area = area
    self.slot = slot
    self.slots = slots
    count = max(0, area.byteCount / 4 - slot + slots - 1) / slots
  }

  private func word(_ k: Int) -> UInt32 {
    UInt32(littleEndian: area.unsafeLoadUnaligned(fromByteOffset: (k * slots + slot) * 4, as: UInt32.self))
  }

  private func sameUntil(_ k: Int, _ value: UInt32, _ limit: Int) -> Int {
    var j = k
    while j < limit, word(j) == value { j += 1 }
    return j
  }

  /// Returns the number of bits set.
  func write<Output: TextOutputStream>(to out: inout Output) -> UInt64 {
    let window = (32 << 20) / (4096 * slots) * 1024
    var (k, run, value) = (0, 0, UInt32(0))
    while k < count {
      if k % 8 == 0 {
        if run == 0 {
          if k * slots % 64 == 0 { out.write("\n   # at \(128 * k * slots)kB") }
          out.write("\n   ")
          value = word(k)
        }
        let end = min(count, (k / window + 1) * window)
        let same = sameUntil(k, value, end)
        let lines = (same - k) / 8 * 8
        if lines > 8 {
          run += lines
          k += lines
          if same >= end, k < count { continue }
        }
        if run > 0 {
          out.write(" \(run / 2) times 0x\(hex(value))\(hex(value));")
          run = 0
          continue
        }
      }
      if k % 2 == 1 { out.write(" 0x\(hex(word(k)))\(hex(word(k - 1)));") }
      k += 1
    }
    var set: UInt64 = 0
    for k in 0..<count { set += UInt64(word(k).nonzeroBitCount) }
    return set
  }
}
