// A rude peer: what one node sends is changed, repeated, reordered, left out, or something older, on its way as bytes.
// Laws: neither node stops, what an engine keeps stays under a stated number, every command is answered, and an UpToDate
// Primary keeps its disk and its data.
import Base
import Engine

struct Rudeness {
  var isOn = false
  fileprivate var random: SeededGenerator
  /// Packets of both nodes and both sockets.
  fileprivate var remembered: [[UInt8]] = []
  /// Delivered behind the next packet of its connection.
  fileprivate var heldBack: [Int: Moving] = [:]

  init(seed: UInt64) { random = SeededGenerator(seed: seed) }

  fileprivate mutating func remember(_ bytes: [UInt8]) {
    if bytes.count > 1 << 16 { return }
    if remembered.count < 64 {
      remembered.append(bytes)
    } else {
      remembered[Int(random.below(64))] = bytes
    }
  }

  /// One field gets another value.
  fileprivate mutating func change(_ bytes: inout [UInt8]) {
    let header = 16
    let front = random.oneIn(12) || bytes.count <= header ? 0 : header
    let end = min(bytes.count, front + 48)
    let at = front + Int(random.below(UInt64(end - front)))
    let width = min(1 << Int(random.below(4)), end - at)
    let interesting: [UInt64] = [
      0, 1, 7, 8, 9, 511, 512, 4096, 1 << 20, (1 << 20) + 512, 1 << 27, 0x7fff_ffff, 0xffff_ffff, 1 << 33, .max >> 1,
      .max, .max - 7, .max << 3, random.next(), random.below(1 << 16), random.below(1 << 16) * 8,
    ]
    let value = interesting[Int(random.below(UInt64(interesting.count)))]
    for i in 0..<width { bytes[at + i] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (width - 1 - i))) }
  }
}

extension World {
  /// Entries that an engine keeps at most, whatever its peer does: its tables (4,096 requests of the peer, which may wait
  /// in two queues more) and what the application has under way.
  static let mostKept = 16_384

  func sendRudely(_ c: Int, _ from: Int, _ moving: Moving) {
    let connection = connections[c]!
    var moving = moving
    rudeness.remember(moving.encoded)
    let held = rudeness.heldBack.removeValue(forKey: c)
    func put(_ one: Moving) { connection.withLane(from) { $0.moving.append(one) } }
    func putCopy(_ bytes: [UInt8]) {
      var copy = moving
      copy.encoded = bytes
      copy.bytes = bytes.count
      connection.withLane(from) { $0.inKernel += copy.bytes }
      put(copy)
    }
    switch rudeness.random.below(1000) {
    case 0..<8:
      census.add("rude: a packet left out")
      connection.withLane(from) { $0.inKernel -= moving.bytes }
    case 8..<24:
      census.add("rude: a packet repeated")
      putCopy(moving.encoded)
      put(moving)
    case 24..<40 where !rudeness.remembered.isEmpty:
      census.add("rude: an older packet of anybody")
      putCopy(rudeness.remembered[Int(rudeness.random.below(UInt64(rudeness.remembered.count)))])
      put(moving)
    case 40..<60:
      census.add("rude: a packet overtaken by the next")
      rudeness.heldBack[c] = moving
    case 60..<100:
      census.add("rude: a field changed")
      rudeness.change(&moving.encoded)
      put(moving)
    default: put(moving)
    }
    if let held {
      var late = held
      late.at = moving.at
      put(late)
    }
  }

  /// What the polite node sends may come back to it.
  func overhear(_ bytes: [UInt8]) { rudeness.remember(bytes) }

  // MARK: a life

  func liveRudely(steps: Int) throws(BrokenLaw) {
    try begin()
    keeper.isAbsent = true
    openClient(on: 0)
    rudeness.isOn = true
    let end = now + 300 * World.second
    let target = events + steps
    var next = events
    try run(until: {
      if self.events >= next {
        next = self.events + 1 + Int(self.random.below(400))
        self.provoke()
      }
      return self.events >= target || self.now > end
    })
    rudeness.isOn = false
    stopClient()
    if circumstances.rude == 1 { checkImage(0, "after its peer was rude") }
    for n in 0...1 where nodes[n].isRunning { checkKept(n) }
    if let broken { throw broken }
  }

  func checkKept(_ n: Int) {
    let kept = nodes[n].engine.footprint
    if kept > World.mostKept { breakLaw("\(name(n)) keeps \(kept) entries for its peer and its application") }
    let payloads = pool.count(of: .engine(n))
    if payloads > World.mostKept { breakLaw("\(name(n)) keeps \(payloads) payloads") }
  }

  /// Keeps reads, resyncs and verifies going, and connects again what has given up.
  private func provoke() {
    let n = Int(random.below(2))
    guard nodes[n].isRunning else { return }
    checkKept(n)
    if commands.isBusy(n) { return }
    let view = nodes[n].view
    let v = Int(random.below(UInt64(histories.count)))
    let number = view.volumes[v].number
    if view.connection == .standAlone {
      command(n, .connect(discardMyData: false))
      return
    }
    switch random.below(12) {
    case 0, 1: command(n, .verify(number, start: nil, stop: nil))
    case 2, 3: command(0, .invalidateRemote(number))
    case 4: command(n, .pauseSync(number))
    case 5: command(n, .resumeSync(number))
    case 6: command(n, .disconnect(force: random.oneIn(2)))
    case 7: command(n, .announceOptions)
    case 8: command(n, .resize(number, limit: nil, assumeClean: false))
    case 9: if n == circumstances.rude, n == 1 { crash(n, powerCut: false, backAfter: 100_000_000) }
    case 10: resetOneConnection()
    default: break
    }
  }

  /// Law: an UpToDate Primary is nobody's target and gives up no disk at the peer's word.
  func rudeStateChanged(_ n: Int) {
    guard n == 0, circumstances.rude == 1, rudeness.isOn else { return }
    let view = nodes[0].view
    guard view.role == .primary else { return breakLaw("a rude peer has made alpha \(view.role.name)") }
    for volume in view.volumes where volume.disk != .upToDate {
      breakLaw("a rude peer has made the disk of the Primary \(volume.disk.name)")
    }
  }
}
