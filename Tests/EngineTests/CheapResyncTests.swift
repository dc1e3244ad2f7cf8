// Resyncs that copy less than the bitmap says: blocks whose checksums are equal (`csums-alg`) and blocks of zeroes
// (`rs-discard-granularity`); and the pace of one (`resync-rate`).
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Checksum and thin resync")
struct CheapResyncTests {
  private func count(_ node: Node, _ matching: (Packet) -> Bool) -> Int { node.packets(matching).count }

  private func isData(_ packet: Packet) -> Bool { if case .resyncReply = packet { true } else { false } }
  private func isEqual(_ packet: Packet) -> Bool { if case .inSync = packet { true } else { false } }
  private func isDeallocated(_ packet: Packet) -> Bool { if case .deallocated = packet { true } else { false } }

  /// alpha Primary, and everything of beta is to be resynced.
  private func invalidated(_ adjust: (inout ResourceSettings) -> Void) throws -> Pair {
    let pair = try Pair { settings, _ in adjust(&settings) }
    pair.synced()
    for block: UInt64 in [3, 40, 41, 800] { pair.alpha.write(block * 8, stamp: block) }
    pair.settle()
    pair.beta.disks[.zero]!.spoil(40 * 8, 8, with: 12345)
    pair.beta.disks[.zero]!.spoil(1600, 8, with: 1)
    for node in pair.both { node.forgetTrace() }
    pair.order(.invalidate(.zero), on: pair.beta)
    return pair
  }

