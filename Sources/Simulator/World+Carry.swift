// Carries out what an engine asks for: what the reactor does with a ring, done with a schedule. Law: every effect that
// asks for work gets its one answer, unless the node dies first.
import Base
import Engine
import MetaDisk
import Protocol

extension World {
  func carry(_ n: Int, _ effect: consuming Effect) {
    switch effect {
    case .measureDisk(let volume): plan(.diskMeasured, after: 0, on: n, UInt64(nodes[n].volumeIndex(volume)))
    case .disk(let id, let volume, let operation): startDisk(n, id, nodes[n].volumeIndex(volume), operation)
    case .examine(let id, let volume, let range, let what, let payload):
      startExamination(n, id, nodes[n].volumeIndex(volume), range, what, payload)
    case .metaWrite(let id, let volume, let block, let offset, let barrier):
      startMetaWrite(n, id, volume, block, offset, barrier)
    case .metaRead(let id, let volume, let offset, let bytes): startMetaRead(n, id, volume, offset, bytes)
    case .send(let socket, let volume, let packet, let payload, let notify):
      send(n, socket, volume, packet, payload, notify)
    case .answer(let ticket, let fault): clientAnswered(n, ticket, fault)
    case .giveBack(let payload): giveBack(n, payload)
    case .copy(let from, let to):
      guard owns(n, from, orClient: true), owns(n, to, orClient: true), from.bytes == to.bytes else {
        return breakLaw("\(name(n)) copies between payloads that it does not have or that differ in size")
      }
      pool[to].update(from: pool[from], count: Int(from.bytes) >> 9)
    case .openDisk(let volume): openDisk(n, nodes[n].volumeIndex(volume))
    case .closeDisk(let volume): closeDisk(n, nodes[n].volumeIndex(volume))
    case .listen: nodes[n].isListening = true
    case .stopListening: nodes[n].isListening = false
    case .connect: connect(n)
    case .close(let socket, let afterSending): close(n, socket, afterSending: afterSending)
    case .configure(let socket, let stream): configure(n, socket, stream)
    case .sign(let id, let algorithm, let message):
      ledger.add(n, id, World.digest(algorithm, message))
      plan(.signed, at: now + 2_000 + random.below(5_000), on: n, id)
    case .drawChallenge: plan(.drawn, after: 0, on: n)
    case .resized(let volume, let size): exportWasAnnounced(n, nodes[n].volumeIndex(volume), size)
    case .metadataPlaced: break
    case .announced(let volume, let traits): nodes[n].announce(traits, of: nodes[n].volumeIndex(volume))
    case .locate: breakLaw("\(name(n)) tells where data are, and no client asks for that")
    case .handler(let id, let handler, let volume):
      if handler == .outOfSync { keeper.hasMarks[nodes[n].volumeIndex(volume)] = true }
      if handler == .splitBrain { splitBrainWasFound(n, nodes[n].volumeIndex(volume)) }
      nodes[n].handlersUnderWay += 1
      if handler == .fencePeer { return fencePeerCalled(n, id) }
      plan(.handlerDone, at: now + 1_000_000 + random.below(20_000_000), on: n, id)
    case .reply(let to, let outcome): commandReplied(n, to, outcome)
    case .log(_, let text): if era >= .second { read(n, text) }
    case .stateChanged:
      nodes[n].forgetView()
      stateChanged(n)
    }
  }

  /// 64 bytes that differ from node to node and from time to time.
  static func challenge(of n: Int, at now: UInt64) -> [UInt8] {
    var random = SeededGenerator(seed: now << 1 | UInt64(n))
    return (0..<64).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }

  /// A stand-in for HMAC: equal messages, equal digests.
  static func digest(_ algorithm: String, _ message: [UInt8]) -> [UInt8] {
    if algorithm != "sha1" { return [] }
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in message { hash = (hash ^ UInt64(byte)) &* 0x0100_0000_01b3 }
    return (0..<20).map { UInt8(truncatingIfNeeded: hash >> (UInt64($0 % 8) * 8)) &+ UInt8($0) }
  }

