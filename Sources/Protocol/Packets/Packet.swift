// Every packet a peer of version 86...101 can send, as one value. What a packet carries beside its fixed part and is
// short (names, digests, bitmap chunks) lies in the case; payload (the bytes of blocks) never does: it follows the
// packet on the stream and goes straight into the pool. wire spec 2.3 is the catalogue.
import Base

public enum Packet: Equatable, Sendable {
  // Set-up
  case initialData  // P_INITIAL_DATA
  case initialMeta  // P_INITIAL_META
  case features(Features)  // P_CONNECTION_FEATURES
  case authChallenge([UInt8])  // P_AUTH_CHALLENGE
  case authResponse([UInt8])  // P_AUTH_RESPONSE
  case protocolOffer(ProtocolOffer)  // P_PROTOCOL
  case protocolUpdate(ProtocolOffer)  // P_PROTOCOL_UPDATE
  case syncParameters(SyncParameters)  // P_SYNC_PARAM89, P_SYNC_PARAM
  case sizes(Sizes)  // P_SIZES
  case uuids(GenerationIdentifiers)  // P_UUIDS
  case state(PackedState)  // P_STATE
  case syncUUID(UInt64)  // P_SYNC_UUID

  // Cluster-wide state changes
  case stateChangeRequest(StateChange)  // P_STATE_CHG_REQ
  case stateChangeReply(Int32)  // P_STATE_CHG_REPLY
  case connectionChangeRequest(StateChange)  // P_CONN_ST_CHG_REQ
  case connectionChangeReply(Int32)  // P_CONN_ST_CHG_REPLY

  // Writes. data, dataReply, resyncReply and writeSame are followed by payload.
  case data(DataHeader)  // P_DATA
  case trim(RangeHeader)  // P_TRIM
  case zeroes(RangeHeader)  // P_ZEROES
  case writeSame(RangeHeader)  // P_WSAME
  case barrier(UInt32)  // P_BARRIER, opaque handle
  case barrierAck(BarrierAck)  // P_BARRIER_ACK
  case unplugRemote  // P_UNPLUG_REMOTE
  case outOfSync(BlockDescriptor)  // P_OUT_OF_SYNC

  // Reads and resync
  case dataRequest(BlockRequest)  // P_DATA_REQUEST
  case dataReply(DataHeader)  // P_DATA_REPLY
  case resyncRequest(BlockRequest)  // P_RS_DATA_REQUEST
  case resyncReply(DataHeader)  // P_RS_DATA_REPLY
  case thinRequest(BlockRequest)  // P_RS_THIN_REQ
  case deallocated(BlockDescriptor)  // P_RS_DEALLOCATED
  case checksumRequest(BlockRequest, digest: [UInt8])  // P_CSUM_RS_REQUEST
  case verifyRequest(BlockRequest)  // P_OV_REQUEST
  case verifyReply(BlockRequest, digest: [UInt8])  // P_OV_REPLY
  case bitmap([UInt8])  // P_BITMAP, one chunk; empty ends a plain transfer
  case compressedBitmap([UInt8])  // P_COMPRESSED_BITMAP, encoding byte and code

  // Block acks, all on the meta socket
  case receiveAck(BlockAck)  // P_RECV_ACK
  case writeAck(BlockAck)  // P_WRITE_ACK
  case resyncWriteAck(BlockAck)  // P_RS_WRITE_ACK
  case superseded(BlockAck)  // P_SUPERSEDED
  case negativeAck(BlockAck)  // P_NEG_ACK
  case negativeDataReply(BlockAck)  // P_NEG_DREPLY
  case negativeResyncReply(BlockAck)  // P_NEG_RS_DREPLY
  case verifyResult(BlockAck)  // P_OV_RESULT
  case inSync(BlockAck)  // P_RS_IS_IN_SYNC
  case resyncCancel(BlockAck)  // P_RS_CANCEL
  case retryWrite(BlockAck)  // P_RETRY_WRITE

  // Keepalive
  case ping  // P_PING
  case pingAck  // P_PING_ACK
  /// Understood and skipped: P_DELAY_PROBE, and 0x58 and 0x59 of DRBD 9.3.
  case skipped(UInt16)
}

