// One node: the engine, and what a reactor would keep for it. A crash is the loss of the engine; disks stay.
import Base
import Engine
import Protocol

/// A disk or metadata operation under way.
struct DiskWork {
  enum What {
    case data(DiskOperation)
    case examine(BlockRange, Examination, PayloadRef?)
    case metaRead(offset: UInt64, bytes: UInt32)
    case metaWrite(block: Int, buffer: Int, WriteBarrier)
  }
  var id: WorkID
  var disk: Int
  var what: What
  /// What was complete when it was started.
  var mark: FakeDisk.Mark
  /// A read that saw the disk when it started.
  var isEarly: Bool
  var isActive = true
}

/// An endpoint of a connection, by the number the engine knows.
struct SocketEntry {
  var socket: SocketID
  var connection: Int
  var side: Int
}

/// Where a running engine lives.
private final class Home {
  var engine: Engine
  init(_ engine: consuming Engine) { self.engine = engine }
}

final class Node {
  let index: Int
  var settings: ResourceSettings
  var disks: [FakeDisk]
  private var home: Home?
  var effects = Effects(capacity: 256)
  /// Counts starts; what an earlier life has scheduled is void.
  var life: UInt8 = 0
  /// The machine has power.
  var hasPower = true
  var isRunning: Bool { deadline != nil }
  /// When the engine wants a tick; nil while there is no engine.
  private(set) var deadline: UInt64?
  var isListening = false
  var isConnecting = false
  var sockets: [SocketEntry] = []
  var nextSocket: UInt32 = 1
  /// Payloads of sends that are to be reported, in the order of the reports; nil: a packet without payload.
  var sending = Queue<PayloadRef?>(capacity: 64)
  /// When the last `.sent` is reported.
  var lastSent: UInt64 = 0
  var openDisks: Set<Int> = []
  /// The size of each export as it was announced last; 0: none yet.
  var announced: [SectorCount]
  /// What the exports say of themselves.
  private(set) var traits: [ExportTraits]

  var works: [DiskWork] = []
  var freeWorks: [Int] = []
  var worksUnderWay = 0
  var metaBuffers: [UnsafeMutableRawBufferPointer] = []
  var freeMetaBuffers: [Int] = []
  var handlersUnderWay = 0
  /// When the last of them ended.
  var handlerEnded: UInt64 = 0

  /// The next payload that arrives is a damaged one.
  var awaitsDamage = false
  /// Dies at the moment that this names.
  var strike: Strike?
  /// Everything takes so many times longer.
  var diskSlowness: UInt64 = 1
  /// What its disks are asked for is not answered before.
  var disksStuckUntil: UInt64 = 0
  /// The process gets no time before.
  var stalledUntil: UInt64 = 0
  /// Operations that are going to fail, by volume.
  var troubles: [Trouble?] = []
  /// When it is to be handed a tick.
  var wakesAt: UInt64 {
    guard let deadline else { return .max }
    return max(deadline, stalledUntil)
  }

  private var seen: ResourceSnapshot?
  /// Ticks without anything else happening in between, at one instant.
  var ticksInARow = 0

  init(index: Int, settings: ResourceSettings, disks: [FakeDisk]) {
    self.index = index
    self.settings = settings
    self.disks = disks
    announced = settings.volumes.map { _ in .zero }
    traits = disks.map { _ in ExportTraits() }
    troubles = disks.map { _ in nil }
  }

  deinit { for buffer in metaBuffers { buffer.deallocate() } }

  var engine: Engine {
    _read { yield home!.engine }
    _modify { yield &home!.engine }
  }

  func start(_ random: SeededGenerator, at now: Instant) {
    precondition(home == nil, "started twice")
    life &+= 1
    home = Home(Engine(settings: settings, random: random, at: now))
    deadline = .max
    seen = nil
  }

  /// The engine is gone, with everything that was under way.
  func stop() {
    home = nil
    deadline = nil
    life &+= 1
    seen = nil
    isListening = false
    isConnecting = false
    openDisks = []
    announced = settings.volumes.map { _ in .zero }
    for i in traits.indices { traits[i] = ExportTraits() }
    sockets.removeAll()
    sending.removeAll()
    while effects.popFirst() != nil {}
    works.removeAll(keepingCapacity: true)
    freeWorks.removeAll(keepingCapacity: true)
    worksUnderWay = 0
    freeMetaBuffers = Array(metaBuffers.indices)
    handlersUnderWay = 0
    stalledUntil = 0
  }

  func announce(_ new: ExportTraits, of volume: Int) { traits[volume] = new }

  func noteDeadline() { deadline = engine.nextDeadline?.nanoseconds ?? .max }

  /// What `status` would show.
  var view: ResourceSnapshot {
    if let seen { return seen }
    let fresh = engine.snapshot()
    seen = fresh
    return fresh
  }
  func forgetView() { seen = nil }

  var role: Role { isRunning ? view.role : .unknown }
  var isPrimary: Bool { role == .primary }
  func disk(_ v: Int) -> DiskState { isRunning ? view.volumes[v].disk : .unknown }

  func add(_ work: DiskWork) -> Int {
    worksUnderWay += 1
    if let free = freeWorks.popLast() {
      works[free] = work
      return free
    }
    works.append(work)
    return works.count - 1
  }

  func finish(_ i: Int) -> DiskWork {
    precondition(works[i].isActive, "disk work finished twice")
    worksUnderWay -= 1
    works[i].isActive = false
    freeWorks.append(i)
    return works[i]
  }

  func takeMetaBuffer() -> Int {
    if let free = freeMetaBuffers.popLast() { return free }
    metaBuffers.append(.allocate(byteCount: 4096, alignment: 4096))
    return metaBuffers.count - 1
  }

  func volumeIndex(_ number: VolumeNumber) -> Int {
    for i in settings.volumes.indices where settings.volumes[i].number == number { return i }
    preconditionFailure("a volume that is not configured")
  }
}