  // MARK: payloads

  func owns(_ n: Int, _ payload: PayloadRef, orClient: Bool) -> Bool {
    let owner = pool.owner(of: payload)
    return owner == .engine(n) || (orClient && owner == .client)
  }

  private func giveBack(_ n: Int, _ payload: PayloadRef) {
    guard owns(n, payload, orClient: false), pool.isWhole(payload) else {
      return breakLaw("\(name(n)) gives back a payload that it does not have")
    }
    if pool.isBusy(payload) { return breakLaw("\(name(n)) gives back a payload that a disk or a socket still uses") }
    pool.giveBack(payload)
  }

  // MARK: disks

  private func diskDelay(_ n: Int, _ v: Int) -> UInt64 {
    let base = circumstances.diskLatency
    var delay = base / 2 + random.below(base + 1)
    if random.oneIn(200) { delay *= 8 }
    if circumstances.diskJitter > 0, random.oneIn(4) { delay <<= random.below(circumstances.diskJitter + 1) }
    delay *= nodes[n].diskSlowness * circumstances.volumes[v].disk(of: n).slowness
    // A disk without an answer for longer is stuck.
    if era >= .second { delay = min(delay, 10 * World.second) }
    return nodes[n].disksStuckUntil > now ? nodes[n].disksStuckUntil - now + delay : delay
  }

  private func openDisk(_ n: Int, _ v: Int) {
    guard nodes[n].openDisks.insert(v).inserted else { return breakLaw("\(name(n)) opens a disk twice") }
    nodes[n].disks[v].findMetadata()
    let refused = nodes[n].disks[v].broken
    if refused { nodes[n].openDisks.remove(v) }
    plan(refused ? .diskRefused : .diskOpened, after: 100_000 + random.below(1_000_000), on: n, UInt64(v))
  }

  private func closeDisk(_ n: Int, _ v: Int) {
    guard nodes[n].openDisks.remove(v) != nil else { return breakLaw("\(name(n)) closes a disk that is not open") }
    for work in nodes[n].works where work.isActive && work.disk == v {
      return breakLaw("\(name(n)) closes a disk with \(work.id.kind) under way")
    }
    plan(.diskClosed, after: 50_000 + random.below(100_000), on: n, UInt64(v))
  }

  private func start(_ n: Int, _ work: DiskWork, delay: UInt64) {
    guard nodes[n].openDisks.contains(work.disk) else {
      return breakLaw("\(name(n)) starts \(work.id.kind) on a disk that is not open")
    }
    let slot = nodes[n].add(work)
    plan(.diskDone, after: delay, on: n, UInt64(slot))
  }

  private func startDisk(_ n: Int, _ id: WorkID, _ v: Int, _ operation: DiskOperation) {
    let disk = nodes[n].disks[v]
    if id.kind == .resyncWrite { checkOverwriting(n, v) }
    var early = false
    switch operation {
    case .read(let range, let payload):
      guard isSound(n, v, range, payload) else { return }
      pool.begin(payload)
      // The disk looks at the medium at some moment between start and end.
      early = random.oneIn(2)
      if early {
        disk.cache.read(Int(range.start.value), Int(range.count.value), into: pool[payload])
      }
    case .write(let range, let payload, _):
      guard isSound(n, v, range, payload) else { return }
      pool.begin(payload)
    case .discard(let range), .zero(let range, _): guard isSound(n, v, range, nil) else { return }
    case .flush: break
    }
    start(
      n, DiskWork(id: id, disk: v, what: .data(operation), mark: disk.mark, isEarly: early), delay: diskDelay(n, v))
  }

