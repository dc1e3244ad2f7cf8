// The laws of data, watched from outside: what was answered is on every disk that claims to be up to date, what was
// flushed is durable there, connected up-to-date idle nodes are equal, and never are two connected nodes Primary.
// `truth` says which disks may be trusted with the application's data; the keeper promotes nobody else.
import Base
import Engine

/// What the engines were given to answer, beside disk work and requests.
struct Ledger {
  private var digests: [(node: Int, id: WorkID, digest: [UInt8])] = []
  mutating func add(_ n: Int, _ id: WorkID, _ digest: [UInt8]) { digests.append((n, id, digest)) }
  mutating func takeDigest(_ n: Int, _ id: WorkID) -> [UInt8] {
    guard let i = digests.firstIndex(where: { $0.node == n && $0.id == id }) else { return [] }
    return digests.remove(at: i).digest
  }
  mutating func forget(_ n: Int) { digests.removeAll { $0.node == n } }
}

extension World {
  // MARK: what was answered

  /// Whether a node claims, or is believed by the Primary `n`, to hold everything of a volume.
  private func claims(_ x: Int, seenBy n: Int, _ v: Int, _ view: ResourceSnapshot) -> Bool {
    let volume = view.volumes[v]
    if x == n { return volume.disk == .upToDate }
    return view.connection >= .connected && volume.peerDisk == .upToDate
  }

  /// As `claims`, certain also in the middle of an event.
  private func surelyClaims(_ x: Int, seenBy n: Int, _ v: Int) -> Bool {
    claims(x, seenBy: n, v, nodes[n].view) && claims(x, seenBy: n, v, nodes[n].engine.snapshot())
  }

  func writeWasAnswered(_ request: Request, durable: Bool) {
    let history = histories[request.volume]
    let n = request.node
    for x in 0...1 {
      // The only copy lost its power: what that means is accounted for when it comes back.
      if keeper.lost[x] || circumstances.rude == x { continue }
      // Nobody expects it there.
      if !keeper.truth[x][request.volume], !claims(x, seenBy: n, request.volume, nodes[n].view) { continue }
      let disk = nodes[x].disks[request.volume]
      for sector in request.start..<request.start + request.count
      where !history.allows(disk.cache[sector], at: sector) {
        if x == n || circumstances.wireProtocol == .c {
          keeper.truth[x][request.volume] = false
          if isConnected(x), surelyClaims(x, seenBy: n, request.volume), !isMarked(n, request.volume, sector) {
            return breakLaw(
              "\(name(n)) answered write #\(request.number), and volume \(request.volume) sector \(sector) of"
                + " \(name(x)), which is UpToDate, contains \(Trace.stamp(disk.cache[sector]))")
          }
        }
        break
      }
    }
    // The own disk is gone, and the peer's power was cut before this node heard of it: the next flush fails.
    if era >= .second, !durable, cluster.lostPower[1 - n], !keeper.truth[n][request.volume],
      !keeper.truth[1 - n][request.volume]
    {
      history.loseUnflushed(applicationGoesOnWith: nil)
    }
    if durable && circumstances.wireProtocol == .c {
      checkDurable(request.volume, request.start, request.count, n, "FUA write #\(request.number)")
    }
  }

  func flushWasAnswered(_ request: Request, covering numbers: ArraySlice<Int>) {
    for number in numbers {
      let write = histories[request.volume].writes[number]
      checkDurable(request.volume, write.start, write.count, request.node, "a flush after write #\(number)")
    }
  }

