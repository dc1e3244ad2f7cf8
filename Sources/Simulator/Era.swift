// Which draws a world makes. Law: a seed that once failed keeps the world it failed in, so what is drawn later is drawn
// for later eras only, from streams of its own.
import Base
import Engine
import MetaDisk

public enum Era: UInt8, Comparable, Sendable, CaseIterable {
  /// Two nodes that differ in little, faults by the clock, polite peers.
  case first = 1
  /// Nodes that differ in most things, single errors, stalls and partial cuts, faults by the number of events.
  case second = 2
  /// Disks are replaced in most lives, payloads are damaged under digests.
  case third = 3

  public static let latest = Era.third
  public static func < (a: Era, b: Era) -> Bool { a.rawValue < b.rawValue }
}

/// The disk of one node, where it is not what `VolumeCircumstances` says for both.
public struct NodeDisk: Sendable {
  public var format: MetaFormat
  public var location: MetaLocation
  public var logicalBlock: UInt32
  public var alExtents: UInt32
  public var canDiscard = true
  /// Everything takes so many times longer.
  public var slowness: UInt64 = 1
  public var onIOError = OnIOError.detach
}

/// Options of one node that need not agree with its peer's.
public struct NodeOptions: Sendable {
  public var koCount: UInt64
  public var timeout: Interval
  public var pingInterval: Interval
  public var pingTimeout: Interval
  public var connectInterval: Interval
  public var maxEpochSize: UInt32
  public var maxBuffers: UInt32
  public var resync: ResyncSettings
}

extension VolumeCircumstances {
  /// The disk of a node.
  func disk(of n: Int) -> NodeDisk {
    if apart.indices.contains(n) { return apart[n] }
    return NodeDisk(format: format, location: location, logicalBlock: logicalBlock, alExtents: alExtents)
  }
  /// What the application has to be aligned to: the larger of both.
  var unit: Int { Int(max(disk(of: 0).logicalBlock, disk(of: 1).logicalBlock)) / 512 }
}

extension Circumstances {
  /// Makes the two nodes of a drawn life differ, and puts most options into most lives.
  mutating func drawUnequal(_ seed: UInt64) {
    var apart = SeededGenerator(seed: seed &* 0x9e37_79b9_7f4a_7c15 &+ 0x75_6e_65_71)
    let isAncient = maximumVersion.min()! < 91
    drawVolumes(&apart)
    for v in volumes.indices {
      // A resync of a large disk takes the time of ten lives.
      if volumes[v].deviceBytes.max()! > 12 << 20, !apart.oneIn(64) {
        let bytes = (2 << 20) + apart.below(2560) * 4096
        volumes[v].deviceBytes = [bytes, bytes]
      }
      volumes[v].drawDisks(&apart)
      if apart.oneIn(2) { volumes[v].room = (1 + apart.below(6)) << 19 }
    }
    options = [.drawn(net, resync, &apart), .drawn(net, resync, &apart)]
    if !apart.oneIn(3) { net.checksumAlgorithm = "sha1" }
    net.checksumsAfterCrashOnly = apart.oneIn(4)
    if !encodesPackets, maximumVersion.min()! >= 87, apart.oneIn(3) { net.integrityAlgorithm = "crc32c" }
    if apart.oneIn(2) { net.fencing = apart.oneIn(3) ? .resourceOnly : .resourceAndStonith }
    if apart.oneIn(3) { wireProtocol = apart.oneIn(2) ? .a : .b }
    faultsWanted = 2 + Int(apart.below(7))
    if isAncient {
      faultsWanted = 1
      return
    }
    if apart.oneIn(8) { return makeRude(Int(apart.below(2))) }
    faults = Faults.all.subtracting(Faults(rawValue: UInt32(truncatingIfNeeded: apart.next() & apart.next())))
    actions = Actions.all.subtracting(Actions(rawValue: UInt32(truncatingIfNeeded: apart.next() & apart.next())))
    actions.insert(.failOver)
    if wireProtocol == .c { actions.remove(.options) }
    if apart.oneIn(4) { actions.remove(.anything) }
    actionEvery = 50_000_000 << apart.below(6)
  }

