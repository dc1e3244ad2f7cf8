// Short lives of two nodes, drawn from a seed: volume 1 comes and goes on either node at any moment, beside writes, cuts and power
// failures of the Secondary. Laws: no request to a volume that stays fails, and in the end both nodes hold what was written last.
import Base
import MetaDisk
import Testing

@testable import Engine

private final class VolumeLife {
  private let one = VolumeNumber(1)
  private let pair: Pair
  private let seed: UInt64
  private var random: SeededGenerator
  /// Commands that have no answer yet, of the first and of the second node.
  private var orders: [(to: ReplyTo, wanted: [VolumeSettings])?] = [nil, nil]
  private var attaching: [ReplyTo?] = [nil, nil]
  private var last: [VolumeNumber: [UInt64: UInt64]] = [:]
  private var tickets: [Ticket] = []
  private var stamp: UInt64 = 100
  private(set) var changes = 0

  init(_ seed: UInt64) throws {
    pair = try Pair(diskBytes: [8 << 20, 4 << 20], seed: seed)
    random = SeededGenerator(seed: seed &* 77 &+ 5)
    self.seed = seed
    pair.synced()
  }

  private func has(_ node: Node) -> Bool { node.engine.snapshot().volumes.contains { $0.number == one } }

  private func write() {
    var volumes = [VolumeNumber.zero]
    if orders[0] == nil, has(pair.alpha), pair.alpha.volume(one).disk == .upToDate { volumes.append(one) }
    let volume = volumes[Int(random.below(UInt64(volumes.count)))]
    let sector = random.below(200) * 8
    stamp += 1
    last[volume, default: [:]][sector] = stamp
    tickets.append(pair.alpha.write(sector, stamp: stamp, volume: volume, fua: random.oneIn(4)))
  }

  private func toggle(_ n: Int) {
    guard orders[n] == nil else { return }
    let node = pair.both[n]
    var wanted = node.settings.volumes.filter { $0.number != one }
    if !has(node) { wanted.append(VolumeSettings(number: one)) }
    orders[n] = (node.order(.changeVolumes(wanted, thenAttach: true)), wanted)
  }

  /// What `adjust` does when the engine has answered.
  private func lookAtOrders() {
    for n in 0..<2 {
      let node = pair.both[n]
      guard let order = orders[n], let outcome = node.replies[order.to] else { continue }
      orders[n] = nil
      guard outcome.isDone else { continue }
      changes += 1
      node.settings.volumes = order.wanted
      node.engine.adopt(node.settings)
      if has(node), node.volume(one).disk == .diskless { attaching[n] = node.order(.attach(one)) }
    }
  }

  /// As whoever types `adjust` again.
  private func repeatWhatWasRefused() {
    for n in 0..<2 {
      let node = pair.both[n]
      guard orders[n] == nil, attaching[n].map({ node.replies[$0] != nil }) ?? true else { continue }
      if !has(node) {
        toggle(n)
      } else if let idle = node.settings.volumes.first(where: { node.volume($0.number).disk == .diskless }) {
        attaching[n] = node.order(.attach(idle.number))
      }
    }
  }

  private func crash() {
    pair.crash(pair.beta, power: random.oneIn(2))
    orders[1] = nil
    attaching[1] = nil
    for volume in pair.beta.settings.volumes { _ = pair.beta.order(.attach(volume.number)) }
    _ = pair.beta.order(.connect(discardMyData: false))
  }

  private func step() {
    switch random.below(12) {
    case 0, 1, 2, 3: for _ in 0...random.below(4) { write() }
    case 4, 5: toggle(0)
    case 6, 7: toggle(1)
    case 8: pair.network.isCut ? pair.mendLink() : pair.cutLink()
    case 9: if random.oneIn(2) { crash() }
    default: pair.run(limit: .milliseconds(random.below(3000)))
    }
    for _ in 0..<random.below(60) {
      pair.advance()
      lookAtOrders()
    }
  }

  func live(at location: SourceLocation = #_sourceLocation) {
    for _ in 0..<40 { step() }
    pair.mendLink()
    pair.run(limit: .seconds(90)) {
      self.lookAtOrders()
      return self.orders.allSatisfy { $0 == nil }
    }
    let isWell = pair.run(limit: .seconds(180)) {
      self.lookAtOrders()
      self.repeatWhatWasRefused()
      return self.orders.allSatisfy { $0 == nil }
        && self.pair.both.allSatisfy { node in
          node.engine.snapshot().volumes.count == 2
            && node.engine.snapshot().volumes.allSatisfy {
              $0.replication == .connected && $0.disk == .upToDate && $0.peerDisk == .upToDate
            }
        }
    }
    let states = pair.both.map { node in node.engine.snapshot().volumes.map { node.state($0.number) } }
    #expect(isWell, "seed \(seed): \(states)", sourceLocation: location)
    guard isWell else { return }
    for ticket in tickets { #expect(pair.alpha.isGood(ticket), "\(ticket)", sourceLocation: location) }
    for (volume, sectors) in last {
      for (sector, stamp) in sectors {
        for node in pair.both {
          #expect(node.disks[volume]![sector] == stamp, "\(node.name), sector \(sector)", sourceLocation: location)
        }
      }
    }
    pair.expectEqual(at: location)
    pair.expectRest(at: location)
  }
}

@Suite("Volumes come and go: lives")
struct VolumeChangeLives {
  @Test("no request fails and both nodes agree in the end", arguments: 0..<16)
  func life(block: Int) throws {
    var changes = 0
    for seed in 0..<5 {
      let life = try VolumeLife(UInt64(block * 5 + seed + 1))
      life.live()
      changes += life.changes
    }
    // The lives do what they are for.
    #expect(changes > 10)
  }
}
