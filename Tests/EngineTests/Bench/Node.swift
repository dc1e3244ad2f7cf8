// One node: an engine, its disks, its pool of payloads, and everything it asked for. Work is done at once unless the
// test holds it back. Laws that any reactor relies on are checked here: every effect is answered once, a payload is
// given back once and not while it is read, and writes that overlap are never under way together.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

final class Node {
  let name: String
  var settings: ResourceSettings
  var engine: Engine
  var disks: [VolumeNumber: FakeDisk]
  var now = Instant(nanoseconds: 1_000_000_000)
  var secret = "secret"
  /// In place of the digest made of the secret.
  var sign: (([UInt8]) -> [UInt8])?
  /// In place of the digest of what is on the disk.
  var digest: ((WorkID, BlockRange) -> [UInt8])?

  /// No digest can be made on this system.
  var knowsNoDigest = false

  enum Arrival {
    case event(Event)
    case bytes(WorkID, [UInt8])
  }
  var inbox: [Arrival] = []

  /// Everything asked for since the last `take`.
  private(set) var trace: [Effect] = []
  private(set) var sent: [Sent] = []
  private(set) var log: [String] = []
  private(set) var handlers: [Handler] = []
  /// What the handlers say; 0 unless written here.
  var exits: [Handler: Int32] = [:]
  /// They run until `endHandler`.
  var heldHandlers: Set<Handler> = []
  private var waitingHandlers: [(handler: Handler, id: WorkID)] = []
  private(set) var answers: [Ticket: DiskFault?] = [:]
  private(set) var replies: [ReplyTo: Outcome] = [:]
  private(set) var sizes: [VolumeNumber: SectorCount] = [:]
  /// Where the metadata were said to lie.
  private(set) var recordedSizes: [VolumeNumber: UInt64] = [:]
  private(set) var traits: [VolumeNumber: ExportTraits] = [:]
  /// Ranges whose holes the own disk was asked for.
  private(set) var located: [Ticket: BlockRange] = [:]

  struct Sent: Equatable {
    var socket: SocketID
    var volume: VolumeNumber
    var packet: Packet
    var payload: [UInt64]
  }

  /// What the network does with the effects that concern it; a scripted peer has its own.
  var onNetwork: (Effect) -> Void = { _ in }

  private var effects = Effects()
  private var nextNumber: UInt64 = 0
  private var seed: UInt64

  init(_ name: String, settings: ResourceSettings, disks: [VolumeNumber: FakeDisk], seed: UInt64) {
    self.name = name
    self.settings = settings
    self.disks = disks
    self.seed = seed
    engine = Engine(settings: settings, random: SeededGenerator(seed: seed), at: now)
  }

  /// The oldest of these that runs has ended.
  func endHandler(_ handler: Handler, exit: Int32) {
    let i = waitingHandlers.firstIndex { $0.handler == handler }!
    inbox.append(.event(.handlerDone(waitingHandlers.remove(at: i).id, exit: exit)))
  }

  // MARK: Turns

  /// One event; false when there is none.
  func step() -> Bool {
    if inbox.isEmpty {
      guard let due = engine.nextDeadline, due <= now else { return false }
      inbox.append(.event(.tick))
    }
    switch inbox.removeFirst() {
    case .event(let event):
      finished(event)
      Trace.note(name, "<-", event)
      engine.handle(event, at: now, into: &effects)
    case .bytes(let id, let bytes):
      underWay[.work(id)] = nil
      Trace.note(name, "<-", "bytes for \(id)")
      engine.metaRead(id, bytes.span.bytes, at: now, into: &effects)
    }
    engine.checkInvariants()
    while let effect = effects.popFirst() {
      Trace.note(name, "->", effect)
      trace.append(effect)
      carry(effect)
    }
    return true
  }

  func settle() {
    var steps = 0
    while step() {
      steps += 1
      if steps > 100_000 {
        Issue.record("\(name) does not come to rest")
        return
      }
    }
  }

