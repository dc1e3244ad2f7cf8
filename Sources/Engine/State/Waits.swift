// Who waits for what: one table for the operators' commands and for every flow that goes on when something has happened.
// Law: an entry is answered, by what it waits for or by the loss of what it needs: a disk that is closed answers all that wait
// for its metadata, a connection that ends answers all that wait for the peer. No wait outlives its owner (`checkWaits`).
import Base

/// What has to happen.
enum WaitReason: Equatable {
  /// The superblock that carries this change is durable.
  case superblock(UInt64)
  /// The pages of the bitmap that were dirty are on disk.
  case bitmap
  /// The peer acknowledges a ping; the oldest entry belongs to the next ack.
  case ping
  /// The change of state under way (`PendingChange`) has ended.
  case change
  /// `fence-peer` has said what became of the peer.
  case fencing
  /// The disk has been attached and, with a connected peer, compared.
  case attach
  /// The disk is closed.
  case detach
  /// The volumes are those that were asked for.
  case volumes
  /// Nothing is left to demote, disconnect or detach.
  case down
}

/// What goes on then.
enum Continuation: Equatable {
  /// The operator's command is answered.
  case reply(ReplyTo)
  /// So is `resize`, with what its operator should know.
  case resized(ReplyTo, said: String?)
  /// The demotion is answered: a disk that is lost meanwhile has nothing left to say.
  case demotionReply(ReplyTo)
  /// The promotion is looked at once more.
  case promote(force: Bool, ReplyTo?)

  // A disk's metadata are durable, or cannot be any more.
  case promoted, demoted, attached, detached
  case resyncTargetDone, targetReady, sourceReady
  /// The target's disk says that it is old: its bitmap may go out.
  case answerBitmap
  /// The peer may be told that this copy is Outdated.
  case outdatedRecorded
  /// The peer is told the generation that began here.
  case tellGenerations
  case fullSyncStored
  case superblock
  case logUnused
  case movedBitmap, moved

  // The peer has seen all that was sent before.
  case nothing
  case resyncTarget, resyncSource, stragglers, verify

  /// The operator who waits.
  var reply: ReplyTo? {
    switch self {
    case .reply(let to), .demotionReply(let to), .resized(let to, _): to
    case .promote(_, let to): to
    default: nil
    }
  }
}

struct Wait: Equatable {
  var reason: WaitReason
  /// Nil: of the resource.
  var volume: Int?
  var then: Continuation

  /// What this wait needs beside its flow.
  var needsMetadata: Bool {
    switch reason {
    case .superblock, .bitmap: true
    default: false
    }
  }
}

struct Waits {
  private(set) var all: [Wait] = []

  var isEmpty: Bool { all.isEmpty }

  mutating func add(_ reason: WaitReason, _ v: Int?, _ then: Continuation) {
    all.append(Wait(reason: reason, volume: v, then: then))
  }

  func contains(_ reason: WaitReason, _ v: Int? = nil) -> Bool {
    all.contains { $0.reason == reason && $0.volume == v }
  }

  /// Takes out those that fit, oldest first.
  mutating func take(_ fits: (Wait) -> Bool) -> [Wait] {
    var taken: [Wait] = []
    all.removeAll { one in
      if fits(one) { taken.append(one) }
      return fits(one)
    }
    return taken
  }

  mutating func take(_ reason: WaitReason, _ v: Int? = nil) -> [Wait] {
    take { $0.reason == reason && $0.volume == v }
  }

  /// The oldest that waits for this.
  mutating func takeFirst(_ reason: WaitReason) -> Wait? {
    guard let at = all.firstIndex(where: { $0.reason == reason }) else { return nil }
    return all.remove(at: at)
  }
}

extension Engine {
  /// An operator's command waits; nil: the engine acts by itself.
  mutating func wait(for reason: WaitReason, on v: Int? = nil, _ reply: ReplyTo?) {
    if let reply { waits.add(reason, v, .reply(reply)) }
  }

  /// The command that waits for the change under way.
  mutating func takeChange() -> ReplyTo? { waits.takeFirst(.change)?.then.reply }

  /// Answers every command that waits for this.
  mutating func answer(_ reason: WaitReason, on v: Int? = nil, _ outcome: Outcome) {
    for one in waits.take(reason, v) {
      if let to = one.then.reply { fx.append(.reply(to, outcome)) }
    }
  }

  /// Refuses every command that waits for this.
  mutating func refuseWaiting(_ reason: WaitReason, on v: Int? = nil, _ refusal: Refusal) {
    warn(.resource, "\(refusal.what): \(refusal.why)")
    answer(reason, on: v, .refused(refusal))
  }

