// A peer that is silent, of another version, or sends what makes no sense: it costs that connection. The Primary's data stay,
// its clients and commands are answered meanwhile, and the real peer is welcome afterwards.
import Base
import Control
import Foundation
import Glibc
import Protocol
import Testing

@Suite struct BadInputPeers {
  private static let net = "ping-int 1;"

  /// `a` is Primary with data and looks for its peer; `b` is down.
  private func primary() throws -> (Desk, Client) {
    let desk = try Desk(net: BadInputPeers.net)
    succeeds(try desk.a("create-md r0"))
    succeeds(try desk.b("create-md r0"))
    succeeds(try desk.a("up --no-device r0"))
    succeeds(try desk.a("primary --force r0"))
    let client = try Client(desk.bench.a.exportPath)
    try client.write(pattern(1 << 20, 11), at: 1 << 20, fua: true)
    try client.write(pattern(65536, 12), at: 0, fua: true)
    return (desk, client)
  }

  private func nothingIsLost(_ desk: Desk, _ client: Client) throws {
    #expect(try client.read(1 << 20, at: 1 << 20) == pattern(1 << 20, 11))
    #expect(try client.read(65536, at: 0) == pattern(65536, 12))
    #expect(try desk.a("role r0").out == "Primary\n")
    #expect(try desk.a("dstate r0").out.hasPrefix("UpToDate/"))
    succeeds(try desk.b("up --no-device r0"))
    succeeds(try desk.a("adjust r0"))
    succeeds(try desk.b("wait-connect r0"))
    try desk.bench.inSync()
    try desk.bench.expectEqualData()
  }

