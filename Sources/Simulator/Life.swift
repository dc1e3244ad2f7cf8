// A whole life of a seed: two new disks, the first promotion, then rounds of application, faults and commands, each
// followed by a time of healing after which everything must be as an administrator expects: connected, up to date, equal.
import Base
import Engine

extension World {
  static let second: UInt64 = 1_000_000_000

  /// Lives through `steps` engine events with faults, in rounds, and checks the world after each.
  public func live(steps: Int = 60_000, rounds: Int = 3) throws(BrokenLaw) {
    if circumstances.rude != nil { return try liveRudely(steps: steps / 3) }
    try begin()
    isOver = events >= mostEvents
    for round in 1...rounds {
      say("round \(round)")
      faults = circumstances.faults
      actions = circumstances.actions
      keeper.isHealing = false
      faultsMet = 0
      if !faults.isEmpty { scheduleFault() }
      keeper.nextAction = now + random.below(circumstances.actionEvery)
      planReplacement()
      let target = events + steps / rounds
      let end = now + 300 * World.second
      let wanted = circumstances.faultsWanted
      try run(until: { self.events >= target || self.now > end || wanted > 0 && self.faultsMet >= wanted })
      try heal()
      if isOver { return }
    }
  }

  /// Runs until the condition holds; it is looked at after everything that happens.
  public func run(until condition: () -> Bool) throws(BrokenLaw) {
    while broken == nil {
      if isOver || condition() { return }
      if !step() { break }
      if events >= mostEvents, keeper.isAbsent == false { isOver = true }
    }
    if let broken { throw broken }
    if !condition() {
      breakLaw("nothing will ever happen again")
      throw broken!
    }
  }

  /// Runs for this long.
  public func run(for nanoseconds: UInt64) throws(BrokenLaw) {
    let end = now + nanoseconds
    while broken == nil, min(schedule.next, nodes[0].deadline ?? .max, nodes[1].deadline ?? .max) <= end {
      _ = step()
    }
    now = max(now, end)
    if let broken { throw broken }
  }

  /// Runs until the condition holds, which has to be soon.
  public func run(within seconds: UInt64, until what: String, _ condition: () -> Bool) throws(BrokenLaw) {
    let end = now + seconds * World.second
    var seen = -1
    try run(until: {
      if self.now > end {
        self.breakLaw("not \(what) after \(seconds) s: \(self.summary)")
        return true
      }
      if seen == self.keeper.changes, self.events % 64 != 0 { return false }
      seen = self.keeper.changes
      return condition()
    })
    if let broken { throw broken }
  }

  // MARK: the beginning

  /// Both nodes come up with new metadata; one becomes Primary.
  public func begin() throws(BrokenLaw) {
    keeper.prepare(histories.count)
    keeper.isHealing = true
    keeper.isAbsent = true
    schedule.add(.operate, at: now + 1_000_000)
    boot(0)
    // Alone, the first node takes the whole of its disk.
    let fits = histories.indices.allSatisfy { nodes[0].disks[$0].dataSectors <= nodes[1].disks[$0].dataSectors }
    if circumstances.startsWithFullSync && random.oneIn(2) && fits {
      // Forced before the peer has ever been seen.
      try run(within: 30, until: "attached") { self.view(0).volumes.allSatisfy { $0.disk == .inconsistent } }
      try demand(0, .primary(force: true))
      boot(1)
    } else {
      boot(1)
      try run(within: 60, until: "connected") { self.isConnected }
      try run(within: 60, until: "attached") {
        self.nodes.allSatisfy { $0.view.volumes.allSatisfy { $0.disk == .inconsistent } }
      }
      // A P_STATE that is still under way would undo what comes next, as between kernels.
      try run(for: World.second / 2)
      if circumstances.startsWithFullSync {
        try demand(0, .primary(force: true))
      } else {
        for volume in nodes[0].settings.volumes { try demand(0, .newCurrentUUID(volume.number, clearBitmap: true)) }
        try run(within: 30, until: "UpToDate without a resync") { self.isHealthy }
        try demand(0, .primary(force: false))
      }
    }
    keeper.truth[0] = keeper.truth[0].map { _ in true }
    keeper.isAbsent = false
    keeper.isHealing = false
  }

