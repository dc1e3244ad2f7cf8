// `events2` (admin spec 5.3): what is, and what changed between two moments, as lines of drbd-utils 9.22. Laws: a line names its
// object completely; a change prints the whole group of fields that something in it changed; creation goes from the
// resource inwards, destruction the other way round.
import Base

public struct EventText: Sendable {
  /// Print counters as well.
  public var statistics: Bool
  /// Changes print all fields, as `exists` does.
  public var full: Bool
  /// Changed fields as `old->new`.
  public var diff: Bool

  public init(statistics: Bool = false, full: Bool = false, diff: Bool = false) {
    self.statistics = statistics || full
    self.full = full
    self.diff = diff
  }

  /// Ends the initial dump.
  public static let endOfDump = "exists -"

  /// What is there: the lines of one resource, in the order of the initial dump.
  public func existing(_ s: StatusSnapshot) -> [String] {
    let connections = s.connections.sorted { $0.name < $1.name }
    var lines = [line("exists", resource(s, from: nil))]
    lines += connections.map { line("exists", connection($0, of: s, from: nil)) }
    lines += devices(s).map { line("exists", device($0, of: s, from: nil)) }
    for c in connections { lines += peers(c).map { line("exists", peerDevice($0, of: c, s, from: nil)) } }
    for c in connections { lines += c.paths.map { line("exists", path($0, of: c, s, from: nil)) } }
    return lines
  }

  /// From one moment to the next; nil is a resource that is not there.
  public func changes(from old: StatusSnapshot?, to new: StatusSnapshot?) -> [String] {
    switch (old, new) {
    case (nil, nil): []
    case (nil, let new?): whole("create", new)
    case (let old?, nil): whole("destroy", old).reversed()
    case (let old?, let new?): changes(from: old, to: new)
    }
  }

  /// A handler that was called, or that has answered.
  public func helper(_ event: HelperEvent, of resource: String) -> String {
    var object = Object("helper")
    object.identity("name", resource)
    object.identity("peer-node-id", "\(event.peerNodeID)")
    object.identity("conn-name", event.connection)
    if let volume = event.volume, let minor = event.minor {
      object.identity("volume", "\(volume.value)")
      object.identity("minor", "\(minor)")
    }
    object.identity("helper", event.handler)
    if let status = event.status { object.identity("status", "\(status)") }
    return line(event.status == nil ? "call" : "response", object)
  }

  // MARK: Objects that come and go

  /// All objects of a resource, from the outside in. A peer device goes with its connection, without a line of its own.
  private func whole(_ verb: String, _ s: StatusSnapshot) -> [String] {
    var objects = [resource(s, from: nil)]
    objects += devices(s).map { device($0, of: s, from: nil) }
    var lines = objects.map { line(verb, $0) }
    for c in s.connections.sorted(by: { $0.name < $1.name }) { lines += whole(verb, c, of: s) }
    return lines
  }

  private func whole(_ verb: String, _ c: ConnectionStatus, of s: StatusSnapshot) -> [String] {
    var objects = [connection(c, of: s, from: nil)]
    if verb != "destroy" { objects += peers(c).map { peerDevice($0, of: c, s, from: nil) } }
    objects += c.paths.map { path($0, of: c, s, from: nil) }
    return objects.map { line(verb, $0) }
  }

  private func changes(from old: StatusSnapshot, to new: StatusSnapshot) -> [String] {
    var lines = gone(from: old, to: new)
    lines += changed(resource(new, from: old))
    let connections = new.connections.sorted { $0.name < $1.name }
    func before(_ c: ConnectionStatus) -> ConnectionStatus? { old.connections.first { $0.name == c.name } }
    for c in connections { if let was = before(c) { lines += changed(connection(c, of: new, from: was)) } }
    for d in devices(new) {
      let was = old.devices.first { $0.volume == d.volume }
      lines += was.map { changed(device(d, of: new, from: $0)) } ?? [line("create", device(d, of: new, from: nil))]
    }
    for c in connections {
      guard let known = before(c) else {
        lines += whole("create", c, of: new)
        continue
      }
      for p in peers(c) {
        let was = known.peerDevices.first { $0.volume == p.volume }
        let object = peerDevice(p, of: c, new, from: was)
        lines += was == nil ? [line("create", object)] : changed(object)
      }
      for p in c.paths {
        let was = known.paths.first { $0.local == p.local && $0.peer == p.peer }
        let object = path(p, of: c, new, from: was)
        lines += was == nil ? [line("create", object)] : changed(object)
      }
    }
    return lines
  }

  /// What is not there any more, from the inside out.
  private func gone(from old: StatusSnapshot, to new: StatusSnapshot) -> [String] {
    var lines: [String] = []
    for c in old.connections {
      guard let now = new.connections.first(where: { $0.name == c.name }) else {
        lines += whole("destroy", c, of: old).reversed()
        continue
      }
      for p in c.paths where !now.paths.contains(where: { $0.local == p.local && $0.peer == p.peer }) {
        lines.append(line("destroy", path(p, of: c, old, from: nil)))
      }
    }
    for d in devices(old) where !new.devices.contains(where: { $0.volume == d.volume }) {
      lines.append(line("destroy", device(d, of: old, from: nil)))
    }
    return lines
  }

  private func devices(_ s: StatusSnapshot) -> [DeviceStatus] { s.devices.sorted { $0.volume < $1.volume } }
  private func peers(_ c: ConnectionStatus) -> [PeerDeviceStatus] { c.peerDevices.sorted { $0.volume < $1.volume } }

  private func changed(_ object: Object) -> [String] { object.hasChanged ? [line("change", object)] : [] }

  /// Destroyed objects have an identity only.
  private func line(_ verb: String, _ object: Object) -> String {
    let words = verb == "destroy" ? object.destroyed : object.words(full: full || verb != "change", diff: diff)
    return ([verb, object.kind] + words).joined(separator: " ")
  }
}

/// One handler call on the event stream.
public struct HelperEvent: Codable, Equatable, Sendable {
  public var handler: String
  public var connection: String
  public var peerNodeID: Int
  /// Absent when it is about the whole connection.
  public var volume: VolumeNumber?
  public var minor: UInt32?
  /// Absent while it runs.
  public var status: Int32?

  public init(
    handler: String, connection: String, peerNodeID: Int, volume: VolumeNumber?, minor: UInt32?, status: Int32?
  ) {
    self.handler = handler
    self.connection = connection
    self.peerNodeID = peerNodeID
    self.volume = volume
    self.minor = minor
    self.status = status
  }
}
