// What the engine wants to know about bytes that were read: their digest, or whether they are nothing but zeroes. One digest
// of each algorithm is made ready when it is first asked for.
import BlockIO
import Engine
import Protocol

struct Examiner: ~Copyable {
  private var digests = Places<Digest>(capacity: DigestName.allCases.count)

  mutating func look(at bytes: UnsafeRawBufferPointer, _ what: Examination) -> Finding {
    switch what {
    case .zeroes: return .isZero(Examiner.isZero(bytes))
    case .digest(let name):
      guard let place = ready(name) else { return .unknown }
      digests[place].update(bytes)
      var result = [UInt8](repeating: 0, count: name.size)
      result.withUnsafeMutableBytes { digests[place].finish(into: $0.baseAddress!) }
      return .digest(result)
    }
  }

  /// Nil: a policy of the system forbids it; then there is no digest to tell.
  private mutating func ready(_ name: DigestName) -> Int? {
    guard let place = DigestName.allCases.firstIndex(of: name),
      let algorithm = DigestAlgorithm(rawValue: name.rawValue)
    else { return nil }
    if digests.contains(place) { return place }
    do throws(DigestForbidden) {
      digests.put(try Digest(algorithm), at: place)
      return place
    } catch {
      return nil
    }
  }

  private static func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
    // Multiples of 512 bytes in aligned memory.
    for word in bytes.bindMemory(to: UInt64.self) where word != 0 { return false }
    return true
  }
}