  @Test(arguments: [
    (
      80, 85,
      "no common protocol version: this node speaks 86 to 101, the peer 80 to 85; upgrade the older node"
    ),
    (
      110, 122,
      "b runs a DRBD 9 that speaks version 110 and above, this node speaks up to 101: load its kernel module with "
        + "protocol_version_min=86 (a file in /etc/modprobe.d: options drbd protocol_version_min=86)"
    ),
  ])
  func aPeerOfAnotherVersion(minimum: UInt32, maximum: UInt32, words: String) throws {
    let (desk, client) = try primary()
    let peer = try FalsePeer.meeting(desk.bench.port)
    try peer.agree(minimum: minimum, maximum: maximum)
    #expect(peer.wasHungUpOn)
    try until("a gives up") { try desk.a("cstate r0").out == "StandAlone\n" }
    let status = try desk.a("status r0")
    #expect(
      status.err == "r0: the connection to b was given up: \(words).\nThen run repladm adjust r0.\n")
    #expect(desk.log(desk.bench.a).contains(words))
    try nothingIsLost(desk, client)
  }

  @Test func silenceAtEachStageKeepsNobodyWaiting() throws {
    let (desk, client) = try primary()
    func everybodyIsServed() throws {
      succeeds(try desk.a("status r0"))
      try client.write(pattern(65536, 12), at: 0, fua: true)
      refuses(
        try desk.a("wait-connect --wfc-timeout 0.1 r0"), 5, "timed out waiting for the connection to b", within: 5)
    }
    // Connections that say nothing at all, more of them than there are places.
    let mute = try (0..<24).map { _ in try Wire(port: desk.bench.port) }
    try everybodyIsServed()
    #expect(mute.allSatisfy { $0.hasEnded() })
    // Half of the first packet; one of the two sockets only.
    let half = try Wire(port: desk.bench.port)
    try half.send([0x83])
    let alone = try Wire(port: desk.bench.port)
    try alone.send(big(UInt32(0x8374_0267)))
    try everybodyIsServed()
    // Both sockets, and then nothing.
    let peer = try FalsePeer.meeting(desk.bench.port)
    try everybodyIsServed()
    let down = try desk.a("disconnect r0")
    #expect(down.code == 0 && down.seconds < 10, "\(down)")
    #expect(peer.wasHungUpOn)
    try nothingIsLost(desk, client)
  }

  @Test func aPeerThatStopsAnsweringIsLeftBehindAndComesBack() throws {
    let desk = try Desk(net: BadInputPeers.net + " timeout 20;")
    try desk.synced()
    let client = try Client(desk.bench.a.exportPath)
    try client.write(pattern(1 << 20, 11), at: 1 << 20, fua: true)
    let pid = try #require(desk.pid(of: desk.bench.b))
    kill(pid, SIGSTOP)
    defer { kill(pid, SIGCONT) }
    try client.write(pattern(65536, 13), at: 0, fua: true)
    try until("a goes on alone") { try desk.a("cstate r0").out != "Connected\n" }
    #expect(try client.read(65536, at: 0) == pattern(65536, 13))
    kill(pid, SIGCONT)
    succeeds(try desk.a("wait-connect r0"))
    try desk.bench.inSync()
    try desk.bench.expectEqualData()
  }

  /// What a peer sends after the handshake, and on which socket.
  private enum Nonsense {
    case data([UInt8])
    case meta([UInt8])
    case packet(Packet, payload: Int)
    case ack(Packet)
  }

  private func nonsense(_ sectors: UInt64) -> [(String, Nonsense)] {
    func head(_ sector: UInt64) -> DataHeader {
      var head = DataHeader()
      head.sector = sector
      head.blockID = 0x1234
      return head
    }
    let ack = BlockAck(sector: 8, blockID: 0xdead_beef, size: 4096, sequence: 0)
    let barrier = BarrierAck(handle: 77, setSize: 3)
    let request = BlockRequest(sector: sectors, blockID: 1, size: 4096)
    let long = BlockRequest(sector: 0, blockID: 1, size: .max)
    let range = RangeHeader(head(0), size: .max)
    return [
      ("random bytes as data", .data(pattern(5000, 1))), ("random bytes as acks", .meta(pattern(5000, 2))),
      ("zeroes as data", .data([UInt8](repeating: 0, count: 256))),
      ("zeroes as acks", .meta([UInt8](repeating: 0, count: 256))),
      ("a header that announces four gigabytes", .data(big(UInt32(0x8620_ec20)) + big(UInt64.max) + big(UInt32(0)))),
      ("a write behind the end", .packet(.data(head(sectors)), payload: 4096)),
      ("a write at the end of the world", .packet(.data(head(.max - 7)), payload: 4096)),
      ("a write of half a sector", .packet(.data(head(0)), payload: 100)),
      ("a discard of four gigabytes", .packet(.trim(range), payload: 0)),
      ("a read behind the end", .packet(.dataRequest(request), payload: 0)),
      ("a read of four gigabytes", .packet(.dataRequest(long), payload: 0)),
      ("a resync request behind the end", .packet(.resyncRequest(request), payload: 0)),
      ("an answer nobody asked for", .packet(.dataReply(head(0)), payload: 4096)),
      ("resync data nobody asked for", .packet(.resyncReply(head(0)), payload: 4096)),
      ("a bitmap without end", .packet(.bitmap([UInt8](repeating: 0xff, count: 4096)), payload: 0)),
      ("a bitmap that cannot be unpacked", .packet(.compressedBitmap([0x82] + pattern(900, 4)), payload: 0)),
      ("the features once more", .packet(.features(Features()), payload: 0)),
      ("a challenge", .packet(.authChallenge([UInt8](repeating: 9, count: 64)), payload: 0)),
      ("an ack on the data socket", .packet(.writeAck(ack), payload: 0)),
      ("a write on the meta socket", .ack(.data(head(0)))),
      ("an ack of no write", .ack(.writeAck(ack))), ("an ack of no barrier", .ack(.barrierAck(barrier))),
      ("a refusal of no write", .ack(.negativeAck(ack))), ("a refusal of no read", .ack(.negativeDataReply(ack))),
    ]
  }

  @Test func nonsenseAfterTheHandshakeCostsTheConnection() throws {
    let (desk, client) = try primary()
    let sectors = client.size / 512
    let daemon = try #require(desk.pid(of: desk.bench.a))
    for (name, what) in nonsense(sectors) {
      let peer = try FalsePeer.meeting(desk.bench.port)
      try peer.introduce(sectors: sectors)
      try until("the handshake before \(name)") { try desk.bench.a.status().connections[0].state >= .connected }
      do {
        switch what {
        case .data(let bytes): try peer.data.send(bytes)
        case .meta(let bytes): try peer.meta.send(bytes)
        case .packet(let packet, let payload): try peer.data.send(peer.bytes(packet, payload: pattern(payload, 9)))
        case .ack(let packet): try peer.meta.send(peer.bytes(packet))
        }
      } catch is WireEnded {}
      #expect(peer.wasHungUpOn, "\(name)")
      // Lost and looked for again; or given up, with the reason in the status.
      let state = try desk.bench.a.status().connections[0]
      #expect(state.state < .connected && (state.state != .standAlone || state.refusedBecause != nil), "\(name)")
      if state.state == .standAlone { succeeds(try desk.a("connect r0")) }
    }
    #expect(desk.pid(of: desk.bench.a) == daemon)
    let log = desk.log(desk.bench.a)
    #expect(log.contains("P_DATA") && log.contains("connection lost (ProtocolError)"))
    try nothingIsLost(desk, client)
  }
}
