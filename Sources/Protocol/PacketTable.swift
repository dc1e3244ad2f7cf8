// One row per packet, the table to read first (wire spec 2.3): DRBD's name, the socket, from which version on, with
// which features, how long the fixed part is and what may follow it. The switch is exhaustive, so a packet without a row
// does not compile. P_TRIM needs no feature: kernel 6.1 sends it whatever was agreed (K25).
import Base

/// The command field of the header.
public enum PacketCode: UInt16, Sendable, CaseIterable {
  case data = 0x00
  case dataReply = 0x01
  case resyncReply = 0x02
  case barrier = 0x03
  case bitmap = 0x04
  case unplugRemote = 0x07
  case dataRequest = 0x08
  case resyncRequest = 0x09
  case syncParam = 0x0a
  case protocolOffer = 0x0b
  case uuids = 0x0c
  case sizes = 0x0d
  case state = 0x0e
  case syncUUID = 0x0f
  case authChallenge = 0x10
  case authResponse = 0x11
  case stateChangeRequest = 0x12
  case ping = 0x13
  case pingAck = 0x14
  case receiveAck = 0x15
  case writeAck = 0x16
  case resyncWriteAck = 0x17
  case superseded = 0x18
  case negativeAck = 0x19
  case negativeDataReply = 0x1a
  case negativeResyncReply = 0x1b
  case barrierAck = 0x1c
  case stateChangeReply = 0x1d
  case verifyRequest = 0x1e
  case verifyReply = 0x1f
  case verifyResult = 0x20
  case checksumRequest = 0x21
  case inSync = 0x22
  case syncParam89 = 0x23
  case compressedBitmap = 0x24
  case delayProbe = 0x27
  case outOfSync = 0x28
  case resyncCancel = 0x29
  case connectionChangeRequest = 0x2a
  case connectionChangeReply = 0x2b
  case retryWrite = 0x2c
  case protocolUpdate = 0x2d
  case trim = 0x31
  case thinRequest = 0x32
  case deallocated = 0x33
  case writeSame = 0x34
  case zeroes = 0x36
  case enableReplicationNext = 0x58
  case enableReplication = 0x59
  case initialMeta = 0xfff1
  case initialData = 0xfff2
  case features = 0xfffe
}

public struct PacketRow: Sendable {
  public enum Place: Sendable { case first, handshake, data, meta, both }

  /// What follows the fixed part. All but the payload of a block is decoded with the packet.
  public enum Rest: Sendable {
    case nothing
    /// Digest, if integrity is in force, and the bytes of a block; a length of 0 is an old flush (7.5).
    case block
    /// P_SIZES: the limits block, with FF_WSAME.
    case limits
    /// P_SYNC_PARAM89: the controller's four numbers, from 95 on.
    case controller
    /// P_SYNC_PARAM: the verify algorithm, NUL-terminated, at 88.
    case verifyName
    /// P_PROTOCOL: the integrity algorithm, NUL-terminated, from 87 on.
    case integrityName
    case challenge
    case digest
    /// Whole 64-bit words up to the end of a 4096-byte packet; none at all ends a plain transfer.
    case bitmapWords
    /// Encoding byte and at least one code byte, up to the end of a 4096-byte packet.
    case bitmapCode
  }

  public let name: StaticString
  public let place: Place
  public let fixed: Int
  public let rest: Rest
  public let versions: ClosedRange<UInt32>
  public let needs: FeatureFlags

  init(
    _ name: StaticString, _ place: Place, _ fixed: Int, _ rest: Rest = .nothing, since: UInt32 = 0,
    until: UInt32 = .max, needs: FeatureFlags = []
  ) {
    self.name = name
    self.place = place
    self.fixed = fixed
    self.rest = rest
    self.versions = since...until
    self.needs = needs
  }
}

