// Where a DRBD 9 follows rules of its own at version 101 (wire spec 14.2 numbers 21 to 27), one test each, with a scripted peer that goes on as
// the kernel of the named recording does. The recordings as far as this node says what it said there are played in
// RecordedPeerTests.
import Base
import Protocol
import Testing

@testable import Engine

extension Features {
  /// As DRBD 9.3.3 sends them (Fixtures/wire9).
  static let drbd9 = Features(minimum: 86, maximum: 124, flags: FeatureFlags(rawValue: 0x3ff))
}

@Suite("Rules of DRBD 9")
struct DRBD9RulesTests {
  private static let kinds: [Features] = [.drbd9, Features()]

  private func secondary(_ features: Features = .drbd9) throws -> Bench {
    let bench = try Bench()
    bench.primary(features: features)
    let to = bench.order(.secondary)
    #expect(bench.node.replies[to] == .done)
    bench.node.forgetTrace()
    return bench
  }

  private func states(_ bench: Bench) -> [ConnectionState?] {
    bench.node.sent.compactMap { if case .state(let state) = $0.packet { state.connection } else { nil } }
  }

  private func pings(_ bench: Bench) -> Int { bench.node.sent.count { $0.packet == .ping } }

  // MARK: pings (recordings 12 and 13)

  /// Two volumes whose promotion is asked for one by one, with a ping each: the kernel of 13 acknowledges the pings of the second and the
  /// third request once.
  @Test("pings that arrive together are acknowledged once: the connection stays")
  func mergedAcks() throws {
    let bench = try Bench { $0.volumes.append(VolumeSettings(number: VolumeNumber(1))) }
    bench.primary(features: .drbd9)
    _ = bench.order(.secondary)
    bench.node.forgetTrace()
    let to = bench.order(.primary(force: false))
    for _ in 0..<2 { bench.say(.stateChangeReply(1)) }
    #expect(bench.node.replies[to] == .done)
    #expect(pings(bench) == 1)
    bench.node.forgetTrace()
    bench.say(.pingAck)
    // Of the second request.
    #expect(pings(bench) == 1)
    bench.say(.pingAck)
    #expect(pings(bench) == 1)
    bench.pass(.seconds(5))
    #expect(bench.node.volume().replication == .connected)
  }

  @Test("an ack answers what waited when its ping was sent, and nothing that came later")
  func laterPing() throws {
    let bench = try Bench { $0.volumes.append(VolumeSettings(number: VolumeNumber(1))) }
    bench.primary(features: .drbd9)
    _ = bench.order(.secondary)
    _ = bench.order(.primary(force: false))
    bench.say(.stateChangeReply(1))
    let waiting = bench.node.engine.waits.all.count { $0.reason == .ping }
    #expect(waiting == 2)
    bench.say(.pingAck)
    #expect(bench.node.engine.waits.all.count { $0.reason == .ping } == 1)
  }

  @Test("a dead DRBD 9 is found all the same")
  func deadPeer() throws {
    let bench = try secondary()
    bench.pass(.seconds(12))
    #expect(bench.node.volume().replication < .connected)
  }

  // MARK: a forced promotion of several volumes (recording 13)

  private func forced(_ features: Features) throws -> Bench {
    let bench = try Bench {
      for i in 1...2 { $0.volumes.append(VolumeSettings(number: VolumeNumber(UInt16(i)))) }
    }
    bench.attach()
    bench.handshake(disk: .inconsistent, features: features)
    let to = bench.order(.primary(force: true))
    for _ in 0..<3 {
      bench.say(.pingAck)
      bench.say(.stateChangeReply(1))
    }
    #expect(bench.node.replies[to] == .done)
    return bench
  }

