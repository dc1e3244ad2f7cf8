// `on HOST { ... }`, `floating ADDRESS { ... }` and `stacked-on-top-of RES { ... }`, and the addresses inside them.

extension Parser {
  static let hostItems = [
    "address", "node-id", "device", "disk", "meta-disk", "flexible-meta-disk", "volume", "options", "proxy", "skip",
  ]

  mutating func host(into resource: inout ResourceSection) throws(ConfigurationError) {
    let position = here
    var section: HostSection
    switch token.text {
    case "on":
      try advance()
      var names = [try newName("host")]
      while !isAt("{") { names.append(try newName("host")) }
      section = HostSection(kind: .on(names), position: position)
      for other in resource.hosts {
        guard let name = names.first(where: { other.isCalled($0) }) else { continue }
        throw conflict("host '\(name)' in resource '\(resource.name)'", first: other.position)
      }
      guard Set(names).count == names.count else {
        throw fault("a host name is written twice behind 'on'", at: position, advice: "Keep one of them")
      }
    case "floating":
      try advance()
      section = HostSection(kind: .floating, position: position)
      section.address = Located(value: try address(), position: position)
      if try take(";") {
        resource.hosts.append(section)
        return
      }
    default:
      try advance()
      section = HostSection(kind: .stacked(onTopOf: try newName("lower resource")), position: position)
    }
    try expect("{")
    while !isAt("}") { try hostItem(into: &section) }
    try advance()
    resource.hosts.append(section)
  }

  private mutating func hostItem(into section: inout HostSection) throws(ConfigurationError) {
    guard token.kind == .word else { throw unexpected(expected: Self.hostItems + ["}"]) }
    let start = here
    switch token.text {
    case "skip": try skip()
    case "address":
      if let first = section.address { throw conflict("address", first: first.position) }
      try advance()
      section.address = Located(value: try address(), position: start)
      try expect(";")
    case "node-id":
      if let first = section.nodeID { throw conflict("node-id", first: first.position) }
      try advance()
      section.nodeID = Located(value: try number("node-id", in: 0...NodeNumber.highest), position: start)
      try expect(";")
    case "device", "meta-disk", "flexible-meta-disk": try volumeKey(into: &section.implicitVolume)
    case "disk":
      try advance()
      if isAt("{") {
        section.implicitVolume.options += try options(in: .disk)
      } else {
        try disk(into: &section.implicitVolume, at: start)
      }
    case "volume": try volume(into: &section.volumes)
    case "options":
      try advance()
      section.options.settings += try options(in: .options)
    case "proxy":
      try advance()
      section.options.proxy = try proxy(at: start)
    default: throw unexpected(expected: Self.hostItems + ["}"])
    }
  }

  // MARK: addresses

  /// `[family] ip:port`.
  mutating func address() throws(ConfigurationError) -> HostAddress {
    let family = try family()
    let position = here
    let (actual, host) = try numericAddress(family)
    guard try take(":") else {
      throw unexpected(expected: [":"], advice: "An address has a port, like \(host):7789")
    }
    let port = try number("port", in: 1...65535)
    let address = HostAddress(family: actual, host: host, port: UInt16(port))
    if address.bytes == nil {
      throw fault(
        "'\(Lexer.printable(host))' is not an \(actual == .ipv6 ? "IPv6" : "IPv4") address", at: position,
        advice: actual == .ipv6 ? "Write it like ipv6 [2001:db8::1]:7789" : "Write it like 192.168.1.1:7789")
    }
    return address
  }

  mutating func family() throws(ConfigurationError) -> AddressFamily? {
    guard token.kind == .word, let family = AddressFamily(keyword: token.text) else { return nil }
    try advance()
    return family
  }

  /// The address without its port. Brackets make it IPv6, also when the family is not written.
  mutating func numericAddress(_ family: AddressFamily?) throws(ConfigurationError) -> (AddressFamily, String) {
    if isAt("["), family == nil || family == .ipv6 {
      // The look-ahead stops at the bracket: what is inside has rules of its own.
      let inside = try lexer.bracketed()
      try advance()
      return (.ipv6, inside.text)
    }
    guard token.kind == .word, family != .ipv6 else {
      throw unexpected(
        expected: family == .ipv6
          ? ["<ipv6 address in square brackets>"] : ["ssocks", "sdp", "ipv4", "ipv6", "<ipv4 address>"])
    }
    guard HostAddress.ipv4(token.text[...]) != nil else {
      throw unexpected(
        expected: ["ssocks", "sdp", "ipv4", "ipv6", "<ipv4 address>"],
        advice: "Host names are not looked up here; write the address in numbers")
    }
    return (family ?? .ipv4, try text("address"))
  }
}