  func take() -> [Effect] {
    defer {
      trace.removeAll()
      sent.removeAll()
    }
    return trace
  }

  func forgetTrace() { _ = take() }

  // MARK: Work

  /// A write can be on its way to disk and socket under the same id.
  private enum Errand: Hashable {
    case work(WorkID)
    case sending(WorkID)
  }
  struct Work {
    var effect: Effect
    /// The rendered block of a metadata write.
    var block: [UInt8] = []
  }
  /// Asked for, and the answer has not been handed in.
  private var underWay: [Errand: Work] = [:]
  private(set) var held: [(id: WorkID, work: Work)] = []
  /// Kinds of work that wait for `release`.
  var holding: Set<WorkID.Kind> = []
  var holdsSent = false
  private var heldSent: [WorkID] = []

  private func carry(_ effect: Effect) {
    switch effect {
    case .openDisk(let volume): open(volume)
    case .closeDisk(let volume):
      let left = underWay.filter { self.volume(of: $0.value.effect) == volume }
      if !left.isEmpty { Issue.record("\(name): disk \(volume.value) closed with \(left.count) operations under way") }
      inbox.append(.event(.diskClosed(volume)))
    case .measureDisk(let volume):
      inbox.append(.event(.diskMeasured(volume, disks[volume]!.facts)))
    case .disk(let id, let volume, let operation):
      checkOverlap(volume, operation)
      begin(id, Work(effect: effect))
    case .examine(let id, _, _, _, _), .metaRead(let id, _, _, _): begin(id, Work(effect: effect))
    case .metaWrite(let id, let volume, let block, _, _):
      var bytes = [UInt8](repeating: 0xa5, count: 4096)
      bytes.withUnsafeMutableBytes { engine.render(block, of: volume, into: $0) }
      begin(id, Work(effect: effect, block: bytes))
    case .listen, .stopListening, .connect, .close, .configure: onNetwork(effect)
    case .send(let socket, let volume, let packet, let payload, let notify):
      sent.append(Sent(socket: socket, volume: volume, packet: packet, payload: payload.map { self[$0] } ?? []))
      onNetwork(effect)
      if let notify {
        if let payload { readers[payload.page, default: 0] += 1 }
        underWay[.sending(notify)] = Work(effect: effect)
        if holdsSent { heldSent.append(notify) } else { inbox.append(.event(.sent(notify))) }
      }
    case .sign(let id, let algorithm, let message):
      let digest = sign?(message) ?? fakeHMAC(algorithm, message)
      inbox.append(.event(.signed(id, digest)))
    case .drawChallenge:
      var random = SeededGenerator(seed: number() ^ seed << 32)
      inbox.append(.event(.challengeDrawn((0..<64).map { _ in UInt8(truncatingIfNeeded: random.next()) })))
    case .answer(let ticket, let fault):
      if answers.updateValue(fault, forKey: ticket) != nil { Issue.record("\(name): \(ticket) answered twice") }
    case .copy(let from, let to): payloads[to.page] = payloads[from.page]
    case .giveBack(let payload):
      if readers[payload.page] ?? 0 != 0 { Issue.record("\(name): \(payload) given back while it is read") }
      if lent.remove(payload.page) == nil { Issue.record("\(name): \(payload) given back, and it was not lent") }
      payloads[payload.page] = nil
    case .resized(let volume, let size): sizes[volume] = size
    case .metadataPlaced(let volume, let bytes): recordedSizes[volume] = bytes
    case .announced(let volume, let new): traits[volume] = new
    case .locate(let ticket, _, let range): located[ticket] = range
    case .handler(let id, let handler, _):
      handlers.append(handler)
      if heldHandlers.contains(handler) {
        waitingHandlers.append((handler, id))
      } else {
        inbox.append(.event(.handlerDone(id, exit: exits[handler] ?? 0)))
      }
    case .reply(let to, let outcome):
      if replies.updateValue(outcome, forKey: to) != nil { Issue.record("\(name): \(to) replied to twice") }
    case .log(_, let text): log.append(text)
    case .stateChanged: break
    }
  }

