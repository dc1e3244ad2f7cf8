// `dump`: the configuration as it was understood, in DRBD's own layout, so that it can be compared line by line and
// read back. Values stand as the file wrote them; legacy spellings in their modern place; node ids filled in.

public struct Dump {
  /// Column of the values.
  private static let column = 24
  private let configuration: Configuration
  private let host: String
  private let ownAddresses: [String]?
  private var lines: [String] = []
  private var indent = 0

  /// The whole configuration, as `host` sees it.
  public static func text(
    of configuration: Configuration, onHost host: String, ownAddresses: [String]? = nil
  ) -> String {
    var dump = Dump(configuration, host, ownAddresses)
    dump.lines.append("# \(configuration.mainFile)")
    dump.global()
    dump.common()
    for resource in configuration.resources { dump.resource(resource) }
    return dump.lines.joined(separator: "\n") + "\n"
  }

  /// Named resources only.
  public static func text(
    of resources: [ResourceDefinition], in configuration: Configuration, onHost host: String,
    ownAddresses: [String]? = nil
  ) -> String {
    var dump = Dump(configuration, host, ownAddresses)
    for resource in resources { dump.resource(resource) }
    return dump.lines.joined(separator: "\n") + "\n"
  }

  private init(_ configuration: Configuration, _ host: String, _ ownAddresses: [String]?) {
    self.configuration = configuration
    self.host = host
    self.ownAddresses = ownAddresses
  }

  // MARK: lines

  private mutating func line(_ text: String) { lines.append(String(repeating: " ", count: indent) + text) }

  private mutating func block(_ title: String, _ body: (inout Dump) -> Void) {
    line(title + " {")
    indent += 4
    body(&self)
    indent -= 4
    line("}")
  }

  /// `name` with its value in the common column.
  private mutating func key(_ name: String, _ value: String, column: Int? = nil) {
    line(Self.padded(name, to: (column ?? Self.column - indent)) + " " + value + ";")
  }

