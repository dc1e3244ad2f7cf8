// The write rule of the activity log under random lives: whatever was admitted to write is named by a ring read back
// after a crash, also when the last block is torn.
import Base
import MetaDisk
import Testing

@Suite struct ActivityLogTests {
  @Test func theChecksumHasTheKnownValues() {
    let digits = Array("123456789".utf8)
    check(CRC32C.raw(digits.span.bytes) == 0x58E3_FA20)
    check(CRC32C.standard(digits.span.bytes) == 0xE306_9283)
    let block = bytes(4096, ActivityLogBlock.initialize)
    check(Array(block[0..<16]) == [0x69, 0xCB, 0x65, 0xA2, 0, 0, 0, 0, 0x70, 0x9C, 0xC6, 0x51, 0xFF, 0xFF, 0, 0])
  }

  @Test func theFirstTransactionIsTheOneInTheFixture() throws {
    var log = ActivityLog(slots: 67)
    check(log.slotCount == 67)
    check(log.begin(ExtentNumber(3)) == .pending)
    let transaction = try required(log.prepare())
    check(transaction.number == 0 && transaction.blockIndex == 0 && transaction.evicted.isEmpty)
    let fixture = try OpenedImage(Fixture(name: "v08-al-first-before").image(), .internal)
    check(render(log) == fixture.image.read(fixture.placement.activityLogOffset, 4096))
  }

  @Test func anExtentIsActiveOnlyAfterTheCommit() throws {
    var log = ActivityLog(slots: 4)
    check(log.begin(ExtentNumber(7)) == .pending && log.hasPending && !log.isActive(ExtentNumber(7)))
    check(log.begin(ExtentNumber(7)) == .pending)
    _ = try required(log.prepare())
    check(log.inFlight && !log.hasPending && log.prepare() == nil && log.prepareContext() == nil)
    check(log.begin(ExtentNumber(7)) == .pending)
    log.committed()
    check(log.isActive(ExtentNumber(7)) && log.begin(ExtentNumber(7)) == .active && log.references == 4)
    check(log.prepare() == nil)
  }

  @Test func theLeastRecentlyUsedExtentWithoutReferenceLeaves() throws {
    var log = ActivityLog(slots: 3)
    for extent: UInt32 in [1, 2, 3] { check(log.begin(ExtentNumber(extent)) == .pending) }
    _ = log.prepare()
    log.committed()
    check(log.begin(ExtentNumber(9)) == .starved)
    for extent: UInt32 in [2, 1, 3] { log.end(ExtentNumber(extent)) }
    // 2 is the oldest, but is used again.
    check(log.begin(ExtentNumber(2)) == .active)
    log.end(ExtentNumber(2))
    check(log.begin(ExtentNumber(9)) == .pending)
    check(!log.isActive(ExtentNumber(1)) && log.isActive(ExtentNumber(2)))
    let transaction = try required(log.prepare())
    check(transaction.evicted == [ExtentNumber(1)])
    log.committed()
    check(log.activeExtents == [ExtentNumber(2), ExtentNumber(3), ExtentNumber(9)])
  }

  @Test func anExtentOnItsWayOutComesBackInAnotherSlot() throws {
    var log = ActivityLog(slots: 2)
    check(log.begin(1...2) == .pending)
    _ = log.prepare()
    log.committed()
    log.end(ExtentNumber(1))
    log.end(ExtentNumber(2))
    check(log.begin(ExtentNumber(5)) == .pending)
    check(log.begin(ExtentNumber(1)) == .pending)
    check(log.begin(ExtentNumber(6)) == .starved)
    check(try required(log.prepare()).evicted == [ExtentNumber(1), ExtentNumber(2)])
    log.committed()
    check(log.activeExtents == [ExtentNumber(1), ExtentNumber(5)])
  }

  @Test func aRequestOverTwoExtentsTakesBothOrNone() {
    var log = ActivityLog(slots: 2)
    check(log.begin(ExtentNumber(1)) == .pending)
    check(log.begin(4...5) == .starved)
    check(log.references == 1)
    check(log.begin(3...3) == .starved)
    _ = log.prepare()
    log.committed()
    // 4 got its slot, though nobody waits for it; 3 can have it now.
    check(log.begin(3...3) == .pending && log.isActive(1...1))
  }