  private func startExamination(
    _ n: Int, _ id: WorkID, _ v: Int, _ range: BlockRange, _ what: Examination, _ payload: PayloadRef?
  ) {
    guard isSound(n, v, range, payload) else { return }
    if let payload { pool.begin(payload) }
    start(
      n, DiskWork(id: id, disk: v, what: .examine(range, what, payload), mark: nodes[n].disks[v].mark, isEarly: false),
      delay: diskDelay(n, v))
  }

  private func examine(_ disk: FakeDisk, _ range: BlockRange, _ what: Examination, _ payload: PayloadRef?) -> Finding {
    let count = Int(range.count.value)
    return withUnsafeTemporaryAllocation(of: Stamp.self, capacity: count) { stamps in
      disk.cache.read(Int(range.start.value), count, into: stamps.baseAddress!)
      if let payload { pool[payload].update(from: stamps.baseAddress!, count: count) }
      switch what {
      case .zeroes: return .isZero(stamps.allSatisfy { $0 == Stamps.zero })
      case .digest(let name):
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for stamp in stamps { hash = (hash ^ UInt64(truncatingIfNeeded: stamp)) &* 0x0100_0000_01b3 ^ hash >> 29 }
        return .digest((0..<name.size).map { UInt8(truncatingIfNeeded: hash >> (UInt64($0 % 8) * 8)) })
      }
    }
  }

  private func isSound(_ n: Int, _ v: Int, _ range: BlockRange, _ payload: PayloadRef?) -> Bool {
    let disk = nodes[n].disks[v]
    if range.count.value == 0 || range.end.value > UInt64(disk.cache.sectors) {
      breakLaw("\(name(n)) reaches beyond the data area: \(Trace.range(range))")
      return false
    }
    if let payload {
      if UInt64(payload.bytes) != range.bytes {
        breakLaw("\(name(n)) uses a payload of \(payload.bytes) bytes for \(Trace.range(range))")
        return false
      }
      if !owns(n, payload, orClient: true) {
        breakLaw("\(name(n)) uses a payload that it does not have for \(Trace.range(range))")
        return false
      }
    }
    return true
  }

  private func startMetaWrite(
    _ n: Int, _ id: WorkID, _ volume: VolumeNumber, _ block: MetaBlock, _ offset: UInt64, _ barrier: WriteBarrier
  ) {
    let v = nodes[n].volumeIndex(volume)
    let disk = nodes[n].disks[v]
    guard let place = metaPlace(n, disk, offset, 4096) else { return }
    let buffer = nodes[n].takeMetaBuffer()
    nodes[n].engine.render(block, of: volume, into: nodes[n].metaBuffers[buffer])
    if fingerprintsEffects { effectsPrint.mix(UnsafeRawBufferPointer(nodes[n].metaBuffers[buffer])) }
    start(
      n,
      DiskWork(
        id: id, disk: v, what: .metaWrite(block: place, buffer: buffer, barrier), mark: disk.mark, isEarly: false),
      delay: diskDelay(n, v))
  }

  private func startMetaRead(_ n: Int, _ id: WorkID, _ volume: VolumeNumber, _ offset: UInt64, _ bytes: UInt32) {
    let v = nodes[n].volumeIndex(volume)
    guard metaPlace(n, nodes[n].disks[v], offset, bytes) != nil else { return }
    start(
      n,
      DiskWork(
        id: id, disk: v, what: .metaRead(offset: offset, bytes: bytes), mark: FakeDisk.Mark(), isEarly: false),
      delay: diskDelay(n, v))
  }

  private func metaPlace(_ n: Int, _ disk: FakeDisk, _ offset: UInt64, _ bytes: UInt32) -> Int? {
    let end = disk.metaStart + UInt64(disk.metaBlocks) * 4096
    guard offset % 4096 == 0, bytes % 4096 == 0, bytes > 0, bytes <= 1 << 20, offset >= disk.metaStart,
      offset + UInt64(bytes) <= end
    else {
      breakLaw("\(name(n)) asks for \(bytes) bytes of metadata at \(offset), which lies elsewhere")
      return nil
    }
    return Int((offset - disk.metaStart) / 4096)
  }

