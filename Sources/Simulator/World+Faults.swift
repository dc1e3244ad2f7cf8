// What goes wrong by itself: a process or a machine dies and comes back, the cable is cut, a connection is reset, a disk
// is slow or fails. What a crash leaves on a disk is what the disk's laws allow, no more.
import Base
import Engine

extension World {
  static let millisecond: UInt64 = 1_000_000

  func scheduleFault() {
    if circumstances.faultsWanted > 0 { return planMisfortune() }
    let every = circumstances.faultEvery
    schedule.add(.fault, at: now + every / 4 + random.below(every * 3 / 2 + 1))
  }

  func somethingGoesWrong() {
    defer { if !faults.isEmpty { scheduleFault() } }
    let possible: [Faults] = [.kill, .powerCut, .linkCut, .reset, .slowDisk, .diskError].filter { faults.contains($0) }
    guard !possible.isEmpty else { return }
    let n = Int(random.below(2))
    switch possible[Int(random.below(UInt64(possible.count)))] {
    case .kill: dieSometime(n, powerCut: false)
    case .powerCut: dieSometime(n, powerCut: true)
    case .linkCut: cutForAWhile()
    case .reset: resetOneConnection()
    case .slowDisk:
      slowDisks(n)
    default: breakDisk(n)
    }
  }

  func cutForAWhile() {
    if !cableIsWhole { return }
    cutCable()
    healLater()
  }

  func healLater() {
    let long = random.oneIn(2) ? 8_000 * World.millisecond : 300 * World.millisecond
    schedule.add(.heal, at: now + World.millisecond + random.below(long))
  }

  func slowDisks(_ n: Int) {
    say(n, "the disks are slow")
    nodes[n].diskSlowness = 1 << (1 + random.below(9))
    schedule.add(.mend, at: now + random.below(3_000 * World.millisecond), node: n, .max)
  }

  /// Only while the other node has the same data: nobody survives the loss of the only copy.
  func breakDisk(_ n: Int) {
    let v = Int(random.below(UInt64(histories.count)))
    let other = 1 - n
    guard nodes[other].isRunning, keeper.truth[other][v], !nodes[other].disks[v].broken else { return }
    failDisk(n, v)
  }

  func failDisk(_ n: Int, _ v: Int) {
    say(n, "the disk of volume \(v) fails")
    nodes[n].disks[v].broken = true
    keeper.resyncs[n][v]?.hasMore = true
    schedule.add(.mend, at: now + random.below(2_000 * World.millisecond), node: n, UInt64(v))
  }

  func mendDisk(_ n: Int, _ v: Int) {
    if v < 0 || v >= nodes[n].disks.count {
      nodes[n].diskSlowness = 1
    } else {
      nodes[n].disks[v].broken = false
      say(n, "the disk of volume \(v) works again")
    }
  }

  // MARK: crashes

  /// The node dies, and comes back after a while.
  func crash(_ n: Int, powerCut: Bool, backAfter: UInt64? = nil) {
    let soon = circumstances.isDeadly && !random.oneIn(8) ? World.millisecond * (5 + random.below(300)) : nil
    let delay =
      backAfter ?? soon
      ?? (50 * World.millisecond + random.below(random.oneIn(3) ? 8_000 * World.millisecond : 800 * World.millisecond))
    if nodes[n].isRunning { die(n, powerCut: powerCut) }
    schedule.add(.boot, at: now + delay, node: n, life: nodes[n].life)
  }

  func die(_ n: Int, powerCut: Bool) {
    let node = nodes[n]
    say(n, powerCut ? "POWER CUT" : "KILLED")
    keeper.nodeDies(n, powerCut: powerCut, self)
    killClient(on: n)
    for i in node.works.indices where node.works[i].isActive { leaveBehind(n, node.works[i], powerCut: powerCut) }
    if powerCut {
      for disk in node.disks { disk.losePower(&random) }
      for i in node.works.indices where node.works[i].isActive { tear(n, node.works[i]) }
      machineLosesSockets(n)
      node.hasPower = false
    } else {
      processLosesSockets(n)
    }
    node.stop()
    pool.giveBackAll(of: .engine(n))
    commands.forget(n)
    ledger.forget(n)
    cluster.nodeDies(n, powerCut: powerCut)
  }

  /// A flush or a barrier under way may have done its first half. Without a power cut, operations just complete or not.
  private func leaveBehind(_ n: Int, _ work: DiskWork, powerCut: Bool) {
    let disk = nodes[n].disks[work.disk]
    switch work.what {
    case .data(.flush): if random.oneIn(2) { disk.flush(work.mark) }
    case .metaWrite(let block, let buffer, let barrier):
      let bytes = UnsafeRawBufferPointer(nodes[n].metaBuffers[buffer])
      if barrier != .nothing {
        // First what was complete before, the data, then the metadata; then the block itself, or a part of it.
        let steps = random.below(4)
        if steps == 0 { return }
        if barrier == .everything, steps == 1 { return disk.flush(work.mark) }
        disk.flush(work.mark, for: barrier)
        if powerCut { return disk.tearMeta(block, bytes, &random) }
      }
      if !powerCut && random.oneIn(2) { disk.completeMeta(block, bytes, barrier, work.mark) }
    case .data(.write(let range, let payload, let fua)) where !powerCut:
      forPieces(range) { start, count, offset in
        disk.completeWrite(start, count, pool[payload] + offset, fua: fua)
      }
    case .data(.discard(let range)) where !powerCut:
      forPieces(range) { start, count, _ in disk.completeFill(start, count, disk.leftByDiscard) }
    case .data(.zero(let range, _)) where !powerCut:
      forPieces(range) { start, count, _ in disk.completeFill(start, count, Stamps.zero) }
    default: break
    }
  }

  /// All pieces of 4 KiB, none, or some.
  private func forPieces(_ range: BlockRange, _ body: (Int, Int, Int) -> Void) {
    let mode = random.below(3)
    if mode == 0 { return }
    let start = Int(range.start.value)
    let end = Int(range.end.value)
    if mode == 1 { return body(start, end - start, 0) }
    var sector = start
    while sector < end {
      let stop = min(end, (sector | 7) + 1)
      if random.oneIn(2) { body(sector, stop - sector, sector - start) }
      sector = stop
    }
  }

  /// A write under way when the power went.
  private func tear(_ n: Int, _ work: DiskWork) {
    let disk = nodes[n].disks[work.disk]
    switch work.what {
    case .data(.write(let range, let payload, _)):
      let stamps = pool[payload]
      disk.tear(Int(range.start.value), Int(range.count.value), &random) { stamps[$0] }
    case .data(.discard(let range)):
      disk.tear(Int(range.start.value), Int(range.count.value), &random) { _ in disk.leftByDiscard }
    case .data(.zero(let range, _)):
      disk.tear(Int(range.start.value), Int(range.count.value), &random) { _ in Stamps.zero }
    case .metaWrite(let block, let buffer, .nothing):
      disk.tearMeta(block, UnsafeRawBufferPointer(nodes[n].metaBuffers[buffer]), &random)
    default: break
    }
  }
}
