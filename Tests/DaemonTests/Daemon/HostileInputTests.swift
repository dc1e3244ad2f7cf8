// Garbage, silence and greed on every socket: it costs the connection it came on, never the daemon.
import Base
import Control
import Foundation
import Glibc
import Protocol
import Testing

@Suite(.serialized) struct DaemonHostileInput {
  // MARK: The control socket

  @Test func linesThatAreNoRequests() throws {
    let bench = try Bench()
    try bench.a.start()
    let lines = [
      "", "garbage", "{}", "[1,2,3]", "{\"version\":99,\"command\":{\"status\":{}}}", "{\"version\":1}",
      "{\"version\":1,\"command\":{\"fly\":{}}}", "{\"version\":1,\"command\":{\"attach\":{\"volume\":70000}}}",
      "{\"version\":1,\"command\":{\"status\":{}},\"timeoutMilliseconds\":-1}", "\u{0}\u{1}\u{2}",
      String(repeating: "[", count: 60_000),
    ]
    let wire = try Wire(unix: bench.a.files.controlSocket("r0"))
    for line in lines {
      try wire.send(Array(line.utf8) + [10])
      let reply = try JSONDecoder().decode(Reply.self, from: Data(try wire.line()))
      guard case .refused(let refusal) = reply else { throw Timeout(description: "\(line) was taken for a request") }
      #expect(refusal.exitCode == 10)
    }
    #expect(try bench.a.status().name == "r0")
  }

  @Test func aLineWithoutEndCostsTheConnection() throws {
    let bench = try Bench()
    try bench.a.start()
    let wire = try Wire(unix: bench.a.files.controlSocket("r0"))
    try wire.send([UInt8](repeating: 65, count: 64 << 10))
    #expect(String(decoding: try wire.line(), as: UTF8.self).contains("longer than"))
    #expect(wire.hasEnded())
    #expect(try bench.a.status().name == "r0")
  }

