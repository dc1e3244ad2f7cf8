// States that need a person, and what the person does: the log says which state it is. Law: nothing here destroys the only good copy.
import Base
import Engine

extension World {
  /// A Primary without good data of a volume, that its peer cannot give it as it is: it steps down, and both compare as
  /// Secondaries.
  func demoteTheBlind() -> Bool {
    for n in 0...1 where nodes[n].isPrimary && random.oneIn(20) {
      let view = nodes[n].view
      let isBlind = histories.indices.contains { v in
        let volume = view.volumes[v]
        return !keeper.truth[n][v] && volume.disk < .upToDate
          && (view.connection < .connected || volume.disk == .diskless && volume.peerDisk < .upToDate)
      }
      if isBlind, !commands.isBusy(n) {
        keeper.procedure = [.stopClient, .command(n, .secondary)]
        return true
      }
    }
    return false
  }

  /// Neither node is good in all volumes: of each split one a person keeps the better side, and writes new metadata on the other.
  func resolveByVolume() {
    keeper.hasSplitBrain = false
    for v in keeper.splitVolumes {
      trustTheBetter(v)
      let loser = keeper.truth[0][v] ? 1 : 0
      if !keeper.truth[1 - loser][v] { continue }
      keeper.truth[loser][v] = false
      keeper.isReplaced[loser][v] = true
    }
    keeper.splitVolumes = []
  }

  /// The good disk was let go after the histories had parted: it is the good one still.
  private func trustTheBetter(_ v: Int) {
    if keeper.truth[0][v] || keeper.truth[1][v] { return }
    func state(_ n: Int) -> DiskState { nodes[n].isRunning ? nodes[n].view.volumes[v].disk : .diskless }
    let good = (0...1).filter { holdsAll($0, v) }.max { state($0) < state($1) }
    if let good { keeper.truth[good][v] = true }
  }

  func holdsAll(_ n: Int, _ v: Int) -> Bool {
    (0..<histories[v].sectors).allSatisfy { histories[v].allows(nodes[n].disks[v].cache[$0], at: $0) }
  }

  /// `invalidate` on the Secondary, as the log says.
  func clearStrayBits() -> Bool {
    guard let v = keeper.strayBits.first, keeper.isHealing || random.oneIn(8), !commands.isBusy(0), !commands.isBusy(1),
      nodes.allSatisfy({ $0.isRunning })
    else { return false }
    let q = nodes[0].isPrimary ? 1 : 0
    let (own, peer) = (nodes[q].view.volumes[v], nodes[1 - q].view.volumes[v])
    guard own.replication == .connected, own.disk == .upToDate, peer.disk == .upToDate, keeper.truth[1 - q][v] else {
      return false
    }
    keeper.strayBits.remove(v)
    command(q, .invalidate(own.number))
    return true
  }

  /// A Primary that should become the target of its peer: a person demotes it.
  func stepDownForPeer() -> Bool {
    guard let n = keeper.mustStepDown, !commands.isBusy(n) else { return false }
    keeper.mustStepDown = nil
    guard nodes[n].isPrimary else { return false }
    keeper.procedure = [.stopClient, .command(n, .secondary)]
    return true
  }

  /// `disconnect` and `connect`, as the log says, once nothing goes wrong any more.
  func tryAgainAtOnce() -> Bool {
    guard keeper.isHealing, let n = keeper.mustTryAgain, nodes[n].isRunning, !commands.isBusy(n) else { return false }
    keeper.mustTryAgain = nil
    guard nodes[n].view.connection < .wfReportParams else { return false }
    keeper.procedure = [.command(n, .disconnect(force: true)), .command(n, .connect(discardMyData: false))]
    return true
  }

  /// An attach without a connection, as the refusal says.
  func attachAlone() -> Bool {
    guard let (n, v) = keeper.mustMeet, keeper.isHealing || random.oneIn(8), nodes[n].isRunning, !commands.isBusy(n)
    else {
      return false
    }
    keeper.mustMeet = nil
    let number = nodes[n].settings.volumes[v].number
    guard nodes[n].view.volumes[v].disk == .diskless, !nodes[n].disks[v].broken else { return false }
    keeper.procedure = [
      .command(n, .disconnect(force: true)), .command(n, .attach(number)), .command(n, .connect(discardMyData: false)),
    ]
    return true
  }

  /// `r0/0:` is the device, `r0/0 beta:` its replication; a refusal names the volume behind the connection.
  private func isAbout(_ v: Int, _ text: String) -> Bool { text.contains("r0/\(v):") || text.hasPrefix("r0/\(v) ") }

