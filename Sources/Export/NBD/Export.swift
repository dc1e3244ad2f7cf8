// One volume as NBD clients see it: its name, size, blocks and whether this node may serve it now. A Secondary still
// lists its volumes and refuses to open them with a sentence an operator can act on.

import Base

public struct Export: Equatable, Sendable {
  public var volume: VolumeNumber
  /// `RESOURCE/VOLUME`. The empty name of a client means the first export of its session.
  public var name: String
  /// In bytes, a multiple of `minimumBlock`.
  public private(set) var size: UInt64
  /// Smallest unit of a request: 512, or the logical block size of the backing device.
  public let minimumBlock: UInt32
  public var isReadOnly: Bool
  /// Why this node does not serve the volume, or nil when it does: "drbd0/0 is Secondary on this node: promote it
  /// first (repladm primary drbd0)".
  public var refusal: String?

  public static let preferredBlock: UInt32 = 4096
  public static let maximumBlock: UInt32 = 32 << 20

  /// A size that is not a multiple of the minimum block is rounded down: a client could not reach the rest.
  public init(
    volume: VolumeNumber, name: String, size: UInt64, minimumBlock: UInt32 = 512, isReadOnly: Bool = false,
    refusal: String? = nil
  ) {
    precondition(
      minimumBlock >= 512 && minimumBlock <= Export.preferredBlock && minimumBlock & (minimumBlock - 1) == 0,
      "minimum block size out of range")
    self.volume = volume
    self.name = name
    self.size = size & ~UInt64(minimumBlock - 1)
    self.minimumBlock = minimumBlock
    self.isReadOnly = isReadOnly
    self.refusal = refusal
  }

  public mutating func resize(to bytes: UInt64) { size = bytes & ~UInt64(minimumBlock - 1) }

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
      flags |= TransmissionFlags.sendTrim | TransmissionFlags.sendWriteZeroes | TransmissionFlags.sendFastZero
    }
    if structuredReplies { flags |= TransmissionFlags.sendDF }
    return flags
  }
}

/// What a request is checked against.
struct Bounds: Equatable, Sendable {
  let size: UInt64
  let minimumBlock: UInt32
  let isReadOnly: Bool
  init(_ export: Export) {
    size = export.size
    minimumBlock = export.minimumBlock
    isReadOnly = export.isReadOnly
  }
}
