// `replsetup show`: what is in force, in the low-level tool's two forms (admin spec 5.2). Options that differ from their default are
// printed, or all of them. Numbers carry their unit: `k` for KiB per second, `s` for sectors.

public struct Show {
  private let resource: HostedResource
  private let defaults: Bool
  private var lines: [String] = []
  private var indent = 0

  public static func text(of resource: HostedResource, defaults: Bool) -> String {
    var show = Show(resource, defaults)
    show.resourceText()
    return show.lines.joined(separator: "\n") + "\n\n"
  }

  /// One object, to be put into an array.
  public static func json(of resource: HostedResource, defaults: Bool) -> String {
    let show = Show(resource, defaults)
    return show.resourceJSON().text(indent: 4)
  }

  private init(_ resource: HostedResource, _ defaults: Bool) {
    self.resource = resource
    self.defaults = defaults
  }

  /// What is printed of a section: row, text and whether it is the default.
  private func options(_ effective: EffectiveOptions) -> [(row: OptionDefinition, text: String, isDefault: Bool)] {
    OptionTable.rows.compactMap { row in
      guard row.section == effective.section else { return nil }
      let setting = effective.setting(row.name)
      let isDefault = setting == nil || setting?.value == row.defaultValue
      guard defaults || !isDefault, let value = setting?.value ?? row.defaultValue else { return nil }
      return (row, Show.word(value, row), isDefault)
    }
  }

  private static func word(_ value: OptionValue, _ row: OptionDefinition) -> String {
    switch value {
    case .flag(let flag): flag ? "yes" : "no"
    case .number(let number):
      switch row.type {
      case .number(_, .kibibytesPerSecond): "\(number)k"
      case .number(_, .sectors): "\(number)s"
      default: "\(number)"
      }
    case .word(let word): word
    case .words(let words): words.joined(separator: " ")
    }
  }

  private static func unit(_ row: OptionDefinition) -> String? {
    guard case .number(_, let unit) = row.type else { return nil }
    return switch unit {
    case .deciseconds: "1/10 seconds"
    case .seconds: "seconds"
    case .milliseconds: "milliseconds"
    case .bytes, .sectors: "bytes"
    case .kibibytesPerSecond: "bytes/second"
    case .plain, .extents, .pages: nil
    }
  }

  private func metaWord(_ volume: HostedVolume) -> String {
    switch volume.metaDisk {
    case .internal: "internal"
    case .external(let path): path
    case .indexed(let path, let index): "\(path) [\(index)]"
    }
  }

  // MARK: Text

  private mutating func line(_ text: String) { lines.append(String(repeating: " ", count: indent) + text) }

  private mutating func block(_ title: String, _ body: (inout Show) -> Void) {
    line(title + " {")
    indent += 4
    body(&self)
    indent -= 4
    line("}")
  }

  private mutating func section(_ title: String, _ effective: EffectiveOptions, first: String? = nil) {
    let options = options(effective)
    guard !options.isEmpty || first != nil else { return }
    block(title) { show in
      if let first { show.line(first) }
      for option in options {
        let name = option.row.name + String(repeating: " ", count: max(0, 16 - option.row.name.count))
        let isText = if case .text = option.row.type { true } else { false }
        var remarks = Show.unit(option.row).map { [$0] } ?? []
        if option.isDefault { remarks.append("default") }
        let remark = remarks.isEmpty ? "" : " # " + remarks.joined(separator: "; ")
        show.line("\(name)\t\(isText ? Words.quoted(option.text) : option.text);\(remark)")
      }
    }
  }

  private mutating func resourceText() {
    block("resource \(Words.quoted(resource.name))") { show in
      show.section("options", show.resource.effective)
      show.block("_this_host") { show in
        show.line("node-id\t\t\t\(show.resource.nodeID);")
        for volume in show.resource.volumes { show.volumeText(volume) }
      }
      for peer in show.resource.peers { show.peerText(peer) }
    }
  }

