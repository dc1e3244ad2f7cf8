// `repladm resize` (wire spec 6): the disk is measured anew, both nodes tell their sizes, the smaller one wins, and what is new
// is resynced without an exchange of bitmaps. Laws: a volume in use never shrinks; what held metadata is never taken for
// equal; what waits for the peer is answered when the peer, its disk or the own disk is lost.
import Base
import MetaDisk
import Protocol

/// What the operator has asked for.
struct ResizeOrder: Equatable {
  var reply: ReplyTo
  /// Not more than this.
  var limit: SectorCount?
  var assumeClean = false
  /// Without a connection, or while the peer has no disk: the peer's device is taken to be as large as the own one.
  var assumePeerHasSpace = false
}

struct Resize {
  enum Phase: Equatable {
    case idle
    /// `repladm resize`: waits for the measure of the own disk.
    case measuring(ResizeOrder)
    /// The peer's P_SIZES waits for it.
    case answering(Sizes, connection: UInt32)
  }
  var phase = Phase.idle
  /// Grown here by a command: the peer's answer starts the resync.
  var awaitsPeer = false
  /// The command is answered when the peer has said how large its disk is.
  var reply: ReplyTo?
  /// The volume's size before the command.
  var before = SectorCount.zero
  /// Blocks that held metadata before these moved: no two nodes have the same there.
  var freed: Range<UInt64> = 0..<0
}

extension Engine {
  mutating func resize(_ v: Int, _ order: ResizeOrder) {
    if let refusal = standsAgainstResize(v, order) {
      refuse(order.reply, refusal)
      return
    }
    volumes[v].resize.phase = .measuring(order)
    fx.append(.measureDisk(volumes[v].number))
  }

  private func standsAgainstResize(_ v: Int, _ order: ResizeOrder) -> Refusal? {
    let state = volumes[v].state
    if state.conn > .connected {
      return .request(
        130, "Resize not allowed during resync.", why: "\(name(v)) is \(state.conn.name)",
        next: "wait for it: repladm wait-sync \(settings.name)")
    }
    if role == .secondary, state.peerRole == .secondary {
      return .request(
        131, "Need one Primary node to resize.",
        why: "both nodes are Secondary, so neither is the source of the new blocks",
        next: "repladm primary \(settings.name) on the node that runs the application")
    }
    if !diskCounts(v) || state.disk < .inconsistent {
      return .request(
        138, "Device does not have a disk-config", why: "\(name(v)) has no disk",
        next: "repladm attach \(name(v)), or run resize on the node with the disk")
    }
    if volumes[v].resize.phase != .idle || volumes[v].resize.reply != nil || !pending.isNone {
      return changing("another change is under way")
    }
    if state.conn == .wfReportParams { return changing("\(settings.peerName) is in a handshake") }
    if let limit = order.limit, limit < volumes[v].size, !mayCut(v) {
      return shrinks(
        v, to: limit,
        next:
          "name at least \(volumes[v].size.bytes >> 10)K, or nothing; a volume that is not in use becomes smaller on each "
          + "node by itself: repladm secondary and repladm disconnect \(settings.name) on both, then resize --size")
    }
    return nil
  }

  /// Without a connection, and without an application, the operator may make the volume smaller.
  private func mayCut(_ v: Int) -> Bool { !isInUse && volumes[v].state.conn < .wfReportParams && isQuiet(v) }

  private func changing(_ why: String) -> Refusal {
    .stateChange(-18, resource: settings.name, peer: settings.peerName, why: why)
  }

  func diskIsLost(_ v: Int) -> Refusal {
    .request(
      138, "Device does not have a disk-config", why: "\(name(v)) has lost its disk",
      next: "see repladm status \(settings.name), attach a disk, then repeat the command")
  }

