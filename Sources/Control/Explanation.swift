// What keeps a resource from two connected UpToDate nodes, and what an operator does about each part of it: `repladm explain`. Pure:
// from the status that the daemon has told to sentences. Law: every state that needs an operator has a finding with a next step.
import Base

/// One thing that is not as it should be.
public struct Finding: Equatable, Sendable {
  /// `RES`, `RES/VOLUME` or `RES PEER`.
  public var object: String
  public var what: String
  /// A command line, or what else to do; empty where waiting is enough.
  public var next: String

  public init(_ object: String, _ what: String, next: String = "") {
    self.object = object
    self.what = what
    self.next = next
  }

  public var text: String { "\(object): \(what)." + (next.isEmpty ? "" : "\n  \(next).") }
}

extension StatusSnapshot {
  /// What is wrong, the resource first, then connections, then volumes. Empty: nothing.
  public var findings: [Finding] {
    suspensions + connections.flatMap { findings(of: $0) } + devices.compactMap { finding(of: $0) }
  }

  private var peerName: String { connections.first?.name ?? "the peer" }

  private var suspensions: [Finding] {
    var found: [Finding] = []
    if suspendedByUser {
      found.append(Finding(name, "I/O is suspended by suspend-io", next: "To resume it: repladm resume-io \(name)"))
    }
    if suspendedFencing {
      found.append(
        Finding(
          name, "I/O is suspended until fence-peer has fenced \(peerName), or \(peerName) is connected again",
          next: "Start \(peerName), or see in the log what the handler fence-peer has answered"))
    }
    return found
  }

  private func findings(of connection: ConnectionStatus) -> [Finding] {
    let object = "\(name) \(connection.name)"
    var found: [Finding] = []
    if let why = connection.cannotListen {
      found.append(
        Finding(
          object, "repld cannot listen for \(connection.name): \(why); repld tries again",
          next: "Compare the address of this host in the file with `ip address`"))
    }
    if connection.state < .connected {
      found.append(lack(of: connection, object))
      return found
    }
    return found + connection.peerDevices.compactMap { finding(of: $0, connection) }
  }

  private func lack(of connection: ConnectionStatus, _ object: String) -> Finding {
    if let why = connection.refusedBecause {
      return Finding(
        object, "the connection was given up: \(why)",
        next: why.contains("repladm ") ? "" : "Then: repladm adjust \(name)")
    }
    if connection.state == .standAlone {
      return Finding(
        object, "the connection is StandAlone: it was disconnected", next: "To connect: repladm connect \(name)")
    }
    let path = connection.paths.first.map { " from \($0.local) to \($0.peer)" } ?? ""
    return Finding(
      object, "\(connection.name) is not connected; repld tries to connect\(path)",
      next:
        "On \(connection.name): repladm up \(name), or repladm status \(name). Then check the network and the firewall")
  }

  private func finding(of peer: PeerDeviceStatus, _ connection: ConnectionStatus) -> Finding? {
    let object = "\(name)/\(peer.volume.value)"
    switch peer.replication {
    case .syncSource, .syncTarget:
      let direction = peer.replication == .syncSource ? "to" : "from"
      return Finding(
        object, "a resync \(direction) \(connection.name) runs, \(peer.outOfSync) KiB are left",
        next: "To wait for its end: repladm wait-sync \(name)")
    case .pausedSyncS, .pausedSyncT: return pause(peer, connection, object)
    default: break
    }
    if peer.peerDisk == .diskless, !peer.isPeerClient {
      return Finding(
        object, "\(connection.name) has no disk", next: "On \(connection.name): repladm attach \(object)")
    }
    let own = devices.first { $0.volume == peer.volume }?.disk
    guard peer.replication == .connected, peer.outOfSync > 0, own == .upToDate, peer.peerDisk == .upToDate else {
      return nil
    }
    return Finding(
      object, "\(peer.outOfSync) KiB differ or may differ from \(connection.name), and no resync runs",
      next: howToResync(connection))
  }

  /// Blocks that a verify has found are resynced when the connection is made anew, and only if a node was Primary: with both
  /// Secondary no new generation begins, and none of them is known to be right.
  private func howToResync(_ connection: ConnectionStatus) -> String {
    let again = "repladm disconnect \(name), then repladm connect \(name)"
    if role == .primary || connection.peerRole == .primary { return "To resync them: \(again)" }
    return "To resync them, on the node whose data are right: repladm primary \(name), then \(again)"
  }

  private func pause(_ peer: PeerDeviceStatus, _ connection: ConnectionStatus, _ object: String) -> Finding {
    let what = "the resync is paused, \(peer.outOfSync) KiB are left"
    if peer.resyncSuspendedByUser {
      return Finding(object, "\(what): pause-sync on this node", next: "To go on: repladm resume-sync \(object)")
    }
    if peer.resyncSuspendedByPeer {
      return Finding(
        object, "\(what): pause-sync on \(connection.name)",
        next: "On \(connection.name): repladm resume-sync \(object)")
    }
    return Finding(object, what)
  }

  /// Of a node without disk.
  private func whereDataAre(_ peer: PeerDeviceStatus?) -> String {
    guard let peer else { return ", and \(peerName) is not connected: nothing can be read or written" }
    guard peer.peerDisk == .upToDate else {
      return ", and that of \(peerName) is \(peer.peerDisk.name): nothing can be read or written"
    }
    return "; reads and writes go to \(peerName)"
  }

  private func finding(of device: DeviceStatus) -> Finding? {
    let object = "\(name)/\(device.volume.value)"
    let peer = connections.first { $0.state >= .connected }?.peerDevices.first { $0.volume == device.volume }
    let isSyncing = peer.map { $0.replication > .connected } ?? false
    switch device.disk {
    case .diskless where !device.isClient:
      return Finding(
        object, "this node has no disk\(whereDataAre(peer))",
        next:
          "See in the log why the disk was detached. When it is sound: repladm attach \(object); for a new disk first: "
          + "repladm create-md \(object)")
    case .failed:
      return Finding(object, "the disk has failed and is being detached")
    case .inconsistent where !isSyncing && peer?.peerDisk == .inconsistent:
      return Finding(
        object, "no node has UpToDate data: the resource is new, or its last good disk is gone",
        next: "On the node whose data count: repladm primary --force \(name)")
    case .inconsistent where !isSyncing:
      return Finding(
        object, "the data of this node are Inconsistent",
        next: peer == nil
          ? "Connect a node with UpToDate data"
          : "See in the log why no resync runs, then: repladm disconnect \(name), repladm connect \(name)")
    case .outdated where !isSyncing:
      return Finding(
        object, "the data of this node are Outdated: \(peerName) has newer data",
        next: "Connect \(peerName). Only if its data are lost: repladm primary --force \(name)")
    case .consistent:
      return Finding(
        object, "it is not known whether \(peerName) has newer data",
        next:
          "Connect \(peerName). Without it: repladm primary \(name), which calls fence-peer where fencing is configured"
      )
    default: return nil
    }
  }
}