  @Test("with csums-alg only what differs is copied")
  func checksums() throws {
    let pair = try invalidated { $0.net.checksumAlgorithm = "sha1" }
    pair.waitSync()
    #expect(count(pair.alpha, isData) == 2)
    #expect(count(pair.alpha, isEqual) > 10)
    #expect(pair.beta.log.contains { $0.contains("KiB of them were equal") })
    pair.expectEqual()
    pair.expectRest()
    pair.expect("Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("csums-after-crash-only: after a crash of a Primary and not otherwise")
  func afterCrash() throws {
    let pair = try invalidated {
      $0.net.checksumAlgorithm = "crc32c"
      $0.net.checksumsAfterCrashOnly = true
    }
    pair.waitSync()
    #expect(count(pair.alpha, isEqual) == 0)
    pair.crash(pair.alpha)
    pair.pass(.seconds(20))
    pair.order(.primary(force: false), on: pair.beta)
    pair.beta.write(8000, stamp: 1)
    pair.settle()
    for node in pair.both { node.forgetTrace() }
    pair.restart(pair.alpha)
    pair.waitConnected()
    pair.waitSync()
    #expect(count(pair.beta, isEqual) > 0)
    pair.expectEqual()
  }

  @Test("the application writes while checksums are compared", arguments: [true, false])
  func writesMeanwhile(targetIsPrimary: Bool) throws {
    let pair = try Pair(diskBytes: [2 << 20]) { settings, _ in settings.net.checksumAlgorithm = "md5" }
    pair.synced()
    if targetIsPrimary {
      pair.order(.secondary, on: pair.alpha)
      pair.order(.primary(force: false), on: pair.beta)
      pair.order(.secondary, on: pair.beta)
    }
    let writer = targetIsPrimary ? pair.beta : pair.alpha
    for node in pair.both { node.holding = [.checksum, .resyncRead, .peerWrite, .resyncWrite] }
    pair.order(.invalidate(.zero), on: pair.beta)
    if targetIsPrimary { pair.order(.primary(force: false), on: pair.beta) }
    var random = SeededGenerator(seed: 9)
    for stamp in 1...600 {
      writer.write(random.below(120) * 8, stamp: UInt64(stamp))
      for node in pair.both {
        for kind: WorkID.Kind in [.checksum, .resyncRead, .peerWrite, .resyncWrite] {
          node.release(kind, count: Int(random.below(3)))
        }
      }
      pair.settle()
    }
    for node in pair.both { node.stopHolding() }
    pair.waitSync()
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("a block of the target that cannot be read is asked for as a whole")
  func unreadable() throws {
    let pair = try Pair { settings, isAlpha in
      settings.net.checksumAlgorithm = "crc32c"
      settings.volumes[0].onIOError = .passOn
    }
    pair.synced()
    pair.beta.disks[.zero]!.badForReading = 0..<8
    for node in pair.both { node.forgetTrace() }
    pair.order(.invalidate(.zero), on: pair.beta)
    pair.pass(.seconds(10))
    #expect(count(pair.beta) { if case .resyncRequest = $0 { true } else { false } } == 1)
    pair.expectEqual()
  }

  @Test("a checksum of another length, or without csums-alg, breaks the connection")
  func hostile() throws {
    for (algorithm, digest) in [("", 4), ("sha1", 4)] {
      let bench = try Bench { $0.net.checksumAlgorithm = algorithm }
      bench.primary()
      bench.say(
        .checksumRequest(
          BlockRequest(sector: 0, blockID: syncerBlockID, size: 4096), digest: [UInt8](repeating: 1, count: digest)))
      #expect(bench.node.volume().replication < .connected)
      #expect(bench.node.lentPayloads == 0)
    }
  }

  @Test("with rs-discard-granularity blocks of zeroes are deallocated, not copied")
  func thin() throws {
    let pair = try invalidated { $0.volumes[0].resync.discardGranularity = 65536 }
    pair.waitSync()
    // Written blocks lie in four granules; the last part of the device is no whole one.
    #expect(count(pair.beta) { if case .thinRequest = $0 { true } else { false } } == 127)
    #expect(count(pair.alpha, isDeallocated) == 124)
    #expect(count(pair.alpha, isData) == 4)
    #expect(pair.beta.disks[.zero]![1600] == 0)
    pair.expectEqual()
    pair.expectRest()
  }

  /// Such answers bring no payload: the pool's memory does not hold them back (seed 772659).
  @Test(
    "a target whose disk is slower than the source's zeroes asks for no more than it has places for", arguments: [1, 4])
  func slowTarget(volumes: Int) throws {
    let pair = try Pair(diskBytes: [UInt64](repeating: 64 << 20, count: volumes)) { settings, _ in
      for v in 0..<volumes {
        settings.volumes[v].resync.discardGranularity = 4096
        settings.volumes[v].resync.planAhead = 0
        settings.volumes[v].resync.rate = 10240
        settings.volumes[v].resync.rateIsConfigured = true
      }
    }
    pair.attach()
    pair.connect()
    pair.beta.holding = [.resyncWrite]
    pair.order(.primary(force: true), on: pair.alpha)
    pair.pass(.seconds(4))
    #expect(pair.beta.heldCount(.resyncWrite) == Engine.maxPeerRequests / 2)
    for v in 0..<volumes { #expect(pair.beta.volume(VolumeNumber(UInt16(v))).replication == .syncTarget) }
    pair.beta.stopHolding()
    pair.waitSync()
    #expect(!pair.beta.log.contains { $0.contains("connection lost") })
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("resync-rate is the rate, also when it is low: 200 KiB/s and 2 MiB/s", arguments: [200, 2048])
  func rate(_ rate: UInt32) throws {
    let pair = try invalidated {
      $0.volumes[0].resync.planAhead = 0
      $0.volumes[0].resync.rate = rate
      $0.volumes[0].resync.rateIsConfigured = true
    }
    pair.pass(.seconds(2))
    let asked = pair.beta.packets { if case .resyncRequest = $0 { true } else { false } }
    let kibibytes = asked.reduce(0) { sum, packet in
      guard case .resyncRequest(let request) = packet else { return sum }
      return sum + Int(request.size >> 10)
    }
    // Two seconds and what the first step may have before.
    #expect(kibibytes > Int(rate) * 3 / 2 && kibibytes < Int(rate) * 5 / 2, "\(kibibytes) KiB in 2 s")
  }
}
