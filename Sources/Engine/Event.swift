// Everything that can happen. Nothing outside this list (and the bytes handed to `Engine.metaRead`) can change an engine.
// Law: every effect that asks for work is answered by exactly one event, also on failure, cancel and shutdown.
import Base
import Protocol

/// Who waits for an answer on the application side. Chosen by the export, opaque here.
public struct Ticket: Hashable, Sendable {
  public var raw: UInt64
  public init(_ raw: UInt64) { self.raw = raw }
}

/// Who waits for the end of a command. Chosen by the control socket, opaque here.
public struct ReplyTo: Hashable, Sendable {
  public var raw: UInt64
  public init(_ raw: UInt64) { self.raw = raw }
}

/// A TCP connection to the peer. Chosen by the reactor, never reused while the engine knows it.
public struct SocketID: Hashable, Sendable {
  public var raw: UInt32
  public init(_ raw: UInt32) { self.raw = raw }
}

/// Work the engine asked for: the answer carries the same value.
public struct WorkID: Hashable, Sendable {
  public enum Kind: UInt8, Sendable {
    case appWrite, appRead, appFlush, peerWrite, peerRead, resyncRead, resyncWrite, epochFlush
    case checksum, verify
    case attach, superblock, activityLog, bitmapPage, bracket, move
    case exchange, announcement, auth, handler
  }
  public var kind: Kind
  public var slot: SlotID
  public init(kind: Kind, slot: SlotID) {
    self.kind = kind
    self.slot = slot
  }
}

/// Why a disk or metadata operation failed: the errno, and nothing more that the engine could decide on.
public struct DiskFault: Hashable, Sendable, Error {
  public var errno: Int32
  /// The request did not get as far as the disk: it does not fit the device. That is no fault of the disk.
  public var isRefusal: Bool
  public init(errno: Int32, isRefusal: Bool = false) {
    self.errno = errno
    self.isRefusal = isRefusal
  }
}

/// What looking at a range told.
public enum Finding: Equatable, Sendable {
  case digest([UInt8])
  case isZero(Bool)
  /// The digest asked for cannot be made on this system.
  case unknown
  case fault(DiskFault)
}

/// What opening a backing device told.
public struct DiskFacts: Hashable, Sendable {
  /// Bytes of the device that holds the data.
  public var dataBytes: UInt64
  /// Bytes of the device that holds the metadata (the same device for internal metadata).
  public var metaBytes: UInt64
  /// A power of two from 512 to 4096. Requests are whole sectors, and need not be whole blocks.
  public var logicalBlock: UInt32
  public var canDiscard: Bool
  public init(dataBytes: UInt64, metaBytes: UInt64, logicalBlock: UInt32, canDiscard: Bool) {
    self.dataBytes = dataBytes
    self.metaBytes = metaBytes
    self.logicalBlock = logicalBlock
    self.canDiscard = canDiscard
  }
}

public enum Event: Sendable {
  // The application. Ranges are non-empty, inside the exported size, and whole sectors; payload
  // requests are at most 1 MiB. The payload of a write belongs to the engine until `.giveBack`; the buffer of a read
  // stays with the caller, who must keep it until `.answer`.
  case read(Ticket, VolumeNumber, BlockRange, PayloadRef)
  case write(Ticket, VolumeNumber, BlockRange, PayloadRef, fua: Bool)
  case discard(Ticket, VolumeNumber, BlockRange)
  case zero(Ticket, VolumeNumber, BlockRange, mayUnmap: Bool)
  case flush(Ticket, VolumeNumber)
  /// Where in this range are data? Answered by `.locate`, or by `.answer`: without a fault it means data everywhere.
  case locate(Ticket, VolumeNumber, BlockRange)

  // Disks.
  case diskOpened(VolumeNumber, DiskFacts)
  /// The sentence says what is wrong with the device and names it; `number` is DRBD's (111, 114, ...).
  case diskRefused(VolumeNumber, number: Int, why: String)
  case diskClosed(VolumeNumber)
  /// Answers `.measureDisk`.
  case diskMeasured(VolumeNumber, DiskFacts)
  /// Answers `.disk`.
  case diskDone(WorkID, DiskFault?)
  /// Answers `.examine`.
  case examined(WorkID, Finding)
  /// Answers `.metaWrite`, and a failed `.metaRead` (a successful one is answered by `Engine.metaRead`).
  case metaDone(WorkID, DiskFault?)

  // The peer. `.connect` is answered by `.connected` or `.connectFailed`.
  case listenFailed(why: String)
  case connected(SocketID)
  case connectFailed(why: String)
  case accepted(SocketID)
  /// A packet; payload that follows it has been received whole and belongs to the engine until `.giveBack`.
  /// For a request that is to be answered with payload (P_DATA_REQUEST, P_RS_DATA_REQUEST, P_RS_THIN_REQ,
  /// P_CSUM_RS_REQUEST) the reactor adds an empty buffer of the requested size, so that the engine can read into it.
  case packet(SocketID, VolumeNumber, Packet, PayloadRef?)
  case violation(SocketID, ProtocolViolation)
  /// End of stream, error, or the answer to `.close`. All `.sent` events of the socket come before it. Nothing follows.
  case socketClosed(SocketID)
  /// Answers a `.send` that asked for it: the bytes have been handed to the kernel (or the socket is gone).
  case sent(WorkID)

  // Others.
  /// Answers `.sign`; empty when the algorithm is unknown.
  case signed(WorkID, [UInt8])
  /// Answers `.drawChallenge`.
  case challengeDrawn([UInt8])
  /// Answers `.handler`: exit status of the command, 127 when it could not be started.
  case handlerDone(WorkID, exit: Int32)
  case command(Command, ReplyTo)
  /// Somebody has a volume open, or nobody has any more.
  case usageChanged(isOpen: Bool)
  /// `Engine.nextDeadline` has passed.
  case tick
}
