// Where a socket is: an IPv4 or IPv6 address and a port. Written as in the configuration: 192.168.1.1:7788,
// [fd00::1]:7788, [fe80::1%eth0]:7788. Host names are not looked up: that would block.

import CURing
import Glibc

public struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
  public enum Host: Hashable, Sendable {
    /// Network order, most significant byte first when read as a number.
    case v4(UInt32)
    case v6(high: UInt64, low: UInt64, scope: UInt32)
  }

  public var host: Host
  public var port: UInt16

  public init(host: Host, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// Nil when `host` is no numeric address.
  public init?(_ host: some StringProtocol, port: UInt16) {
    guard let parsed = SocketAddress.parse(host: String(host)) else { return nil }
    self.init(host: parsed, port: port)
  }

  /// "ADDRESS:PORT", with brackets around an IPv6 address.
  public init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else { return nil }
    var host = text[..<colon]
    if host.hasPrefix("[") {
      guard host.hasSuffix("]") else { return nil }
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      return nil
    }
    self.init(host, port: port)
  }

  private static func parse(host: String) -> Host? {
    var four = in_addr()
    if inet_pton(AF_INET, host, &four) == 1 { return .v4(UInt32(bigEndian: four.s_addr)) }
    var plain = host[...]
    var scope: UInt32 = 0
    if let percent = host.firstIndex(of: "%") {
      let name = String(host[host.index(after: percent)...])
      plain = host[..<percent]
      scope = UInt32(name) ?? if_nametoindex(name)
      guard scope != 0 else { return nil }
    }
    var six = in6_addr()
    guard inet_pton(AF_INET6, String(plain), &six) == 1 else { return nil }
    return v6(six, scope)
  }

  private static func v6(_ address: in6_addr, _ scope: UInt32) -> Host {
    withUnsafeBytes(of: address) { bytes in
      .v6(
        high: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
        low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)), scope: scope)
    }
  }

  // MARK: The kernel's form

  var family: Int32 {
    switch host {
    case .v4: AF_INET
    case .v6: AF_INET6
    }
  }

  /// Returns the length used.
  func store(in storage: inout sockaddr_storage) -> socklen_t {
    storage = sockaddr_storage()
    return withUnsafeMutableBytes(of: &storage) { bytes in
      switch host {
      case .v4(let number):
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = number.bigEndian
        bytes.storeBytes(of: address, as: sockaddr_in.self)
        return socklen_t(MemoryLayout<sockaddr_in>.size)
      case .v6(let high, let low, let scope):
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_port = port.bigEndian
        address.sin6_scope_id = scope
        withUnsafeMutableBytes(of: &address.sin6_addr) { six in
          six.storeBytes(of: high.bigEndian, toByteOffset: 0, as: UInt64.self)
          six.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        bytes.storeBytes(of: address, as: sockaddr_in6.self)
        return socklen_t(MemoryLayout<sockaddr_in6>.size)
      }
    }
  }

  init?(_ storage: sockaddr_storage) {
    let read = withUnsafeBytes(of: storage) { bytes -> (Host, UInt16)? in
      switch Int32(storage.ss_family) {
      case AF_INET:
        let address = bytes.load(as: sockaddr_in.self)
        return (.v4(UInt32(bigEndian: address.sin_addr.s_addr)), UInt16(bigEndian: address.sin_port))
      case AF_INET6:
        let address = bytes.load(as: sockaddr_in6.self)
        return (SocketAddress.v6(address.sin6_addr, address.sin6_scope_id), UInt16(bigEndian: address.sin6_port))
      default: return nil
      }
    }
    guard let read else { return nil }
    self.init(host: read.0, port: read.1)
  }

  // MARK: Words

  /// Without the port, as `inet_ntop` writes it.
  public var hostText: String {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    switch host {
    case .v4(let number):
      var address = in_addr(s_addr: number.bigEndian)
      inet_ntop(AF_INET, &address, &text, socklen_t(text.count))
    case .v6(let high, let low, _):
      var words = (high.bigEndian, low.bigEndian)
      inet_ntop(AF_INET6, &words, &text, socklen_t(text.count))
    }
    let plain = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    if case .v6(_, _, let scope) = host, scope != 0 { return "\(plain)%\(scope)" }
    return plain
  }

  public var description: String {
    switch host {
    case .v4: "\(hostText):\(port)"
    case .v6: "[\(hostText)]:\(port)"
    }
  }
}
