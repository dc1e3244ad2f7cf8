// The one-word commands (admin spec 5.4): `role`, `cstate`, `dstate`.
import Base

extension StatusSnapshot {
  /// `Primary`: the own role only, as DRBD 9 prints it.
  public var roleWord: String { role.name }

  /// One word per connection, in the order of `status`.
  public var connectionWords: [String] {
    connections.sorted { $0.name < $1.name }.map(\.state.connectionName)
  }

  /// `UpToDate/Inconsistent`: the own disk, then each peer's; nil when there is no such volume.
  public func diskWords(_ volume: VolumeNumber) -> String? {
    guard let device = devices.first(where: { $0.volume == volume }) else { return nil }
    let peers = connections.sorted { $0.name < $1.name }.map { connection in
      connection.peerDevices.first { $0.volume == volume }?.peerDisk ?? .unknown
    }
    return ([device.disk] + peers).map(\.name).joined(separator: "/")
  }
}
