// What an operator may type at any moment, in any order, while earlier commands wait; and disks that are replaced. Law:
// nothing here destroys the only good copy, so whatever the engine grants, no data may be lost by it.
import Base
import Engine
import MetaDisk

/// What comes in place of a disk.
enum Replacement: CaseIterable {
  /// As large, after create-md.
  case blank
  /// Larger, after create-md.
  case larger
  /// A little smaller, after create-md: too small for what is there already.
  case smaller
  /// As large, after create-md, with sectors of the other size.
  case otherSectors
  /// An old copy of the disk that was there.
  case oldImage
}

extension World {
  /// Any command, for any node, whether or not it makes sense now.
  func commandOfAnyKind() {
    let n = Int(random.below(2))
    guard nodes[n].isRunning else { return }
    let other = 1 - n
    let v = Int(random.below(UInt64(histories.count)))
    let number = nodes[n].settings.volumes[v].number
    let otherIsGood = nodes[other].isRunning && keeper.truth[other].allSatisfy { $0 }
    let bothGood = otherIsGood && keeper.truth[n].allSatisfy { $0 } && nodes[n].view.connection >= .connected
    let given: Command
    switch random.below(17) {
    case 0: given = .attach(number)
    case 1:
      if nodes[n].isPrimary { keeper.excusesSplitBrain = true }
      given = .detach(number, force: bothGood && random.oneIn(4))
    case 2: given = .connect(discardMyData: false)
    case 3: given = .disconnect(force: random.oneIn(3))
    case 4: given = .announceOptions
    case 5:
      guard mayBePromoted(n) || (nodes[other].isPrimary && nodes[n].view.connection >= .connected) else { return }
      if commands.pending.contains(where: { $0.node == other && $0.command == .primary(force: false) }) { return }
      given = .primary(force: false)
    case 6: given = .secondary
    case 7: given = .invalidate(number)
    case 8: given = .invalidateRemote(number)
    case 9:
      guard otherIsGood, nodes[other].isPrimary else { return }
      given = .outdate(number)
    case 10:
      guard nodes[n].view.connection >= .connected else { return }
      given = .newCurrentUUID(number, clearBitmap: random.oneIn(2))
    case 11: given = .pauseSync(number)
    case 12: given = .resumeSync(number)
    case 13:
      let size = UInt64(histories[v].sectors)
      let start = random.below(size + 16)
      let stop = random.oneIn(8) ? random.below(size + 16) : start + random.below(2_000)
      given = .verify(number, start: Sector(start), stop: random.oneIn(16) ? nil : Sector(stop))
    case 14:
      let size = nodes[n].view.volumes[v].size.value
      // Nobody cuts off what the application uses.
      let least = UInt64(histories[v].sectors)
      let limit = random.oneIn(2) ? nil : SectorCount(max(least, size - min(size, 64) + random.below(256)))
      given = .resize(number, limit: limit, assumeClean: false)
    case 15: given = .suspendIO
    default:
      // To a node that is frozen it would say that the peer has been fenced.
      guard !nodes[n].view.isFrozen else { return }
      given = .resumeIO
    }
    census.add("command: \(Trace.command(given).prefix { $0 != " " })")
    command(n, given)
  }

  // MARK: disks are replaced

  /// Detach, another disk, attach: while connected, or with the connection down.
  func replaceADisk(_ p: Int, _ v: Int) {
    let q = 1 - p
    // Of the Secondary: without the disk of a Primary its peer has the only copy.
    let n = q
    let number = nodes[n].settings.volumes[v].number
    if images[n][v] == nil || random.oneIn(8) {
      images[n][v] = nodes[n].disks[v].image()
      return
    }
    var what = Replacement.allCases[Int(random.below(UInt64(Replacement.allCases.count)))]
    if what == .oldImage, !isProvablyOld(n, v) { what = .blank }
    keeper.procedure = [
      .command(n, .detach(number, force: false)), .replaceDisk(n, v, what), .command(n, .attach(number)),
    ]
    if random.oneIn(2) {
      keeper.procedure.insert(.command(n, .disconnect(force: false)), at: 0)
      keeper.procedure.append(.command(n, .connect(discardMyData: false)))
    }
  }

