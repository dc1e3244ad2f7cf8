// The digest of one direction of a socket (`data-integrity-alg`): computed where the bytes lie, for one payload after the
// other; nothing is allocated per packet that is sent. Law: without an algorithm everything is accepted, with one only
// what fits its digest.
import BlockIO
import Protocol

struct Checker: ~Copyable {
  private var name: DigestName?
  /// One when an algorithm is in force.
  private var digests = Places<Digest>(capacity: 1)

  var size: Int { digests.contains(0) ? digests[0].size : 0 }

  mutating func prepare(_ name: DigestName?) {
    if name == self.name { return }
    self.name = name
    if digests.contains(0) { _ = digests.remove(0) }
    guard let name, let algorithm = DigestAlgorithm(rawValue: name.rawValue) else { return }
    // The engine agrees on none that a policy of the system forbids; without a digest nothing of the peer would be accepted.
    do throws(DigestForbidden) { digests.put(try Digest(algorithm), at: 0) } catch {}
  }

  mutating func digest(_ bytes: UnsafeRawBufferPointer, into target: UnsafeMutableRawPointer) {
    digests[0].update(bytes)
    digests[0].finish(into: target)
  }

  mutating func accepts(_ digest: [UInt8], of bytes: UnsafeRawBufferPointer) -> Bool {
    if name == nil { return true }
    guard digests.contains(0), digest.count == digests[0].size else { return false }
    return withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { own in
      digests[0].update(bytes)
      digests[0].finish(into: own.baseAddress!)
      for i in 0..<digest.count where own[i] != digest[i] { return false }
      return true
    }
  }
}

extension Packet {
  /// Its payload has a digest in front when the direction has one.
  var carriesDigest: Bool {
    switch self {
    case .data, .dataReply, .resyncReply: true
    default: false
    }
  }

  /// The head whose digest is to be checked.
  var digested: DataHeader? {
    switch self {
    case .data(let head), .dataReply(let head), .resyncReply(let head): head
    default: nil
    }
  }
}