  private mutating func makeRude(_ n: Int) {
    rude = n
    encodesPackets = true
    net.fencing = .dontCare
    net.integrityAlgorithm = ""
    cramHMAC = ""
    faults = []
    actions = []
    while volumes.count > 2 { volumes.removeLast() }
    for v in volumes.indices {
      volumes[v].room = 0
      for n in 0...1 { volumes[v].deviceBytes[n] = min(volumes[v].deviceBytes[n], 24 << 20) }
    }
  }

  /// One volume in half of the lives, up to four in the others.
  private mutating func drawVolumes(_ apart: inout SeededGenerator) {
    if maximumVersion.min()! < 100 { return }
    let count = apart.oneIn(2) ? 1 : 2 + Int(apart.below(3))
    while volumes.count > count { volumes.removeLast() }
    while volumes.count < count { volumes.append(.drawn(&apart, small: true, hasFewSlots: true)) }
  }
}

extension VolumeCircumstances {
  fileprivate mutating func drawDisks(_ apart: inout SeededGenerator) {
    if deviceBytes[0] == deviceBytes[1], !apart.oneIn(3) {
      deviceBytes[Int(apart.below(2))] += (1 + apart.below(1024)) * 4096
    }
    self.apart = []
    for _ in 0...1 {
      var one = NodeDisk(format: format, location: location, logicalBlock: logicalBlock, alExtents: alExtents)
      if apart.oneIn(2) { one.format = apart.oneIn(2) ? .v08 : .v09 }
      if apart.oneIn(2) { one.location = apart.oneIn(2) ? .external : .internal }
      if apart.oneIn(3) { one.alExtents = apart.oneIn(2) ? 67 : 4 + UInt32(apart.below(300)) }
      one.canDiscard = !apart.oneIn(3)
      if apart.oneIn(3) { one.slowness = 1 << apart.below(6) }
      one.onIOError = [.detach, .detach, .passOn, .callLocalIOError][Int(apart.below(4))]
      if apart.oneIn(4) { one.logicalBlock = apart.oneIn(2) ? 512 : 4096 }
      self.apart.append(one)
    }
    if self.apart.contains(where: { $0.logicalBlock == 4096 }) {
      for n in 0...1 { deviceBytes[n] = deviceBytes[n] / 4096 * 4096 }
    }
    if self.apart.contains(where: { $0.format == .v08 }) { slots = 1 }
  }
}

extension NodeOptions {
  fileprivate static func drawn(
    _ net: NetSettings, _ resync: ResyncSettings, _ apart: inout SeededGenerator
  ) -> NodeOptions {
    var one = NodeOptions(
      koCount: net.koCount, timeout: net.timeout, pingInterval: net.pingInterval, pingTimeout: net.pingTimeout,
      connectInterval: net.connectInterval, maxEpochSize: net.maxEpochSize, maxBuffers: net.maxBuffers, resync: resync)
    if apart.oneIn(3) { one.koCount = apart.below(8) }
    if apart.oneIn(3) { one.timeout = .deciseconds(10 + apart.below(30)) }
    if apart.oneIn(3) { one.pingInterval = .seconds(1 + apart.below(4)) }
    if apart.oneIn(3) { one.pingTimeout = .milliseconds(100 + apart.below(600)) }
    if apart.oneIn(3) { one.connectInterval = .seconds(1 + apart.below(3)) }
    if apart.oneIn(2) { one.maxEpochSize = UInt32(1 + apart.below(60)) }
    if apart.oneIn(2) { one.maxBuffers = UInt32(32 + apart.below(500)) }
    if apart.oneIn(3) {
      one.resync.planAhead = 20
      one.resync.rateIsConfigured = false
      one.resync.minRate = UInt32(250 + apart.below(20_000))
    }
    one.resync.discardGranularity = apart.oneIn(2) ? 0 : 4096 << UInt32(apart.below(9))
    return one
  }

  func apply(to settings: inout NetSettings) {
    settings.koCount = koCount
    settings.timeout = timeout
    settings.pingInterval = pingInterval
    settings.pingTimeout = pingTimeout
    settings.connectInterval = connectInterval
    settings.maxEpochSize = maxEpochSize
    settings.maxBuffers = maxBuffers
  }
}
