// The backing devices of the resource and everything that is asked of them. Laws: an engine's work is answered exactly
// once; a metadata block behind a barrier is written only after the flushes in front of it have succeeded, of the data first; a
// device is closed when nothing is under way on it.
import Base
import BlockIO
import Engine
import MetaDisk

struct DiskTable: ~Copyable {
  /// Where a volume lies, as the configuration says.
  struct Place: Equatable, Sendable {
    var number: VolumeNumber
    var dataPath: String?
    /// Nil: on the data device.
    var metaPath: String?
    var metaIndex: Int?
  }

  /// The end of a piece of work, for the engine.
  enum Done {
    case disk(WorkID, EngineFault?)
    case examined(WorkID, Finding)
    case meta(WorkID, EngineFault?)
    /// The bytes lie in the pool, to be given back once they were read.
    case metaRead(WorkID, PayloadRef)
    case closed(VolumeNumber)
  }

  struct Volume {
    var place: Place
    var data = -1
    var meta = -1
    var underWay = 0
    var isClosing = false
    /// Its volume has been removed: the entry waits for the next one, because work names its volume by the place.
    var isFree = false
  }

  enum Step {
    case data
    /// A range that is looked at after it was read; `isOwn`: the memory is this table's.
    case examine(PayloadRef, Examination, isOwn: Bool)
    case metaRead(PayloadRef)
    /// The flushes in front of a metadata block: of the data where they lie on another device, then of the metadata.
    case flushData(UnsafeMutableRawPointer, at: UInt64)
    case flush(UnsafeMutableRawPointer, at: UInt64)
    case metaWrite(UnsafeMutableRawPointer)
  }

  struct Work {
    var id: WorkID
    var volume: Int
    var step: Step
  }

  /// Work that found the table of operations full; it goes first when there is room.
  enum Waiting {
    case disk(WorkID, Int, DiskOperation)
    case examine(WorkID, Int, BlockRange, Examination, PayloadRef)
    case metaRead(WorkID, Int, offset: UInt64, bytes: UInt32)
    case metaWrite(WorkID, Int, UnsafeMutableRawPointer, offset: UInt64, barrier: WriteBarrier)
  }

  static let operationsAtOnce = 4096

  private var volumes: [Volume]
  private var devices: Places<BackingDevice>
  private var operations = DiskOperations(capacity: DiskTable.operationsAtOnce, kind: Kind.disk)
  private var works = Slots<Work>(capacity: DiskTable.operationsAtOnce)
  private var waiting = Queue<Waiting>(capacity: 64)
  /// Blocks for metadata to be written; as many as were ever needed at once.
  private var blocks = Queue<UnsafeMutableRawPointer>(capacity: 64)
  private var finished = Queue<Done>(capacity: 16)
  /// Examinations without a buffer of the engine's: they wait here for memory, and hold up nothing else.
  private var unread = Queue<(id: WorkID, volume: Int, range: BlockRange, what: Examination)>(capacity: 16)
  private var examiner = Examiner()

  init(_ places: [Place]) {
    volumes = places.map { Volume(place: $0) }
    devices = Places(capacity: VolumeNumber.perResource * 2)
  }

  deinit { for i in 0..<blocks.count { blocks[i].deallocate() } }

  private func index(_ number: VolumeNumber) -> Int {
    guard let v = known(number) else { preconditionFailure("volume \(number.value) is not configured") }
    return v
  }

  private func known(_ number: VolumeNumber) -> Int? {
    for i in 0..<volumes.count where volumes[i].place.number == number && !volumes[i].isFree { return i }
    return nil
  }

  // MARK: Volumes that come and go

  mutating func add(_ place: Place) {
    precondition(known(place.number) == nil, "a volume is added twice")
    if let v = volumes.firstIndex(where: \.isFree) {
      volumes[v] = Volume(place: place)
    } else {
      volumes.append(Volume(place: place))
    }
  }

  mutating func remove(_ number: VolumeNumber) {
    let v = index(number)
    precondition(volumes[v].data < 0 && volumes[v].underWay == 0, "a volume with a disk is removed")
    volumes[v].isFree = true
  }

  func isOpen(_ number: VolumeNumber) -> Bool { volumes[index(number)].data >= 0 }
  /// What the disk knows of holes in this range; nil: nothing.
  func allocation(_ number: VolumeNumber, _ range: BlockRange) -> AllocationMap? {
    let v = volumes[index(number)]
    return v.data < 0 ? nil : devices[v.data].allocation(from: range.start.bytes, bytes: range.bytes)
  }
  func zeroesFast(_ number: VolumeNumber) -> Bool {
    guard let v = known(number) else { return false }
    return volumes[v].data >= 0 && devices[volumes[v].data].canZero
  }
  func place(_ number: VolumeNumber) -> Place { volumes[index(number)].place }