  private static func padded(_ text: String, to width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.utf8.count))
  }

  // MARK: sections

  private mutating func global() {
    guard configuration.syntax.globalPosition != nil else { return }
    let order = ["disable-ip-verification", "minor-count", "dialog-refresh", "usage-count"]
    let written = configuration.syntax.globals
    let first = order.compactMap { name in written.first { $0.name == name } }
    let settings = first + written.filter { !order.contains($0.name) }
    block("global") { dump in
      for setting in settings {
        let isFlag = setting.value == .flag(true)
        dump.line(isFlag ? "\(setting.name);" : "\(setting.name) \(Words.shown(setting.text));")
      }
    }
    lines.append("")
  }

  private mutating func common() {
    guard let common = configuration.syntax.common else { return }
    block("common") { $0.options(common.options) }
    lines.append("")
  }

  private mutating func options(_ block: OptionBlock) {
    section("options", block.settings(of: .resource))
    section("net", block.settings(of: .net))
    disk(block.settings)
    section("startup", block.settings(of: .startup))
    if let proxy = block.proxy { self.proxy(proxy, "proxy") }
    section("handlers", block.settings(of: .handlers))
  }

  /// Options of disks first, then those of peer devices, as DRBD orders them.
  private mutating func disk(_ settings: [OptionSetting]) {
    section(
      "disk",
      settings.filter { $0.definition.section == .disk } + settings.filter { $0.definition.section == .peerDevice })
  }

  private mutating func section(_ name: String, _ settings: [OptionSetting]) {
    guard !settings.isEmpty else { return }
    block(name) { dump in
      for setting in settings {
        let isList = if case .words = setting.value { true } else { false }
        let value = isList ? setting.text : Words.shown(setting.text)
        let spaces = String(repeating: " ", count: max(0, 3 - value.utf8.count))
        dump.key(setting.name, spaces + value)
      }
    }
  }

  private mutating func proxy(_ section: ProxySection, _ title: String) {
    block(title) { dump in
      for text in section.lines {
        if text.hasSuffix("}") { dump.indent -= 4 }
        dump.line(text)
        if text.hasSuffix("{") { dump.indent += 4 }
      }
    }
  }

  // MARK: resources

  private mutating func resource(_ resource: ResourceDefinition) {
    let section = resource.section
    let isOurs = !configuration.indices(of: host, ownAddresses, in: resource).isEmpty
    let isStacked = resource.hosts.contains(where: \.isStacked)
    lines.append(
      "# resource \(Words.shown(resource.name)) on \(host): \(isOurs ? "not " : "")ignored,"
        + " \(isStacked ? "" : "not ")stacked")
    lines.append("# defined at \(resource.position)")
    block("resource \(Words.name(resource.name))") { dump in
      if let template = section.templateFile { dump.line("template-file \(Words.shown(template));") }
      dump.volumes(section.implicitVolume, section.volumes)
      for (index, host) in section.hosts.enumerated() { dump.host(host, id: resource.hosts[index].nodeID) }
      for mesh in section.meshes { dump.mesh(mesh) }
      for connection in section.connections { dump.connection(connection) }
      dump.options(section.options)
    }
    lines.append("")
  }

  private mutating func volumes(_ implicit: VolumeSection, _ explicit: [VolumeSection]) {
    volumeKeys(implicit)
    for volume in explicit {
      block("volume \(volume.number ?? 0)") { $0.volumeKeys(volume) }
    }
  }

  private mutating func volumeKeys(_ volume: VolumeSection) {
    disk(volume.options)
    if let device = volume.device?.value {
      key("device", [device.path.map(Words.shown), "minor \(device.minor)"].compactMap { $0 }.joined(separator: " "))
    }
    switch volume.disk?.value {
    case .path(let path): key("disk", Words.shown(path))
    case .some(.none): key("disk", "none")
    case nil: break
    }
    switch volume.metaDisk?.value {
    case .internal: key("meta-disk", "internal")
    // External ones stand in a column of their own, wherever they are.
    case .external(let path): key("meta-disk", Words.shown(path), column: 16)
    case .indexed(let path, let index): key("meta-disk", "\(Words.shown(path)) [\(index)]", column: 16)
    case nil: break
    }
  }

  private mutating func host(_ host: HostSection, id: Int) {
    var title: String
    switch host.kind {
    case .on(let names): title = "on " + names.map(Words.name).joined(separator: " ")
    case .floating: title = Self.padded("floating", to: 16) + " " + (host.address?.value.description ?? "")
    case .stacked(let lower): title = "stacked-on-top-of \(Words.name(lower))"
    }
    block(title) { dump in
      if case .stacked(let lower) = host.kind {
        let names = dump.configuration.resources.first { $0.name == lower }?.hostNames ?? []
        dump.line("# on " + names.map { $0 + " " }.joined())
      }
      dump.line("node-id \(id);")
      dump.section("options", host.options.settings(of: .resource))
      dump.volumes(host.implicitVolume, host.volumes)
      if case .floating = host.kind {
      } else if let address = host.address?.value {
        dump.key("address", address.description)
      }
      if let proxy = host.options.proxy { dump.proxy(proxy, "proxy on \(Words.shown(host.name))") }
    }
  }

  // MARK: connections

  private mutating func connection(_ connection: ConnectionSection) {
    block("connection") { dump in
      for end in connection.ends { dump.end(end) }
      for path in connection.paths {
        dump.block("path") { dump in for end in path.ends { dump.end(end) } }
      }
      dump.options(connection.options)
      for volume in connection.volumes {
        dump.block("volume \(volume.number ?? 0)") { $0.volumeKeys(volume) }
      }
    }
  }

  private mutating func end(_ end: EndSection) {
    var text = "host \(Words.shown(end.host))"
    if let family = end.family, let address = end.address {
      let shown = family == .ipv6 ? "ipv6 [\(address)]" : "\(family.rawValue) \(address)"
      text += String(repeating: " ", count: indent + 1) + Self.padded("address", to: 16 - 1) + " " + shown
      if let port = end.port { text += ":\(port)" }
    } else if let port = end.port {
      text += " port \(port)"
    }
    line(text + ";")
  }

  private mutating func mesh(_ mesh: MeshSection) {
    block("connection-mesh") { dump in
      dump.line("hosts " + mesh.hosts.map(Words.shown).joined(separator: " ") + ";")
      dump.options(mesh.options)
    }
  }
}