  private func checkDurable(_ v: Int, _ start: Int, _ count: Int, _ n: Int, _ what: @autoclosure () -> String) {
    let history = histories[v]
    for x in 0...1 where claims(x, seenBy: n, v, nodes[n].view) && circumstances.rude != x {
      // The disk that claimed it is not there any more, and this node has not heard of that.
      if era >= .third, x != n, keeper.isReplaced[x][v] { continue }
      let disk = nodes[x].disks[v]
      for sector in start..<start + count where !history.allowsDurably(disk.durable[sector], at: sector) {
        if !surelyClaims(x, seenBy: n, v) || (x != n && isMarked(n, v, sector)) { break }
        return breakLaw(
          "\(name(n)) answered \(what()), and a power cut would leave \(Trace.stamp(disk.durable[sector])) in volume"
            + " \(v) sector \(sector) of \(name(x)), which is UpToDate; it was \(history.explain(sector))")
      }
    }
  }

  /// It lives, and knows the connection; what it lost with its power it will be told again.
  private func isConnected(_ x: Int) -> Bool { nodes[x].isRunning && nodes[x].view.connection >= .connected }

  /// A node knows that its peer lacks this sector.
  private func isMarked(_ n: Int, _ v: Int, _ sector: Int) -> Bool { markedBits(n, v).contains(sector / 8) }

  /// The bits that a node has set for its peer, which has the first slot.
  func markedBits(_ n: Int, _ v: Int) -> [Int] {
    nodes[n].engine.snapshot().volumes[v].outOfSync == .zero ? [] : setBits(n, v, slot: 0)
  }

  // MARK: states

  func stateChanged(_ n: Int) {
    keeper.changes += 1
    if circumstances.rude != nil, !keeper.isHealing { return rudeStateChanged(n) }
    let view = nodes[n].view
    for v in view.volumes.indices {
      let volume = view.volumes[v]
      note(UInt64(volume.disk.rawValue) << 8 | UInt64(volume.replication.rawValue))
      switch volume.disk {
      case .inconsistent, .outdated: keeper.truth[n][v] = false
      // Where a Primary goes on without this disk, a new generation begins.
      case .diskless, .failed:
        if nodes.contains(where: { $0.isPrimary }) {
          // Protocols A and B: what was answered need not have reached the peer. Or the peer has lost its cache.
          if era >= .second, keeper.truth[n][v],
            view.role == .primary && circumstances.wireProtocol != .c || !keeper.truth[1 - n][v]
          {
            histories[v].loseUnflushed(applicationGoesOnWith: nil)
          }
          keeper.truth[n][v] = false
        }
        // Its peer draws a generation; so may this node, when it is alone with the disk that has come back.
        if view.role == .primary || era >= .second { keeper.excusesSplitBrain = true }
      default: break
      }
      // What it writes is missing on a peer without disk.
      if era >= .second, view.role == .primary, view.connection >= .connected, volume.disk == .upToDate,
        volume.peerDisk <= .failed
      {
        keeper.truth[1 - n][v] = false
      }
      // A peer that is about to let go of its disk counts, too.
      if era >= .second, volume.peerDisk == .failed { keeper.excusesSplitBrain = true }
      if era >= .second, view.role == .primary, view.connection < .connected, nodes[1 - n].isPrimary {
        // Two persons, each at a node that is alone, and no fencing: the one who came first has the application.
        keeper.excusesSplitBrain = true
        continue
      }
      if view.role == .primary, view.connection < .connected, volume.disk == .upToDate,
        !view.isFrozen || circumstances.wireProtocol != .c
      {
        keeper.truth[1 - n][v] = false
        // Its disk has come back, and nothing was written without it: it says so, and has to be right.
        if !keeper.truth[n][v] {
          checkVolume(n, v, "alone again with its own disk")
          keeper.truth[n][v] = true
        }
      }
      // Protocols A and B promise nothing about what was on its way when the only disk is the peer's.
      let wasPrimary = view.role == .primary || era >= .second && keeper.roles[n] == .primary
      // Demoted in the moment of the loss: what was on its way is here only.
      if era >= .second, circumstances.wireProtocol != .c, wasPrimary, view.role != .primary,
        view.connection < .connected, volume.disk == .upToDate, keeper.truth[1 - n][v], !holdsAll(1 - n, v)
      {
        keeper.truth[1 - n][v] = false
      }
      // A disk that failed and was attached anew while it was on its way has it, and is not the one that is trusted.
      let isDistrusted = volume.disk < .consistent || era >= .third && !keeper.truth[n][v] && keeper.truth[1 - n][v]
      if circumstances.wireProtocol != .c, wasPrimary, view.connection < .connected, isDistrusted {
        histories[v].loseUnflushed(applicationGoesOnWith: client.node == n ? nodes[1 - n].disks[v] : nil)
      }
      watchResync(n, v, volume)
    }
    fencingStateChanged(n, view)
    if era >= .second { watchRole(n, view) }
    guard nodes[1 - n].isRunning else { return }
    let other = nodes[1 - n].view
    if view.connection >= .connected, other.connection >= .connected {
      if view.role == .primary, other.role == .primary { breakLaw("both nodes are Primary while connected") }
      for v in view.volumes.indices where isUpToDate(view, v) && isUpToDate(other, v) {
        keeper.truth[0][v] = true
        keeper.truth[1][v] = true
      }
    }
    if era >= .second { watchReunion(view, other) }
  }

