// The switchboard: one event in, state changed, effects out. No I/O, clock or randomness; every flow has its own file.
//   State/   what a node knows, and the one function through which it changes
//   Link/    finding the peer, handshake, comparison of generations, keepalive, loss
//   Write/   application writes, the peer's writes, epochs, activity gate, ranges in use
//   Read/    reads, local and from the peer
//   Resync/  bitmap exchange, source, target, pace
//   Admin/   commands, remote agreement, attach and detach
import Base
import MetaDisk
import Protocol

public struct Engine: ~Copyable {
  var settings: ResourceSettings
  var random: SeededGenerator
  var now: Instant
  /// Effects of the event being handled.
  var fx = Effects(capacity: 256)

  public internal(set) var role = Role.secondary
  var volumes: VolumeTable
  var link = Link()

  var writes: Slots<AppWrite>
  var reads: Slots<AppRead>
  var flushes: Slots<AppFlush>
  var peerRequests: Slots<PeerRequest>
  var epochs = SenderEpochs()
  var inbound = ReceiverEpochs()

  var pending = PendingChange.none
  var waits = Waits()
  /// Requests of the application that found the tables full.
  var entrance = Queue<Entrant>(capacity: 64)
  /// Something was taken out of a range table or the log gate moved: look at the parked requests before returning.
  var lookAgain = false
  var handlersCalled: UInt64 = 0
  /// Numbers P_OUT_OF_SYNC.
  var announcements: UInt64 = 0
  /// Digests of the peer that wait to be compared, by the request they belong to.
  var digests: [UInt64: [UInt8]] = [:]
  /// Counts resyncs: what belongs to an earlier one is not used.
  var resyncNumber: UInt64 = 0
  /// `suspend-io`: requests of the application wait at the entrance.
  var isSuspended = false
  var fencing = Fencing()
  /// Somebody has a volume open: this Primary cannot step down.
  var isOpen = false
  var peerLines: PeerLines
  /// Volumes come or go.
  var volumeChange: VolumeChange?

  /// Requests of the peer under way at once; one that sends more breaks the protocol.
  static let maxPeerRequests = 4096

  /// Requests and barriers that may wait behind a barrier. Every barrier of a node that keeps the protocol has a write before it.
  static let maxWaiting = maxPeerRequests * 2

  /// Whoever reads the peer's data socket stops while this is false: a peer may send faster than disks write.
  public var takesPeerRequests: Bool { peerRequests.hasRoom && inbound.waiting.count < Self.maxWaiting }

  public init(settings: ResourceSettings, random: SeededGenerator, at now: Instant) {
    self.settings = settings
    self.random = random
    self.now = now
    volumes = VolumeTable(settings.volumes, maxRequests: settings.maxRequests * 2)
    writes = Slots(capacity: settings.maxRequests * 2)
    reads = Slots(capacity: settings.maxRequests)
    flushes = Slots(capacity: settings.maxRequests)
    peerRequests = Slots(capacity: Self.maxPeerRequests)
    peerLines = PeerLines(volumes: settings.volumes.count)
  }

  /// Handles one event; appends what is to be done to `effects`. `now` never goes back.
  public mutating func handle(_ event: Event, at now: Instant, into effects: inout Effects) {
    precondition(now >= self.now, "time went back")
    self.now = now
    swap(&fx, &effects)
    dispatch(event)
    settleWaiting()
    swap(&fx, &effects)
  }

  /// The answer to `.metaRead` when it succeeded.
  public mutating func metaRead(_ id: WorkID, _ bytes: RawSpan, at now: Instant, into effects: inout Effects) {
    precondition(now >= self.now, "time went back")
    self.now = now
    swap(&fx, &effects)
    attachRead(id, bytes)
    settleWaiting()
    swap(&fx, &effects)
  }

  private mutating func dispatch(_ event: Event) {
    switch event {
    case .read, .write, .discard, .zero, .flush, .locate: enter(event)
    case .diskOpened(let volume, let facts): diskOpened(volume, facts)
    case .diskRefused(let volume, let number, let why): diskRefused(volume, number, why)
    case .diskClosed(let volume): diskClosed(volume)
    case .diskMeasured(let volume, let facts): diskMeasured(volume, facts)
    case .diskDone(let id, let fault): diskDone(id, fault)
    case .examined(let id, let finding): examined(id, finding)
    case .metaDone(let id, let fault): metaDone(id, fault)
    case .listenFailed(let why): listenFailed(why)
    case .connected(let socket): connected(socket)
    case .connectFailed: connectFailed()
    case .accepted(let socket): accepted(socket)
    case .packet(let socket, let volume, let packet, let payload):
      peerLines.isSpeaking = true
      received(socket, volume, packet, payload)
      peerLines.isSpeaking = false
    case .violation(let socket, let violation): violated(socket, violation)
    case .socketClosed(let socket): socketClosed(socket)
    case .sent(let id): sent(id)
    case .signed(let id, let digest): signed(id, digest)
    case .challengeDrawn(let bytes): challengeDrawn(bytes)
    case .handlerDone(let id, let exit): handlerDone(id, exit)
    case .command(let command, let reply): execute(command, reply)
    case .usageChanged(let open):
      isOpen = open
      announceTraits()
    case .tick: tick()
    }
  }

