// The environment of a handler (admin spec 7): what a script of the `handlers` section is told. One source for the daemon, which
// runs handlers when something happens, and for `repladm HANDLER RES`, which runs one by hand. Law: names and forms are
// DRBD's; what is about the whole connection lists every volume, blank-separated.

import Base

public struct HandlerEnvironment {
  /// Handlers that are about the connection or the resource, not about one volume.
  public static let aboutEveryVolume: Set<String> = [
    "split-brain", "initial-split-brain", "fence-peer", "unfence-peer", "disconnected",
  ]

  /// All handlers there are, in the order of the option table.
  public static let names: [String] = OptionTable.rows.filter { $0.section == .handlers }.map(\.name)

  private(set) var lines: [(name: String, value: String)] = []

  /// `NAME=VALUE` lines. `volume` nil: every one. `connection` nil: nobody knows how it stands.
  public static func lines(
    of resource: HostedResource, configuration: String, volume: VolumeNumber?, connection: ConnectionState?
  ) -> [String] {
    var result = HandlerEnvironment()
    result.put("DRBD_RESOURCE", resource.name)
    result.put("DRBD_CONF", configuration)
    result.put("DRBD_MY_NODE_ID", "\(resource.nodeID)")
    result.put("DRBD_NODE_ID_\(resource.nodeID)", resource.host)
    if let peer = resource.peers.first { result.put(peer) }
    if let connection { result.put("DRBD_CSTATE", connection.connectionName) }
    result.put(resource.volumes.filter { volume == nil || $0.number == volume })
    for volume in resource.volumes {
      result.put("DRBD_MINOR_\(volume.number.value)", "\(volume.minor)")
      result.put("DRBD_BACKING_DEV_\(volume.number.value)", volume.disk ?? "none")
    }
    return result.lines.map { "\($0.name)=\($0.value)" }
  }

  private mutating func put(_ name: String, _ value: String) { lines.append((name, value)) }

  private mutating func put(_ peer: HostedPeer) {
    put("DRBD_NODE_ID_\(peer.nodeID)", peer.name)
    put("DRBD_PEER_NODE_ID", "\(peer.nodeID)")
    put("DRBD_PEER", peer.name)
    put("DRBD_PEERS", peer.name)
    put("DRBD_MY_AF", peer.ownAddress.family.rawValue)
    put("DRBD_MY_ADDRESS", peer.ownAddress.host)
    put("DRBD_PEER_AF", peer.address.family.rawValue)
    put("DRBD_PEER_ADDRESS", peer.address.host)
  }

  private mutating func put(_ volumes: [HostedVolume]) {
    func list(_ word: (HostedVolume) -> String) -> String { volumes.map(word).joined(separator: " ") }
    put("DRBD_VOLUME", list { "\($0.number.value)" })
    put("DRBD_MINOR", list { "\($0.minor)" })
    put("DRBD_LL_DISK", list { $0.disk ?? "none" })
    if volumes.count == 1 { put("DRBD_BACKING_DEV", volumes[0].disk ?? "none") }
  }
}
