// The application's side: a listener per volume, up to 64 clients, and the requests they have under way in the engine.
// Laws: a request reaches the engine only when its memory and its place in the tables are there (back-pressure at the
// entrance); every ticket is answered to its session once, also after the client has left; a discard or zeroing with FUA
// is answered after a flush.
import Base
import BlockIO
import Control
import Engine
import Export

struct ExportServer: ~Copyable {
  /// What is under way in the engine for a client.
  struct Work {
    var place: Int
    var ticket: ClientTicket
    var volume: VolumeNumber
    /// The buffer of a read.
    var payload: PayloadRef?
    /// A flush has to follow.
    var thenFlush: Bool
  }

  struct Volume {
    var number: VolumeNumber
    var export: ClientExport
    /// Exported size in the engine.
    var size = SectorCount.zero
    var traits = ExportTraits()
  }

  static let clientsMax = 64

  let resource: String
  /// What a client is given to finish the negotiation.
  private let patience: Interval
  private(set) var volumes: [Volume]
  var connections = Places<ExportConnection>(capacity: ExportServer.clientsMax)
  private var doors: Places<Door>
  private var listenerVolumes: [VolumeNumber] = []
  private var isClosing = false
  private var works: Slots<Work>
  /// Connections to look at, one bit each.
  var dirty: UInt64 = 0
  private var stalled: UInt64 = 0

  /// `listeners`: how many there will be at most, over unix sockets and TCP together.
  init(resource: String, volumes numbers: [VolumeNumber], listeners: Int, requests: Int, patience: Interval) {
    self.resource = resource
    self.patience = patience
    volumes = numbers.map { number in
      Volume(
        number: number,
        export: ClientExport(
          volume: number, name: "\(resource)/\(number.value)", size: 0,
          refusal: ClientExport.secondaryRefusal(resource: resource, volume: number)))
    }
    doors = Places(capacity: listeners)
    works = Slots(capacity: requests)
  }

  private func index(_ number: VolumeNumber) -> Int {
    for i in 0..<volumes.count where volumes[i].number == number { return i }
    preconditionFailure("volume \(number.value) is not exported")
  }

  // MARK: Listening

  mutating func listen(unix path: String, _ number: VolumeNumber, _ ring: inout Ring) throws(SocketRefusal) {
    add(try Listener(unix: path), number, &ring)
  }

  mutating func listen(tcp address: SocketAddress, _ number: VolumeNumber, _ ring: inout Ring) throws(SocketRefusal) {
    add(try Listener(tcp: address), number, &ring)
  }

  private mutating func add(_ listener: consuming Listener, _ number: VolumeNumber, _ ring: inout Ring) {
    let place = doors.free
    doors.put(Door(listener, tag: Tag(kind: Kind.clientAccept, UInt64(place))), at: place)
    listenerVolumes.append(number)
    doors[place].accept(&ring)
  }

  mutating func accepted(_ completion: Completion, at now: Instant, _ ring: inout Ring, _ warn: (String) -> Void) {
    let which = Int(completion.tag.payload)
    guard !isClosing else {
      if completion.fault == nil { _ = Socket(accepted: completion.result) }
      return
    }
    let arrival = doors[which].accepted(completion, at: now)
    if doors[which].pausedUntil == nil { doors[which].accept(&ring) }
    let socket: Socket
    switch consume arrival {
    case .nobody: return
    case .shortage(let fault):
      let name = "\(resource)/\(listenerVolumes[which].value)"
      return warn("NBD clients of \(name) are not accepted now: \(fault); it is tried again every second")
    case .socket(let one): socket = one
    }
    guard connections.hasRoom else { return }
    if socket.peerAddress != nil { socket.tuneTCP() }
    let number = listenerVolumes[which]
    let place = connections.free
    let file = ring.register(socket.descriptor)
    connections.put(
      ExportConnection(
        volume: number, socket: socket, file: file,
        session: ClientSession(exports: [volumes[index(number)].export], client: UInt16(place)),
        patience: now + patience),
      at: place)
    dirty |= 1 << UInt64(place)
  }

  mutating func resumeAccepting(at now: Instant, _ ring: inout Ring) {
    for i in 0..<doors.capacity where doors.contains(i) { doors[i].resume(at: now, &ring) }
  }

  mutating func drop(_ place: Int, _ ring: inout Ring) {
    ring.unregister(connections[place].file)
    _ = connections.remove(place)
  }

  // MARK: What is exported

  mutating func resize(_ number: VolumeNumber, _ size: SectorCount) { volumes[index(number)].size = size }

  mutating func announce(_ number: VolumeNumber, _ traits: ExportTraits) { volumes[index(number)].traits = traits }

