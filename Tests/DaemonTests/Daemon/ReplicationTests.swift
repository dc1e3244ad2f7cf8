// The main job, with two real daemons: synchronise, replicate, survive the end of either.
import Base
import BlockIO
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct DaemonReplication {
  @Test func newNodesConnectSynchroniseAndReplicate() throws {
    let bench = try Bench()
    try bench.createMetadata()
    try bench.up()
    #expect(try bench.a.status().devices[0].disk == .inconsistent)
    try bench.a.done(.primary(force: true))
    try bench.inSync()
    let client = try Client(bench.a.exportPath)
    let large = pattern(3 << 20, 1)
    try client.write(large, at: 1 << 20)
    try client.write(pattern(512, 2), at: 512, fua: true)
    try client.write(pattern(5 * 512, 3), at: 7 * 512)
    try client.zero(1 << 20, at: 8 << 20)
    try client.trim(6 << 20, at: 12 << 20, fua: true)
    try client.flush()
    #expect(try client.read(3 << 20, at: 1 << 20) == large)
    #expect(try client.read(512, at: 512) == pattern(512, 2))
    try client.leave()
    try bench.expectEqualData()
    #expect(try bench.a.status().connections[0].peerDevices[0].outOfSync == 0)
    // The other way round.
    try bench.a.done(.secondary(force: false))
    try bench.b.done(.primary(force: false))
    let other = try Client(bench.b.exportPath)
    #expect(try other.read(3 << 20, at: 1 << 20) == large)
    try other.write(pattern(4096, 4), at: 0)
    try bench.expectEqualData()
    try other.leave()
    for node in [bench.a, bench.b] {
      try node.done(.down)
      #expect(try node.awaitExit() == .status(0))
    }
  }

  @Test func aKilledPrimaryComesBackWithWhatItWroteLast() throws {
    let bench = try Bench(mebibytes: (64, 64))
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    for i in 0..<200 as Range<UInt64> { try client.write(pattern(4096, i), at: i * 8192) }
    try client.flush()
    for i in 0..<50 as Range<UInt64> { try client.write(pattern(4096, 1000 + i), at: i * 4096 + (40 << 20)) }
    bench.a.kill()
    try until("b has noticed") { try bench.b.status().connections[0].state < .connected }
    try bench.b.done(.primary(force: false))
    let survivor = try Client(bench.b.exportPath)
    for i in 0..<200 as Range<UInt64> { #expect(try survivor.read(4096, at: i * 8192) == pattern(4096, i)) }
    for i in 0..<50 as Range<UInt64> {
      #expect(try survivor.read(4096, at: i * 4096 + (40 << 20)) == pattern(4096, 1000 + i))
    }
    try survivor.write(pattern(8192, 7), at: 50 << 20)
    try bench.a.start()
    try bench.a.done(.attach(volume: nil))
    try bench.a.done(.connect(peer: nil, discardMyData: false))
    try bench.connected()
    try bench.inSync()
    try survivor.flush()
    try bench.expectEqualData()
    // What the activity log named was copied, and not the whole device.
    let copied = try bench.b.status().connections[0].peerDevices[0].sent
    #expect(copied > 0 && copied < 32 << 10)
  }

  @Test func aKilledSecondaryIsBroughtUpToDateByItsBitmap() throws {
    let bench = try Bench(mebibytes: (64, 64))
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    bench.b.kill()
    for i in 0..<100 as Range<UInt64> { try client.write(pattern(4096, i), at: i * 65536) }
    try client.flush()
    #expect(try bench.a.status().connections[0].peerDevices[0].outOfSync == 400)
    try bench.b.start()
    try bench.b.done(.attach(volume: nil))
    try bench.b.done(.connect(peer: nil, discardMyData: false))
    try bench.connected()
    try bench.inSync()
    try bench.expectEqualData()
    #expect(try bench.b.status().connections[0].peerDevices[0].received == 400)
  }

  @Test func writesGoOnDuringAResync() throws {
    let bench = try Bench(mebibytes: (64, 64))
    try bench.createMetadata()
    try bench.up()
    try bench.a.done(.primary(force: true))
    let client = try Client(bench.a.exportPath)
    for i in 0..<300 as Range<UInt64> { try client.write(pattern(4096, i), at: (i &* 7919 % 15000) * 4096) }
    try bench.inSync()
    try client.flush()
    try bench.expectEqualData()
  }

  @Test func aDisklessPrimaryReadsAndWritesThroughThePeer() throws {
    let bench = try Bench()
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    try client.write(pattern(65536, 1), at: 0)
    try bench.a.done(.detach(volume: nil, force: false))
    #expect(try bench.a.status().devices[0].disk == .diskless)
    #expect(try client.read(65536, at: 0) == pattern(65536, 1))
    try client.write(pattern(65536, 2), at: 1 << 20)
    #expect(try client.read(65536, at: 1 << 20) == pattern(65536, 2))
    try bench.a.done(.attach(volume: nil))
    try bench.inSync()
    try bench.expectEqualData()
  }

  @Test func twoVolumesOfOneResource() throws {
    let bench = try Bench(volumes: 2)
    try bench.synced()
    for volume in 0..<2 as Range<UInt16> {
      let client = try Client(bench.a.files.exportSocket("r0", VolumeNumber(volume)))
      try client.write(pattern(1 << 20, UInt64(volume)), at: 4 << 20, fua: true)
      try client.leave()
    }
    for volume in 0..<2 { try bench.expectEqualData(volume) }
  }

  @Test(arguments: ["A", "B"]) func theOtherProtocols(_ letter: String) throws {
    let bench = try Bench(net: "protocol \(letter);")
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    for i in 0..<64 as Range<UInt64> { try client.write(pattern(32768, i), at: i * 32768) }
    try client.flush()
    try bench.expectEqualData()
  }

  @Test func protocolAndDigestChangeUnderLoadOnTheSameConnection() throws {
    let bench = try Bench(mebibytes: (64, 64))
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    func connections() -> [Int] {
      [bench.a, bench.b].map { $0.log.components(separatedBy: "agreed on protocol version").count }
    }
    let before = connections()
    var written: UInt64 = 0
    func write() throws {
      try client.write(pattern(32768, written), at: written &* 7919 % 1900 * 32768)
      written += 1
    }
    for (letter, digest) in [("A", ""), ("B", "crc32c"), ("C", "sha1"), ("A", "sha1"), ("C", ""), ("C", "md5")] {
      try bench.configure(net: "protocol \(letter); " + (digest.isEmpty ? "" : "data-integrity-alg \(digest);"))
      for node in written % 2 == 0 ? [bench.a, bench.b] : [bench.b, bench.a] {
        var command = try node.start(repladm: ["adjust", "r0"])
        var exit: Child.Exit?
        while exit == nil {
          try write()
          exit = command.reap()
        }
        #expect(exit == .status(0), "\(node.log)")
        #expect(try node.status().connections[0].protocolLetter == letter)
      }
      for _ in 0..<16 { try write() }
      try client.zero(256 << 10, at: 256 << 10)
    }
    try client.flush()
    #expect(connections() == before)
    try bench.expectEqualData()
  }

  @Test func nodesWithTheSameSecretTrustEachOther() throws {
    let bench = try Bench(net: "cram-hmac-alg sha256; shared-secret \"salt and pepper\";")
    try bench.synced()
    #expect(bench.a.log.contains("peer authenticated using sha256"))
  }

  @Test func theSmallerDiskDecides() throws {
    let bench = try Bench(mebibytes: (48, 32))
    try bench.synced()
    #expect(try bench.a.status().devices[0].size == bench.b.status().devices[0].size)
    let client = try Client(bench.a.exportPath)
    try client.write(pattern(65536, 1), at: client.size - 65536)
    try bench.expectEqualData()
  }

  @Test func handlersRunWithTheResourceInTheirEnvironment() throws {
    let bench = try Bench()
    let note = bench.directory + "/note"
    try bench.configure(handlers: "after-resync-target \"echo $DRBD_RESOURCE $DRBD_VOLUME $DRBD_PEER > \(note)\";")
    try bench.synced()
    try until("the handler has run") { access(note, R_OK) == 0 }
    try until("it is logged") { bench.b.log.contains("helper command: after-resync-target exit code 0") }
  }
}
