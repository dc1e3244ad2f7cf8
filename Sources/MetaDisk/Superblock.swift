// The superblock: one model in memory for DRBD 8.4's v08 and DRBD 9's v09 (metadata spec 2). It has no checksum, so
// every field is checked on reading. Bytes nobody has named yet survive being read and written back.
import Base

public enum MetaFormat: Sendable, CaseIterable {
  case v08
  case v09

  public var name: String { self == .v08 ? "v08" : "v09" }
}

/// Offset 56 of both formats (spec 2.3).
public struct DeviceFlags: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let consistent = DeviceFlags(rawValue: 0x001)
  /// There may be writes in flight: the activity log counts.
  public static let primaryIndicator = DeviceFlags(rawValue: 0x002)
  public static let connectedIndicator = DeviceFlags(rawValue: 0x004)
  /// The bitmap on disk is not valid: treat it as all ones.
  public static let fullSync = DeviceFlags(rawValue: 0x008)
  public static let wasUpToDate = DeviceFlags(rawValue: 0x010)
  public static let peerOutdated = DeviceFlags(rawValue: 0x020)
  public static let crashedPrimary = DeviceFlags(rawValue: 0x040)
  public static let alClean = DeviceFlags(rawValue: 0x080)
  public static let alDisabled = DeviceFlags(rawValue: 0x100)
  public static let primaryLostQuorum = DeviceFlags(rawValue: 0x200)
  public static let haveQuorum = DeviceFlags(rawValue: 0x400)
}

/// Flags of a v09 peer entry (spec 2.4).
public struct PeerFlags: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let connected = PeerFlags(rawValue: 0x1)
  public static let outdated = PeerFlags(rawValue: 0x2)
  public static let fencing = PeerFlags(rawValue: 0x4)
  public static let fullSync = PeerFlags(rawValue: 0x8)
  public static let seen = PeerFlags(rawValue: 0x10)
  public static let nodeExists = PeerFlags(rawValue: 0x10000)
}

/// What is remembered about one node id. In v08 there is one nameless peer; its flags lie among the device flags.
public struct PeerEntry: Hashable, Sendable {
  /// Generation relative to which the peer's bitmap slot counts; 0 = none.
  public var bitmapUUID: UInt64 = 0
  /// Position in the write stream, in sectors, when `bitmapUUID` was set.
  public var bitmapDagtag: UInt64 = 0
  public var flags: PeerFlags = []
  /// Bitmap slot, -1 = none.
  public var bitmapIndex: Int32 = -1
  public init() {}
}

public struct Superblock: Equatable, Sendable {
  /// `current` of metadata that has never seen data.
  public static let justCreated: UInt64 = 4
  public static let bytes = 4096
  /// Node ids of v09: 0...31.
  public static let nodes = 32

  public let format: MetaFormat
  /// Last agreed size (`la_size`); 0 = never sized.
  public var effectiveSize: SectorCount = .zero
  /// Generation of the data. Bit 0 says "the holder is Primary" and is not part of the identity.
  public var current: UInt64 = Superblock.justCreated
  public var deviceUUID: UInt64 = 0
  public var flags: DeviceFlags = .alClean
  /// v08 only: the magic says that a kernel has this attached.
  public var unclean = false
  public var mdSizeSectors: UInt32 = 0
  /// Relative to the superblock, in sectors.
  public var alOffset: Int32 = 0
  public var bmOffset: Int32 = 0
  public var alExtents: UInt32 = 257
  public var bytesPerBit: UInt32 = 4096
  public var peerMaxBioSize: UInt32 = 0
  public var alStripes: UInt32 = 1
  public var alStripeSize4k: UInt32 = 8
  /// v09 of newer DRBD 9: node ids as a bit mask.
  public var members: UInt64 = 0
  /// Own node id of v09, -1 = not yet known.
  public var nodeID: Int32 = -1
  /// Number of bitmap slots, 1...31.
  public var maxPeers: UInt32 = 1
  /// v09: one entry per node id, 32. v08: one entry.
  public var peers: [PeerEntry]
  /// Newest first; v08 stores the first two.
  public var history = [UInt64](repeating: 0, count: Superblock.nodes)

  /// The block as found, when it has non-zero bytes that no field stands for; else empty.
  private var found: [UInt8] = []

  /// A fresh superblock whose sizes and offsets are still to be filled in.
  init(unplaced format: MetaFormat) {
    self.format = format
    peers = [PeerEntry](repeating: PeerEntry(), count: format == .v08 ? 1 : Superblock.nodes)
    if format == .v08 { peers[0].bitmapIndex = 0 }
  }

  /// What create-md writes: no data generation, no peer known, clean.
  public init(creating format: MetaFormat, at placement: Placement, deviceUUID: UInt64 = 0, peerMaxBioSize: UInt32 = 0)
  {
    precondition(format == .v09 || placement.peers == 1, "v08 has one bitmap")
    self.init(unplaced: format)
    self.deviceUUID = deviceUUID
    self.peerMaxBioSize = peerMaxBioSize
    place(at: placement)
  }

  /// Takes sizes and offsets over from `placement`.
  public mutating func place(at placement: Placement) {
    mdSizeSectors = placement.mdSizeSectors
    alOffset = placement.alOffset
    bmOffset = placement.bmOffset
    alStripes = placement.alStripes
    alStripeSize4k = placement.alStripeSize4k
    maxPeers = placement.peers
  }

