// The source of a resync: answers requests, clears what the target has written, and believes the end only when its own
// bits agree (wire spec 9.4, 9.6).
// Law: an answer never carries data older than a write that precedes it on the stream: a block is read while no
// application write to it is under way, and none starts until the answer is queued.
import Base
import Protocol

extension Engine {
  /// Both bitmaps are the union: the resync starts. `targetHasRecorded`: the target's metadata say already that its data are old.
  mutating func startSource(_ v: Int, targetHasRecorded: Bool) {
    let sync = volumes[v].generations.startSync(random: random.next())
    change(v) {
      $0.conn = .syncSource
      $0.peerDisk = .inconsistent
    }
    beginResync(v)
    volumes[v].resync.targetHasRecorded(targetHasRecorded)
    call(.beforeResyncSource, v)
    // Durable first: a source that forgets the sync UUID could not tell what the target holds.
    volumes[v].resync.announce(sync, write: volumes[v].superblock.wanted + 1)
    writeSuperblock(v, then: .sourceReady)
    volumes[v].peer.assumeGenerations()
  }

  mutating func sourceReady(_ v: Int) {
    guard let (sync, write) = volumes[v].resync.announces, volumes[v].superblock.durable >= write,
      volumes[v].resync.stragglers == 0
    else { return }
    volumes[v].resync.isAnnounced()
    sendData(.syncUUID(sync), volumes[v].number)
  }

  /// P_RS_DATA_REQUEST, P_RS_THIN_REQ.
  mutating func resyncRequested(
    _ v: Int, _ request: BlockRequest, _ buffer: PayloadRef?, _ kind: PeerRequest.Kind, digest: [UInt8] = []
  ) {
    guard let range = named(v, "a resync request", request.sector, request.size, longest: longestBlock, buffer),
      let buffer = whole(buffer, range), hasRoomForPeer(buffer)
    else { return }
    let id = peerRequests.insert(
      PeerRequest(
        kind: kind, volume: v, range: range, blockID: request.blockID, flags: [], payload: buffer,
        connection: link.generation, resync: volumes[v].resync.number))
    if !digest.isEmpty { digests[id.raw] = digest }
    volumes[v].peer.unacked.begin()
    volumes[v].resync.waitNoLonger()
    volumes[v].resync.targetHasRecorded(true)
    readInTurn(v, id)
  }

  /// P_CSUM_RS_REQUEST: the target has this block with this digest.
  mutating func checksumRequested(_ v: Int, _ request: BlockRequest, _ digest: [UInt8], _ buffer: PayloadRef?) {
    guard let name = DigestName(rawValue: link.checksumAlgorithm), digest.count == name.size else {
      if let buffer { fx.append(.giveBack(buffer)) }
      breakLink(
        .protocolError,
        "P_CSUM_RS_REQUEST with a digest of \(digest.count) bytes, and csums-alg is "
          + (link.checksumAlgorithm.isEmpty ? "not set" : link.checksumAlgorithm))
      return
    }
    if self.digest(name.rawValue) == nil {
      // Nothing here to compare with: the block itself is sent.
      resyncRequested(v, request, buffer, .resyncRead)
    } else {
      resyncRequested(v, request, buffer, .checksumRead, digest: digest)
    }
  }

  mutating func startResyncRead(_ v: Int, _ id: SlotID) {
    let request = peerRequests[id]
    guard isOfRunningResync(request) else {
      abandonResyncRead(v, id)
      return
    }
    guard volumes[v].hasDisk, volumes[v].state.disk == .upToDate else {
      refuseRead(v, id, { .negativeResyncReply($0) })
      return
    }
    peerRequests[id].hold = volumes[v].ranges.insert(request.range, .resyncRead)
    switch request.kind {
    case .checksumRead:
      let name = DigestName(rawValue: link.checksumAlgorithm) ?? .crc32c
      examine(v, .resyncRead, id, request.range, .digest(name), into: request.payload)
    case .thinRead: examine(v, .resyncRead, id, request.range, .zeroes, into: request.payload)
    default: submit(v, .resyncRead, id, .read(request.range, request.payload!))
    }
  }

  /// It belongs to the resync of now. One that ended is not answered any more: blocks may have been written since that the peer
  /// did not get, and the answer would count for the next resync.
  func isOfRunningResync(_ request: PeerRequest) -> Bool {
    request.connection == link.generation && request.resync == volumes[request.volume].resync.number
  }

  /// Its resync has ended: the peer counts an answer only until the next one begins.
  private mutating func abandonResyncRead(_ v: Int, _ id: SlotID) {
    if volumes[v].resync.number == 0 {
      refuseRead(v, id, { .negativeResyncReply($0) })
    } else {
      if peerRequests[id].connection == link.generation { volumes[v].peer.unacked.end() }
      releasePeerRequest(id)
    }
  }

  /// The block was read and looked at: equal, or nothing but zeroes, it need not travel.
  mutating func resyncExamined(_ id: SlotID, _ finding: Finding) {
    let request = peerRequests[id]
    let v = request.volume
    switch finding {
    case .fault(let fault): resyncReadDone(id, fault)
    case .digest(let own) where own == digests[id.raw] && isOfRunningResync(request):
      volumes[v].peer.unacked.end()
      clearBits(v, request.range)
      sendAck(v, id, { .inSync($0) })
      releasePeerRequest(id)
      resyncProgressed(v)
    case .isZero(true) where isOfRunningResync(request):
      volumes[v].peer.unacked.end()
      volumes[v].resync.send(request.range)
      sendData(
        .deallocated(BlockDescriptor(sector: request.range.start.value, size: UInt32(request.range.bytes))),
        volumes[v].number)
      releasePeerRequest(id)
    case .digest, .isZero, .unknown: resyncReadDone(id, nil)
    }
  }

