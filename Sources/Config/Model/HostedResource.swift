// What one host makes of a resource: the only view of the configuration that the daemon needs. A plain value; two of
// them compared tell what `adjust` has to change.

import Base

public struct HostedResource: Sendable, Equatable {
  public var name: String
  /// This host's name as the file writes it.
  public var host: String
  public var nodeID: Int
  /// In order of their numbers; never empty.
  public var volumes: [HostedVolume]
  /// In order of their names. Most resources have one.
  public var peers: [HostedPeer]
  public var options: ResourceOptions
  /// The same as settings, for `show`.
  public var effective: EffectiveOptions
  public var startup: StartupOptions
  /// Handler name to command line for `/bin/sh -c`.
  public var handlers: [String: String]
  /// Promises of the file that are not kept here. `up` refuses with the first.
  public var refusals: [ConfigurationError]
  /// Options that are accepted and have no effect: to be reported once.
  public var notices: [ConfigurationNotice]
  public var position: SourcePosition

  public func volume(_ number: VolumeNumber) -> HostedVolume? { volumes.first { $0.number == number } }
  public func peer(named name: String) -> HostedPeer? { peers.first { $0.name == name } }
  /// The peers that a name on a command line means; more than one: it does not tell them apart.
  public func peers(called name: String) -> [HostedPeer] {
    peers.map(\.names).indices(called: HostName(name)).map { peers[$0] }
  }
  /// The address of this host, towards the first peer.
  public var ownAddress: HostAddress? { peers.first?.paths.first?.own }
}

public struct HostedVolume: Sendable, Equatable {
  public var number: VolumeNumber
  public var devicePath: String
  public var minor: Int
  /// Path of the backing device; nil for `disk none`.
  public var disk: String?
  public var metaDisk: MetaDiskKey
  public var options: DiskOptions
  /// The same as settings, for `show`.
  public var effective: EffectiveOptions
  /// The file has a volume section for it.
  public var isExplicit: Bool
  /// Other hosts with a disk for this volume: the bitmap slots that `create-md` makes, at least 1.
  public var bitmapSlots: Int

  /// Where the metadata lies: the disk itself, or another device. Nil without a disk.
  public var metaDiskPath: String? {
    switch metaDisk {
    case .internal: disk
    case .external(let path), .indexed(let path, _): disk == nil ? nil : path
    }
  }
}

public struct HostedPeer: Sendable, Equatable {
  public struct Path: Sendable, Equatable {
    public var own: HostAddress
    public var peer: HostAddress
  }
  /// The peer's host name, and the connection's.
  public var name: String
  /// Everything it may be called on a command line.
  public var names: [HostName]
  public var nodeID: Int
  /// Never empty.
  public var paths: [Path]
  public var net: NetOptions
  /// The same as settings, for `show`.
  public var effective: EffectiveOptions
  public var effectiveResync: [VolumeNumber: EffectiveOptions]
  /// Per volume of the resource.
  public var resync: [VolumeNumber: ResyncOptions]
  /// Volumes for which the peer has a disk.
  public var diskful: Set<VolumeNumber>

  public var ownAddress: HostAddress { paths[0].own }
  public var address: HostAddress { paths[0].peer }
}
