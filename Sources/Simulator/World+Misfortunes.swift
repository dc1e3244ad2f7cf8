// What goes wrong since the second era: one fault after so many events, until a round has met as many as it wants. A
// fault that would destroy the only good copy is left out, and does not count.
import Base
import Engine

/// Operations of one kind that are going to fail.
struct Trouble {
  enum What: CaseIterable { case read, write, flush, metaRead, metaWrite }
  var what: What
  /// So many of them.
  var left: Int
}

/// What `.mend` mends, beyond the disk of a volume.
enum Mend {
  static let slowness = UInt64.max
  static let slowLink = UInt64.max - 1
}

extension World {
  /// After how many events the next fault comes: some come on the heels of another.
  func planMisfortune() {
    if faults.isEmpty {
      nextFault = .max
      return
    }
    let far = random.oneIn(4) ? 40 : circumstances.isDeadly ? 600 : 1_500
    nextFault = events + 1 + Int(random.below(UInt64(far)))
  }

  func misfortune() {
    var possible = Faults.each.filter { faults.contains($0.fault) }
    if circumstances.isDeadly {
      // A death that waits for its moment comes before the next one, or never.
      let waits = !random.oneIn(3) && nodes.contains { $0.strike != nil && $0.isRunning }
      if waits || random.oneIn(2) { possible.removeAll { ($0.fault == .kill || $0.fault == .powerCut) == waits } }
    }
    if !possible.isEmpty {
      let one = possible[Int(random.below(UInt64(possible.count)))]
      if strike(one.fault, Int(random.below(2))) {
        census.add("fault: \(one.name)")
        faultsMet += 1
      }
    }
    planMisfortune()
  }

  /// False: not now.
  private func strike(_ fault: Faults, _ n: Int) -> Bool {
    switch fault {
    case .kill:
      dieSometime(n, powerCut: false)
      if random.oneIn(8) { crash(1 - n, powerCut: random.oneIn(2)) }
    case .powerCut: dieSometime(n, powerCut: true)
    case .linkCut:
      guard cableIsWhole else { return false }
      cutForAWhile()
    case .oneWayCut:
      guard cableIsWhole, !isMuted[n] else { return false }
      say(n, "nothing that is sent arrives")
      isMuted[n] = true
      healLater()
    case .reset:
      guard !openConnections.isEmpty else { return false }
      resetOneConnection()
    case .packetLoss: return losePackets(n)
    case .slowLink:
      say("the link is slow")
      linkSlowness = 1 << (1 + random.below(7))
      schedule.add(.mend, at: now + random.below(3_000 * World.millisecond), Mend.slowLink)
    case .slowDisk: slowDisks(n)
    case .stuckDisk:
      say(n, "the disks are stuck")
      nodes[n].disksStuckUntil = now + World.millisecond * (100 + random.below(random.oneIn(3) ? 30_000 : 4_000))
    case .stall:
      guard nodes[n].isRunning else { return false }
      say(n, "the process gets no time")
      nodes[n].stalledUntil = max(
        nodes[n].stalledUntil, now + World.millisecond * (10 + random.below(random.oneIn(3) ? 20_000 : 2_000)))
    case .singleErrors: return beginTrouble(n)
    case .damagedPayload: return damageNextPayload(n)
    default:
      let v = Int(random.below(UInt64(histories.count)))
      guard otherIsGood(n, v) else { return false }
      failDisk(n, v)
    }
    return true
  }

  /// Nobody survives the loss of the only copy.
  private func otherIsGood(_ n: Int, _ v: Int) -> Bool {
    let other = nodes[1 - n]
    return other.isRunning && keeper.truth[1 - n][v] && other.disk(v) == .upToDate && !other.disks[v].broken
      && other.troubles[v] == nil && !isGivingUpDisk(1 - n)
  }

  private func isGivingUpDisk(_ n: Int) -> Bool {
    commands.pending.contains {
      if case .detach = $0.command { return $0.node == n }
      return false
    }
  }

  private func losePackets(_ n: Int) -> Bool {
    guard !openConnections.isEmpty else { return false }
    let c = openConnections[Int(random.below(UInt64(openConnections.count)))]
    let delay = World.millisecond * (1 + random.below(random.oneIn(4) ? 3_000 : 300))
    say(n, "packets of a connection are lost, and sent again")
    connections[c]!.withLane(n) { $0.clock = max($0.clock, now) + delay }
    return true
  }

  // MARK: single errors

  private func beginTrouble(_ n: Int) -> Bool {
    let v = Int(random.below(UInt64(histories.count)))
    guard otherIsGood(n, v) else { return false }
    let what = Trouble.What.allCases[Int(random.below(UInt64(Trouble.What.allCases.count)))]
    nodes[n].troubles[v] = Trouble(what: what, left: random.oneIn(3) ? 1 + Int(random.below(30)) : 1)
    return true
  }

  /// Whether this operation fails by itself.
  func isInTrouble(_ n: Int, _ work: DiskWork) -> Bool {
    guard let trouble = nodes[n].troubles[work.disk] else { return false }
    let what: Trouble.What
    switch work.what {
    case .data(.read), .examine: what = .read
    case .data(.write), .data(.discard), .data(.zero): what = .write
    case .data(.flush): what = .flush
    case .metaRead: what = .metaRead
    case .metaWrite: what = .metaWrite
    }
    guard what == trouble.what else { return false }
    guard otherIsGood(n, work.disk) else {
      nodes[n].troubles[work.disk] = nil
      return false
    }
    nodes[n].troubles[work.disk]!.left -= 1
    if nodes[n].troubles[work.disk]!.left <= 0 { nodes[n].troubles[work.disk] = nil }
    census.add("fault: \(what) error")
    say(n, "this \(what) of volume \(work.disk) fails")
    // What the application writes into a running resync, and the target cannot write, is one block more.
    keeper.resyncs[n][work.disk]?.hasMore = true
    return true
  }

  // MARK: repairs

  func mend(_ n: Int, _ what: UInt64) {
    switch what {
    case Mend.slowLink: linkSlowness = 1
    default: mendDisk(n, Int(truncatingIfNeeded: what))
    }
  }

  /// What is stuck is slow no more, what is broken works. A stalled process has its time yet: what waits for it is in
  /// the schedule.
  func mendEverything() {
    nextFault = .max
    linkSlowness = 1
    for n in 0...1 {
      for v in nodes[n].disks.indices { mendDisk(n, v) }
      nodes[n].diskSlowness = 1
      nodes[n].disksStuckUntil = 0
      nodes[n].troubles = nodes[n].troubles.map { _ in nil }
    }
  }
}