  private func watchRole(_ n: Int, _ view: ResourceSnapshot) {
    let isForced = commands.pending.contains { $0.node == n && $0.command == .primary(force: true) }
    if view.role == .primary, keeper.roles[n] != .primary {
      keeper.promotedAlone[n] = view.connection < .connected
      if !isForced { checkPromotion(n) }
    }
    keeper.roles[n] = view.role
  }

  private func watchReunion(_ view: ResourceSnapshot, _ other: ResourceSnapshot) {
    let stands = view.connection >= .connected && other.connection >= .connected
    for v in view.volumes.indices {
      let isWhole = stands && isUpToDate(view, v) && isUpToDate(other, v)
      if isWhole, !keeper.isWhole[v] { checkReunited(v) }
      keeper.isWhole[v] = isWhole
    }
  }

  /// Law: what an export has announced never shrinks while an application may use it. 0 is no size: there are no good data.
  func exportWasAnnounced(_ n: Int, _ v: Int, _ size: SectorCount) {
    if size == .zero { return }
    if size < nodes[n].announced[v], nodes[n].engine.snapshot().role == .primary {
      breakLaw(
        "the export of volume \(v) on \(name(n)), which is Primary, shrinks from \(nodes[n].announced[v].value) to "
          + "\(size.value) sectors")
    }
    nodes[n].announced[v] = size
  }

  /// The engines only find a split brain where there may be one.
  func splitBrainWasFound(_ n: Int, _ v: Int) {
    keeper.hasSplitBrain = true
    keeper.changes += 1
    // Nothing is written in a history of its own on a disk that is Inconsistent: the node that was its source knows it.
    if era >= .third, circumstances.rude == nil {
      for x in 0...1 where !keeper.isReplaced[0][v] && !keeper.isReplaced[1][v] {
        let location = circumstances.volumes[v].disk(of: x).location
        guard let found = nodes[x].disks[v].generations(location, 1 - x, durable: true) else { continue }
        if !found.flags.contains(.consistent) {
          breakLaw("\(name(n)) finds a split brain in volume \(v), and the disk of \(name(x)) is Inconsistent")
        }
      }
    }
    if !keeper.excusesSplitBrain, circumstances.rude == nil {
      breakLaw("\(name(n)) finds a split brain, and nobody has caused one")
    }
  }

  private func isUpToDate(_ view: ResourceSnapshot, _ v: Int) -> Bool {
    let volume = view.volumes[v]
    return volume.replication == .connected && volume.disk == .upToDate && volume.peerDisk == .upToDate
  }

