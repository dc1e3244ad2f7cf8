// Internal metadata move to the new end of a device that grows in use: what is resynced, what a crash at any write of it leaves,
// and that writes under way are covered all the time.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

extension FakeDisk {
  func grow(to bytes: UInt64) {
    facts.dataBytes = bytes
    facts.metaBytes = bytes
  }

  /// Metadata lie where the device's size says.
  var hasSuperblock: Bool {
    do { _ = try superblock() } catch { return false }
    return true
  }
}

@Suite("Metadata that move")
struct MetadataMoveTests {
  private static let small: UInt64 = 8 << 20
  private static let moves: [WorkID.Kind] = [.move, .activityLog, .bitmapPage, .superblock]
  /// Far away, and so near that the new metadata lie on all of the old, or on a part.
  private static let larger: [UInt64] = [16 << 20, small + 8192, small + 65536]
  private let resize = Command.resize(.zero, limit: nil, assumeClean: false)

  private func usable(_ bytes: UInt64) throws -> SectorCount {
    try Placement(location: .internal, deviceBytes: bytes).usableSectors(dataDeviceBytes: bytes)
  }

  @Test(
    "both devices grow: the metadata lie at the new end, the old superblock is gone, the new blocks are resynced",
    arguments: [MetaFormat.v08, .v09], larger)
  func moves(_ format: MetaFormat, _ large: UInt64) throws {
    let pair = try Pair(format: format)
    pair.synced()
    pair.alpha.write(40, stamp: 1)
    pair.settle()
    for node in pair.both { node.disks[.zero]!.grow(to: large) }
    pair.beta.disks[.zero]!.spoil(16304, 8, with: 9)
    pair.order(resize, on: pair.alpha)
    pair.waitSync()
    let size = try usable(large)
    for node in pair.both {
      #expect(node.volume().size == size && node.sizes[.zero] == size)
      let found = try node.disks[.zero]!.superblock()
      #expect(found.effectiveSize == size)
      #expect(!found.flags.contains(.fullSync) && !found.flags.contains(.alDisabled))
      #expect(found.peers.allSatisfy { !$0.flags.contains(.fullSync) })
      #expect(try node.disks[.zero]!.outOfSync(peerNode: node === pair.alpha ? 1 : 0).isEmpty)
      #expect(!node.log.contains { $0.contains("all blocks are out of sync") })
      if large > Self.small + 40960 {
        node.disks[.zero]!.grow(to: Self.small)
        #expect(!node.disks[.zero]!.hasSuperblock)
        node.disks[.zero]!.grow(to: large)
      }
    }
    pair.wait(pair.alpha, [pair.alpha.write(size.value - 8, stamp: 7)])
    pair.expectEqual()
    pair.expectRest()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    // They are found again.
    for node in pair.both { pair.crash(node) }
    pair.attach()
    for node in pair.both { #expect(node.volume().size == size) }
  }

  @Test("what held metadata is never taken for equal, not even with --assume-clean")
  func assumeClean() throws {
    let pair = try Pair()
    pair.synced()
    for node in pair.both { node.disks[.zero]!.grow(to: 16 << 20) }
    pair.order(.resize(.zero, limit: nil, assumeClean: true), on: pair.alpha)
    pair.waitSync()
    // One page of bitmap, eight blocks of log, the superblock.
    for node in pair.both { #expect(node.volume().outOfSync.value == 10 * 8) }
  }

  @Test("writes go on while the metadata move; one that needs a log transaction waits for the new log")
  func writesGoOn() throws {
    let pair = try Pair(diskBytes: [32 << 20])
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    for node in pair.both { node.disks[.zero]!.grow(to: 64 << 20) }
    pair.alpha.holding = [.move]
    let to = pair.alpha.order(resize)
    pair.settle()
    #expect(pair.alpha.heldCount(.move) == 8)
    let warm = pair.alpha.write(16, stamp: 2)
    let cold = pair.alpha.write(40000, stamp: 3)
    pair.settle()
    #expect(pair.alpha.isGood(warm) && !pair.alpha.isAnswered(cold))
    #expect(pair.alpha.volume().size == (try usable(32 << 20)))
    pair.alpha.stopHolding()
    pair.settle()
    #expect(pair.alpha.isGood(cold) && pair.alpha.replies[to] == .done)
    pair.waitSync()
    pair.expectEqual()
    pair.expectRest()
  }

  /// Runs a resize of alpha, does `steps` of its writes, and cuts the power. Nil: it needed no more than that.
  private func crashed(
    _ format: MetaFormat, _ large: UInt64, _ steps: Int, alone: Bool, power: Bool
  ) throws -> Pair? {
    let pair = try Pair(format: format, diskBytes: [Self.small])
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(40, stamp: 1)])
    pair.wait(pair.alpha, [pair.alpha.flush()])
    pair.settle()
    if alone {
      // Bits that nobody but this bitmap knows.
      pair.cutLink()
      pair.settle()
      pair.wait(pair.alpha, [pair.alpha.write(800, stamp: 2), pair.alpha.write(9000, stamp: 2)])
      pair.wait(pair.alpha, [pair.alpha.flush()])
    } else {
      // A write that has reached one disk: nothing but the log knows it.
      pair.network.isCut = true
      pair.alpha.write(800, stamp: 2)
    }
    pair.settle()
    pair.alpha.disks[.zero]!.grow(to: large)
    pair.alpha.holding = Set(Self.moves)
    let to = pair.alpha.order(resize)
    pair.settle()
    for _ in 0..<steps {
      guard let next = pair.alpha.held.first else {
        pair.alpha.stopHolding()
        return nil
      }
      pair.alpha.release(next.id.kind, count: 1)
      pair.settle()
    }
    if pair.alpha.replies[to] != nil, pair.alpha.held.isEmpty { return nil }
    pair.crash(pair.alpha, power: power, told: false)
    pair.network.reset()
    return pair
  }

