// Online grow (wire spec 6): the disk is measured anew, both nodes tell their sizes, the smaller one wins, and what is new is
// resynced without an exchange of bitmaps. Laws: a volume in use never shrinks; what held metadata is never taken for equal.
import Base
import MetaDisk
import Protocol

struct Resize {
  enum Phase: Equatable {
    case idle
    /// `repladm resize`: waits for the measure of the own disk.
    case measuring(ReplyTo, assumeClean: Bool)
    /// The peer's P_SIZES waits for it.
    case answering(Sizes, connection: UInt32)
  }
  var phase = Phase.idle
  /// Grown here by a command: the peer's answer starts the resync.
  var awaitsPeer = false
  /// The command is answered when the peer has said how large its disk is.
  var reply: ReplyTo?
  /// Blocks that held metadata before these moved: no two nodes have the same there.
  var freed: Range<UInt64> = 0..<0
}

extension Engine {
  mutating func resize(_ v: Int, limit: SectorCount?, assumeClean: Bool, _ reply: ReplyTo) {
    let state = volumes[v].state
    if state.conn > .connected {
      refuse(
        reply,
        .request(
          130, "Resize not allowed during resync.", why: "\(name(v)) is \(state.conn.name)",
          next: "wait for it: repladm wait-sync \(settings.name)"))
    } else if role == .secondary, state.peerRole == .secondary {
      refuse(
        reply,
        .request(
          131, "Need one Primary node to resize.", why: "both nodes are Secondary, none says whose new blocks count",
          next: "repladm primary \(settings.name) on the node with the application"))
    } else if !volumes[v].isAttached || state.disk < .inconsistent {
      refuse(
        reply,
        .request(
          138, "Device does not have a disk-config", why: "\(name(v)) has no disk",
          next: "repladm attach \(name(v))"))
    } else if volumes[v].resize.phase != .idle || volumes[v].resize.reply != nil || !pending.isNone {
      refuseChange(reply, -18, why: "another change is under way")
    } else if let limit, limit < volumes[v].size {
      refuse(reply, shrinks(v, to: limit, next: "name at least \(volumes[v].size.bytes >> 10)K, or nothing"))
    } else {
      if let limit { volumes[v].settings.sizeLimit = limit }
      volumes[v].resize.phase = .measuring(reply, assumeClean: assumeClean)
      fx.append(.measureDisk(volumes[v].number))
    }
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
    case .measuring(let reply, let assumeClean):
      if let problem {
        refuse(reply, problem)
      } else if hasDisk {
        resizeMeasured(v, assumeClean: assumeClean, reply)
      } else {
        refuseChange(reply, -18, why: "\(name(v)) has lost its disk")
      }
    case .answering(let peer, let connection):
      if let problem { warn("\(name(v)): \(problem.what): \(problem.why); \(problem.next)") }
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
          "\(name(v)): the metadata have room for \(usable.bytes >> 10) KiB of data, the device is larger; use a larger "
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

  private mutating func resizeMeasured(_ v: Int, assumeClean: Bool, _ reply: ReplyTo) {
    let isConnected = volumes[v].state.conn == .connected
    let peer = isConnected ? SectorCount(volumes[v].peerSizes?.backing ?? 0) : .zero
    let old = volumes[v].size
    let size = agreedSize(
      own: volumes[v].backing.usable, peer: peer, last: volumes[v].backing.superblock.effectiveSize,
      limit: volumes[v].settings.sizeLimit)
    if size < old {
      refuse(reply, shrinks(v, to: size, next: "bring the peer's disk back to its size"))
      return
    }
    if size > old {
      adoptSize(v, size, assumeClean: assumeClean)
      volumes[v].resize.awaitsPeer = isConnected
    }
    if isConnected {
      sendGenerations(v)
      sendSizes(v, asks: true, flags: assumeClean ? 2 : 0)
    }
    volumes[v].resize.reply = reply
    if !isConnected { answerResize(v) }
  }

  /// The size is what it will be for now: the peer has answered, or is out of reach.
  mutating func answerResize(_ v: Int) {
    guard let reply = volumes[v].resize.reply else { return }
    volumes[v].resize.reply = nil
    if volumes[v].isAttached {
      writeSuperblock(v, then: .reply(reply))
    } else {
      refuseChange(reply, -18, why: "\(name(v)) has lost its disk")
    }
  }

  /// The new blocks: from the Primary, or from the node that breaks ties, without an exchange of bitmaps.
  mutating func resyncGrown(_ v: Int, assumeClean: Bool) {
    let state = volumes[v].state
    guard state.conn == .connected, state.disk == .upToDate, state.peerDisk == .upToDate else { return }
    if assumeClean {
      log("\(name(v)): Resync of new storage suppressed with --assume-clean")
      return
    }
    log("\(name(v)): Resync of new storage after online grow")
    let isSource = role != state.peerRole ? role == .primary : link.resolveConflicts
    isSource ? startGrownSource(v) : startGrownTarget(v, canBeUndone: true)
  }
}
