// Two nodes wired back to back, on one clock: a story reads from top to bottom. `alpha` has node id 0, `beta` 1.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

final class Pair {
  let alpha: Node
  let beta: Node
  let network: Network

  var both: [Node] { [alpha, beta] }

  /// Fresh metadata on both, nothing attached. `adjust` changes the settings of both before the engines are made.
  init(
    format: MetaFormat = .v09, diskBytes: [UInt64] = [8 << 20], betaBytes: [UInt64]? = nil, peers: UInt32 = 1,
    seed: UInt64 = 1,
    _ adjust: (inout ResourceSettings, _ isAlpha: Bool) -> Void = { _, _ in }
  ) throws {
    func node(_ name: String, _ id: Int32, _ sizes: [UInt64]) throws -> Node {
      var settings = ResourceSettings(
        name: "r0", nodeID: id, peerNodeID: 1 - id, peerName: id == 0 ? "beta" : "alpha",
        volumes: sizes.indices.map { VolumeSettings(number: VolumeNumber(UInt16($0))) })
      adjust(&settings, id == 0)
      var disks: [VolumeNumber: FakeDisk] = [:]
      for (i, size) in sizes.enumerated() where settings.volumes[i].hasDisk {
        let location = settings.volumes[i].metaLocation
        disks[VolumeNumber(UInt16(i))] = try FakeDisk.created(
          format, bytes: size, peers: peers, metaBytes: location == .internal ? nil : 1 << 20, location: location)
      }
      return Node(name, settings: settings, disks: disks, seed: seed &* 2 &+ UInt64(id))
    }
    alpha = try node("alpha", 0, diskBytes)
    beta = try node("beta", 1, betaBytes ?? diskBytes)
    network = Network([alpha, beta])
  }

  // MARK: Time

  var now: Instant { alpha.now }

  /// Everything that can happen without time passing.
  func settle() {
    var steps = 0
    var busy = true
    while busy {
      busy = false
      for node in both where node.step() { busy = true }
      if network.deliver() { busy = true }
      steps += 1
      if steps > 200_000 {
        Issue.record("the pair does not come to rest")
        return
      }
    }
  }

  /// Lets time pass until `done` holds; false when it does not within `limit`.
  @discardableResult
  func run(limit: Interval = .seconds(60), until done: () -> Bool = { false }) -> Bool {
    let end = now + limit
    settle()
    while !done(), now < end {
      let next = both.compactMap { $0.engine.nextDeadline }.min() ?? end
      for node in both { node.now = max(now, min(next, end)) }
      settle()
    }
    return done()
  }

  func pass(_ time: Interval) { run(limit: time) }

  /// One event at one node, or one packet; where nothing is left to do, time goes on to the next deadline.
  func advance() {
    for node in both where node.step() { return }
    if network.deliver() { return }
    guard let next = both.compactMap({ $0.engine.nextDeadline }).min() else { return }
    for node in both { node.now = max(now, next) }
  }

  // MARK: Orders

  /// Gives a command and waits for its outcome.
  @discardableResult
  func run(_ command: Command, on node: Node, at location: SourceLocation = #_sourceLocation) -> Outcome? {
    let to = node.order(command)
    run(until: { node.replies[to] != nil })
    if node.replies[to] == nil { Issue.record("\(command) on \(node.name) has no end", sourceLocation: location) }
    return node.replies[to]
  }

  /// A command that must succeed.
  func order(_ command: Command, on node: Node, at location: SourceLocation = #_sourceLocation) {
    let outcome = run(command, on: node, at: location)
    if outcome?.isDone != true {
      Issue.record("\(command) on \(node.name): \(String(describing: outcome))", sourceLocation: location)
    }
  }

  /// A command that must be refused with this number.
  func refuse(_ command: Command, on node: Node, _ number: Int, at location: SourceLocation = #_sourceLocation) {
    guard case .refused(let refusal) = run(command, on: node, at: location), refusal.number == number else {
      Issue.record("\(command) on \(node.name) was not refused with \(number)", sourceLocation: location)
      return
    }
  }

  func attach(_ nodes: [Node]? = nil) {
    for node in nodes ?? both {
      for volume in node.settings.volumes where volume.hasDisk { order(.attach(volume.number), on: node) }
    }
  }

