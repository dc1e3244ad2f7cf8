// From the section of a file to a complete definition: inherited volume keys, device paths, node ids, the implicit
// connection. What is missing and can not be filled in is an error here.

import Base

extension ResourceDefinition {
  init(_ section: ResourceSection, notices: inout [ConfigurationNotice]) throws(ConfigurationError) {
    guard !section.hosts.isEmpty else {
      throw ConfigurationError(
        .invalid, at: section.position, "resource '\(section.name)' has no hosts",
        advice: "Add an 'on HOST { address IP:PORT; }' section for each of its nodes")
    }
    name = section.name
    position = section.position
    self.section = section
    hosts = []
    connections = []
    let ids = try Self.nodeIDs(section)
    for (index, host) in section.hosts.enumerated() {
      hosts.append(
        HostDefinition(
          kind: host.kind, name: host.name, names: Self.names(of: host), position: host.position, nodeID: ids[index],
          address: host.address?.value, volumes: try Self.volumes(of: host, in: section)))
    }
    try checkSameVolumes()
    connections = try connections(notices: &notices)
  }

  private static func names(of host: HostSection) -> [HostName] {
    if case .on(let names) = host.kind { return names.map(HostName.init) }
    return [HostName(host.name)]
  }

  static func missing(_ keyword: String, in section: ResourceSection, _ host: HostSection) -> ConfigurationError {
    ConfigurationError(
      .invalid, at: host.position,
      "in resource \(section.name), \(host.title) { ... }: '\(keyword)' keyword missing",
      advice: "Add '\(keyword) ...;' there, or in the resource if it is the same on every host")
  }

  // MARK: volumes

  private static func volumes(
    of host: HostSection, in section: ResourceSection
  ) throws(ConfigurationError) -> [VolumeDefinition] {
    let numbers = Set((section.volumes + host.volumes).compactMap(\.number)).sorted()
    let shared = section.implicitVolume
    if let number = numbers.first {
      let implicit = [shared.device?.position, shared.disk?.position, host.implicitVolume.device?.position]
      if let position = (implicit + [host.implicitVolume.disk?.position]).compactMap({ $0 }).first {
        throw ConfigurationError(
          .invalid, at: position,
          "in resource \(section.name): device or disk outside of a volume section, beside volume \(number)",
          advice: "Put them into 'volume N { ... }' too: you must not mix implicit and explicit volumes")
      }
    }
    var result: [VolumeDefinition] = []
    for number in numbers.isEmpty ? [nil] : numbers.map(Optional.some) {
      let layers =
        [shared] + section.volumes.filter { $0.number == number && number != nil } + [host.implicitVolume]
        + host.volumes.filter { $0.number == number && number != nil }
      result.append(try volume(number, layers: layers, of: host, in: section))
    }
    return result
  }

  private static func volume(
    _ number: Int?, layers: [VolumeSection], of host: HostSection, in section: ResourceSection
  ) throws(ConfigurationError) -> VolumeDefinition {
    var isStacked = false
    if case .stacked = host.kind { isStacked = true }
    guard let device = layers.compactMap(\.device).last?.value else { throw missing("device", in: section, host) }
    var disk: String?
    switch layers.compactMap(\.disk).last?.value {
    case .path(let path): disk = path
    case .some(.none): disk = nil
    case nil:
      guard isStacked else { throw missing("disk", in: section, host) }
    }
    let metaDisk = layers.compactMap(\.metaDisk).last?.value
    if metaDisk == nil, disk != nil, !isStacked { throw missing("meta-disk", in: section, host) }
    return VolumeDefinition(
      number: VolumeNumber(UInt16(number ?? 0)), devicePath: device.path ?? "/dev/drbd\(device.minor)",
      minor: device.minor, disk: disk, metaDisk: metaDisk ?? .internal, isExplicit: number != nil)
  }

  /// A volume that only one host has can not be mirrored.
  private func checkSameVolumes() throws(ConfigurationError) {
    for host in hosts {
      for other in hosts {
        let numbers = Set(other.volumes.map(\.number))
        guard let lonely = host.volumes.first(where: { !numbers.contains($0.number) }) else { continue }
        throw ConfigurationError(
          .invalid, at: other.position,
          "in resource \(name), on \(host.name) { ... }: volume \(lonely.number.value) not defined on \(other.name)",
          advice: "Define the volume on both hosts; 'disk none;' is for a host without a copy")
      }
    }
  }

  // MARK: node ids

  private static func nodeIDs(_ section: ResourceSection) throws(ConfigurationError) -> [Int] {
    let hosts = section.hosts
    let written = hosts.compactMap { $0.nodeID?.value }
    if written.count == hosts.count {
      for (index, host) in hosts.enumerated() {
        guard let first = written[..<index].firstIndex(of: written[index]) else { continue }
        throw ConfigurationError(
          .invalid, at: host.nodeID?.position, "node-id \(written[index]) is used by \(hosts[first].name) as well",
          advice: "Give every host of a resource its own node-id")
      }
      return written
    }
    // The rule for two hosts needs their addresses; a connection section has to come with ids of its own.
    let isPlain = section.connections.isEmpty && section.meshes.isEmpty
    if written.isEmpty, hosts.count == 1, isPlain { return [0] }
    if written.isEmpty, hosts.count == 2, isPlain {
      let addresses = hosts.compactMap { $0.address?.value }
      for host in hosts where host.address == nil { throw missing("address", in: section, host) }
      guard let ids = NodeNumber.ofPair(addresses[0].host, addresses[1].host) else {
        if addresses[0].host == addresses[1].host { return try sameHostIDs(section) }
        throw ConfigurationError(
          .unreadable, at: section.position, "the two addresses of resource '\(section.name)' give the same node id",
          advice: "Write node-id 0; and node-id 1; into the two 'on' sections, the same on both nodes")
      }
      return [ids.first, ids.second]
    }
    guard let host = hosts.first(where: { $0.nodeID == nil }) else { preconditionFailure("an id must be missing") }
    throw missing("node-id", in: section, host)
  }

  /// Two nodes on one address, told apart by their ports only.
  private static func sameHostIDs(_ section: ResourceSection) throws(ConfigurationError) -> [Int] {
    let ports = section.hosts.compactMap { $0.address?.value.port }
    guard ports.count == 2, ports[0] != ports[1] else {
      throw ConfigurationError(
        .invalid, at: section.position, "the two hosts of resource '\(section.name)' have the same address and port",
        advice: "Give each host its own address, or at least its own port")
    }
    return ports[0] < ports[1] ? [0, 1] : [1, 0]
  }
}

extension HostSection {
  /// As the file begins the section.
  var title: String {
    switch kind {
    case .on(let names): "on \(names.joined(separator: " "))"
    case .floating: "floating \(address.map { $0.value.description } ?? "")"
    case .stacked(let lower): "stacked-on-top-of \(lower)"
    }
  }
}
