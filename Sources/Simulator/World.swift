// A world of two nodes in one seed: it drives two whole nodes made of the same Engine, MetaDisk and Protocol code as the
// daemon, and decides everything around them. Law: the same seed and circumstances give the same life, event by event.
import Base
import Engine
import MetaDisk
import Protocol

/// A law was broken; the seed replays it.
public struct BrokenLaw: Error, CustomStringConvertible, Sendable {
  public var law: String
  public var seed: UInt64
  /// Nanoseconds since the beginning of this life.
  public var time: UInt64
  public var description: String {
    "\(law) (seed \(seed), at \(Trace.seconds(time)) s; replay: scripts/sim \(seed))"
  }
}

public final class World {
  public let seed: UInt64
  public let circumstances: Circumstances
  public let era: Era
  /// Called with every line of the trace, when set.
  public var trace: ((String) -> Void)? {
    didSet { isTracing = trace != nil }
  }
  var isTracing = false

  public internal(set) var now: UInt64 = 1_000_000_000
  public internal(set) var events = 0
  /// Changes with everything that happens: equal lives have equal fingerprints.
  public private(set) var fingerprint: UInt64 = 0xcbf2_9ce4_8422_2325
  /// Of all effects, while `fingerprintsEffects`.
  var effectsPrint = Fingerprint()
  public var fingerprintsEffects = false
  /// Two builds that ask for the same, in the same order and at the same moments, have the same number.
  public var effectsFingerprint: UInt64 { effectsPrint.value }
  var random: SeededGenerator
  var schedule = Schedule()
  var pool = FakePool()
  let nodes: [Node]
  var connections: [Connection?] = []
  var openConnections: [Int] = []
  /// The cable is whole.
  var cableIsWhole = true
  /// By node: nothing that it sends arrives.
  var isMuted = [false, false]
  /// Everything takes so many times longer to send.
  var linkSlowness: UInt64 = 1

  let histories: [History]
  var client: Client
  var keeper = Keeper()
  var rudeness: Rudeness
  /// Copies of disks, by node and volume.
  var images: [[FakeDisk?]] = [[], []]
  var commands = Commands()
  var cluster: Cluster
  var faults: Faults = []
  /// Number of the event at which the next fault comes, and how many this round has met; from the second era on.
  var nextFault = Int.max
  var faultsMet = 0
  /// How often each property and fault was met.
  public internal(set) var census = Census()
  var actions: Actions = []
  var plantedLeft = 0
  /// By node and volume: what the third node has.
  var thirdCopies: [[ThirdCopy?]] = [[], []]
  var ledger = Ledger()
  var broken: BrokenLaw?
  /// A life is broken off after so many events, wherever it is: for tests that have little time.
  public var mostEvents = Int.max
  var isOver = false

  /// The circumstances are drawn from the seed when none are given.
  public init(
    seed: UInt64, circumstances given: Circumstances? = nil, planting: PlantedFault? = nil, drawsFencing: Bool = true,
    era: Era = .latest
  ) {
    self.seed = seed
    self.era = era
    var random = SeededGenerator(seed: seed &* 0x9e37_79b9_7f4a_7c15 &+ 0x1234_5678)
    let drawn = Circumstances.drawn(&random, hasFewSlots: era >= .second || planting != nil)
    var circumstances = given ?? drawn
    if let planting { circumstances.plant(planting) }
    // Drawn apart, so that the other lives stay what they are.
    var apart = SeededGenerator(seed: seed &+ 0x67_726f_77)
    if given == nil, planting == nil, apart.oneIn(5) {
      circumstances.actions.insert(.grow)
      for v in circumstances.volumes.indices { circumstances.volumes[v].room = (1 + apart.below(6)) << 19 }
    }
    apart = SeededGenerator(seed: seed &+ 0x6f_7074)
    if given == nil, circumstances.wireProtocol != .c, apart.oneIn(2) { circumstances.actions.insert(.options) }
    rudeness = Rudeness(seed: seed &+ 0x72_75_64_65)
    cluster = Cluster(seed: seed &+ 0x66_656e_6365)
    if given == nil, planting == nil, drawsFencing { circumstances.drawFencing(seed) }
    if era >= .second, given == nil, planting == nil {
      circumstances.drawUnequal(seed)
      circumstances.drawFocus(seed)
      if era >= .third { circumstances.drawThird(seed) }
      if !drawsFencing { circumstances.net.fencing = .dontCare }
    }
    // Skipping the first resync needs version 90.
    if circumstances.maximumVersion.min()! < 90 { circumstances.startsWithFullSync = true }
    self.circumstances = circumstances
    let nodes = (0...1).map { World.node($0, circumstances) }
    self.nodes = nodes
    histories = circumstances.volumes.indices.map { v in
      let sectors = min(nodes[0].disks[v].dataSectors, nodes[1].disks[v].dataSectors)
      return History(sectors: sectors, original: circumstances.startsWithFullSync ? Stamps.original(0) : Stamps.zero)
    }
    thirdCopies = [[], []].map { (_: [Int]) in [ThirdCopy?](repeating: nil, count: circumstances.volumes.count) }
    self.random = random
    client = Client(pattern: circumstances.client)
    images = images.map { _ in circumstances.volumes.map { _ in nil } }
    countProperties()
  }