extension PacketCode {
  public var row: PacketRow {
    switch self {
    case .initialMeta: PacketRow("P_INITIAL_META", .first, 0)
    case .initialData: PacketRow("P_INITIAL_DATA", .first, 0)
    case .features: PacketRow("P_CONNECTION_FEATURES", .handshake, 72)

    case .data: PacketRow("P_DATA", .data, 24, .block)
    case .dataReply: PacketRow("P_DATA_REPLY", .data, 24, .block)
    case .resyncReply: PacketRow("P_RS_DATA_REPLY", .data, 24, .block)
    case .barrier: PacketRow("P_BARRIER", .data, 8)
    case .bitmap: PacketRow("P_BITMAP", .data, 0, .bitmapWords)
    case .unplugRemote: PacketRow("P_UNPLUG_REMOTE", .data, 0)
    case .dataRequest: PacketRow("P_DATA_REQUEST", .data, 24)
    case .resyncRequest: PacketRow("P_RS_DATA_REQUEST", .data, 24)
    case .syncParam: PacketRow("P_SYNC_PARAM", .data, 4, .verifyName, until: 88)
    case .protocolOffer: PacketRow("P_PROTOCOL", .data, 24, .integrityName)
    case .uuids: PacketRow("P_UUIDS", .data, 48)
    case .sizes: PacketRow("P_SIZES", .data, 32, .limits)
    case .state: PacketRow("P_STATE", .data, 4)
    case .syncUUID: PacketRow("P_SYNC_UUID", .data, 8)
    case .authChallenge: PacketRow("P_AUTH_CHALLENGE", .data, 0, .challenge)
    case .authResponse: PacketRow("P_AUTH_RESPONSE", .data, 0, .digest)
    case .stateChangeRequest: PacketRow("P_STATE_CHG_REQ", .data, 8)
    case .verifyRequest: PacketRow("P_OV_REQUEST", .data, 24)
    case .verifyReply: PacketRow("P_OV_REPLY", .data, 24, .digest)
    case .checksumRequest: PacketRow("P_CSUM_RS_REQUEST", .data, 24, .digest, since: 89)
    case .syncParam89: PacketRow("P_SYNC_PARAM89", .data, 132, .controller, since: 89)
    case .compressedBitmap: PacketRow("P_COMPRESSED_BITMAP", .data, 0, .bitmapCode, since: 90)
    case .outOfSync: PacketRow("P_OUT_OF_SYNC", .data, 16, since: 96)
    case .connectionChangeRequest: PacketRow("P_CONN_ST_CHG_REQ", .data, 8, since: 100)
    case .protocolUpdate: PacketRow("P_PROTOCOL_UPDATE", .data, 24, .integrityName, since: 100)
    case .trim: PacketRow("P_TRIM", .data, 28)
    case .thinRequest: PacketRow("P_RS_THIN_REQ", .data, 24, needs: .thinResync)
    case .deallocated: PacketRow("P_RS_DEALLOCATED", .data, 16, needs: .thinResync)
    case .writeSame: PacketRow("P_WSAME", .data, 28, .block, needs: .writeSame)
    case .zeroes: PacketRow("P_ZEROES", .data, 28, needs: .writeZeroes)
    case .enableReplicationNext: PacketRow("P_ENABLE_REPLICATION_NEXT", .data, 4)
    case .enableReplication: PacketRow("P_ENABLE_REPLICATION", .data, 4)

    case .ping: PacketRow("P_PING", .meta, 0)
    case .pingAck: PacketRow("P_PING_ACK", .meta, 0)
    case .receiveAck: PacketRow("P_RECV_ACK", .meta, 24)
    case .writeAck: PacketRow("P_WRITE_ACK", .meta, 24)
    case .resyncWriteAck: PacketRow("P_RS_WRITE_ACK", .meta, 24)
    case .superseded: PacketRow("P_SUPERSEDED", .meta, 24)
    case .negativeAck: PacketRow("P_NEG_ACK", .meta, 24)
    case .negativeDataReply: PacketRow("P_NEG_DREPLY", .meta, 24)
    case .negativeResyncReply: PacketRow("P_NEG_RS_DREPLY", .meta, 24)
    case .barrierAck: PacketRow("P_BARRIER_ACK", .meta, 8)
    case .stateChangeReply: PacketRow("P_STATE_CHG_REPLY", .meta, 4)
    case .verifyResult: PacketRow("P_OV_RESULT", .meta, 24)
    case .inSync: PacketRow("P_RS_IS_IN_SYNC", .meta, 24, since: 89)
    case .resyncCancel: PacketRow("P_RS_CANCEL", .meta, 24, since: 96)
    case .connectionChangeReply: PacketRow("P_CONN_ST_CHG_REPLY", .meta, 4, since: 100)
    case .retryWrite: PacketRow("P_RETRY_WRITE", .meta, 24, since: 100)

    case .delayProbe: PacketRow("P_DELAY_PROBE", .both, 8)
    }
  }

  /// Packets of the connection, not of a volume: they carry volume 0, and whatever DRBD 9 puts there is ignored (14.2).
  public var isOfConnection: Bool {
    switch self {
    case .initialMeta, .initialData, .features, .authChallenge, .authResponse, .protocolOffer, .protocolUpdate,
      .barrier,
      .barrierAck, .ping, .pingAck, .connectionChangeRequest, .connectionChangeReply, .delayProbe:
      true
    default: false
    }
  }
}

extension PacketRow {
  /// Longest packet the kernel builds in one buffer: header and all of a bitmap packet.
  public static let longestBufferedPacket = 4096

  /// Most payload bytes of one block packet.
  public static func longestBlock(version: UInt32) -> Int {
    version >= 100 ? 1 << 20 : version >= 95 ? 128 << 10 : 32 << 10
  }

  /// Bytes that may stand between the fixed part and the payload.
  func restLengths(version: UInt32, features: FeatureFlags, integrityDigest: Int) -> ClosedRange<Int> {
    switch rest {
    case .nothing: 0...0
    case .block: integrityDigest...integrityDigest
    case .limits: features.contains(.writeSame) ? 24...24 : 0...0
    case .controller: version >= 95 ? 16...16 : 0...0
    case .verifyName: version == 88 ? 1...64 : 0...0
    case .integrityName: version >= 87 ? 1...64 : 0...0
    case .challenge: 64...128
    case .digest: 1...64
    case .bitmapWords: 0...(Self.longestBufferedPacket - HeaderKind.size(version: version))
    case .bitmapCode: 2...(Self.longestBufferedPacket - HeaderKind.size(version: version))
    }
  }
}
