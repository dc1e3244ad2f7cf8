// Everything that can be wrong with metadata, as values. Bytes on a disk are hostile input: a reader names the field it
// refused and what stood there, and never goes on with a guess. Each fault has one sentence for the operator.

/// Why metadata cannot be read, written, placed or converted.
public enum MetaFault: Error, Equatable, Sendable {
  /// No superblock of any known format where it belongs.
  case absent
  case wrongFormat(found: MetaFormat, wanted: MetaFormat)
  /// A field holds what no writer would have put there.
  case corrupt(field: String, found: Int64)
  /// A field contradicts the place where the superblock was found.
  case misplaced(field: String, found: Int64, expected: Int64)
  /// A known thing this program does not handle.
  case unsupported(String)
  case tooSmall(deviceBytes: UInt64, neededBytes: UInt64)
  /// More than the format's offsets, or 1 PiB, can address.
  case tooLarge(sectors: UInt64, limit: UInt64)
  case peersOutOfRange(Int64)
  case stripingOutOfRange(stripes: UInt64, stripeSize4k: UInt64)
  case indexOutOfRange(Int64)
  /// The activity log must be applied before this can be done.
  case unclean
  /// Not a single valid block in the activity log.
  case activityLogEmpty
  /// No usable transaction, and more damage than one interrupted write explains.
  case activityLogCorrupt(badBlocks: UInt32)
  /// The other format cannot hold what this superblock says.
  case notConvertible(String)
  /// No bitmap slot left for another peer.
  case noFreeSlot(peers: UInt32)
  /// Text that is not a metadata dump.
  case dumpSyntax(line: Int, expected: String)
  /// Text that is not a list of generation identifiers.
  case generationSyntax(field: Int, text: String)

  /// What happened, in one sentence.
  public var text: String {
    switch self {
    case .absent:
      "No DRBD metadata found where it belongs; write some with create-md."
    case .wrongFormat(let found, let wanted):
      "Found \(found.name) metadata, but \(wanted.name) was asked for."
    case .corrupt(let field, let found):
      "The metadata is corrupt: \(field) is \(found)."
    case .misplaced(let field, let found, let expected):
      "The metadata does not fit this device: \(field) is \(found), but should be \(expected)."
    case .unsupported(let what):
      "The metadata uses something that is not supported: \(what)."
    case .tooSmall(let have, let need):
      "The device has \(have) bytes, but at least \(need) are needed for the metadata and some data."
    case .tooLarge(let sectors, let limit):
      "\(sectors) sectors are more than the \(limit) this metadata can address."
    case .peersOutOfRange(let n):
      "\(n) peers were asked for, but metadata has room for 1 to 31."
    case .stripingOutOfRange(let stripes, let size):
      "An activity log of \(stripes) stripes of \(size) blocks is out of range: the product must be 8 to 4194304."
    case .indexOutOfRange(let n):
      "Metadata index \(n) is out of range: 0 to 255."
    case .unclean:
      "The metadata is unclean: the activity log must be applied first (apply-al)."
    case .activityLogEmpty:
      "The activity log has not a single valid block, so the blocks in flight at the crash are unknown."
    case .activityLogCorrupt(let bad):
      "The activity log has \(bad) damaged blocks and no usable transaction, so the blocks in flight are unknown."
    case .notConvertible(let why):
      "The metadata cannot be converted: \(why)."
    case .noFreeSlot(let peers):
      "All \(peers) bitmap slots are taken; forget a peer or create the metadata for more peers."
    case .dumpSyntax(let line, let expected):
      "Line \(line) of the metadata dump: expected \(expected)."
    case .generationSyntax(let field, let text):
      "Field \(field) of the generation identifiers is \"\(text)\": expected a hexadecimal number, 0 or 1."
    }
  }
}
