// A resource as the file describes it for all of its hosts, with everything filled in that the file leaves out (admin
// spec 2.5). What one host makes of it is a `HostedResource`.

import Base

public struct ResourceDefinition: Sendable, Equatable {
  public var name: String
  public var position: SourcePosition
  public var hosts: [HostDefinition]
  public var connections: [ConnectionDefinition]
  /// The section it was made from.
  public var section: ResourceSection

  public var hostNames: [String] { hosts.map(\.name) }
  /// Everything that any of the hosts is called, as the file writes it.
  var allNames: [String] { hosts.flatMap(\.names).map(\.text) }
  /// Indices of the hosts that a name in the file or on a command line means; more than one: it does not tell them apart.
  func hosts(called name: String) -> [Int] { hosts.map(\.names).indices(called: HostName(name)) }
}

public struct HostDefinition: Sendable, Equatable {
  public var kind: HostSection.Kind
  /// The first name is the one that status and connections show.
  public var name: String
  public var names: [HostName]
  public var position: SourcePosition
  public var nodeID: Int
  public var address: HostAddress?
  public var volumes: [VolumeDefinition]

  public var isStacked: Bool {
    if case .stacked = kind { return true }
    return false
  }
}

public struct VolumeDefinition: Sendable, Equatable {
  public var number: VolumeNumber
  /// `/dev/drbdN`, or the name the file gives.
  public var devicePath: String
  public var minor: Int
  /// Nil = `disk none`: this host has no copy.
  public var disk: String?
  public var metaDisk: MetaDiskKey
  /// True when the file has a volume section; it decides the names of links.
  public var isExplicit: Bool
}

public struct ConnectionDefinition: Sendable, Equatable {
  public struct Path: Sendable, Equatable {
    public var first: HostAddress
    public var second: HostAddress
  }
  public var position: SourcePosition
  /// Index into the resource's hosts.
  public var first: Int
  public var second: Int
  public var paths: [Path]
  /// Settings of the connection itself, and of volumes inside it.
  public var settings: [OptionSetting]
  public var volumeSettings: [Int: [OptionSetting]]
}