  // MARK: what happens

  /// Continues an entry whose metadata are durable.
  mutating func goOn(_ v: Int, _ then: Continuation) {
    switch then {
    case .reply(let to): fx.append(.reply(to, .done))
    case .demotionReply(let to): demotionStored(to)
    case .resized(let to, let said): fx.append(.reply(to, said.map { .remarked($0) } ?? .done))
    case .promoted: promotionDurable(v)
    case .demoted: demotionFlushed(v)
    case .attached: attachDurable(v)
    case .detached: detachFlushed(v)
    case .resyncTargetDone: resyncTargetDurable(v)
    case .targetReady: targetReady(v)
    case .sourceReady: sourceReady(v)
    case .answerBitmap: answerBitmap(v)
    case .outdatedRecorded: break
    case .tellGenerations: if volumes[v].state.conn >= .connected { sendGenerations(v) }
    case .fullSyncStored:
      putFullSync(v, false)
      writeSuperblock(v, then: .nothing)
    case .superblock:
      volumes[v].superblock.pagesAreWritten()
      issueSuperblock(v)
    case .logUnused: logUnused(v)
    case .movedBitmap: movedBitmap(v)
    case .moved: moved(v)
    case .nothing: break
    case .resyncTarget: resyncTargetPinged(v)
    case .resyncSource: resyncSourcePinged(v)
    case .stragglers: stragglersHaveCome(v)
    case .verify: verifyPinged(v)
    case .promote: preconditionFailure("a promotion waits for no disk")
    }
  }

  // MARK: losses

  /// The disk is gone: nothing will become durable on it any more. A change of role needs it no longer; a command that wanted
  /// something written has failed; what was to follow on the disk itself is void.
  mutating func answerLossOfDisk(_ v: Int) {
    for one in waits.take({ $0.needsMetadata && $0.volume == v }) {
      switch one.then {
      case .promoted: promotionDurable(v)
      case .demoted: demotionFlushed(v)
      case .demotionReply(let to): demotionStored(to)
      case .outdatedRecorded: link.ownCopy.diskIsLost()
      case .reply(let to): refuseChange(to, -18, why: "\(name(v)) has lost its disk")
      case .resized(let to, _): refuse(to, diskIsLost(v))
      case .attached, .detached, .resyncTargetDone, .targetReady, .sourceReady, .answerBitmap, .tellGenerations,
        .fullSyncStored, .superblock, .logUnused, .movedBitmap, .moved:
        break
      case .nothing, .promote, .resyncTarget, .resyncSource, .stragglers, .verify:
        preconditionFailure("\(one.then) waits for the metadata of \(name(v))")
      }
    }
  }

  /// The connection has ended: no ping is acknowledged any more, and the steps behind them are void. A change that waited for
  /// the peer's consent goes on without it, or has failed (`pendingLost`).
  mutating func answerLossOfPeer() {
    let ended = waits.take { $0.reason == .ping || $0.then == .answerBitmap }
    link.pingDeadline = nil
    pendingLost()
    for one in ended { pingLost(one.then) }
  }

  /// Every wait has an owner that will answer it.
  func checkWaits() {
    for one in waits.all {
      let owned: Bool
      switch one.reason {
      case .superblock(let change):
        guard let v = one.volume, volumes[v].isAttached else { preconditionFailure("\(one): no disk") }
        let superblock = volumes[v].superblock
        owned =
          change > superblock.durable
          && (superblock.inFlight || superblock.waitsForPages || volumes[v].move.holdsSuperblock
            || volumes[v].detach.phase != .none)
      case .bitmap:
        guard let v = one.volume, volumes[v].isAttached else { preconditionFailure("\(one): no disk") }
        owned =
          !volumes[v].pages.isIdle || volumes[v].detach.phase != .none
          // It writes every page at the new place.
          || volumes[v].move.holdsPages
      case .ping: owned = link.phase.isUp && link.pingDeadline != nil
      case .change: owned = !pending.isNone
      case .fencing: owned = fencing.isDue || fencing.running != nil
      case .attach:
        guard let v = one.volume else { preconditionFailure("\(one): no volume") }
        owned =
          volumes[v].attach.phase != .idle || volumes[v].detach.phase != .none || volumes[v].state.disk == .negotiating
      case .detach:
        guard let v = one.volume else { preconditionFailure("\(one): no volume") }
        owned = volumes[v].detach.phase != .none
      case .volumes: owned = volumeChange?.isAsked == true
      case .down: owned = true
      }
      precondition(owned, "\(one): it gets no answer")
    }
  }
}