  /// Tells the clients what this node serves now.
  mutating func refresh(_ number: VolumeNumber, role: Role) {
    let v = index(number)
    var refusal: String?
    if role != .primary {
      refusal = ClientExport.secondaryRefusal(resource: resource, volume: number)
    } else if volumes[v].size == .zero {
      refusal = "\(resource)/\(number.value) has no usable data here now: see repladm status \(resource)"
    }
    let changed = ClientExport(
      volume: number, name: volumes[v].export.name, size: volumes[v].size.bytes,
      minimumBlock: volumes[v].traits.blockBytes, offersTrim: volumes[v].traits.offersDiscard, refusal: refusal)
    if changed == volumes[v].export { return }
    volumes[v].export = changed
    for i in 0..<connections.capacity where connections.contains(i) && connections[i].volume == number {
      connections[i].session.update(changed)
      dirty |= 1 << UInt64(i)
    }
  }

  /// Clients that use a volume.
  var users: Int {
    var count = 0
    for i in 0..<connections.capacity where connections.contains(i) && connections[i].isUser { count += 1 }
    return count
  }

  /// Who they are, for people: a line for each, the first few of many.
  func userNames() -> [String] {
    var lines: [String] = []
    for i in 0..<connections.capacity where connections.contains(i) && connections[i].isUser {
      lines.append("\(resource)/\(connections[i].volume.value) opened by \(connections[i].socket.peerDescription)")
    }
    let shown = 8
    return lines.count <= shown ? lines : Array(lines[..<shown]) + ["and \(lines.count - shown) more"]
  }

  func users(of number: VolumeNumber) -> Int {
    var count = 0
    for i in 0..<connections.capacity
    where connections.contains(i) && connections[i].volume == number && connections[i].isUser { count += 1 }
    return count
  }

  mutating func hangUpAll() {
    for i in 0..<connections.capacity where connections.contains(i) {
      connections[i].end()
      dirty |= 1 << UInt64(i)
    }
  }

  /// No more clients; those that are here are hung up on.
  mutating func close() {
    isClosing = true
    for i in 0..<doors.capacity where doors.contains(i) { _ = doors.remove(i) }
    hangUpAll()
  }

  /// The next moment at which a client in negotiation has to be hung up on, or clients are accepted again.
  var deadline: Instant? {
    var next: Instant?
    for i in 0..<doors.capacity where doors.contains(i) {
      if let until = doors[i].pausedUntil, next == nil || until < next! { next = until }
    }
    for i in 0..<connections.capacity
    where connections.contains(i) && connections[i].session.volume == nil && !connections[i].isEnding {
      if next == nil || connections[i].patience < next! { next = connections[i].patience }
    }
    return next
  }

  mutating func hangUpSilent(at now: Instant) {
    for i in 0..<connections.capacity
    where connections.contains(i) && connections[i].session.volume == nil && now >= connections[i].patience {
      connections[i].end()
      dirty |= 1 << UInt64(i)
    }
  }

  // MARK: Requests

  /// Connections that waited for memory look again.
  mutating func retryStalled() {
    dirty |= stalled
    stalled = 0
  }

  mutating func popDirty() -> Int? {
    guard dirty != 0 else { return nil }
    let place = dirty.trailingZeroBitCount
    dirty &= dirty - 1
    return place
  }

  mutating func noteStalled(_ place: Int) {
    guard connections[place].isStalled else { return }
    stalled |= 1 << UInt64(place)
    connections[place].isStalled = false
  }

  /// The next request of a client, as an event; nil when there is none, or none that can be taken now.
  mutating func nextRequest(_ place: Int, _ pool: inout Pool, zeroesFast: Bool) -> Event? {
    while let wish = connections[place].postponed ?? connections[place].session.nextWish() {
      connections[place].postponed = nil
      if case .giveBack(let payload) = wish {
        pool.release(payload)
        continue
      }
      if connections[place].isEnding {
        discard(wish, place, &pool)
        continue
      }
      guard works.hasRoom else {
        postpone(wish, place)
        return nil
      }
      if let event = event(wish, place, &pool, zeroesFast) { return event }
      if connections[place].postponed != nil { return nil }
    }
    return nil
  }

  /// A wish of a client that is gone: it is answered, and not carried out.
  private mutating func discard(_ wish: Wish, _ place: Int, _ pool: inout Pool) {
    switch wish {
    case .write(let ticket, _, let payload, _):
      pool.release(payload)
      connections[place].session.answered(ticket, fault: .shutdown)
    case .read(let ticket, _, _), .flush(let ticket), .trim(let ticket, _, _), .zero(let ticket, _, _, _, _),
      .locate(let ticket, _):
      connections[place].session.answered(ticket, fault: .shutdown)
    case .giveBack(let payload): pool.release(payload)
    }
  }

