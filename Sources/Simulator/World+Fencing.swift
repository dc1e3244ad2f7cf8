// The cluster's word about a lost peer: what the fence-peer handler answers, and what it does first so that the answer is
// true. A peer called Outdated has recorded it or may not be promoted, one that was shot is down, one called unreachable
// is dead. Law: with resource-and-stonith a Primary without its peer acknowledges no write before it has such a word.
import Base
import Engine

/// A fence-peer handler that runs.
private struct FenceCall {
  var id: WorkID
  /// The peer was told to outdate itself.
  var outdates = false
  /// The connection has stood since: the answer will be ignored.
  var isLate = false
}

struct Cluster {
  /// A stream of its own, so that lives without fencing stay what they are.
  fileprivate var random: SeededGenerator
  fileprivate var calls: [FenceCall?] = [nil, nil]
  /// By node: it was told, since it last saw its peer, that it may go on alone.
  fileprivate var hasWord = [false, false]
  /// By node: word that the cluster stands to until the peer is good again, whatever the peer's metadata say.
  fileprivate var standingWord = [false, false]

  /// By node and volume: the peer had no disk when it was last connected.
  fileprivate var peerHadNoDisk: [[Bool]] = [[], []]
  /// By node: it had a power cut since it was last connected.
  fileprivate(set) var lostPower = [false, false]

  init(seed: UInt64) { random = SeededGenerator(seed: seed) }

  mutating func nodeDies(_ n: Int, powerCut: Bool) {
    calls[n] = nil
    if powerCut { lostPower[n] = true }
  }
}

extension World {
  var fences: Bool { circumstances.net.fencing != .dontCare }
  private var freezes: Bool { circumstances.net.fencing == .resourceAndStonith }

  // MARK: the handler

  func fencePeerCalled(_ n: Int, _ id: WorkID) {
    cluster.calls[n] = FenceCall(id: id)
    planAnswer(n, id)
  }

  private func planAnswer(_ n: Int, _ id: WorkID) {
    let millisecond: UInt64 = 1_000_000
    let longest = cluster.random.oneIn(4) ? 6_000 * millisecond : 40 * millisecond
    plan(.handlerDone, at: now + millisecond + cluster.random.below(longest), on: n, id)
  }

  /// How a handler ends; nil: not yet.
  func handlerExit(_ n: Int, _ id: WorkID) -> Int32? {
    guard let call = cluster.calls[n], call.id == id else { return 0 }
    guard let exit = fence(n, call) else { return nil }
    cluster.calls[n] = nil
    say(n, "fence-peer: \(exit)")
    let isGood = nodes[n].view.volumes.contains { $0.disk == .upToDate }
    if !call.isLate, [3, 4, 7].contains(exit) || (exit == 5 && isGood) {
      cluster.hasWord[n] = true
      cluster.standingWord[n] = exit != 3 || nodes[1 - n].view.volumes.allSatisfy { $0.disk == .inconsistent }
      // From here on the peer is not the one to go on, whatever becomes of this node.
      for v in histories.indices { keeper.truth[1 - n][v] = false }
    }
    return exit
  }

  private func fence(_ n: Int, _ call: FenceCall) -> Int32? {
    let peer = nodes[1 - n]
    let dice = cluster.random.below(100)
    if call.outdates { return wordOfOutdating(peer) }
    if dice < 12 { return dice < 6 ? 1 : 127 }
    if !mayGoOn(n) {
      // The cluster remembers who has the data.
      if peer.isPrimary, dice < 60 { return 6 }
      return nodes[n].view.volumes.contains { $0.disk == .upToDate } ? 1 : 5
    }
    if !peer.isRunning { return dice < 45 ? 7 : dice < 70 ? 5 : 4 }
    if peer.isPrimary, dice < 40 { return 6 }
    if peer.isPrimary || dice < 40 {
      shoot(1 - n)
      return 7
    }
    // A constraint keeps the peer from being promoted.
    if dice < 60 { return 4 }
    cluster.calls[n]!.outdates = true
    for volume in peer.settings.volumes where nodes[1 - n].isRunning { command(1 - n, .outdate(volume.number)) }
    planAnswer(n, call.id)
    return nil
  }

  private func wordOfOutdating(_ peer: Node) -> Int32 {
    if !peer.isRunning { return 7 }
    if peer.isPrimary || peer.view.volumes.contains(where: { $0.disk > .outdated }) { return 1 }
    return peer.view.volumes.allSatisfy { $0.disk <= .inconsistent } ? 3 : 4
  }

  /// Everything that was acknowledged is on this node.
  private func mayGoOn(_ n: Int) -> Bool { keeper.truth[n].allSatisfy { $0 } }

  private func shoot(_ n: Int) {
    say(n, "is shot")
    // It may have drawn a generation, and written nothing in it.
    if era >= .second { keeper.excusesSplitBrain = true }
    crash(n, powerCut: cluster.random.oneIn(2), backAfter: 50_000_000 + cluster.random.below(3_000_000_000))
  }

  // MARK: the keeper

