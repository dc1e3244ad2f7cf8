// The administrator or cluster manager. It has one sound rule, that of Pacemaker with fencing: only a node whose disk
// has everything is promoted, and only when its peer is dead or Secondary. Everything else it does at random moments.
import Base
import Engine

struct Resyncing {
  var total: UInt64
  var copied: UInt64
  /// Blocks were marked that its beginning did not know: the volume has grown, or the target failed to write something.
  var hasMore = false
}

/// One step of a longer procedure.
enum Step {
  case stopClient
  case waitUntilIdle
  case command(Int, Command)
  case startClient(Int)
  case replaceDisk(Int, Int, Replacement)
  /// After `down`: the process ends, and is started again later.
  case leave(Int)
}

struct Keeper {
  /// By node and volume: this disk may be trusted with everything that was answered.
  var truth: [[Bool]] = [[], []] {
    didSet { if truth != oldValue { trustChanged = true } }
  }
  var trustChanged = false
  /// This node lost its power while its disk was the one to trust.
  var lost = [false, false]
  var resyncs: [[Resyncing?]] = [[], []]
  /// By node and volume: the disk is not the one that was there, and has not been good since.
  var isReplaced: [[Bool]] = [[], []]
  var roles = [Role.secondary, .secondary]
  /// By volume: both nodes call each other UpToDate.
  var isWhole: [Bool] = []
  /// By volume: a verify has marked what differed then.
  var hasMarks: [Bool] = []
  /// Promotions that were asked of a Primary.
  var asWasPrimary: Set<UInt64> = []
  /// By node: it was out of the peer's reach when it became Primary.
  var promotedAlone = [false, false]
  /// This Primary has to give way to its peer, and cannot by itself.
  var mustStepDown: Int?
  /// The disk of this volume is larger than what its peer uses, and no node is Primary.
  var mustMeet: (node: Int, volume: Int)?
  /// A node that lets time pass before its next attempt, because the connection ended in the same way several times.
  var mustTryAgain: Int?
  /// The nodes refuse each other for an option: a person has to make the files count on both.
  var mustAdjust = false
  /// The disk of this node is refused: the volume in use is smaller.
  var mustGrow: (node: Int, volume: Int, to: SectorCount)?
  /// Number of the event after which a person replaces a disk.
  var replacementDue = Int.max
  /// When a person last looked after a disk that does not come back by itself.
  var lookedAfterDisk: UInt64 = 0
  /// Counts changes of state: a reason to look again.
  var changes = 0
  var procedure: [Step] = []
  /// The command that the procedure waits for.
  var awaited: ReplyTo?
  /// Lets the world come to rest: repairs, but breaks nothing.
  var isHealing = false
  /// Split brain is part of the scenario: nobody is promoted and nothing is repaired by the keeper.
  var isAbsent = false
  var nextAction: UInt64 = 0
  /// A Primary lost its disk since both nodes were last whole. Its peer draws a generation as soon as it hears of it; when
  /// the connection is lost in that moment, the Primary draws one, too, though no data differ.
  var excusesSplitBrain = false
  /// The engines have found one, and wait for the administrator.
  var hasSplitBrain = false
  /// In these volumes.
  var splitVolumes: Set<Int> = []
  /// The nodes are equal there by their generations, and blocks are marked: a person has to invalidate one side.
  var strayBits: Set<Int> = []

  mutating func prepare(_ volumes: Int) {
    truth = [Array(repeating: false, count: volumes), Array(repeating: false, count: volumes)]
    isReplaced = truth
    isWhole = Array(repeating: false, count: volumes)
    hasMarks = isWhole
    resyncs = [Array(repeating: nil, count: volumes), Array(repeating: nil, count: volumes)]
  }

  mutating func resyncArrived(_ n: Int, _ volume: VolumeNumber, _ sector: UInt64, _ bytes: UInt32) {
    let v = Int(volume.value)
    guard v < resyncs[n].count, resyncs[n][v] != nil else { return }
    let first = sector / 8
    let last = (sector + UInt64(bytes) / 512 + 7) / 8
    resyncs[n][v]!.copied += last - first
  }