  private func open(_ volume: VolumeNumber) {
    guard let disk = disks[volume] else {
      inbox.append(.event(.diskRefused(volume, number: 104, why: "there is no such device")))
      return
    }
    if let refusal = disk.refusal {
      inbox.append(.event(.diskRefused(volume, number: refusal.number, why: refusal.why)))
    } else {
      inbox.append(.event(.diskOpened(volume, disk.facts)))
    }
  }

  private func begin(_ id: WorkID, _ work: Work) {
    if underWay.updateValue(work, forKey: .work(id)) != nil { Issue.record("\(name): \(id) is under way already") }
    if let payload = payload(of: work.effect) { readers[payload.page, default: 0] += 1 }
    if holding.contains(id.kind) { held.append((id, work)) } else { complete(id, work, nil) }
  }

  /// Does the work and puts its answer into the inbox.
  private func complete(_ id: WorkID, _ work: Work, _ fault: DiskFault?) {
    switch work.effect {
    case .disk(_, let volume, let operation):
      let result =
        fault
        ?? disks[volume]!.perform(
          operation, read: { self.payloads[$0.page] = $1 }, bytes: { self.payloads[$0.page]! })
      inbox.append(.event(.diskDone(id, result)))
    case .examine(_, let volume, let range, let what, let payload):
      var content: [UInt64] = []
      let result =
        fault
        ?? disks[volume]!.perform(
          .read(range, payload ?? PayloadRef(page: 0, bytes: UInt32(range.bytes))), read: { content = $1 },
          bytes: { _ in [] })
      if let payload { payloads[payload.page] = content }
      let finding: Finding =
        switch what {
        case _ where result != nil: .fault(result!)
        case .digest where knowsNoDigest: .unknown
        case .zeroes: .isZero(content.allSatisfy { $0 == 0 })
        case .digest(let name): .digest(digest?(id, range) ?? fakeDigest(name, content))
        }
      inbox.append(.event(.examined(id, finding)))
    case .metaRead(_, let volume, let offset, let bytes):
      if fault == nil, let read = disks[volume]!.metaRead(offset, UInt64(bytes)) {
        inbox.append(.bytes(id, read))
      } else {
        inbox.append(.event(.metaDone(id, fault ?? DiskFault(errno: 5))))
      }
    case .metaWrite(_, let volume, _, let offset, let barrier):
      let result = fault ?? disks[volume]!.metaWrite(offset, work.block, barrier: barrier)
      inbox.append(.event(.metaDone(id, result)))
    default: preconditionFailure("no work")
    }
  }

  /// Lets held work of this kind happen, oldest first; all of it unless `count` says how much. Does not step. `of`: metadata work
  /// of the volume at this place only.
  func release(_ kind: WorkID.Kind, count: Int = .max, fault: DiskFault? = nil, of place: UInt64? = nil) {
    var left = count
    while left > 0,
      let at = held.firstIndex(where: { $0.id.kind == kind && (place == nil || $0.id.slot.raw & 0xff == place) })
    {
      let (id, work) = held.remove(at: at)
      complete(id, work, fault)
      left -= 1
    }
  }

  /// The oldest of what is held.
  func releaseOne() {
    if held.isEmpty { return }
    let (id, work) = held.removeFirst()
    complete(id, work, nil)
  }

  func stopHolding() {
    holding = []
    holdsSent = false
    while !held.isEmpty {
      let (id, work) = held.removeFirst()
      complete(id, work, nil)
    }
    releaseSent()
  }

