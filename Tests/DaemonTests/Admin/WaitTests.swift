// How long the waiting commands wait (admin spec 6.3): which of the three timeouts counts is on record in the metadata, and whether
// StandAlone ends the wait is an option.
import Base
import Control
import Foundation
import Testing

@testable import ReplAdmin

@Suite(.serialized) struct Waiting {
  private static func snapshot(degraded: Bool, peer: DiskState) -> StatusSnapshot {
    var snapshot = StatusSnapshot(name: "r0", nodeID: 0, role: .secondary)
    var device = DeviceStatus(volume: VolumeNumber(0), minor: 90, disk: .upToDate)
    device.wasDegraded = degraded
    snapshot.devices = [device]
    var connection = ConnectionStatus(name: "two", peerNodeID: 1, state: .wfConnection, peerRole: .unknown)
    connection.peerDevices = [PeerDeviceStatus(volume: VolumeNumber(0), replication: .wfConnection, peerDisk: peer)]
    snapshot.connections = [connection]
    return snapshot
  }

  /// Written as wfc, degr-wfc, outdated-wfc; 0 is for ever.
  @Test(arguments: [
    ([0, 0, 0], [0, 0, 0]), ([9, 0, 0], [9, 9, 9]), ([9, 5, 0], [9, 5, 5]), ([9, 5, 2], [9, 5, 2]),
    ([0, 5, 0], [0, 5, 5]), ([0, 0, 2], [0, 0, 2]), ([3, 5, 7], [3, 3, 3]), ([0, 5, 7], [0, 5, 5]),
  ])
  func eachTimeoutIsNoLongerThanTheOneBefore(_ written: [Int], _ taken: [Int]) {
    let limits = WaitLimits(
      normal: Double(written[0]), degraded: Double(written[1]), outdated: Double(written[2]),
      waitAfterSplitBrain: false)
    func seconds(_ degraded: Bool, _ peer: DiskState) -> Int {
      Int(limits.seconds(for: Self.snapshot(degraded: degraded, peer: peer)) ?? 0)
    }
    #expect(seconds(false, .unknown) == taken[0])
    #expect(seconds(true, .unknown) == taken[1])
    #expect(seconds(true, .outdated) == taken[2] && seconds(false, .outdated) == taken[2])
  }

  @Test func theLongestOfSeveralVolumesCounts() {
    var both = Self.snapshot(degraded: true, peer: .unknown)
    both.devices.append(DeviceStatus(volume: VolumeNumber(1), minor: 91, disk: .upToDate))
    func seconds(_ normal: Double) -> Double? {
      WaitLimits(normal: normal, degraded: 2, outdated: nil, waitAfterSplitBrain: false).seconds(for: both)
    }
    #expect(seconds(9) == 9)
    #expect(seconds(0) == nil)
  }

