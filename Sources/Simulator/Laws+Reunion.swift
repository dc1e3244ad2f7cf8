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
}
