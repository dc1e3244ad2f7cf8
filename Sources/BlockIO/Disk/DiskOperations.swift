// Disk requests from begin to end. Laws: each gets exactly one answer; a short transfer is continued from where it
// stopped and never reported as success; a discarded or zeroed range reads as zeroes, by writing them if the device
// cannot do better, so that both nodes hold equal bytes.

import Base
import CURing
import Glibc

/// The answer, with the caller's own name for the request.
public struct DiskDone: Equatable, Sendable {
  public let id: UInt64
  public let fault: DiskFault?
}

public struct DiskOperations: ~Copyable {
  /// What the kernel was asked for last.
  private enum Step { case transfer, sync, punch, zeroRange, zeroWrites }

  private struct Request {
    let id: UInt64
    let operation: DiskFault.Operation
    let file: RingFile
    let offset: UInt64
    let bytes: UInt64
    let durable: Bool
    let pointer: UnsafeMutableRawPointer?
    var step: Step
    /// The partial request it is an errand of (PartialBlocks).
    var partial = -1
    var done: UInt64 = 0
    /// Times in a row the kernel said "try again".
    var refusals = 0
  }

  private let kind: UInt8
  private var requests: Slots<Request>
  private var partials = PartialBlocks()
  private let zeroes: UnsafeMutableRawPointer
  private static let zeroBytes = 256 << 10
  private static let refusalLimit = 64

  /// `kind`: the tag kind that is this table's alone.
  public init(capacity: Int, kind: UInt8) {
    self.kind = kind
    requests = Slots(capacity: capacity)
    zeroes = .allocate(byteCount: DiskOperations.zeroBytes, alignment: 4096)
    memset(zeroes, 0, DiskOperations.zeroBytes)
  }

  deinit { zeroes.deallocate() }

  public var room: Int { requests.room - partials.waitingCount }
  public var isIdle: Bool { requests.isEmpty && partials.waitingCount == 0 }

  // MARK: Asking

  public mutating func read(
    _ device: borrowing BackingDevice, at offset: UInt64, into pointer: UnsafeMutableRawPointer, bytes: Int, id: UInt64,
    _ ring: inout Ring
  ) {
    guard covers(device, offset, UInt64(bytes)) else {
      return begin(.read, device, offset, UInt64(bytes), pointer: pointer, id: id, &ring)
    }
    start(
      Request(
        id: id, operation: .read, file: device.file, offset: offset, bytes: UInt64(bytes), durable: false,
        pointer: pointer, step: .transfer), &ring)
  }

  /// `durable`: answered only when the bytes are on stable storage, not just in the disk's cache (FUA).
  public mutating func write(
    _ device: borrowing BackingDevice, at offset: UInt64, from pointer: UnsafeRawPointer, bytes: Int,
    durable: Bool = false, id: UInt64, _ ring: inout Ring
  ) {
    let pointer = UnsafeMutableRawPointer(mutating: pointer)
    guard covers(device, offset, UInt64(bytes)) else {
      return begin(.write, device, offset, UInt64(bytes), durable: durable, pointer: pointer, id: id, &ring)
    }
    start(
      Request(
        id: id, operation: .write, file: device.file, offset: offset, bytes: UInt64(bytes), durable: durable,
        pointer: pointer, step: .transfer), &ring)
  }

  /// Everything answered before is on stable storage when this is answered.
  public mutating func flush(_ device: borrowing BackingDevice, id: UInt64, _ ring: inout Ring) {
    start(
      Request(
        id: id, operation: .flush, file: device.file, offset: 0, bytes: 0, durable: false, pointer: nil, step: .sync),
      &ring)
  }

  public mutating func discard(
    _ device: borrowing BackingDevice, at offset: UInt64, bytes: UInt64, durable: Bool = false, id: UInt64,
    _ ring: inout Ring
  ) {
    guard covers(device, offset, bytes) else {
      return begin(.discard, device, offset, bytes, durable: durable, unmap: true, id: id, &ring)
    }
    start(
      Request(
        id: id, operation: .discard, file: device.file, offset: offset, bytes: bytes, durable: durable, pointer: nil,
        step: .punch), &ring)
  }

  /// `unmap`: the device may give the room back, as a discard does.
  public mutating func zero(
    _ device: borrowing BackingDevice, at offset: UInt64, bytes: UInt64, unmap: Bool, durable: Bool = false,
    id: UInt64, _ ring: inout Ring
  ) {
    guard covers(device, offset, bytes) else {
      return begin(.zero, device, offset, bytes, durable: durable, unmap: unmap, id: id, &ring)
    }
    start(
      Request(
        id: id, operation: .zero, file: device.file, offset: offset, bytes: bytes, durable: durable, pointer: nil,
        step: unmap ? .punch : .zeroRange), &ring)
  }

  /// What `zero` falls back to; by itself for tests.
  mutating func zeroByWriting(
    _ device: borrowing BackingDevice, at offset: UInt64, bytes: UInt64, durable: Bool, id: UInt64, _ ring: inout Ring
  ) {
    precondition(covers(device, offset, bytes), "not whole blocks")
    start(
      Request(
        id: id, operation: .zero, file: device.file, offset: offset, bytes: bytes, durable: durable, pointer: nil,
        step: .zeroWrites), &ring)
  }

  /// False: some of its blocks are covered in part only.
  @inline(__always)
  private func covers(_ device: borrowing BackingDevice, _ offset: UInt64, _ bytes: UInt64) -> Bool {
    precondition(bytes > 0 && bytes <= device.reach && offset <= device.reach - bytes, "disk request past the end")
    precondition((offset | bytes) & 511 == 0, "disk request not in whole sectors")
    return (offset | bytes) & UInt64(device.logicalBlock - 1) == 0
  }

