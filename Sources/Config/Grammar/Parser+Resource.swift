// `resource NAME { ... }` and the volumes inside it.

extension Parser {
  static let resourceItems = [
    "protocol", "device", "disk", "meta-disk", "flexible-meta-disk", "volume", "on", "floating", "stacked-on-top-of",
    "connection", "connection-mesh", "net", "startup", "options", "handlers", "syncer", "proxy", "template-file",
    "skip",
  ]

  mutating func resource(_ name: String, at position: SourcePosition) throws(ConfigurationError) -> ResourceSection {
    var section = ResourceSection(name: name, position: position)
    var seen: [String: SourcePosition] = [:]
    try expect("{")
    while !isAt("}") {
      guard token.kind == .word else { throw unexpected(expected: Self.resourceItems + ["}"]) }
      let start = here
      switch token.text {
      case "skip": try skip()
      case "device", "meta-disk", "flexible-meta-disk": try volumeKey(into: &section.implicitVolume)
      case "disk":
        try advance()
        if isAt("{") {
          if let first = seen["disk"] { throw conflict("the disk section", first: first) }
          seen["disk"] = start
          section.options.settings += try options(in: .disk)
        } else {
          try disk(into: &section.implicitVolume, at: start)
        }
      case "volume": try volume(into: &section.volumes)
      case "on", "floating", "stacked-on-top-of": try host(into: &section)
      case "connection":
        try advance()
        section.connections.append(try connection(at: start))
      case "connection-mesh":
        try advance()
        section.meshes.append(try mesh(at: start))
      case "template-file":
        try advance()
        if section.templateFile != nil { throw conflict("template-file", first: section.position) }
        try template(into: &section, at: start)
      default:
        guard try optionSection(into: &section.options, seen: &seen) else {
          throw unexpected(expected: Self.resourceItems + ["}"], advice: misplacedOption())
        }
      }
    }
    try advance()
    return section
  }

  /// An option written outside of its section.
  private func misplacedOption() -> String? {
    guard let home = OptionTable.home(of: token.text) else { return nil }
    return "'\(token.text)' belongs in a section: \(home.keyword) { \(token.text) ...; }"
  }

  /// `template-file PATH;`: the file holds one `common` section that lies under this resource.
  private mutating func template(
    into section: inout ResourceSection, at position: SourcePosition
  ) throws(ConfigurationError) {
    let path = Paths.join(Paths.directory(of: lexer.file), try text("file name"))
    guard depth < Self.deepestInclude else {
      throw fault("includes are nested deeper than \(Self.deepestInclude) files", at: position)
    }
    let content = try content(of: path, "template", at: position)
    var inner = try Parser(source, path, content, depth: depth + 1, visited: visited, tree: tree)
    guard try inner.take(word: "common") else { throw inner.unexpected(expected: ["common"]) }
    section.template = try inner.optionSections(of: "common")
    section.templateFile = path
    guard inner.token.kind == .end else { throw inner.unexpected(expected: ["the end of the file"]) }
    try expect(";")
  }

  // MARK: volumes

  mutating func volume(into volumes: inout [VolumeSection]) throws(ConfigurationError) {
    var section = VolumeSection()
    section.position = here
    try advance()
    let number = try number("volume number", in: 0...65534)
    section.number = number
    if let first = volumes.first(where: { $0.number == number }), let position = first.position {
      throw conflict("volume \(number)", first: position)
    }
    try expect("{")
    while !isAt("}") {
      let start = here
      if isAt(word: "skip") {
        try skip()
      } else if isAt(word: "disk") {
        try advance()
        if isAt("{") {
          section.options += try options(in: .disk)
        } else {
          try disk(into: &section, at: start)
        }
      } else if isAt(word: "tiebreaker") {
        try advance()
        let value = try text("yes or no")
        guard value == "yes" || value == "no" else {
          throw fault("tiebreaker is yes or no, not '\(Lexer.printable(value))'", at: start)
        }
        tree.notices.append(ConfigurationNotice(at: start, "tiebreaker: accepted, no effect here: there is no quorum"))
        try expect(";")
      } else {
        try volumeKey(into: &section)
      }
    }
    try advance()
    volumes.append(section)
  }

