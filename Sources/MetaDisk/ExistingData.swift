// What create-md finds where metadata shall go (metadata spec 5.1.1): the first 68 KiB of the device tell a file system
// and how much of the device it uses. A file system that reaches into the metadata is refused, whatever is forced.
import Base

public struct ExistingData: Equatable, Sendable {
  public enum Kind: Sendable {
    case nothing, swap, lvm2, ext3, ext2, xfs, jfs, reiser, other

    /// As DRBD names it.
    public var name: String {
      switch self {
      case .nothing: "nothing"
      case .swap: "swap space signature"
      case .lvm2: "LVM2 physical volume signature"
      case .ext3: "ext3 filesystem"
      case .ext2: "ext2 filesystem"
      case .xfs: "xfs filesystem"
      case .jfs: "JFS filesystem"
      case .reiser: "reiser filesystem"
      case .other: "some data"
      }
    }
  }

  public enum Verdict: Equatable, Sendable {
    case free
    /// Ask the operator.
    case ask
    /// No, unless the operator overrides sanity checks.
    case refuse
    /// No. The data would be cut off.
    case truncates
  }

  /// How much of the device has to be read.
  public static let examinedBytes = 68 << 10

  public let kind: Kind
  /// How much of the device it uses, when it says so.
  public let usedBytes: UInt64?

  /// Looks at the start of the device.
  public init(examining bytes: RawSpan) {
    precondition(bytes.byteCount >= ExistingData.examinedBytes, "68 KiB are examined")
    let start = StartOfDevice(bytes)
    (kind, usedBytes) = start.recognize()
  }

  /// `usable` is what the new metadata would leave for data.
  public func verdict(location: MetaLocation, usable: SectorCount) -> Verdict {
    switch kind {
    case .nothing: .free
    case .other: .ask
    case .swap, .lvm2: .refuse
    default:
      if location != .internal {
        .refuse
      } else if let usedBytes {
        usedBytes / 1024 > usable.value / 2 ? .truncates : .ask
      } else {
        .refuse
      }
    }
  }
}

private struct StartOfDevice: ~Escapable {
  private let bytes: RawSpan

  @_lifetime(copy bytes)
  init(_ bytes: RawSpan) { self.bytes = bytes }

  func recognize() -> (ExistingData.Kind, UInt64?) {
    if isZero { return (.nothing, nil) }
    for at in [4096 - 10, 8192 - 10] where holds("SWAP-SPACE", at) || holds("SWAPSPACE2", at) { return (.swap, nil) }
    if holds("LVM2", 0x218) { return (.lvm2, nil) }
    if little(0x438, as: UInt16.self) == 0xEF53 { return ext() }
    if holds("XFSB", 0) { return (.xfs, product(big(8, as: UInt64.self), UInt64(big(4, as: UInt32.self)))) }
    if holds("JFS1", 0x8000) {
      return (.jfs, product(little(0x8008, as: UInt64.self), UInt64(little(0x8018, as: UInt32.self))))
    }
    if holds("ReIsErFs", 0x10034) || holds("ReIsEr2Fs", 0x10034) {
      return (.reiser, product(UInt64(little(0x10000, as: UInt32.self)), UInt64(little(0x1002C, as: UInt16.self))))
    }
    return (.other, nil)
  }

  private func ext() -> (ExistingData.Kind, UInt64?) {
    var blocks = UInt64(little(0x404, as: UInt32.self))
    // ext4 with 64-bit block numbers keeps the upper half elsewhere.
    if little(0x460, as: UInt32.self) & 0x80 != 0 { blocks |= UInt64(little(0x550, as: UInt32.self)) << 32 }
    let shift = little(0x418, as: UInt32.self)
    let size: UInt64 = shift <= 6 ? 1024 << shift : 4096
    return (little(0x45C, as: UInt32.self) & 4 != 0 ? .ext3 : .ext2, product(blocks, size))
  }

  /// Nonsense sizes count as larger than any device.
  private func product(_ a: UInt64, _ b: UInt64) -> UInt64 {
    let (value, overflow) = a.multipliedReportingOverflow(by: b)
    return overflow ? .max : value
  }

  private var isZero: Bool {
    for i in stride(from: 0, to: ExistingData.examinedBytes, by: 8) where little(i, as: UInt64.self) != 0 {
      return false
    }
    return true
  }

  private func little<T: FixedWidthInteger & BitwiseCopyable>(_ at: Int, as: T.Type) -> T {
    T(littleEndian: bytes.unsafeLoadUnaligned(fromByteOffset: at, as: T.self))
  }

  private func big<T: FixedWidthInteger & BitwiseCopyable>(_ at: Int, as: T.Type) -> T {
    T(bigEndian: bytes.unsafeLoadUnaligned(fromByteOffset: at, as: T.self))
  }

  private func holds(_ text: String, _ at: Int) -> Bool {
    for (i, byte) in text.utf8.enumerated() where little(at + i, as: UInt8.self) != byte { return false }
    return true
  }
}
