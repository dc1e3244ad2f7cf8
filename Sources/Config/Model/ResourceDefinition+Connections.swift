// Who is connected to whom: from connection and mesh sections, or, with two hosts and no such section, to each other.

extension ResourceDefinition {
  func connections(notices: inout [ConfigurationNotice]) throws(ConfigurationError) -> [ConnectionDefinition] {
    var result: [ConnectionDefinition] = []
    for mesh in section.meshes { result += try connections(of: mesh, besides: result) }
    for connection in section.connections { result.append(try definition(of: connection)) }
    // What an explicit connection says about a pair stands above what the mesh says.
    for (index, connection) in result.enumerated() {
      guard let earlier = result[..<index].first(where: { $0.joins(connection.first, connection.second) }) else {
        continue
      }
      throw ConfigurationError(
        .invalid, at: connection.position,
        "\(hosts[connection.first].name) and \(hosts[connection.second].name) are connected twice;"
          + " first in \(earlier.position)",
        advice: "Keep one connection; several ways between two hosts are 'path' sections inside it")
    }
    if !section.connections.isEmpty || !section.meshes.isEmpty || hosts.count < 2 { return result }
    guard hosts.count == 2 else {
      notices.append(
        ConfigurationNotice(
          at: position, "resource '\(name)' has \(hosts.count) hosts and no connections: add a connection-mesh section")
      )
      return []
    }
    return [
      ConnectionDefinition(
        position: position, first: 0, second: 1, paths: [try path(0, nil, 1, nil, at: position)], settings: [],
        volumeSettings: [:])
    ]
  }

  private func connections(
    of mesh: MeshSection, besides known: [ConnectionDefinition]
  ) throws(ConfigurationError) -> [ConnectionDefinition] {
    var members: [Int] = []
    for name in mesh.hosts {
      let index = try hostIndex(name, at: mesh.position)
      guard !members.contains(index) else {
        throw ConfigurationError(.invalid, at: mesh.position, "host '\(name)' is in the mesh twice")
      }
      members.append(index)
    }
    guard members.count >= 2 else {
      throw ConfigurationError(
        .invalid, at: mesh.position, "a connection-mesh needs at least two hosts",
        advice: "Write hosts \(hostNames.joined(separator: " "));")
    }
    var result: [ConnectionDefinition] = []
    for (offset, first) in members.enumerated() {
      for second in members[(offset + 1)...] where !section.connections.contains(where: { joins($0, first, second) }) {
        result.append(
          ConnectionDefinition(
            position: mesh.position, first: first, second: second,
            paths: [try path(first, nil, second, nil, at: mesh.position)], settings: mesh.options.settings,
            volumeSettings: [:]))
      }
    }
    return result
  }

  private func joins(_ section: ConnectionSection, _ first: Int, _ second: Int) -> Bool {
    let ends = section.ends.isEmpty ? section.paths.first?.ends ?? [] : section.ends
    return ends.contains { hosts(called: $0.host) == [first] } && ends.contains { hosts(called: $0.host) == [second] }
  }

  private func definition(of section: ConnectionSection) throws(ConfigurationError) -> ConnectionDefinition {
    let groups = (section.ends.isEmpty ? [] : [section.ends]) + section.paths.map(\.ends)
    guard !groups.isEmpty, groups.allSatisfy({ $0.count == 2 }) else {
      throw ConfigurationError(
        .invalid, at: section.position, "resource \(name): a connection needs to have two endpoints",
        advice: "Write two 'host NAME;' lines in it")
    }
    let first = try hostIndex(groups[0][0].host, at: groups[0][0].position)
    let second = try hostIndex(groups[0][1].host, at: groups[0][1].position)
    guard first != second else {
      throw ConfigurationError(
        .invalid, at: section.position, "resource \(name): a connection joins host '\(hosts[first].name)' to itself",
        advice: "Name two different hosts")
    }
    var paths: [ConnectionDefinition.Path] = []
    for group in groups {
      let ends = try [hostIndex(group[0].host, at: group[0].position), hostIndex(group[1].host, at: group[1].position)]
      if ends == [first, second] {
        paths.append(try path(first, group[0], second, group[1], at: group[0].position))
      } else if ends == [second, first] {
        paths.append(try path(first, group[1], second, group[0], at: group[0].position))
      } else {
        throw ConfigurationError(
          .invalid, at: group[0].position, "resource \(name): the paths of a connection join different hosts",
          advice: "Write a connection section for each pair of hosts")
      }
    }
    return ConnectionDefinition(
      position: section.position, first: first, second: second, paths: paths, settings: section.options.settings,
      volumeSettings: Dictionary(
        section.volumes.compactMap { volume in volume.number.map { ($0, volume.options) } }, uniquingKeysWith: +))
  }

  private func hostIndex(_ name: String, at position: SourcePosition) throws(ConfigurationError) -> Int {
    let matching = hosts(called: name)
    if matching.count == 1 { return matching[0] }
    guard matching.isEmpty else {
      throw ConfigurationError(
        .invalid, at: position,
        "in resource \(self.name) the name '\(Lexer.printable(name))' matches several hosts:"
          + " \(Words.list(matching.map { hosts[$0].name }))",
        advice: "Write the name as its 'on' section does")
    }
    var error = ConfigurationError(
      .invalid, at: position, "in resource \(self.name) the host '\(Lexer.printable(name))' has no 'on' section",
      advice: "Its hosts are \(Words.list(hostNames))")
    error.suggestion = NearMiss.of(name, among: allNames)
    throw error
  }

  private func path(
    _ first: Int, _ firstEnd: EndSection?, _ second: Int, _ secondEnd: EndSection?, at position: SourcePosition
  ) throws(ConfigurationError) -> ConnectionDefinition.Path {
    let one = try address(of: hosts[first], firstEnd)
    let two = try address(of: hosts[second], secondEnd)
    guard one.family == two.family else {
      throw ConfigurationError(
        .invalid, at: position,
        "\(hosts[first].name) has an address of family \(one.family.rawValue) and"
          + " \(hosts[second].name) one of family \(two.family.rawValue): they can not reach each other",
        advice: "Use addresses of one family on both ends")
    }
    guard !one.isSame(as: two) else {
      throw ConfigurationError(
        .invalid, at: position, "the two hosts of resource '\(name)' have the same address and port",
        advice: "Give each host its own address, or at least its own port")
    }
    return ConnectionDefinition.Path(first: one, second: two)
  }

  /// The address of a host for one path: as the path says, as far as it says something.
  private func address(of host: HostDefinition, _ end: EndSection?) throws(ConfigurationError) -> HostAddress {
    if let family = end?.family, let text = end?.address {
      guard let port = end?.port ?? host.address?.port else {
        throw ConfigurationError(
          .invalid, at: end?.position, "the address of host '\(host.name)' has no port",
          advice: "Write it like \(text):7789")
      }
      return HostAddress(family: family, host: text, port: port)
    }
    guard var address = host.address else {
      throw ConfigurationError(
        .invalid, at: host.position, "in resource \(name), on \(host.name) { ... }: 'address' keyword missing",
        advice: "Add 'address IP:PORT;' there")
    }
    if let port = end?.port { address.port = port }
    return address
  }
}

extension ConnectionDefinition {
  func joins(_ a: Int, _ b: Int) -> Bool { (first == a && second == b) || (first == b && second == a) }
}