  /// `device`, `meta-disk` or `flexible-meta-disk`.
  mutating func volumeKey(into section: inout VolumeSection) throws(ConfigurationError) {
    let position = here
    guard token.kind == .word, ["device", "meta-disk", "flexible-meta-disk"].contains(token.text) else {
      throw unexpected(expected: ["device", "disk", "meta-disk", "flexible-meta-disk", "}"])
    }
    let keyword = token.text
    try advance()
    if keyword == "device" {
      if let first = section.device { throw conflict("device", first: first.position) }
      section.device = Located(value: try device(at: position), position: position)
    } else {
      if let first = section.metaDisk { throw conflict("meta-disk", first: first.position) }
      section.metaDisk = Located(value: try metaDisk(flexible: keyword != "meta-disk"), position: position)
    }
    try expect(";")
  }

  /// `disk PATH;` or `disk none;`, behind the keyword.
  mutating func disk(into section: inout VolumeSection, at position: SourcePosition) throws(ConfigurationError) {
    if let first = section.disk { throw conflict("disk", first: first.position) }
    let path = try text("path of the disk, none, or {")
    guard !path.isEmpty else { throw fault("the path of the disk is empty", at: position) }
    section.disk = Located(value: path == "none" ? .none : .path(path), position: position)
    try expect(";")
  }

  private mutating func metaDisk(flexible: Bool) throws(ConfigurationError) -> MetaDiskKey {
    let path = try text("internal, or path of the meta-disk")
    if path == "internal" { return .internal }
    guard !path.isEmpty else { throw fault("the path of the meta-disk is empty", at: here) }
    guard isAt("[") else { return .external(path) }
    guard !flexible else {
      throw unexpected(expected: [";"], advice: "flexible-meta-disk takes no index; use meta-disk \(path)[INDEX]")
    }
    try advance()
    let index = try number("meta-disk index", in: 0...65535)
    try expect("]")
    return .indexed(path, index)
  }

  private mutating func device(at position: SourcePosition) throws(ConfigurationError) -> DeviceKey {
    if try take(word: "minor") {
      return DeviceKey(path: nil, minor: try number("minor number", in: 0...1_048_575))
    }
    var path = try text("path of the device, or minor")
    if !path.hasPrefix("/") { path = "/dev/" + path }
    guard path.hasPrefix("/dev/drbd") else {
      throw fault(
        "the device '\(Lexer.printable(path))' is not called /dev/drbd...", at: position,
        advice: "Write device /dev/drbd0, or device /dev/drbd_NAME minor N")
    }
    let tail = path.dropFirst("/dev/drbd".utf8.count)
    let own = (1...7).contains(tail.utf8.count) && tail.utf8.allSatisfy({ (48...57).contains($0) }) ? Int(tail) : nil
    if try take(word: "minor") {
      let minor = try number("minor number", in: 0...1_048_575)
      if let own, own != minor {
        throw fault(
          "the device \(path) and minor \(minor) contradict each other", at: position,
          advice: "Write device /dev/drbd\(minor) minor \(minor), or leave one of the two out")
      }
      guard own != nil || tail.hasPrefix("_") else {
        throw fault(
          "a device name of one's own begins with /dev/drbd_", at: position,
          advice: "Write device /dev/drbd_NAME minor \(minor)")
      }
      return DeviceKey(path: path, minor: minor)
    }
    guard let own else {
      throw fault(
        "the minor number of the device \(Lexer.printable(path)) is not known", at: position,
        advice: "Write device \(Lexer.printable(path)) minor N")
    }
    guard own <= 1_048_575 else {
      throw fault("the minor number \(own) is out of range", at: position, advice: "Write a number 0..1048575")
    }
    return DeviceKey(path: path, minor: own)
  }
}
