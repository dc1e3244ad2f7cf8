// Everything a seed decides before the first event: sizes, formats, protocol, timing, what the application does and what
// goes wrong. A named scenario starts from `Circumstances.calm` and changes what it is about.
import Base
import Engine
import MetaDisk

/// What may go wrong by itself.
public struct Faults: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  /// The daemon is killed; machine, disk and page cache live on.
  public static let kill = Faults(rawValue: 1)
  /// The machine loses power: unflushed writes survive by chance.
  public static let powerCut = Faults(rawValue: 2)
  /// Nothing passes for a while.
  public static let linkCut = Faults(rawValue: 4)
  /// One TCP connection is reset.
  public static let reset = Faults(rawValue: 8)
  public static let slowDisk = Faults(rawValue: 16)
  /// Disk operations fail for a while.
  public static let diskError = Faults(rawValue: 32)
  public static let everything: Faults = [.kill, .powerCut, .linkCut, .reset, .slowDisk, .diskError]
  // Since the second era.
  /// A few operations of one kind fail, the others do not.
  public static let singleErrors = Faults(rawValue: 64)
  /// What is asked of a disk is not answered for seconds.
  public static let stuckDisk = Faults(rawValue: 128)
  /// A process gets no time for seconds, then all that has happened at once.
  public static let stall = Faults(rawValue: 256)
  /// Nothing passes in one direction.
  public static let oneWayCut = Faults(rawValue: 512)
  /// Lost packets of one direction of one connection are sent again: the other connection overtakes it.
  public static let packetLoss = Faults(rawValue: 1024)
  public static let slowLink = Faults(rawValue: 2048)
  /// Since the third era: a payload is damaged on its way. Only where payloads carry digests.
  public static let damagedPayload = Faults(rawValue: 4096)
  public static let all: Faults = [
    .everything, .singleErrors, .stuckDisk, .stall, .oneWayCut, .packetLoss, .slowLink,
  ]
}

/// What an administrator or a cluster manager does now and then.
public struct Actions: OptionSet, Hashable, Sendable {
  public var rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }
  public static let switchOver = Actions(rawValue: 1)
  public static let failOver = Actions(rawValue: 2)
  public static let disconnect = Actions(rawValue: 4)
  public static let detach = Actions(rawValue: 8)
  public static let invalidate = Actions(rawValue: 16)
  public static let downUp = Actions(rawValue: 32)
  public static let pause = Actions(rawValue: 64)
  /// Commands that have to be refused.
  public static let nonsense = Actions(rawValue: 128)
  /// The disks grow, and a node is told. In one life of five, without a change to the others.
  public static let grow = Actions(rawValue: 256)
  /// The protocol of both nodes is changed. In half of the lives that are not of protocol C, whose laws are the strictest.
  public static let options = Actions(rawValue: 512)
  public static let everything: Actions = [
    .switchOver, .failOver, .disconnect, .detach, .invalidate, .downUp, .pause, .nonsense,
  ]
  // Since the second era.
  /// Every command of `Engine/Admin/Command.swift` at any moment, where a person would not destroy the only good copy.
  public static let anything = Actions(rawValue: 1024)
  /// A disk is replaced: blank, larger, or an old image of itself; attached while connected, or before.
  public static let replaceDisk = Actions(rawValue: 2048)
  public static let all: Actions = [.everything, .grow, .options, .anything, .replaceDisk]
}

/// A world that breaks a law, to prove that the laws are watched. Never in the engine.
public enum PlantedFault: String, CaseIterable, Sendable {
  /// A disk answers flushes without doing them.
  case forgottenFlush = "forgotten-flush"
  /// A barrier of metadata on a device of their own leaves the data where they are.
  case halfBarrier = "half-barrier"
  /// A disk of the Secondary answers some writes without doing them.
  case forgottenWrite = "forgotten-write"
  /// Metadata writes of the bitmap are answered and not done.
  case forgottenBitmap = "forgotten-bitmap"
  /// The activity log is answered and not written.
  case forgottenLog = "forgotten-log"
  /// The wire turns some P_DATA into one for the neighbouring block.
  case misplacedWrite = "misplaced-write"
  /// The wire loses acks of resync writes.
  case lostAck = "lost-ack"
  /// Some reads return what the block contained before.
  case staleRead = "stale-read"
}

public struct VolumeCircumstances: Sendable {
  public var deviceBytes: [UInt64]
  public var metaBytes: UInt64 = 1 << 20
  public var format = MetaFormat.v09
  public var location = MetaLocation.internal
  public var logicalBlock: UInt32 = 512
  public var alExtents: UInt32 = 67
  /// Bitmap slots of v09; the last one of several is that of a third node.
  public var slots: UInt32 = 1
  /// So many bytes each device grows by in the end.
  public var room: UInt64 = 0
  /// The disks of the two nodes, where they differ.
  public var apart: [NodeDisk] = []
  public init(bytes: UInt64) { deviceBytes = [bytes, bytes] }
}