  /// A node that lost sight of the Primary is promoted: a good one may shoot a Primary that is frozen or has not noticed
  /// the loss, the other has to be refused. Or an administrator fences by hand.
  func contestPrimary(_ p: Int) -> Bool {
    let q = 1 - p
    guard fences, nodes[q].isRunning, !commands.isBusy(p), !commands.isBusy(q) else { return false }
    if nodes[p].view.isFrozen, cluster.calls[p] == nil, cluster.random.oneIn(60), mayGoOn(p) {
      shoot(q)
      cluster.hasWord[p] = true
      keeper.procedure = [.command(p, .resumeIO)]
      return true
    }
    guard nodes[q].view.connection < .connected, !nodes[q].isPrimary, cluster.random.oneIn(30) else { return false }
    keeper.procedure = [.command(q, .primary(force: false))]
    return true
  }

  /// A promotion by chance, of a node that need not have the data.
  func promoteByChance(_ n: Int) -> Bool {
    guard fences, nodes[n].isRunning, !commands.isBusy(n), nodes[n].view.connection < .connected,
      cluster.random.oneIn(40)
    else { return false }
    keeper.procedure = [.stopClient, .waitUntilIdle, .command(n, .primary(force: false))]
    return true
  }

  // MARK: laws

  /// It had word, met its peer, and died before it could record that the peer is Consistent: the word stands.
  func remembersWord(_ n: Int) {
    guard era >= .second, cluster.standingWord[n] else { return }
    let isRecorded = nodes[n].disks.indices.allSatisfy {
      nodes[n].disks[$0].recordsOutdatedPeer(circumstances.volumes[$0].disk(of: n).location, 1 - n)
    }
    if isRecorded { cluster.hasWord[n] = true }
  }

  func fencingStateChanged(_ n: Int, _ view: ResourceSnapshot) {
    if view.connection >= .connected {
      // Without a disk it cannot compare, and still knows what it was told; so it does before the peer has said the state of every
      // volume.
      let hasCompared = view.volumes.allSatisfy {
        $0.disk > .negotiating && $0.peerDisk > .negotiating && $0.replication >= .connected
      }
      if era == .first || hasCompared { cluster.hasWord[n] = false }
      if view.volumes.contains(where: { $0.peerDisk == .upToDate }) { cluster.standingWord[n] = false }
      cluster.lostPower[n] = false
      cluster.peerHadNoDisk[n] = view.volumes.map { $0.peerDisk <= .failed }
      cluster.calls[n]?.isLate = true
    }
    if fences, nodes[0].isPrimary, nodes[1].isPrimary {
      for v in view.volumes.indices where (0...1).allSatisfy({ nodes[$0].view.volumes[v].disk >= .consistent }) {
        breakLaw("both nodes are Primary, with data of volume \(v)")
      }
    }
    for p in 0...1 { checkBelief(p) }
  }

  /// A Primary alone that never asked goes on because it knows its peer's data to be old: it has to be right.
  private func checkBelief(_ p: Int) {
    guard freezes, nodes[p].isPrimary, nodes[1 - p].isRunning, !cluster.hasWord[p], !endsPolitely else { return }
    let (own, peer) = (nodes[p].view, nodes[1 - p].view)
    guard own.connection < .connected, peer.connection < .connected, !own.isFrozen else { return }
    for v in own.volumes.indices where own.volumes[v].disk >= .consistent && own.volumes[v].peerDisk <= .outdated {
      guard peer.volumes[v].disk >= .consistent, !keeper.isReplaced[1 - p][v] else { continue }
      // It agreed to be Outdated, and had no disk to record that on: "Inconsistent or worse", as long as this Primary lives.
      if own.volumes[v].peerDisk == .inconsistent, cluster.peerHadNoDisk[p][v] { continue }
      breakLaw(
        "\(name(p)) goes on alone, and its peer is \(peer.volumes[v].disk.name), not \(own.volumes[v].peerDisk.name)")
    }
  }

  /// Two nodes are about to leave each other in good order.
  private var endsPolitely: Bool {
    commands.pending.contains { $0.command == .disconnect(force: false) || $0.command == .down }
  }

  /// A node that is promoted alone has everything: the handler would have said no. By force it goes on all the same.
  func promotionDone(_ n: Int, force: Bool) {
    guard fences, nodes[n].view.connection < .connected else { return }
    if force {
      cluster.hasWord[n] = true
    } else if mayGoOn(n) {
      checkImage(n, "after its promotion")
    } else if era >= .second, histories.indices.allSatisfy({ holdsAll(n, $0) }) {
      // Its disk was gone for a while, and nothing was answered without it.
    } else if era == .first || !nodes[n].view.volumes.contains(where: { $0.disk <= .failed }) {
      // A disk that fails before the promotion is answered does not make the data of this node old.
      breakLaw("\(name(n)) was promoted alone, and its data are old")
    }
  }

  func checkFrozen(_ request: Request) {
    guard freezes, !cluster.hasWord[request.node], !endsPolitely else { return }
    let view = nodes[request.node].engine.snapshot()
    let volume = view.volumes[request.volume]
    guard view.connection < .connected, volume.disk >= .consistent else { return }
    // It knows that the peer's data are old.
    if volume.peerDisk <= .outdated, !view.isFrozen { return }
    // The peer may have acknowledged it before it was lost, on the disk that it had then.
    if keeper.isReplaced[1 - request.node][request.volume] { return }
    let disk = nodes[1 - request.node].disks[request.volume]
    let history = histories[request.volume]
    if circumstances.wireProtocol != .c || cluster.lostPower[1 - request.node] { return }
    if (request.start..<request.start + request.count).allSatisfy({ history.allows(disk.cache[$0], at: $0) }) { return }
    breakLaw("\(name(request.node)) acknowledged write #\(request.number), and its peer is lost and not fenced")
  }
}
