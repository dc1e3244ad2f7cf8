// Digests by the names of the kernel's crypto interface, which is what configurations and peers say: for data integrity,
// checksum-based resync, online verify and, keyed, for authentication. All arithmetic is libcrypto's, except CRC-32C.

import Base
import CCrypto
import Glibc

/// The algorithms that both ends may agree on (wire spec 7.8).
public enum DigestAlgorithm: String, Sendable, CaseIterable {
  case crc32c, md5, sha1, sha256, sha384, sha512

  /// By the name in the configuration or from the peer.
  public init(named name: String) throws(UnknownDigest) {
    guard let known = DigestAlgorithm(rawValue: name) else { throw UnknownDigest(name: name, forKeys: false) }
    self = known
  }

  /// For `cram-hmac-alg`: a checksum cannot be keyed.
  public init(keyedNamed name: String) throws(UnknownDigest) {
    guard let known = DigestAlgorithm(rawValue: name), known.isCryptographic else {
      throw UnknownDigest(name: name, forKeys: true)
    }
    self = known
  }

  public var isCryptographic: Bool { self != .crc32c }

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

  /// Those that a policy of this system forbids (FIPS forbids md5): libcrypto knows the name and refuses to begin, or does not
  /// give the method. Looked at once: a policy holds for the life of a process.
  public static let forbidden: Set<DigestAlgorithm> = {
    var found: Set<DigestAlgorithm> = []
    for algorithm in allCases {
      do throws(DigestForbidden) { _ = try Digest(algorithm) } catch { found.insert(algorithm) }
    }
    return found
  }()

  fileprivate func fetch() -> OpaquePointer? { EVP_MD_fetch(nil, rawValue, nil) }
}

public struct UnknownDigest: Error, Equatable, Sendable {
  public let name: String
  let forKeys: Bool
  public var text: String {
    let known = DigestAlgorithm.allCases.filter { !forKeys || $0.isCryptographic }.map(\.rawValue)
    return "'\(name)' is no digest known here: use one of \(known.joined(separator: ", "))"
  }
}

/// libcrypto refused an algorithm it should have; FIPS policies do that to md5.
public struct DigestForbidden: Error, Equatable, Sendable {
  public let algorithm: DigestAlgorithm
  public var text: String {
    "the system's cryptography policy forbids \(algorithm.rawValue): choose another digest on both hosts"
  }
}

/// One algorithm made ready; nothing is allocated per digest. Feed it with `update`, end with `finish`, begin again.
public struct Digest: ~Copyable {
  public let algorithm: DigestAlgorithm
  private let method: OpaquePointer?
  private let context: OpaquePointer?
  private var crc = Crc32c.start

  public init(_ algorithm: DigestAlgorithm) throws(DigestForbidden) {
    var method: OpaquePointer?
    var context: OpaquePointer?
    if algorithm != .crc32c {
      method = algorithm.fetch()
      context = EVP_MD_CTX_new()
      guard method != nil, context != nil, EVP_DigestInit_ex2(context, method, nil) == 1 else {
        EVP_MD_CTX_free(context)
        EVP_MD_free(method)
        throw DigestForbidden(algorithm: algorithm)
      }
    }
    self.algorithm = algorithm
    self.method = method
    self.context = context
  }

  deinit {
    EVP_MD_CTX_free(context)
    EVP_MD_free(method)
  }

  public var size: Int { algorithm.size }

  public mutating func update(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count > 0 else { return }
    if algorithm == .crc32c {
      crc = Crc32c.update(crc, bytes)
    } else {
      let rc = EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
      precondition(rc == 1, "libcrypto failed in the middle of a digest")
    }
  }

  /// Writes `size` bytes and starts over.
  public mutating func finish(into target: UnsafeMutableRawPointer) {
    if algorithm == .crc32c {
      target.storeBytes(of: (crc ^ Crc32c.start).littleEndian, as: UInt32.self)
      crc = Crc32c.start
      return
    }
    var length: UInt32 = 0
    let rc = EVP_DigestFinal_ex(context, target.assumingMemoryBound(to: UInt8.self), &length)
    precondition(rc == 1 && Int(length) == size, "libcrypto failed at the end of a digest")
    precondition(EVP_DigestInit_ex2(context, method, nil) == 1, "libcrypto failed at the start of a digest")
  }

  public mutating func of(_ bytes: [UInt8]) -> [UInt8] {
    bytes.withUnsafeBytes { update($0) }
    var result = [UInt8](repeating: 0, count: size)
    result.withUnsafeMutableBytes { finish(into: $0.baseAddress!) }
    return result
  }

  /// HMAC of a message under the shared secret.
  public static func keyed(
    _ algorithm: DigestAlgorithm, key: [UInt8], message: [UInt8]
  ) throws(DigestForbidden) -> [UInt8] {
    precondition(algorithm.isCryptographic, "a checksum cannot be keyed")
    var result = [UInt8](repeating: 0, count: algorithm.size)
    var length: UInt32 = 0
    guard let method = algorithm.fetch() else { throw DigestForbidden(algorithm: algorithm) }
    defer { EVP_MD_free(method) }
    // libcrypto takes no null pointer for an empty key.
    let padded = key + [0]
    guard HMAC(method, padded, Int32(key.count), message, message.count, &result, &length) != nil,
      Int(length) == result.count
    else { throw DigestForbidden(algorithm: algorithm) }
    return result
  }

  /// Whether two digests agree, in time that does not tell where they differ.
  public static func equal(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    guard a.count == b.count else { return false }
    var difference: UInt8 = 0
    for i in 0..<a.count { difference |= a[i] ^ b[i] }
    return difference == 0
  }
}

/// The reflected polynomial 0x82f63b78, by the processor where it can.
enum Crc32c {
  static let start = UInt32.max
  private static let byProcessor = cc_has_crc32c() != 0
  static let table: [UInt32] = (0..<256).map { index in
    var value = UInt32(index)
    for _ in 0..<8 { value = value & 1 == 0 ? value >> 1 : value >> 1 ^ 0x82f6_3b78 }
    return value
  }

  static func update(_ crc: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
    byProcessor ? cc_crc32c(crc, bytes.baseAddress, bytes.count) : byTable(crc, bytes)
  }

  static func byTable(_ crc: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
    var crc = crc
    for byte in bytes { crc = crc >> 8 ^ table[Int(UInt8(truncatingIfNeeded: crc) ^ byte)] }
    return crc
  }
}