/// How the application uses its disk.
public struct ClientPattern: Sendable {
  public var depth = 8
  /// Out of 1000 requests.
  public var reads: UInt64 = 200
  public var flushes: UInt64 = 20
  public var fua: UInt64 = 20
  public var discards: UInt64 = 5
  public var zeroes: UInt64 = 5
  /// Out of 1000 writes: larger than 4 KiB; smaller than 4 KiB.
  public var large: UInt64 = 60
  public var small: UInt64 = 100
  /// Overlapping requests may be under way at once.
  public var overlaps = false
  /// Extents that most requests go to.
  public var hotExtents: UInt64 = 8
  /// Sectors of an extent that most requests go to.
  public var spread: UInt64 = 8192
  /// These lie around its end.
  public var straddles = false
  /// A database's log: one write, then one flush, again and again, with reads in between.
  public var isLog = false
  /// Nanoseconds between an answer and the next request, at most.
  public var thinkTime: UInt64 = 100_000
  /// Once in so many requests it rests for up to `rest`.
  public var restOneIn: UInt64 = 400
  public var rest: UInt64 = 300_000_000
  public init() {}
}

public struct Circumstances: Sendable {
  public var volumes: [VolumeCircumstances] = []
  public var wireProtocol = WireProtocol.c
  public var maximumVersion: [UInt32] = [101, 101]
  public var useRLE = [true, true]
  public var cramHMAC = ""
  /// Settings of connection and resync, to be changed by scenarios.
  public var net = NetSettings()
  public var resync = ResyncSettings()
  public var client = ClientPattern()
  public var faults: Faults = []
  public var actions: Actions = []
  /// Nanoseconds between two faults, two actions; on average.
  public var faultEvery: UInt64 = 4_000_000_000
  public var actionEvery: UInt64 = 3_000_000_000
  /// Nanoseconds from one node to the other; bytes per millisecond.
  public var latency: UInt64 = 100_000
  public var bandwidth: UInt64 = 1_000_000
  public var sendBuffer = 4 << 20
  public var diskLatency: UInt64 = 80_000
  /// Every packet through its bytes, in fragments.
  public var encodesPackets = false
  /// The disks start different and are made equal by a full resync.
  public var startsWithFullSync = false
  public var planted: PlantedFault?
  /// Of the two nodes, where they differ.
  public var options: [NodeOptions] = []
  /// A round is over when so many faults were met; 0: faults come by the clock, and a round has its number of events.
  public var faultsWanted = 0
  /// The node whose packets are changed, repeated, reordered and left out on their way; nil: both are polite.
  public var rude: Int?
  /// In every round a person replaces a disk.
  public var replacesDisks = false
  /// Deaths wait for a moment that matters, and follow each other.
  public var isDeadly = false
  /// Half of them wait for this one.
  var favourite: Strike.Target?
  /// One disk operation in four takes up to 2 to the power of this times longer than the others.
  public var diskJitter: UInt64 = 0
  /// Check the engine's invariants once in so many events.
  public var invariantsEvery: UInt64 = 64

  public init() {}

  /// Two small volumes' worth of nothing going wrong: the base of named scenarios.
  public static func calm(bytes: UInt64 = 16 << 20) -> Circumstances {
    var all = Circumstances()
    all.volumes = [VolumeCircumstances(bytes: bytes)]
    all.hasten()
    return all
  }

  /// Timeouts of a second instead of ten, and resync as fast as it goes: a life is short.
  mutating func hasten() {
    net.connectInterval = .seconds(1)
    net.pingInterval = .seconds(2)
    net.pingTimeout = .milliseconds(300)
    net.timeout = .deciseconds(15)
    net.koCount = 3
    resync.planAhead = 0
    resync.rate = 400_000
    resync.rateIsConfigured = true
  }

  /// Where the fault can be met.
  mutating func plant(_ fault: PlantedFault) {
    planted = fault
    if fault == .halfBarrier { for v in volumes.indices { volumes[v].location = .external } }
  }

  /// One life in four has fencing, without a change to the others.
  mutating func drawFencing(_ seed: UInt64) {
    var apart = SeededGenerator(seed: seed &+ 0x66_656e_63)
    if apart.oneIn(4) { net.fencing = apart.oneIn(3) ? .resourceOnly : .resourceAndStonith }
  }