  /// The generation of the image is neither the peer's nor the one before: both nodes can see that it is old.
  private func isProvablyOld(_ n: Int, _ v: Int) -> Bool {
    guard let image = images[n][v], let found = image.generations(circumstances.volumes[v].disk(of: n).location, 1 - n)
    else { return false }
    let peer = nodes[1 - n].view.volumes[v]
    let own = nodes[n].view.volumes[v]
    return ![peer.current & ~1, peer.bitmap & ~1, own.current & ~1].contains(found.current & ~1)
  }

  func replaceDisk(_ n: Int, _ v: Int, _ what: Replacement) {
    if nodes[n].openDisks.contains(v) { return keeper.procedure.removeAll() }
    say(n, "volume \(v) gets another disk: \(what)")
    census.add("disk replaced: \(what)")
    let before = nodes[n].disks[v]
    if what == .oldImage, let image = images[n][v] {
      keeper.excusesSplitBrain = true
      nodes[n].disks[v] = image
      images[n][v] = nil
    } else {
      var one = circumstances.volumes[v]
      let change = (1 + random.below(what == .larger ? 1024 : 16)) * 4096
      switch what {
      case .larger: one.deviceBytes[n] = before.facts.dataBytes + change
      case .smaller: one.deviceBytes[n] = before.facts.dataBytes - change
      case .otherSectors:
        one.deviceBytes[n] = before.facts.dataBytes
        if one.apart.indices.contains(n) { one.apart[n].logicalBlock = before.facts.logicalBlock == 512 ? 4096 : 512 }
      case .blank, .oldImage: one.deviceBytes[n] = before.facts.dataBytes
      }
      nodes[n].disks[v] = FakeDisk.created(one, node: n, original: Stamps.original(n), room: 0)
    }
    thirdCopies[n][v] = nil
    keeper.truth[n][v] = false
    keeper.isReplaced[n][v] = true
  }

  /// A Primary without good data of a volume, that its peer cannot give it as it is: it steps down, and both compare as
  /// Secondaries.
  func demoteTheBlind() -> Bool {
    for n in 0...1 where nodes[n].isPrimary && random.oneIn(20) {
      let view = nodes[n].view
      let isBlind = histories.indices.contains { v in
        let volume = view.volumes[v]
        return !keeper.truth[n][v] && volume.disk < .upToDate
          && (view.connection < .connected || volume.disk == .diskless && volume.peerDisk < .upToDate)
      }
      if isBlind, !commands.isBusy(n) {
        keeper.procedure = [.stopClient, .command(n, .secondary)]
        return true
      }
    }
    return false
  }

  /// A Primary that should become the target of its peer: a person demotes it.
  func stepDownForPeer() -> Bool {
    guard let n = keeper.mustStepDown, !commands.isBusy(n) else { return false }
    keeper.mustStepDown = nil
    guard nodes[n].isPrimary else { return false }
    keeper.procedure = [.stopClient, .command(n, .secondary)]
    return true
  }

  /// Nobody holds the application back for long.
  func endSuspensions() {
    for n in 0...1 where nodes[n].isRunning && nodes[n].view.isSuspended && !nodes[n].view.isFrozen {
      if nodes[n].stalledUntil <= now, random.oneIn(keeper.isHealing ? 2 : 20) { command(n, .resumeIO) }
    }
  }

  /// With `pass_on` a disk that had an error stays, Inconsistent, until a person takes it out and puts it in again.
  func needsAttachAgain(_ n: Int, _ v: Int) -> Bool {
    let volume = nodes[n].view.volumes[v]
    return volume.replication == .connected && volume.disk == .inconsistent && volume.peerDisk == .upToDate
      && now - keeper.lookedAfterDisk > 2 * World.second && !nodes[n].disks[v].broken && keeper.procedure.isEmpty
  }

  func attachAgain(_ n: Int, _ v: Int) {
    let number = nodes[n].view.volumes[v].number
    keeper.lookedAfterDisk = now
    if nodes[n].isPrimary { keeper.excusesSplitBrain = true }
    keeper.procedure = [.command(n, .detach(number, force: false)), .command(n, .attach(number))]
  }

