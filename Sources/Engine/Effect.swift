// Everything the engine can ask for: plain values that a test compares, a trace prints and a queue moves.
// The order of effects is the order in which they must be started; `.send`s on one socket go out in that order.
import Base
import Protocol

public enum DiskOperation: Equatable, Sendable {
  case read(BlockRange, PayloadRef)
  /// `fua`: durable when it completes.
  case write(BlockRange, PayloadRef, fua: Bool)
  /// May be ignored by the device: what is read afterwards is undefined. A device without discard answers success.
  case discard(BlockRange)
  /// Reads as zeroes afterwards.
  case zero(BlockRange, mayUnmap: Bool)
  case flush
}

/// What to find out about the bytes of a range.
public enum Examination: Equatable, Sendable {
  case digest(DigestName)
  /// Whether all of them are zero.
  case zeroes
}

/// A 4 KiB block of metadata to be written. The bytes come from `Engine.render(_:of:into:)`, called while the effect is
/// carried out, before the next event is handled.
public enum MetaBlock: Hashable, Sendable {
  case superblock
  /// While the rest of the metadata is on its way to the same place.
  case sealedSuperblock
  /// Zeroes.
  case erased
  /// The activity-log transaction in flight.
  case transaction
  /// An empty activity-log block, at this position of the ring.
  case emptyTransaction(UInt32)
  case bitmapPage(UInt32)
}

/// What is made durable before a metadata block is written. A block behind any barrier is durable when its write completes.
public enum WriteBarrier: Equatable, Sendable {
  case nothing
  /// Metadata completed before.
  case metadata
  /// Data and metadata completed before, also where they lie on two devices: the block makes a claim about data.
  case everything
}

/// Hooks of the `handlers` section.
public enum Handler: String, Sendable {
  case splitBrain = "split-brain"
  case initialSplitBrain = "initial-split-brain"
  case beforeResyncTarget = "before-resync-target"
  case afterResyncTarget = "after-resync-target"
  case beforeResyncSource = "before-resync-source"
  case localIOError = "local-io-error"
  case primaryLost = "pri-lost"
  case primaryLostAfterSplitBrain = "pri-lost-after-sb"
  case primaryOnInconsistentDegraded = "pri-on-incon-degr"
  case outOfSync = "out-of-sync"
  case fencePeer = "fence-peer"
  case unfencePeer = "unfence-peer"
  case disconnected
}

public enum LogLevel: Sendable { case info, warning, error }

public enum Effect: Equatable, Sendable {
  // Disks. Ranges are whole sectors: where the disk has larger blocks, whole ones are read, changed and written, two parts of
  // one block never at once. Every one but `.closeDisk` and `.metadataPlaced` is answered once; `.closeDisk` is answered by
  // `.diskClosed`.
  case openDisk(VolumeNumber)
  case closeDisk(VolumeNumber)
  /// How large are its devices now? Answered by `.diskMeasured` before anything else happens to the disk.
  case measureDisk(VolumeNumber)
  case disk(WorkID, VolumeNumber, DiskOperation)
  /// Reads a range and looks at what was read; it lies in `into` afterwards where that is given. Answered by `.examined`.
  case examine(WorkID, VolumeNumber, BlockRange, Examination, into: PayloadRef?)
  /// The metadata at the end of a device of so many bytes count: where to look for them once it has grown.
  case metadataPlaced(VolumeNumber, deviceBytes: UInt64)
  /// `offset` and `bytes` on the metadata device, multiples of 4096; at most 1 MiB.
  case metaRead(WorkID, VolumeNumber, offset: UInt64, bytes: UInt32)
  case metaWrite(WorkID, VolumeNumber, MetaBlock, offset: UInt64, barrier: WriteBarrier)

  // The peer.
  case listen
  case stopListening
  case connect
  /// Drops what is still queued unless `afterSending`: then it goes out, and the peer gets a moment to read it and to
  /// hang up. Answered by `.socketClosed` (unless that was already seen).
  case close(SocketID, afterSending: Bool)
  /// How the stream of this socket is to be read and written from here on. Reading pauses after P_INITIAL_DATA,
  /// P_INITIAL_META and P_CONNECTION_FEATURES until the next `configure`, and does not begin before the first one.
  case configure(SocketID, PacketStream)
  /// `payload` follows the packet. `notify`: answered by `.sent`, also when the socket is gone.
  case send(SocketID, VolumeNumber, Packet, PayloadRef?, notify: WorkID?)
  /// HMAC of the message with the resource's shared secret; answered by `.signed`.
  case sign(WorkID, algorithm: String, message: [UInt8])
  /// 64 random bytes of the kernel; answered by `.challengeDrawn` before the next packet of the peer.
  case drawChallenge

  // The application.
  case answer(Ticket, DiskFault?)
  /// Copies the bytes of one payload to another of the same size (an answer of the peer into the reader's buffer).
  case copy(from: PayloadRef, to: PayloadRef)
  case giveBack(PayloadRef)
  /// Answers a `.locate`: the range is good on the own disk, and that knows where it has holes.
  case locate(Ticket, VolumeNumber, BlockRange)
  /// What the export of this volume says of itself from now on.
  case announced(VolumeNumber, ExportTraits)
  /// The exported size of this volume is now so many sectors (0: not usable).
  case resized(VolumeNumber, SectorCount)

  // Others.
  case handler(WorkID, Handler, VolumeNumber)
  case reply(ReplyTo, Outcome)
  case log(LogLevel, String)
  /// The state shown by `status` has changed: those who wait for a state look again.
  case stateChanged
}

/// Where effects are collected: a queue that is emptied after every event.
public typealias Effects = Queue<Effect>
