// Digests by the names that configurations and peers use. Law: one that a policy of this system forbids is unknown here, in every
// place where a digest is chosen: it is never taken for one whose values differ.
import Protocol

extension Engine {
  /// Nil: not known here, or forbidden.
  func digest(_ name: String) -> DigestName? {
    guard let known = DigestName(rawValue: name), !settings.net.forbiddenDigests.contains(known) else { return nil }
    return known
  }

  /// What to say of a name that `digest` does not know.
  func unusable(_ name: String) -> String {
    if name.isEmpty { return "not set" }
    let isForbidden = DigestName(rawValue: name).map { settings.net.forbiddenDigests.contains($0) } ?? false
    return isForbidden
      ? "\(name), which the cryptography policy of this system forbids" : "\(name), which is not known here"
  }
}
