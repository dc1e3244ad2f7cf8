// Volumes that come and go while the resource is in use (`adjust`). Flows name a volume by its place in the table, so the table changes
// only while no work is under way: requests of the application are held, the connection ends by agreement, and the next one is made
// with the other volumes. Laws: everything is judged before the first step; a volume that is let go of has written out its metadata
// before; one that comes meets the peer with its disk, which may be the better one; requests to the volumes that stay wait, and never
// fail; the state has an exit, the end of `until`.
import Base
import Protocol

struct VolumeChange {
  enum Step {
    /// The requests of the application that are under way end first.
    case draining
    /// The peer has been asked to let the connection go.
    case leaving
    /// The disks of the volumes that go are let go of, and what is under way ends.
    case quieting
    /// The table has changed; the volumes that were connected meet their peer again.
    case meeting
  }
  fileprivate(set) var step = Step.draining
  fileprivate(set) var until: Instant
  fileprivate let wanted: [VolumeSettings]
  /// Connected before, and there still.
  fileprivate var met: [VolumeNumber] = []

  /// New ones whose disks are to be attached before the peer is met; true: the attach has begun.
  fileprivate var awaited: [VolumeNumber: Bool] = [:]
  fileprivate let thenAttach: Bool

  fileprivate init(_ wanted: [VolumeSettings], thenAttach: Bool, until: Instant) {
    self.wanted = wanted
    self.thenAttach = thenAttach
    self.until = until
  }

  /// The command is not answered yet.
  var isAsked: Bool { step != .meeting }
  /// The next handshake is made with the new table.
  var holdsSearch: Bool { step == .leaving || step == .quieting || !awaited.isEmpty }
}

extension Engine {
  mutating func changeVolumes(_ wanted: [VolumeSettings], thenAttach: Bool, _ reply: ReplyTo) {
    precondition(!wanted.isEmpty && wanted.count <= VolumeNumber.perResource, "1 to 64 volumes")
    let numbers = wanted.map(\.number)
    let removed = (0..<volumes.count).filter { !numbers.contains(volumes[$0].number) }
    if removed.isEmpty, wanted.count == volumes.count {
      fx.append(.reply(reply, .done))
      return
    }
    if let refusal = standsAgainst(wanted, removed) {
      refuse(reply, refusal)
      return
    }
    // Those of the change before that are still to come back.
    let met = volumeChange?.met ?? []
    volumeChange = VolumeChange(wanted, thenAttach: thenAttach, until: now + handshakeLimit)
    volumeChange!.met = met
    wait(for: .volumes, reply)
  }

  private func standsAgainst(_ wanted: [VolumeSettings], _ removed: [Int]) -> Refusal? {
    func refusal(_ code: Int32, _ why: String, next: String = "") -> Refusal {
      .stateChange(code, resource: settings.name, peer: settings.peerName, why: why, next: next)
    }
    if volumeChange?.isAsked == true { return refusal(-18, "the volumes are being changed already") }
    if !pending.isNone { return refusal(-18, "another state change is under way") }
    if fencing.isFrozen {
      return refusal(
        -18, "I/O is frozen until \(settings.peerName) is fenced",
        next: "connect \(settings.peerName) or resume I/O (repladm resume-io \(settings.name)), then repeat the command"
      )
    }
    for v in 0..<volumes.count
    where volumes[v].attach.phase != .idle || volumes[v].detach.phase != .none || link.reattach != nil {
      return refusal(-18, "the disk of \(name(v)) is being attached or detached")
    }
    if link.phase.isUp, link.version < 100, wanted.count > 1 || wanted[0].number.value != 0 {
      return refusal(
        -18, "\(settings.peerName) speaks version \(link.version), whose packets know volume 0 only",
        next: "upgrade it first")
    }
    for v in removed {
      let state = volumes[v].state
      if state.conn >= .connected, state.peerRole == .primary, state.peerDisk < .upToDate, state.disk == .upToDate {
        return refusal(
          -2, "\(settings.peerName) is Primary and has no other good data of \(name(v)) than those on this disk",
          next: "remove the volume there first, then repeat the command here")
      }
    }
    return nil
  }

  /// Looked at after every event.
  mutating func advanceVolumeChange() {
    guard let change = volumeChange else { return }
    if change.isAsked, waits.contains(.down) {
      giveUpVolumeChange("\(settings.name) is going down", next: "start it again: it has the volumes of the file then")
      return
    }
    switch change.step {
    case .draining: leaveForVolumes()
    case .leaving: if link.state < .connected { quieten() }
    case .quieting: quieten()
    case .meeting: endWhenMet()
    }
  }

  private mutating func leaveForVolumes() {
    for v in 0..<volumes.count where volumes[v].requests.count > 0 {
      // Some are answered by a barrier only.
      closeEpoch()
      return
    }
    // A handshake under way is not broken off: the peer would take that for a loss.
    guard pending.isNone, link.departure == nil, !isMeeting else { return }
    for v in 0..<volumes.count where volumes[v].state.conn >= .connected {
      if !volumeChange!.met.contains(volumes[v].number) { volumeChange!.met.append(volumes[v].number) }
    }
    let numbers = volumeChange!.wanted.map(\.number)
    for v in 0..<volumes.count where !numbers.contains(volumes[v].number) { volumes[v].isLeaving = true }
    if link.phase.isUp, link.state >= .connected {
      log(.connection, "connecting again with other volumes")
      volumeChange!.step = .leaving
      pending = .reconnect(outdatingOwn: false)
      askToDisconnect(outdating: .nobody)
    } else {
      quieten()
    }
  }

