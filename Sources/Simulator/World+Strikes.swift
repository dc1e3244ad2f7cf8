// Deaths at the moments that matter: right before, in the middle of, or right after one write of metadata, one flush, one new
// generation, one end of a resync. Such a moment is as long as one disk write; a death drawn uniformly in time rarely meets it.
import Base
import Engine
import MetaDisk

/// A death that waits for its moment.
struct Strike {
  enum Target: CaseIterable {
    case superblock, bitmapPage, activityLog, flush
    /// A superblock with another current UUID.
    case generation
    /// A superblock that says "consistent" where the one before said "inconsistent", or the reverse.
    case consistency
    /// Data of a resync, and writes of the application and of the peer.
    case resyncWrite, write
    /// A bitmap page that has lost bits. In deadly lives only.
    case forgetting
    /// A superblock with another bitmap UUID for the peer and the same current UUID: the source of a resync begins. As a favourite only.
    case bitmapGeneration

    static let deadly = allCases.filter { $0 != .bitmapGeneration }
    static let everywhere = deadly.filter { $0 != .forgetting }
  }
  enum Moment: CaseIterable {
    /// The work is under way: done, done in parts, or not done.
    case before
    /// The work is done, and the engine has not heard of it.
    case unheard
    /// The engine has heard of it, and has asked for what follows.
    case after
  }
  var target: Target
  var moment: Moment
  var countdown: UInt64
  var powerCut: Bool
  /// The node whose work it is, or its peer.
  var hitsPeer: Bool
  /// The machine of the other one loses its power, too.
  var hitsBoth: Bool

  static func drawn(_ random: inout SeededGenerator, powerCut: Bool, _ circumstances: Circumstances) -> Strike {
    let soon = circumstances.isDeadly
    let targets = soon ? Target.deadly : Target.everywhere
    var target = targets[Int(random.below(UInt64(targets.count)))]
    if let favourite = circumstances.favourite, random.oneIn(2) { target = favourite }
    let many: UInt64 =
      switch target {
      case .generation, .consistency, .forgetting, .bitmapGeneration: 1
      case .superblock, .bitmapPage, .flush: 4
      case .activityLog: 8
      case .resyncWrite, .write: soon ? 1 << random.below(7) : 100
      }
    var strike = Strike(
      target: target, moment: Moment.allCases[Int(random.below(UInt64(Moment.allCases.count)))],
      countdown: random.below(many), powerCut: powerCut, hitsPeer: random.oneIn(5), hitsBoth: random.oneIn(soon ? 3 : 6)
    )
    // What the peer was told of a generation must not be more than what this disk keeps.
    if target == .bitmapGeneration, !random.oneIn(4) {
      strike.moment = .before
      strike.powerCut = true
      strike.hitsPeer = false
    }
    return strike
  }
}

extension World {
  /// A death comes now, or at the next moment of the kind that it waits for.
  func dieSometime(_ n: Int, powerCut: Bool) {
    // The first era knows only deaths of the clock.
    if (era == .first && circumstances.planted == nil) || random.oneIn(circumstances.isDeadly ? 12 : 3) {
      crash(n, powerCut: powerCut)
      if powerCut, random.oneIn(5) { crash(1 - n, powerCut: true) }
      return
    }
    var strike = Strike.drawn(&random, powerCut: powerCut, circumstances)
    var victim = n
    // Only a Primary writes the log.
    if strike.target == .activityLog, nodes[1 - n].isPrimary { victim = 1 - n }
    if strike.hitsPeer { strike.hitsBoth = false }
    nodes[victim].strike = strike
  }

  /// The death that is due with the end of this work; takes one from its countdown.
  func strikeDue(_ n: Int, _ work: DiskWork) -> Strike? {
    guard let strike = nodes[n].strike, !faults.isEmpty, isMet(n, strike.target, work) else { return nil }
    if strike.countdown > 0 {
      nodes[n].strike!.countdown -= 1
      return nil
    }
    nodes[n].strike = nil
    return strike
  }

  /// Carries it out; false: the node whose work it was lives on, and has to be told of its work.
  func isDeadly(_ strike: Strike, to n: Int) -> Bool {
    census.add("fault: death \(strike.moment) a \(strike.target)")
    if isTracing { say(n, "struck \(strike.moment) a \(strike.target)") }
    crash(strike.hitsPeer ? 1 - n : n, powerCut: strike.powerCut)
    if strike.hitsBoth { crash(1 - n, powerCut: true) }
    return !strike.hitsPeer
  }

  private func isMet(_ n: Int, _ target: Strike.Target, _ work: DiskWork) -> Bool {
    switch (target, work.id.kind) {
    case (.superblock, .superblock), (.bitmapPage, .bitmapPage), (.activityLog, .activityLog): true
    case (.resyncWrite, .resyncWrite), (.write, .appWrite), (.write, .peerWrite): true
    case (.flush, .appFlush), (.flush, .epochFlush), (.flush, .bracket): true
    case (.generation, .superblock), (.consistency, .superblock), (.bitmapGeneration, .superblock):
      changes(n, work, target)
    case (.forgetting, .bitmapPage): forgets(n, work)
    default: false
    }
  }

  /// This page says "equal" of blocks that the one which lies there does not.
  private func forgets(_ n: Int, _ work: DiskWork) -> Bool {
    guard case .metaWrite(let block, let buffer, _) = work.what else { return false }
    let old = UnsafeRawBufferPointer(rebasing: nodes[n].disks[work.disk].meta[block * 4096..<block * 4096 + 4096])
    let new = UnsafeRawBufferPointer(nodes[n].metaBuffers[buffer])
    return (0..<4096).contains { old[$0] & ~new[$0] != 0 }
  }

  /// What this superblock says beside the one that lies there.
  private func changes(_ n: Int, _ work: DiskWork, _ target: Strike.Target) -> Bool {
    guard case .metaWrite(let block, let buffer, _) = work.what else { return false }
    do throws(MetaFault) {
      let new = try Superblock(reading: UnsafeRawBufferPointer(nodes[n].metaBuffers[buffer]).bytes)
      let place = nodes[n].disks[work.disk].meta
      let old = try Superblock(
        reading: UnsafeRawBufferPointer(rebasing: place[block * 4096..<block * 4096 + 4096]).bytes)
      switch target {
      case .generation: return old.current & ~1 != new.current & ~1
      case .bitmapGeneration:
        return old.current & ~1 == new.current & ~1
          && zip(old.peers, new.peers).contains { $0.bitmapUUID != $1.bitmapUUID && $1.bitmapUUID != 0 }
      default: return old.flags.contains(.consistent) != new.flags.contains(.consistent)
      }
    } catch {
      return false
    }
  }
}