  func diskWorkDone(_ n: Int, _ slot: Int) {
    let strike = strikeDue(n, nodes[n].works[slot])
    if let strike, strike.moment == .before, isDeadly(strike, to: n) { return }
    let work = nodes[n].finish(slot)
    let fault = nodes[n].disks[work.disk].broken || isInTrouble(n, work) ? DiskFault(errno: 5) : nil
    perform(n, work, fault)
    if let strike, strike.moment == .unheard, isDeadly(strike, to: n) { return }
    report(n, work, fault)
    if let strike, strike.moment == .after { _ = isDeadly(strike, to: n) }
  }

  /// What the end of this work does to the disk and to the memory it used.
  private func perform(_ n: Int, _ work: DiskWork, _ fault: DiskFault?) {
    let node = nodes[n]
    let disk = node.disks[work.disk]
    switch work.what {
    case .data(let operation): finishData(n, work, operation, fault)
    case .examine(_, _, let payload): if let payload { pool.end(payload) }
    case .metaRead: break
    case .metaWrite(let block, let buffer, let barrier):
      if fault == nil && !forgets(n, disk, block) {
        disk.completeMeta(block, UnsafeRawBufferPointer(node.metaBuffers[buffer]), barrier, work.mark)
      }
      node.freeMetaBuffers.append(buffer)
    }
  }

  private func report(_ n: Int, _ work: DiskWork, _ fault: DiskFault?) {
    let disk = nodes[n].disks[work.disk]
    switch work.what {
    case .data: feed(n, .diskDone(work.id, fault))
    case .examine(let range, let what, let payload):
      feed(n, .examined(work.id, fault.map { .fault($0) } ?? examine(disk, range, what, payload)))
    case .metaRead(let offset, let bytes):
      if let fault { return feed(n, .metaDone(work.id, fault)) }
      let at = Int(offset - disk.metaStart)
      feedMetaRead(n, work.id, UnsafeRawBufferPointer(rebasing: disk.meta[at..<at + Int(bytes)]))
    case .metaWrite: feed(n, .metaDone(work.id, fault))
    }
  }

  private func finishData(_ n: Int, _ work: DiskWork, _ operation: DiskOperation, _ fault: DiskFault?) {
    let disk = nodes[n].disks[work.disk]
    switch operation {
    case .read(let range, let payload):
      pool.end(payload)
      if fault == nil && !work.isEarly {
        disk.cache.read(Int(range.start.value), Int(range.count.value), into: pool[payload])
      }
      if circumstances.planted == .staleRead, random.oneIn(50) {
        disk.durable.read(Int(range.start.value), Int(range.count.value), into: pool[payload])
      }
    case .write(let range, let payload, let fua):
      pool.end(payload)
      if circumstances.planted == .forgottenWrite, work.id.kind == .peerWrite, random.oneIn(50) { return }
      if fault == nil {
        disk.completeWrite(Int(range.start.value), Int(range.count.value), pool[payload], fua: fua)
      } else if random.oneIn(2) {
        disk.completeWrite(Int(range.start.value), Int(range.count.value), pool[payload], fua: false)
      }
    case .discard(let range):
      if fault == nil { disk.completeFill(Int(range.start.value), Int(range.count.value), disk.leftByDiscard) }
    case .zero(let range, _):
      if fault == nil { disk.completeFill(Int(range.start.value), Int(range.count.value), Stamps.zero) }
    case .flush: if fault == nil { disk.flush(work.mark) }
    }
  }

  private func forgets(_ n: Int, _ disk: FakeDisk, _ block: Int) -> Bool {
    switch circumstances.planted {
    case .forgottenBitmap: disk.isBitmap(block)
    case .forgottenLog: disk.isLog(block)
    default: false
    }
  }
}
