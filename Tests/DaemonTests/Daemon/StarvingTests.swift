// Clients that take and do not give: they do not read, stop in the middle, come in crowds, die. The others go on.
import Base
import BlockIO
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct DaemonStarving {
  private func export(_ bench: Bench, _ volume: UInt16) -> String {
    bench.a.files.exportSocket("r0", VolumeNumber(volume))
  }

  /// A client of each volume writes, flushes and reads back, in pieces small and large.
  private func othersGoOn(_ bench: Bench, _ what: Comment, location: SourceLocation = #_sourceLocation) {
    for volume in 0..<2 as Range<UInt16> {
      do {
        let client = try Client(export(bench, volume))
        for (i, count) in [512, 4096, 300 << 10, 2 << 20].enumerated() {
          let bytes = pattern(count, UInt64(i))
          try client.write(bytes, at: 32 << 20)
          try client.flush()
          #expect(try client.read(count, at: 32 << 20) == bytes, what, sourceLocation: location)
        }
        try client.leave()
      } catch {
        Issue.record("volume \(volume): \(error), \(what)", sourceLocation: location)
      }
    }
  }

  /// Reads a mebibyte again and again, and takes no answer.
  private func unreading(_ wire: Wire) throws {
    for i in 0..<100 as Range<UInt64> { try wire.send(Client.head(0, cookie: i + 1, (i % 60) << 20, 1 << 20)) }
  }

  @Test func clientsThatDoNotRead() throws {
    let bench = try Bench(volumes: 2, mebibytes: (64, 64))
    try bench.synced()
    let clients = try (0..<6).map { _ in try Client(export(bench, 0)) }
    for client in clients { try unreading(client.wire) }
    othersGoOn(bench, "beside six that do not read")
    // And the peer: nothing of it waits for clients.
    let large = try Client(export(bench, 1))
    for i in 0..<20 as Range<UInt64> { try large.write(pattern(1 << 20, i), at: i << 20) }
    try large.flush()
    try large.leave()
    try bench.expectEqualData(1)
  }

  @Test func fortyClientsThatStopInTheMiddleOfAPayload() throws {
    let bench = try Bench(volumes: 2, mebibytes: (64, 64))
    try bench.synced()
    let clients = try (0..<40).map { _ in try Client(export(bench, 0)) }
    for client in clients { try client.wire.send(Client.head(1, cookie: 1, 0, 1 << 20) + pattern(1000, 1)) }
    othersGoOn(bench, "beside forty half payloads")
    // One goes on and is served.
    try clients[39].wire.send(pattern((1 << 20) - 1000, 2))
    #expect(try clients[39].wire.receive(8) == big(UInt32(0x6744_6698)) + big(UInt32(0)))
  }

  /// While I/O is suspended nothing is sent to a client, and one that has asked for much is not received from either.
  @Test func theEndOfAStalledClientIsSeen() throws {
    let bench = try Bench()
    try bench.synced()
    let witness = try Client(bench.a.exportPath)
    try bench.a.done(.suspendIO(volume: nil))
    var victims = try (0..<3).map { _ in try Client(bench.a.exportPath) }
    // More than a session takes and its unread input holds; the rest stays in the socket.
    let requests = (0..<400 as Range<UInt64>).flatMap { Client.head(1, cookie: $0, 0, 512) + pattern(512, $0) }
    for victim in victims { try victim.wire.send(requests) }
    #expect(try bench.a.refused(.secondary(force: false)).details.count == 4)
    victims.removeAll()
    try until("only the witness holds the volume open") {
      try bench.a.refused(.secondary(force: false)).details.count == 1
    }
    try bench.a.done(.resumeIO(volume: nil))
    try witness.write(pattern(4096, 1), at: 0)
    try witness.leave()
    try until("nobody holds the volume open") { try bench.a.ask(.secondary(force: false)) == .done }
    try bench.expectEqualData()
  }

  @Test func mixedReadsAndWritesOfAMebibyteEnd() throws {
    let bench = try Bench(volumes: 2, mebibytes: (64, 64))
    try bench.synced()
    var generator = SeededGenerator(seed: 11)
    let data = pattern(1 << 20, 3)
    let clients = try (0..<12).map { try Pipeline(export(bench, UInt16($0 / 8))) }
    var left = [Int](repeating: 25, count: 12)
    func ask(_ i: Int) {
      while left[i] > 0, clients[i].underWay < 16 {
        left[i] -= 1
        let offset = generator.below(60 << 8) << 12
        // A read now and then, with writes behind it.
        if left[i] % 4 == 1 { clients[i].read(1 << 20, at: offset) } else { clients[i].write(data, at: offset) }
      }
    }
    for i in 0..<12 { ask(i) }
    try Pipeline.finish(clients) { ask($0) }
    #expect(clients.allSatisfy { $0.faults == 0 })
    for volume in 0..<2 { try bench.expectEqualData(volume) }
  }

  @Test func clientsOverTCPLeaveTheLocalDeviceItsPlacesAndItsMemory() throws {
    let bench = try Bench(volumes: 2, mebibytes: (64, 64))
    let port = try freePort()
    try bench.createMetadata()
    try bench.a.start(["--nbd-tcp", "0=127.0.0.1:\(port)", "r0"])
    try bench.a.done(.attach(volume: nil))
    try bench.a.done(.primary(force: true))
    // As many as one address may have, none of which reads; the others are not let in.
    let idle = try (0..<64).map { _ in try Wire(port: port) }
    let clients = try idle.prefix(16).map { try Client($0) }
    #expect(idle.dropFirst(16).allSatisfy { $0.hasEnded() })
    #expect(bench.a.log.contains("16 clients of this address are connected, and it gets no more"))
    for client in clients { try unreading(client.wire) }
    othersGoOn(bench, "beside 16 clients over TCP")
    // All the places of this machine are there.
    let local = try (0..<62).map { _ in try Client(export(bench, 0)) }
    #expect(local.count == 62)
    othersGoOn(bench, "beside 62 clients of the volume")
  }

  @Test func aVolumeHasPlacesThatOthersCannotTake() throws {
    let bench = try Bench(volumes: 2)
    try bench.createMetadata()
    try bench.a.start()
    try bench.a.done(.attach(volume: nil))
    try bench.a.done(.primary(force: true))
    var crowd = try (0..<64).map { _ in try Client(export(bench, 0)) }
    #expect(try Wire(unix: export(bench, 0)).hasEnded())
    #expect(bench.a.log.contains("64 clients of this machine are connected, 64 of them to this volume"))
    let other = try (0..<2).map { _ in try Client(export(bench, 1)) }
    try other[1].write(pattern(4096, 1), at: 0)
    #expect(try Wire(unix: export(bench, 1)).hasEnded())
    crowd.removeAll()
    try until("there is room again") {
      do { _ = try Client(export(bench, 1)) } catch is WireEnded { return false }
      return true
    }
  }

  /// Each node is the source of one volume and the target of the other, and may ask for more than the other's memory.
  @Test func twoVolumesThatResyncInOppositeDirections() throws {
    // Windows of 64 MiB while both are at work.
    let bench = try Bench(net: "max-buffers 131072;", volumes: 2, mebibytes: (96, 96))
    try bench.synced()
    for volume in 0..<2 as Range<UInt16> {
      let client = try Client(export(bench, volume))
      for i in 0..<90 as Range<UInt64> { try client.write(pattern(1 << 20, i + UInt64(volume)), at: i << 20) }
      try client.leave()
    }
    try bench.a.done(.secondary(force: false))
    for volume in 0..<2 as Range<UInt16> { try bench.a.done(.pauseSync(volume: VolumeNumber(volume))) }
    try bench.b.done(.invalidate(volume: VolumeNumber(0), resetBitmap: true))
    try bench.a.done(.invalidate(volume: VolumeNumber(1), resetBitmap: true))
    for node in [bench.a, bench.b] {
      try until("both are paused") {
        try node.status().connections[0].peerDevices.allSatisfy {
          $0.replication == .pausedSyncS || $0.replication == .pausedSyncT
        }
      }
    }
    for volume in 0..<2 as Range<UInt16> { try bench.a.done(.resumeSync(volume: VolumeNumber(volume))) }
    try bench.inSync()
    for volume in 0..<2 { try bench.expectEqualData(volume) }
  }

  // MARK: The control socket

  @Test func aProgramThatAsksAndDoesNotReadIsNotAnsweredWithoutBound() throws {
    let bench = try Bench()
    try bench.a.start()
    let wire = try Wire(unix: bench.a.files.controlSocket("r0"))
    let line = try JSONEncoder().encode(Request(.status)) + [ControlLine.end]
    let lines = Array((0..<200).flatMap { _ in line })
    var taken = 0
    var still = 0
    while taken < 2 << 20, still < 500 {
      let count = try #require(wire.sendNow(lines[(taken % line.count)...]))
      taken += count
      still = count > 0 ? 0 : still + 1
      if count == 0 { usleep(2000) }
    }
    #expect(taken < 2 << 20)
    #expect(try bench.a.status().name == "r0")
  }
}