  private var isMeeting: Bool {
    switch link.phase {
    case .greeting: true
    case .up: link.state == .wfReportParams
    case .down, .searching, .resting: false
    }
  }

  private mutating func quieten() {
    volumeChange!.step = .quieting
    if link.phase.isConnecting {
      endLink(.tearDown)
      beginSearch(after: .milliseconds(200))
    }
    let numbers = volumeChange!.wanted.map(\.number)
    var isGone = true
    for v in 0..<volumes.count where !numbers.contains(volumes[v].number) {
      if volumes[v].state.disk == .diskless { continue }
      isGone = false
      if volumes[v].detach.phase == .none, volumes[v].attach.phase == .idle {
        beginDetach(v, graceful: true, nil)
      }
    }
    if isGone, isQuiet { takeVolumes() }
  }

  /// Nothing under way names a volume by its place.
  private var isQuiet: Bool {
    guard pending.isNone, writes.isEmpty, reads.isEmpty, flushes.isEmpty, peerRequests.isEmpty, !fencing.isFrozen,
      !waits.all.contains(where: { $0.volume != nil })
    else { return false }
    for v in 0..<volumes.count {
      if localIO(v) > 0 || volumes[v].superblock.waitsForPages || volumes[v].peer.announcing.count > 0 { return false }
      if volumes[v].attach.phase != .idle || volumes[v].detach.phase != .none { return false }
    }
    return true
  }

  private mutating func takeVolumes() {
    let wanted = volumeChange!.wanted
    for v in (0..<volumes.count).reversed() where !wanted.contains(where: { $0.number == volumes[v].number }) {
      let number = volumes[v].number
      refuseHeldRequests(of: number)
      log(.device(v), "the volume is removed")
      volumes.remove(at: v)
      volumeChange!.met.removeAll { $0 == number }
    }
    for one in wanted where volumes.index(of: one.number) == nil {
      let state = VolumeState(role: role, conn: link.state)
      volumes.insert(Volume(one, maxRequests: settings.maxRequests * 2, arriving: state))
      let v = index(one.number)
      volumes[v].generations.setPrimary(role == .primary)
      log(.device(v), "the volume is added")
      if volumeChange!.thenAttach, one.hasDisk { volumeChange!.awaited[one.number] = false }
      announceTraits(v)
    }
    peerLines.serve(volumes: volumes.count)
    volumeChange!.step = .meeting
    // The search, the handshake, and a second attempt of each.
    volumeChange!.until = now + handshakeLimit * 2 + settings.net.connectInterval
    fx.append(.stateChanged)
    answer(.volumes, .done)
    endWhenMet()
  }

  /// The client has left, or was never told of a size: no client waits for the answer.
  private mutating func refuseHeldRequests(of number: VolumeNumber) {
    for _ in 0..<entrance.count {
      guard let one = entrance.popFirst() else { return }
      switch one.event {
      case .write(let ticket, number, _, let payload, _):
        fx.append(.giveBack(payload))
        fx.append(.answer(ticket, Errno.shutdown))
      case .read(let ticket, number, _, _), .discard(let ticket, number, _), .zero(let ticket, number, _, _),
        .flush(let ticket, number), .locate(let ticket, number, _):
        fx.append(.answer(ticket, Errno.shutdown))
      default: entrance.append(one)
      }
    }
  }

  /// Disks that are attached, or that could not be, hold nothing up any more.
  private mutating func lookAtDisks() {
    for (number, hasBegun) in volumeChange!.awaited {
      let v = index(number)
      let isAtWork = volumes[v].attach.phase != .idle || volumes[v].detach.phase != .none
      if isAtWork {
        volumeChange!.awaited[number] = true
      } else if hasBegun || volumes[v].state.disk != .diskless {
        volumeChange!.awaited[number] = nil
      }
    }
  }

  private mutating func endWhenMet() {
    lookAtDisks()
    guard let change = volumeChange, change.awaited.isEmpty else { return }
    if case .down = link.phase {
      volumeChange = nil
      fenceAfterReattach()
      return
    }
    for number in change.met where volumes[index(number)].state.conn < .connected { return }
    volumeChange = nil
    lookAgain = true
  }

  mutating func volumeChangeTick() {
    guard let change = volumeChange, now >= change.until else { return }
    if change.isAsked {
      giveUpVolumeChange(
        "requests of the application, of \(settings.peerName) or of a disk did not end in time",
        next: "see the log, then repeat the command")
    } else {
      // The peer is not back in time: this is a loss like any other.
      volumeChange = nil
      fenceAfterReattach()
    }
  }

  private mutating func giveUpVolumeChange(_ why: String, next: String) {
    // What the peer answers to a request to let the connection go still ends it (`leaveAnswered`).
    volumeChange = nil
    for v in 0..<volumes.count where volumes[v].isLeaving {
      volumes[v].isLeaving = false
      // It stays, and its peer is gone.
      if volumes[v].state.isPrimaryAlone, volumes[v].generations.bitmap == 0 { newGeneration(v) }
    }
    refuseWaiting(
      .volumes,
      .request(162, "the volumes of \(settings.name) were not changed", why: why, next: next))
    fenceAfterReattach()
    lookAgain = true
  }
}
