// One volume as NBD clients see it: its name, size, blocks and whether this node may serve it now. A Secondary still
// lists its volumes and refuses to open them with a sentence an operator can act on.

import Base

public struct Export: Equatable, Sendable {
  public var volume: VolumeNumber
  /// `RESOURCE/VOLUME`. The empty name of a client means the first export of its session.
  public var name: String
  /// Bytes of the volume. Clients are told of whole blocks only: `size`.
  public private(set) var bytes: UInt64
  /// Smallest unit of a request that clients are told: 512, or the logical block size of a disk. Whole sectors are taken, too:
  /// a device of the kernel that has outlived the process keeps the blocks it began with.
  public let minimumBlock: UInt32
  /// A discard gives the room back. A client that sends one unasked is served all the same.
  public let offersTrim: Bool
  public var isReadOnly: Bool
  /// Why this node does not serve the volume, or nil when it does: "drbd0/0 is Secondary on this node: promote it
  /// first (repladm primary drbd0)".
  public var refusal: String?

  public static let preferredBlock: UInt32 = 4096
  public static let maximumBlock: UInt32 = 32 << 20

  public init(
    volume: VolumeNumber, name: String, size: UInt64, minimumBlock: UInt32 = 512, offersTrim: Bool = true,
    isReadOnly: Bool = false, refusal: String? = nil
  ) {
    precondition(
      minimumBlock >= 512 && minimumBlock <= Export.preferredBlock && minimumBlock & (minimumBlock - 1) == 0,
      "minimum block size out of range")
    self.volume = volume
    self.name = name
    bytes = size
    self.minimumBlock = minimumBlock
    self.offersTrim = offersTrim
    self.isReadOnly = isReadOnly
    self.refusal = refusal
  }

  /// A size that is not a multiple of the minimum block is rounded down: a client could not reach the rest.
  public var size: UInt64 { bytes & ~UInt64(minimumBlock - 1) }

  /// The sentence for a Secondary.
  public static func secondaryRefusal(resource: String, volume: VolumeNumber) -> String {
    "\(resource)/\(volume.value) is Secondary on this node: promote it first (repladm primary \(resource))"
  }

  /// Several connections are safe: all of them end in one engine, and a flush covers what any of them was answered.
  func flags(structuredReplies: Bool) -> UInt16 {
    var flags =
      TransmissionFlags.hasFlags | TransmissionFlags.sendFlush | TransmissionFlags.sendFUA
      | TransmissionFlags.canMultiConn | TransmissionFlags.sendCache
    if isReadOnly {
      flags |= TransmissionFlags.readOnly
    } else {
      flags |= TransmissionFlags.sendWriteZeroes | TransmissionFlags.sendFastZero
      if offersTrim { flags |= TransmissionFlags.sendTrim }
    }
    if structuredReplies { flags |= TransmissionFlags.sendDF }
    return flags
  }
}

/// What a request is checked against.
struct Bounds: Equatable, Sendable {
  let size: UInt64
  let isReadOnly: Bool
  init(_ export: Export) {
    size = export.bytes
    isReadOnly = export.isReadOnly
  }
}
