// Procedures of several commands, and what an administrator does now and then.
import Base
import Engine

extension World {
  /// True while one is being carried out.
  func runProcedure() -> Bool {
    if let awaited = keeper.awaited {
      if commands.isPending(awaited) { return true }
      keeper.awaited = nil
      if case .refused? = commands.outcome(of: awaited) { keeper.procedure.removeAll() }
    }
    while broken == nil, let step = keeper.procedure.first {
      switch step {
      case .stopClient: stopClient()
      case .waitUntilIdle:
        if let n = client.node, nodes[n].isRunning, nodes[n].view.isFrozen || nodes[n].view.isSuspended {
          keeper.procedure.removeAll()
        }
        if !client.isIdle { return !keeper.procedure.isEmpty }
      case .command(let n, let command):
        keeper.procedure.removeFirst()
        guard nodes[n].isRunning else {
          keeper.procedure.removeAll()
          return true
        }
        if case .primary = command {
          // The world may have changed since this was planned; with fencing the handler knows. A disk that a person has brought
          // from elsewhere says what it likes about the peer, until it has been compared.
          if mayBePromoted(n) {
            aboutToPromote(n)
          } else if !fences || nodes[n].view.connection >= .connected || keeper.isReplaced[n].contains(true) {
            keeper.procedure.removeAll()
            return true
          }
        }
        keeper.awaited = self.command(n, command)
        return true
      case .startClient(let n): if nodes[n].isPrimary { openClient(on: n) }
      case .replaceDisk(let n, let v, let what):
        replaceDisk(n, v, what)
        if keeper.procedure.isEmpty { return true }
      case .leave(let n):
        if nodes[n].isRunning { leave(n) }
      }
      if !keeper.procedure.isEmpty { keeper.procedure.removeFirst() }
    }
    return false
  }

  /// A disk that is to be trusted alone shows nothing that cannot be.
  func aboutToPromote(_ n: Int) {
    if keeper.lost[n] { for history in histories { history.loseUnflushed(applicationGoesOnWith: nil) } }
    checkImage(n, "before its promotion")
  }

  /// After a successful `down`.
  func leave(_ n: Int) {
    say(n, "the daemon ends")
    for work in nodes[n].works where work.isActive {
      return breakLaw("\(name(n)) replied to down with \(work.id.kind) under way")
    }
    killClient(on: n)
    processLosesSockets(n)
    // A socket that is closed after sending may still use some.
    if pool.count(of: .engine(n), idle: era >= .second) > 0 {
      breakLaw("\(name(n)) replied to down and still holds payloads")
    }
    nodes[n].stop()
    pool.giveBackAll(of: .engine(n))
    commands.forget(n)
    schedule.add(.boot, at: now + random.below(3_000_000_000), node: n, life: nodes[n].life)
  }

  func actAtRandom(_ p: Int) {
    let q = 1 - p
    let known: [Actions] = [
      .switchOver, .disconnect, .detach, .invalidate, .downUp, .pause, .nonsense, .grow, .options, .replaceDisk,
    ]
    let choices = known.filter { actions.contains($0) }
    guard !choices.isEmpty, nodes[q].isRunning, !commands.isBusy(0), !commands.isBusy(1) else { return }
    let v = Int(random.below(UInt64(histories.count)))
    let number = nodes[p].settings.volumes[v].number
    let bothGood =
      nodes[p].view.connection >= .connected && keeper.truth[q].allSatisfy { $0 } && keeper.truth[p].allSatisfy { $0 }
    let choice = choices[Int(random.below(UInt64(choices.count)))]
    if era >= .second, let known = Actions.each.first(where: { $0.action == choice }) {
      census.add("action: \(known.name)")
    }
    switch choice {
    case .switchOver:
      guard bothGood else { return }
      keeper.procedure = [
        .stopClient, .waitUntilIdle, .command(p, .secondary), .command(q, .primary(force: false)), .startClient(q),
      ]
      if random.oneIn(4) { keeper.procedure.remove(at: 1) }
    case .disconnect: command(random.oneIn(2) ? p : q, .disconnect(force: random.oneIn(4)))
    case .detach:
      guard bothGood else { return }
      let n = random.oneIn(2) ? p : q
      if n == p { keeper.excusesSplitBrain = true }
      command(n, .detach(number, force: random.oneIn(4)))
    case .invalidate:
      guard bothGood else { return }
      if random.oneIn(2) { command(q, .invalidate(number)) } else { command(p, .invalidateRemote(number)) }
    case .downUp:
      keeper.procedure = [.command(q, .down), .leave(q)]
      if random.oneIn(4) {
        keeper.procedure = [
          .stopClient, .waitUntilIdle, .command(p, .secondary), .command(p, .down), .leave(p),
        ]
      }
    case .grow:
      guard bothGood else { return }
      for n in 0...1 where !random.oneIn(4) {
        let disk = nodes[n].disks[v]
        let bytes = min(disk.room, random.oneIn(2) ? 4096 * (1 + random.below(12)) : 4096 * (1 + random.below(512)))
        if bytes > 0 { disk.grow(by: bytes) }
      }
      command(random.oneIn(2) ? p : q, .resize(number, limit: nil, assumeClean: false))
    case .replaceDisk:
      guard bothGood else { return }
      replaceADisk(p, v)
    case .options: changeProtocol(to: [.a, .b, .c][Int(random.below(3))], first: random.oneIn(2) ? p : q)
    case .pause: command(random.oneIn(2) ? p : q, .pauseSync(number))
    default:
      switch random.below(4) {
      case 0: command(p, .attach(number))
      case 3: command(random.oneIn(2) ? p : q, .verify(number, start: nil, stop: nil))
      case 1: command(q, .secondary)
      default: command(p, .connect(discardMyData: false))
      }
    }
  }

  /// `adjust` on one node, then on the other.
  func changeProtocol(to letter: WireProtocol, first: Int) {
    for n in [first, 1 - first] {
      nodes[n].settings.net.wireProtocol = letter
      let canAnnounce = nodes[n].engine.canAnnounce(nodes[n].settings.net)
      nodes[n].engine.adopt(nodes[n].settings)
      if canAnnounce {
        command(n, .announceOptions)
      } else if nodes[n].view.connection != .standAlone {
        keeper.procedure += [.command(n, .disconnect(force: false)), .command(n, .connect(discardMyData: false))]
      }
    }
  }
}
