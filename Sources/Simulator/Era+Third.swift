// What lives of the third era have beyond the second: in most of them a disk is replaced in every round, and where payloads carry
// digests, some are damaged on their way.
import Base
import Engine
import Protocol

extension Circumstances {
  /// From a stream of its own, after everything else.
  mutating func drawThird(_ seed: UInt64) {
    var apart = SeededGenerator(seed: seed &* 0x9e37_79b9_7f4a_7c15 &+ 0x74_68_69_72_64)
    if rude != nil || maximumVersion.min()! < 91 { return }
    replacesDisks = true
    if !encodesPackets, maximumVersion.min()! >= 87, apart.oneIn(2) { net.integrityAlgorithm = "crc32c" }
    if !net.integrityAlgorithm.isEmpty { faults.insert(.damagedPayload) }
  }
}

extension World {
  /// In a round of a life that replaces disks: after so many events, as soon as both nodes are good.
  func planReplacement() {
    guard circumstances.replacesDisks else { return }
    keeper.replacementDue = events + Int(random.below(random.oneIn(2) ? 60 : 1_000))
    // An old image is of this moment.
    let n = Int(random.below(2))
    for v in histories.indices where random.oneIn(2) && nodes[n].isRunning { images[n][v] = nodes[n].disks[v].image() }
  }

  /// True: a person goes to work on a disk now.
  func replaceWhenDue(_ p: Int) -> Bool {
    let q = 1 - p
    guard events >= keeper.replacementDue, nodes[q].isRunning, !commands.isBusy(0), !commands.isBusy(1),
      nodes[p].view.connection >= .connected, keeper.truth[p].allSatisfy({ $0 }), keeper.truth[q].allSatisfy({ $0 })
    else { return false }
    // Once more later, if the disk does not come out.
    keeper.replacementDue = events + 200
    replaceADisk(p, Int(random.below(UInt64(histories.count))))
    return !keeper.procedure.isEmpty
  }

  /// The next payload that arrives at this node is not the one that was sent, and its digest says so.
  func damageNextPayload(_ n: Int) -> Bool {
    guard nodes[n].isRunning, !openConnections.isEmpty else { return false }
    nodes[n].awaitsDamage = true
    return true
  }

  /// True: the packet was damaged, and the reactor has told the engine.
  func isDamaged(_ n: Int, _ socket: SocketID, _ packet: borrowing Packet, _ payload: PayloadRef?) -> Bool {
    guard nodes[n].awaitsDamage, let payload else { return false }
    let sector: UInt64
    switch packet {
    case .data(let head), .dataReply(let head), .resyncReply(let head): sector = head.sector
    default: return false
    }
    nodes[n].awaitsDamage = false
    pool.giveBack(payload)
    say(n, "the payload of \(packet.name) for sector \(sector) was damaged")
    feed(n, .violation(socket, .wrongDigest(packet: packet.name, sector: sector, on: .data)))
    return true
  }
}
