// An attach beside a connected DRBD 9 (wire spec 14.2 number 20). The kernel of Fixtures/wire9/09 and 10 answers a disk that says
// Negotiating with nothing, and compares it in the next handshake; this peer does the same. This node does not say Negotiating
// there any more, so from that packet on the peer is scripted: it lets the connection go, as the recorded kernel does.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("An attach beside a DRBD 9")
struct DRBD9AttachTests {
  /// A Secondary without its disk beside a DRBD 9 that is Primary.
  private func secondary() throws -> Bench {
    let bench = try Bench()
    bench.primary(features: .drbd9)
    _ = bench.order(.secondary)
    bench.say(.connectionChangeRequest(StateChange(mask: PackedState(word: 3), value: PackedState(word: 1))))
    bench.say(.state(bench.state(.primary, .connected, .upToDate, .upToDate)))
    detach(bench)
    #expect(bench.node.state == "Connected Secondary/Primary Diskless/UpToDate")
    return bench
  }

  /// A Primary without its disk: the application uses that of the DRBD 9, which has begun a generation.
  private func primary(_ adjust: (inout ResourceSettings) -> Void = { _ in }) throws -> Bench {
    let bench = try Bench(adjust)
    bench.primary(features: .drbd9)
    bench.say(.uuids(ahead(of: bench)))
    detach(bench)
    #expect(bench.node.state == "Connected Primary/Secondary Diskless/UpToDate")
    return bench
  }

  private func detach(_ bench: Bench) {
    let to = bench.order(.detach(.zero, force: false))
    bench.say(.stateChangeReply(1))
    #expect(bench.node.replies[to] == .done)
    bench.node.forgetTrace()
  }

  /// The generations of a peer that has gone on without this node's disk.
  private func ahead(of bench: Bench) -> GenerationIdentifiers {
    var slots = bench.ownSlots()
    slots.bitmap = slots.current
    slots.current = 0x3000
    return slots
  }

  private func isRefused(_ bench: Bench, _ to: ReplyTo) -> Bool {
    if case .refused = bench.node.replies[to] { true } else { false }
  }

