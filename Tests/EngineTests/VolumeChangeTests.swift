// Volumes that come and go while the resource is in use: the table changes at a moment without work, and the volumes that stay lose
// no request.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Volumes come and go")
struct VolumeChangeTests {
  private let one = VolumeNumber(1)
  private let two = VolumeNumber(2)

  /// A disk with new metadata for a volume that is to come.
  private func prepare(_ number: VolumeNumber, on nodes: [Node], bytes: UInt64 = 4 << 20) throws {
    for node in nodes {
      node.disks[number] = try FakeDisk.created(.v09, bytes: bytes, peers: 1, metaBytes: nil, location: .internal)
    }
  }

  /// As `adjust` does it; the next life of the node has the same volumes.
  private func have(
    _ numbers: [VolumeNumber], thenAttach: Bool = false, on node: Node, of pair: Pair,
    at location: SourceLocation = #_sourceLocation
  ) {
    node.settings.volumes = numbers.map { VolumeSettings(number: $0) }
    pair.order(.changeVolumes(node.settings.volumes, thenAttach: thenAttach), on: node, at: location)
    node.engine.adopt(node.settings)
  }

  private func add(_ number: VolumeNumber, to node: Node, of pair: Pair, at location: SourceLocation = #_sourceLocation)
  {
    have((node.settings.volumes.map(\.number) + [number]).sorted(), thenAttach: true, on: node, of: pair, at: location)
    pair.order(.attach(number), on: node, at: location)
  }

  private func remove(
    _ number: VolumeNumber, from node: Node, of pair: Pair, at location: SourceLocation = #_sourceLocation
  ) {
    have(node.settings.volumes.map(\.number).filter { $0 != number }, on: node, of: pair, at: location)
  }

  private func isConnected(_ number: VolumeNumber, _ pair: Pair) -> Bool {
    pair.run(until: { pair.both.allSatisfy { $0.volume(number).replication == .connected } })
  }

  @Test("a volume is added to a Primary in use and its Secondary, one after the other", arguments: [true, false])
  func added(primaryFirst: Bool) throws {
    let pair = try Pair()
    pair.synced()
    try prepare(one, on: pair.both)
    let order = primaryFirst ? pair.both : pair.both.reversed()
    var writes = [pair.alpha.write(0, stamp: 1)]
    add(one, to: order[0], of: pair)
    pair.waitConnected()
    writes.append(pair.alpha.write(8, stamp: 2))
    pair.wait(pair.alpha, writes)
    // The other node does not have it yet.
    #expect(order[0].volume(one).replication == .wfReportParams)
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    add(one, to: order[1], of: pair)
    #expect(isConnected(one, pair))
    #expect(pair.alpha.state(one) == "Connected Primary/Secondary Inconsistent/Inconsistent")
    // Its data are the first that there are: nothing was lost.
    #expect(!pair.alpha.handlers.contains(.primaryOnInconsistentDegraded))
    pair.order(.primary(force: true), on: pair.alpha)
    pair.waitSync()
    #expect(pair.alpha.state(one) == "Connected Primary/Secondary UpToDate/UpToDate")
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 3, volume: one), pair.alpha.write(16, stamp: 4)])
    pair.wait(pair.alpha, [pair.alpha.flush(volume: one)])
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("requests wait while a volume goes, and are answered well")
  func removedUnderLoad() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    pair.alpha.holding = [.appWrite]
    let early = pair.alpha.write(0, stamp: 1)
    pair.settle()
    pair.alpha.settings.volumes.removeLast()
    let to = pair.alpha.order(.changeVolumes(pair.alpha.settings.volumes, thenAttach: false))
    pair.settle()
    let late = [pair.alpha.write(8, stamp: 2), pair.alpha.flush()]
    pair.settle()
    // The write under way is waited for, and those behind it wait for the change.
    #expect(pair.alpha.replies[to] == nil && pair.alpha.engine.snapshot().volumes.count == 2)
    #expect(late.allSatisfy { !pair.alpha.isAnswered($0) })
    pair.alpha.stopHolding()
    pair.wait(pair.alpha, [early] + late)
    #expect(pair.alpha.replies[to]?.isDone == true)
    pair.alpha.engine.adopt(pair.alpha.settings)
    #expect(pair.alpha.engine.snapshot().volumes.map(\.number) == [.zero])
    pair.waitConnected()
    #expect(pair.beta.volume(one).replication == .wfReportParams)
    remove(one, from: pair.beta, of: pair)
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("the volume in the middle goes: the others keep their data, their work and their names")
  func middle() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20, 16 << 20])
    pair.synced()
    for node in pair.both { remove(one, from: node, of: pair) }
    #expect(isConnected(two, pair))
    pair.wait(pair.alpha, [pair.alpha.write(80, stamp: 7, volume: two), pair.alpha.write(0, stamp: 8)])
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(160, stamp: 9, volume: two)])
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    #expect(pair.beta.disks[two]![80] == 7 && pair.beta.disks[two]![160] == 9)
    pair.expectEqual()
    pair.order(.down, on: pair.alpha)
    pair.order(.down, on: pair.beta)
    pair.expectRest()
  }

  @Test("a volume that was removed and comes back has its data, and nothing to copy")
  func comesBack() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 5, volume: one)])
    for node in pair.both { remove(one, from: node, of: pair) }
    pair.waitConnected()
    for node in pair.both { add(one, to: node, of: pair) }
    #expect(isConnected(one, pair))
    #expect(pair.alpha.state(one) == "Connected Primary/Secondary UpToDate/UpToDate")
    #expect(!pair.beta.log.contains { $0.contains("r0/1 alpha: began resync, will sync 4096 KiB") })
    #expect(pair.beta.disks[one]![0] == 5)
    pair.expectEqual()
  }

  @Test("a volume that only the Primary has removed comes back: its data have not parted from the peer's")
  func comesBackAlone() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    remove(one, from: pair.alpha, of: pair)
    pair.waitConnected()
    // The peer meets a Primary that has the volume again, and not its disk yet.
    pair.alpha.settings.volumes.append(VolumeSettings(number: one))
    pair.order(.changeVolumes(pair.alpha.settings.volumes, thenAttach: false), on: pair.alpha)
    pair.alpha.engine.adopt(pair.alpha.settings)
    #expect(isConnected(one, pair))
    pair.order(.attach(one), on: pair.alpha)
    pair.waitSync()
    #expect(pair.alpha.state(one) == "Connected Primary/Secondary UpToDate/UpToDate")
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1, volume: one)])
    pair.expectEqual()
  }

  @Test(
    "a disk that parted from its peer's while the Primary was alone meets that peer attached, however long the attach takes"
  )
  func meetsWithItsDisk() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    pair.cutLink()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 3, volume: one)])
    remove(one, from: pair.alpha, of: pair)
    pair.alpha.settings.volumes.append(VolumeSettings(number: one))
    pair.order(.changeVolumes(pair.alpha.settings.volumes, thenAttach: true), on: pair.alpha)
    pair.alpha.engine.adopt(pair.alpha.settings)
    pair.mendLink()
    pair.pass(.seconds(5))
    #expect(pair.alpha.volume().replication < .connected)
    pair.order(.attach(one), on: pair.alpha)
    pair.waitConnected()
    pair.waitSync()
    #expect(pair.alpha.state(one) == "Connected Primary/Secondary UpToDate/UpToDate")
    #expect(pair.beta.disks[one]![0] == 3)
    pair.expectEqual()
  }

  @Test("a disk that cannot be attached does not keep the others from their peer")
  func diskMissing() throws {
    let pair = try Pair()
    pair.synced()
    have([.zero, one], thenAttach: true, on: pair.alpha, of: pair)
    pair.refuse(.attach(one), on: pair.alpha, 104)
    pair.waitConnected()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
  }

  @Test("a change that is given up when the connection has ended: the volume that stays parts from its peer")
  func givenUpLate() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    pair.alpha.holding = [.superblock, .bitmapPage]
    let before = pair.alpha.generations(one)[0]
    let to = pair.alpha.order(.changeVolumes([VolumeSettings(number: .zero)], thenAttach: false))
    pair.settle()
    #expect(pair.alpha.volume(one).replication < .connected && pair.alpha.generations(one)[0] == before)
    pair.run(until: { pair.alpha.replies[to] != nil })
    #expect(pair.alpha.replies[to]?.isDone == false)
    pair.alpha.stopHolding()
    pair.waitConnected()
    pair.waitSync()
    #expect(pair.alpha.engine.snapshot().volumes.count == 2)
    if pair.alpha.volume(one).disk == .diskless { pair.order(.attach(one), on: pair.alpha) }
    pair.waitSync()
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1, volume: one), pair.alpha.write(0, stamp: 2)])
    pair.expectEqual()
  }

  @Test("one change right after the other: the second waits for the handshake of the first")
  func oneAfterTheOther() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20, 4 << 20])
    pair.synced()
    remove(one, from: pair.alpha, of: pair)
    remove(two, from: pair.alpha, of: pair)
    remove(two, from: pair.beta, of: pair)
    remove(one, from: pair.beta, of: pair)
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
  }

  @Test("a Primary without its peer loses and gets volumes as well, and fences nobody for it")
  func alone() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20]) { settings, _ in settings.net.fencing = .resourceAndStonith }
    pair.alpha.exits[.fencePeer] = 4
    pair.synced()
    pair.cutLink()
    pair.run(until: { pair.alpha.handlers.contains(.fencePeer) })
    pair.pass(.seconds(1))
    pair.alpha.forgetTrace()
    let asked = pair.alpha.handlers.count { $0 == .fencePeer }
    remove(one, from: pair.alpha, of: pair)
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    #expect(pair.alpha.handlers.count { $0 == .fencePeer } == asked)
    add(one, to: pair.alpha, of: pair)
    pair.wait(pair.alpha, [pair.alpha.write(8, stamp: 2), pair.alpha.write(8, stamp: 3, volume: one)])
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("with fencing a change beside a connected peer asks no handler")
  func fencing() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20]) { settings, _ in settings.net.fencing = .resourceAndStonith }
    pair.synced()
    for node in pair.both { remove(one, from: node, of: pair) }
    pair.waitConnected()
    pair.waitSync()
    #expect(!pair.both.contains { $0.handlers.contains(.fencePeer) })
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("a peer that is not back in time is a lost one: the application goes on")
  func peerGone() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20]) { settings, _ in settings.net.fencing = .resourceOnly }
    pair.alpha.exits[.fencePeer] = 4
    pair.synced()
    remove(one, from: pair.alpha, of: pair)
    pair.crash(pair.beta)
    let held = pair.alpha.write(0, stamp: 1)
    pair.settle()
    #expect(!pair.alpha.isAnswered(held))
    pair.wait(pair.alpha, [held])
    #expect(pair.alpha.handlers.contains(.fencePeer))
    pair.beta.settings.volumes.removeLast()
    pair.beta.engine = Engine(settings: pair.beta.settings, random: SeededGenerator(seed: 5), at: pair.now)
    pair.restart(pair.beta)
    pair.waitConnected()
    pair.waitSync()
    pair.expectEqual()
  }

  @Test("a disk that does not answer: the change is given up, and nothing was changed")
  func givenUp() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    pair.alpha.holding = [.appWrite]
    let write = pair.alpha.write(0, stamp: 1)
    pair.settle()
    pair.refuse(.changeVolumes([VolumeSettings(number: .zero)], thenAttach: false), on: pair.alpha, 162)
    #expect(pair.alpha.engine.snapshot().volumes.count == 2)
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.alpha.stopHolding()
    pair.wait(pair.alpha, [write, pair.alpha.write(8, stamp: 2)])
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("what stands against a change is said, and nothing is done")
  func refused() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    let only = [VolumeSettings(number: .zero)]
    pair.synced()
    // The peer uses the data that are here alone.
    pair.order(.detach(one, force: false), on: pair.alpha)
    pair.refuse(.changeVolumes(only, thenAttach: false), on: pair.beta, -2)
    pair.order(.attach(one), on: pair.alpha)
    pair.waitSync()
    pair.alpha.holding = [.superblock]
    _ = pair.alpha.order(.detach(one, force: false))
    pair.settle()
    pair.refuse(.changeVolumes(only, thenAttach: false), on: pair.alpha, -18)
    pair.alpha.stopHolding()
    pair.settle()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    // One after the other, and no disk comes meanwhile.
    pair.alpha.holding = [.appWrite]
    let write = pair.alpha.write(0, stamp: 1)
    pair.settle()
    let first = pair.alpha.order(.changeVolumes(only, thenAttach: false))
    pair.settle()
    pair.refuse(.changeVolumes(only, thenAttach: false), on: pair.alpha, -18)
    pair.refuse(.attach(one), on: pair.alpha, -18)
    pair.alpha.stopHolding()
    pair.wait(pair.alpha, [write])
    #expect(pair.run(until: { pair.alpha.replies[first]?.isDone == true }))
  }

  @Test("`down` in the middle ends the change")
  func down() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    pair.alpha.holding = [.appWrite]
    pair.alpha.write(0, stamp: 1)
    pair.settle()
    let change = pair.alpha.order(.changeVolumes([VolumeSettings(number: .zero)], thenAttach: false))
    pair.settle()
    let down = pair.alpha.order(.down)
    pair.settle()
    pair.alpha.stopHolding()
    #expect(pair.run(until: { pair.alpha.replies[down] != nil }))
    #expect(pair.alpha.replies[change]?.isDone == false && pair.alpha.replies[down]?.isDone == true)
    pair.expectRest()
  }

  @Test("requests to a volume that goes, and that wait at the entrance, are answered with an error")
  func waitingRequests() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    pair.order(.suspendIO, on: pair.alpha)
    let tickets = [pair.alpha.write(0, stamp: 1, volume: one), pair.alpha.flush(volume: one)]
    let stays = pair.alpha.write(0, stamp: 2)
    pair.settle()
    remove(one, from: pair.alpha, of: pair)
    #expect(tickets.allSatisfy { pair.alpha.isAnswered($0) && !pair.alpha.isGood($0) })
    #expect(!pair.alpha.isAnswered(stays))
    pair.order(.resumeIO, on: pair.alpha)
    pair.wait(pair.alpha, [stays])
  }

  @Test("a forced promotion of a Primary takes the new volume, and refuses no write of the others meanwhile")
  func forcedAgain() throws {
    let pair = try Pair()
    pair.synced()
    try prepare(one, on: pair.both)
    for node in pair.both { add(one, to: node, of: pair) }
    #expect(isConnected(one, pair))
    pair.alpha.holding = [.superblock]
    let to = pair.alpha.order(.primary(force: true))
    pair.settle()
    #expect(pair.alpha.replies[to] == nil)
    let write = pair.alpha.write(0, stamp: 1)
    pair.wait(pair.alpha, [write])
    pair.alpha.stopHolding()
    #expect(pair.run(until: { pair.alpha.replies[to]?.isDone == true }))
    pair.waitSync()
    pair.expectEqual()
  }

  @Test("a node is promoted although its peer does not have one of the volumes")
  func unknownToPeer() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    remove(one, from: pair.beta, of: pair)
    pair.waitConnected()
    pair.order(.secondary, on: pair.alpha)
    // The handshake of this volume might still come.
    pair.refuse(.primary(force: false), on: pair.alpha, -18)
    pair.pass(.seconds(30))
    pair.order(.primary(force: false), on: pair.alpha)
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1, volume: one)])
  }

  @Test("a peer that adds a volume to a connection that stands is told of it again")
  func addedByKernel() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    remove(one, from: pair.beta, of: pair)
    pair.waitConnected()
    pair.pass(.seconds(5))
    pair.alpha.forgetTrace()
    pair.alpha.engine.link.features.remove(.resyncsGrown)
    pair.alpha.inbox.append(
      .event(.packet(pair.alpha.engine.link.data!, one, .syncParameters(SyncParameters()), nil)))
    #expect(pair.alpha.step())
    let told = pair.alpha.sent.filter { $0.volume == one }.map(\.packet.name)
    #expect(told == ["P_SYNC_PARAM89", "P_SIZES", "P_UUIDS", "P_STATE"], "\(told)")
  }

  @Test("the peer's writes of a Primary are resynced when its Secondary changes its volumes")
  func secondaryChanges() throws {
    let pair = try Pair(diskBytes: [8 << 20, 4 << 20])
    pair.synced()
    pair.beta.holding = [.peerWrite]
    let early = pair.alpha.write(0, stamp: 1)
    pair.settle()
    pair.beta.settings.volumes.removeLast()
    let to = pair.beta.order(.changeVolumes(pair.beta.settings.volumes, thenAttach: false))
    pair.pass(.seconds(1))
    // A write of the peer is still on its way to the disk.
    #expect(pair.beta.replies[to] == nil && pair.beta.engine.snapshot().volumes.count == 2)
    pair.beta.stopHolding()
    #expect(pair.run(until: { pair.beta.replies[to]?.isDone == true }))
    pair.beta.engine.adopt(pair.beta.settings)
    pair.wait(pair.alpha, [early, pair.alpha.write(8, stamp: 2)])
    remove(one, from: pair.alpha, of: pair)
    pair.waitConnected()
    pair.waitSync()
    pair.expectEqual()
    pair.expectRest()
  }
}
