// The way to the peer: addresses and ports that cannot be used, a peer that is not there, or that does not agree. The disks
// are attached all the same, and once the cause is gone the nodes meet.
import Base
import BlockIO
import Control
import Foundation
import Testing

@Suite struct BadInputAddresses {
  @Test func aPortInUseIsSaidWithItsHolder() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    do {
      let other = try Listener(tcp: SocketAddress(host: .v4(0x7f00_0001), port: desk.bench.port))
      #expect(other.path == nil)
      refuses(
        try desk.a("up --no-device r0"), 10, "r0: Failure: (102) Local address(port) already in use",
        "port \(desk.bench.port) on 127.0.0.1 is in use by ", "(pid \(ProcessInfo.processInfo.processIdentifier)",
        "stop that program or choose another port", "Then run repladm adjust r0.\n")
      // The disk is attached; the status says what is missing.
      let status = try desk.a("status r0")
      #expect(status.code == 0 && status.out.contains("disk:Inconsistent") && status.out.contains(":StandAlone"))
      #expect(status.err.contains("r0: the connection to b was given up: cannot listen: port"))
      refuses(try desk.a("connect r0"), 10, "(102)")
    }
    // Stopped, and the advice followed.
    succeeds(try desk.a("adjust r0"))
    #expect(try desk.a("cstate r0").out == "Connecting\n")
  }

  @Test func anAddressOfAnotherHostStartsNothing() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    let far = try desk.otherConfig("address 127.0.0.1:\(desk.bench.port)", "address 198.51.100.7:7789")
    refuses(
      try desk.a("up --no-device r0", far), 10, "IP 198.51.100.7 not found on this host", "ip address add",
      "disable-ip-verification")
    #expect(desk.pid(of: desk.bench.a) == nil)
    // Unverified, the kernel says it.
    try desk.edit("address 127.0.0.1:\(desk.bench.port)", "address 198.51.100.7:7789")
    try desk.edit("usage-count no;", "usage-count no; disable-ip-verification;")
    refuses(
      try desk.a("up --no-device r0"), 10, "r0: cannot listen for the peer",
      "198.51.100.7 is not an address of this host, which has 127.0.0.1", "Then run repladm adjust r0.\n")
    succeeds(try desk.a("down r0"))
  }

  @Test func aPeerThatIsNotThereIsWaitedForAndNothingIsLost() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    succeeds(try desk.a("up --no-device r0"))
    try until("the first attempt is logged") { desk.log(desk.bench.a).contains("b does not answer (127.0.0.1:") }
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
