// Every seed that once broke a law, with what had gone wrong. A life is not what it was when it failed: each repair changes
// what happens after it. But it is the same two disks, the same application and the same misfortunes, up to the moment of old.
import Simulator
import Testing

/// One line of the table.
struct FailedSeed: Sendable, CustomTestStringConvertible {
  var seed: UInt64
  var what: String
  /// Found when one life in four had fencing; the others live as they did.
  var drawsFencing: Bool
  /// The era whose world it failed in.
  var era: Era
  var testDescription: String { "\(seed): \(what)" }
  init(_ seed: UInt64, _ what: String, drawsFencing: Bool = false, era: Era = .first) {
    self.era = era
    self.seed = seed
    self.what = what
    self.drawsFencing = drawsFencing
  }
}

let failedSeeds = [
  FailedSeed(79, "two volumes: the nodes never connected again"),
  FailedSeed(1005, "a disk that was given up stayed Failed for ever"),
  FailedSeed(679, "a block of an earlier resync was refused, and the source took the next resync for incomplete"),
  FailedSeed(695, "the power of a resync's source went when the Primary, its target, had it all: nothing was owed"),
  FailedSeed(2004, "the world looked at the end while a fail-over had just started the application anew"),
  FailedSeed(5020, "a write waited behind a barrier while bitmaps were exchanged without it"),
  FailedSeed(6002, "an ack of one piece of a large write during a resync cleared all of its blocks"),
  FailedSeed(70022, "below version 96 a write fell between the two bitmaps, and no packet could say so"),
  FailedSeed(800_083, "a Primary without a disk answered what the link then lost"),
  FailedSeed(900_079, "a Primary without a disk and its peer never connected again"),
  FailedSeed(3_000_024, "two nodes with good disks never connected again"),
  FailedSeed(601_075_319, "disks were compared while a fail-over had just started the application anew"),
  FailedSeed(4_000_109, "a node was taken to be at rest while it was writing its superblock, at the end of a resync"),
  FailedSeed(5_000_185, "a block that the application overwrites without a break was never resynced"),
  FailedSeed(7_000_029, "a flush whose own fault changed the state was answered twice"),
  FailedSeed(7_000_154, "a flush was answered though the peer alone had the writes and lost its power"),
  FailedSeed(8_000_072, "an invalidate after a skipped first resync brought back the generation of new metadata"),
  FailedSeed(8_000_419, "a flush that failed gave up the disk, which ended the flush under its feet"),
  FailedSeed(8_000_429, "disks were compared while the last writes of protocol A were still on their way"),
  FailedSeed(8_000_748, "a block that the application overwrites without a break was never resynced"),
  FailedSeed(8_000_751, "an invalidate after a skipped first resync ended in split brain at the next disconnect"),
  FailedSeed(8_000_900, "a disk that had lost its cache with the power was promoted without a write that was answered"),
  FailedSeed(8_001_148, "a node stopped at a precondition"),
  FailedSeed(8_001_209, "an invalidate after a skipped first resync ended in split brain after a fail-over"),
  FailedSeed(8_001_469, "a node stopped at a precondition, in another life"),
  FailedSeed(8_001_490, "a disk without a zeroing that was answered was promoted after two power cuts"),
  FailedSeed(8_001_872, "disks were compared after a switch-over that started the application anew"),
  FailedSeed(8_002_079, "an invalidate after a skipped first resync ended in split brain when a connection was reset"),
  FailedSeed(8_002_170, "the source of a Primary's resync died, and what came back had an older write"),
  FailedSeed(8_002_292, "a node was taken to be at rest while it was writing its superblock"),
  FailedSeed(8_002_294, "a split brain that nobody had caused"),
  FailedSeed(9_000_232, "an orderly disconnect under protocol A was taken for a loss"),
  FailedSeed(10_000_104, "a Primary that is a sync target kept its last blocks in use for ever"),
  FailedSeed(20_000_771, "a Primary whose disk came back while it was alone was not believed to have its data"),
  FailedSeed(20_002_581, "a detach and an attach without a write in between, then a lost connection"),
  FailedSeed(
    30_000_084, "a write that waited behind a barrier reached a disk that was attached and resynced meanwhile"),
  FailedSeed(316_182, "below version 96 a write that had waited for the log was announced out of sync all the same"),
  FailedSeed(301_204, "a verify asked for more than a slow disk could compare; its last block stayed in use for ever"),
  FailedSeed(502_749, "a verify that found no room to compare kept a block in use: no resync got past it"),
  FailedSeed(500_231, "grown, about to be resynced, and the source lost its disk: the good copy stayed Outdated"),
  FailedSeed(501_302, "a disk failed while the peer was asked to let it go: it was detached twice"),
  FailedSeed(
    61_000_094, "a node that was being demoted lost its peer and acknowledged writes that nobody had fenced",
    drawsFencing: true),
  FailedSeed(
    65_000_838, "a Primary lost its peer while it had no disk, and attached it without asking for fencing",
    drawsFencing: true),
  FailedSeed(
    101_714, "a Consistent disk took the writes of a Primary without disk in the old generation", era: .second),
  FailedSeed(310_564, "the answer to an attach carried generations that rule 34 had corrected", era: .second),
  FailedSeed(318_480, "a Primary waited for a generation that its peer had told before the detach", era: .second),
  FailedSeed(321_461, "a write of an ended connection marked its block after the next resync", era: .second),
  FailedSeed(327_860, "a demotion was answered when the first of three volumes had recorded it", era: .second),
  FailedSeed(323_860, "a disk that missed only writes answered with an error was Inconsistent", era: .second),
  FailedSeed(406_550, "blocks read for a resync that had ended were sent into the next one", era: .second),
  FailedSeed(503_523, "exit code 3 of fence-peer for a Diskless peer was recorded as peer Outdated", era: .second),
  FailedSeed(504_759, "a frozen Primary was to be the target of a source that had missed the end", era: .second),
  FailedSeed(511_417, "a write that only the lost peer had was success after an attach", era: .second),
  FailedSeed(514_068, "attach said to grow the volume, resize said to attach the disk", era: .second),
  FailedSeed(516_958, "a node was promoted to old data beside newer ones on a detached disk", era: .second),
  FailedSeed(600_569, "a torn superblock at the beginning of a resync became a split brain", era: .third),
  FailedSeed(628_545, "an old write reached a disk after the resync had brought newer data", era: .third),
  FailedSeed(
    663_069, "a detached disk did not fit any more: the peer's size before it shrank was kept", era: .third),
  FailedSeed(664_325, "a node that had detached newer data was promoted to its peer's old data", era: .third),
  FailedSeed(740_746, "a disk that had failed while its peer was asked was copied over a good one", era: .third),
  FailedSeed(733_237, "a flush was answered before an older one that had to fail", era: .third),
  FailedSeed(752_135, "an older P_UUIDS was taken for the answer to an attach", era: .third),
]

@Suite("Seeds that once broke a law")
struct FailedSeedsTests {
  @Test("every law holds", arguments: failedSeeds)
  func holds(_ failed: FailedSeed) throws {
    let world = World(seed: failed.seed, drawsFencing: failed.drawsFencing, era: failed.era)
    world.mostEvents = 6000
    try world.live()
  }

  @Test("no seed is listed twice")
  func once() {
    #expect(Set(failedSeeds.map(\.seed)).count == failedSeeds.count)
  }
}