  /// What the death of a node means for who may be trusted.
  mutating func nodeDies(_ n: Int, powerCut: Bool, _ world: World) {
    procedure.removeAll()
    awaited = nil
    // It may have drawn a generation, and written nothing in it that was answered.
    if world.era >= .second, world.nodes[n].view.isFrozen { excusesSplitBrain = true }
    for v in resyncs[n].indices { resyncs[n][v] = nil }
    let wasPrimary = world.nodes[n].isPrimary
    let other = 1 - n
    for v in truth[n].indices where truth[n][v] && powerCut {
      let otherHasIt = truth[other][v] && world.nodes[other].isRunning
      // What its disk says of an earlier life counts, too: for equal generations the crashed Primary is the source.
      let wins = wasPrimary || world.era >= .second && world.nodes[n].disks[v].isOfCrashedPrimary
      if otherHasIt && !wins { truth[n][v] = false } else { lost[n] = true }
    }
    // No copy may be trusted alone at this moment: what was not flushed may have been in this machine's cache only.
    if powerCut, world.era >= .second {
      for v in truth[n].indices where !truth[n][v] && !truth[other][v] {
        world.histories[v].loseUnflushed(applicationGoesOnWith: nil)
      }
    }
    // Its disk had failed, and the peer has no generation that says so: the two equal, the crashed Primary's disk wins. So does the one
    // that a node had let go as Primary, and that says so still.
    if powerCut, world.era >= .second {
      for v in truth[n].indices
      where !truth[n][v] && truth[other][v] && (wasPrimary || world.nodes[n].disks[v].isOfCrashedPrimary) {
        let current = (0...1).map { x in
          world.nodes[x].disks[v].generations(
            world.circumstances.volumes[v].disk(of: x).location, 1 - x, durable: true
          )?.current
        }
        guard let own = current[n], let peer = current[other], own | 1 == peer | 1 else { continue }
        world.histories[v].loseUnflushed(applicationGoesOnWith: nil)
      }
    }
    // Protocols A and B: what was answered need not have reached the peer.
    if wasPrimary && world.circumstances.wireProtocol != .c {
      for history in world.histories { history.loseUnflushed(applicationGoesOnWith: nil) }
    }
  }
}

extension World {
  /// Gives a command to a node; the reply comes later.
  @discardableResult
  func command(_ n: Int, _ command: Command) -> ReplyTo {
    say(n, "repladm \(Trace.command(command))")
    let reply = commands.add(n, command, at: now)
    if era >= .second, case .primary = command, nodes[n].isPrimary { keeper.asWasPrimary.insert(reply.raw) }
    // What waits for the fencing fails, and may be on this disk only: a history of its own.
    if era >= .second, case .secondary = command, nodes[n].view.isFrozen { keeper.excusesSplitBrain = true }
    feed(n, .command(command, reply))
    return reply
  }

  func commandReplied(_ n: Int, _ reply: ReplyTo, _ outcome: Outcome) {
    guard let command = commands.take(n, reply, outcome) else {
      return breakLaw("\(name(n)) replies to a command that does not wait for a reply")
    }
    keeper.changes += 1
    note(reply.raw)
    if case .primary(let force) = command, outcome == .done {
      let wasPrimary = keeper.asWasPrimary.remove(reply.raw) != nil
      // Another command may have promoted it while this one waited.
      if !wasPrimary, era == .first || keeper.promotedAlone[n] || force { promotionDone(n, force: force) }
      keeper.lost[n] = false
      // The other one's cache no longer matters: it will be a target.
      if !nodes[1 - n].isRunning { keeper.lost[1 - n] = false }
    }
  }

  /// `repladm up`: the daemon starts, attaches, connects.
  func boot(_ n: Int) {
    let node = nodes[n]
    if node.isRunning { return }
    let cameBack = !node.hasPower
    if cameBack {
      node.hasPower = true
      machineIsBack(n)
    }
    if keeper.lost[n] {
      keeper.lost[n] = false
      let lives = client.node == 1 - n && nodes[1 - n].isPrimary
      for v in histories.indices where keeper.truth[n][v] {
        // A Primary that has just ended its resync has it all, although the other has not heard of it yet.
        let goesOnHere = lives && nodes[1 - n].view.volumes[v].disk != .upToDate
        histories[v].loseUnflushed(applicationGoesOnWith: goesOnHere ? node.disks[v] : nil)
      }
    }
    if cameBack { thirdNodeComesBy(n) }
    remembersWord(n)
    say(n, "repladm up")
    node.start(SeededGenerator(seed: random.next()), at: Instant(nanoseconds: now))
    for volume in node.settings.volumes { command(n, .attach(volume.number)) }
    if node.isRunning { command(n, .connect(discardMyData: false)) }
  }

  // MARK: the keeper looks at the world

  func operatorWakes() {
    let pace: UInt64 = keeper.isHealing ? 20_000_000 : 5_000_000
    schedule.add(.operate, at: now + pace + random.below(pace * 8))
    if nodes.contains(where: { $0.stalledUntil > now }) { return }
    if era >= .second { endSuspensions() }
    for pending in commands.pending where now - pending.since > 180_000_000_000 {
      // A demotion waits for requests that an operator holds back.
      if era >= .second, nodes[pending.node].view.isSuspended || nodes[pending.node].view.isFrozen { continue }
      return breakLaw("\(name(pending.node)) has not replied to \(Trace.command(pending.command)) for 180 s")
    }
    if !keeper.isAbsent, !keeper.isHealing, actions.contains(.anything), random.oneIn(12) { commandOfAnyKind() }
    if keeper.isAbsent || runProcedure() { return }
    repair()
    if !keeper.procedure.isEmpty { return }
    if let primary = (0...1).first(where: { nodes[$0].isPrimary }) {
      if client.node != primary, client.isIdle, !keeper.isHealing {
        if servesTheNewest(primary) { openClient(on: primary) }
      } else if client.node == primary, client.isStopping, !keeper.isHealing {
        openClient(on: primary)
      }
      if !keeper.isHealing, replaceWhenDue(primary) { return }
      if now >= keeper.nextAction, !keeper.isHealing {
        keeper.nextAction = now + circumstances.actionEvery / 2 + random.below(circumstances.actionEvery)
        actAtRandom(primary)
      }
      if keeper.procedure.isEmpty, !keeper.isHealing { _ = contestPrimary(primary) }
    } else {
      promoteSomebody()
    }
  }