  @Test("the peer begins the resync of the first volume, this node those of the others")
  func severalVolumes() throws {
    let bench = try forced(.drbd9)
    #expect(states(bench) == [.connected, .wfBitMapS, .wfBitMapS])
    let bitmaps = bench.node.sent.filter {
      switch $0.packet {
      case .bitmap, .compressedBitmap: true
      default: false
      }
    }
    #expect(Set(bitmaps.map(\.volume)) == [VolumeNumber(1), VolumeNumber(2)])
    // It compares, and answers as it does for the first volume in the recording.
    for number in [UInt16(0), 1, 2] {
      let volume = VolumeNumber(number)
      var slots = GenerationIdentifiers()
      slots.current = 4
      slots.dirtyBits = bench.node.volume(volume).size.bits
      bench.say(.uuids(slots), volume: volume)
      bench.say(.state(bench.state(.secondary, .wfBitMapT, .inconsistent, .upToDate)), volume: volume)
      bench.say(.bitmap(bitmap(bench, Array(0..<bench.node.volume(volume).size.bits))), volume: volume)
      bench.say(.bitmap([]), volume: volume)
      #expect(bench.node.volume(volume).replication == .syncSource, "\(volume.value)")
      #expect(bench.node.volume(volume).outOfSync == bench.node.volume(volume).size)
    }
    #expect(bench.closed.isEmpty)
  }

  @Test("a peer that does not take part is met anew: the handshake begins the resync")
  func noAnswer() throws {
    let bench = try forced(.drbd9)
    for _ in 0..<80 {
      bench.pass(.seconds(1))
      if bench.closed.isEmpty { bench.say(.unplugRemote) }
    }
    #expect(bench.closed == [bench.data, bench.meta])
  }

  @Test("towards any other peer each volume waits for the peer's comparison")
  func severalVolumesOfOthers() throws {
    #expect(states(try forced(Features())) == [.connected, .connected, .connected])
  }

  // MARK: equal generations, and the peer is the source (recordings 15 and 17)

  private func bitmap(_ bench: Bench, _ bits: [UInt64]) -> [UInt8] {
    var plain = [UInt8](repeating: 0, count: (Int(bench.node.volume().size.bits) + 63) / 64 * 8)
    for bit in bits { plain[Int(bit / 8)] |= 1 << UInt8(bit % 8) }
    return plain
  }

  private func bitmapsSent(_ bench: Bench) -> Int {
    bench.node.packets {
      switch $0 {
      case .bitmap, .compressedBitmap: true
      default: false
      }
    }.count
  }

  /// It had lost its quorum: it knows so by a flag that P_UUIDS of this version has no room for.
  @Test("nothing is to do here, and it says that it is the source: this node is the target")
  func lostQuorum() throws {
    let bench = try secondary()
    bench.say(.state(bench.state(.primary, .wfBitMapS, .upToDate, .consistent)))
    #expect(bench.node.volume().replication == .wfBitMapT)
    #expect(states(bench) == [.wfBitMapT])
    bench.say(.bitmap(bitmap(bench, [3])))
    bench.say(.bitmap([]))
    #expect(bitmapsSent(bench) > 0)
    #expect(bench.node.volume().replication == .wfSyncUUID)
    bench.say(.syncUUID(0x5000))
    #expect(bench.node.volume().replication == .syncTarget)
    #expect(bench.node.isOutOfSync(3))
    #expect(bench.closed.isEmpty)
  }

  @Test("a Primary keeps its data, and any other peer is not believed that way")
  func notBelieved() throws {
    let primary = try Bench()
    primary.primary(features: .drbd9)
    primary.say(.state(primary.state(.secondary, .wfBitMapS, .upToDate, .consistent)))
    #expect(primary.node.volume().replication == .connected)
    let kernel84 = try secondary(Features())
    kernel84.say(.state(kernel84.state(.secondary, .wfBitMapS, .upToDate, .consistent)))
    #expect(kernel84.node.volume().replication == .connected)
  }