  /// A request of the application: waits at the entrance while the tables are full, so that memory stays bounded
  /// however far the peer is behind.
  private mutating func enter(_ event: Event) {
    if !entrance.isEmpty || !hasRoom || isHeldBack {
      entrance.append(Entrant(event: event, arrived: now))
      closeEpoch()
    } else {
      admit(Entrant(event: event, arrived: now))
    }
  }

  /// A request of the application, and when it came.
  struct Entrant {
    var event: Event
    var arrived: Instant
  }

  /// A node on its way down answers everybody.
  private var isHeldBack: Bool {
    (isSuspended || fencing.isFrozen || link.reattach != nil || volumeChange != nil) && acceptsWrites
  }

  private var hasRoom: Bool { writes.hasRoom && reads.hasRoom && flushes.hasRoom }

  private mutating func admit(_ one: Entrant) {
    let arrived = one.arrived
    switch one.event {
    case .read(let ticket, let volume, let range, let buffer): read(ticket, volume, range, buffer, since: arrived)
    case .write(let ticket, let volume, let range, let payload, let fua):
      write(ticket, volume, range, .data, payload, fua: fua, since: arrived)
    case .discard(let ticket, let volume, let range):
      write(ticket, volume, range, .discard, nil, fua: false, since: arrived)
    case .zero(let ticket, let volume, let range, let mayUnmap):
      write(ticket, volume, range, .zero(mayUnmap: mayUnmap), nil, fua: false, since: arrived)
    case .flush(let ticket, let volume): flush(ticket, volume, since: arrived)
    case .locate(let ticket, let volume, let range): locate(ticket, volume, range)
    default: preconditionFailure("only the application waits at the entrance")
    }
  }

  /// Requests that waited for something this event may have freed.
  private mutating func settleWaiting() {
    advanceReattach()
    advanceVolumeChange()
    advanceDeparture()
    while hasRoom, !isHeldBack, let one = entrance.popFirst() { admit(one) }
    let goesDown = waits.contains(.down)
    if goesDown { lookAgain = true }
    while lookAgain {
      lookAgain = false
      if goesDown { advanceDown() }
      for v in 0..<volumes.count {
        unpark(v)
        openGate(v)
        if volumes[v].detach.phase != .none { advanceDetach(v) }
      }
    }
  }

  private mutating func diskDone(_ id: WorkID, _ fault: DiskFault?) {
    let v = endDiskWork(id)
    switch id.kind {
    case .appWrite: appWriteDone(id.slot, fault)
    case .appRead: appReadDone(id.slot, fault)
    case .appFlush: appFlushDone(id.slot, fault)
    case .peerWrite: peerWriteDone(id.slot, fault)
    case .peerRead: peerReadDone(id.slot, fault)
    case .resyncRead: resyncReadDone(id.slot, fault)
    case .resyncWrite: resyncWriteDone(id.slot, fault)
    case .epochFlush: epochFlushDone(id.slot, fault)
    case .bracket: resyncFlushDone(id.slot, fault)
    default: preconditionFailure("disk answer to something that is no disk work")
    }
    advanceDetach(v)
  }

  private mutating func examined(_ id: WorkID, _ finding: Finding) {
    let v = endDiskWork(id)
    switch id.kind {
    case .resyncRead: resyncExamined(id.slot, finding)
    case .checksum: checksumExamined(id.slot, finding)
    case .verify: verifyExamined(id.slot, finding)
    default: preconditionFailure("a finding about something that was not examined")
    }
    advanceDetach(v)
  }

  private mutating func sent(_ id: WorkID) {
    switch id.kind {
    case .appWrite: appWriteSent(id.slot)
    case .peerRead, .resyncRead: replySent(id.slot)
    case .exchange: bitmapPacketSent(id.slot)
    case .announcement: announcementSent(id.slot)
    default: preconditionFailure("sent answer to something that was not sent")
    }
  }

  private mutating func tick() {
    linkTick()
    livenessTick()
    fencingTick()
    reattachTick()
    volumeChangeTick()
    epochTick()
    for v in 0..<volumes.count {
      resyncTick(v)
      verifyTick(v)
      attachTick(v)
    }
  }

  /// When `.tick` is due; nil: nothing waits for time.
  public var nextDeadline: Instant? {
    var next = linkDeadline
    func sooner(_ other: Instant?) {
      guard let other else { return }
      if next == nil || other < next! { next = other }
    }
    sooner(livenessDeadline)
    sooner(fencingDeadline)
    sooner(epochDeadline)
    sooner(link.reattach?.until)
    sooner(volumeChange?.until)
    for v in 0..<volumes.count {
      sooner(volumes[v].resync.deadline)
      sooner(volumes[v].verify.nextStep)
      sooner(volumes[v].attach.deadline)
    }
    return next
  }

  /// Takes over changed options (`adjust`). What both nodes have to agree on is told to the peer by
  /// `announceOptions` or at the next connect, the size of the activity log changes at the next attach; everything else holds at once. The
  /// volumes are those that the engine has: `changeVolumes` comes before.
  public mutating func adopt(_ new: ResourceSettings, net adoption: NetAdoption = .taken(except: [])) {
    precondition(new.volumes.count == volumes.count, "other volumes than those of the engine")
    let net = settings.net
    settings = new
    switch adoption {
    case .kept: settings.net = net
    case .taken(let except): settings.net.keep(except, of: net)
    }
    for one in new.volumes { volumes[index(one.number)].settings = one }
  }
}
