// Online verify: what differs is found and marked on both nodes, what is equal is not, whatever the application does
// meanwhile; and the ways it begins, is refused, and is broken off.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Online verify")
struct VerifyTests {
  private func pair(bytes: UInt64 = 8 << 20) throws -> Pair {
    let pair = try Pair(diskBytes: [bytes]) { settings, _ in settings.net.verifyAlgorithm = "crc32c" }
    pair.synced()
    return pair
  }

  private let verify = Command.verify(.zero, start: nil, stop: nil)

  @Test(
    "towards a peer that cannot be told where to stop, all is compared and both end", arguments: [96, 100] as [UInt32])
  func cannotStop(version: UInt32) throws {
    let pair = try Pair(diskBytes: [4 << 20]) { settings, _ in
      settings.net.verifyAlgorithm = "crc32c"
      settings.net.maximumVersion = version
    }
    pair.synced()
    pair.beta.disks[.zero]!.spoil(4000, 8, with: 99)
    pair.order(.verify(.zero, start: nil, stop: Sector(800)), on: pair.alpha)
    pair.waitSync()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    for node in pair.both { #expect(node.isOutOfSync(500)) }
    #expect(pair.alpha.log.contains { $0.contains("cannot be told where to stop") })
  }

  @Test("blocks that differ are marked on both and stay marked, on either side", arguments: [true, false])
  func finds(fromPrimary: Bool) throws {
    let pair = try pair()
    for block: UInt64 in [7, 8, 300] { pair.beta.disks[.zero]!.spoil(block * 8, 8, with: 99) }
    for node in pair.both { node.forgetTrace() }
    pair.order(verify, on: fromPrimary ? pair.alpha : pair.beta)
    pair.waitSync()
    for node in pair.both {
      #expect(node.volume().outOfSync == SectorCount(24))
      for block: UInt64 in [7, 8, 300] { #expect(node.isOutOfSync(block)) }
      #expect(node.handlers.contains(.outOfSync))
      #expect(node.log.contains { $0.contains("Out of sync: start=56, size=16 (sectors)") })
      #expect(node.volume().verify == nil)
    }
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectRest()
    // Only a resync repairs.
    pair.order(.invalidate(.zero), on: pair.beta)
    pair.waitSync()
    pair.expectEqual()
  }

  @Test("writes under way are no differences", arguments: [true, false], WireProtocol.everyone)
  func writesMeanwhile(fromPrimary: Bool, wireProtocol: WireProtocol) throws {
    let pair = try Pair(diskBytes: [2 << 20]) { settings, _ in
      settings.net.verifyAlgorithm = "crc32c"
      settings.net.wireProtocol = wireProtocol
      settings.net.maxBuffers = 32
    }
    pair.synced()
    for node in pair.both { node.holding = [.verify, .peerWrite] }
    let to = (fromPrimary ? pair.alpha : pair.beta).order(verify)
    var random = SeededGenerator(seed: 3)
    for stamp in 1...2000 {
      let sector = random.below(60) * 8
      pair.alpha.write(sector, stamp: UInt64(stamp))
      if stamp % 5 == 0 { pair.alpha.flush() }
      for node in pair.both {
        node.release(.verify, count: Int(random.below(3)))
        node.release(.peerWrite, count: Int(random.below(3)))
      }
      pair.settle()
    }
    for node in pair.both { node.stopHolding() }
    pair.run(until: { pair.both.allSatisfy { $0.volume().replication == .connected } })
    #expect((fromPrimary ? pair.alpha : pair.beta).replies[to] == .done)
    for node in pair.both { #expect(node.log.contains { $0.contains("Online verify done") }) }
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a block that is always being written has its turn, in a verify and in a resync", arguments: [true, false])
  func hotBlock(verifies: Bool) throws {
    let pair = try Pair(diskBytes: [1 << 20]) { settings, _ in
      settings.net.verifyAlgorithm = "crc32c"
      settings.net.maximumVersion = 94
    }
    pair.synced()
    pair.order(.secondary, on: pair.alpha)
    if !verifies { pair.order(.invalidate(.zero), on: pair.alpha) }
    pair.order(.primary(force: false), on: pair.alpha)
    pair.alpha.holding = [.appWrite]
    for stamp: UInt64 in 1...3 { pair.alpha.write(1000, stamp: stamp) }
    if verifies { _ = pair.alpha.order(verify) }
    for stamp: UInt64 in 4...500 {
      pair.alpha.write(1000, stamp: stamp)
      pair.settle()
      pair.alpha.release(.appWrite, count: 1)
      pair.pass(.milliseconds(1))
    }
    #expect(pair.both.allSatisfy { $0.volume().replication == .connected })
    pair.alpha.stopHolding()
    pair.settle()
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a disk slower than the peer's answers holds the asking back")
  func slowDisk() throws {
    let pair = try Pair(diskBytes: [8 << 20]) { settings, _ in
      settings.net.verifyAlgorithm = "crc32c"
      settings.net.maxBuffers = 64
    }
    pair.synced()
    for node in pair.both { node.forgetTrace() }
    pair.alpha.holding = [.verify]
    pair.order(verify, on: pair.alpha)
    pair.settle()
    let asked = { pair.alpha.packets { if case .verifyRequest = $0 { true } else { false } }.count }
    #expect(asked() == 32)
    pair.alpha.release(.verify, count: 5)
    pair.settle()
    #expect(asked() == 37)
    pair.alpha.holding = []
    pair.alpha.release(.verify, count: 32)
    pair.waitSync()
    pair.expectRest()
  }

  /// Lets a verify run beside an application that never rests, and says how many of its blocks were under way at most.
  private func mostUnderWay(_ minRate: UInt32, isConfigured: Bool = false, seconds: Int = 1) throws -> (
    most: Int, asked: Int
  ) {
    let pair = try Pair(diskBytes: [64 << 20]) { settings, _ in
      settings.net.verifyAlgorithm = "crc32c"
      settings.volumes[0].resync.minRate = minRate
      settings.volumes[0].resync.minRateIsConfigured = isConfigured
    }
    pair.synced()
    for node in pair.both { node.forgetTrace() }
    pair.alpha.holding = [.verify]
    var most = 0
    pair.alpha.write(8, stamp: 1)
    pair.order(verify, on: pair.alpha)
    for stamp in 0..<UInt64(seconds * 100) {
      pair.alpha.write(8, stamp: stamp)
      pair.pass(.milliseconds(10))
      most = max(most, pair.alpha.heldCount(.verify))
      pair.alpha.release(.verify)
    }
    let asked = pair.alpha.packets { if case .verifyRequest = $0 { true } else { false } }.count
    pair.alpha.stopHolding()
    pair.waitSync()
    pair.expectRest()
    return (most, asked)
  }

  @Test("many volumes at once: together they ask for no more than the peer has places for")
  func manyVolumes() throws {
    let pair = try Pair(diskBytes: [UInt64](repeating: 8 << 20, count: 8)) { settings, _ in
      settings.net.verifyAlgorithm = "crc32c"
    }
    pair.synced()
    for node in pair.both { node.holding = [.verify] }
    for v in 0..<8 { pair.order(.verify(VolumeNumber(UInt16(v)), start: nil, stop: nil), on: pair.alpha) }
    pair.settle()
    #expect(pair.beta.heldCount(.verify) == Engine.maxPeerRequests / 2)
    for node in pair.both { node.stopHolding() }
    pair.waitSync()
    for node in pair.both { #expect(!node.log.contains { $0.contains("connection lost") }) }
    pair.expectRest()
  }

  @Test("it gives way to an application at work, on either node, and goes at full speed when that rests")
  func givesWay() throws {
    #expect(try mostUnderWay(250).most == 16)
    // Nothing gives way with c-min-rate 0.
    #expect(try mostUnderWay(0).most == 1024)
    // The application at the peer counts, too; and when it rests, nothing is held back.
    let pair = try pair(bytes: 64 << 20)
    pair.beta.holding = [.verify]
    pair.alpha.write(8, stamp: 1)
    pair.settle()
    pair.order(verify, on: pair.beta)
    pair.beta.release(.verify)
    pair.alpha.write(8, stamp: 2)
    pair.settle()
    pair.beta.release(.verify)
    pair.settle()
    #expect(pair.beta.heldCount(.verify) == 16)
    pair.pass(.milliseconds(200))
    pair.beta.release(.verify)
    pair.settle()
    #expect(pair.beta.heldCount(.verify) == 1024)
    pair.beta.stopHolding()
    pair.waitSync()
    pair.expectRest()
  }

  @Test("beside an application at work it goes no faster than a c-min-rate that the file names")
  func namedRate() throws {
    // 400 KiB/s: 100 blocks in a second, and what a first step grants.
    let asked = try mostUnderWay(400, isConfigured: true, seconds: 4).asked
    #expect(asked > 350 && asked < 450)
  }

  @Test(
    "a digest that the policy of a system forbids is unknown there: no block is called different",
    arguments: [true, false])
  func forbidden(here: Bool) throws {
    let pair = try Pair { settings, isAlpha in
      settings.net.verifyAlgorithm = "md5"
      if isAlpha == here { settings.net.forbiddenDigests = [.md5] }
    }
    pair.synced()
    pair.refuse(verify, on: pair.alpha, here ? -14 : -10)
    if here {
      #expect(
        pair.alpha.log.contains {
          $0.contains("verify-alg is md5, which the cryptography policy of this system forbids")
        })
    }
    #expect(pair.alpha.volume().outOfSync == .zero)
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("what could not be examined is counted as not compared, and marked on neither node", arguments: [true, false])
  func unknown(atTarget: Bool) throws {
    let pair = try pair(bytes: 1 << 20)
    (atTarget ? pair.beta : pair.alpha).knowsNoDigest = true
    pair.order(verify, on: pair.alpha)
    pair.waitSync()
    for node in pair.both { #expect(node.volume().outOfSync == .zero) }
    #expect(pair.alpha.log.contains { $0.contains("blocks could not be compared") })
    pair.expectRest()
  }

  @Test("a reply without room for its comparison costs the connection, and leaves no block in use")
  func noRoom() throws {
    let bench = try Bench { $0.net.verifyAlgorithm = "crc32c" }
    bench.primary()
    _ = bench.order(.secondary)
    _ = bench.order(verify)
    bench.say(.stateChangeReply(1))
    #expect(bench.node.volume().replication == .verifyS)
    bench.node.holding = [.peerWrite]
    for i in 0..<UInt64(Engine.maxPeerRequests) {
      var head = DataHeader()
      head.sector = i
      head.blockID = i + 1
      bench.say(.data(head), payload: [1])
      // The others wait for the first.
      if i == 0 { bench.say(.barrier(0)) }
    }
    bench.say(.verifyReply(BlockRequest(sector: 0, blockID: syncerBlockID, size: 4096), digest: [1, 2, 3, 4]))
    #expect(bench.node.volume().replication < .connected)
    bench.node.stopHolding()
    bench.settle()
    #expect(bench.node.engine.volumes[0].ranges.count == 0)
  }

  @Test("a part of the device, from a first sector to a last one")
  func part() throws {
    let pair = try pair()
    for block: UInt64 in [1, 10, 100] { pair.beta.disks[.zero]!.spoil(block * 8, 8, with: 5) }
    pair.alpha.forgetTrace()
    pair.order(.verify(.zero, start: Sector(43), stop: Sector(720)), on: pair.alpha)
    pair.waitSync()
    let asked = pair.alpha.packets { if case .verifyRequest = $0 { true } else { false } }
    #expect(asked.count == 85)
    for node in pair.both {
      #expect(node.isOutOfSync(10))
      #expect(!node.isOutOfSync(1) && !node.isOutOfSync(100))
    }
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("broken off by a disconnect, the next one goes on from there; progress can be seen")
  func brokenOff() throws {
    let pair = try pair()
    pair.alpha.holding = [.verify]
    _ = pair.alpha.order(verify)
    pair.settle()
    pair.alpha.release(.verify, count: 100)
    pair.settle()
    let progress = try #require(pair.alpha.volume().verify)
    #expect(progress.position == 800)
    #expect(pair.beta.volume().verify?.position == 800)
    pair.expect("VerifyS Primary/Secondary UpToDate/UpToDate", peer: "VerifyT")
    // Said again, it changes nothing.
    pair.order(verify, on: pair.alpha)
    #expect(pair.alpha.volume().verify == progress)
    _ = pair.beta.order(.disconnect(force: false))
    pair.settle()
    pair.alpha.stopHolding()
    pair.order(.connect(discardMyData: false), on: pair.beta)
    pair.waitConnected()
    pair.waitSync()
    pair.alpha.forgetTrace()
    pair.order(verify, on: pair.alpha)
    pair.waitSync()
    let asked = pair.alpha.packets { if case .verifyRequest = $0 { true } else { false } }
    #expect(asked.first == .verifyRequest(BlockRequest(sector: 800, blockID: syncerBlockID, size: 4096)))
    pair.expectRest()
  }

  @Test("an algorithm that one node takes over at run time counts for both, on the same connection")
  func announced() throws {
    let pair = try Pair()
    pair.synced()
    pair.refuse(verify, on: pair.alpha, -14)
    let before = pair.both.map { $0.engine.link.generation }
    var settings = pair.beta.engine.settings
    settings.net.verifyAlgorithm = "crc32c"
    pair.beta.engine.adopt(settings)
    pair.order(.announceOptions, on: pair.beta)
    pair.settle()
    pair.beta.disks[.zero]!.spoil(64, 8, with: 99)
    pair.order(verify, on: pair.alpha)
    pair.waitSync()
    for node in pair.both { #expect(node.isOutOfSync(8)) }
    #expect(pair.both.map { $0.engine.link.generation } == before)
    pair.expectRest()
  }

  @Test("a disk that fails meanwhile ends it", arguments: [true, false])
  func diskFails(ofAsker: Bool) throws {
    let pair = try pair()
    let node = ofAsker ? pair.alpha : pair.beta
    node.disks[.zero]!.badForReading = 800..<808
    pair.order(verify, on: pair.alpha)
    pair.run(until: { node.volume().disk == .diskless })
    pair.pass(.seconds(2))
    #expect(pair.both.allSatisfy { $0.volume().replication == .connected })
    pair.expectRest()
  }

  @Test("what cannot be compared is refused with DRBD's numbers")
  func refusals() throws {
    let plain = try Pair()
    plain.synced()
    plain.refuse(verify, on: plain.alpha, -14)
    let pair = try pair()
    pair.refuse(.verify(.zero, start: Sector(1 << 30), stop: nil), on: pair.alpha, 148)
    pair.alpha.holding = [.verify]
    pair.order(verify, on: pair.alpha)
    pair.refuse(verify, on: pair.beta, -8)
    pair.refuse(.invalidate(.zero), on: pair.beta, -8)
    pair.alpha.stopHolding()
    pair.waitSync()
    pair.order(.disconnect(force: false), on: pair.beta)
    pair.refuse(verify, on: pair.alpha, -15)
  }

  @Test("two nodes that both want to verify: one does")
  func both() throws {
    let pair = try pair()
    let one = pair.alpha.order(verify)
    let other = pair.beta.order(verify)
    pair.waitSync()
    pair.run(until: { pair.alpha.replies[one] != nil && pair.beta.replies[other] != nil })
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
    pair.expectRest()
  }

  /// A kernel does not count P_NEG_RS_DREPLY as an answer: its verify would never end.
  @Test("with pass_on every request is answered by a digest, also behind the read that made the disk Inconsistent")
  func unreadable() throws {
    let bench = try Bench {
      $0.net.verifyAlgorithm = "crc32c"
      $0.volumes[0].onIOError = .passOn
    }
    bench.primary()
    bench.disk.badForReading = 0..<64
    for block: UInt64 in 0..<3 {
      bench.say(.verifyRequest(BlockRequest(sector: block * 8, blockID: syncerBlockID, size: 4096)))
    }
    let answers = bench.node.packets { if case .verifyReply(_, [0, 0, 0, 0]) = $0 { true } else { false } }
    #expect(answers.count == 3 && bench.node.volume().disk == .inconsistent)
  }

  @Test("the peer's requests are checked")
  func hostile() throws {
    let bench = try Bench { $0.net.verifyAlgorithm = "crc32c" }
    bench.primary()
    bench.say(.verifyRequest(BlockRequest(sector: 1 << 40, blockID: syncerBlockID, size: 4096)))
    #expect(bench.node.volume().replication < .connected)
    let other = try Bench { $0.net.verifyAlgorithm = "crc32c" }
    other.primary()
    _ = other.order(verify)
    other.say(.stateChangeReply(1))
    other.say(.verifyReply(BlockRequest(sector: 7, blockID: syncerBlockID, size: 4096), digest: [1, 2, 3, 4]))
    #expect(other.node.volume().replication < .connected)
  }
}

extension WireProtocol {
  static let everyone: [WireProtocol] = [.a, .b, .c]
}

extension FakeDisk {
  /// Changes what is on the disk behind the engine's back.
  func spoil(_ sector: UInt64, _ count: UInt64, with stamp: UInt64) {
    let range = BlockRange(Sector(sector), SectorCount(count))
    _ = perform(
      .write(range, PayloadRef(page: 0, bytes: UInt32(range.bytes)), fua: true), read: { _, _ in },
      bytes: { _ in [UInt64](repeating: stamp, count: Int(count)) })
  }
}

extension Pair {
  func expect(_ state: String, peer word: String, at location: SourceLocation = #_sourceLocation) {
    #expect(alpha.state == state, sourceLocation: location)
    #expect(beta.state.hasPrefix(word), sourceLocation: location)
  }
}
