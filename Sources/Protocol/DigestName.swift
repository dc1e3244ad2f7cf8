// The digests that two nodes can agree on by name (wire spec 7.8): for data integrity, checksum-based resync and online
// verify. Only names and lengths; who computes them sits next to the bytes.

public enum DigestName: String, Sendable, CaseIterable {
  case crc32c, md5, sha1, sha256, sha384, sha512

  /// Bytes on the wire.
  public var size: Int {
    switch self {
    case .crc32c: 4
    case .md5: 16
    case .sha1: 20
    case .sha256: 32
    case .sha384: 48
    case .sha512: 64
    }
  }
}