  @Test(arguments: [
    (false, DiskState.unknown, UInt64(90_000)), (true, .unknown, 40_000), (false, .outdated, 20_000),
  ])
  func theFileAndTheCommandLineReachTheDaemon(_ degraded: Bool, _ peer: DiskState, _ milliseconds: UInt64) throws {
    let bench = try AdminBench()
    try bench.configure(
      extra: "startup { wfc-timeout 90; degr-wfc-timeout 40; outdated-wfc-timeout 20; wait-after-sb yes; }")
    let snapshot = Self.snapshot(degraded: degraded, peer: peer)
    let daemon = FakeDaemon("r0", bench.files) { command in
      if case .status = command { [.reply(.status(snapshot))] } else { [.reply(.done)] }
    }
    defer { daemon.stop() }
    #expect(bench.run("wait-connect", "r0").code == 0)
    #expect(daemon.requests.last?.command == .waitConnect(waitAfterSb: true))
    let asked = try #require(daemon.requests.last?.timeoutMilliseconds)
    #expect(asked <= milliseconds && asked > milliseconds - 5_000)
    #expect(bench.run("wait-sync", "--wait-after-sb=no", "r0").code == 0)
    #expect(daemon.requests.last?.command == .waitSync(waitAfterSb: false))
    let dry = bench.run("-d", "wait-connect", "r0").out
    #expect(
      dry == "replsetup wait-connect-resource r0 --wfc-timeout=90 --degr-wfc-timeout=40 --outdated-wfc-timeout=20 "
        + "--wait-after-sb=yes\n")
  }

  @Test(arguments: ["v09", "v08"])
  func aPrimaryThatWasAloneWaitsForTheShorterTime(_ format: String) throws {
    let desk = try Desk()
    try desk.edit("handlers {  }", "handlers { } startup { degr-wfc-timeout 1; }")
    for node in [desk.bench.a, desk.bench.b] {
      succeeds(try desk.type("create-md --format \(format) r0", on: node, [:]))
      succeeds(try desk.type("up --no-device r0", on: node, [:]))
    }
    succeeds(try desk.a("wait-connect r0"))
    succeeds(try desk.a("primary --force r0"))
    try desk.bench.inSync()
    // Not alone: the crash of a Primary that was connected.
    #expect(try desk.bench.a.status().devices[0].wasDegraded == false)
    succeeds(try desk.b("down r0"))
    try until("a is alone") { try desk.bench.a.status().connections[0].state < .connected }
    // It is on disk as soon as a promotion or a write is answered.
    succeeds(try desk.a("secondary r0"))
    succeeds(try desk.a("primary --force r0"))
    desk.killDaemon(desk.bench.a)
    succeeds(try desk.a("up --no-device r0"))
    #expect(try desk.bench.a.status().devices[0].wasDegraded == true)
    refuses(try desk.a("wait-connect r0"), 5, "timed out waiting for the connection to b")
    refuses(try desk.a("wait-con-int"), 5, "timed out")
    // Down and up in good order: the normal time, which is for ever.
    succeeds(try desk.a("down r0"))
    succeeds(try desk.a("up --no-device r0"))
    #expect(try desk.bench.a.status().devices[0].wasDegraded == false)
  }

  @Test func standAloneEndsAWaitUnlessToldOtherwise() throws {
    let desk = try Desk()
    try desk.up()
    succeeds(try desk.a("disconnect r0"))
    succeeds(try desk.a("wait-connect r0"))
    succeeds(try desk.a("wait-sync r0"))
    for command in ["wait-connect", "wait-sync"] {
      refuses(try desk.a("\(command) --wait-after-sb=yes --wfc-timeout=1 r0"), 5, "timed out")
    }
    try desk.edit("handlers {  }", "handlers { } startup { wfc-timeout 1; wait-after-sb yes; }")
    refuses(try desk.a("wait-connect r0"), 5, "timed out")
    succeeds(try desk.a("wait-connect --wait-after-sb=no r0"))
    // It goes on when the connection does.
    succeeds(try desk.a("connect r0"))
    succeeds(try desk.a("wait-connect --wait-after-sb=yes --wfc-timeout=20 r0"))
  }

  @Test func withoutANameItWaitsForAll() throws {
    let bench = try AdminBench()
    try bench.configure()
    let main = try String(contentsOfFile: bench.directory + "/repl.conf", encoding: .utf8)
    try bench.write(
      "repl.conf",
      main + """
        resource r1 { device minor 91; disk /dev/vdx; meta-disk internal; startup { wfc-timeout 1; }
          on one { address 127.0.0.1:7792; } on two { address 127.0.0.1:7793; } }
        """)
    let first = FakeDaemon("r0", bench.files) { _ in [.reply(.done)] }
    let second = FakeDaemon("r1", bench.files) { _ in [.reply(.refused(.waitTimedOut("two", next: "look at two")))] }
    defer {
      first.stop()
      second.stop()
    }
    let said = bench.run("wait-con-int")
    #expect(said.code == 5 && said.err.contains("r1: timed out"))
    #expect(first.commands == [.waitConnect()] && second.commands == [.waitConnect()])
    #expect(bench.run("wait-con-int", "r0").err.contains("the names are ignored"))
    #expect(second.commands.count == 2)
    #expect(bench.run("wait-connect").code == 1, "this one needs a name")
  }
}