  private mutating func start(_ request: Request, _ ring: inout Ring) {
    let slot = requests.insert(request)
    issue(slot, &ring)
  }

  // MARK: Parts of blocks

  private mutating func begin(
    _ operation: DiskFault.Operation, _ device: borrowing BackingDevice, _ offset: UInt64, _ bytes: UInt64,
    durable: Bool = false, unmap: Bool = false, pointer: UnsafeMutableRawPointer? = nil, id: UInt64, _ ring: inout Ring
  ) {
    precondition(pointer == nil || bytes <= PartialBlocks.longest, "a transfer longer than 1 MiB")
    partials.add(
      PartialRequest(
        id: id, operation: operation, file: device.file, block: device.logicalBlock, offset: offset, bytes: bytes,
        durable: durable, unmap: unmap, pointer: pointer))
    beginPartials(&ring)
  }

  private mutating func beginPartials(_ ring: inout Ring) {
    while let place = partials.begin() {
      precondition(carryOn(place, nil, &ring) == nil, "a request without an errand")
    }
  }

  /// The last errand of a partial request has ended.
  private mutating func carryOn(_ place: Int, _ error: Errno?, _ ring: inout Ring) -> DiskDone? {
    if error == nil, let errand = partials.next(place) {
      let whole = partials[place]
      switch errand {
      case .read(let at, let pointer, let bytes):
        start(
          Request(
            id: whole.id, operation: .read, file: whole.file, offset: at, bytes: bytes, durable: false,
            pointer: pointer, step: .transfer, partial: place), &ring)
      case .write(let at, let pointer, let bytes):
        start(
          Request(
            id: whole.id, operation: .write, file: whole.file, offset: at, bytes: bytes, durable: whole.durable,
            pointer: pointer, step: .transfer, partial: place), &ring)
      case .clear(let at, let bytes):
        start(
          Request(
            id: whole.id, operation: whole.operation, file: whole.file, offset: at, bytes: bytes,
            durable: whole.durable, pointer: nil, step: whole.unmap ? .punch : .zeroRange, partial: place), &ring)
      }
      return nil
    }
    let whole = partials.end(place)
    beginPartials(&ring)
    return DiskDone(
      id: whole.id,
      fault: error.map { DiskFault(whole.operation, $0, offset: whole.offset, bytes: whole.bytes) })
  }

  // MARK: Carrying on

  private func issue(_ slot: SlotID, _ ring: inout Ring) {
    let request = requests[slot]
    let tag = Tag(kind: kind, slot: slot)
    let at = request.offset + request.done
    let left = request.bytes - request.done
    switch request.step {
    case .transfer:
      let pointer = request.pointer! + Int(request.done)
      if request.operation == .read {
        ring.read(request.file, into: pointer, count: Int(left), at: at, tag: tag)
      } else {
        ring.write(request.file, from: pointer, count: Int(left), at: at, durable: request.durable, tag: tag)
      }
    case .sync: ring.dataSync(request.file, tag: tag)
    case .punch: ring.allocate(request.file, mode: Int32(CU_PUNCH_HOLE), at: at, bytes: left, tag: tag)
    case .zeroRange: ring.allocate(request.file, mode: Int32(CU_ZERO_RANGE), at: at, bytes: left, tag: tag)
    case .zeroWrites:
      let count = min(Int(left), DiskOperations.zeroBytes)
      ring.write(request.file, from: zeroes, count: count, at: at, tag: tag)
    }
  }

  /// Takes a completion of this table's kind. Nil: the request goes on.
  public mutating func complete(_ completion: Completion, _ ring: inout Ring) -> DiskDone? {
    let slot = completion.tag.slot
    if let error = completion.fault { return failed(slot, error, &ring) }
    requests[slot].refusals = 0
    switch requests[slot].step {
    case .sync: return answer(slot, nil, &ring)
    case .punch, .zeroRange: requests[slot].done = requests[slot].bytes
    case .transfer, .zeroWrites:
      guard completion.result > 0 else { return answer(slot, Errno(EIO), &ring) }
      requests[slot].done += UInt64(completion.result)
    }
    precondition(requests[slot].done <= requests[slot].bytes, "the kernel moved more than it was asked to")
    if requests[slot].done < requests[slot].bytes {
      issue(slot, &ring)
      return nil
    }
    // A durable write was so by its own flag; the other ways of changing bytes have none.
    if requests[slot].durable && requests[slot].step != .transfer {
      requests[slot].step = .sync
      issue(slot, &ring)
      return nil
    }
    return answer(slot, nil, &ring)
  }

  private mutating func failed(_ slot: SlotID, _ error: Errno, _ ring: inout Ring) -> DiskDone? {
    switch (error.code, requests[slot].step) {
    case _ where error.isInterruption:
      requests[slot].refusals += 1
      if requests[slot].refusals > DiskOperations.refusalLimit { return answer(slot, error, &ring) }
    case (EOPNOTSUPP, .punch), (ENOSYS, .punch), (ENODEV, .punch): requests[slot].step = .zeroRange
    case (EOPNOTSUPP, .zeroRange), (ENOSYS, .zeroRange), (ENODEV, .zeroRange): requests[slot].step = .zeroWrites
    default: return answer(slot, error, &ring)
    }
    issue(slot, &ring)
    return nil
  }

  private mutating func answer(_ slot: SlotID, _ error: Errno?, _ ring: inout Ring) -> DiskDone? {
    let request = requests.remove(slot)
    if request.partial >= 0 { return carryOn(request.partial, error, &ring) }
    return DiskDone(
      id: request.id,
      fault: error.map { DiskFault(request.operation, $0, offset: request.offset, bytes: request.bytes) })
  }
}