  /// Law: a resync copies no more than the bitmap said at its start. A target whose disk refuses writes asks again, block by
  /// block, and marks what the application wrote meanwhile.
  private func watchResync(_ n: Int, _ v: Int, _ volume: VolumeSnapshot) {
    let isTarget = volume.replication == .syncTarget || volume.replication == .pausedSyncT
    if isTarget && keeper.resyncs[n][v] == nil {
      keeper.resyncs[n][v] = Resyncing(
        total: volume.resyncTotal, copied: 0, hasMore: nodes[n].disks[v].broken)
    } else if isTarget {
      keeper.resyncs[n][v]!.total = max(keeper.resyncs[n][v]!.total, volume.resyncTotal)
    } else if let resync = keeper.resyncs[n][v] {
      keeper.resyncs[n][v] = nil
      if resync.copied > resync.total, !resync.hasMore {
        breakLaw("a resync of \(resync.total) blocks copied \(resync.copied) to \(name(n))")
      }
    }
  }

  // MARK: whole disks

  /// Law: a disk that is trusted contains nothing that cannot be.
  func checkImage(_ x: Int, _ when: @autoclosure () -> String) {
    for v in histories.indices { checkVolume(x, v, when()) }
  }

  private func checkVolume(_ x: Int, _ v: Int, _ when: @autoclosure () -> String) {
    let history = histories[v]
    let cache = nodes[x].disks[v].cache
    for piece in history.floor.pieces.indices where history.floor.pieces[piece] != nil || cache.pieces[piece] != nil {
      let start = piece * StampMap.pieceSectors
      for sector in start..<min(start + StampMap.pieceSectors, history.sectors)
      where !history.allows(cache[sector], at: sector) {
        return breakLaw(
          "\(when()): volume \(v) sector \(sector) of \(name(x)) contains \(Trace.stamp(cache[sector])); it was"
            + " \(history.explain(sector))")
      }
    }
  }

  /// Law: connected, UpToDate and idle means equal bytes.
  func checkEqual(_ when: @autoclosure () -> String) {
    for v in histories.indices {
      let a = nodes[0].disks[v].cache
      let b = nodes[1].disks[v].cache
      for piece in 0..<(histories[v].sectors + StampMap.pieceSectors - 1) / StampMap.pieceSectors
      where a.pieces[piece] != nil || b.pieces[piece] != nil || a.fill != b.fill {
        let start = piece * StampMap.pieceSectors
        for sector in start..<min(start + StampMap.pieceSectors, histories[v].sectors) where a[sector] != b[sector] {
          if World.maySitSideBySide(a[sector], b[sector]) { continue }
          return breakLaw(
            "\(when()): volume \(v) sector \(sector) (bit \(sector / 8)) differs: alpha contains"
              + " \(Trace.stamp(a[sector])), beta \(Trace.stamp(b[sector])); it was \(histories[v].explain(sector))")
        }
      }
    }
  }

  /// Law: a volume that has grown is equally large on both nodes, and equal where no application has written yet.
  func checkGrown(_ when: @autoclosure () -> String) {
    for v in histories.indices where mayGrow(v) {
      let sizes = nodes.map { Int($0.engine.snapshot().volumes[v].size.value) }
      if sizes[0] != sizes[1] { return breakLaw("\(when()): volume \(v) has \(sizes[0]) and \(sizes[1]) sectors") }
      let a = nodes[0].disks[v].cache
      let b = nodes[1].disks[v].cache
      for sector in min(histories[v].sectors, sizes[0])..<sizes[0]
      where a[sector] != b[sector] && !World.maySitSideBySide(a[sector], b[sector]) {
        return breakLaw(
          "\(when()): volume \(v) sector \(sector), which came with growth, differs: alpha contains"
            + " \(Trace.stamp(a[sector])), beta \(Trace.stamp(b[sector]))")
      }
    }
  }

  /// One node's disk may discard where the other's writes zeroes.
  static func maySitSideBySide(_ a: Stamp, _ b: Stamp) -> Bool {
    (a == Stamps.discarded || a == Stamps.zero) && (b == Stamps.discarded || b == Stamps.zero)
  }
}