  /// Attach is allowed without applying the activity log.
  public var isClean: Bool { !unclean && flags.contains(.alClean) }

  /// As after apply-al. Only right when the ring on disk is initialised and the bitmap durable.
  public mutating func markClean() {
    flags.insert(.alClean)
    unclean = false
  }

  /// As every superblock of an attached disk: the next attach has to look at the activity log.
  public mutating func markAttached() {
    flags.remove(.alClean)
    unclean = format == .v08
  }
}

// MARK: - Reading and writing

extension Superblock {
  /// The format by the magic alone, or nil.
  public static func format(of block: RawSpan) -> MetaFormat? {
    guard block.byteCount >= bytes else { return nil }
    let magic = UInt32(bigEndian: block.unsafeLoadUnaligned(fromByteOffset: 60, as: UInt32.self))
    return switch magic {
    case RecordV08.magicClean, RecordV08.magicUnclean: .v08
    case RecordV09.magic: .v09
    default: nil
    }
  }

  /// Reads and checks everything that can be checked without knowing the device; `Placement` checks the rest.
  public init(reading block: RawSpan) throws(MetaFault) {
    guard let format = Superblock.format(of: block) else { throw .absent }
    self.init(unplaced: format)
    do {
      switch format {
      case .v08: take(try RecordV08(reading: block))
      case .v09: take(try RecordV09(reading: block))
      }
    } catch {
      throw .absent
    }
    try check()
    keepUnknownBytes(of: block)
  }

  /// Fills 4096 bytes.
  public func write(to block: UnsafeMutableRawBufferPointer) {
    precondition(block.count >= Superblock.bytes, "a superblock is 4096 bytes")
    if found.isEmpty {
      for i in 0..<Superblock.bytes { block[i] = 0 }
    } else {
      found.withUnsafeBytes { block.copyMemory(from: $0) }
    }
    var writer = OverlayWriter(block)
    switch format {
    case .v08:
      var record = recordV08
      record.fields(&writer)
    case .v09:
      var record = recordV09
      record.fields(&writer)
    }
  }

  private mutating func keepUnknownBytes(of block: RawSpan) {
    let known = [UInt8](unsafeUninitializedCapacity: Superblock.bytes) { buffer, count in
      write(to: UnsafeMutableRawBufferPointer(buffer))
      count = Superblock.bytes
    }
    let stored = [UInt8](unsafeUninitializedCapacity: Superblock.bytes) { buffer, count in
      for i in 0..<Superblock.bytes { buffer[i] = block.unsafeLoadUnaligned(fromByteOffset: i, as: UInt8.self) }
      count = Superblock.bytes
    }
    if known != stored { found = stored }
  }

  private func check() throws(MetaFault) {
    func wrong(_ field: String, _ value: Int64) -> MetaFault { .corrupt(field: field, found: value) }
    guard (1...31).contains(maxPeers) else { throw wrong("bm_max_peers", Int64(maxPeers)) }
    guard (-1...31).contains(nodeID) else { throw wrong("node_id", Int64(nodeID)) }
    for (node, peer) in peers.enumerated() where !(-1..<Int32(maxPeers)).contains(peer.bitmapIndex) {
      throw wrong("bitmap_index of peer \(node)", Int64(peer.bitmapIndex))
    }
    if format == .v09, nodeID >= 0, peers[Int(nodeID)].bitmapIndex != -1 {
      throw wrong("bitmap_index of the own node \(nodeID)", Int64(peers[Int(nodeID)].bitmapIndex))
    }
    guard bytesPerBit.nonzeroBitCount == 1, (4096...1 << 20).contains(bytesPerBit) else {
      throw wrong("bm_bytes_per_bit", Int64(bytesPerBit))
    }
    guard bytesPerBit == 4096 else { throw .unsupported("a bitmap block size of \(bytesPerBit) bytes") }
    let blocks = UInt64(alStripes) * UInt64(alStripeSize4k)
    guard (8...4_194_304).contains(blocks) else {
      throw wrong("the activity log size in blocks", Int64(clamping: blocks))
    }
    guard effectiveSize.value <= Placement.maxSectors else {
      throw wrong("la_size", Int64(clamping: effectiveSize.value))
    }
  }
}

/// Writes fields and leaves alone what the layout skips.
private struct OverlayWriter: LayoutWalk, ~Copyable {
  private let base: UnsafeMutableRawBufferPointer
  private var offset = 0

  init(_ base: UnsafeMutableRawBufferPointer) { self.base = base }

  private mutating func put<T: FixedWidthInteger>(_ value: T) {
    base.storeBytes(of: value, toByteOffset: offset, as: T.self)
    offset += MemoryLayout<T>.size
  }

  mutating func u8(_ field: inout UInt8) { put(field) }
  mutating func u16(_ field: inout UInt16) { put(field.bigEndian) }
  mutating func u32(_ field: inout UInt32) { put(field.bigEndian) }
  mutating func u64(_ field: inout UInt64) { put(field.bigEndian) }
  mutating func opaque32(_ field: inout UInt32) { put(field) }
  mutating func opaque64(_ field: inout UInt64) { put(field) }
  mutating func pad(_ count: Int) { offset += count }
}