  private static func node(_ index: Int, _ all: Circumstances) -> Node {
    var volumes: [VolumeSettings] = []
    for (number, one) in all.volumes.enumerated() {
      var settings = VolumeSettings(number: VolumeNumber(UInt16(number)))
      let disk = one.disk(of: index)
      settings.metaLocation = disk.location
      settings.alExtents = disk.alExtents
      settings.onIOError = disk.onIOError
      settings.resync = all.options.isEmpty ? all.resync : all.options[index].resync
      volumes.append(settings)
    }
    var settings = ResourceSettings(
      name: "r0", nodeID: Int32(index), peerNodeID: Int32(1 - index), peerName: index == 0 ? "beta" : "alpha",
      volumes: volumes)
    settings.net = all.net
    if !all.options.isEmpty { all.options[index].apply(to: &settings.net) }
    settings.net.wireProtocol = all.wireProtocol
    settings.net.maximumVersion = all.maximumVersion[index]
    settings.net.useRLE = all.useRLE[index]
    settings.net.cramHMAC = all.cramHMAC
    settings.maxRequests = 64
    let disks = all.volumes.map { one in
      FakeDisk.created(
        one, node: index, original: all.startsWithFullSync ? Stamps.original(index) : Stamps.zero, room: one.room)
    }
    if all.planted == .forgottenFlush { for disk in disks { disk.forgetsFlushes = true } }
    if all.planted == .halfBarrier { for disk in disks { disk.barriersSpareData = true } }
    return Node(index: index, settings: settings, disks: disks)
  }

  // MARK: the loop

  /// The one thing that happens next. False: nothing will ever happen again.
  func step() -> Bool {
    if events >= nextFault { misfortune() }
    let first = nodes[0].wakesAt
    let second = nodes[1].wakesAt
    let scheduled = schedule.next
    let due = min(first, second)
    if due < scheduled {
      now = max(now, due)
      let n = first <= second ? 0 : 1
      nodes[n].ticksInARow += 1
      if nodes[n].ticksInARow > 1000 { breakLaw("\(name(n)) asks for a tick again and again") }
      feed(n, .tick)
      return true
    }
    guard scheduled != .max else { return false }
    let happening = schedule.pop()
    now = max(now, happening.time)
    happen(happening)
    return true
  }

  /// Hands one event to an engine and does what it asks for.
  func feed(_ n: Int, _ event: consuming Event) {
    let node = nodes[n]
    if isTracing { say(n, Trace.event(event)) }
    events += 1
    note(UInt64(n) << 32 | UInt64(events & 0xffff))
    node.engine.handle(event, at: Instant(nanoseconds: now), into: &node.effects)
    afterEvent(n)
  }

  func feedMetaRead(_ n: Int, _ id: WorkID, _ bytes: UnsafeRawBufferPointer) {
    let node = nodes[n]
    if isTracing { say(n, "metadata read: \(bytes.count) bytes") }
    events += 1
    node.engine.metaRead(id, bytes.bytes, at: Instant(nanoseconds: now), into: &node.effects)
    afterEvent(n)
  }

  private func afterEvent(_ n: Int) {
    let node = nodes[n]
    while let effect = node.effects.popFirst() {
      if isTracing { say(n, "   " + Trace.effect(effect)) }
      if fingerprintsEffects { mix(n, effect) }
      carry(n, effect)
    }
    if isTracing, keeper.trustChanged {
      keeper.trustChanged = false
      say("to be trusted: alpha \(keeper.truth[0]), beta \(keeper.truth[1])")
    }
    if UInt64(events) % circumstances.invariantsEvery == 0 { node.engine.checkInvariants() }
    node.noteDeadline()
  }

