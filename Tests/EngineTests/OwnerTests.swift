// The nouns of the engine keep their own laws: what cannot follow stops the process at its birth, and a count that no table knows is found
// by the invariants.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Owners")
struct OwnerTests {
  @Test("more cannot end than began")
  func outstanding() async {
    var work = Outstanding()
    work.begin()
    work.end()
    #expect(work.count == 0)
    await #expect(processExitsWith: .failure) {
      var none = Outstanding()
      none.end()
    }
  }

  @Test("the own disk: what is gone does not come back but by an attach")
  func disks() {
    #expect(DiskState.allCases.filter { DiskState.diskless.mayBecome($0) } == [.attaching])
    #expect(DiskState.allCases.filter { DiskState.failed.mayBecome($0) } == [.diskless])
    let good: [DiskState] = [.failed, .inconsistent, .outdated, .consistent, .upToDate]
    for state in [DiskState.negotiating, .inconsistent, .outdated, .consistent, .upToDate] {
      #expect(DiskState.allCases.filter { state.mayBecome($0) } == good, "\(state.name)")
    }
    #expect(!DiskState.allCases.contains { $0.mayBecome(.unknown) })
  }

  @Test("the connection: a resync begins by its steps, and every connection that stands may end")
  func connections() {
    let all = ConnectionState.allCases
    #expect(all.filter { $0.mayBecome(.wfReportParams) } == [.wfConnection])
    #expect(all.filter { $0.mayBecome(.syncTarget) } == [.wfSyncUUID, .pausedSyncT, .behind])
    #expect(all.filter { $0.mayBecome(.syncSource) } == [.startingSyncS, .wfBitMapS, .pausedSyncS])
    #expect(all.filter { $0.mayBecome(.unconnected) && $0 >= .wfConnection }.isEmpty)
    for state in all where state >= .wfConnection && state != .ahead {
      #expect(state.mayBecome(.networkFailure) && state.mayBecome(.tearDown), "\(state.name)")
    }
  }

  @Test("a state that cannot follow stops the process")
  func door() async {
    await #expect(processExitsWith: .failure) {
      let bench = try Bench()
      bench.node.engine.change(0) { $0.disk = .upToDate }
    }
  }

  @Test("a request of the application that is in no table is found")
  func recount() async {
    await #expect(processExitsWith: .failure) {
      let bench = try Bench()
      bench.primary()
      bench.node.engine.volumes[0].requests.begin()
      bench.node.engine.checkInvariants()
    }
  }

  @Test("an invalidate that nothing would undo is found")
  func undo() async {
    await #expect(processExitsWith: .failure) {
      let bench = try Bench()
      bench.primary()
      bench.node.engine.volumes[0].peer.invalidated(canBeUndone: true)
      bench.node.engine.checkInvariants()
    }
  }

  @Test("a generation is owed by frozen volumes only, and handed over when they thaw")
  func frozen() {
    var fencing = Fencing()
    fencing.freeze()
    fencing.oweGeneration(3)
    fencing.oweGeneration(63)
    let (first, second) = (fencing.takeOwedGeneration(3), fencing.takeOwedGeneration(3))
    #expect(first && !second)
    let owed = fencing.thaw()
    #expect(!fencing.isFrozen && owed.contains(63) && !owed.contains(3))
    let late = fencing.takeOwedGeneration(63)
    #expect(!late)
  }

  @Test("epochs: a barrier closes what was sent; what the peer does not get closes without one")
  func epochs() {
    var epochs = SenderEpochs()
    let nothing = epochs.close()
    #expect(nothing == nil)
    epochs.send()
    let write = SlotID(raw: 1 << 32)
    let epoch = epochs.add(write, at: Instant(nanoseconds: 5))
    #expect(epoch == 0)
    let closed = epochs.close()
    #expect(closed?.number == 0 && closed?.isSent == true)
    epochs.addUnreplicated()
    let silent = epochs.close()
    #expect(silent?.number == 1 && silent?.isSent == false)
    let isEarly = epochs.isAcknowledged(0)
    epochs.acknowledge(at: Instant(nanoseconds: 9))
    let oldest = epochs.takeOldest()
    epochs.restIfNothingIsOwed()
    let (isDone, rests) = (epochs.isAcknowledged(1), epochs.lastProgress == nil)
    #expect(!isEarly && oldest == write && isDone && rests)
  }
}