  @Test func sixtyFourChangesAreOneTransaction() throws {
    var log = ActivityLog(slots: 1237)
    for extent: UInt32 in 0..<130 { check(log.begin(ExtentNumber(extent)) == .pending) }
    var sizes: [Int] = []
    var windows: [UInt16] = []
    while log.prepare() != nil {
      let block = render(log)
      windows.append(UInt16(block[18]) << 8 | UInt16(block[19]))
      let before = log.activeExtents.count
      log.committed()
      sizes.append(log.activeExtents.count - before)
    }
    check(windows == [0, 919, 0])
    check(sizes == [64, 64, 2] && log.nextTransaction == 3)
  }

  @Test func slotsAreCutToWhatTheRingDescribes() {
    check(ActivityLog(slots: 65534).slotCount == 6433)
    check(ActivityLog(slots: 65534, stripes: 4, stripeSize4k: 20).slotCount == 65534)
  }

  @Test func aLogStartedAnewIsEmpty() {
    var log = ActivityLog(slots: 67, firstTransaction: 1 << 30)
    check(log.shouldRestart && log.begin(ExtentNumber(1)) == .pending)
    _ = log.prepare()
    log.committed()
    log.end(ExtentNumber(1))
    log.reset()
    check(!log.shouldRestart && log.nextTransaction == 0 && log.activeExtents.isEmpty)
    check(log.begin(ExtentNumber(1)) == .pending)
  }

  struct Geometry: Sendable { let slots: Int, stripes: UInt32, size: UInt32, extents: UInt64, first: UInt32 }

  @Test(arguments: [
    Geometry(slots: 67, stripes: 1, size: 8, extents: 100, first: 0),
    Geometry(slots: 67, stripes: 4, size: 16, extents: 70, first: 0xFFFF_FFF0),
    Geometry(slots: 1237, stripes: 1, size: 8, extents: 2000, first: 0),
    Geometry(slots: 1237, stripes: 1, size: 8, extents: 1300, first: 0x7FFF_FFFA),
    Geometry(slots: 6433, stripes: 1, size: 8, extents: 7000, first: 5),
    Geometry(slots: 2, stripes: 3, size: 5, extents: 4, first: 0),
  ])
  func whateverWasAdmittedIsNamedAfterACrash(_ g: Geometry) throws {
    var random = SeededGenerator(seed: UInt64(g.slots) + UInt64(g.first))
    for life in 0..<4 {
      var log = ActivityLog(slots: g.slots, stripes: g.stripes, stripeSize4k: g.size, firstTransaction: g.first)
      let blocks = g.stripes * g.size
      var ring = [[UInt8]](repeating: bytes(4096, ActivityLogBlock.initialize), count: Int(blocks))
      var held: [UInt32] = []
      var parked: [UInt32] = []
      let steps = 40 + Int(random.below(life == 0 ? 20 : 150))
      for step in 0..<steps {
        for _ in 0..<random.below(120) {
          let extent = UInt32(random.below(g.extents))
          switch log.begin(ExtentNumber(extent)) {
          case .active: held.append(extent)
          case .pending: parked.append(extent)
          case .starved: break
          }
        }
        while held.count > g.slots / 3 || (!held.isEmpty && random.oneIn(3)) {
          log.end(ExtentNumber(held.remove(at: Int(random.below(UInt64(held.count))))))
        }
        let fixed = Set(held)
        guard let transaction = log.prepare() else { continue }
        check(transaction.evicted.allSatisfy { !fixed.contains($0.value) })
        let block = render(log)
        if step == steps - 1 {
          // Power cut in the middle of the write.
          let torn = Int(random.below(4096))
          ring[Int(transaction.blockIndex)].replaceSubrange(0..<torn, with: block[0..<torn])
          break
        }
        ring[Int(transaction.blockIndex)] = block
        log.committed()
        parked.removeAll {
          guard log.isActive(ExtentNumber($0)) else { return false }
          held.append($0)
          return true
        }
      }
      var replay = ActivityLogReplay(stripes: g.stripes, stripeSize4k: g.size)
      for i in 0..<blocks { replay.absorb(i, ring[Int(i)]) }
      let outcome = try replay.finish()
      check(outcome.corruptBlocks <= 1)
      check(Set(held).isSubset(of: Set(outcome.active.map(\.value))))
      if !log.inFlight { check(outcome.active == log.activeExtents) }
      check(outcome.entries.count <= g.slots)
    }
  }