  /// Without its peer, a Primary that was cut off in its resync has old blocks beside new ones: no application is sent to it.
  private func servesTheNewest(_ n: Int) -> Bool {
    if era < .third || nodes[n].view.connection >= .connected { return true }
    return nodes[n].view.volumes.indices.allSatisfy {
      keeper.truth[n][$0] || nodes[n].view.volumes[$0].disk >= .consistent
    }
  }

  /// What an administrator puts right: connections given up, disks detached, resyncs paused.
  private func repair() {
    if keeper.hasSplitBrain, !commands.isBusy(0), !commands.isBusy(1) { return resolveSplitBrain() }
    for n in 0...1 where nodes[n].isPrimary && nodes[n].view.connection < .connected && random.oneIn(20) {
      // It can only answer with errors, and perhaps take back no disk: it has shown data that nobody has.
      let hasNothing = nodes[n].view.volumes.contains {
        $0.disk == .diskless || ($0.disk < .consistent && nodes[1 - n].isPrimary)
      }
      if hasNothing, !commands.isBusy(n) {
        keeper.procedure = [.stopClient, .waitUntilIdle, .command(n, .secondary)]
        return
      }
    }
    if era >= .second, demoteTheBlind() || stepDownForPeer() || clearStrayBits() || tryAgainAtOnce() || attachAlone() {
      return
    }
    if era >= .second, keeper.isHealing || random.oneIn(8) {
      for n in 0...1 where nodes[n].isRunning && !commands.isBusy(n) && repairReplaced(n) { return }
    }
    if keeper.mustAdjust, keeper.isHealing || random.oneIn(8) { adjustBoth() }
    if keeper.mustGrow != nil, keeper.isHealing || random.oneIn(8) { growForPeer() }
    for n in 0...1 where nodes[n].isRunning && !commands.isBusy(n) {
      let view = nodes[n].view
      let eager = keeper.isHealing || random.oneIn(8)
      if view.isSuspended, !view.isFrozen, eager { command(n, .resumeIO) }
      guard nodes[n].isRunning, !commands.isBusy(n) else { continue }
      if view.connection == .standAlone, eager { command(n, .connect(discardMyData: false)) }
      for v in view.volumes.indices where nodes[n].isRunning && !commands.isBusy(n) {
        let volume = nodes[n].view.volumes[v]
        if volume.disk == .diskless, eager, !nodes[n].disks[v].broken { command(n, .attach(volume.number)) }
        if volume.userPaused, eager { command(n, .resumeSync(volume.number)) }
        if era >= .second, eager, nodes[n].isRunning, needsAttachAgain(n, v) { return attachAgain(n, v) }
      }
    }
  }

  /// The node that does not have everything gives way; a Primary has it, or has promised too much.
  private func resolveSplitBrain() {
    guard nodes.allSatisfy({ $0.isRunning }) else { return }
    let winner: Int
    if era >= .second, (0...1).allSatisfy({ n in keeper.truth[n].contains(false) }) { return resolveByVolume() }
    if let primary = (0...1).first(where: { nodes[$0].isPrimary }) {
      winner = primary
      guard nodes[primary].view.volumes.allSatisfy({ $0.disk == .upToDate }) else { return }
      checkImage(primary, "before the other's changes are discarded")
      for v in histories.indices { keeper.truth[primary][v] = true }
    } else if let trusted = (0...1).first(where: { keeper.truth[$0].allSatisfy { $0 } }) {
      winner = trusted
    } else {
      return
    }
    let loser = 1 - winner
    for v in histories.indices { keeper.truth[loser][v] = false }
    keeper.hasSplitBrain = false
    keeper.procedure = [.command(loser, .disconnect(force: true)), .command(loser, .connect(discardMyData: true))]
  }

  private func promoteSomebody() {
    let n = Int(random.below(2))
    let other = 1 - n
    if promoteByChance(n) { return }
    guard nodes[n].isRunning, !commands.isBusy(n), mayBePromoted(n) else { return }
    if commands.pending.contains(where: { $0.node == other && $0.command == .primary(force: false) }) { return }
    // A dead Primary is replaced when the actions say so; else its return is waited for.
    if !nodes[other].isRunning, !actions.contains(.failOver), !random.oneIn(30) { return }
    keeper.procedure = [.stopClient, .waitUntilIdle, .command(n, .primary(force: false))]
  }

  /// It has everything, and the other is no Primary.
  func mayBePromoted(_ n: Int) -> Bool {
    let view = nodes[n].view
    let asks = fences && view.connection < .connected
    return keeper.truth[n].allSatisfy { $0 } && !nodes[1 - n].isPrimary
      && view.volumes.allSatisfy { $0.disk == .upToDate || (asks && $0.disk == .consistent) }
  }
}
