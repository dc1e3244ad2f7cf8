// What the files say, before anybody asks whether it makes sense. Every node knows its line. Sections that may be
// written in several places (options) are kept in the order of writing.

/// Everything a main file and its includes contain.
public struct SyntaxTree: Sendable, Equatable {
  public var mainFile: String
  public var globals: [OptionSetting] = []
  public var globalPosition: SourcePosition?
  public var common: CommonSection?
  public var resources: [ResourceSection] = []
  public var notices: [ConfigurationNotice] = []
}

/// Options by the section they belong to; legacy spellings are already translated.
public struct OptionBlock: Sendable, Equatable {
  public var settings: [OptionSetting] = []
  public var proxy: ProxySection?

  public func settings(of section: OptionSection) -> [OptionSetting] {
    settings.filter { $0.definition.section == section }
  }
}

public struct CommonSection: Sendable, Equatable {
  public var position: SourcePosition
  public var options = OptionBlock()
}

public struct ResourceSection: Sendable, Equatable {
  public var name: String
  public var position: SourcePosition
  public var templateFile: String?
  public var template: OptionBlock?
  public var options = OptionBlock()
  /// Volume keys written without a volume around them: volume 0.
  public var implicitVolume = VolumeSection()
  public var volumes: [VolumeSection] = []
  public var hosts: [HostSection] = []
  public var connections: [ConnectionSection] = []
  public var meshes: [MeshSection] = []
}

/// `volume N { ... }`, or the same keys without it.
public struct VolumeSection: Sendable, Equatable {
  /// Nil when the keys stand without a volume section.
  public var number: Int?
  public var position: SourcePosition?
  public var device: Located<DeviceKey>?
  public var disk: Located<DiskKey>?
  public var metaDisk: Located<MetaDiskKey>?
  public var options: [OptionSetting] = []

  public var isEmpty: Bool { device == nil && disk == nil && metaDisk == nil && options.isEmpty }
  var hasKeys: Bool { device != nil || disk != nil || metaDisk != nil }
}

public struct Located<Value: Sendable & Equatable>: Sendable, Equatable {
  public var value: Value
  public var position: SourcePosition
}

/// `device /dev/drbd0 minor 0;` At least one of the two is there.
public struct DeviceKey: Sendable, Equatable {
  public var path: String?
  public var minor: Int
}

public enum DiskKey: Sendable, Equatable {
  case none
  case path(String)
}

/// `meta-disk`. An external path without index is `flexible` in DRBD's words.
public enum MetaDiskKey: Sendable, Hashable {
  case `internal`
  case external(String)
  case indexed(String, Int)
}

/// `on`, `floating` or `stacked-on-top-of`.
public struct HostSection: Sendable, Equatable {
  public enum Kind: Sendable, Equatable {
    case on([String])
    case floating
    case stacked(onTopOf: String)
  }
  public var kind: Kind
  public var position: SourcePosition
  public var nodeID: Located<Int>?
  public var address: Located<HostAddress>?
  public var implicitVolume = VolumeSection()
  public var volumes: [VolumeSection] = []
  public var options = OptionBlock()

  /// The first name; a floating host is called by its address, as DRBD does.
  public var name: String {
    switch kind {
    case .on(let names): names[0]
    case .floating: address.map { "\($0.value.host):\($0.value.port)" } ?? "floating"
    case .stacked(let lower): lower
    }
  }
  public func isCalled(_ name: String) -> Bool {
    if case .on(let names) = kind { return names.contains(name) }
    return self.name == name
  }
}

/// `host NAME [address A] [port N];` inside a connection or path.
public struct EndSection: Sendable, Equatable {
  public var host: String
  public var position: SourcePosition
  public var family: AddressFamily?
  public var address: String?
  public var port: UInt16?
}

public struct PathSection: Sendable, Equatable {
  public var position: SourcePosition
  public var ends: [EndSection] = []
}

public struct ConnectionSection: Sendable, Equatable {
  public var position: SourcePosition
  public var name: String?
  /// Hosts written without a path around them.
  public var ends: [EndSection] = []
  public var paths: [PathSection] = []
  public var options = OptionBlock()
  public var volumes: [VolumeSection] = []
}

public struct MeshSection: Sendable, Equatable {
  public var position: SourcePosition
  public var hosts: [String] = []
  public var options = OptionBlock()
}

/// `proxy`: checked for balance and kept for `dump`, refused at `up`.
public struct ProxySection: Sendable, Equatable {
  public var position: SourcePosition
  public var lines: [String] = []
}
