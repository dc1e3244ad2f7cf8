// From the names on a command line to the resources, volumes and peers that they stand for on this host.

import Base

/// One resource and the part of it that was named.
public struct Selection: Sendable, Equatable {
  public var name: ObjectName
  public var resource: HostedResource
  /// The volume named, or all of them.
  public var volumes: [HostedVolume]
  /// The peer named, or all of them.
  public var peers: [HostedPeer]

  /// The name says one volume of those that the file writes out. A volume that stands directly in the resource is the resource,
  /// under any of its names.
  public var namesExplicitVolume: Bool { namesVolume && volumes.contains(where: \.isExplicit) }

  public var namesVolume: Bool {
    switch name {
    case .volume, .peerVolume, .minor: true
    case .all, .resource, .peer: false
    }
  }
  public var namesPeer: Bool {
    switch name {
    case .peer, .peerVolume: true
    case .all, .resource, .volume, .minor: false
    }
  }
}

/// What a command is about, and which names it takes (admin spec 4). Every command takes RES and RES:PEER.
public enum CommandScope: Sendable {
  /// The whole resource: one volume of several is a mistake (exit 1), not a wish to be guessed.
  case resource
  case connection
  /// The whole resource, by the name of one of its volumes as well, as 8.4 takes it for roles.
  case resourceOrVolume
  /// The whole resource, by the name of any part of it, as 9.22 takes it for `adjust`.
  case resourceByAnyName
  case volume
  case peerVolume
}

extension Configuration {
  /// Resolves names; `all` and several names give several selections, in order.
  public func select(
    _ names: [ObjectName], onHost host: String, ownAddresses: [String]?
  ) throws(ConfigurationError) -> [Selection] {
    var result: [Selection] = []
    for name in names {
      if name == .all {
        for resource in try resources(onHost: host, ownAddresses: ownAddresses) {
          result.append(Selection(name: .all, resource: resource, volumes: resource.volumes, peers: resource.peers))
        }
      } else {
        result.append(try select(name, onHost: host, ownAddresses: ownAddresses))
      }
    }
    return result
  }

  private func select(
    _ name: ObjectName, onHost host: String, ownAddresses: [String]?
  ) throws(ConfigurationError) -> Selection {
    if case .minor(let minor) = name {
      for resource in try resources(onHost: host, ownAddresses: ownAddresses) {
        guard let volume = resource.volumes.first(where: { $0.minor == minor }) else { continue }
        return Selection(name: name, resource: resource, volumes: [volume], peers: resource.peers)
      }
      throw ConfigurationError(
        .unknownObject, "'\(name)' not defined in your config (for this host): no volume here has this minor",
        advice: "The minors of this host are printed by 'sh-minor all'")
    }
    guard let resourceName = name.resourceName else { preconditionFailure("only minors name no resource") }
    let resource = try resource(named: resourceName, onHost: host, ownAddresses: ownAddresses)
    var selection = Selection(name: name, resource: resource, volumes: resource.volumes, peers: resource.peers)
    switch name {
    case .volume(_, let number), .peerVolume(_, _, let number):
      selection.volumes = resource.volumes.filter { Int($0.number.value) == number }
      if selection.volumes.isEmpty {
        throw ConfigurationError(
          .unknownObject, at: resource.position, "Resource '\(resourceName)' has no volume \(number)",
          advice: "Its volumes are \(Words.list(resource.volumes.map { String($0.number.value) }))")
      }
    default: break
    }
    switch name {
    case .peer(_, let peer), .peerVolume(_, let peer, _):
      selection.peers = resource.peers(called: peer)
      guard selection.peers.count <= 1 else {
        throw ConfigurationError(
          .unknownObject, at: resource.position,
          "\(name) matches several peers: \(Words.list(selection.peers.map(\.name)))",
          advice: "Write the name as its 'on' section does")
      }
      if selection.peers.isEmpty {
        var error = ConfigurationError(
          .unknownObject, at: resource.position, "Not a valid connection (\(name)) for this host",
          advice: "The peers of '\(resourceName)' are \(Words.list(resource.peers.map(\.name)))")
        error.suggestion = NearMiss.of(peer, among: resource.peers.flatMap(\.names).map(\.text))
        throw error
      }
    default: break
    }
    return selection
  }
}

extension Selection {
  /// Refuses a name that is narrower than what `command` works on.
  public func check(scope: CommandScope, of command: String) throws(ConfigurationError) {
    guard namesExplicitVolume else { return }
    switch scope {
    case .volume, .peerVolume, .resourceByAnyName: return
    case .resourceOrVolume where !namesPeer: return
    case .resource, .connection, .resourceOrVolume: break
    }
    throw ConfigurationError(
      .unknownObject, "\(command) operates on whole resources, but you specified a specific volume!",
      advice: "Write \(command) \(resource.name)")
  }
}