  /// What this seed is about.
  public static func drawn(_ random: inout SeededGenerator, hasFewSlots: Bool = true) -> Circumstances {
    var all = Circumstances()
    all.hasten()
    let count = random.oneIn(4) ? 2 : 1
    for _ in 0..<count { all.volumes.append(.drawn(&random, small: count > 1, hasFewSlots: hasFewSlots)) }
    all.wireProtocol = random.oneIn(5) ? (random.oneIn(2) ? .a : .b) : .c
    if random.oneIn(6) { all.maximumVersion[0] = 91 + UInt32(random.below(11)) }
    if random.oneIn(6) { all.maximumVersion[1] = 91 + UInt32(random.below(11)) }
    // Below 91 a resync that was cut at an unlucky moment has no rule that lets it go on: only calm lives.
    let isAncient = random.oneIn(30)
    if isAncient { all.maximumVersion[Int(random.below(2))] = 86 + UInt32(random.below(5)) }
    // Before 100 packets name no volume.
    if all.maximumVersion.min()! < 100 { all.volumes.removeLast(count - 1) }
    all.useRLE = [!random.oneIn(4), !random.oneIn(4)]
    if random.oneIn(5) { all.cramHMAC = "sha1" }
    if random.oneIn(3) { all.net.koCount = random.below(8) }
    if random.oneIn(3) { all.net.maxEpochSize = UInt32(1 + random.below(40)) }
    if random.oneIn(3) { all.net.maxBuffers = UInt32(32 + random.below(500)) }
    if random.oneIn(3) {
      all.resync.planAhead = 20
      all.resync.rateIsConfigured = false
    }
    all.client = .drawn(&random)
    let few = random.oneIn(3)
    all.faults = few ? Faults(rawValue: 1 << UInt32(random.below(6))) : .everything
    if !few { all.faults.subtract(Faults(rawValue: UInt32(random.below(64)))) }
    all.actions = Actions(rawValue: UInt32(random.next() & 255)).union(.failOver)
    if isAncient {
      all.faults = [.slowDisk]
      all.actions = [.switchOver, .failOver]
    }
    all.faultEvery = 300_000_000 + random.below(8_000_000_000)
    all.actionEvery = 200_000_000 + random.below(5_000_000_000)
    all.latency = 20_000 << random.below(9)
    all.bandwidth = 20_000 << random.below(7)
    all.sendBuffer = 65_536 << Int(random.below(7))
    all.diskLatency = 10_000 << random.below(8)
    all.encodesPackets = random.oneIn(12)
    all.startsWithFullSync = random.oneIn(5)
    all.net.verifyAlgorithm = "crc32c"
    if random.oneIn(3) { all.net.checksumAlgorithm = "sha1" }
    if random.oneIn(4) { all.resync.discardGranularity = 4096 << UInt32(random.below(9)) }
    return all
  }
}

extension VolumeCircumstances {
  static func drawn(_ random: inout SeededGenerator, small: Bool, hasFewSlots: Bool) -> VolumeCircumstances {
    let mebibytes = random.oneIn(4) && !small ? 16 + random.below(385) : 2 + random.below(40)
    var one = VolumeCircumstances(bytes: mebibytes << 20)
    // Sizes that are no multiple of anything, and two nodes that differ.
    if random.oneIn(3) { one.deviceBytes[0] += random.below(2048) * 512 }
    one.deviceBytes[1] = random.oneIn(3) ? one.deviceBytes[0] + random.below(4096) * 512 : one.deviceBytes[0]
    one.format = random.oneIn(2) ? .v08 : .v09
    if hasFewSlots, one.format == .v09, random.oneIn(3) { one.slots = 2 + UInt32(random.below(3)) }
    one.location = random.oneIn(4) ? .external : .internal
    one.logicalBlock = random.oneIn(5) ? 4096 : 512
    if one.logicalBlock == 4096 { for i in 0...1 { one.deviceBytes[i] = one.deviceBytes[i] / 4096 * 4096 } }
    // Few slots, and extents leave the log all the time: these volumes are small.
    one.alExtents = random.oneIn(3) ? 1237 : hasFewSlots ? random.oneIn(3) ? 67 : UInt32(4 + random.below(8)) : 67
    return one
  }
}

extension ClientPattern {
  static func drawn(_ random: inout SeededGenerator) -> ClientPattern {
    var one = ClientPattern()
    one.depth = 1 << Int(random.below(6))
    one.reads = random.below(500)
    one.flushes = random.oneIn(3) ? 0 : random.below(100)
    one.fua = random.oneIn(3) ? 0 : random.below(100)
    one.discards = random.oneIn(2) ? 0 : random.below(40)
    one.zeroes = random.oneIn(2) ? 0 : random.below(40)
    one.large = random.below(100)
    one.small = random.oneIn(2) ? 0 : random.below(400)
    one.overlaps = random.oneIn(4)
    one.hotExtents = 1 + random.below(100)
    one.thinkTime = 1 << (10 + random.below(14))
    one.restOneIn = 20 + random.below(1000)
    one.rest = 1 << (20 + random.below(11))
    one.isLog = one.flushes >= 85
    if one.isLog { one.depth = 1 }
    return one
  }
}
