// What the metadata of a disk say about it before anybody was asked: the state it is attached in.
import Base
import MetaDisk

extension Engine {
  /// Disk state recorded in the metadata (metadata spec 6.2 step 7). With fencing, only a peer that is known to be
  /// Outdated proves that it has no newer data than this disk. A disk that has missed writes of this node's application
  /// could not record it: as long as the process lives, it knows.
  func recordedDiskState(_ v: Int) -> DiskState {
    if volumes[v].exposed.hasMissedWrites, role != .primary { return .inconsistent }
    let flags = volumes[v].backing.superblock.flags
    if !flags.contains(.consistent) { return .inconsistent }
    if !flags.contains(.wasUpToDate) { return .outdated }
    return fences && !recordsOutdatedPeer(v) ? .consistent : .upToDate
  }

  func recordsOutdatedPeer(_ v: Int) -> Bool {
    let superblock = volumes[v].backing.superblock
    return superblock.format == .v08
      ? superblock.flags.contains(.peerOutdated)
      : superblock.peers[Int(settings.peerNodeID)].flags.contains(.outdated)
  }
}
