// From a resource for everybody to the view of one host: which `on` section is ours, who the peers are, and what every
// option is after inheritance (admin spec 2.4).

import Base

extension Configuration {
  /// The view that `host` has of a resource. `ownAddresses` are the addresses of this host's interfaces; nil finds no
  /// `floating` host by address, and no notice says that the configured address is not one of them.
  public func resource(
    named name: String, onHost host: String, ownAddresses: [String]?
  ) throws(ConfigurationError) -> HostedResource {
    guard let resource = resources.first(where: { $0.name == name }) else { throw unknownResource(name) }
    let index = try ownIndex(in: resource, host, ownAddresses)
    if case .stacked(let lower) = resource.hosts[index].kind {
      throw ConfigurationError(
        .notHonoured, at: resource.hosts[index].position,
        "resource '\(name)' is stacked on top of '\(lower)', and stacked resources are not built yet",
        advice: "Give the resource a disk of its own on every host")
    }
    var hosted = try hosted(resource, index)
    if let ownAddresses, !globals.disableIPVerification { checkOwn(&hosted, resource, index, ownAddresses) }
    return hosted
  }

  /// Every resource that this host takes part in, in the order of the files. Stacked ones are left out.
  public func resources(onHost host: String, ownAddresses: [String]?) throws(ConfigurationError) -> [HostedResource] {
    var result: [HostedResource] = []
    for name in resourceNames(onHost: host, ownAddresses: ownAddresses) {
      result.append(try resource(named: name, onHost: host, ownAddresses: ownAddresses))
    }
    if result.isEmpty {
      let known = Set(resources.flatMap { $0.allNames }).sorted()
      throw ConfigurationError(
        .unknownObject, "no resources defined for this host ('\(Lexer.printable(host))') in \(mainFile)",
        advice: resources.isEmpty
          ? "Add a resource section to the file"
          : "The file knows the hosts \(Words.list(known)); set the host name, or correct the 'on' sections")
    }
    return result
  }

  /// The names of these, in the same order; none is no mistake.
  public func resourceNames(onHost host: String, ownAddresses: [String]?) -> [String] {
    names(onHost: host, ownAddresses, stacked: false)
  }

  /// The resources whose lower resource this host has.
  public func stackedResourceNames(onHost host: String, ownAddresses: [String]?) -> [String] {
    names(onHost: host, ownAddresses, stacked: true)
  }

  private func names(onHost host: String, _ ownAddresses: [String]?, stacked: Bool) -> [String] {
    resources.filter { resource in
      let own = indices(of: host, ownAddresses, in: resource).first
      return own.map { resource.hosts[$0].isStacked == stacked } ?? false
    }.map(\.name)
  }

  func unknownResource(_ name: String) -> ConfigurationError {
    var error = ConfigurationError(
      .unknownObject, "'\(Lexer.printable(name))' not defined in your config (for this host)",
      advice: resources.isEmpty
        ? "\(mainFile) defines no resources: add one"
        : "\(mainFile) defines \(Words.list(resources.map(\.name)))")
    error.suggestion = NearMiss.of(name, among: resources.map(\.name))
    return error
  }

  // MARK: which host is ours

  /// Every section that is this host's by name or, `floating`, by address. None is preferred: two of them are a mistake.
  func indices(of host: String, _ ownAddresses: [String]?, in resource: ResourceDefinition) -> [Int] {
    let own = HostName(host)
    return resource.hosts.indices.filter { index in
      let candidate = resource.hosts[index]
      switch candidate.kind {
      case .on: return candidate.names.mean(own)
      case .floating:
        if candidate.names.mean(own) { return true }
        guard let ownAddresses, let address = candidate.address else { return false }
        return ownAddresses.contains { HostAddress.sameHost($0, address.host) }
      case .stacked(let lower):
        return resources.first { $0.name == lower }?.hosts.contains { $0.names.mean(own) } ?? false
      }
    }
  }

  private func ownIndex(
    in resource: ResourceDefinition, _ host: String, _ ownAddresses: [String]?
  ) throws(ConfigurationError) -> Int {
    let matches = indices(of: host, ownAddresses, in: resource)
    if matches.count == 1 { return matches[0] }
    guard matches.isEmpty else {
      throw ConfigurationError(
        .invalid, at: resource.position,
        "\(matches.count) hosts of resource '\(resource.name)' are this host: \(Words.list(matches.map { resource.hosts[$0].name }))",
        advice: "Use 'on HOST' sections instead of 'floating', or name the node with --node")
    }
    var error = ConfigurationError(
      .unknownObject, at: resource.position,
      "'\(resource.name)' not defined in your config (for this host): it has no section for '\(Lexer.printable(host))'",
      advice: "Its hosts are \(Words.list(resource.hostNames)); set the host name to one of them, or correct the file")
    error.suggestion = NearMiss.of(host, among: resource.allNames)
    throw error
  }

