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
      // Not beside a Primary that runs: if the cable is cut before the ping is answered, the node takes the Primary for dead.
      guard mayBePromoted(n) else { return }
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
      // The limit is never below the sectors that the application uses.
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
    if era < .third, images[n][v] == nil || random.oneIn(8) {
      images[n][v] = nodes[n].disks[v].image()
      return
    }
    var what = Replacement.allCases[Int(random.below(UInt64(Replacement.allCases.count)))]
    if what == .oldImage, !isProvablyOld(n, v) { what = .blank }
    keeper.procedure = [
      .command(n, .detach(number, force: false)), .replaceDisk(n, v, what), .command(n, .attach(number)),
    ]
    if era >= .third, random.oneIn(4) {
      // While the node is down.
      keeper.procedure = [.command(n, .down), .leave(n), .replaceDisk(n, v, what)]
    } else if random.oneIn(2) {
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
    // A person does not take out the only good copy.
    if nodes[n].openDisks.contains(v) || !keeper.truth[1 - n][v] { return keeper.procedure.removeAll() }
    say(n, "volume \(v) gets another disk: \(what)")
    census.add("disk replaced: \(what)")
    census.add("disk replaced: any")
    keeper.replacementDue = .max
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
}