  private mutating func postpone(_ wish: Wish, _ place: Int) {
    connections[place].postponed = wish
    connections[place].isStalled = true
  }

  /// Nil: the wish was answered here, or postponed.
  private mutating func event(_ wish: Wish, _ place: Int, _ pool: inout Pool, _ zeroesFast: Bool) -> Event? {
    let number = connections[place].volume
    switch wish {
    case .read(let ticket, let range, let reserve):
      guard isInside(range, number) else { return refuse(ticket, place) }
      guard let buffer = allocate(Int(range.bytes), reserve: Int(reserve), &pool) else {
        postpone(wish, place)
        return nil
      }
      return .read(begin(place, ticket, number, payload: buffer), number, range, buffer)
    case .write(let ticket, let range, let payload, let fua):
      guard isInside(range, number) else {
        pool.release(payload)
        return refuse(ticket, place)
      }
      return .write(begin(place, ticket, number), number, range, payload, fua: fua)
    case .flush(let ticket): return .flush(begin(place, ticket, number), number)
    case .trim(let ticket, let range, let fua):
      guard isInside(range, number) else { return refuse(ticket, place) }
      return .discard(begin(place, ticket, number, thenFlush: fua), number, range)
    case .zero(let ticket, let range, let mayUnmap, let fua, let fast):
      guard isInside(range, number) else { return refuse(ticket, place) }
      if fast, !zeroesFast {
        connections[place].session.answered(ticket, fault: .notSupported)
        return nil
      }
      return .zero(begin(place, ticket, number, thenFlush: fua), number, range, mayUnmap: mayUnmap)
    case .locate(let ticket, let range):
      guard isInside(range, number) else { return refuse(ticket, place) }
      return .locate(begin(place, ticket, number), number, range)
    case .giveBack: preconditionFailure("memory is given back before")
    }
  }

  /// The volume may have shrunk or gone since the session looked at it.
  private func isInside(_ range: BlockRange, _ number: VolumeNumber) -> Bool {
    range.end.value <= volumes[index(number)].size.value
  }

  private mutating func refuse(_ ticket: ClientTicket, _ place: Int) -> Event? {
    connections[place].session.answered(ticket, fault: .io)
    return nil
  }

  private mutating func begin(
    _ place: Int, _ ticket: ClientTicket, _ number: VolumeNumber, payload: PayloadRef? = nil, thenFlush: Bool = false
  ) -> EngineTicket {
    let slot = works.insert(
      Work(place: place, ticket: ticket, volume: number, payload: payload, thenFlush: thenFlush))
    return EngineTicket(slot.raw)
  }

  /// A buffer, when everything that is needed together is there.
  private func allocate(_ bytes: Int, reserve: Int, _ pool: inout Pool) -> PayloadRef? {
    guard let first = pool.allocate(bytes: bytes, budget: .application) else { return nil }
    guard reserve > bytes else { return first }
    // The rest is asked for right after: it must be there, or pieces would wait for each other.
    var rest = Queue<PayloadRef>(capacity: 8)
    var left = reserve - bytes
    while left > 0, let piece = pool.allocate(bytes: min(left, Pool.payloadLimit), budget: .application) {
      rest.append(piece)
      left -= Int(piece.bytes)
    }
    while let piece = rest.popFirst() { pool.release(piece) }
    if left > 0 {
      pool.release(first)
      return nil
    }
    return first
  }

  /// The disk's answer to a `locate`.
  mutating func answer(_ ticket: EngineTicket, _ map: AllocationMap?) {
    let work = works.remove(SlotID(raw: ticket.raw))
    dirty |= 1 << UInt64(work.place)
    connections[work.place].session.answered(work.ticket, map: map)
  }

  /// The engine's answer. Returns the flush that has to follow, if one has.
  mutating func answer(_ ticket: EngineTicket, _ fault: EngineFault?, _ pool: inout Pool) -> Event? {
    let slot = SlotID(raw: ticket.raw)
    if works[slot].thenFlush, fault == nil {
      works[slot].thenFlush = false
      return .flush(ticket, works[slot].volume)
    }
    let work = works.remove(slot)
    dirty |= 1 << UInt64(work.place)
    guard let fault else {
      connections[work.place].session.answered(work.ticket, payload: work.payload)
      return nil
    }
    if let payload = work.payload { pool.release(payload) }
    connections[work.place].session.answered(work.ticket, fault: ExportServer.error(fault))
    return nil
  }

  private static func error(_ fault: EngineFault) -> NBDError {
    switch fault.errno {
    case 22: .invalid
    case 28: .noSpace
    case 12: .noMemory
    case 108: .shutdown
    default: .io
    }
  }
}
