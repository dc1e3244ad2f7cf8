// The operator's commands: each is judged here and handed to the flow that carries it out. A no is a `Refusal`.
import Base
import Protocol

extension Engine {
  mutating func execute(_ command: Command, _ reply: ReplyTo) {
    switch command {
    case .attach(let volume): if let v = known(volume, reply) { attach(v, reply) }
    case .detach(let volume, let force): if let v = known(volume, reply) { detach(v, force: force, reply) }
    case .connect(let discard, let tentative): connect(discardMyData: discard, tentative: tentative, reply)
    case .disconnect(let force): disconnect(force: force, reply)
    case .announceOptions:
      announceOptions()
      fx.append(.reply(reply, .done))
    case .changeVolumes(let wanted, let thenAttach): changeVolumes(wanted, thenAttach: thenAttach, reply)
    case .primary(let force): promote(force: force, reply)
    case .secondary: demote(reply)
    case .invalidate(let volume): if let v = known(volume, reply) { invalidate(v, remote: false, reply) }
    case .invalidateRemote(let volume): if let v = known(volume, reply) { invalidate(v, remote: true, reply) }
    case .outdate(let volume): if let v = known(volume, reply) { outdate(v, reply) }
    case .newCurrentUUID(let volume, let clear):
      if let v = known(volume, reply) { newCurrentUUID(v, clearBitmap: clear, reply) }
    case .pauseSync(let volume): if let v = known(volume, reply) { pauseSync(v, true, reply) }
    case .resumeSync(let volume): if let v = known(volume, reply) { pauseSync(v, false, reply) }
    case .verify(let volume, let start, let stop):
      if let v = known(volume, reply) { verify(v, start: start, stop: stop, reply) }
    case .resize(let volume, let limit, let assumeClean, let assumePeerHasSpace):
      let order = ResizeOrder(
        reply: reply, limit: limit, assumeClean: assumeClean, assumePeerHasSpace: assumePeerHasSpace)
      if let v = known(volume, reply) { resize(v, order) }
    case .suspendIO: suspend(true, reply)
    case .resumeIO: suspend(false, reply)
    // The next step is taken whenever an event has been handled.
    case .down: wait(for: .down, reply)
    }
  }

  private mutating func known(_ number: VolumeNumber, _ reply: ReplyTo) -> Int? {
    if let v = volumes.index(of: number) { return v }
    refuse(
      reply,
      .request(
        127, "Minor not known", why: "\(settings.name) has no volume \(number.value)",
        next: "see repladm dump \(settings.name)"))
    return nil
  }

  private mutating func connect(discardMyData: Bool, tentative: Bool, _ reply: ReplyTo) {
    guard case .down = link.phase else {
      refuse(
        reply,
        .request(
          125, "Device has a net-config (use disconnect first)",
          why: "the connection to \(settings.peerName) is \(link.state.connectionName)",
          next: "repladm disconnect \(settings.name)"))
      return
    }
    if discardMyData, role == .primary {
      refuse(
        reply,
        .request(
          123, "--discard-my-data not allowed when primary", why: "this node is Primary",
          next: "demote it first: repladm secondary \(settings.name)"))
      return
    }
    link.discardMyData = discardMyData
    link.tentative = tentative
    link.refusedBecause = nil
    fx.append(.reply(reply, .done))
    beginSearch()
  }

  mutating func disconnect(force: Bool, _ reply: ReplyTo?) {
    switch link.phase {
    case .down:
      if let reply { fx.append(.reply(reply, .done)) }
    case .searching, .resting, .greeting: standAlone(reply)
    case .up:
      if force || link.state < .connected {
        standAlone(reply)
        return
      }
      if case .reconnect(let outdatingOwn) = pending {
        // The peer has been asked already: what it answers ends this command as well.
        pending = .disconnect(outdating: outdatingOwn ? .own : .nobody)
        wait(for: .change, reply)
        return
      }
      guard pending.isNone else {
        refuseChange(reply, -18, why: "another state change is under way")
        return
      }
      closeEpoch()
      let outdating = wouldNeedFencing ? PendingChange.Outdating.peer : .nobody
      pending = .disconnect(outdating: outdating)
      wait(for: .change, reply)
      askToDisconnect(outdating: outdating)
    }
  }

  mutating func detach(_ v: Int, force: Bool, _ reply: ReplyTo?) {
    let state = volumes[v].state
    if state.disk == .diskless {
      if let reply { fx.append(.reply(reply, .done)) }
      return
    }
    if volumes[v].attach.phase != .idle {
      refuseChange(reply, -18, why: "\(name(v)) is being attached")
      return
    }
    if force {
      beginDetach(v, graceful: false, reply)
      return
    }
    if role == .primary, !(state.conn >= .connected && state.peerDisk == .upToDate) {
      refuseChange(
        reply, -2, why: "this disk is the only one with good data that the Primary can reach",
        next:
          "demote this node first (repladm secondary \(settings.name)), or connect \(settings.peerName) and wait for "
          + "the resync")
      return
    }
    if state.conn >= .connected {
      guard pending.isNone else {
        refuseChange(reply, -18, why: "another state change is under way")
        return
      }
      pending = .detach(v)
      wait(for: .change, reply)
      ask(v, mask: 0x1e00, value: 0x400)
    } else {
      beginDetach(v, graceful: true, reply)
    }
  }