  /// An interface may get its address later than the resource is started, or lose it for a while: said, not refused.
  private func checkOwn(
    _ hosted: inout HostedResource, _ resource: ResourceDefinition, _ index: Int, _ ownAddresses: [String]
  ) {
    for address in resource.addresses(of: resource.hosts[index]) {
      guard !ownAddresses.contains(where: { HostAddress.sameHost($0, address.host) }) else { continue }
      hosted.notices.append(
        ConfigurationNotice(
          at: resource.hosts[index].position,
          "in resource \(resource.name), on \(hosted.host): IP \(address.host) not found on this host: the connection"
            + " waits for it; configure the address on an interface (ip address add), or correct the file"))
    }
  }

  // MARK: the view of one host

  private func hosted(_ resource: ResourceDefinition, _ index: Int) throws(ConfigurationError) -> HostedResource {
    let own = resource.hosts[index]
    let section = resource.section.hosts[index]
    let base = [
      syntax.common?.options.settings ?? [], resource.section.template?.settings ?? [],
      resource.section.options.settings,
    ]
    var promises = Promises()
    let common = [syntax.common?.options.proxy, resource.section.template?.proxy, resource.section.options.proxy]
    for proxy in common + resource.section.hosts.map(\.options.proxy) { promises.judge(proxy: proxy) }

    let options = EffectiveOptions(.resource, layers: base + [section.options.settings, overrides.layer(nil)])
    let startup = EffectiveOptions(.startup, layers: base)
    let handlers = EffectiveOptions(.handlers, layers: base)
    for effective in [options, startup, handlers] { promises.judge(effective) }

    var volumes: [HostedVolume] = []
    for volume in own.volumes {
      let effective = EffectiveOptions(
        .disk, layers: base + volumeLayers(volume, resource, section) + [overrides.layer(volume.number)])
      if volume.disk != nil { promises.judge(effective) }
      let others = resource.hosts.indices.filter { other in
        other != index && resource.hosts[other].volumes.contains { $0.number == volume.number && $0.disk != nil }
      }
      volumes.append(
        HostedVolume(
          number: volume.number, devicePath: volume.devicePath, minor: volume.minor, disk: volume.disk,
          metaDisk: volume.metaDisk, options: DiskOptions(effective), effective: effective,
          isExplicit: volume.isExplicit,
          bitmapSlots: max(1, others.count)))
    }

    var peers: [HostedPeer] = []
    for connection in resource.connections where connection.first == index || connection.second == index {
      peers.append(peer(connection, index, resource, base, &promises))
    }
    peers.sort { $0.name < $1.name }
    promises.judge(peers: peers, of: resource)

    return HostedResource(
      name: resource.name, host: own.name, nodeID: own.nodeID, volumes: volumes, peers: peers,
      options: ResourceOptions(options), effective: options, startup: StartupOptions(startup),
      handlers: Dictionary(
        handlers.all.compactMap { setting in handlers.word(setting.name).map { (setting.name, $0) } },
        uniquingKeysWith: { $1 }),
      refusals: promises.refusals, notices: promises.notices, position: resource.position)
  }

  private func volumeLayers(
    _ volume: VolumeDefinition, _ resource: ResourceDefinition, _ host: HostSection
  ) -> [[OptionSetting]] {
    let number = Int(volume.number.value)
    return resource.section.volumes.filter { $0.number == number }.map(\.options) + [host.implicitVolume.options]
      + host.volumes.filter { $0.number == number }.map(\.options)
  }

  private func peer(
    _ connection: ConnectionDefinition, _ index: Int, _ resource: ResourceDefinition, _ base: [[OptionSetting]],
    _ promises: inout Promises
  ) -> HostedPeer {
    let isFirst = connection.first == index
    let other = resource.hosts[isFirst ? connection.second : connection.first]
    let net = EffectiveOptions(.net, layers: base + [connection.settings, overrides.layer(nil)])
    promises.judge(net)
    var resync: [VolumeNumber: ResyncOptions] = [:]
    var effectiveResync: [VolumeNumber: EffectiveOptions] = [:]
    for volume in resource.hosts[index].volumes {
      let layers =
        base + volumeLayers(volume, resource, resource.section.hosts[index])
        + [connection.settings, connection.volumeSettings[Int(volume.number.value)] ?? []]
        + [overrides.layer(volume.number)]
      let effective = EffectiveOptions(.peerDevice, layers: layers)
      promises.judge(effective)
      resync[volume.number] = ResyncOptions(effective)
      effectiveResync[volume.number] = effective
    }
    let paths = connection.paths.map { path in
      isFirst
        ? HostedPeer.Path(own: path.first, peer: path.second) : HostedPeer.Path(own: path.second, peer: path.first)
    }
    for path in paths { promises.judge(path.own, at: resource.hosts[index].position) }
    // A host of several names is called by all of them, as DRBD does.
    let name = HostName(other.names.map(\.text).joined(separator: "_"))
    return HostedPeer(
      name: name.text, names: other.names.contains(name) ? other.names : other.names + [name], nodeID: other.nodeID,
      paths: paths,
      net: NetOptions(net) { resource.hosts(called: $0) == [index] }, effective: net,
      effectiveResync: effectiveResync, resync: resync,
      diskful: Set(other.volumes.filter { $0.disk != nil }.map(\.number)))
  }
}