  /// Gives a command that has to succeed.
  public func demand(_ n: Int, _ command: Command) throws(BrokenLaw) {
    let outcome = try order(n, command)
    if case .refused(let refusal) = outcome {
      breakLaw("\(name(n)) refused \(Trace.command(command)): \(refusal.what) (\(refusal.why))")
      throw broken!
    }
  }

  /// Gives a command and waits for its outcome.
  public func order(_ n: Int, _ command: Command) throws(BrokenLaw) -> Outcome {
    let reply = self.command(n, command)
    try run(within: 180, until: "done with \(Trace.command(command))") { !self.commands.isPending(reply) }
    return commands.outcome(of: reply)!
  }

  // MARK: the end

  /// Nothing goes wrong any more and what is broken is repaired; then the world has to become whole.
  public func heal() throws(BrokenLaw) {
    say("healing")
    faults = []
    actions = [.failOver]
    keeper.isHealing = true
    mendCable()
    mendEverything()
    if random.oneIn(2) { stopClient() }
    try settle()
    actions = []
    // A switch-over under way may still open the application on the other node: it is stopped again. With protocols A
    // and B what was answered last is still on its way.
    var answered: Int
    repeat {
      stopClient()
      try settle()
      answered = client.answered
      try run(for: 3 * World.second)
    } while !isOver && (client.answered != answered || !client.isIdle)
    try settle()
    if isOver { return }
    checkRest()
    keeper.excusesSplitBrain = false
    if let broken { throw broken }
    if era >= .second, circumstances.faultsWanted > 0, random.oneIn(3) {
      try proveByVerify()
      try settle()
      // Cut short in the middle of the proof: what was planted is there still.
      if isOver { return }
      checkRest()
      if let broken { throw broken }
    }
  }

  /// No disk is at work, but for the bitmap: that is written in time.
  private var isAtRest: Bool {
    nodes.allSatisfy { node in
      node.worksUnderWay == 0 || node.works.allSatisfy { !$0.isActive || $0.id.kind == .bitmapPage }
    } && (circumstances.wireProtocol == .c || era == .first || isWireEmpty)
  }

  /// With protocols A and B writes that are answered may be on their way.
  private var isWireEmpty: Bool {
    connections.allSatisfy { one in
      guard let one else { return true }
      return (0...1).allSatisfy { from in one.withLane(from) { $0.waiting.isEmpty && $0.moving.isEmpty } }
    }
  }

  /// Waits until both nodes are connected and UpToDate, as long as there is progress.
  private func settle() throws(BrokenLaw) {
    var last = UInt64.max
    var patience = now + 120 * World.second
    let limit = now + longestHealing
    var looked = now
    try run(until: {
      let goesOn = self.client.node != nil && !self.client.isStopping
      if self.isHealthy && (goesOn || self.client.isIdle && self.isAtRest) { return true }
      if self.now - looked < World.second / 10 { return false }
      looked = self.now
      var left: UInt64 = 0
      for n in 0...1 where self.nodes[n].isRunning {
        for volume in self.nodes[n].engine.snapshot().volumes {
          // A verify marks at most what it has compared.
          left += volume.outOfSync.value + 2 * (volume.verify?.left ?? 0)
        }
      }
      if left < last { patience = self.now + 120 * World.second }
      last = left
      if self.now > patience || self.now > limit {
        self.breakLaw("no way back to two connected and UpToDate nodes: \(self.summary)")
        return true
      }
      return false
    })
    if let broken { throw broken }
  }