  /// Where the volume lies from the next opening on.
  mutating func move(_ number: VolumeNumber, to place: Place) { volumes[index(number)].place = place }

  // MARK: Opening and closing

  /// Opens what the configuration names, blocking for as long as the kernel takes.
  mutating func open(_ number: VolumeNumber, _ ring: inout Ring) -> Event {
    let v = index(number)
    precondition(volumes[v].data < 0, "a volume opened twice")
    let place = volumes[v].place
    guard let path = place.dataPath else { preconditionFailure("a client has no disk to open") }
    do throws(DeviceRefusal) {
      volumes[v].data = put(try BackingDevice(path: path, ring: &ring))
    } catch {
      return .diskRefused(number, number: DiskTable.number(error, isMeta: false), why: error.text)
    }
    if let meta = place.metaPath {
      do throws(DeviceRefusal) {
        let access: DeviceAccess =
          place.metaIndex.map {
            .region(offset: UInt64($0) * DiskTable.indexedBytes, bytes: DiskTable.indexedBytes)
          } ?? .exclusive
        volumes[v].meta = put(try BackingDevice(path: meta, access: access, ring: &ring))
      } catch {
        devices.remove(volumes[v].data).close(&ring)
        volumes[v].data = -1
        return .diskRefused(number, number: DiskTable.number(error, isMeta: true), why: error.text)
      }
    }
    return .diskOpened(number, facts(v))
  }

  private func facts(_ v: Int) -> DiskFacts {
    let meta = volumes[v].meta < 0 ? volumes[v].data : volumes[v].meta
    return DiskFacts(
      dataBytes: devices[volumes[v].data].bytes, metaBytes: devices[meta].bytes,
      logicalBlock: devices[volumes[v].data].logicalBlock, canDiscard: devices[volumes[v].data].canDiscard)
  }

  /// The sizes of now; of a volume without disk: nothing.
  mutating func measure(_ number: VolumeNumber) -> DiskFacts {
    let v = index(number)
    guard volumes[v].data >= 0 else {
      return DiskFacts(dataBytes: 0, metaBytes: 0, logicalBlock: 512, canDiscard: false)
    }
    devices[volumes[v].data].measure()
    if volumes[v].meta >= 0 { devices[volumes[v].meta].measure() }
    return facts(v)
  }

  private mutating func put(_ device: consuming BackingDevice) -> Int {
    let place = devices.free
    devices.put(device, at: place)
    return place
  }

  private static let indexedBytes: UInt64 = 128 << 20

  /// DRBD's numbers (admin spec 6.1).
  private static func number(_ refusal: DeviceRefusal, isMeta: Bool) -> Int {
    switch refusal {
    case .inUse: isMeta ? 115 : 114
    case .empty: isMeta ? 112 : 111
    default: isMeta ? 105 : 104
    }
  }

  mutating func close(_ number: VolumeNumber, _ ring: inout Ring) {
    volumes[index(number)].isClosing = true
    closeIfIdle(index(number), &ring)
  }

  private mutating func closeIfIdle(_ v: Int, _ ring: inout Ring) {
    guard volumes[v].isClosing, volumes[v].underWay == 0 else { return }
    volumes[v].isClosing = false
    if volumes[v].data >= 0 { devices.remove(volumes[v].data).close(&ring) }
    if volumes[v].meta >= 0 { devices.remove(volumes[v].meta).close(&ring) }
    volumes[v].data = -1
    volumes[v].meta = -1
    finished.append(.closed(volumes[v].place.number))
  }

  // MARK: Work

  mutating func perform(
    _ id: WorkID, _ number: VolumeNumber, _ operation: DiskOperation, _ pool: borrowing Pool, _ ring: inout Ring
  ) {
    let v = index(number)
    volumes[v].underWay += 1
    guard waiting.isEmpty, operations.room > 0 else {
      waiting.append(.disk(id, v, operation))
      return
    }
    start(id, v, operation, pool, &ring)
  }

