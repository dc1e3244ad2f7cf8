// The application's side: the listeners of each volume, their clients, and the requests they have under way in the engine.
// Laws: a request reaches the engine only when its memory and its place in the tables are there (back-pressure at the
// entrance); what one client holds never keeps the others out (FrontEnd, Pool.grant); every ticket is answered to its
// session once, also after the client has left; a discard or zeroing with FUA is answered after a flush.
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

  let resource: String
  /// What a client is given to finish the negotiation.
  private let patience: Interval
  private(set) var volumes: [Volume]
  var connections: Places<ExportConnection>
  private var local: FrontEnd
  private var tcp: FrontEnd
  var entrances: Entrances
  /// Clients that found no place.
  private var turnedAway = 0
  private var isClosing = false
  private var works: Slots<Work>
  /// Connections to look at, and those that wait for memory or room.
  var dirty = PlaceSet()
  private var stalled = PlaceSet()
  /// Memory and room came back since the stalled ones were looked at.
  private var releasesSeen: UInt64 = 0
  private var roomCame = false

  /// `overTCP`: addresses that are listened on.
  init(resource: String, volumes numbers: [VolumeNumber], overTCP: Int, requests: Int, patience: Interval) {
    self.resource = resource
    self.patience = patience
    volumes = numbers.map { ExportServer.volume($0, of: resource) }
    entrances = Entrances(capacity: VolumeNumber.perResource + overTCP)
    (local, tcp) = FrontEnd.both(volumes: numbers.count, overTCP: overTCP > 0, requests: requests)
    connections = Places(capacity: tcp.places.upperBound)
    works = Slots(capacity: requests)
  }

  /// Memory that these clients, the peer and the engine need.
  var memory: Shares { MemoryPlan.shares(local: local.places.count, remote: tcp.places.count) }

  private func index(_ number: VolumeNumber) -> Int {
    for i in 0..<volumes.count where volumes[i].number == number { return i }
    preconditionFailure("volume \(number.value) is not exported")
  }

  // MARK: Volumes come and go

  private static func volume(_ number: VolumeNumber, of resource: String) -> Volume {
    Volume(
      number: number,
      export: ClientExport(
        volume: number, name: "\(resource)/\(number.value)", size: 0,
        refusal: ClientExport.secondaryRefusal(resource: resource, volume: number)))
  }

  /// Whether each of so many volumes has the places that are its own.
  func hasPlaces(volumes: Int) -> Bool { FrontEnd.placesOfVolume * volumes <= local.places.count }

  /// Clients may come in for it from now on.
  mutating func add(_ number: VolumeNumber, socket path: String, _ ring: inout Ring) throws(SocketRefusal) {
    try entrances.listen(unix: path, number, &ring)
    volumes.append(ExportServer.volume(number, of: resource))
  }

  /// Those that have come in and use nothing are hung up on.
  mutating func remove(_ number: VolumeNumber, _ ring: inout Ring) {
    entrances.close(number, &ring)
    for i in 0..<connections.capacity where connections.contains(i) && connections[i].volume == number {
      connections[i].end()
      dirty.insert(i)
    }
    volumes.removeAll { $0.number == number }
  }

  // MARK: Clients come

  mutating func accepted(_ completion: Completion, at now: Instant, _ ring: inout Ring, _ warn: (String) -> Void) {
    guard !isClosing else {
      if completion.fault == nil { _ = Socket(accepted: completion.result) }
      return
    }
    let (number, isTCP) = entrances.volume(of: completion)
    let arrival = entrances.accepted(completion, at: now, &ring)
    let socket: Socket
    switch consume arrival {
    case .nobody: return
    case .shortage(let fault):
      return warn(
        "NBD clients of volume \(number.value) are not accepted now: \(fault); repld tries again every second")
    case .socket(let one): socket = one
    }
    let address = isTCP ? socket.peerAddress : nil
    if isTCP { socket.tuneTCP() }
    let full = isTCP ? fullOverTCP(address) : fullHere(number)
    guard full == nil, let place = connections.free(of: isTCP ? tcp.places : local.places) else {
      turnedAway += 1
      if turnedAway == 1 || turnedAway % 1000 == 0 {
        warn(
          "\(resource)/\(number.value): turned away \(socket.peerDescription): \(full ?? "every place is taken")"
            + " (\(turnedAway) so far; only each thousandth is logged)")
      }
      return
    }
    let file = ring.register(socket.descriptor)
    connections.put(
      ExportConnection(
        volume: number, address: address, socket: socket, file: file,
        session: ClientSession(exports: [volumes[index(number)].export], client: UInt16(place)),
        patience: now + patience),
      at: place)
    connections[place].watch(place, &ring)
    dirty.insert(place)
  }

  /// Why no client more is let in, or nil.
  private func fullHere(_ number: VolumeNumber) -> String? {
    let counts = volumes.map { volume in local.places.count { isClient($0, of: volume.number) } }
    let crowd = LocalCrowd(counts, of: index(number), places: local.places.count)
    if crowd.hasRoom { return nil }
    return
      "\(crowd.all) clients of this machine are connected, \(crowd.ofVolume) of them to this volume, and there are "
      + "\(local.places.count) places: end one that is not used"
  }

  private func fullOverTCP(_ address: SocketAddress?) -> String? {
    let clients = tcp.places.filter { connections.contains($0) }
    let same = clients.count { connections[$0].address?.host == address?.host }
    if same >= FrontEnd.placesOfAddress { return "\(same) clients of this address are connected, and it gets no more" }
    return clients.count < FrontEnd.placesOverTCP
      ? nil : "\(clients.count) clients over TCP are connected, and there is no place for more"
  }

  private func isClient(_ place: Int, of number: VolumeNumber) -> Bool {
    connections.contains(place) && connections[place].volume == number
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
      dirty.insert(i)
    }
  }

  /// Clients that use a volume.
  var users: Int {
    var count = 0
    for i in 0..<connections.capacity where connections.contains(i) && connections[i].isUser { count += 1 }
    return count
  }

  /// Who they are, for people: a line for each, the first few of many.
  func userNames(of only: VolumeNumber? = nil) -> [String] {
    var lines: [String] = []
    for i in 0..<connections.capacity
    where connections.contains(i) && connections[i].isUser && (only == nil || connections[i].volume == only) {
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
      dirty.insert(i)
    }
  }

  /// No more clients; those that are here are hung up on.
  mutating func close() {
    isClosing = true
    entrances.close()
    hangUpAll()
  }

  /// The next moment at which a client in negotiation has to be hung up on, or clients are accepted again.
  var deadline: Instant? {
    var next = entrances.deadline
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
      dirty.insert(i)
    }
  }

  // MARK: Requests

  /// Connections that waited for memory or room look again when some has come back.
  func canRetry(_ pool: borrowing Pool) -> Bool {
    !stalled.isEmpty && (roomCame || pool.releases != releasesSeen)
  }

  mutating func retryStalled(_ pool: borrowing Pool) {
    guard canRetry(pool) else { return }
    roomCame = false
    releasesSeen = pool.releases
    dirty.formUnion(stalled)
    stalled = PlaceSet()
  }

  mutating func popDirty() -> Int? { dirty.popFirst() }

  mutating func noteStalled(_ place: Int) {
    guard connections[place].isStalled else { return }
    stalled.insert(place)
    connections[place].isStalled = false
  }

  mutating func takeInput(_ place: Int, _ pool: inout Pool) -> Bool {
    connections[place].takeInput(place, of: tcp.places.contains(place) ? .remote : .application, &pool)
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
      guard mayBegin(place) else {
        connections[place].postponed = wish
        connections[place].isStalled = true
        return nil
      }
      if let event = event(wish, place, &pool, zeroesFast) { return event }
    }
    return nil
  }

  /// A wish of a client that is gone: it is answered, and not carried out.
  private mutating func discard(_ wish: Wish, _ place: Int, _ pool: inout Pool) {
    switch wish {
    case .write(let ticket, _, let payload, _), .read(let ticket, _, let payload):
      pool.release(payload)
      connections[place].session.answered(ticket, fault: .shutdown)
    case .flush(let ticket), .trim(let ticket, _, _), .zero(let ticket, _, _, _, _), .locate(let ticket, _):
      connections[place].session.answered(ticket, fault: .shutdown)
    case .giveBack(let payload): pool.release(payload)
    }
  }

  private func mayBegin(_ place: Int) -> Bool {
    let underWay = connections[place].underWay
    return works.hasRoom && (tcp.places.contains(place) ? tcp.mayBegin(underWay) : local.mayBegin(underWay))
  }

  /// Nil: the wish was answered here.
  private mutating func event(_ wish: Wish, _ place: Int, _ pool: inout Pool, _ zeroesFast: Bool) -> Event? {
    let number = connections[place].volume
    switch wish {
    case .read(let ticket, let range, let buffer):
      guard isInside(range, number) else {
        pool.release(buffer)
        return refuse(ticket, place)
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
    guard let volume = volumes.first(where: { $0.number == number }) else { return false }
    return range.end.value <= volume.size.value
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
    if tcp.places.contains(place) {
      tcp.began(&connections[place].underWay)
    } else {
      local.began(&connections[place].underWay)
    }
    return EngineTicket(slot.raw)
  }

  /// The disk's answer to a `locate`.
  mutating func answer(_ ticket: EngineTicket, _ map: AllocationMap?) {
    let work = works.remove(SlotID(raw: ticket.raw))
    dirty.insert(work.place)
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
    roomCame = true
    if tcp.places.contains(work.place) {
      tcp.ended(&connections[work.place].underWay)
    } else {
      local.ended(&connections[work.place].underWay)
    }
    dirty.insert(work.place)
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