  @Test(
    "a power cut after any write of the move loses nothing", arguments: [MetaFormat.v08, .v09], [larger[0], larger[1]])
  func crashes(_ format: MetaFormat, _ large: UInt64) throws {
    for alone in [true, false] {
      for power in [true, false] {
        var steps = 0
        var seen: Set<String> = []
        while let pair = try crashed(format, large, steps, alone: alone, power: power) {
          let disk = pair.alpha.disks[.zero]!
          if !disk.hasSuperblock {
            // The old place counts: check-resize would find it.
            disk.grow(to: Self.small)
            #expect(disk.hasSuperblock, "step \(steps): neither place is good")
            seen.insert("old")
          } else {
            let found = try disk.superblock()
            let isSealed =
              format == .v08 ? found.flags.contains(.fullSync) : found.peers[1].flags.contains(.fullSync)
            seen.insert(isSealed ? "sealed" : "new")
          }
          pair.alpha.holding = []
          pair.mendLink()
          pair.restart(pair.alpha)
          pair.waitConnected()
          pair.waitSync()
          pair.expectEqual()
          #expect(disk[40] == 1)
          if alone { #expect(disk[800] == 2 && disk[9000] == 2) }
          steps += 1
          if steps > 200 { break }
        }
        #expect(seen == ["old", "sealed", "new"], "\(format) \(large) \(alone) \(power): \(steps) steps")
      }
    }
  }

  @Test("a disk that fails in the middle is given up, and the command fails")
  func fails() throws {
    for count in 0..<14 {
      let pair = try Pair()
      pair.synced()
      for node in pair.both { node.disks[.zero]!.grow(to: 16 << 20) }
      pair.alpha.holding = Set(Self.moves)
      let to = pair.alpha.order(resize)
      pair.settle()
      for _ in 0..<count {
        guard let next = pair.alpha.held.first else { break }
        pair.alpha.release(next.id.kind, count: 1)
        pair.settle()
      }
      guard let next = pair.alpha.held.first else { break }
      pair.alpha.release(next.id.kind, count: 1, fault: DiskFault(errno: 5))
      pair.alpha.stopHolding()
      pair.settle()
      #expect(pair.alpha.replies[to] != nil, "\(count)")
      #expect(pair.alpha.volume().disk == .diskless, "\(count)")
      pair.expectRest()
    }
  }

  @Test("a detach in the middle ends in good order", arguments: 0..<13)
  func detach(_ count: Int) throws {
    let pair = try Pair()
    pair.synced()
    for node in pair.both { node.disks[.zero]!.grow(to: 16 << 20) }
    pair.alpha.holding = Set(Self.moves)
    _ = pair.alpha.order(resize)
    pair.settle()
    for _ in 0..<count {
      guard let next = pair.alpha.held.first else { break }
      pair.alpha.release(next.id.kind, count: 1)
      pair.settle()
    }
    let detach = pair.alpha.order(.detach(.zero, force: false))
    pair.settle()
    pair.alpha.holding = []
    while !pair.alpha.held.isEmpty {
      pair.alpha.release(pair.alpha.held[0].id.kind, count: 1)
      pair.settle()
    }
    pair.run(until: { pair.alpha.replies[detach] != nil })
    #expect(pair.alpha.replies[detach] == .done)
    #expect(pair.alpha.volume().disk == .diskless)
    pair.order(.attach(.zero), on: pair.alpha)
    pair.waitSync()
    pair.expectEqual()
  }

  @Test("grown while both were down, the new blocks are resynced when they meet", arguments: [true, false])
  func grownApart(promoted: Bool) throws {
    let pair = try Pair()
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(40, stamp: 1)])
    for node in pair.both { pair.order(.down, on: node) }
    for node in pair.both {
      let disk = node.disks[.zero]!
      let found = try disk.superblock()
      disk.grow(to: 16 << 20)
      try disk.move(found)
      node.crash(power: false)
    }
    pair.beta.disks[.zero]!.spoil(20000, 8, with: 9)
    pair.attach()
    if promoted { pair.order(.primary(force: false), on: pair.alpha) }
    pair.connect()
    pair.waitSync()
    for node in pair.both { #expect(node.volume().size == (try usable(16 << 20))) }
    pair.expectEqual()
    pair.expectRest()
  }
}
