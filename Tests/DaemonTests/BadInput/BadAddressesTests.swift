// The way to the peer: addresses and ports that cannot be used, a peer that is not there, or that does not agree. The disks
// are attached all the same, and once the cause is gone the nodes meet.
import Base
import BlockIO
import Control
import Foundation
import Testing

@Suite struct BadInputAddresses {
  @Test func aPortInUseIsSaidWithItsHolderAndTriedAgain() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    do {
      let other = try Listener(tcp: SocketAddress(host: .v4(0x7f00_0001), port: desk.bench.port))
      #expect(other.path == nil)
      let up = try desk.a("up --no-device r0")
      succeeds(up)
      #expect(
        up.err.contains("r0: repld cannot listen for b now, and tries again every 1 s: port \(desk.bench.port) on"))
      #expect(up.err.contains("(pid \(ProcessInfo.processInfo.processIdentifier)") && readsWell(up.err), "\(up.err)")
      // The disk is attached; the status says what is missing.
      let status = try desk.a("status r0")
      #expect(status.code == 0 && status.out.contains("disk:Inconsistent") && status.out.contains(":Connecting"))
      #expect(status.err.contains("r0: repld cannot listen for b now, and tries again: port"))
      #expect(try desk.a("status r0 --json").out.contains("\"cannot-listen\": \"port"))
      // Long enough for several attempts: the port is said to be taken once.
      try until("it is tried again") { desk.log(desk.bench.a).contains("does not answer") }
      refuses(try desk.a("wait-connect --wfc-timeout 3 r0"), 5, "this node cannot listen for b: port")
      #expect(desk.log(desk.bench.a).split(separator: "\n").count { $0.contains("r0 b: cannot listen: ") } == 1)
    }
    // Stopped: nobody has to type anything.
    try until("it listens") { desk.log(desk.bench.a).contains("r0: listening on 127.0.0.1:\(desk.bench.port) now") }
    #expect(try !desk.a("status r0").err.contains("cannot listen"))
    succeeds(try desk.b("create-md r0"))
    succeeds(try desk.b("up --no-device r0"))
    succeeds(try desk.a("wait-connect r0"))
  }

  @Test func anAddressThatIsNotThereYetIsWaitedFor() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    try desk.edit("address 127.0.0.1:\(desk.bench.port)", "address 198.51.100.7:7789")
    let up = try desk.a("up --no-device r0")
    succeeds(up)
    #expect(up.err.contains("IP 198.51.100.7 not found on this host: the connection waits for it"), "\(up.err)")
    #expect(up.err.contains("198.51.100.7 is not an address of this host, which has 127.0.0.1") && readsWell(up.err))
    #expect(try desk.a("cstate r0").out == "Connecting\n")
    succeeds(try desk.a("down r0"))
    // Unverified, the kernel says it.
    try desk.edit("usage-count no;", "usage-count no; disable-ip-verification;")
    let again = try desk.a("up --no-device r0")
    succeeds(again)
    #expect(!again.err.contains("IP 198.51.100.7 not found") && again.err.contains("is not an address of this host"))
    succeeds(try desk.a("down r0"))
  }

  /// The interface of node a loses its address while the resource runs, and has it again.
  @Test(.enabled(if: isRoot && isInstalled("ip"), "needs root and ip, to give 127.0.0.0/8 and take it from loopback"))
  func anAddressThatGoesAndComesBack() throws {
    let desk = try Desk(net: "timeout 20;")
    // Of this machine, on its loopback interface, for as long as the test lasts.
    let address = "198.18.\(UInt8.random(in: 0...255)).\(UInt8.random(in: 1...254))"
    try shell("ip address add \(address)/32 dev lo")
    desk.afterwards { do { try shell("ip address del \(address)/32 dev lo") } catch { print("\(address) is gone") } }
    try desk.edit("address 127.0.0.1:\(desk.bench.port)", "address \(address):\(desk.bench.port)")
    try desk.synced()
    let client = try Client(desk.bench.a.exportPath)
    try shell("ip address del \(address)/32 dev lo")
    // The connection ends at the next ping that is not answered, and what is written meanwhile is marked.
    try client.write(pattern(4096, 1), at: 8192)
    try until("a has no listener") { try desk.a("status r0").err.contains("repld cannot listen for b now") }
    for node in [desk.bench.a, desk.bench.b] {
      #expect(try desk.type("cstate r0", on: node, [:]).out == "Connecting\n")
    }
    try client.write(pattern(4096, 2), at: 65536, fua: true)
    try shell("ip address add \(address)/32 dev lo")
    succeeds(try desk.a("wait-connect r0"))
    try desk.bench.inSync()
    try desk.bench.expectEqualData()
    #expect(desk.log(desk.bench.a).contains("r0: listening on \(address):\(desk.bench.port) now"))
    for node in [desk.bench.a, desk.bench.b] { #expect(!desk.log(node).contains("-> StandAlone")) }
  }

  @Test func aPeerThatIsNotThereIsWaitedForAndNothingIsLost() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    succeeds(try desk.a("up --no-device r0"))
    try until("the first attempt is logged") {
      desk.log(desk.bench.a).contains("r0 b: the peer does not answer (127.0.0.1:")
    }
    refuses(
      try desk.a("wait-connect --wfc-timeout 0.2 r0"), 5, "r0: timed out waiting for the connection to b",
      "Connection refused", "see that r0 is up there", within: 5)
    refuses(try desk.a("--timeout 0.2 wait-sync r0"), 5, "timed out waiting for the resync with b", within: 5)
    refuses(
      try desk.a("primary r0"), 17, "(-2) Need access to UpToDate data", "b is not connected",
      "repladm primary --force r0")
    succeeds(try desk.a("primary --force r0"))
    let client = try Client(desk.bench.a.exportPath)
    try client.write(pattern(1 << 20, 7), at: 4096, fua: true)
    refuses(
      try desk.a("detach r0"), 17, "(-2) Need access to UpToDate data", "the only one with good data",
      "repladm secondary r0")
    refuses(try desk.a("invalidate r0"), 17, "b is not connected, its data cannot be copied", "repladm connect r0")
    succeeds(try desk.b("create-md r0"))
    succeeds(try desk.b("up --no-device r0"))
    succeeds(try desk.b("wait-connect r0"))
    try desk.bench.inSync()
    try desk.bench.expectEqualData()
    #expect(try client.read(1 << 20, at: 4096) == pattern(1 << 20, 7))
  }

  /// Both nodes say the same in status and log, and meet once the file is right.
  private func bothGiveUp(_ desk: Desk, because parts: [(Node, String)]) throws {
    for (node, part) in parts {
      try until("\(node.name) gives up") { try desk.type("cstate r0", on: node, [:]).out == "StandAlone\n" }
      let status = try desk.type("status r0", on: node, [:])
      #expect(status.code == 0 && status.err.contains("was given up: ") && status.err.contains(part), "\(status)")
      #expect(readsWell(status.err), "\(status.err)")
      #expect(status.err.contains("repladm adjust r0"))
      #expect(try desk.type("status r0 --json", on: node, [:]).out.contains("\"refused-because\": \""))
      #expect(desk.log(node).contains(part))
    }
  }

  private func theyMeetAfterAdjust(_ desk: Desk) throws {
    for node in [desk.bench.a, desk.bench.b] { succeeds(try desk.type("adjust r0", on: node, [:])) }
    for node in [desk.bench.a, desk.bench.b] { succeeds(try desk.type("wait-connect r0", on: node, [:])) }
    #expect(try desk.a("cstate r0").out == "Connected\n" && desk.b("cstate r0").out == "Connected\n")
    #expect(try !desk.a("status r0").err.contains("given up"))
  }

  @Test func differentSecretsAreSaidOnBothNodes() throws {
    let desk = try Desk(net: "cram-hmac-alg sha256; shared-secret \"one\";")
    let other = try desk.otherConfig("\"one\"", "\"two\"")
    for node in [desk.bench.a, desk.bench.b] { succeeds(try desk.type("create-md r0", on: node, [:])) }
    succeeds(try desk.a("up --no-device r0"))
    succeeds(try desk.b("up --no-device r0", other))
    let why = "the shared secrets differ; set the same shared-secret on both nodes"
    try bothGiveUp(desk, because: [(desk.bench.a, why), (desk.bench.b, why)])
    #expect(!desk.log(desk.bench.a).contains("one\""), "the secret itself is nobody's business")
    // The other node's file gets the right one; the daemon reads it again.
    try FileManager.default.removeItem(atPath: other["REPL_CONFIG"]!)
    try FileManager.default.copyItem(atPath: desk.config, toPath: other["REPL_CONFIG"]!)
    try theyMeetAfterAdjust(desk)
  }

  @Test func aSecretOnOneNodeOnlyIsSaidOnBoth() throws {
    let desk = try Desk(net: "cram-hmac-alg sha256; shared-secret \"one\";")
    let other = try desk.otherConfig("cram-hmac-alg sha256; shared-secret \"one\";", "")
    for node in [desk.bench.a, desk.bench.b] { succeeds(try desk.type("create-md r0", on: node, [:])) }
    succeeds(try desk.a("up --no-device r0"))
    succeeds(try desk.b("up --no-device r0", other))
    try bothGiveUp(
      desk,
      because: [
        (desk.bench.a, "the peer does not authenticate; set cram-hmac-alg and shared-secret on both nodes"),
        (desk.bench.b, "this node has no shared secret"),
      ])
    try FileManager.default.removeItem(atPath: other["REPL_CONFIG"]!)
    try FileManager.default.copyItem(atPath: desk.config, toPath: other["REPL_CONFIG"]!)
    try theyMeetAfterAdjust(desk)
  }

  @Test func differentOptionsAreSaidOnBothNodes() throws {
    let desk = try Desk()
    let other = try desk.otherConfig("protocol C;", "protocol A;")
    for node in [desk.bench.a, desk.bench.b] { succeeds(try desk.type("create-md r0", on: node, [:])) }
    succeeds(try desk.a("up --no-device r0"))
    succeeds(try desk.b("up --no-device r0", other))
    try bothGiveUp(
      desk, because: [(desk.bench.a, "protocol C here, A there"), (desk.bench.b, "protocol A here, C there")])
  }

  @Test func aNewPeerMayBeSmallerUntilTheDataNeedTheRoom() throws {
    let desk = try Desk(mebibytes: (24, 16))
    try desk.synced()
    let size = try desk.bench.a.status().devices[0].size
    #expect(size < 16 << 10, "the smaller disk decides while there are no data")
    let client = try Client(desk.bench.a.exportPath)
    try client.write(pattern(65536, 3), at: client.size - 65536, fua: true)
    try client.leave()
    // A replacement that is too small for what is there.
    succeeds(try desk.b("down r0"))
    try FileManager.default.removeItem(atPath: desk.bench.b.disk(0))
    try desk.bench.makeDisk(desk.bench.b.disk(0), mebibytes: 4)
    succeeds(try desk.b("create-md r0"))
    succeeds(try desk.b("up --no-device r0"))
    try until("a gives up") { try desk.a("cstate r0").out == "StandAlone\n" }
    let status = try desk.a("status r0")
    #expect(
      status.err.contains("the peer's disk is too small for r0/0: 4056 KiB there, \(size) KiB in use here")
        && status.err.contains("give the peer a disk of at least this size"), "\(status.err)")
    let again = try Client(desk.bench.a.exportPath)
    #expect(try again.read(65536, at: again.size - 65536) == pattern(65536, 3))
    try again.leave()
    // One that is large enough.
    succeeds(try desk.b("down r0"))
    try desk.bench.makeDisk(desk.bench.b.disk(0), mebibytes: 16)
    succeeds(try desk.b("create-md --force r0"))
    succeeds(try desk.b("up --no-device r0"))
    succeeds(try desk.a("adjust r0"))
    succeeds(try desk.b("wait-connect r0"))
    try desk.bench.inSync()
    try desk.bench.expectEqualData()
  }
}