  @Test func halfALineAndSilenceDisturbsNobody() throws {
    let bench = try Bench()
    try bench.a.start()
    let silent = try (0..<40).map { _ in
      let wire = try Wire(unix: bench.a.files.controlSocket("r0"))
      try wire.send(Array("{\"vers".utf8))
      return wire
    }
    for _ in 0..<20 { #expect(try bench.a.status().name == "r0") }
    #expect(silent.count == 40)
  }

  @Test func aVolumeOverTCP() throws {
    let bench = try Bench()
    let port = try freePort()
    try bench.a.start(["--nbd-tcp", "0=127.0.0.1:\(port)", "r0"])
    let wire = try Wire(port: port)
    #expect(try wire.receive(8) == Array("NBDMAGIC".utf8))
    let (exit, text) = try bench.b.run(["--nbd-tcp", "7=127.0.0.1:\(port)", "r0"])
    #expect(exit == .status(1))
    #expect(text.contains("write VOLUME=ADDRESS:PORT"))
  }

  /// What other programs see of an export over TCP: `nbdinfo` asks, `qemu-io` writes and reads.
  @Test(.enabled(if: isInstalled("qemu-io") && isInstalled("nbdinfo"), "needs qemu-io and nbdinfo"))
  func otherProgramsUseAVolumeOverTCP() throws {
    let bench = try Bench()
    let port = try freePort()
    try bench.createMetadata()
    try bench.a.start(["--nbd-tcp", "0=127.0.0.1:\(port)", "r0"])
    try bench.a.done(.attach(volume: nil))
    let uri = "nbd://127.0.0.1:\(port)"
    #expect(throws: Timeout.self, "a Secondary serves nobody over TCP either") { try shell("nbdinfo \(uri)") }
    try bench.a.done(.primary(force: true))
    let kibibytes = try bench.a.status().devices[0].size
    #expect(try shell("nbdinfo --size \(uri)") == "\(kibibytes << 10)")
    try shell("nbdinfo --can flush \(uri) && nbdinfo --can fua \(uri) && nbdinfo --can trim \(uri)")
    let said = try shell("qemu-io -f raw -c 'write -P 0x5a 1M 256k' -c flush -c 'read -P 0x5a 1M 256k' \(uri)")
    #expect(said.contains("wrote 262144/262144") && said.contains("read 262144/262144"), "\(said)")
    #expect(!said.contains("failed"), "\(said)")
    let disk = try #require(FileHandle(forReadingAtPath: bench.a.disk(0)))
    try disk.seek(toOffset: 1 << 20)
    #expect(try disk.read(upToCount: 256 << 10) == Data(repeating: 0x5a, count: 256 << 10))
  }

  /// One that never speaks, one that stops in the middle, and one that has chosen its export and may be silent for ever.
  @Test func aClientThatSaysNothingInNegotiationIsHungUpOn() throws {
    let bench = try Bench()
    try bench.createMetadata()
    try bench.a.start(["--negotiation-limit", "1", "r0"])
    try bench.a.done(.attach(volume: nil))
    try bench.a.done(.primary(force: true))
    let quiet = try Client(bench.a.exportPath)
    let silent = try Wire(unix: bench.a.exportPath)
    let halfway = try Wire(unix: bench.a.exportPath)
    for wire in [silent, halfway] { _ = try wire.receive(18) }
    try halfway.send(big(UInt32(3)) + big(UInt64(0x4948_4156_454f_5054)))
    #expect(silent.hasEnded() && halfway.hasEnded())
    try quiet.write(pattern(4096, 7), at: 0)
    #expect(try quiet.read(4096, at: 0) == pattern(4096, 7))
    try quiet.leave()
  }

  @Test func anImpatientProgramIsForgotten() throws {
    let bench = try Bench()
    try bench.createMetadata()
    try bench.a.start()
    for _ in 0..<40 {
      let wire = try Wire(unix: bench.a.files.controlSocket("r0"))
      let line = try JSONEncoder().encode(Request(.attach(volume: nil))) + [10]
      try wire.send(Array(line))
    }
    try until("it is attached") { try bench.a.status().devices[0].disk == .inconsistent }
  }

  // MARK: NBD

  @Test func clientsThatSpeakSomethingElse() throws {
    let bench = try Bench()
    try bench.synced()
    for bytes in [pattern(4096, 1), Array("GET / HTTP/1.1\r\n\r\n".utf8), [0xff, 0xff, 0xff, 0xff]] {
      let wire = try Wire(unix: bench.a.exportPath)
      try wire.send(bytes)
      #expect(wire.hasEnded())
    }
    let client = try Client(bench.a.exportPath)
    try client.wire.send(pattern(100, 2))
    #expect(client.wire.hasEnded())
    let good = try Client(bench.a.exportPath)
    try good.write(pattern(4096, 3), at: 0)
    #expect(try good.read(4096, at: 0) == pattern(4096, 3))
  }

  @Test func requestsOutsideTheVolumeAreRefused() throws {
    let bench = try Bench()
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    #expect(throws: Client.Refused(error: 22)) { _ = try client.read(4096, at: client.size) }
    #expect(throws: Client.Refused(error: 28)) { try client.write(pattern(4096, 1), at: client.size - 2048) }
    #expect(throws: Client.Refused(error: 22)) { _ = try client.read(4096, at: .max - 100) }
    #expect(throws: Client.Refused(error: 22)) { _ = try client.read(512, at: 1) }
    #expect(throws: Client.Refused(error: 22)) { try client.trim(4096, at: client.size) }
    #expect(throws: Client.Refused(error: 22)) { try client.write(pattern(33 << 20, 1), at: 0) }
    try client.write(pattern(4096, 2), at: client.size - 4096)
  }

  @Test func halfARequestAndSilenceHoldsNobodyUp() throws {
    let bench = try Bench()
    try bench.synced()
    let silent = try Client(bench.a.exportPath)
    try silent.wire.send(
      big(UInt32(0x2560_9513)) + big(UInt16(0)) + big(UInt16(1)) + big(UInt64(1)) + big(UInt64(0))
        + big(UInt32(1 << 20)) + pattern(1000, 1))
    let greeted = try Wire(unix: bench.a.exportPath)
    let client = try Client(bench.a.exportPath)
    for i in 0..<20 as Range<UInt64> { try client.write(pattern(4096, i), at: i * 4096) }
    try client.flush()
    try bench.expectEqualData()
    _ = try greeted.receive(18)
    try client.leave()
    // The half write was never answered and never begun.
    bench.a.signal(SIGTERM)
    #expect(try bench.a.awaitExit() == .status(0))
    #expect(silent.wire.hasEnded())
  }

  @Test func moreClientsThanThereArePlacesFor() throws {
    let bench = try Bench()
    try bench.synced()
    var clients = try (0..<64).map { _ in try Client(bench.a.exportPath) }
    let surplus = try Wire(unix: bench.a.exportPath)
    #expect(surplus.hasEnded())
    for (i, client) in clients.enumerated() { try client.write(pattern(512, UInt64(i)), at: UInt64(i) * 512) }
    clients.removeAll()
    try until("there is room again") {
      do { _ = try Client(bench.a.exportPath) } catch is WireEnded { return false }
      return true
    }
    try bench.expectEqualData()
  }

  // MARK: The peer

  private func packet(_ packet: Packet, version: UInt32 = 80) -> [UInt8] {
    let size = packet.encodedSize(version: version, features: [])
    var bytes = [UInt8](repeating: 0, count: size)
    _ = bytes.withUnsafeMutableBytes { packet.encode(into: $0, version: version, features: [], volume: 0) }
    return bytes
  }

  /// A peer that speaks well up to some point, then sends this.
  @Test func aPeerThatSendsGarbageAtEachStage() throws {
    let bench = try Bench()
    try bench.createMetadata()
    try bench.a.start()
    try bench.a.done(.attach(volume: nil))
    try bench.a.done(.connect(peer: nil, discardMyData: false))
    let greedy = big(UInt32(0x8620_ec20)) + big(UInt16(0)) + big(UInt16(0)) + big(UInt32.max) + big(UInt32(0))
    for garbage in [greedy, pattern(100_000, 5)] {
      // The very first bytes; after the sockets have found their purpose; after the features. Between two connections
      // nobody listens for a moment.
      for stage in 0..<3 {
        try until("stage \(stage)") {
          do {
            let data = try Wire(port: bench.port)
            if stage == 0 {
              do { try data.send(garbage) } catch is WireEnded {}
              return data.hasEnded()
            }
            try data.send(packet(.initialData))
            let meta = try Wire(port: bench.port)
            try meta.send(packet(.initialMeta))
            _ = try data.receive(80)
            if stage == 2 {
              try data.send(packet(.features(Features(minimum: 86, maximum: 101, flags: []))))
              _ = try data.receive(16)
            }
            do { try (stage == 1 ? data : meta).send(garbage) } catch is WireEnded {}
            return data.hasEnded() && meta.hasEnded()
          } catch is WireEnded {
            return false
          }
        }
        if try bench.a.status().connections[0].state == .standAlone {
          try bench.a.done(.connect(peer: nil, discardMyData: false))
        }
      }
    }
    // The real one is still welcome.
    try bench.b.start()
    try bench.b.done(.attach(volume: nil))
    try bench.b.done(.connect(peer: nil, discardMyData: false))
    try bench.connected()
  }

  @Test func aPeerWithoutACommonVersionIsToldApart() throws {
    let bench = try Bench()
    try bench.createMetadata()
    try bench.a.start()
    try bench.a.done(.connect(peer: nil, discardMyData: false))
    try until("it has spoken") {
      do {
        let data = try Wire(port: bench.port)
        try data.send(packet(.initialData))
        let meta = try Wire(port: bench.port)
        try meta.send(packet(.initialMeta))
        _ = try data.receive(80)
        try data.send(packet(.features(Features(minimum: 80, maximum: 85, flags: []))))
        return data.hasEnded() && meta.hasEnded()
      } catch is WireEnded {
        return false
      }
    }
    try until("it is given up") {
      try bench.a.status().connections[0].refusedBecause?.contains("no common protocol version") ?? false
    }
  }
}
