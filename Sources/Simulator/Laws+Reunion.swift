// Laws at the moment when two nodes call each other UpToDate again, and of promotions. Watched since the second era.
import Base
import Engine

extension World {
  /// Law: no bit was cleared for blocks that differ. Whatever is not being written is equal when a resync ends.
  func checkReunited(_ v: Int) {
    guard circumstances.wireProtocol == .c, circumstances.rude == nil else { return }
    let a = nodes[0].disks[v].cache
    let b = nodes[1].disks[v].cache
    census.add("law: equal when UpToDate again")
    let marked = Set(markedBits(0, v) + markedBits(1, v))
    for piece in 0..<(histories[v].sectors + StampMap.pieceSectors - 1) / StampMap.pieceSectors {
      if a.pieces[piece] == nil, b.pieces[piece] == nil, a.fill == b.fill { continue }
      let start = piece * StampMap.pieceSectors
      for sector in start..<min(start + StampMap.pieceSectors, histories[v].sectors) where a[sector] != b[sector] {
        if World.maySitSideBySide(a[sector], b[sector]) || isBeingWritten(v, sector) || marked.contains(sector / 8) {
          continue
        }
        return breakLaw(
          "UpToDate again: volume \(v) sector \(sector) (bit \(sector / 8)) differs: alpha contains"
            + " \(Trace.stamp(a[sector])), beta \(Trace.stamp(b[sector])); it was \(histories[v].explain(sector))")
      }
    }
  }

  private func isBeingWritten(_ v: Int, _ sector: Int) -> Bool {
    client.requests.contains {
      $0.isActive && $0.volume == v && $0.action != .read && $0.action != .flush && sector >= $0.start
        && sector < $0.start + $0.count
    }
  }

  /// Law: a node whose disk is known to be old, and that sees no good one, is not promoted without force.
  func checkPromotion(_ n: Int) {
    let view = nodes[n].engine.snapshot()
    for volume in view.volumes where volume.disk < .consistent {
      if view.connection >= .connected, volume.peerDisk == .upToDate { continue }
      breakLaw("\(name(n)) was promoted with \(volume.disk.name) data, and no good ones in reach")
    }
  }

  /// Law: a write that only this node has is answered when its disk names, durably, a generation that the peer's does not. Else
  /// the generations could not tell, after a crash, that the peer's data are old.
  func checkGeneration(_ request: Request) {
    guard era >= .second, circumstances.rude == nil, circumstances.wireProtocol == .c else { return }
    let (n, v) = (request.node, request.volume)
    let view = nodes[n].view
    // It knows that the peer's data are old.
    guard view.connection < .connected, view.volumes[v].disk == .upToDate, view.volumes[v].peerDisk > .outdated
    else { return }
    // Else everything that was to be written down is.
    guard isWritingDown(n, v) else { return }
    // The peer may have acknowledged it before it was lost.
    if cluster.lostPower[1 - n] { return }
    let sectors = request.start..<request.start + request.count
    // The peer's disk may have been replaced by a smaller one.
    let peer = nodes[1 - n].disks[v].cache
    if sectors.upperBound <= peer.sectors, sectors.allSatisfy({ histories[v].allows(peer[$0], at: $0) }) { return }
    let found = (0...1).map { x in
      nodes[x].disks[v].generations(circumstances.volumes[v].disk(of: x).location, 1 - x, durable: true)
    }
    census.add("law: a write that the peer does not have")
    // A resync that was cut has left its own generation in the source's bitmap slot; it tells which of the two is old.
    guard let own = found[n], let other = found[1 - n], other.flags.isSuperset(of: [.consistent, .wasUpToDate]),
      own.bitmap & ~1 == 0, own.current & ~1 == other.current & ~1
    else { return }
    breakLaw("\(name(n)) answered write #\(request.number), which its peer does not have, in the peer's own generation")
  }

  /// Law: nothing is overwritten by a resync before the metadata say, durably, that the data are Inconsistent.
  func checkOverwriting(_ n: Int, _ v: Int) {
    guard era >= .second, isWritingDown(n, v),
      let found = nodes[n].disks[v].generations(circumstances.volumes[v].disk(of: n).location, 1 - n, durable: true)
    else { return }
    census.add("law: overwritten by a resync")
    if found.flags.contains(.consistent) {
      breakLaw("a resync overwrites volume \(v) of \(name(n)), whose metadata say that it is Consistent")
    }
  }

  private func isWritingDown(_ n: Int, _ v: Int) -> Bool {
    nodes[n].works.contains {
      if case .metaWrite = $0.what { $0.isActive && $0.disk == v } else { false }
    }
  }
}
