// One volume of the resource with everything that belongs to it: its state, its disk's metadata in core, the ranges in
// use, and the resync. Payload never lies here.
import Base
import MetaDisk
import Protocol

/// What the rules of wire spec 4 speak about. `role` is the resource's; it is here so that a change is judged whole.
struct VolumeState: Equatable {
  var role = Role.secondary
  var peerRole = Role.unknown
  var conn = ConnectionState.standAlone
  var disk = DiskState.diskless
  var peerDisk = DiskState.unknown
  var userPaused = false
  var peerPaused = false
  var dependencyPaused = false
}

/// The metadata of an attached disk, in core.
struct Backing: ~Copyable {
  var facts: DiskFacts
  var placement: Placement
  var superblock: Superblock
  var bitmap: Bitmap
  var log: ActivityLog
  /// Sectors usable for data.
  var usable: SectorCount
  /// Was Primary in a crash and has not been in sync since (metadata spec 6.2 step 3).
  var crashedPrimary = false
  /// Was Primary without its peer when it stopped: how long a wait for the connection may last depends on it.
  var wasDegraded = false
  /// Every block that is not good here is marked in the bitmap, although the disk is Inconsistent.
  var bitsAreComplete = false
}

struct VolumeCounters: Equatable {
  var read: UInt64 = 0
  var written: UInt64 = 0
  var sent: UInt64 = 0
  var received: UInt64 = 0
  var activityLogWrites: UInt64 = 0
  var bitmapWrites: UInt64 = 0
}

struct Volume: ~Copyable {
  let number: VolumeNumber
  var settings: VolumeSettings
  private(set) var state = VolumeState()
  /// It came to a running resource, and its disk has not been good since: also a Primary may be told that it is.
  private(set) var isNew = false
  /// The volume is about to be removed and has no client, so its data do not part from the peer's when the connection ends.
  var isLeaving = false
  /// The disk's metadata are in core, in `backing`.
  private(set) var isAttached = false
  private let storage = UnsafeMutablePointer<Backing>.allocate(capacity: 1)
  var generations = Generations()
  /// Exported size: what both nodes agreed on, or the last agreed size.
  var size = SectorCount.zero
  /// What the export says of itself (Link/BlockSizes), and the largest block that a warning has named.
  var traits = ExportTraits()
  var notedBlock: UInt32 = 0

  /// What the running resync has cleared here.
  var trail = ResyncTrail()
  /// Errors of the disk that were said lately.
  var faults = FaultReports()

  var peer = PeerDevice()
  var exposed = ExposedData()
  /// Writes were answered that the peer alone had, perhaps only in its cache, and the connection to it is lost: the next
  /// flush fails, so that the application hears that they may be gone.
  var owesFlushFailure = false

  // Requests.
  var ranges: RangeTable
  var parked = Queue<Parked>(capacity: 64)
  var gate = Gate()
  var held = Queue<SlotID>(capacity: 16)
  var habit = FlushHabit()
  /// Operations on the data of the disk, not on its metadata (`State/DiskWork`).
  var diskWork = Outstanding()
  /// Writes of the peer and resync blocks that are for the present disk, waiting or being written.
  var writesForDisk = Outstanding()
  /// Of the application, not answered.
  var requests = Outstanding()

  // Metadata writes under way.
  var superblock = SuperblockWrites()
  var pages = PageWrites()
  var transaction = TransactionStep.idle

  var attach = AttachStep()
  var detach = DetachStep.none
  var resync = Resync()
  var verify = Verify()
  var resize = Resize()
  var move = MetadataMoveStep()
  /// Where the next verify begins: the last one was broken off here.
  var verifyFrom: UInt64 = 0
  var exchange = Exchange()
  var counters = VolumeCounters()
  /// Decides nothing: for `status` and `metrics`.
  var latencies = Latencies()

  /// `arriving`: its state, where it comes to a running resource.
  init(_ settings: VolumeSettings, maxRequests: Int, arriving: VolumeState? = nil) {
    if let arriving {
      state = arriving
      isNew = true
    }
    ranges = RangeTable(capacity: maxRequests + Engine.maxPeerRequests + Engine.maxVerifyRequests + 512)
    number = settings.number
    self.settings = settings
  }

  var end: Sector { Sector(size.value) }
  /// Local I/O is possible: the disk is attached and has not failed.
  var hasDisk: Bool {
    isAttached && (state.disk >= .inconsistent || state.disk == .negotiating)
  }
  /// What the metadata say follows the state: while a disk is being attached they are read, and put right, first.
  var recordsState: Bool {
    guard isAttached, detach.phase != .closing else { return false }
    switch attach.phase {
    case .idle, .final, .leaving: return true
    case .opening, .superblock, .log, .bitmap, .pages, .emptyLog, .failing: return false
    }
  }
  var outOfSync: UInt64 { isAttached ? backing.bitmap.setCount : 0 }

  var backing: Backing {
    _read {
      precondition(isAttached, "no disk is attached")
      yield storage.pointee
    }
    _modify {
      precondition(isAttached, "no disk is attached")
      yield &storage.pointee
    }
  }

  /// For `Engine.change`, which sees to the consequences.
  mutating func become(_ next: VolumeState) {
    state.precedes(next)
    state = next
    if next.disk == .upToDate { isNew = false }
  }

  mutating func adopt(_ backing: consuming Backing) {
    precondition(!isAttached, "a disk is attached already")
    storage.initialize(to: backing)
    isAttached = true
  }

  mutating func dropBacking() {
    if !isAttached { return }
    storage.deinitialize(count: 1)
    isAttached = false
  }

  deinit {
    if isAttached { storage.deinitialize(count: 1) }
    storage.deallocate()
  }
}