  /// What a person reads in the log: after many resyncs that were cut before their target could write down that they had
  /// begun, the nodes do not know each other's generations any more.
  func read(_ n: Int, _ text: String) {
    if text.contains("no resync, but") {
      census.add("state that needs a person: marked blocks, and no resync")
      for v in histories.indices where isAbout(v, text) { keeper.strayBits.insert(v) }
    }
    if text.contains("failed: split brain") {
      for v in histories.indices where text.contains("r0/\(v)") {
        let peer = 1 - n
        let serves = nodes[peer].isRunning && nodes[peer].view.volumes[v].disk == .upToDate
        if keeper.truth[n][v], serves, keeper.truth[peer][v] || holdsAll(peer, v) {
          // Nothing that was acknowledged is on this disk alone: the one that is attached is kept.
          keeper.truth[peer][v] = true
          keeper.truth[n][v] = false
        }
        if !keeper.truth[n][v] { keeper.isReplaced[n][v] = true } else { keeper.isReplaced[peer][v] = true }
      }
    }
    if era >= .second, text.contains("are not related to those of") {
      for v in histories.indices where text.contains("r0/\(v)") { trustTheBetter(v) }
    }
    if text.contains("Split-Brain detected") {
      for v in histories.indices where isAbout(v, text) { keeper.splitVolumes.insert(v) }
    }
    if ["local write failed", ": size is ", "could not be read or written"].contains(where: { text.contains($0) }) {
      for v in histories.indices where isAbout(v, text) { keeper.resyncs[n][v]?.hasMore = true }
    }
    if text.contains("this disk has"), text.contains("of its own: they would be cut off"), era >= .second {
      census.add("state that needs a person: a disk with more data than its peer uses")
      keeper.mustMeet = (n, histories.indices.first { text.contains("r0/\($0)") } ?? 0)
    }
    if text.contains("times in the same way"), text.contains("the next attempt is made in") { keeper.mustTryAgain = n }
    if text.contains("`disk { size }`") {
      census.add("state that needs a person: `disk { size }` is too small")
      keeper.mustAdjust = true
    }
    if text.contains("this disk has"), text.contains("and the volume in use has"), era >= .second {
      census.add("state that needs a person: a disk with more data than the volume in use")
      // "this disk has N KiB of data"
      let kibibytes = text.split(separator: " ").compactMap { UInt64($0) }.first
      for v in histories.indices where text.contains("r0/\(v)") {
        keeper.mustGrow = kibibytes.map { (n, v, SectorCount($0 * 2)) }
      }
    }
    if text.contains("make the files of both nodes equal") {
      census.add("state that needs a person: a protocol that was announced to one node only")
      keeper.mustAdjust = true
    }
    if text.contains("I shall become SyncTarget, but I am primary!") {
      census.add("state that needs a person: a Primary would be the target")
      for v in histories.indices where isAbout(v, text) {
        // Its peer drew a generation and wrote nothing in it, or has gone on where the Primary could not.
        if keeper.truth[1 - n][v], !keeper.truth[n][v] {
          keeper.mustStepDown = n
        } else {
          keeper.isReplaced[1 - n][v] = true
        }
      }
    }
    // Of versions below 91 neither side says which packet of a resync was lost.
    let isOld = era >= .second && text.contains("both sides have to support at least protocol")
    guard text.contains("Unrelated data") || isOld else { return }
    census.add("state that needs a person: \(isOld ? "a lost packet below version 91" : "unrelated data")")
    if era >= .second { for v in histories.indices where isAbout(v, text) { trustTheBetter(v) } }
    for x in 0...1 {
      for v in histories.indices where !keeper.truth[x][v] && isAbout(v, text) {
        keeper.isReplaced[x][v] = true
      }
    }
  }

  /// `resize` on the peer of a node whose disk has more data than the volume in use.
  func growForPeer() {
    guard let (n, v, size) = keeper.mustGrow, nodes.allSatisfy({ $0.isRunning }), !commands.isBusy(1 - n) else {
      return
    }
    keeper.mustGrow = nil
    let number = nodes[n].settings.volumes[v].number
    guard nodes[n].view.volumes[v].disk == .diskless else { return }
    command(1 - n, .resize(number, limit: size, assumeClean: false, assumePeerHasSpace: true))
    keeper.mustAdjust = true
  }

  /// `adjust`, on both nodes: what a `resize --size` has said, or a peer has announced, does not count any more.
  func adjustBoth() {
    keeper.mustAdjust = false
    for n in 0...1 where nodes[n].isRunning { nodes[n].engine.adopt(nodes[n].settings) }
  }

  /// A person's answer to a new disk that the nodes do not accept: an empty one that is large enough.
  func repairReplaced(_ n: Int) -> Bool {
    if now - keeper.lookedAfterDisk < 5 * World.second { return false }
    // The log does not say of every refusal which volume is meant.
    let first = era >= .third ? Int(random.below(UInt64(histories.count))) : 0
    for v in histories.indices.map({ ($0 + first) % histories.count }) where keeper.isReplaced[n][v] {
      if keeper.truth[n][v] {
        keeper.isReplaced[n][v] = false
        continue
      }
      let view = nodes[n].view
      let peer = nodes[1 - n]
      let isRefused = view.connection == .standAlone || (peer.isRunning && peer.view.connection == .standAlone)
      // The good disk of the peer is refused for this one, which came first.
      let isInTheWay =
        era >= .second && peer.isRunning && keeper.truth[1 - n][v] && peer.view.volumes[v].disk == .diskless
      guard isRefused || isInTheWay || view.volumes[v].disk == .diskless else { continue }
      let number = view.volumes[v].number
      keeper.lookedAfterDisk = now
      keeper.procedure = [
        .command(n, .disconnect(force: true)), .command(n, .detach(number, force: true)), .replaceDisk(n, v, .larger),
        .command(n, .attach(number)), .command(n, .connect(discardMyData: false)),
      ]
      return true
    }
    return false
  }
}
