// Network addresses as the file writes them. Kept as text, because the node-id rule hashes the text (NodeNumber.swift);
// compared as bytes, because `2001:db8::1` and `2001:0db8:0::1` are the same place.

public enum AddressFamily: String, Sendable, CaseIterable {
  case ipv4, ipv6, ssocks, sdp

  init?(keyword: String) {
    self.init(rawValue: keyword == "sci" ? "ssocks" : keyword)
  }

  /// This product speaks TCP over IPv4 and IPv6.
  public var isImplemented: Bool { self == .ipv4 || self == .ipv6 }
}

/// An end point: `ipv4 192.168.1.1:7789`, `ipv6 [fe80::1%eth0]:7789`.
public struct HostAddress: Hashable, Sendable, CustomStringConvertible {
  public var family: AddressFamily
  /// As written, without brackets.
  public var host: String
  public var port: UInt16

  public init(family: AddressFamily, host: String, port: UInt16) {
    self.family = family
    self.host = host
    self.port = port
  }

  public var description: String {
    family == .ipv6 ? "ipv6 [\(host)]:\(port)" : "\(family.rawValue) \(host):\(port)"
  }

  /// Bytes in network order (4 or 16) and the scope of a link-local address.
  public var bytes: [UInt8]? { Self.bytes(of: host) }
  public var scope: String? {
    host.firstIndex(of: "%").map { String(host[host.index(after: $0)...]) }
  }

  /// True when both name the same place, however they are written.
  public func isSame(as other: HostAddress) -> Bool { port == other.port && Self.sameHost(host, other.host) }

  /// Compares two addresses without port: `fe80::1` is `fe80:0::1`. A scope counts only when both have one.
  public static func sameHost(_ a: String, _ b: String) -> Bool {
    guard let first = bytes(of: a), let second = bytes(of: b) else { return a == b }
    guard first == second else { return false }
    let scopes = [a, b].map { $0.split(separator: "%", maxSplits: 1).dropFirst().first }
    return scopes[0] == nil || scopes[1] == nil || scopes[0] == scopes[1]
  }

  /// Bytes of a dotted quad or of an IPv6 address (a `%scope` is ignored); nil when the text is neither.
  public static func bytes(of text: String) -> [UInt8]? { ipv4(text[...]) ?? ipv6(text) }

  static func ipv4(_ text: Substring) -> [UInt8]? {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var result: [UInt8] = []
    for part in parts {
      guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (48...57).contains($0) }),
        let value = UInt8(part)
      else { return nil }
      result.append(value)
    }
    return result
  }

  static func ipv6(_ text: String) -> [UInt8]? {
    let address = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)[0]
    guard address.utf8.count <= 45, address.contains(":") else { return nil }
    guard let gap = firstDoubleColon(in: address) else {
      guard let all = groups(address), all.count == 16 else { return nil }
      return all
    }
    let front = address[..<gap]
    let back = address[address.index(gap, offsetBy: 2)...]
    guard let head = front.isEmpty ? [] : groups(front), let tail = back.isEmpty ? [] : groups(back),
      head.count + tail.count <= 14
    else { return nil }
    return head + [UInt8](repeating: 0, count: 16 - head.count - tail.count) + tail
  }

  private static func firstDoubleColon(in text: Substring) -> Substring.Index? {
    var previous: Substring.Index?
    for index in text.indices {
      if text[index] == ":", let previous, text[previous] == ":" { return previous }
      previous = index
    }
    return nil
  }

  /// Groups between single colons; the last may be a dotted quad.
  private static func groups(_ text: Substring) -> [UInt8]? {
    var result: [UInt8] = []
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    for (index, part) in parts.enumerated() {
      if index == parts.count - 1, part.contains("."), let quad = ipv4(part) {
        result += quad
        continue
      }
      guard (1...4).contains(part.utf8.count), part.utf8.allSatisfy(isHexDigit), let value = UInt16(part, radix: 16)
      else { return nil }
      result += [UInt8(value >> 8), UInt8(value & 0xff)]
    }
    return result.count <= 16 ? result : nil
  }

  private static func isHexDigit(_ byte: UInt8) -> Bool {
    (48...57).contains(byte) || (65...70).contains(byte) || (97...102).contains(byte)
  }
}
