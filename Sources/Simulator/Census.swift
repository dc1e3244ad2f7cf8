// How often each property of a world and each fault was met: what a run of lives really tried.
import Base
import Engine
import MetaDisk

public struct Census: Sendable {
  public private(set) var counts: [String: Int] = [:]
  public init() {}
  mutating func add(_ name: String, _ times: Int = 1) { counts[name, default: 0] += times }

  /// What one life had, into what all lives had: `lives` counts it once, `times` as often as it was met.
  public static func += (all: inout LivesCensus, one: Census) {
    for (name, times) in one.counts { all.add(name, times) }
    all.lives += 1
  }
}

public struct LivesCensus: Sendable {
  public var lives = 0
  private var met: [String: (lives: Int, times: Int)] = [:]
  public init() {}

  mutating func add(_ name: String, _ times: Int) {
    let before = met[name] ?? (0, 0)
    met[name] = (before.lives + 1, before.times + times)
  }

  /// A line for each: in how many of 1,000 lives, and how often in these.
  public var table: String {
    let width = met.keys.map(\.count).max() ?? 0
    return met.sorted { $0.key < $1.key }.map { name, found in
      name + String(repeating: " ", count: width - name.count) + "  "
        + padded(found.lives * 1000 / max(1, lives), 5) + padded(found.times * 1000 / max(1, lives), 9)
    }.joined(separator: "\n")
  }

  private func padded(_ number: Int, _ width: Int) -> String {
    let text = String(number)
    return String(repeating: " ", count: max(0, width - text.count)) + text
  }
}

extension Faults {
  /// With the names that reports use.
  static let each: [(fault: Faults, name: String)] = [
    (.kill, "process killed"), (.powerCut, "power cut"), (.linkCut, "link cut"), (.reset, "connection reset"),
    (.slowDisk, "slow disks"), (.diskError, "disk fails for a while"), (.singleErrors, "single errors are due"),
    (.stuckDisk, "stuck disks"), (.stall, "process without time"), (.oneWayCut, "one-way cut"),
    (.packetLoss, "packets sent again"), (.slowLink, "slow link"), (.damagedPayload, "a damaged payload"),
  ]
}

extension Actions {
  static let each: [(action: Actions, name: String)] = [
    (.switchOver, "switch-over"), (.disconnect, "disconnect"), (.detach, "detach"), (.invalidate, "invalidate"),
    (.downUp, "down and up"), (.pause, "pause-sync"), (.nonsense, "a command that is refused, or verify"),
    (.grow, "disks grow, resize"), (.options, "another protocol"), (.replaceDisk, "a disk is to be replaced"),
  ]
}

extension World {
  /// What was drawn.
  func countProperties() {
    let all = circumstances
    census.add("world: \(all.volumes.count) volume\(all.volumes.count == 1 ? "" : "s")")
    census.add("world: protocol \(all.wireProtocol.letter)")
    for one in all.volumes {
      let (a, b) = (one.disk(of: 0), one.disk(of: 1))
      if nodes[0].disks[0].dataSectors != nodes[1].disks[0].dataSectors { census.add("world: disks of two sizes") }
      if a.format != b.format { census.add("world: v08 and v09") }
      census.add(a.location == b.location ? "world: metadata \(a.location)" : "world: internal and external metadata")
      if a.canDiscard != b.canDiscard { census.add("world: one disk discards") }
      if a.slowness != b.slowness { census.add("world: one disk is slower") }
      if a.logicalBlock != b.logicalBlock { census.add("world: sectors of 512 and 4096") }
      if a.onIOError != b.onIOError { census.add("world: two values of on-io-error") }
      if a.onIOError == .passOn || b.onIOError == .passOn { census.add("world: on-io-error pass_on") }
    }
    if all.maximumVersion[0] != all.maximumVersion[1] { census.add("world: two versions") }
    if all.maximumVersion.min()! < 100 { census.add("world: a version below 100") }
    if !all.net.checksumAlgorithm.isEmpty { census.add("world: csums-alg") }
    if !all.net.integrityAlgorithm.isEmpty { census.add("world: data-integrity-alg") }
    if !all.net.cramHMAC.isEmpty { census.add("world: authentication") }
    if all.net.fencing != .dontCare { census.add("world: fencing") }
    if all.startsWithFullSync { census.add("world: begins with a full resync") }
    if all.encodesPackets { census.add("world: packets travel as bytes") }
    let isThin = nodes.contains { $0.settings.volumes[0].resync.discardGranularity > 0 }
    if isThin { census.add("world: thin resync") }
    if let rude = all.rude { census.add("world: a rude \(rude == 0 ? "Primary" : "Secondary")") }
    if all.isDeadly { census.add("world: deaths at every moment") }
    if all.client.spread < 8192 { census.add("world: few blocks") }
    if all.diskJitter > 0 { census.add("world: disks that finish out of turn") }
    if !all.options.isEmpty { census.add("world: two option sets") }
  }

  /// The volume may become larger than the application thinks.
  func mayGrow(_ v: Int) -> Bool { circumstances.volumes[v].room > 0 || era >= .second }
}