  private func shrinks(_ v: Int, to size: SectorCount, next: String) -> Refusal {
    .request(
      111, "Low.dev. smaller than requested DRBD-dev. size.",
      why:
        "\(name(v)) has \(volumes[v].size.bytes >> 10) KiB in use and would have \(size.bytes >> 10) KiB; a volume in "
        + "use is never shrunk",
      next: next)
  }

  /// Answers `.measureDisk`.
  mutating func diskMeasured(_ number: VolumeNumber, _ facts: DiskFacts) {
    let v = index(number)
    guard volumes[v].isAttached, volumes[v].detach.phase == .none else {
      endMeasure(v, nil)
      return
    }
    do throws(SizeRefusal) {
      try takeMeasure(v, facts)
    } catch {
      endMeasure(v, error.refusal)
      return
    }
    if volumes[v].move.phase == .idle { endMeasure(v, nil) }
  }

  /// The disk's size is known, and usable, or will not be.
  mutating func endMeasure(_ v: Int, _ problem: Refusal?) {
    let phase = volumes[v].resize.phase
    volumes[v].resize.phase = .idle
    // Gone meanwhile: the command fails, the peer gets the answer of a node without disk.
    let hasDisk = volumes[v].isAttached && volumes[v].detach.phase == .none
    switch phase {
    case .idle: break
    case .measuring(let order):
      if let problem {
        refuse(order.reply, problem)
      } else if hasDisk {
        resizeMeasured(v, order)
      } else {
        refuse(order.reply, diskIsLost(v))
      }
    case .answering(let peer, let connection):
      if let problem { warn(.device(v), "\(problem.what): \(problem.why); \(problem.next)") }
      if connection == link.generation, volumes[v].state.conn >= .connected { takeSizes(v, peer) }
    }
  }

  private struct SizeRefusal: Error { var refusal: Refusal }

  /// The new size of the device becomes usable, at once or (metadata at its end) when those have moved.
  private mutating func takeMeasure(_ v: Int, _ facts: DiskFacts) throws(SizeRefusal) {
    if facts == volumes[v].backing.facts { return }
    let back = "give the device its former size back"
    guard volumes[v].settings.metaLocation == .internal else {
      let usable = volumes[v].backing.placement.usableSectors(dataDeviceBytes: facts.dataBytes)
      if usable < volumes[v].size { throw SizeRefusal(refusal: shrinks(v, to: usable, next: back)) }
      if usable < SectorCount(bytes: facts.dataBytes) {
        warn(
          .device(v),
          "the metadata have room for \(usable.bytes >> 10) KiB of data, the device is larger; use a larger "
            + "device for the metadata")
      }
      volumes[v].backing.facts.dataBytes = facts.dataBytes
      volumes[v].backing.usable = usable
      return
    }
    let plan: MetadataMove
    do throws(MetaFault) {
      plan = try MetadataMove(
        of: volumes[v].backing.placement, to: facts.dataBytes, keeping: volumes[v].size)
    } catch {
      throw SizeRefusal(
        refusal: .request(
          111, "Low.dev. smaller than requested DRBD-dev. size.",
          why:
            "the device of \(name(v)) has \(facts.dataBytes >> 10) KiB now, too few for the data in use and the metadata",
          next: back))
    }
    // Less than one block more, and no other place.
    if plan.isNothing { return }
    beginMove(v, plan, facts)
  }