  /// This node was Primary, was killed, and is back; the kernel of 15 remembers the connection, and takes the source's part by that.
  private func crashed(_ features: Features) throws -> Bench {
    let bench = try Bench()
    bench.primary(features: features)
    bench.node.write(40, stamp: 1)
    bench.settle()
    bench.ackLastWrite()
    bench.node.crash(power: false)
    bench.attach()
    bench.meet()
    bench.say(.features(features))
    bench.say(
      .protocolOffer(
        {
          var offer = ProtocolOffer()
          offer.letter = WireProtocol.c.rawValue
          return offer
        }()))
    bench.say(.syncParameters(SyncParameters()))
    var sizes = Sizes()
    sizes.backing = bench.node.volume().size.value
    sizes.current = sizes.backing
    bench.say(.sizes(sizes))
    bench.say(.uuids(bench.ownSlots()))
    bench.say(.state(bench.state(.secondary, .wfReportParams, .upToDate, .unknown)))
    #expect(bench.node.volume().replication == .wfBitMapS)
    return bench
  }

  @Test("both begin as the source: the bitmaps cross, and this node becomes the target", arguments: [false, true])
  func bothAreSource(metadataAreSlow: Bool) throws {
    let bench = try crashed(.drbd9)
    let bitmaps = bitmapsSent(bench)
    #expect(bitmaps > 0)
    if metadataAreSlow { bench.node.holding = [.superblock] }
    bench.say(.state(bench.state(.secondary, .wfBitMapS, .upToDate, .consistent)))
    #expect(bench.node.volume().replication == .wfBitMapT)
    bench.say(.bitmap(bitmap(bench, [3])))
    bench.say(.bitmap([]))
    // The source has this node's bitmap already, and goes on.
    bench.say(.syncUUID(0x5000))
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.node.volume().replication == .syncTarget)
    #expect(bench.node.generations()[0] == 0x5000)
    #expect(bitmapsSent(bench) == bitmaps)
    #expect(bench.node.packets { if case .syncUUID = $0 { true } else { false } }.isEmpty)
    #expect(bench.node.isOutOfSync(3) && bench.node.isOutOfSync(5))
    #expect(!bench.node.packets { if case .resyncRequest = $0 { true } else { false } }.isEmpty)
    #expect(bench.closed.isEmpty)
  }

  @Test("towards any other peer this node stays the source")
  func staysSource() throws {
    let bench = try crashed(Features())
    bench.say(.state(bench.state(.secondary, .wfBitMapS, .upToDate, .consistent)))
    #expect(bench.node.volume().replication == .wfBitMapS)
  }

  // MARK: a resize of the peer (recording 16)

  private func resized(_ features: Features) throws -> (bench: Bench, sent: [Sizes]) {
    let bench = try Bench { $0.volumes[0].metaLocation = .external }
    bench.primary(features: features)
    bench.disk.facts.dataBytes = 16 << 20
    var sizes = Sizes()
    sizes.backing = 1 << 15
    sizes.current = bench.node.volume().size.value
    bench.node.forgetTrace()
    bench.say(.sizes(sizes))
    return (bench, bench.node.sent.compactMap { if case .sizes(let sizes) = $0.packet { sizes } else { nil } })
  }

  @Test("its disk is larger than the agreed size: this node measures its own, and both grow")
  func resizeOfPeer() throws {
    let (bench, sent) = try resized(.drbd9)
    #expect(bench.node.volume().size == SectorCount(1 << 15))
    #expect(sent.map(\.current) == [1 << 15])
    #expect(bench.node.volume().replication == .syncSource)
  }

  @Test("towards any other peer that is not a wish")
  func sizeOfOthers() throws {
    let (bench, sent) = try resized(Features())
    #expect(bench.node.volume().size == SectorCount(bytes: 8 << 20))
    #expect(sent.isEmpty)
  }

  // MARK: a generation told by P_UUIDS (recording 18)

  private func told(
    _ features: Features, _ change: (Bench, inout GenerationIdentifiers) -> Void = { _, _ in }
  ) throws -> (before: UInt64, after: [UInt64]) {
    let bench = try secondary(features)
    bench.say(.connectionChangeRequest(StateChange(mask: PackedState(word: 3), value: PackedState(word: 1))))
    bench.say(.state(bench.state(.primary, .connected, .upToDate, .upToDate)))
    var slots = GenerationIdentifiers()
    let before = bench.node.generations()[0]
    slots.current = 0x7001
    slots.history0 = before
    change(bench, &slots)
    bench.say(.uuids(slots))
    #expect(try bench.disk.superblock().generations(peerNode: 1).current & ~1 == bench.node.generations()[0])
    return (before, bench.node.generations())
  }

  @Test("a Primary's new generation, made of this node's own: taken over")
  func generationTold() throws {
    let (before, after) = try told(.drbd9)
    #expect(after[0] == 0x7000)
    #expect(after[1] == 0)
    #expect(after[2] == before)
  }

  @Test("any other generation is not, nor of any other peer, nor while a block is marked")
  func generationNotTaken() throws {
    let others: [(Features, (Bench, inout GenerationIdentifiers) -> Void)] = [
      (Features(), { _, _ in }), (.drbd9, { _, slots in slots.history0 = 0x9990 }),
      (.drbd9, { _, slots in slots.bitmap = slots.history0 }), (.drbd9, { _, slots in slots.dirtyBits = 1 }),
      (.drbd9, { bench, _ in _ = bench.node.engine.volumes[0].backing.bitmap.set(1..<2) }),
      (.drbd9, { bench, _ in bench.say(.state(bench.state(.secondary, .connected, .upToDate, .upToDate))) }),
    ]
    for (i, (features, change)) in others.enumerated() {
      let (before, after) = try told(features, change)
      #expect(after[0] == before, "\(i)")
    }
  }

  // MARK: the same protocol error again and again

  private func fail(_ bench: Bench, _ features: Features, again: Bool) {
    bench.handshake(features: features, again: again)
    bench.say(.bitmap([]))
    #expect(bench.node.volume().replication < .connected)
  }

  @Test("after the third alike the next attempt waits, and the log says what to do", arguments: kinds)
  func repeatedFault(_ features: Features) throws {
    let bench = try secondary(features)
    bench.say(.bitmap([]))
    for _ in 0..<2 { fail(bench, features, again: true) }
    #expect(bench.node.log.contains { $0.contains("ended 3 times in the same way") && $0.contains("repladm ") })
    let before = bench.connects
    bench.pass(.seconds(29))
    #expect(bench.connects == before)
    bench.pass(.seconds(2))
    #expect(bench.connects == before + 1)
  }

  @Test("different errors, or one now and then, are no loop; nor is what an operator has looked at")
  func noLoop() throws {
    let bench = try secondary()
    bench.say(.bitmap([]))
    fail(bench, .drbd9, again: true)
    bench.handshake(features: .drbd9, again: true)
    for _ in 0..<70 {
      bench.say(.unplugRemote)
      bench.pass(.seconds(1))
      bench.say(.pingAck)
    }
    bench.say(.bitmap([]))
    fail(bench, .drbd9, again: true)
    _ = bench.order(.disconnect(force: false))
    fail(bench, .drbd9, again: false)
    #expect(!bench.node.log.contains { $0.contains("in the same way") })
  }

  // MARK: refusals

  @Test("a module that forbids the old versions is named, and what to do")
  func withheldDialect() throws {
    let bench = try Bench()
    bench.attach()
    bench.meet()
    bench.say(.features(Features(minimum: 118, maximum: 124, flags: FeatureFlags(rawValue: 0x3ff))))
    #expect(bench.node.engine.connectionRefusal?.contains("protocol_version_min=86") == true)
    #expect(bench.node.volume().replication == .standAlone)
  }

  @Test("a handshake that it ends behind its first packet: the log names the third connection", arguments: kinds)
  func thirdConnection(_ features: Features) throws {
    let bench = try Bench()
    bench.attach()
    bench.meet()
    bench.say(.features(features))
    bench.node.inbox.append(.event(.socketClosed(bench.data)))
    bench.settle()
    #expect(bench.node.log.contains { $0.contains("no third node") } == (features.maximum > 101))
  }
}
