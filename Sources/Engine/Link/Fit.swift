// Whether a disk and an option fit the volume (wire spec 6). Laws: a volume in use never becomes smaller, and good data are
// never cut off at a peer's word, by an option or by an attach: only the operator's `resize` makes a volume smaller. The node
// whose disk does not fit refuses it before it tells the peer anything; the other one refuses the P_SIZES.
import Base
import MetaDisk
import Protocol

/// What does not fit, and what to do.
struct Misfit {
  var why: String
  var next: String
}

extension Engine {
  /// An application is here, or may be.
  var isInUse: Bool { role == .primary || isOpen }

  /// The disk takes part: neither is it being attached, nor is it being let go.
  func diskCounts(_ v: Int) -> Bool {
    volumes[v].isAttached && volumes[v].state.disk != .attaching && volumes[v].state.disk > .failed
  }

  /// `disk { size }`, or what the last `resize` has said; 0: none. It makes no volume smaller that holds data.
  func sizeLimit(_ v: Int) -> SectorCount {
    let limit = volumes[v].settings.sizeLimit
    return limit > .zero && holdsData(v) ? max(limit, volumes[v].size) : limit
  }

  /// What lies on this volume may be missed.
  private func holdsData(_ v: Int) -> Bool {
    if isInUse { return true }
    guard volumes[v].isAttached else { return false }
    switch volumes[v].state.disk {
    case .attaching, .negotiating: return recordedDiskState(v) > .inconsistent
    // A disk with errors of which every bad block is known holds the rest.
    case .inconsistent: return volumes[v].backing.bitsAreComplete
    default: return true
    }
  }

  /// At a peer's word: a disk without data that is agreed on for the first time, or anew by two nodes that are not in use.
  func mayShrinkForPeer(_ v: Int) -> Bool {
    if holdsData(v) { return false }
    let state = volumes[v].state
    return state.conn == .wfReportParams || state.disk == .negotiating
      || (state.conn == .connected && state.peerRole == .secondary)
  }

  /// Nothing is under way that could lie behind a new end.
  func isQuiet(_ v: Int) -> Bool {
    volumes[v].requests.count == 0 && volumes[v].diskWork.count == 0 && volumes[v].writesForDisk.count == 0
      && volumes[v].parked.isEmpty && volumes[v].pages.isIdle
      && volumes[v].transaction == .idle && volumes[v].move.phase == .idle
  }

  /// The size that an attach has to keep: that of an application, here or on the peer, or of the peer's good data.
  func sizeToKeep(_ v: Int) -> SectorCount? {
    let state = volumes[v].state
    let isKept = isInUse || (state.conn >= .connected && (state.peerRole == .primary || hasGoodPeer(v)))
    return isKept && volumes[v].size > .zero ? volumes[v].size : nil
  }

  private func hasGoodPeer(_ v: Int) -> Bool {
    volumes[v].state.peerDisk >= .outdated && volumes[v].state.peerDisk != .unknown
  }

  /// A disk with so much room for data cannot hold a volume of this size.
  func misfit(_ v: Int, usable: SectorCount, size: SectorCount) -> Misfit? {
    if usable < size {
      return Misfit(
        why: "the device holds \(usable.bytes >> 10) KiB of data, and the volume in use has \(size.bytes >> 10) KiB",
        next: "use a device of at least that size")
    }
    let limit = volumes[v].settings.sizeLimit
    guard limit > .zero, limit < size else { return nil }
    return Misfit(
      why: "`disk { size }` says \(limit.bytes >> 10) KiB, and the volume in use has \(size.bytes >> 10) KiB",
      next: "raise size in the configuration, or leave it out")
  }

  /// A peer that was met while the disk was being attached has more in use than the disk holds.
  func misfitForPeer(_ v: Int) -> Misfit? {
    guard let peer = volumes[v].peer.sizes, peer.current > 0,
      volumes[v].state.peerRole == .primary || hasGoodPeer(v)
    else { return nil }
    return misfit(v, usable: volumes[v].backing.usable, size: SectorCount(peer.current))
  }

  /// The peer's volume in use does not fit on this disk. The peer sees so as well, and no packet would say it (K9).
  mutating func isTooSmallForPeer(_ v: Int, _ packed: PackedState) -> Bool {
    guard diskCounts(v), let peer = volumes[v].peer.sizes, peer.backing > 0, packed.disk >= .outdated,
      peer.current > volumes[v].size.value
    else { return false }
    let usable = volumes[v].backing.usable
    let limit = sizeLimit(v)
    if usable.value < peer.current {
      giveUpLink(
        "this disk is too small for \(name(v)): \(usable.bytes >> 10) KiB here, "
          + "\(peer.current >> 1) KiB in use on \(settings.peerName); give this node a disk of at least this size")
    } else if limit > .zero, limit.value < peer.current {
      giveUpLink(
        "`disk { size }` is too small for \(name(v)): \(limit.bytes >> 10) KiB here, "
          + "\(peer.current >> 1) KiB in use on \(settings.peerName); raise size in the configuration, or leave it out")
    } else {
      return false
    }
    return true
  }

  /// The volume would become smaller by what the peer says. True: it may, and nothing is in the way.
  mutating func shrinksForPeer(_ v: Int, to size: SectorCount, _ peer: Sizes) -> Bool {
    let old = volumes[v].size
    if !mayShrinkForPeer(v) {
      let byLimit = peer.userLimit > 0 && peer.userLimit == size.value && peer.userLimit < peer.backing
      let what = byLimit ? "`disk { size }` of the peer" : "the peer's disk"
      let sizes = "\(size.bytes >> 10) KiB there, \(old.bytes >> 10) KiB in use here"
      let next = byLimit ? "raise size there, or leave it out" : "give the peer a disk of at least this size"
      // Of a disk that is being attached and a peer without good data it is the peer's that has to be replaced.
      if volumes[v].state.disk == .negotiating, !isInUse, hasGoodPeer(v) {
        volumes[v].attach.refusal = .request(
          170, "attach of \(name(v)) failed",
          why: "this disk has \(old.bytes >> 10) KiB of data, and the volume on \(settings.peerName) has "
            + "\(size.bytes >> 10) KiB: they would be cut off",
          next: "if its data need not be kept: repladm create-md --force \(name(v)), then repladm attach \(name(v))")
        beginDetach(v, graceful: true, nil)
      } else {
        giveUpLink("\(what) is too small for \(name(v)): \(sizes); \(next)")
      }
      return false
    }
    if isQuiet(v) { return true }
    breakLink(.networkFailure, "\(name(v)) becomes smaller, and I/O is under way still")
    return false
  }
}