  private mutating func invalidate(_ v: Int, remote: Bool, _ reply: ReplyTo) {
    let state = volumes[v].state
    let good = remote ? state.disk : state.peerDisk
    if state.conn < .connected {
      refuseChange(
        reply, -2, why: "\(settings.peerName) is not connected, its data cannot be copied",
        next: "connect it first (repladm connect \(settings.name)) and see repladm status \(settings.name)")
    } else if good != .upToDate {
      refuseChange(
        reply, -2, why: "the side that would be copied is \(good.name)",
        next: "make that disk UpToDate first; see repladm status \(settings.name)")
    } else if state.isSyncing || state.isVerifying {
      refuseChange(reply, -8)
    } else if remote, state.peerDisk < .inconsistent {
      refuseChange(reply, -5, why: "\(settings.peerName) has no disk")
    } else if !remote, state.disk < .inconsistent {
      refuseChange(reply, -4, why: "this node has no disk")
    } else if !remote, role == .primary {
      refuseChange(
        reply, 0, why: "this node is Primary: its data are in use",
        next: "demote it first: repladm secondary \(settings.name)")
    } else if !pending.isNone {
      refuseChange(reply, -18, why: "another state change is under way")
    } else {
      pending = .invalidate(v, remote: remote)
      wait(for: .change, reply)
      ask(v, mask: 0x1f0, value: remote ? 0xb0 : 0xc0)
    }
  }

  private mutating func outdate(_ v: Int, _ reply: ReplyTo) {
    let state = volumes[v].state
    if state.disk < .outdated || !volumes[v].isAttached {
      refuseChange(reply, -16, why: "it is \(state.disk.name)")
    } else if state.conn >= .connected {
      refuseChange(reply, -6)
    } else if role == .primary {
      refuseChange(
        reply, -2, why: "this node is Primary: it needs its data",
        next: "demote it first: repladm secondary \(settings.name)")
    } else {
      change(v) { $0.disk = .outdated }
      writeSuperblock(v, then: .reply(reply))
    }
  }

  private mutating func newCurrentUUID(_ v: Int, clearBitmap: Bool, _ reply: ReplyTo) {
    let state = volumes[v].state
    guard volumes[v].isAttached, state.disk >= .inconsistent else {
      refuse(
        reply,
        .request(
          138, "Device does not have a disk-config", why: "\(name(v)) has no disk",
          next: "repladm attach \(name(v))"))
      return
    }
    let fresh = volumes[v].generations.current == justCreated
    if state.conn >= .connected {
      guard clearBitmap, fresh, state.conn == .connected, volumes[v].peer.generations?.current == justCreated,
        link.version >= 90
      else {
        refuseChange(
          reply, -21,
          why:
            "while connected this is only possible on two nodes with new metadata (and version 90), with --clear-bitmap"
        )
        return
      }
      // Both copies are declared equal: no initial sync.
      volumes[v].generations.rotateToNew(random.next(), primary: role == .primary)
      volumes[v].backing.bitmap.clearAll()
      sendGenerations(v, skipInitialSync: true)
      volumes[v].generations.bitmap = 0
      // The peer takes them over: a resync that ends later adopts what is remembered here.
      volumes[v].peer.hasSame(volumes[v].generations)
      flushBitmap(v, lazy: true, then: .nothing)
      change(v) {
        $0.disk = .upToDate
        $0.peerDisk = .upToDate
      }
    } else {
      if volumes[v].generations.bitmap != 0 { volumes[v].generations.push(volumes[v].generations.bitmap) }
      volumes[v].generations.rotateToNew(random.next(), primary: role == .primary)
      if clearBitmap {
        volumes[v].backing.bitmap.clearAll()
        flushBitmap(v, lazy: true, then: .nothing)
      }
    }
    writeSuperblock(v, then: .reply(reply))
  }

  private mutating func pauseSync(_ v: Int, _ on: Bool, _ reply: ReplyTo) {
    pause(v, user: on)
    fx.append(.reply(reply, .done))
  }

  private mutating func suspend(_ on: Bool, _ reply: ReplyTo) {
    if !on, fencing.isFrozen {
      if link.state == .wfReportParams {
        refuseChange(reply, -18, why: "\(settings.peerName) is in a handshake")
        return
      }
      thaw()
    }
    if isSuspended != on {
      isSuspended = on
      log(.resource, "susp( \(on ? 0 : 1) -> \(on ? 1 : 0) )")
      fx.append(.stateChanged)
    }
    fx.append(.reply(reply, .done))
  }

  // MARK: down

  /// The next step of `down`: demote, disconnect, detach. Looked at after every event, so that whatever ends a step, or the
  /// change that is under way, lets it go on.
  mutating func advanceDown() {
    guard waits.contains(.down), pending.isNone else { return }
    if role == .primary {
      demote(nil)
      return
    }
    if case .down = link.phase {
    } else {
      disconnect(force: false, nil)
      return
    }
    for v in 0..<volumes.count {
      if volumes[v].attach.phase != .idle || volumes[v].detach.phase != .none { return }
      if volumes[v].isAttached {
        beginDetach(v, graceful: true, nil)
        return
      }
    }
    answer(.down, .done)
    // The commands that still wait, for the exit code of fence-peer, get no other answer on this node.
    for one in waits.take({ $0.then.reply != nil }) {
      refuse(one.then.reply, .stateChange(-18, resource: settings.name, peer: settings.peerName, why: "it is down"))
    }
  }
}