  /// What `holdsSent` has kept leaves the socket.
  func releaseSent() {
    holdsSent = false
    for id in heldSent { inbox.append(.event(.sent(id))) }
    heldSent = []
  }

  func heldCount(_ kind: WorkID.Kind) -> Int { held.count { $0.id.kind == kind } }

  private func finished(_ event: Event) {
    let errand: Errand
    switch event {
    case .diskDone(let id, _), .metaDone(let id, _), .examined(let id, _): errand = .work(id)
    case .sent(let id): errand = .sending(id)
    default: return
    }
    guard let work = underWay.removeValue(forKey: errand) else { preconditionFailure("\(errand) is not under way") }
    if let payload = payload(of: work.effect) { readers[payload.page]! -= 1 }
  }

  // MARK: Payloads

  private var payloads: [UInt32: [UInt64]] = [:]
  /// Pages that belong to the engine.
  private var lent: Set<UInt32> = []
  /// How often a page is being read or written by disk and sockets.
  private var readers: [UInt32: Int] = [:]

  subscript(payload: PayloadRef) -> [UInt64] { payloads[payload.page] ?? [] }
  var lentPayloads: Int { lent.count }

  func allocate(_ content: [UInt64], lent toEngine: Bool) -> PayloadRef {
    nextNumber += 1
    // Room for the parts of a payload, which are named by their own pages.
    let page = UInt32(nextNumber) << 9
    payloads[page] = content
    if toEngine { lent.insert(page) }
    return PayloadRef(page: page, bytes: UInt32(content.count * 512))
  }

  private func payload(of effect: Effect) -> PayloadRef? {
    switch effect {
    case .disk(_, _, .read(_, let payload)), .disk(_, _, .write(_, let payload, _)): payload
    case .send(_, _, _, let payload, _), .examine(_, _, _, _, let payload): payload
    default: nil
    }
  }

  private func volume(of effect: Effect) -> VolumeNumber? {
    switch effect {
    case .disk(_, let volume, _), .examine(_, let volume, _, _, _), .metaRead(_, let volume, _, _),
      .metaWrite(_, let volume, _, _, _):
      volume
    default: nil
    }
  }

  private func checkOverlap(_ volume: VolumeNumber, _ operation: DiskOperation) {
    guard let range = operation.written else { return }
    for work in underWay.values {
      if case .disk(_, volume, let other) = work.effect, let used = other.written, used.overlaps(range) {
        Issue.record("\(name): two writes to sector \(range.start.value) under way")
      }
    }
  }

  private func fakeDigest(_ name: DigestName, _ content: [UInt64]) -> [UInt8] {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for stamp in content { hash = (hash ^ stamp) &* 0x100_0000_01b3 ^ hash >> 29 }
    return (0..<name.size).map { UInt8(truncatingIfNeeded: hash >> (UInt64($0 % 8) * 8)) }
  }

  private func fakeHMAC(_ algorithm: String, _ message: [UInt8]) -> [UInt8] {
    if algorithm == "unknown" { return [] }
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in Array(secret.utf8) + message { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return (0..<20).map { UInt8(truncatingIfNeeded: hash >> UInt64($0 % 8 * 8)) &+ UInt8($0) }
  }

  // MARK: Life

  /// The process dies; with `power`, so does what the disks have not made durable. Sockets are the network's business.
  func crash(power: Bool) {
    if power { for disk in disks.values { disk.losePower() } }
    inbox = []
    held = []
    heldSent = []
    underWay = [:]
    payloads = [:]
    lent = []
    readers = [:]
    effects.removeAll()
    seed &+= 1
    engine = Engine(settings: settings, random: SeededGenerator(seed: seed), at: now)
  }

  func number() -> UInt64 {
    nextNumber += 1
    return nextNumber
  }
}

extension DiskOperation {
  var written: BlockRange? {
    switch self {
    case .write(let range, _, _), .discard(let range), .zero(let range, _): range
    case .read, .flush: nil
    }
  }
}
