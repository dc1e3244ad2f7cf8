// The loop: completions become events (Arrivals), each event's effects become submissions (Carry), and at the end of the
// turn everything that gathered (sends, receives) goes down with the one system call of the next turn. One thread. Law: the
// engine is entered for one event at a time, and its effects are carried out before the next.
import Base
import BlockIO
import Control
import Engine

struct Reactor: ~Copyable {
  var ring: Ring
  var pool: Pool
  var engine: Engine
  var effects = Effects(capacity: 256)
  /// Answers that were known while an effect was carried out: handled after it.
  var inbox = Queue<Event>(capacity: 64)
  var now: Instant

  var disks: DiskTable
  var peers: PeerTable
  var exports: ExportServer
  var control: ControlServer
  var handlers: Handlers
  var signals: Signals
  /// Held for as long as the process lives.
  let lock: PidFile
  var setup: Setup
  var journal: Journal
  var marks = ResyncMarks()
  var service: ServiceManager
  /// An `adjust` by which volumes come or go waits for the engine.
  var changing: VolumeAdjustment?

  /// A demotion or `down` is under way: no client may begin to use a volume.
  var isDemoting = false
  /// `.stateChanged` was seen: those who wait for a state look again.
  var stateMoved = false
  /// What the engine was told last about clients.
  var isOpen = false
  var ending = Ending.running
  var downIsDone = false
  /// What the pool had given back when the peer's sockets were looked at last.
  private var releasesSeen: UInt64 = 0

  enum Ending { case running, goingDown, over }

  init(
    ring: consuming Ring, pool: consuming Pool, engine: consuming Engine, disks: consuming DiskTable,
    peers: consuming PeerTable, exports: consuming ExportServer, control: consuming ControlServer,
    handlers: consuming Handlers, signals: consuming Signals, lock: consuming PidFile, setup: Setup, journal: Journal,
    service: consuming ServiceManager
  ) {
    self.ring = ring
    self.pool = pool
    self.engine = engine
    self.disks = disks
    self.peers = peers
    self.exports = exports
    self.control = control
    self.handlers = handlers
    self.signals = signals
    self.lock = lock
    self.setup = setup
    self.journal = journal
    self.service = service
    now = Clock.now()
  }

  /// Runs until the resource is down.
  mutating func run() {
    signals.wait(&ring, tag: Tag(kind: Kind.signal))
    settle()
    // The control socket listens, and the next turn answers who is there.
    sayReady()
    while ending != .over {
      ring.submitAndWait(until: deadline)
      now = Clock.now()
      while let completion = ring.next() { arrive(completion) }
      keepTime()
      settle()
    }
    service.stopping()
    journal.end()
  }

  // MARK: One event

  @inline(__always) mutating func handle(_ event: Event) {
    engine.handle(event, at: now, into: &effects)
    carryAll()
  }

  mutating func carryAll() {
    while let effect = effects.popFirst() { carry(effect) }
    assert(engine.checkInvariants() == ())
  }

  // MARK: The end of a turn

  /// Goes round until nobody has anything to say, then starts what gathered.
  private mutating func settle() {
    repeat {
      settleAnswers()
      releasesSeen = pool.releases
      for place in 0..<peers.sockets.capacity
      where peers.sockets.contains(place) && peers.sockets[place].waits { pump(place) }
      exports.retryStalled(pool)
      while let place = exports.popDirty() { service(place) }
      tellUsage()
      if stateMoved {
        stateMoved = false
        refreshExports()
        control.stateMoved()
        sayStatus()
      }
      serveControl()
    } while !inbox.isEmpty || stateMoved || !exports.dirty.isEmpty || control.hasWork || memoryCame
    disks.startWaiting(&pool, &ring)
    for place in 0..<peers.sockets.capacity where peers.sockets.contains(place) {
      peers.sockets[place].submit(pool, &ring)
      peers.sockets[place].receive(pool, &ring)
    }
  }

  /// For somebody who waits for it: nothing else need ever happen that would make them look.
  private var memoryCame: Bool {
    if exports.canRetry(pool) { return true }
    guard pool.releases != releasesSeen else { return false }
    for place in 0..<peers.sockets.capacity where peers.sockets.contains(place) && peers.sockets[place].waits {
      return true
    }
    return false
  }

  private mutating func tellUsage() {
    let open = exports.users > 0
    if open == isOpen { return }
    isOpen = open
    handle(.usageChanged(isOpen: open))
  }

  /// Answers that came while effects were carried out.
  mutating func settleAnswers() {
    var again = true
    while again {
      again = false
      while let event = inbox.popFirst() {
        handle(event)
        again = true
      }
      while let done = disks.next(&pool) {
        finish(done)
        again = true
      }
      while let place = peers.popAwake() {
        pump(place)
        again = true
      }
    }
  }

  mutating func refreshExports() {
    let role = isDemoting ? Role.secondary : engine.role
    for volume in setup.hosted.volumes {
      exports.refresh(volume.number, role: role)
    }
  }

  // MARK: Time

  private var deadline: Instant? {
    var next = engine.nextDeadline
    func sooner(_ other: Instant?) {
      guard let other else { return }
      if next == nil || other < next! { next = other }
    }
    sooner(peers.deadline)
    sooner(exports.deadline)
    sooner(control.deadline)
    sooner(journal.deadline)
    sooner(service.deadline)
    return next
  }

  private mutating func keepTime() {
    if let due = engine.nextDeadline, now >= due { handle(.tick) }
    peers.giveUpAttempt(at: now, &ring)
    peers.resumeAccepting(at: now, &ring)
    exports.entrances.resume(at: now, &ring) { journal.info($0) }
    control.resumeAccepting(at: now, &ring)
    for place in 0..<peers.sockets.capacity where peers.sockets.contains(place) {
      if case .lingering(let until) = peers.sockets[place].phase, now >= until {
        peers.sockets[place].end()
        pump(place)
      }
    }
    exports.hangUpSilent(at: now)
    journal.keepTime(at: now)
    service.keepTime(at: now)
  }
}
