// A peer that floods and does not read, leaves packets out, or answers with places that do not exist, over real sockets. Law:
// the daemon lives, its memory stays under a number (SECURITY.md tells it), its log does not grow with what it receives, its
// data stay, and the real peer is welcome afterwards.
import Base
import Control
import Foundation
import Glibc
import Protocol
import Testing

@Suite(.serialized) struct BadInputRudePeers {
  /// What a rude peer may cost beside the memory that the daemon has at rest, and what it may write in the log.
  private static let memory = 24 << 20
  private static let lines = 256 << 10

  /// `a` is Primary with data and looks for its peer; `b` is down. The node must not hang up before its memory has been seen.
  private func primary(net: String = "") throws -> (Desk, Client) {
    let desk = try Desk(net: "ping-int 100; " + net)
    succeeds(try desk.a("create-md r0"))
    succeeds(try desk.b("create-md r0"))
    succeeds(try desk.a("up --no-device r0"))
    succeeds(try desk.a("primary --force r0"))
    let client = try Client(desk.bench.a.exportPath)
    try client.write(pattern(1 << 20, 11), at: 1 << 20, fua: true)
    return (desk, client)
  }

  private func nothingIsLost(_ desk: Desk, _ client: Client) throws {
    #expect(try client.read(1 << 20, at: 1 << 20) == pattern(1 << 20, 11))
    #expect(try desk.a("role r0").out == "Primary\n")
    #expect(try desk.a("dstate r0").out.hasPrefix("UpToDate/"))
    succeeds(try desk.b("up --no-device r0"))
    succeeds(try desk.a("adjust r0"))
    succeeds(try desk.b("wait-connect r0"))
    try desk.bench.inSync()
    try desk.bench.expectEqualData()
  }

  private func residentBytes(_ pid: pid_t) throws -> Int {
    let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
    let line = try #require(status.split(separator: "\n").first { $0.hasPrefix("VmRSS:") })
    return try #require(Int(line.split(separator: " ", omittingEmptySubsequences: true)[1])) << 10
  }

  private enum Way { case data, meta }

  private func head(_ sector: UInt64) -> DataHeader {
    var head = DataHeader()
    head.sector = sector
    head.blockID = syncerBlockID
    return head
  }

  /// What is sent again and again, each of it with an answer that is not read.
  private func floods(_ sectors: UInt64) -> [(String, Way, [(Packet, payload: Int)])] {
    var sizes = Sizes()
    sizes.backing = sectors
    sizes.current = sectors
    var smaller = sizes
    smaller.current = sectors - 8
    let block = BlockRequest(sector: 0, blockID: 1, size: 4096)
    let role = StateChange(mask: PackedState(word: 3), value: PackedState(word: 1))
    func state(_ disk: DiskState) -> Packet {
      .state(PackedState(role: .secondary, peer: .primary, connection: .connected, disk: disk, peerDisk: .upToDate))
    }
    return [
      ("pings", .meta, [(.ping, 0)]), ("barriers", .data, [(.barrier(1), 0)]),
      ("state requests", .data, [(.stateChangeRequest(role), 0)]),
      ("verify requests", .data, [(.verifyRequest(block), 0)]),
      ("sizes", .data, [(.sizes(sizes), 0), (.sizes(smaller), 0)]),
      ("states", .data, [(state(.inconsistent), 0), (state(.diskless), 0)]),
      ("resync blocks nobody asked for", .data, [(.resyncReply(head(0)), 512)]),
      ("resync requests", .data, [(.resyncRequest(block), 0)]),
      (
        "announcements", .data,
        [
          (.outOfSync(BlockDescriptor(sector: 8, size: 4096)), 0)
        ]
      ),
    ]
  }

  @Test func aPeerThatSendsAndDoesNotReadCostsLittleMemory() throws {
    let (desk, client) = try primary()
    let sectors = client.size / 512
    let daemon = try #require(desk.pid(of: desk.bench.a))
    let atRest = try residentBytes(daemon)
    var most = 0
    for (name, way, packets) in floods(sectors) {
      // A node that has just been told to connect may close what came a moment too early.
      var met: FalsePeer?
      try until("a handshake before \(name)") {
        do {
          let one = try FalsePeer.meeting(desk.bench.port)
          try one.introduceAsEqual(sectors: sectors)
          met = one
        } catch is WireEnded { return false }
        return true
      }
      let peer = try #require(met)
      try until("the handshake before \(name)") { try desk.bench.a.status().connections[0].state >= .connected }
      var round: [UInt8] = []
      while round.count < 64 << 10 {
        for (packet, payload) in packets { round += peer.bytes(packet, payload: pattern(payload, 9)) }
      }
      let said = desk.log(desk.bench.a).utf8.count
      var peak = 0
      func look() throws { peak = max(peak, try residentBytes(daemon) - atRest) }
      let taken = try (way == .data ? peer.data : peer.meta).flood(round, seconds: 2, meanwhile: look)
      try look()
      print("\(name): \(taken >> 10) KiB taken, \(peak >> 10) KiB more memory")
      most = max(most, peak)
      #expect(taken >= 32 << 10, "\(name)")
      #expect(peak < BadInputRudePeers.memory, "\(name)")
      #expect(desk.log(desk.bench.a).utf8.count - said < BadInputRudePeers.lines, "\(name)")
      // Commands are served meanwhile; a write of the application waits for the ack of this peer, as protocol C says.
      succeeds(try desk.a("disconnect --force r0"))
      try client.write(pattern(4096, 12), at: 0, fua: true)
      succeeds(try desk.a("connect r0"))
    }
    #expect(desk.pid(of: desk.bench.a) == daemon)
    print("a rude peer: \(atRest >> 10) KiB at rest, at most \(most >> 10) KiB more")
    try nothingIsLost(desk, client)
  }

