// The worked example of the wire specification, section 12, byte for byte in both directions: 37 packets from the first
// contact to the polite disconnect.
import Protocol
import Testing

@Suite("Worked example")
struct WorkedExampleTests {
  struct Step: Sendable, CustomTestStringConvertible {
    let number: Int
    let name: String
    let socket: SocketKind
    let version: UInt32
    let payload: Int
    let packet: Packet
    let bytes: [UInt8]
    init(
      _ number: Int, _ name: String, _ socket: SocketKind, version: UInt32, payload: Int, _ packet: Packet,
      _ bytes: String
    ) {
      self.number = number
      self.name = name
      self.socket = socket
      self.version = version
      self.payload = payload
      self.packet = packet
      self.bytes = hex(bytes)
    }
    var testDescription: String { "\(number) \(name)" }
  }

  @Test("every packet has the bytes of the specification", arguments: Self.steps)
  func encodes(_ step: Step) {
    #expect(step.packet.name == step.name)
    #expect(step.packet.encoded(version: step.version, payload: step.payload) == step.bytes)
  }

  @Test("the bytes of the specification give every packet", arguments: Self.steps)
  func decodes(_ step: Step) throws {
    let stream = PacketStream(
      socket: step.socket, version: step.version, features: step.version > 80 ? .all : [])
    let found = try stream.only(step.bytes)
    #expect(found.packet == step.packet)
    #expect(found.payload == step.payload)
    #expect(found.volume == 0)
  }

  private static func identifiers(_ current: UInt64, _ bitmap: UInt64) -> GenerationIdentifiers {
    var identifiers = GenerationIdentifiers()
    identifiers.current = current
    identifiers.bitmap = bitmap
    identifiers.dirtyBits = 16
    return identifiers
  }

  private static var smallSizes: Sizes {
    var sizes = Sizes()
    sizes.backing = 128
    sizes.current = 128
    sizes.limits.physicalBlock = 4096
    sizes.limits.ioMin = 4096
    sizes.limits.discardEnabled = 0
    return sizes
  }

  /// Block ids of A as they lie in memory: 40 20 10 00 00 7f 00 00.
  private static func handle(_ first: UInt64) -> UInt64 { 0x7f00_0010_2000 | first }

  private static func request(_ sector: UInt64, _ size: UInt32) -> BlockRequest {
    BlockRequest(sector: sector, blockID: syncerBlockID, size: size)
  }

  private static func block(_ sector: UInt64) -> DataHeader {
    var header = DataHeader()
    header.sector = sector
    header.blockID = syncerBlockID
    return header
  }

  private static func write(_ sector: UInt64, _ id: UInt64, _ sequence: UInt32, _ flags: DataFlags) -> DataHeader {
    var header = DataHeader()
    header.sector = sector
    header.blockID = handle(id)
    header.sequence = sequence
    header.flags = flags
    return header
  }

  private static func ack(_ sector: UInt64, _ size: UInt32, _ sequence: UInt32, _ id: UInt64? = nil) -> BlockAck {
    BlockAck(sector: sector, blockID: id.map(handle) ?? syncerBlockID, size: size, sequence: sequence)
  }