/// The head of every packet that carries the bytes of one write, read or resync block (24 bytes).
public struct DataHeader: Layout, Equatable, Sendable {
  public var sector: UInt64 = 0
  /// Handle of the sender, opaque. All ones: a resync block.
  public var blockID: UInt64 = 0
  public var sequence: UInt32 = 0
  public var flags = DataFlags()
  /// Digest between header and payload, when an integrity algorithm is in force. Not part of the fixed layout.
  public var digest: [UInt8] = []
  public init() {}
  public mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u64(&sector)
    walk.opaque64(&blockID)
    walk.u32(&sequence)
    walk.u32(&flags.rawValue)
  }
}

/// dp_flags (wire spec 7.2).
public struct DataFlags: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let hardBarrier = DataFlags(rawValue: 1)
  public static let rwSync = DataFlags(rawValue: 2)
  public static let maySetInSync = DataFlags(rawValue: 4)
  public static let unplug = DataFlags(rawValue: 8)
  public static let fua = DataFlags(rawValue: 16)
  public static let flush = DataFlags(rawValue: 32)
  public static let discard = DataFlags(rawValue: 64)
  public static let sendReceiveAck = DataFlags(rawValue: 128)
  public static let sendWriteAck = DataFlags(rawValue: 256)
  public static let writeSame = DataFlags(rawValue: 512)
  public static let zeroes = DataFlags(rawValue: 1024)
}

/// P_TRIM, P_ZEROES, P_WSAME: a data header and the size in bytes of the range (28 bytes).
public struct RangeHeader: Layout, Equatable, Sendable {
  public var data = DataHeader()
  public var size: UInt32 = 0
  public init() {}
  public init(_ data: DataHeader, size: UInt32) {
    self.data = data
    self.size = size
  }
  public mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    data.fields(&walk)
    walk.u32(&size)
  }
}

/// Every block ack (24 bytes). `size` in bytes; `sequence` is the sender's counter (wire spec 7.7).
public struct BlockAck: Layout, Equatable, Sendable {
  public var sector: UInt64 = 0
  public var blockID: UInt64 = 0
  public var size: UInt32 = 0
  public var sequence: UInt32 = 0
  public init() {}
  public init(sector: UInt64, blockID: UInt64, size: UInt32, sequence: UInt32) {
    self.sector = sector
    self.blockID = blockID
    self.size = size
    self.sequence = sequence
  }
  public mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u64(&sector)
    walk.opaque64(&blockID)
    walk.u32(&size)
    walk.u32(&sequence)
  }
}

/// Asks for a block (24 bytes). The pad carries old memory of the kernel (K8): ignored on input, zero on output.
public struct BlockRequest: Layout, Equatable, Sendable {
  public var sector: UInt64 = 0
  public var blockID: UInt64 = 0
  public var size: UInt32 = 0
  public init() {}
  public init(sector: UInt64, blockID: UInt64, size: UInt32) {
    self.sector = sector
    self.blockID = blockID
    self.size = size
  }
  public mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u64(&sector)
    walk.opaque64(&blockID)
    walk.u32(&size)
    walk.pad(4)
  }
}

/// block_id of resync blocks: all ones.
public let syncerBlockID: UInt64 = .max

public struct BlockDescriptor: Layout, Equatable, Sendable {
  public var sector: UInt64 = 0
  public var size: UInt32 = 0
  public init() {}
  public init(sector: UInt64, size: UInt32) {
    self.sector = sector
    self.size = size
  }
  public mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u64(&sector)
    walk.u32(&size)
    walk.pad(4)
  }
}

public struct BarrierAck: Layout, Equatable, Sendable {
  /// The barrier's bytes, echoed.
  public var handle: UInt32 = 0
  /// Write packets counted in the epoch.
  public var setSize: UInt32 = 0
  public init() {}
  public init(handle: UInt32, setSize: UInt32) {
    self.handle = handle
    self.setSize = setSize
  }
  public mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.opaque32(&handle)
    walk.u32(&setSize)
  }
}

/// Fields to change and their new values, in the bit layout of `PackedState`, from the requester's point of view.
public struct StateChange: Layout, Equatable, Sendable {
  public var mask = PackedState()
  public var value = PackedState()
  public init() {}
  public init(mask: PackedState, value: PackedState) {
    self.mask = mask
    self.value = value
  }
  public mutating func fields<W: LayoutWalk & ~Copyable & ~Escapable>(_ walk: inout W) {
    walk.u32(&mask.word)
    walk.u32(&value.word)
  }
}