  private mutating func volumeText(_ volume: HostedVolume) {
    block("volume \(volume.number.value)") { show in
      show.line("device\t\t\tminor \(volume.minor);")
      guard let disk = volume.disk else { return show.line("disk\t\t\tnone;") }
      show.line("disk\t\t\t\(Words.quoted(disk));")
      switch volume.metaDisk {
      case .internal: show.line("meta-disk\t\t\tinternal;")
      case .external(let path): show.line("meta-disk\t\t\t\(Words.quoted(path));")
      case .indexed(let path, let index): show.line("meta-disk\t\t\t\(Words.quoted(path)) [\(index)];")
      }
      show.section("disk", volume.effective)
    }
  }

  private mutating func peerText(_ peer: HostedPeer) {
    block("connection") { show in
      show.line("_peer_node_id \(peer.nodeID);")
      for path in peer.paths {
        show.block("path") { show in
          show.line("_this_host \(path.own);")
          show.line("_remote_host \(path.peer);")
        }
      }
      show.section("net", peer.effective, first: "_name           \t\(Words.quoted(peer.name));")
      for volume in show.resource.volumes {
        guard let effective = peer.effectiveResync[volume.number], !show.options(effective).isEmpty else { continue }
        show.block("volume \(volume.number.value)") { $0.section("disk", effective) }
      }
    }
  }

  // MARK: JSON

  private func json(_ effective: EffectiveOptions, first: [(String, JSONText)] = []) -> JSONText? {
    var members = first
    for option in options(effective) {
      if option.row.type == .boolean {
        members.append((option.row.name, .raw(option.text == "yes" ? "true" : "false")))
      } else {
        members.append((option.row.name, .string(option.text)))
      }
    }
    return members.isEmpty ? nil : .object(members)
  }

  private func resourceJSON() -> JSONText {
    var members: [(String, JSONText)] = [("resource", .string(resource.name))]
    if let options = json(resource.effective) { members.append(("options", options)) }
    let volumes = resource.volumes.map { volume -> JSONText in
      var members: [(String, JSONText)] = [
        ("volume_nr", .raw("\(volume.number.value)")), ("device_minor", .raw("\(volume.minor)")),
        ("backing-disk", .string(volume.disk ?? "none")),
      ]
      if volume.disk != nil { members.append(("meta-disk", .string(metaWord(volume)))) }
      if let disk = json(volume.effective) { members.append(("disk", disk)) }
      return .object(members)
    }
    members.append(("_this_host", .object([("node-id", .raw("\(resource.nodeID)")), ("volumes", .array(volumes))])))
    let peers = resource.peers.map { peer -> JSONText in
      var members: [(String, JSONText)] = peer.paths.map { path in
        ("path", .object([("_this_host", .string("\(path.own)")), ("_remote_host", .string("\(path.peer)"))]))
      }
      if let net = json(peer.effective, first: [("_name", .string(peer.name))]) { members.append(("net", net)) }
      let volumes = resource.volumes.compactMap { volume -> JSONText? in
        guard let disk = peer.effectiveResync[volume.number].flatMap({ json($0) }) else { return nil }
        return .object([("volume_nr", .raw("\(volume.number.value)")), ("disk", disk)])
      }
      if !volumes.isEmpty { members.append(("volumes", .array(volumes))) }
      members.append(("_peer_node_id", .raw("\(peer.nodeID)")))
      return .object(members)
    }
    members.append(("connections", .array(peers)))
    return .object(members)
  }
}

/// JSON whose members keep their order.
indirect enum JSONText {
  case raw(String)
  case string(String)
  case array([JSONText])
  case object([(String, JSONText)])

  /// The first line is indented as well.
  func text(indent: Int) -> String { String(repeating: " ", count: indent) + inline(indent) }

  private func inline(_ indent: Int) -> String {
    let margin = String(repeating: " ", count: indent)
    switch self {
    case .raw(let text): return text
    case .string(let text): return JSONText.quoted(text)
    case .array(let values):
      if values.isEmpty { return "[]" }
      return "[\n" + values.map { $0.text(indent: indent + 4) }.joined(separator: ",\n") + "\n\(margin)]"
    case .object(let members):
      let lines = members.map { "\(margin)    \(JSONText.quoted($0.0)): \($0.1.inline(indent + 4))" }
      return "{\n" + lines.joined(separator: ",\n") + "\n\(margin)}"
    }
  }

  private static func quoted(_ text: String) -> String { "\"\(text.escapedForJSON)\"" }
}
