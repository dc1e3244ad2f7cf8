// The world itself: the same seed lives the same life, and a planted fault is noticed.
import Simulator
import Testing

@Suite("The simulated world")
struct WorldTests {
  @Test("the same seed lives the same life, event by event", arguments: [1, 17] as [UInt64])
  func same(_ seed: UInt64) throws {
    func life(_ seed: UInt64) throws -> World {
      let world = World(seed: seed)
      world.mostEvents = 4000
      try world.live()
      return world
    }
    let one = try life(seed)
    let other = try life(seed)
    #expect(one.events == other.events)
    #expect(one.fingerprint == other.fingerprint)
    #expect(one.now == other.now)
    #expect(try life(seed + 1).fingerprint != one.fingerprint)
  }

  /// Short lives that begin where the fault is known to show soon.
  @Test(
    "a fault planted in the world breaks a law",
    arguments: [
      (PlantedFault.halfBarrier, 25), (.forgottenLog, 21), (.forgottenBitmap, 13), (.lostAck, 1), (.forgottenFlush, 1),
      (.forgottenWrite, 1),
      (.misplacedWrite, 2), (.staleRead, 3),
    ] as [(PlantedFault, UInt64)])
  func planted(_ fault: PlantedFault, first: UInt64) {
    for seed in first..<first + 12 {
      do { try World(seed: seed, planting: fault, era: .first).live(steps: 12_000) } catch { return }
    }
    Issue.record("twelve lives with \(fault.rawValue), and nobody noticed")
  }
}