  @Test func aRingBuiltAnewFromContextAloneSaysTheSame() throws {
    var random = SeededGenerator(seed: 11)
    var log = ActivityLog(slots: 5000)
    for _ in 0..<6000 {
      _ = log.begin(ExtentNumber(UInt32(random.below(100_000))))
      if log.prepare() != nil { log.committed() }
    }
    var replay = ActivityLogReplay()
    for _ in 0..<8 {
      let transaction = try required(log.prepareContext())
      replay.absorb(transaction.blockIndex, render(log))
      log.committed()
    }
    check(try replay.finish().active == log.activeExtents)
  }

  @Test func aRingThatCannotBeTrustedIsNamed() throws {
    let good = bytes(4096, ActivityLogBlock.initialize)
    let zero = [UInt8](repeating: 0, count: 4096)
    func outcome(_ blocks: [[UInt8]]) throws(MetaFault) -> ActivityLogReplay.Outcome {
      var replay = ActivityLogReplay()
      for (i, block) in blocks.enumerated() { replay.absorb(UInt32(i), block) }
      return try replay.finish()
    }
    #expect(throws: MetaFault.activityLogEmpty) { try outcome(Array(repeating: zero, count: 8)) }
    check(try outcome([zero] + Array(repeating: good, count: 7)).corruptBlocks == 1)
    #expect(throws: MetaFault.activityLogCorrupt(badBlocks: 1)) {
      try outcome([good, zero] + Array(repeating: good, count: 6))
    }
    #expect(throws: MetaFault.activityLogCorrupt(badBlocks: 2)) {
      try outcome([zero, zero] + Array(repeating: good, count: 6))
    }
    var old = zero
    old.replaceSubrange(0..<4, with: [0x83, 0x74, 0x02, 0x67])
    do {
      _ = try outcome([old] + Array(repeating: zero, count: 7))
      Issue.record("accepted")
    } catch {
      guard case .unsupported = error else { throw error }
    }
  }

  @Test func anUnreadableLogStopsOnlyAPrimary() throws {
    var sb = try SuperblockTests.fresh(.v08)
    sb.markAttached()
    let plan = try ActivityLogApplication(superblock: sb, replay: .failure(.activityLogEmpty))
    check(plan.initializesLog && plan.marked.isEmpty && plan.superblock.isClean && plan.superblockChanged)
    check(plan.ignoredFault == .activityLogEmpty)
    sb.flags.insert(.primaryIndicator)
    #expect(throws: MetaFault.activityLogEmpty) {
      try ActivityLogApplication(superblock: sb, replay: .failure(.activityLogEmpty))
    }
  }

  @Test func aSecondarysLogIsDiscardedAndExtentsBehindTheEndAreReported() throws {
    var sb = try SuperblockTests.fresh(.v09)
    sb.effectiveSize = SectorCount(8192 * 3)
    sb.markAttached()
    var replay = ActivityLogReplay()
    var log = ActivityLog(slots: 67)
    check(log.begin(2...3) == .pending)
    _ = log.prepare()
    replay.absorb(0, render(log))
    let outcome = try replay.finish()
    let asSecondary = try ActivityLogApplication(superblock: sb, replay: .success(outcome))
    check(asSecondary.marked.isEmpty && asSecondary.initializesLog)
    sb.flags.insert(.primaryIndicator)
    let asPrimary = try ActivityLogApplication(superblock: sb, replay: .success(outcome))
    check(asPrimary.marked == [ExtentNumber(2)] && asPrimary.beyondEnd == [ExtentNumber(3)])
    check(asPrimary.superblock.flags.contains(.primaryIndicator))
  }
}