  static let steps: [Step] = [
    Step(
      1, "P_INITIAL_DATA", .undecided, version: 80, payload: 0,
      .initialData,
      "83740267 fff20000"),
    Step(
      2, "P_INITIAL_META", .undecided, version: 80, payload: 0,
      .initialMeta,
      "83740267 fff10000"),
    Step(
      3, "P_CONNECTION_FEATURES", .data, version: 80, payload: 0,
      .features(Features(minimum: 86, maximum: 101, flags: .all)),
      """
      83740267 fffe0048 00000056 0000000f
      00000065 00000000 00000000 00000000
      00000000 00000000 00000000 00000000
      00000000 00000000 00000000 00000000
      00000000 00000000 00000000 00000000
      """),
    Step(
      4, "P_PROTOCOL", .data, version: 101, payload: 0,
      .protocolOffer(ProtocolOffer()),
      """
      8620ec20 0000000b 00000019 00000000
      00000003 00000000 00000000 00000000
      00000000 00000000 00
      """),
    Step(
      5, "P_SYNC_PARAM89", .data, version: 101, payload: 0,
      .syncParameters(SyncParameters()),
      """
      8620ec20 00000023 00000094 00000000
      000000fa 00000000 00000000 00000000
      00000000 00000000 00000000 00000000
      00000000 00000000 00000000 00000000
      00000000 00000000 00000000 00000000
      00000000 00000000 00000000 00000000
      00000000 00000000 00000000 00000000
      00000000 00000000 00000000 00000000
      00000000 00000000 00000000 00000000
      00000000 00000014 0000000a 00000064
      00019000
      """),
    Step(
      6, "P_SIZES", .data, version: 101, payload: 0,
      .sizes(smallSizes),
      """
      8620ec20 0000000d 00000038 00000000
      00000000 00000080 00000000 00000000
      00000000 00000080 00100000 00000000
      00001000 00000200 00000000 00001000
      00000000 00000000
      """),
    Step(
      7, "P_UUIDS", .data, version: 101, payload: 0,
      .uuids(identifiers(0x8f3c_91d2_64a7_05e3, 4)),
      """
      8620ec20 0000000c 00000030 00000000
      8f3c91d2 64a705e3 00000000 00000004
      00000000 00000000 00000000 00000000
      00000000 00000010 00000000 00000000
      """),
    Step(
      8, "P_UUIDS", .data, version: 101, payload: 0,
      .uuids(identifiers(4, 0)),
      """
      8620ec20 0000000c 00000030 00000000
      00000000 00000004 00000000 00000000
      00000000 00000000 00000000 00000000
      00000000 00000010 00000000 00000000
      """),
    Step(
      9, "P_STATE", .data, version: 101, payload: 0,
      .state(
        PackedState(
          role: .primary, peer: .unknown, connection: .wfConnection, disk: .upToDate, peerDisk: .unknown)),
      """
      8620ec20 0000000e 00000004 00000000
      0000d081
      """),
    Step(
      10, "P_STATE", .data, version: 101, payload: 0,
      .state(
        PackedState(
          role: .secondary, peer: .unknown, connection: .wfConnection, disk: .inconsistent, peerDisk: .unknown)),
      """
      8620ec20 0000000e 00000004 00000000
      0000c882
      """),
    Step(
      11, "P_STATE", .data, version: 101, payload: 0,
      .state(
        PackedState(
          role: .primary, peer: .secondary, connection: .wfBitMapS, disk: .upToDate, peerDisk: .inconsistent)),
      """
      8620ec20 0000000e 00000004 00000000
      000090d9
      """),
    Step(
      12, "P_STATE", .data, version: 101, payload: 0,
      .state(
        PackedState(
          role: .secondary, peer: .primary, connection: .wfBitMapT, disk: .inconsistent, peerDisk: .upToDate)),
      """
      8620ec20 0000000e 00000004 00000000
      000108e6
      """),
    Step(
      13, "P_COMPRESSED_BITMAP", .data, version: 101, payload: 0,
      .compressedBitmap([0x92, 0x77]),
      """
      8620ec20 00000024 00000002 00000000
      9277
      """),
    Step(
      14, "P_COMPRESSED_BITMAP", .data, version: 101, payload: 0,
      .compressedBitmap([0x92, 0x77]),
      """
      8620ec20 00000024 00000002 00000000
      9277
      """),
    Step(
      15, "P_SYNC_UUID", .data, version: 101, payload: 0,
      .syncUUID(0x5b1e_77c0_a9d4_3f26),
      """
      8620ec20 0000000f 00000008 00000000
      5b1e77c0 a9d43f26
      """),
    Step(
      16, "P_RS_DATA_REQUEST", .data, version: 101, payload: 0,
      .resyncRequest(request(0, 28672)),
      """
      8620ec20 00000009 00000018 00000000
      00000000 00000000 ffffffff ffffffff
      00007000 00000000
      """),
    Step(
      17, "P_RS_DATA_REPLY", .data, version: 101, payload: 28672,
      .resyncReply(block(0)),
      """
      8620ec20 00000002 00007018 00000000
      00000000 00000000 ffffffff ffffffff
      00000000 00000000
      """),
    Step(
      18, "P_RS_WRITE_ACK", .meta, version: 101, payload: 0,
      .resyncWriteAck(ack(0, 28672, 1)),
      """
      8620ec20 00000017 00000018 00000000
      00000000 00000000 ffffffff ffffffff
      00007000 00000001
      """),
    Step(
      19, "P_RS_DATA_REQUEST", .data, version: 101, payload: 0,
      .resyncRequest(request(56, 4096)),
      """
      8620ec20 00000009 00000018 00000000
      00000000 00000038 ffffffff ffffffff
      00001000 00000000
      """),
    Step(
      20, "P_RS_DATA_REPLY", .data, version: 101, payload: 4096,
      .resyncReply(block(56)),
      """
      8620ec20 00000002 00001018 00000000
      00000000 00000038 ffffffff ffffffff
      00000000 00000000
      """),
    Step(
      21, "P_RS_WRITE_ACK", .meta, version: 101, payload: 0,
      .resyncWriteAck(ack(56, 4096, 2)),
      """
      8620ec20 00000017 00000018 00000000
      00000000 00000038 ffffffff ffffffff
      00001000 00000002
      """),
    Step(
      22, "P_RS_DATA_REQUEST", .data, version: 101, payload: 0,
      .resyncRequest(request(64, 32768)),
      """
      8620ec20 00000009 00000018 00000000
      00000000 00000040 ffffffff ffffffff
      00008000 00000000
      """),
    Step(
      23, "P_RS_DATA_REPLY", .data, version: 101, payload: 32768,
      .resyncReply(block(64)),
      """
      8620ec20 00000002 00008018 00000000
      00000000 00000040 ffffffff ffffffff
      00000000 00000000
      """),
    Step(
      24, "P_RS_WRITE_ACK", .meta, version: 101, payload: 0,
      .resyncWriteAck(ack(64, 32768, 3)),
      """
      8620ec20 00000017 00000018 00000000
      00000000 00000040 ffffffff ffffffff
      00008000 00000003
      """),
    Step(
      25, "P_PING", .meta, version: 101, payload: 0,
      .ping,
      "8620ec20 00000013 00000000 00000000"),
    Step(
      26, "P_PING_ACK", .meta, version: 101, payload: 0,
      .pingAck,
      "8620ec20 00000014 00000000 00000000"),
    Step(
      27, "P_STATE", .data, version: 101, payload: 0,
      .state(
        PackedState(
          role: .secondary, peer: .primary, connection: .connected, disk: .upToDate, peerDisk: .upToDate)),
      """
      8620ec20 0000000e 00000004 00000000
      000110a6
      """),
    Step(
      28, "P_DATA", .data, version: 101, payload: 4096,
      .data(write(8, 0x40, 1, [.rwSync, .sendWriteAck])),
      """
      8620ec20 00000000 00001018 00000000
      00000000 00000008 40201000 007f0000
      00000001 00000102
      """),
    Step(
      29, "P_WRITE_ACK", .meta, version: 101, payload: 0,
      .writeAck(ack(8, 4096, 4, 0x40)),
      """
      8620ec20 00000016 00000018 00000000
      00000000 00000008 40201000 007f0000
      00001000 00000004
      """),
    Step(
      30, "P_BARRIER", .data, version: 101, payload: 0,
      .barrier(1),
      """
      8620ec20 00000003 00000008 00000000
      01000000 00000000
      """),
    Step(
      31, "P_BARRIER_ACK", .meta, version: 101, payload: 0,
      .barrierAck(BarrierAck(handle: 1, setSize: 1)),
      """
      8620ec20 0000001c 00000008 00000000
      01000000 00000001
      """),
    Step(
      32, "P_DATA", .data, version: 101, payload: 512,
      .data(write(16, 0x80, 2, [.rwSync, .fua, .flush, .sendWriteAck])),
      """
      8620ec20 00000000 00000218 00000000
      00000000 00000010 80201000 007f0000
      00000002 00000132
      """),
    Step(
      33, "P_WRITE_ACK", .meta, version: 101, payload: 0,
      .writeAck(ack(16, 512, 5, 0x80)),
      """
      8620ec20 00000016 00000018 00000000
      00000000 00000010 80201000 007f0000
      00000200 00000005
      """),
    Step(
      34, "P_BARRIER", .data, version: 101, payload: 0,
      .barrier(2),
      """
      8620ec20 00000003 00000008 00000000
      02000000 00000000
      """),
    Step(
      35, "P_BARRIER_ACK", .meta, version: 101, payload: 0,
      .barrierAck(BarrierAck(handle: 2, setSize: 1)),
      """
      8620ec20 0000001c 00000008 00000000
      02000000 00000001
      """),
    Step(
      36, "P_CONN_ST_CHG_REQ", .data, version: 101, payload: 0,
      .connectionChangeRequest(StateChange(mask: PackedState(word: 0x1f0), value: PackedState(word: 0x10))),
      """
      8620ec20 0000002a 00000008 00000000
      000001f0 00000010
      """),
    Step(
      37, "P_CONN_ST_CHG_REPLY", .meta, version: 101, payload: 0,
      .connectionChangeReply(1),
      """
      8620ec20 0000002b 00000004 00000000
      00000001
      """),
  ]
}