  @Test func pingsBeforeAuthenticationCostLittleMemory() throws {
    let (desk, client) = try primary(net: "cram-hmac-alg sha1; shared-secret \"between us\";")
    let daemon = try #require(desk.pid(of: desk.bench.a))
    let atRest = try residentBytes(daemon)
    let peer = try FalsePeer.meeting(desk.bench.port)
    try peer.agree()
    guard case .authChallenge(let first) = try peer.next() else { throw Timeout(description: "no challenge") }
    var peak = 0
    let pings = Array(repeatElement(peer.bytes(.ping), count: 4096).joined())
    _ = try peer.meta.flood(pings, seconds: 2) { peak = max(peak, try residentBytes(daemon) - atRest) }
    #expect(peak < BadInputRudePeers.memory)
    #expect(desk.pid(of: desk.bench.a) == daemon)
    succeeds(try desk.a("disconnect --force r0"))
    succeeds(try desk.a("connect r0"))
    // A new one for every connection.
    let other = try FalsePeer.meeting(desk.bench.port)
    try other.agree()
    guard case .authChallenge(let second) = try other.next() else { throw Timeout(description: "no challenge") }
    #expect(first.count == 64 && second.count == 64 && first != second)
    succeeds(try desk.a("disconnect --force r0"))
    try nothingIsLost(desk, client)
  }

  @Test func aPeerWithoutGenerationsIsHungUpOn() throws {
    let (desk, client) = try primary()
    let peer = try FalsePeer.meeting(desk.bench.port)
    try peer.introduceAsEqual(sectors: client.size / 512, withGenerations: false)
    #expect(peer.wasHungUpOn)
    #expect(desk.log(desk.bench.a).contains("no P_UUIDS before it"))
    try nothingIsLost(desk, client)
  }

  @Test func anAnswerAtTheEndOfTheWorldEndsTheConnection() throws {
    let (desk, client) = try primary()
    let sectors = client.size / 512
    let daemon = try #require(desk.pid(of: desk.bench.a))
    let peer = try FalsePeer.meeting(desk.bench.port)
    try peer.introduceAsEqual(sectors: sectors)
    try until("both are equal") {
      try desk.a("dstate r0").out == "UpToDate/UpToDate\n"
    }
    succeeds(try desk.a("detach --force r0"))
    try client.wire.send(
      big(UInt32(0x2560_9513)) + big(UInt16(0)) + big(UInt16(0)) + big(UInt64(77)) + big(UInt64(0)) + big(UInt32(4096)))
    var id: UInt64?
    while id == nil { if case .dataRequest(let request) = try peer.next() { id = request.blockID } }
    var head = DataHeader()
    head.sector = .max - 7
    head.blockID = id ?? 0
    try peer.data.send(peer.bytes(.dataReply(head), payload: pattern(4096, 1)))
    #expect(peer.wasHungUpOn)
    // No copy is left that could answer the read: EIO.
    #expect(try Array(client.wire.receive(16)[4...]) == big(UInt32(5)) + big(UInt64(77)))
    #expect(desk.pid(of: desk.bench.a) == daemon)
    succeeds(try desk.a("status r0"))
    // The disk has every write: it may come back.
    succeeds(try desk.a("attach r0"))
    try nothingIsLost(desk, client)
  }

  /// Versions below 95 have 16 bits for a length.
  @Test func aPeerOfVersion94ThatAsksForMoreThanItsHeaderCanTell() throws {
    let (desk, client) = try primary()
    let daemon = try #require(desk.pid(of: desk.bench.a))
    let peer = try FalsePeer.meeting(desk.bench.port)
    try peer.introduce(sectors: client.size / 512, version: 94)
    try until("the handshake") { try desk.bench.a.status().connections[0].state >= .connected }
    try peer.data.send(peer.bytes(.dataRequest(BlockRequest(sector: 0, blockID: 1, size: 65536))))
    #expect(peer.wasHungUpOn)
    #expect(desk.pid(of: desk.bench.a) == daemon)
    try nothingIsLost(desk, client)
  }
}
