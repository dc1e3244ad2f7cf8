// Whole stories beside a node that announces what a DRBD 9 announces: its engine is this project's own and follows the rules of 8.4, so what
// is judged here is that the rules for DRBD 9 (wire spec 14.2) lose no block and no request, whoever the peer is.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Two nodes: one announces DRBD 9")
struct DRBD9StoryTests {
  private func pair(volumes: Int = 1, fencing: FencingPolicy = .dontCare) throws -> Pair {
    try Pair(diskBytes: [UInt64](repeating: 8 << 20, count: volumes)) { settings, isAlpha in
      settings.net.fencing = fencing
      if !isAlpha { settings.net.maximumVersion = 124 }
    }
  }

  /// Attaches alpha's disk while an application writes on `node`. Returns the writes; the attach has succeeded and the resync is over.
  private func attachAlpha(_ pair: Pair, whileWriting node: Node) -> [Ticket] {
    let to = pair.alpha.order(.attach(.zero))
    var tickets: [Ticket] = []
    for i in 0..<40 {
      tickets.append(node.write(UInt64(i) * 64, stamp: 100 + UInt64(i)))
      pair.pass(.milliseconds(50))
    }
    pair.run(until: { pair.alpha.replies[to] != nil })
    #expect(pair.alpha.replies[to] == .done)
    pair.waitSync()
    return tickets
  }

  @Test(
    "a Primary lets its disk go, works through the peer, and attaches again under load",
    arguments: [FencingPolicy.dontCare, .resourceAndStonith])
  func attachUnderLoad(_ fencing: FencingPolicy) throws {
    let pair = try pair(fencing: fencing)
    pair.synced()
    #expect(pair.alpha.engine.link.peerIsDRBD9 && !pair.beta.engine.link.peerIsDRBD9)
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    var tickets = (0..<8).map { pair.alpha.write(UInt64($0) * 8, stamp: 10 + UInt64($0)) }
    pair.wait(pair.alpha, tickets)
    tickets += attachAlpha(pair, whileWriting: pair.alpha)
    pair.wait(pair.alpha, tickets)
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
    #expect(pair.alpha.handlers.filter { $0 == .fencePeer }.isEmpty)
    #expect(pair.alpha.engine.link.established == 2)
  }

  @Test("a Secondary attaches beside a Primary that writes")
  func attachOfSecondary() throws {
    let pair = try pair()
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    pair.order(.primary(force: false), on: pair.beta)
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    var tickets = (0..<8).map { pair.beta.write(UInt64($0) * 8, stamp: 10 + UInt64($0)) }
    tickets += attachAlpha(pair, whileWriting: pair.beta)
    pair.wait(pair.beta, tickets)
    pair.expect("Connected Secondary/Primary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("the peer dies while it is met again: the older disk of a Primary is refused, and what waited fails")
  func peerDies() throws {
    let pair = try pair()
    pair.synced()
    pair.order(.detach(.zero, force: false), on: pair.alpha)
    pair.wait(pair.alpha, [pair.alpha.write(0, stamp: 1)])
    let to = pair.alpha.order(.attach(.zero))
    pair.run(until: { pair.alpha.engine.link.reattach?.step == .meeting })
    pair.crash(pair.beta)
    let write = pair.alpha.write(8, stamp: 2)
    pair.run(limit: .seconds(120), until: { pair.alpha.replies[to] != nil && pair.alpha.isAnswered(write) })
    #expect(pair.alpha.replies[to]?.isDone == false)
    #expect(pair.alpha.isAnswered(write) && !pair.alpha.isGood(write))
    pair.restart(pair.beta)
    pair.waitConnected()
    pair.order(.attach(.zero), on: pair.alpha)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("several volumes: both disks of two volumes are lost and attached one after the other")
  func twoVolumes() throws {
    let pair = try pair(volumes: 2)
    pair.synced()
    for number in [UInt16(0), 1] { pair.order(.detach(VolumeNumber(number), force: false), on: pair.alpha) }
    pair.wait(
      pair.alpha, [pair.alpha.write(0, stamp: 1), pair.alpha.write(0, stamp: 2, volume: VolumeNumber(1))])
    let first = pair.alpha.order(.attach(.zero))
    let second = pair.alpha.order(.attach(VolumeNumber(1)))
    pair.run(until: { pair.alpha.replies[first] != nil && pair.alpha.replies[second] != nil })
    #expect(pair.alpha.replies[first] == .done && pair.alpha.replies[second] == .done)
    pair.waitSync()
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a forced promotion of three volumes resyncs all of them")
  func forced() throws {
    let pair = try pair(volumes: 3)
    pair.attach()
    pair.connect()
    for node in pair.both { node.disks[VolumeNumber(2)]!.spoil(800, 8, with: node === pair.alpha ? 3 : 4) }
    pair.order(.primary(force: true), on: pair.alpha)
    pair.waitSync()
    for volume in pair.alpha.settings.volumes {
      #expect(pair.beta.volume(volume.number).disk == .upToDate, "\(volume.number.value)")
    }
    pair.expectEqual()
    pair.expectRest()
  }
}