  /// What a person reads in the log: after many resyncs that were cut before their target could write down that they had
  /// begun, the nodes do not know each other's generations any more.
  func read(_ n: Int, _ text: String) {
    if text.contains("local write failed") || text.contains(": size is ") {
      for v in histories.indices where text.contains("r0/\(v):") { keeper.resyncs[n][v]?.hasMore = true }
    }
    if text.contains("`disk { size }`") {
      census.add("state that needs a person: `disk { size }` is too small")
      keeper.hasLowLimit = true
    }
    if text.contains("I shall become SyncTarget, but I am primary!") {
      census.add("state that needs a person: a Primary would be the target")
      for v in histories.indices where text.contains("r0/\(v):") {
        // Its peer drew a generation and wrote nothing in it, or has gone on where the Primary could not.
        if keeper.truth[1 - n][v], !keeper.truth[n][v] {
          keeper.mustStepDown = n
        } else {
          keeper.isReplaced[1 - n][v] = true
        }
      }
    }
    guard text.contains("Unrelated data") else { return }
    census.add("state that needs a person: unrelated data")
    for x in 0...1 {
      for v in histories.indices where !keeper.truth[x][v] && text.contains("r0/\(v):") {
        keeper.isReplaced[x][v] = true
      }
    }
  }

  /// `adjust`, on both nodes: what a `resize --size` has said does not count any more.
  func raiseLimits() {
    keeper.hasLowLimit = false
    for n in 0...1 where nodes[n].isRunning { nodes[n].engine.adopt(nodes[n].settings) }
  }

  /// A person's answer to a new disk that the nodes do not accept: an empty one that is large enough.
  func repairReplaced(_ n: Int) -> Bool {
    if now - keeper.lookedAfterDisk < 5 * World.second { return false }
    for v in histories.indices where keeper.isReplaced[n][v] {
      if keeper.truth[n][v] {
        keeper.isReplaced[n][v] = false
        continue
      }
      let view = nodes[n].view
      let peer = nodes[1 - n]
      let isRefused = view.connection == .standAlone || (peer.isRunning && peer.view.connection == .standAlone)
      guard isRefused || view.volumes[v].disk == .diskless else { continue }
      let number = view.volumes[v].number
      keeper.lookedAfterDisk = now
      keeper.procedure = [
        .command(n, .disconnect(force: true)), .command(n, .detach(number, force: true)), .replaceDisk(n, v, .larger),
        .command(n, .attach(number)), .command(n, .connect(discardMyData: false)),
      ]
      return true
    }
    return false
  }
}

extension FakeDisk {
  /// What a copy of the device made now would contain: what is durable.
  func image() -> FakeDisk {
    let copy = FakeDisk(
      facts: facts, dataSectors: dataSectors, metaStart: metaStart, metaBytes: metaBlocks * 4096,
      isOnOneDevice: isOnOneDevice,
      original: cache.fill, room: room, hidden: cache.fill, reach: cache.sectors)
    for piece in durable.pieces.indices {
      guard let stamps = durable.pieces[piece] else { continue }
      let start = piece * StampMap.pieceSectors
      let count = min(StampMap.pieceSectors, durable.sectors - start)
      copy.cache.write(start, count, from: stamps)
      copy.durable.write(start, count, from: stamps)
    }
    copy.logBlocks = logBlocks
    copy.bitmapBlocks = bitmapBlocks
    copy.format { $0.copyMemory(from: UnsafeRawBufferPointer(metaDurable)) }
    return copy
  }

  /// Of the superblock, or of what a power cut would leave of it; nil: there is none that can be read.
  func generations(
    _ location: MetaLocation, _ peer: Int, durable: Bool = false
  ) -> (current: UInt64, bitmap: UInt64, flags: DeviceFlags)? {
    do throws(MetaFault) {
      let at = Int(try Placement.superblockOffset(location: location, deviceBytes: facts.metaBytes) - metaStart)
      let area = UnsafeRawBufferPointer(durable ? metaDurable : meta)
      let superblock = try Superblock(reading: UnsafeRawBufferPointer(rebasing: area[at..<at + 4096]).bytes)
      let found = superblock.generations(peerNode: peer)
      return (found.current, found.bitmap, superblock.flags)
    } catch {
      return nil
    }
  }
}