  private mutating func resizeMeasured(_ v: Int, _ order: ResizeOrder) {
    let conn = volumes[v].state.conn
    // Metadata may have been on their way to their new place for a while.
    if conn > .connected || conn == .wfReportParams {
      refuse(order.reply, changing("\(name(v)) is \(conn.name)"))
      return
    }
    let asksPeer = conn == .connected && volumes[v].state.peerDisk >= .inconsistent
    var peer = SectorCount.zero
    if asksPeer {
      peer = SectorCount(volumes[v].peer.sizes?.backing ?? 0)
    } else if order.assumePeerHasSpace {
      let how = conn < .connected ? "not connected" : "the peer has no disk"
      warn(.peerDevice(v), "Resize while \(how) was forced by the user!")
      peer = volumes[v].backing.usable
    }
    let old = volumes[v].size
    let isCut = order.limit.map { $0 < old } ?? false
    let size = agreedSize(
      own: volumes[v].backing.usable, peer: peer, last: volumes[v].backing.superblock.effectiveSize,
      limit: smaller(order.limit ?? sizeLimit(v), asksPeer ? volumes[v].peer.sizes?.userLimit ?? 0 : 0))
    if size < old, !isCut || !mayCut(v) {
      refuse(order.reply, shrinks(v, to: size, next: "bring the peer's disk back to its size"))
      return
    }
    if let limit = order.limit { volumes[v].settings.sizeLimit = limit }
    volumes[v].resize.before = old
    if size != old {
      adoptSize(v, size, assumeClean: order.assumeClean)
      volumes[v].resize.awaitsPeer = asksPeer
    }
    if conn == .connected {
      sendGenerations(v)
      // A diskless peer has nothing to look at, and is told what there is.
      sendSizes(v, asks: asksPeer, flags: order.assumeClean ? 2 : 0)
    }
    volumes[v].resize.reply = order.reply
    if !asksPeer { answerResize(v) }
  }

  /// The size is what it will be for now: the peer has answered, or cannot answer any more.
  mutating func answerResize(_ v: Int) {
    guard let reply = volumes[v].resize.reply else { return }
    volumes[v].resize.reply = nil
    if volumes[v].isAttached {
      writeSuperblock(v, then: .resized(reply, said: remarkOnSize(v)))
    } else {
      refuse(reply, diskIsLost(v))
    }
  }

  /// What an operator who expected something else should know.
  private func remarkOnSize(_ v: Int) -> String? {
    let size = volumes[v].size
    let kib = "\(size.bytes >> 10) KiB"
    if size < volumes[v].resize.before {
      return
        "\(name(v)) has \(kib) now; write `disk { size \(size.value)s; }` into the configuration of both nodes, or it grows "
        + "again when they are connected"
    }
    guard size == volumes[v].resize.before else { return nil }
    return "\(name(v)) keeps its size of \(kib): \(whyNotLarger(v))"
  }

  private func whyNotLarger(_ v: Int) -> String {
    let size = volumes[v].size
    let state = volumes[v].state
    let again = "then repeat resize"
    if volumes[v].backing.usable <= size {
      return "the device here has room for no more; enlarge the devices of both nodes, \(again)"
    }
    if sizeLimit(v) == size { return "`disk { size }` or `resize --size` allows no more on this node" }
    if state.conn < .connected {
      return
        "\(settings.peerName) is not connected, and its device may be smaller; connect it, \(again), or run resize "
        + "--assume-peer-has-space if its device is as large as the one here"
    }
    if state.peerDisk < .inconsistent {
      return
        "\(settings.peerName) has no disk, and the next one may be smaller; attach it there, \(again), or run resize "
        + "--assume-peer-has-space if that disk is as large as the one here"
    }
    if let peer = volumes[v].peer.sizes, peer.userLimit == size.value {
      return "`disk { size }` or `resize --size` allows no more on \(settings.peerName)"
    }
    return "the device of \(settings.peerName) has room for no more; enlarge it, \(again)"
  }

  /// The new blocks: from the Primary, or from the node that breaks ties, without an exchange of bitmaps.
  mutating func resyncGrown(_ v: Int, assumeClean: Bool) {
    let state = volumes[v].state
    guard state.conn == .connected, state.disk == .upToDate, state.peerDisk == .upToDate else { return }
    if assumeClean {
      log(.device(v), "Resync of new storage suppressed with --assume-clean")
      return
    }
    log(.device(v), "Resync of new storage after online grow")
    let isSource = role == .primary || (state.peerRole != .primary && link.resolveConflicts)
    isSource ? startGrownSource(v) : startGrownTarget(v, canBeUndone: true)
  }
}