  @Test("the connection ends by agreement, the next handshake compares the disk, and the command is answered then")
  func reconnects() throws {
    let bench = try secondary()
    let slots = ahead(of: bench)
    let to = bench.order(.attach(.zero))
    #expect(bench.node.replies[to] == nil)
    #expect(
      bench.node.packets { $0 != .ping && $0 != .pingAck } == [
        .connectionChangeRequest(StateChange(mask: PackedState(word: 0x1f0), value: PackedState(word: 0x10)))
      ])
    #expect(bench.closed.isEmpty)
    bench.say(.connectionChangeReply(1))
    #expect(bench.closed == [bench.data, bench.meta])
    #expect(bench.node.volume().disk == .negotiating)
    bench.handshake(role: .primary, slots: slots, features: .drbd9, again: true)
    #expect(bench.node.replies[to] == .done)
    #expect(bench.node.volume().replication == .wfBitMapT)
    #expect(bench.node.volume().disk < .upToDate)
  }

  @Test("the handshake tells of the disk as of one that was there before: Negotiating is a word of 8.4")
  func toldAsRecorded() throws {
    let bench = try secondary()
    _ = bench.order(.attach(.zero))
    bench.say(.connectionChangeReply(1))
    bench.meet(again: true)
    bench.say(.features(.drbd9))
    let disks = bench.node.sent.compactMap { if case .state(let state) = $0.packet { state.disk } else { nil } }
    #expect(disks == [.upToDate])
  }

  @Test("a disk that is equal is UpToDate at once")
  func equal() throws {
    let bench = try secondary()
    let to = bench.order(.attach(.zero))
    bench.say(.connectionChangeReply(1))
    bench.handshake(role: .primary, features: .drbd9, again: true)
    #expect(bench.node.replies[to] == .done)
    #expect(bench.node.state == "Connected Secondary/Primary UpToDate/UpToDate")
  }

  @Test("a no of the peer: this node offers to be Outdated, and after a second no it leaves all the same")
  func refusedLeave() throws {
    let bench = try secondary()
    _ = bench.order(.attach(.zero))
    bench.say(.connectionChangeReply(-7))
    #expect(bench.closed.isEmpty)
    bench.say(.connectionChangeReply(-7))
    #expect(bench.closed == [bench.data, bench.meta])
    #expect(bench.node.volume().disk == .negotiating)
  }

  /// A Primary with fencing lets nobody go whose data may be taken for current.
  @Test(
    "a peer that lets this node go as Outdated: its disk says so until it has been compared", arguments: [true, false])
  func outdated(isAnswered: Bool) throws {
    let bench = try secondary()
    let to = bench.order(.attach(.zero))
    bench.say(.connectionChangeReply(-7))
    #expect(
      bench.node.packets { if case .connectionChangeRequest = $0 { true } else { false } }.last
        == .connectionChangeRequest(StateChange(mask: PackedState(word: 0x1ff0), value: PackedState(word: 0xa10))))
    if isAnswered {
      bench.say(.connectionChangeReply(1))
    } else {
      // The answer is lost, and may have been a yes.
      for socket in [bench.data, bench.meta] { bench.node.inbox.append(.event(.socketClosed(socket))) }
      bench.settle()
    }
    #expect(bench.node.volume().disk == .negotiating)
    #expect(try !bench.disk.superblock().flags.contains(.wasUpToDate))
    bench.pass(.seconds(40))
    #expect(bench.node.replies[to] == .done)
    #expect(bench.node.volume().disk == .outdated)
  }

  @Test("the connection is lost before the peer has answered: the same")
  func lost() throws {
    let bench = try secondary()
    let slots = ahead(of: bench)
    let to = bench.order(.attach(.zero))
    for socket in [bench.data, bench.meta] { bench.node.inbox.append(.event(.socketClosed(socket))) }
    bench.settle()
    #expect(bench.node.volume().disk == .negotiating)
    bench.handshake(role: .primary, slots: slots, features: .drbd9, again: true)
    #expect(bench.node.replies[to] == .done)
    #expect(bench.node.volume().replication == .wfBitMapT)
  }

  @Test("a peer that does not come back: the disk of a Secondary is what its metadata say")
  func peerIsGone() throws {
    let bench = try secondary()
    let to = bench.order(.attach(.zero))
    bench.say(.connectionChangeReply(1))
    bench.pass(.seconds(40))
    #expect(bench.node.replies[to] == .done)
    #expect(bench.node.volume().disk == .upToDate)
  }

  @Test("a disconnect meanwhile ends the wait as well")
  func disconnected() throws {
    let bench = try secondary()
    let to = bench.order(.attach(.zero))
    bench.say(.connectionChangeReply(1))
    _ = bench.order(.disconnect(force: false))
    #expect(bench.node.replies[to] == .done)
    #expect(bench.node.volume().disk == .upToDate)
  }

  @Test("a disk that does not fit is refused by what is known of the peer, and the connection stays")
  func refusedInAdvance() throws {
    let bench = try secondary()
    var superblock = try bench.disk.superblock()
    try superblock.setGenerations(line: "00000000000A1111:0:0:0:1:1:0:0:0:0:0:0:0", peerNode: 1)
    try bench.disk.store(superblock)
    let to = bench.order(.attach(.zero))
    #expect(isRefused(bench, to))
    #expect(bench.closed.isEmpty)
    #expect(bench.node.state == "Connected Secondary/Primary Diskless/UpToDate")
  }

  @Test("a Primary: its requests end first, later ones wait, and go on when the disk has been compared")
  func underAnApplication() throws {
    let bench = try primary()
    let first = bench.node.write(0, stamp: 1)
    bench.settle()
    let slots = ahead(of: bench)
    let to = bench.order(.attach(.zero))
    let second = bench.node.write(8, stamp: 2)
    bench.settle()
    #expect(bench.node.packets { if case .connectionChangeRequest = $0 { true } else { false } }.isEmpty)
    bench.ackLastWrite()
    #expect(bench.node.isGood(first))
    #expect(!bench.node.isAnswered(second))
    #expect(bench.node.packets { if case .connectionChangeRequest = $0 { true } else { false } }.count == 1)
    bench.say(.connectionChangeReply(1))
    #expect(bench.closed == [bench.data, bench.meta])
    bench.handshake(slots: slots, features: .drbd9, again: true)
    #expect(bench.node.replies[to] == .done)
    #expect(bench.node.volume().replication == .wfBitMapT)
    // The second has gone out behind the handshake; the next one is answered as on any target.
    let nothingWaits = bench.node.engine.entrance.isEmpty
    #expect(nothingWaits)
    let third = bench.node.write(16, stamp: 3)
    bench.settle()
    bench.ackLastWrite()
    #expect(bench.node.isGood(third))
    #expect(bench.node.volume().disk < .upToDate)
  }

  @Test("a Primary whose peer does not come back: the older disk is refused, and what waited fails instead of hanging")
  func primaryAlone() throws {
    let bench = try primary()
    let to = bench.order(.attach(.zero))
    bench.say(.connectionChangeReply(1))
    let write = bench.node.write(8, stamp: 2)
    bench.settle()
    #expect(!bench.node.isAnswered(write))
    bench.pass(.seconds(40))
    #expect(isRefused(bench, to))
    #expect(bench.node.volume().disk == .diskless)
    #expect(bench.node.isAnswered(write) && !bench.node.isGood(write))
  }

  @Test("with fencing nobody is fenced for the moment, and the handler is asked when the peer does not come back")
  func fencing() throws {
    let bench = try Bench {
      $0.net.fencing = .resourceAndStonith
      $0.volumes.append(VolumeSettings(number: VolumeNumber(1)))
    }
    bench.primary(features: .drbd9)
    detach(bench)
    _ = bench.order(.attach(.zero))
    bench.say(.connectionChangeReply(1))
    #expect(bench.closed == [bench.data, bench.meta])
    #expect(bench.node.handlers.filter { $0 == .fencePeer }.isEmpty)
    bench.pass(.seconds(40))
    #expect(bench.node.handlers.filter { $0 == .fencePeer }.count == 1)
  }

  @Test("towards any other peer nothing of that: the disk says Negotiating")
  func otherPeers() throws {
    let bench = try Bench()
    bench.primary()
    _ = bench.order(.secondary)
    bench.say(.state(bench.state(.primary, .connected, .upToDate, .upToDate)))
    detach(bench)
    _ = bench.order(.attach(.zero))
    #expect(bench.sent() == ["P_SIZES", "P_UUIDS", "P_STATE"])
    #expect(bench.closed.isEmpty)
  }
}