  func connect(at location: SourceLocation = #_sourceLocation) {
    for node in both { order(.connect(discardMyData: false), on: node) }
    waitConnected(at: location)
  }

  func waitConnected(at location: SourceLocation = #_sourceLocation) {
    let connected = run(until: { self.both.allSatisfy { $0.volume().replication >= .connected } })
    if !connected { Issue.record("no connection: \(alpha.state) | \(beta.state)", sourceLocation: location) }
  }

  /// Waits until both nodes are Connected and no resync runs.
  func waitSync(at location: SourceLocation = #_sourceLocation) {
    let done = run(until: {
      self.both.allSatisfy { $0.engine.snapshot().volumes.allSatisfy { $0.replication == .connected } }
    })
    settle()
    if !done { Issue.record("no end of the resync: \(alpha.state) | \(beta.state)", sourceLocation: location) }
  }

  /// Attached, connected, alpha forced to Primary and synced.
  func synced(at location: SourceLocation = #_sourceLocation) {
    attach()
    connect(at: location)
    order(.primary(force: true), on: alpha, at: location)
    waitSync(at: location)
  }

  /// Waits for answers; all of them must be good.
  func wait(_ node: Node, _ tickets: [Ticket], at location: SourceLocation = #_sourceLocation) {
    run(until: { tickets.allSatisfy { node.isAnswered($0) } })
    for ticket in tickets where !node.isGood(ticket) {
      Issue.record(
        "\(node.name): \(ticket) was answered \(String(describing: node.answers[ticket]))", sourceLocation: location)
    }
  }

  /// Reads through the engine.
  func content(_ node: Node, _ sector: UInt64, _ count: UInt64 = 8, at location: SourceLocation = #_sourceLocation)
    -> [UInt64]
  {
    let (ticket, buffer) = node.read(sector, count)
    wait(node, [ticket], at: location)
    return node[buffer]
  }

  // MARK: Trouble

  func cutLink() {
    network.isCut = true
    network.reset()
  }

  func mendLink() { network.isCut = false }

  /// A node dies and its successor is attached and looks for the peer.
  func crash(_ node: Node, power: Bool = true, told: Bool = true) {
    network.lose(node === alpha ? 0 : 1, told: told)
    node.crash(power: power)
  }

  func restart(_ node: Node) {
    attach([node])
    order(.connect(discardMyData: false), on: node)
  }

  // MARK: What must hold

  /// Both say the same, in mirrored order.
  func expect(_ state: String, at location: SourceLocation = #_sourceLocation) {
    let words = state.split(separator: " ").map(String.init)
    func mirrored(_ pair: String) -> String { pair.split(separator: "/").reversed().joined(separator: "/") }
    let other = "\(words[0]) \(mirrored(words[1])) \(mirrored(words[2]))"
    #expect(alpha.state == state, sourceLocation: location)
    #expect(beta.state == other, sourceLocation: location)
  }

  /// Nothing is out of sync, and the disks are equal.
  func expectEqual(at location: SourceLocation = #_sourceLocation) {
    for volume in alpha.settings.volumes {
      for node in both {
        #expect(node.volume(volume.number).outOfSync == .zero, "\(node.name)", sourceLocation: location)
      }
      guard let one = alpha.disks[volume.number]?.content, let other = beta.disks[volume.number]?.content else {
        Issue.record("a node without disk", sourceLocation: location)
        return
      }
      let differing = Set(one.keys).union(other.keys).filter { one[$0] != other[$0] }.sorted()
      #expect(differing.isEmpty, "sectors differ", sourceLocation: location)
    }
  }

  /// Nobody waits for anything any more.
  func expectRest(at location: SourceLocation = #_sourceLocation) {
    settle()
    for node in both {
      #expect(node.lentPayloads == 0, "\(node.name) keeps payloads", sourceLocation: location)
      for volume in node.engine.snapshot().volumes {
        #expect(
          volume.upperPending == 0 && volume.lowerPending == 0 && volume.pending == 0 && volume.unacked == 0,
          "\(node.name): \(volume)", sourceLocation: location)
      }
    }
  }
}