  mutating func resyncReadDone(_ id: SlotID, _ fault: DiskFault?) {
    let v = peerRequests[id].volume
    let request = peerRequests[id]
    if !isOfRunningResync(request) {
      abandonResyncRead(v, id)
      if let fault { diskFailed(v, fault, "read", request.range) }
    } else if let fault {
      volumes[v].resync.fail(request.range)
      refuseRead(v, id, { .negativeResyncReply($0) })
      diskFailed(v, fault, "read", request.range)
      resyncProgressed(v)
    } else {
      var head = DataHeader()
      head.sector = request.range.start.value
      head.blockID = request.blockID
      volumes[v].resync.send(request.range)
      sendReply(v, id, .resyncReply(head), .resyncRead)
    }
  }

  /// P_RS_WRITE_ACK of a resync block, P_RS_IS_IN_SYNC.
  mutating func resyncAcked(_ v: Int, _ ack: BlockAck) {
    let range = named(
      v, "a resync ack", ack.sector, ack.size, longest: Self.longestDiscard, breaking: .networkFailure)
    guard let range else { return }
    // Of a resync that has ended: what was marked since is not what was written there.
    guard volumes[v].state.conn == .syncSource || volumes[v].state.conn == .pausedSyncS,
      volumes[v].resync.stragglers == 0
    else { return }
    clearBits(v, range)
    volumes[v].resync.confirm(range)
    resyncProgressed(v)
  }

  /// A peer that is called Inconsistent, and may come back as UpToDate: nothing proves that it has recorded what it said, or it may
  /// have all by now that it lacked.
  func peerMayBeGood(_ v: Int) -> Bool {
    let state = volumes[v].state
    switch state.conn {
    case .syncSource, .pausedSyncS:
      return !volumes[v].resync.targetHasRecorded || volumes[v].resync.noticed
        || volumes[v].outOfSync <= volumes[v].resync.unconfirmed + bitsBeingWritten(v)
    // The target sends its bitmap when it has recorded that it is Inconsistent: the bitmap has not come.
    case .startingSyncS, .wfBitMapS: return state.peerDisk == .inconsistent
    // Its disk has failed to write something (`on-io-error pass_on`), or a resync ended with the source's disk: a target that has
    // overwritten nothing is UpToDate again.
    case .connected: return state.disk != .inconsistent && state.peerDisk == .inconsistent
    default: return false
    }
  }

  /// Bits of writes of the application that the target may have, and has cleared then: here they are cleared when the own disk has
  /// written them, too.
  private func bitsBeingWritten(_ v: Int) -> UInt64 {
    var bits: UInt64 = 0
    var at = 0
    while let id = writes.next(from: at) {
      at = id.index + 1
      if writes[id].volume == v { bits += UInt64(writes[id].range.bitsTouched.count) }
    }
    return bits
  }

  /// P_NEG_ACK of a resync block: the target could not write it.
  mutating func resyncWriteRefused(_ v: Int, _ ack: BlockAck) {
    let range = named(
      v, "a negative resync ack", ack.sector, ack.size, longest: Self.longestDiscard, breaking: .networkFailure)
    guard let range else { return }
    if !volumes[v].state.isSyncing || volumes[v].resync.stragglers > 0 { return }
    volumes[v].resync.fail(range)
    volumes[v].resync.confirm(range)
    resyncProgressed(v)
  }

  /// The target has said that it is done. Its word can be ahead of its last ack, as the two travel on different
  /// sockets: it is remembered until our own bits agree (K5). What was refused does not count: it may have been a block of
  /// an earlier resync, and a target that lacks one does not call itself UpToDate.
  mutating func checkSourceEnd(_ v: Int) {
    expectSourceEnd(v)
    guard volumes[v].state.conn == .syncSource || volumes[v].state.conn == .pausedSyncS, volumes[v].resync.noticed,
      volumes[v].resync.ending == .none, volumes[v].outOfSync == 0
    else { return }
    volumes[v].resync.end(.pinging)
    sendPing(.resyncSource, v)
  }

  /// Blocks were refused. A target of kernel 8.4 looks for the end only when it clears a bit, and stays SyncTarget for good when
  /// the last blocks failed (K22); it also asks for nothing more once max-buffers of refused blocks count as on their way
  /// (K27). Without a further request it is left and met anew.
  private mutating func expectSourceEnd(_ v: Int) {
    guard volumes[v].state.conn == .syncSource, volumes[v].resync.failed > 0 else {
      volumes[v].resync.waitNoLonger()
      return
    }
    beginPatience(v)
  }

  mutating func resyncSourcePinged(_ v: Int) {
    guard volumes[v].state.conn == .syncSource || volumes[v].state.conn == .pausedSyncS,
      volumes[v].resync.ending == .pinging
    else { return }
    // The superblock that says "nothing is out of sync" waits for the pages that say so.
    volumes[v].backing.bitmap.hurry()
    volumes[v].generations.finishAsSource()
    volumes[v].peer.hasSame(volumes[v].generations)
    change(v) {
      $0.conn = .connected
      $0.peerDisk = .upToDate
    }
    if volumes[v].hasDisk {
      flushBitmap(v, lazy: true, then: .nothing)
      writeSuperblock(v, then: .nothing)
    }
  }
}
