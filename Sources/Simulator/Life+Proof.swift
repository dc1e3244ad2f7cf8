// Errors that no answer tells: a disk that has lost a write, put it elsewhere, or lets bits rot. Only a comparison finds
// them, so they are planted on the Secondary of two idle UpToDate nodes. Law: a verify marks, on both nodes, what differs
// and nothing else, and the resync of the next connect makes it equal.
import Base
import Engine

extension World {
  private static let windowBlocks = 128

  /// Plants errors, lets verify find them and a resync repair them.
  func proveByVerify() throws(BrokenLaw) {
    // A fence-peer that runs still may shoot the other node in the middle of it.
    guard let p = (0...1).first(where: { nodes[$0].isPrimary }), isHealthy,
      nodes.allSatisfy({ $0.handlersUnderWay == 0 }), !commands.isBusy(p)
    else { return }
    // A peer that cannot be told where to stop compares all there is.
    let version = circumstances.maximumVersion.min()!
    if version < 97 || version == 100 { return }
    let q = 1 - p
    let v = Int(random.below(UInt64(histories.count)))
    let volume = nodes[p].settings.volumes[v].number
    let blocks = histories[v].sectors / 8
    let first = Int(random.below(UInt64(max(1, blocks - World.windowBlocks))))
    let window = first..<min(blocks, first + World.windowBlocks)
    keeper.isAbsent = true
    defer { keeper.isAbsent = false }
    plantSilentErrors(q, v, window)
    let marked = Set(markedBits(p, v))
    let expected = (0..<blocks + 1).filter { marked.contains($0) || window.contains($0) && differs($0, v) }
    try demand(
      random.oneIn(2) ? p : q,
      .verify(volume, start: Sector(UInt64(window.lowerBound * 8)), stop: Sector(UInt64(window.upperBound * 8))))
    try run(within: 300, until: "done with the verify") {
      self.nodes.allSatisfy { $0.isRunning && $0.view.volumes[v].replication == .connected }
    }
    for n in 0...1 where markedBits(n, v) != expected {
      breakLaw("verify marked bits \(markedBits(n, v)) on \(name(n)), and what differs is \(expected)")
    }
    census.add("verify: planted errors were found")
    if let broken { throw broken }
    // The Primary's data are the ones that count.
    keeper.truth[q][v] = expected.isEmpty
    try demand(p, .disconnect(force: false))
    try demand(p, .connect(discardMyData: false))
    try run(within: 60, until: "StandAlone or connected again") {
      self.nodes[q].view.connection == .standAlone || self.isConnected
    }
    keeper.isAbsent = false
  }

  private func plantSilentErrors(_ q: Int, _ v: Int, _ window: Range<Int>) {
    let disk = nodes[q].disks[v]
    for _ in 0..<random.below(6) {
      let block = window.lowerBound + Int(random.below(UInt64(window.count)))
      let sector = block * 8 + Int(random.below(8))
      let stamp: Stamp
      switch random.below(3) {
      case 0:
        census.add("fault: bit rot")
        stamp = disk.cache[sector] ^ 0x4000_0000
      case 1:
        census.add("fault: lost write")
        stamp = Stamps.original(q)
      default:
        census.add("fault: misdirected write")
        stamp = disk.cache[(window.lowerBound + Int(random.below(UInt64(window.count)))) * 8]
      }
      disk.cache.write(sector, 1, from: [stamp])
      disk.durable.write(sector, 1, from: [stamp])
    }
  }

  func differs(_ block: Int, _ v: Int) -> Bool {
    let end = min(nodes[0].disks[v].cache.sectors, nodes[1].disks[v].cache.sectors)
    return (block * 8..<min(end, block * 8 + 8)).contains { nodes[0].disks[v].cache[$0] != nodes[1].disks[v].cache[$0] }
  }
}
