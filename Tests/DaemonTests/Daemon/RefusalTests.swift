// What does not work is refused in words, with the numbers and exit codes scripts know, and nothing is lost by it.
import Base
import BlockIO
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct DaemonRefusals {
  @Test func aSecondaryServesNobodyAndSaysWhy() throws {
    let bench = try Bench()
    try bench.a.start()
    #expect(throws: Client.Denied(text: "r0/0 is Secondary on this node: promote it first (repladm primary r0)")) {
      _ = try Client(bench.a.exportPath)
    }
  }

  @Test func aVolumeInUseIsNotTakenAway() throws {
    let bench = try Bench()
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    try client.write(pattern(4096, 1), at: 0)
    for command in [Control.Command.secondary(force: false), .down] {
      let refusal = try bench.a.refused(command)
      #expect(refusal.number == .deviceInUse && refusal.exitCode == 11)
      #expect(refusal.details.contains { $0.hasPrefix("r0/0 opened by ") && $0.contains("(pid \(getpid())") })
    }
    #expect(try client.read(4096, at: 0) == pattern(4096, 1))
    #expect(try bench.a.status().devices[0].isOpen)
    try client.leave()
    try until("the client is gone") { try !bench.a.status().devices[0].isOpen }
    try bench.a.done(.secondary(force: false))
  }

  @Test func aForcedDemotionHangsUp() throws {
    let bench = try Bench()
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    try bench.a.done(.secondary(force: true))
    #expect(client.wire.hasEnded())
    #expect(try bench.a.status().role == .secondary)
  }

  @Test func promotionNeedsGoodData() throws {
    let bench = try Bench()
    try bench.createMetadata()
    try bench.a.start()
    try bench.a.done(.attach(volume: nil))
    let refusal = try bench.a.refused(.primary(force: false))
    #expect(refusal.number == .noUpToDateDisk && refusal.exitCode == 17)
  }

  @Test func onlyOnePrimary() throws {
    let bench = try Bench()
    try bench.synced()
    let refusal = try bench.b.refused(.primary(force: false))
    #expect(refusal.number == .twoPrimaries && refusal.exitCode == 11)
  }

  @Test func aSecondDaemonForTheResourceEndsAtOnce() throws {
    let bench = try Bench()
    try bench.a.start()
    let (exit, text) = try bench.a.run()
    #expect(exit == .status(20))
    #expect(text.contains("already serves this resource"))
    #expect(try bench.a.status().name == "r0")
  }

  @Test func namesThatAreNotInTheFile() throws {
    let bench = try Bench()
    let (exit, text) = try bench.a.run(["r1"])
    #expect(exit == .status(1))
    #expect(text.contains("'r1' not defined in your config"))
    let (stranger, words) = try bench.a.run(["--node", "c", "r0"])
    #expect(stranger == .status(1))
    #expect(words.contains("it has no section for 'c'"))
    let (usage, _) = try bench.a.run(["--frobnicate", "r0"])
    #expect(usage == .status(1))
    let (missing, _) = try bench.a.run(["-c", "/nowhere/x.conf", "r0"])
    #expect(missing == .status(20))
  }

  @Test func aBrokenFileIsRefusedWithItsLine() throws {
    let bench = try Bench()
    try "resource r0 { prtocol C; }".write(toFile: bench.a.config, atomically: true, encoding: .utf8)
    let (exit, text) = try bench.a.run()
    #expect(exit == .status(10))
    #expect(text.contains("test.res:1"))
  }

  @Test func aPromiseThatIsNotKeptIsRefused() throws {
    let bench = try Bench(net: "allow-two-primaries yes;")
    let (exit, text) = try bench.a.run()
    #expect(exit == .status(10))
    #expect(text.contains("'allow-two-primaries yes' is not honoured"))
  }

  @Test func disksThatCannotBeAttached() throws {
    let bench = try Bench()
    try bench.a.start()
    #expect(try bench.a.refused(.attach(volume: nil)).number == .noValidMetadata)
    // Another daemon has it.
    try bench.createMetadata()
    try bench.a.done(.attach(volume: nil))
    try FileManager.default.removeItem(atPath: bench.b.disk(0))
    try FileManager.default.createSymbolicLink(atPath: bench.b.disk(0), withDestinationPath: bench.a.disk(0))
    try bench.b.start()
    let taken = try bench.b.refused(.attach(volume: nil))
    #expect(taken.number == .backingDeviceClaimed && taken.exitCode == 10)
    #expect(taken.why.contains("is in use"))
    try FileManager.default.removeItem(atPath: bench.b.disk(0))
    #expect(try bench.b.refused(.attach(volume: nil)).number == .cannotOpenBackingDevice)
    try bench.makeDisk(bench.b.disk(0), mebibytes: 0)
    #expect(try bench.b.refused(.attach(volume: nil)).exitCode == 10)
    // And the good one is attached already.
    #expect(try bench.a.refused(.attach(volume: nil)).number == .diskConfigured)
  }

  @Test func aPortInUseIsSaidInLogAndStatus() throws {
    let bench = try Bench()
    let other = try Listener(tcp: SocketAddress(host: .v4(0x7f00_0001), port: bench.port))
    try bench.a.start()
    guard case .text(let remark) = try bench.a.ask(.connect(peer: nil, discardMyData: false)) else {
      throw Timeout(description: "nothing was remarked")
    }
    #expect(remark.hasPrefix("repld cannot listen for b now, and tries again every 1 s: port \(bench.port)"))
    let connection = try bench.a.status().connections[0]
    #expect(connection.state < .connected && connection.state != .standAlone && connection.refusedBecause == nil)
    let why = try #require(connection.cannotListen)
    #expect(why.contains("is in use"))
    #expect(bench.a.log.contains(why))
    #expect(other.path == nil)
  }

  @Test func differentSecretsEndStandAlone() throws {
    let bench = try Bench(net: "cram-hmac-alg sha1; shared-secret \"one\";")
    try bench.createMetadata()
    try bench.a.start()
    try bench.configure(net: "cram-hmac-alg sha1; shared-secret \"two\";")
    try bench.b.start()
    for node in [bench.a, bench.b] {
      try node.done(.attach(volume: nil))
      try node.done(.connect(peer: nil, discardMyData: false))
    }
    try until("both give up") {
      try [bench.a, bench.b].allSatisfy { try $0.status().connections[0].refusedBecause?.contains("secret") ?? false }
    }
  }

  @Test func waitingEndsInTimeAndSaysForWhat() throws {
    let bench = try Bench()
    try bench.createMetadata()
    try bench.a.start()
    try bench.a.done(.attach(volume: nil))
    #expect(try bench.a.ask(.waitConnect(), milliseconds: 50) == .done)
    try bench.a.done(.connect(peer: nil, discardMyData: false))
    let refusal = try bench.a.refused(.waitConnect(), milliseconds: 50)
    #expect(refusal.exitCode == 5)
    #expect(refusal.what.contains("the connection to b"))
    #expect(try bench.a.refused(.connect(peer: nil, discardMyData: false)).number == .netConfigured)
    #expect(try bench.a.refused(.connect(peer: "nobody", discardMyData: false)).exitCode == 10)
    #expect(try bench.a.refused(.detach(volume: VolumeNumber(7), force: false)).number == .unknownMinor)
  }

  @Test func aSignalBringsItDownInOrder() throws {
    let bench = try Bench()
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    try client.write(pattern(4096, 1), at: 0)
    bench.a.signal(SIGTERM)
    #expect(try bench.a.awaitExit() == .status(0))
    #expect(client.wire.hasEnded())
    #expect(access(bench.a.files.controlSocket("r0"), F_OK) != 0)
    #expect(access(bench.a.exportPath, F_OK) != 0)
    // The peer was told: it does not try to guess what happened.
    try until("b is alone") { try bench.b.status().connections[0].state < .connected }
    try bench.a.start()
    try bench.a.done(.attach(volume: nil))
    #expect(try bench.a.status().devices[0].disk == .upToDate)
  }

  @Test func bothNodesGoDownAtOnce() throws {
    let bench = try Bench()
    try bench.synced()
    bench.a.signal(SIGTERM)
    bench.b.signal(SIGINT)
    #expect(try bench.a.awaitExit() == .status(0))
    #expect(try bench.b.awaitExit() == .status(0))
  }

  @Test func changesOfTheFileAreTakenOver() throws {
    let bench = try Bench()
    try bench.synced()
    try bench.a.done(.adjust)
    #expect(try bench.a.status().connections[0].state == .connected)
    // Both must change; between the two, they do not agree.
    try bench.configure(net: "after-sb-0pri discard-zero-changes;")
    try bench.b.done(.adjust)
    try bench.a.done(.adjust)
    try until("they have met again") {
      if try bench.b.status().connections[0].state == .standAlone { try bench.b.done(.adjust) }
      if try bench.a.status().connections[0].state == .standAlone { try bench.a.done(.adjust) }
      return try bench.a.status().connections[0].state == .connected
    }
    try bench.inSync()
    try bench.a.done(.detach(volume: nil, force: true))
    try bench.a.done(.adjust)
    try bench.inSync()
    try "resource r0 { prtocol C; }".write(toFile: bench.a.config, atomically: true, encoding: .utf8)
    #expect(try bench.a.refused(.adjust).exitCode == 10)
    #expect(try bench.a.status().connections[0].state == .connected)
  }
}
