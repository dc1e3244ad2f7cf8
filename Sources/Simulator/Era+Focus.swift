// What a life of the second era is about, beyond what is drawn for all of them. Most faults of an engine that lose data need two
// things within the time of one disk write: many writes to few blocks, and a death. Some lives have little else.
import Base
import Engine

extension Circumstances {
  /// From a stream of its own, after everything else.
  mutating func drawFocus(_ seed: UInt64) {
    var apart = SeededGenerator(seed: seed &* 0x9e37_79b9_7f4a_7c15 &+ 0x66_6f_63_75)
    // Few blocks: what the application writes is what is resynced, read and written again at that moment.
    if !apart.oneIn(3) { client.spread = 32 << apart.below(8) }
    client.straddles = apart.oneIn(2)
    if apart.oneIn(2) { diskJitter = 1 + apart.below(7) }
    if maximumVersion.min()! < 91 || rude != nil { return }
    if apart.oneIn(2) { net.checksumAlgorithm = "" }
    switch apart.below(16) {
    case 0...2: drawDeaths(&apart)
    case 3...6: drawLog(&apart)
    case 7...8: drawSlowResync(&apart)
    case 9...10: drawBlindPrimary(&apart)
    case 11: drawErrors(&apart)
    case 12: drawGenerations(&apart)
    default: break
    }
  }

  /// Deaths at the moments that matter, one after the other, and what sets such moments off.
  private mutating func drawDeaths(_ apart: inout SeededGenerator) {
    isDeadly = true
    faultsWanted = 6 + Int(apart.below(10))
    favourite = Strike.Target.deadly[Int(apart.below(UInt64(Strike.Target.deadly.count)))]
    if favourite == .generation, apart.oneIn(2) { favourite = .bitmapGeneration }
    faults = [.kill, .powerCut, .reset]
    faults.formUnion(Faults.all.intersection(Faults(rawValue: UInt32(truncatingIfNeeded: apart.next() & apart.next()))))
    client.spread = min(client.spread, 32 << apart.below(6))
    client.depth = max(client.depth, 4)
    client.hotExtents = min(client.hotExtents, 1 + apart.below(4))
    client.restOneIn = max(client.restOneIn, 200)
    client.rest = min(client.rest, 1 << 24)
  }

  /// Resyncs of few blocks that take seconds: the bitmap is written while they run.
  private mutating func drawSlowResync(_ apart: inout SeededGenerator) {
    drawDeaths(&apart)
    startsWithFullSync = false
    actions.subtract([.invalidate, .replaceDisk])
    favourite = apart.oneIn(3) ? .resyncWrite : .forgetting
    faults.insert(.linkCut)
    net.checksumAlgorithm = ""
    resync.planAhead = 0
    resync.rateIsConfigured = true
    for n in options.indices {
      options[n].resync = resync
      options[n].resync.rate = 60 << UInt32(apart.below(3))
    }
    client.spread = 1024 << apart.below(3)
    client.thinkTime = max(client.thinkTime, 1 << 22)
    client.large = min(client.large, 10)
    client.flushes = apart.oneIn(2) ? 0 : client.flushes
  }

  /// The Primary's disk goes and comes, again and again: it reads from its peer, and is the target of resyncs.
  private mutating func drawBlindPrimary(_ apart: inout SeededGenerator) {
    drawDeaths(&apart)
    actions = [.failOver, .detach]
    actionEvery = 50_000_000 << apart.below(4)
    client.reads = 200 + apart.below(300)
    if apart.oneIn(2) { faults = [.slowDisk, .reset] }
  }

  /// Disks that fail now and then.
  private mutating func drawErrors(_ apart: inout SeededGenerator) {
    drawDeaths(&apart)
    faults = [.singleErrors, .diskError, apart.oneIn(2) ? .powerCut : .kill]
  }

  /// Resyncs that begin, one after the other, and machines that lose their power while the new generation is written.
  private mutating func drawGenerations(_ apart: inout SeededGenerator) {
    drawDeaths(&apart)
    favourite = .bitmapGeneration
    faults = [.powerCut, .linkCut, .reset]
    startsWithFullSync = false
    actions.subtract([.invalidate, .replaceDisk])
  }

  /// More extents than the log has slots, so that extents leave it all the time, and few reasons to copy the whole volume.
  private mutating func drawLog(_ apart: inout SeededGenerator) {
    drawDeaths(&apart)
    faults.insert(.linkCut)
    while volumes.count > 1 { volumes.removeLast() }
    startsWithFullSync = false
    actions.subtract([.invalidate, .replaceDisk])
    // Blocks that are not written again at once: what was lost stays to be seen.
    client.spread = 8192
    // All extents alike, or few that stay in the log while the others come and go.
    client.hotExtents = apart.oneIn(2) ? 100 : 1 + apart.below(4)
    client.discards = 0
    if apart.oneIn(2) {
      // Epochs stay open, and nothing is flushed but by the engine.
      client.flushes = 0
      client.fua = 0
      client.isLog = false
      for n in options.indices { options[n].maxEpochSize = 2048 }
    }
    // Many slots: a block of the log lies in several sectors, and a torn one mixes two transactions.
    let isLarge = apart.oneIn(4)
    if isLarge {
      faults = [.powerCut, .linkCut]
      favourite = .activityLog
      client.hotExtents = 100
    }
    let bytes = (isLarge ? 240 << 20 : 20 << 20) + apart.below(5120) * 4096
    volumes[0].deviceBytes = [bytes, bytes]
    if apart.oneIn(4) { volumes[0].deviceBytes[Int(apart.below(2))] += (1 + apart.below(1024)) * 4096 }
    volumes[0].room = 0
    for n in volumes[0].apart.indices {
      volumes[0].apart[n].alExtents = (isLarge ? 48 : 4) + UInt32(apart.below(3))
      if isLarge { volumes[0].apart[n].logicalBlock = 512 }
      if apart.oneIn(2) { volumes[0].apart[n].location = .external }
    }
  }
}