  mutating func readMetadata(
    _ id: WorkID, _ number: VolumeNumber, offset: UInt64, bytes: UInt32, _ pool: inout Pool, _ ring: inout Ring
  ) {
    let v = index(number)
    volumes[v].underWay += 1
    waiting.append(.metaRead(id, v, offset: offset, bytes: bytes))
    startWaiting(&pool, &ring)
  }

  /// A 4 KiB block to render into, for `writeMetadata`.
  mutating func block() -> UnsafeMutableRawPointer {
    blocks.popFirst() ?? .allocate(byteCount: 4096, alignment: 4096)
  }

  mutating func writeMetadata(
    _ id: WorkID, _ number: VolumeNumber, _ block: UnsafeMutableRawPointer, offset: UInt64,
    barrier: WriteBarrier, _ ring: inout Ring
  ) {
    let v = index(number)
    volumes[v].underWay += 1
    guard waiting.isEmpty, operations.room > 0 else {
      waiting.append(.metaWrite(id, v, block, offset: offset, barrier: barrier))
      return
    }
    startWrite(id, v, block, offset: offset, barrier: barrier, &ring)
  }

  mutating func examine(
    _ id: WorkID, _ number: VolumeNumber, _ range: BlockRange, _ what: Examination, into payload: PayloadRef?,
    _ pool: inout Pool, _ ring: inout Ring
  ) {
    let v = index(number)
    precondition(volumes[v].data >= 0, "an examination on a volume without disk")
    guard fits(range, devices[volumes[v].data]) else {
      finished.append(.examined(id, .fault(DiskTable.refusal)))
      return
    }
    volumes[v].underWay += 1
    if let payload {
      if waiting.isEmpty, operations.room > 0 {
        startExamination(id, v, range, what, payload, isOwn: false, pool, &ring)
      } else {
        waiting.append(.examine(id, v, range, what, payload))
      }
    } else {
      unread.append((id, v, range, what))
      startUnread(&pool, &ring)
    }
  }

  private mutating func startUnread(_ pool: inout Pool, _ ring: inout Ring) {
    while waiting.isEmpty, operations.room > 0, let next = unread.first,
      let payload = pool.allocate(bytes: Int(next.range.bytes), budget: .engine)
    {
      _ = unread.popFirst()
      startExamination(next.id, next.volume, next.range, next.what, payload, isOwn: true, pool, &ring)
    }
  }

  private mutating func startExamination(
    _ id: WorkID, _ v: Int, _ range: BlockRange, _ what: Examination, _ payload: PayloadRef, isOwn: Bool,
    _ pool: borrowing Pool, _ ring: inout Ring
  ) {
    let device = volumes[v].data
    precondition(device >= 0, "an examination on a volume without disk")
    let slot = works.insert(Work(id: id, volume: v, step: .examine(payload, what, isOwn: isOwn)))
    operations.read(
      devices[device], at: range.start.bytes, into: pool.pointer(to: payload), bytes: Int(range.bytes), id: slot.raw,
      &ring)
  }

  /// Work that had to wait, as far as there is room now.
  mutating func startWaiting(_ pool: inout Pool, _ ring: inout Ring) {
    while operations.room > 0, let next = waiting.first {
      switch next {
      case .disk(let id, let v, let operation): start(id, v, operation, pool, &ring)
      case .examine(let id, let v, let range, let what, let payload):
        startExamination(id, v, range, what, payload, isOwn: false, pool, &ring)
      case .metaRead(let id, let v, let offset, let bytes):
        guard let payload = pool.allocate(bytes: Int(bytes), budget: .engine) else { return }
        let slot = works.insert(Work(id: id, volume: v, step: .metaRead(payload)))
        operations.read(
          devices[metaDevice(v)], at: offset, into: pool.pointer(to: payload), bytes: Int(bytes), id: slot.raw, &ring)
      case .metaWrite(let id, let v, let block, let offset, let barrier):
        startWrite(id, v, block, offset: offset, barrier: barrier, &ring)
      }
      _ = waiting.popFirst()
    }
    startUnread(&pool, &ring)
  }

  @inline(__always) private func metaDevice(_ v: Int) -> Int { volumes[v].meta < 0 ? volumes[v].data : volumes[v].meta }