  /// Ten minutes of timeouts and repairs, and a full resync of everything, twice: a slow one copies ten blocks a second, one after the
  /// other, and each waits for the disks.
  private var longestHealing: UInt64 {
    var blocks: UInt64 = 0
    var slowness: UInt64 = 1
    for (v, volume) in circumstances.volumes.enumerated() {
      blocks += (volume.deviceBytes.max()! + volume.room) / 4096
      for n in 0...1 { slowness = max(slowness, circumstances.volumes[v].disk(of: n).slowness) }
    }
    let block = 100 * World.millisecond + 4 * circumstances.diskLatency * slowness
    return 600 * World.second + 2 * blocks * block
  }

  /// Idle, connected, up to date: nothing may be left over.
  func checkRest() {
    checkEqual("idle and UpToDate")
    checkGrown("idle and UpToDate")
    checkThirdNode("idle and UpToDate")
    let trusted = (0...1).first { keeper.truth[$0].allSatisfy { $0 } }
    if let trusted { checkImage(trusted, "idle and UpToDate") } else { breakLaw("nobody has the data: \(summary)") }
    // Whatever a command waits for has happened, or never will.
    // A handler that runs, as fence-peer may for a promotion, is a reason to wait, and so is a disk that is slow.
    for pending in commands.pending
    where now - max(pending.since, nodes[pending.node].handlerEnded) > World.second
      && nodes[pending.node].handlersUnderWay == 0 && !nodes[pending.node].works.contains(where: \.isActive)
    {
      breakLaw("\(name(pending.node)) is idle and has not answered \(Trace.command(pending.command))")
    }
    for n in 0...1 {
      let held = pool.count(of: .engine(n))
      if held > 0 { breakLaw("\(name(n)) is idle and holds \(held) payloads") }
      for work in nodes[n].works where work.isActive && work.id.kind != .bitmapPage {
        breakLaw("\(name(n)) is idle with \(work.id.kind) under way")
      }
      for (v, volume) in nodes[n].engine.snapshot().volumes.enumerated() where volume.outOfSync.value > 0 {
        // One disk discards, the other is written with zeroes: a verify marks what is no loss.
        if era >= .second, keeper.hasMarks[v] { continue }
        breakLaw("\(name(n)) is idle and UpToDate with \(volume.outOfSync.value) sectors out of sync")
      }
    }
  }

  // MARK: looking

  public func view(_ n: Int) -> ResourceSnapshot { nodes[n].engine.snapshot() }
  public func isRunning(_ n: Int) -> Bool { nodes[n].isRunning }

  public var isConnected: Bool {
    nodes.allSatisfy { node in
      node.isRunning && node.view.volumes.allSatisfy { $0.replication >= .connected }
    }
  }

  /// Connected, nothing being copied, all disks UpToDate, as both nodes see it.
  public var isHealthy: Bool {
    nodes.allSatisfy { node in
      node.isRunning && node.view.connection >= .connected
        && node.view.volumes.allSatisfy {
          $0.replication == .connected && $0.disk == .upToDate && $0.peerDisk == .upToDate
        }
    }
  }

  /// Both nodes in one line.
  public var summary: String {
    (0...1).map { n in
      guard nodes[n].isRunning else { return "\(name(n)) is down" }
      let view = nodes[n].engine.snapshot()
      return name(n) + " " + view.role.name + " " + view.connection.name + " "
        + view.volumes.indices.map { v in
          let volume = view.volumes[v]
          let bits = markedBits(n, v).prefix(4).map(String.init).joined(separator: " ")
          return "\(volume.replication.name) \(volume.disk.name)/\(volume.peerDisk.name)"
            + " out of sync \(volume.outOfSync.value)" + (bits.isEmpty ? "" : " (bits \(bits))")
        }.joined(separator: ", ")
    }.joined(separator: "; ")
      + "; requests under way: \(client.underWay), commands: \(commands.pending.map { Trace.command($0.command) })"
  }
}
