// `dump-xml`: the configuration as it was understood, in the elements drbdadm prints (goldens: Fixtures/admin/dump-xml). Volumes
// stand complete in every host, connections are spelled out; options of a single volume are not told, as there.

public struct DumpXML {
  private let configuration: Configuration
  private var lines: [String] = []
  private var indent = 0

  /// Everything, or only the resources of these names.
  public static func text(of configuration: Configuration, only names: [String]? = nil) -> String {
    var dump = DumpXML(configuration)
    dump.element("config", [("file", configuration.mainFile)]) { dump in
      dump.global()
      if let common = configuration.syntax.common { dump.element("common") { $0.options(common.options) } }
      for resource in configuration.resources where names?.contains(resource.name) ?? true { dump.resource(resource) }
    }
    return dump.lines.joined(separator: "\n") + "\n"
  }

  private init(_ configuration: Configuration) { self.configuration = configuration }

  // MARK: Elements

  private typealias Attributes = [(String, String)]

  private static func opening(_ name: String, _ attributes: Attributes) -> String {
    name + attributes.map { " \($0.0)=\"\(escaped($0.1))\"" }.joined()
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "'": result += "&apos;"
      case "\"": result += "&quot;"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  private mutating func line(_ text: String) { lines.append(String(repeating: " ", count: indent) + text) }
  private mutating func empty(_ name: String, _ attributes: Attributes = []) {
    line("<\(DumpXML.opening(name, attributes))/>")
  }
  private mutating func text(_ name: String, _ attributes: Attributes = [], _ text: String) {
    line("<\(DumpXML.opening(name, attributes))>\(DumpXML.escaped(text))</\(name)>")
  }
  private mutating func element(_ name: String, _ attributes: Attributes = [], _ body: (inout DumpXML) -> Void) {
    line("<\(DumpXML.opening(name, attributes))>")
    indent += 4
    body(&self)
    indent -= 4
    line("</\(name)>")
  }

  // MARK: Sections

  private mutating func global() {
    guard configuration.syntax.globalPosition != nil else { return }
    element("global") { dump in
      let written = dump.configuration.syntax.globals
      if written.contains(where: { $0.name == "disable-ip-verification" && $0.value == .flag(true) }) {
        dump.empty("disable-ip-verification")
      }
      for (name, attribute) in [("minor-count", "count"), ("dialog-refresh", "refresh")] {
        if let setting = written.last(where: { $0.name == name }) { dump.empty(name, [(attribute, setting.text)]) }
      }
    }
  }

  private mutating func options(_ block: OptionBlock) {
    section("options", block.settings(of: .resource))
    section("net", block.settings(of: .net))
    section("disk", block.settings(of: .disk) + block.settings(of: .peerDevice))
    section("startup", block.settings(of: .startup).filter { $0.name != "become-primary-on" })
    section("handlers", block.settings(of: .handlers))
  }

  private mutating func section(_ name: String, _ settings: [OptionSetting]) {
    guard !settings.isEmpty else { return }
    element("section", [("name", name)]) { dump in
      for setting in settings { dump.empty("option", [("name", setting.name), ("value", setting.text)]) }
    }
  }

  private mutating func resource(_ resource: ResourceDefinition) {
    element("resource", [("name", resource.name), ("conf-file-line", resource.position.description)]) { dump in
      for (index, host) in resource.hosts.enumerated() { dump.host(host, resource.section.hosts[index], of: resource) }
      for connection in resource.connections { dump.connection(connection, of: resource) }
      dump.options(resource.section.options)
    }
  }

  private mutating func host(_ host: HostDefinition, _ section: HostSection, of resource: ResourceDefinition) {
    let isFloating = if case .floating = host.kind { true } else { false }
    element("host", isFloating ? [("floating", "1")] : [("name", host.names.map(\.text).joined(separator: " "))]) {
      dump in
      dump.section("options", section.options.settings(of: .resource))
      for volume in host.volumes { dump.volume(volume, section, of: resource) }
      if let address = host.address { dump.text("address", DumpXML.attributes(of: address), address.host) }
    }
  }

  private mutating func volume(_ volume: VolumeDefinition, _ host: HostSection, of resource: ResourceDefinition) {
    element("volume", [("vnr", "\(volume.number.value)")]) { dump in
      let number = Int(volume.number.value)
      let places =
        host.volumes.filter { $0.number == number } + [host.implicitVolume]
        + resource.section.volumes.filter { $0.number == number } + [resource.section.implicitVolume]
      // The path as the file gives it, or nothing.
      let path = places.lazy.compactMap(\.device).first?.value.path ?? ""
      dump.text("device", [("minor", "\(volume.minor)")], path)
      dump.text("disk", volume.disk ?? "none")
      switch volume.metaDisk {
      case .internal: dump.text("meta-disk", "internal")
      case .external(let path): dump.text("meta-disk", path)
      case .indexed(let path, let index): dump.text("meta-disk", [("index", "\(index)")], path)
      }
    }
  }

  private mutating func text(_ name: String, _ text: String) { self.text(name, [], text) }

  private static func attributes(of address: HostAddress) -> Attributes {
    [("family", address.family.rawValue), ("port", "\(address.port)")]
  }

  // MARK: Connections

  private mutating func connection(_ connection: ConnectionDefinition, of resource: ResourceDefinition) {
    let written = resource.section.connections.first { $0.position == connection.position }
    element("connection") { dump in
      for path in connection.paths {
        let ends = [(connection.first, path.first), (connection.second, path.second)]
        if written?.paths.isEmpty ?? true {
          dump.ends(ends, of: resource)
        } else {
          dump.element("path") { $0.ends(ends, of: resource) }
        }
      }
      dump.options(OptionBlock(settings: connection.settings))
      for (number, settings) in connection.volumeSettings.sorted(by: { $0.key < $1.key }) {
        dump.element("volume", [("vnr", "\(number)")]) { $0.section("disk", settings) }
      }
    }
  }

  private mutating func ends(_ ends: [(Int, HostAddress)], of resource: ResourceDefinition) {
    for (index, address) in ends {
      let host = DumpXML.opening("host", [("name", resource.hosts[index].name)])
      let inner = DumpXML.opening("address", DumpXML.attributes(of: address))
      line("<\(host)><\(inner)>\(DumpXML.escaped(address.host))</address></host>")
    }
  }
}
