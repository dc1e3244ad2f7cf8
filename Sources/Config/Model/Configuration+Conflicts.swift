// Things that must be said once in the whole configuration: minors, disks, metadata places and addresses of a host
// (admin spec 2.7), names that must exist, and tables of fixed size that must not overflow (docs/limits.md).

import Base

extension Configuration {
  /// Something that a host has once, and who has it.
  private struct Claim {
    var host: HostName
    var owner: String
    var position: SourcePosition
  }

  /// A daemon has a bit for each volume.
  func checkTables() throws(ConfigurationError) {
    for resource in resources {
      for host in resource.hosts where host.volumes.count > VolumeNumber.perResource {
        throw ConfigurationError(
          .notHonoured, at: host.position,
          "resource '\(resource.name)' has \(host.volumes.count) volumes on host '\(host.name)', and"
            + " \(VolumeNumber.perResource) are the most that one resource may have",
          advice: "Move some of them to another resource")
      }
    }
  }

  func checkConflicts() throws(ConfigurationError) {
    var claims: [String: [Claim]] = [:]
    for resource in resources {
      for host in resource.hosts {
        for name in host.names {
          for volume in host.volumes {
            let place = "\(resource.name)/\(volume.number.value)"
            var wanted = ["minor \(volume.minor)"]
            if let disk = volume.disk { wanted.append("disk \(disk)") }
            switch volume.metaDisk {
            case .indexed(let path, let index) where volume.disk != nil: wanted.append("meta-disk \(path)[\(index)]")
            case .external(let path) where volume.disk != nil: wanted.append("meta-disk \(path)")
            default: break
            }
            for what in wanted {
              try claim(what, Claim(host: name, owner: place, position: host.position), in: &claims)
            }
          }
          for address in resource.addresses(of: host) {
            try claim(
              "address \(Self.identity(address))",
              Claim(host: name, owner: resource.name, position: host.position), in: &claims)
          }
        }
      }
    }
  }

  private func claim(
    _ what: String, _ claim: Claim, in claims: inout [String: [Claim]]
  ) throws(ConfigurationError) {
    let earlier = claims[what, default: []].filter { $0.host.isSame(as: claim.host) }
    if let first = earlier.first(where: { $0.owner != claim.owner }) {
      throw ConfigurationError(
        .invalid, at: claim.position,
        "on host \(claim.host), \(what) is used by '\(claim.owner)' and by '\(first.owner)' (\(first.position))",
        advice: "Give each its own")
    }
    if earlier.isEmpty { claims[what, default: []].append(claim) }
  }

  /// One spelling for all spellings of an address.
  private static func identity(_ address: HostAddress) -> String {
    let bytes = (address.bytes ?? []).map { String($0, radix: address.family == .ipv6 ? 16 : 10) }
    let separator = address.family == .ipv6 ? " " : "."
    let scope = address.scope.map { "%" + $0 } ?? ""
    return "\(address.family.rawValue) \(bytes.joined(separator: separator))\(scope):\(address.port)"
  }

  /// Names inside options: the host of `discard-node-NAME`, the hosts of `become-primary-on`, the resource of `resync-after`.
  mutating func checkReferences(of resource: ResourceDefinition) throws(ConfigurationError) {
    let own = [resource.section.template?.settings ?? [], resource.section.options.settings]
    let settings = own.joined() + resource.connections.flatMap(\.settings)
    for setting in settings {
      if case .word(let word) = setting.value, setting.name == "after-sb-0pri", word.hasPrefix("discard-node-") {
        let node = String(word.dropFirst(13))
        let hosts = resource.hosts(called: node)
        if hosts.count == 1 { continue }
        guard hosts.isEmpty else {
          throw ConfigurationError(
            .invalid, at: setting.position,
            "in resource \(resource.name), after-sb-0pri: the name '\(Lexer.printable(node))' matches several hosts:"
              + " \(Words.list(hosts.map { resource.hosts[$0].name }))",
            advice: "Write the name as its 'on' section does")
        }
        var error = ConfigurationError(
          .syntax, at: setting.position,
          "while parsing value ('\(word)')\nfor after-sb-0pri. The resource has no host"
            + " '\(Lexer.printable(node))'.", advice: "Its hosts are \(Words.list(resource.hostNames))")
        error.suggestion = NearMiss.of(node, among: resource.allNames).map { "discard-node-" + $0 }
        throw error
      }
      if case .words(let words) = setting.value, setting.name == "become-primary-on", words != ["both"] {
        for name in words where resource.hosts(called: name).isEmpty {
          notices.append(
            ConfigurationNotice(
              at: setting.position,
              "in resource \(resource.name): become-primary-on names '\(Lexer.printable(name))', which is not a host of the"
                + " resource; its hosts are \(Words.list(resource.hostNames))"))
        }
      }
      if case .words(let words) = setting.value, setting.name == "resync-after", let name = words.first, name != "-1" {
        let target = String(name.split(separator: "/").first ?? "")
        let isMinor = !name.isEmpty && name.utf8.allSatisfy { (48...57).contains($0) }
        if !isMinor, !resources.contains(where: { $0.name == target }) {
          notices.append(
            ConfigurationNotice(
              at: setting.position,
              "in resource \(resource.name): resource '\(Lexer.printable(name))' mentioned in 'resync-after' is not known"
            ))
        }
      }
    }
  }
}

extension ResourceDefinition {
  /// Every address this host listens on for this resource.
  func addresses(of host: HostDefinition) -> [HostAddress] {
    guard let index = hosts.firstIndex(of: host) else { return [] }
    var result: [HostAddress] = []
    for connection in connections where connection.first == index || connection.second == index {
      result += connection.paths.map { connection.first == index ? $0.first : $0.second }
    }
    return result.isEmpty ? host.address.map { [$0] } ?? [] : result
  }
}