  private mutating func start(
    _ id: WorkID, _ v: Int, _ operation: DiskOperation, _ pool: borrowing Pool, _ ring: inout Ring
  ) {
    let device = volumes[v].data
    precondition(device >= 0, "disk work on a volume without disk")
    guard fits(operation, devices[device]) else {
      volumes[v].underWay -= 1
      finished.append(.disk(id, DiskTable.refusal))
      return
    }
    let slot = works.insert(Work(id: id, volume: v, step: .data))
    switch operation {
    case .read(let range, let payload):
      operations.read(
        devices[device], at: range.start.bytes, into: pool.pointer(to: payload), bytes: Int(range.bytes), id: slot.raw,
        &ring)
    case .write(let range, let payload, let fua):
      operations.write(
        devices[device], at: range.start.bytes, from: pool.pointer(to: payload), bytes: Int(range.bytes), durable: fua,
        id: slot.raw, &ring)
    case .discard(let range):
      operations.discard(devices[device], at: range.start.bytes, bytes: range.bytes, id: slot.raw, &ring)
    case .zero(let range, let mayUnmap):
      operations.zero(
        devices[device], at: range.start.bytes, bytes: range.bytes, unmap: mayUnmap, id: slot.raw, &ring)
    case .flush: operations.flush(devices[device], id: slot.raw, &ring)
    }
  }

  /// What the device has no room for does not get there, and is no fault of the disk.
  private static let refusal = EngineFault(errno: 22, isRefusal: true)

  @inline(__always) private func fits(_ operation: DiskOperation, _ device: borrowing BackingDevice) -> Bool {
    switch operation {
    case .flush: true
    case .read(let range, _), .write(let range, _, _), .discard(let range), .zero(let range, _): fits(range, device)
    }
  }

  @inline(__always) private func fits(_ range: BlockRange, _ device: borrowing BackingDevice) -> Bool {
    range.bytes > 0 && range.end.bytes <= device.reach
  }

  private mutating func startWrite(
    _ id: WorkID, _ v: Int, _ block: UnsafeMutableRawPointer, offset: UInt64, barrier: WriteBarrier,
    _ ring: inout Ring
  ) {
    if barrier == .nothing {
      let slot = works.insert(Work(id: id, volume: v, step: .metaWrite(block)))
      operations.write(devices[metaDevice(v)], at: offset, from: block, bytes: 4096, id: slot.raw, &ring)
    } else if barrier == .everything, volumes[v].meta >= 0 {
      let slot = works.insert(Work(id: id, volume: v, step: .flushData(block, at: offset)))
      operations.flush(devices[volumes[v].data], id: slot.raw, &ring)
    } else {
      let slot = works.insert(Work(id: id, volume: v, step: .flush(block, at: offset)))
      operations.flush(devices[metaDevice(v)], id: slot.raw, &ring)
    }
  }

  // MARK: Ends

  /// Takes a completion of a disk operation; `next` tells what came of it.
  mutating func complete(_ completion: Completion, _ pool: inout Pool, _ ring: inout Ring) {
    guard let done = operations.complete(completion, &ring) else { return }
    let slot = SlotID(raw: done.id)
    let fault = done.fault.map { EngineFault(errno: $0.error.code) }
    let work = works[slot]
    switch work.step {
    case .flushData(let block, let offset) where fault == nil:
      works[slot].step = .flush(block, at: offset)
      operations.flush(devices[metaDevice(work.volume)], id: slot.raw, &ring)
      return
    case .flush(let block, let offset) where fault == nil:
      works[slot].step = .metaWrite(block)
      operations.write(
        devices[metaDevice(work.volume)], at: offset, from: block, bytes: 4096, durable: true, id: slot.raw, &ring)
      return
    default: break
    }
    works.remove(slot)
    volumes[work.volume].underWay -= 1
    switch work.step {
    case .data: finished.append(.disk(work.id, fault))
    case .examine(let payload, let what, let isOwn):
      let bytes = UnsafeRawBufferPointer(start: pool.pointer(to: payload), count: Int(payload.bytes))
      finished.append(.examined(work.id, fault.map { .fault($0) } ?? examiner.look(at: bytes, what)))
      if isOwn { pool.release(payload) }
    case .metaRead(let payload):
      if let fault {
        finished.append(.meta(work.id, fault))
        released = payload
      } else {
        finished.append(.metaRead(work.id, payload))
      }
    case .flushData(let block, _), .flush(let block, _), .metaWrite(let block):
      blocks.append(block)
      finished.append(.meta(work.id, fault))
    }
    closeIfIdle(work.volume, &ring)
  }

  /// Pool memory of a failed metadata read, to be given back by whoever owns the pool.
  private var released: PayloadRef?

  mutating func next(_ pool: inout Pool) -> Done? {
    if let payload = released {
      pool.release(payload)
      released = nil
    }
    return finished.popFirst()
  }
}
