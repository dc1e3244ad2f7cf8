// `connection`, `path` and `connection-mesh`: who talks to whom, when the file says so itself.

extension Parser {
  private static let connectionItems = ["host", "path", "net", "disk", "volume", "skip"]

  mutating func connection(at position: SourcePosition) throws(ConfigurationError) -> ConnectionSection {
    var section = ConnectionSection(position: position)
    var seen: [String: SourcePosition] = [:]
    if !isAt("{") {
      section.name = try newName("connection")
      tree.notices.append(
        ConfigurationNotice(
          at: position, "the name '\(section.name ?? "")' is ignored: a connection is called by its peer's host name"))
    }
    try expect("{")
    while !isAt("}") {
      guard token.kind == .word else { throw unexpected(expected: Self.connectionItems + ["}"]) }
      let start = here
      switch token.text {
      case "skip": try skip()
      case "host": section.ends.append(try end())
      case "path":
        try advance()
        section.paths.append(try path(at: start))
      case "volume": try volume(into: &section.volumes)
      case "net", "disk", "proxy": _ = try optionSection(into: &section.options, seen: &seen)
      default: throw unexpected(expected: Self.connectionItems + ["}"])
      }
    }
    try advance()
    try check(section)
    return section
  }

  /// Only what lies between two nodes can be said in a connection.
  private func check(_ section: ConnectionSection) throws(ConfigurationError) {
    for setting in section.options.settings + section.volumes.flatMap(\.options) {
      guard setting.definition.section == .net || setting.definition.section == .peerDevice else {
        throw fault(
          "'\(setting.name)' is about a disk, not about a connection", at: setting.position,
          advice: "Write it in a disk section of the resource or volume")
      }
    }
    if let volume = section.volumes.first(where: \.hasKeys), let position = volume.position {
      throw fault(
        "a volume inside a connection has no device, disk or meta-disk", at: position,
        advice: "Write only a disk section in it")
    }
  }

  private mutating func path(at position: SourcePosition) throws(ConfigurationError) -> PathSection {
    var section = PathSection(position: position)
    try expect("{")
    while !isAt("}") {
      guard isAt(word: "host") else { throw unexpected(expected: ["host", "}"]) }
      section.ends.append(try end())
    }
    try advance()
    return section
  }

  /// `host NAME [address [family] ip[:port]] [port N];`
  private mutating func end() throws(ConfigurationError) -> EndSection {
    let position = here
    try advance()
    var section = EndSection(host: try text("name of the host"), position: position)
    while !isAt(";") {
      if try take(word: "address") {
        let family = try family()
        let place = here
        let (actual, host) = try numericAddress(family)
        guard HostAddress.bytes(of: host) != nil else {
          throw fault("'\(Lexer.printable(host))' is not an address", at: place)
        }
        section.family = actual
        section.address = host
        if try take(":") { section.port = UInt16(try number("port", in: 1...65535)) }
      } else if try take(word: "port") {
        section.port = UInt16(try number("port", in: 1...65535))
      } else {
        throw unexpected(expected: ["address", "port", ";"])
      }
    }
    try advance()
    return section
  }

  mutating func mesh(at position: SourcePosition) throws(ConfigurationError) -> MeshSection {
    var section = MeshSection(position: position)
    var seen: [String: SourcePosition] = [:]
    try expect("{")
    while !isAt("}") {
      if isAt(word: "skip") {
        try skip()
      } else if try take(word: "hosts") {
        while !isAt(";") { section.hosts.append(try text("host name")) }
        try advance()
      } else {
        guard isAt(word: "net") || isAt(word: "disk"), try optionSection(into: &section.options, seen: &seen) else {
          throw unexpected(expected: ["hosts", "net", "}"])
        }
      }
    }
    try advance()
    for setting in section.options.settings where setting.definition.section == .disk {
      throw fault("'\(setting.name)' is about a disk, not about a connection", at: setting.position)
    }
    return section
  }
}
