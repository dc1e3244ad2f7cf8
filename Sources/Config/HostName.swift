// What a host is called, and when two names mean the same host (admin spec 2.5). The file, `uname -n` and the operator may each
// write the short name or the full one. The only place that compares names of hosts.

public struct HostName: Sendable, Hashable, CustomStringConvertible {
  /// As it was written.
  public let text: String

  public init(_ text: String) { self.text = text }

  public var description: String { text }

  /// The names are equal without regard to case, or one of the two has no dot and equals the first label of the other. So two
  /// different domains do not match. Not transitive: `a` is the same as `a.x` and as `a.y`, which differ.
  public func isSame(as other: HostName) -> Bool {
    let (own, others) = (folded, other.folded)
    if own == others { return true }
    if !own.contains(Self.dot) { return own[...] == others.prefix { $0 != Self.dot } }
    if !others.contains(Self.dot) { return others[...] == own.prefix { $0 != Self.dot } }
    return false
  }

  private static let dot = UInt8(ascii: ".")

  /// ASCII letters in lower case; names of hosts have no others.
  private var folded: [UInt8] { text.utf8.map { (65...90).contains($0) ? $0 + 32 : $0 } }
}

extension Sequence<HostName> {
  /// Whether one of these names means `host`.
  func mean(_ host: HostName) -> Bool { contains { $0.isSame(as: host) } }
}

extension Collection where Element == [HostName] {
  /// Which of these hosts are called `host`. One that is called exactly so stands above those that match by a label or without
  /// regard to case. More than one: the name does not tell them apart.
  func indices(called host: HostName) -> [Index] {
    let exact = indices.filter { self[$0].contains(host) }
    return exact.isEmpty ? indices.filter { self[$0].mean(host) } : exact
  }
}