  /// Mixes a number into the fingerprint.
  @inline(__always) func note(_ value: UInt64) { fingerprint = (fingerprint ^ value ^ now) &* 0x0100_0000_01b3 }

  private func happen(_ it: Happening) {
    let n = Int(it.node)
    switch it.kind {
    case .attempt: attemptArrives(Int(it.argument), n, it.life)
    case .delivery: deliver(Int(it.argument), from: n)
    case .heal: mendCable()
    case .client: clientWakes()
    case .operate: operatorWakes()
    case .fault: somethingGoesWrong()
    case .mend: mend(n, it.argument)
    case .boot: if it.life == nodes[n].life { boot(n) }
    default:
      guard nodes[n].isRunning, it.life == nodes[n].life else { return }
      if now < nodes[n].stalledUntil { return schedule.postpone(it, to: nodes[n].stalledUntil) }
      nodes[n].ticksInARow = 0
      happenToNode(n, it)
    }
  }

  private func happenToNode(_ n: Int, _ it: Happening) {
    switch it.kind {
    case .diskDone, .metaDone: diskWorkDone(n, Int(it.argument))
    case .diskOpened:
      feed(n, .diskOpened(nodes[n].settings.volumes[Int(it.argument)].number, nodes[n].disks[Int(it.argument)].facts))
    case .diskMeasured:
      feed(n, .diskMeasured(nodes[n].settings.volumes[Int(it.argument)].number, nodes[n].disks[Int(it.argument)].facts))
    case .diskRefused:
      feed(
        n,
        .diskRefused(
          nodes[n].settings.volumes[Int(it.argument)].number, number: 104, why: "the disk does not answer"))
    case .diskClosed: feed(n, .diskClosed(nodes[n].settings.volumes[Int(it.argument)].number))
    case .sent:
      if let payload = nodes[n].sending.popFirst()! { pool.end(payload) }
      feed(n, .sent(work(it)))
    case .handlerDone:
      guard let exit = handlerExit(n, work(it)) else { return }
      nodes[n].handlersUnderWay -= 1
      nodes[n].handlerEnded = now
      feed(n, .handlerDone(work(it), exit: exit))
    case .signed: feed(n, .signed(work(it), ledger.takeDigest(n, work(it))))
    case .drawn: feed(n, .challengeDrawn(World.challenge(of: n, at: now)))
    case .connected: connectionStands(n, Int(it.argument))
    case .connectFailed:
      nodes[n].isConnecting = false
      feed(n, .connectFailed(why: it.extra == 0 ? "connection refused" : "timed out"))
    case .accepted: connectionAccepted(n, Int(it.argument))
    case .socketClosed: socketIsClosed(n, Int(it.argument))
    default: preconditionFailure("not a happening of a node")
    }
  }

  func plan(_ kind: Kind, after delay: UInt64, on n: Int, _ argument: UInt64 = 0, extra: UInt8 = 0) {
    schedule.add(kind, at: now + delay, node: n, life: nodes[n].life, extra: extra, argument)
  }

  /// A happening that carries a work id: the kind travels in `extra`.
  func plan(_ kind: Kind, at time: UInt64, on n: Int, _ id: WorkID) {
    schedule.add(kind, at: time, node: n, life: nodes[n].life, extra: id.kind.rawValue, id.slot.raw)
  }
  private func work(_ it: Happening) -> WorkID {
    WorkID(kind: WorkID.Kind(rawValue: it.extra)!, slot: SlotID(raw: it.argument))
  }

  // MARK: reports

  func name(_ n: Int) -> String { n == 0 ? "alpha" : "beta" }

  func say(_ n: Int, _ text: String) { trace?("\(Trace.seconds(now)) \(n == 0 ? "alpha" : "beta ") \(text)") }
  func say(_ text: String) {
    if isTracing { trace?("\(Trace.seconds(now)) ----- \(text)") }
  }

  /// The first broken law ends this life.
  func breakLaw(_ law: @autoclosure () -> String) {
    if broken != nil { return }
    broken = BrokenLaw(law: law(), seed: seed, time: now)
    if isTracing { say("LAW BROKEN: \(broken!.law)") }
  }
}
