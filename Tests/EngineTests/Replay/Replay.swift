// Our engine in the place of one recorded kernel: the other kernel's packets are played to it in the recorded order,
// the operator's steps of its own node are taken, the application's writes are those the kernel sent. What depends on
// our own choices (pings, barriers, how a resync is cut into requests) is answered by the replay itself.
import Base
import Foundation
import MetaDisk
import Protocol
import Testing

@testable import Engine

final class Replay {
  let script: Script
  let isAlpha: Bool
  let node: Node
  /// Packets sent by us, and those the kernel sent in our place, per link.
  private(set) var ours: [Int: [Spoken]] = [:]
  private(set) var theirs: [Int: [Spoken]] = [:]

  var draws: [UInt64]
  var link: Int?
  var data: SocketID?
  var meta: SocketID?
  var wantsConnect = false
  /// Random numbers are drawn for pauses now, not for generations.
  var isSearching = false
  private var lastSocket: UInt32 = 0
  /// The peer neither answers nor says that it is gone.
  var isSilent = false
  /// Handles of the kernel for its own requests, and ours for the same.
  var handles: [UInt64: UInt64] = [:]
  var unacked: Set<UInt64> = []
  var barrierAcks: [BarrierAck] = []
  var writesSinceBarrier: UInt32 = 0
  /// Our resync requests without answer, and the bytes with which they may be answered.
  private var requests: [(BlockRequest, VolumeNumber)] = []
  private var served: UInt64 = 0
  /// Places of a shell loop.
  var loop: [UInt64] = []
  private var facts = LinkFacts()
  /// Of the next entry.
  private var position = 0
  private let wireProtocol: WireProtocol

  struct Spoken {
    var isMeta: Bool
    var packet: Packet
    var volume: VolumeNumber
    var payload: Int
  }

  init(_ script: Script, as role: String) throws {
    self.script = script
    isAlpha = role == "alpha"
    let settings = try Replay.settings(script, isAlpha: isAlpha)
    wireProtocol = settings.net.wireProtocol
    var disks: [VolumeNumber: FakeDisk] = [:]
    var known: [UInt64] = []
    for volume in settings.volumes {
      let disk = try script.disk(of: isAlpha, "before", volume: volume.number)
      let slots = try disk.superblock().generations(peerNode: 0)
      known += [slots.current, slots.bitmap, slots.history0, slots.history1]
      disks[volume.number] = disk
    }
    draws = script.draws(ofAlpha: isAlpha, known: known)
    node = Node(role, settings: settings, disks: disks, seed: 1)
    node.onNetwork = { [unowned self] in self.carry($0) }
    node.sign = { [unowned self] in self.sign($0) }
    node.digest = { [unowned self] in self.digest($0, $1) }
  }

  // MARK: Running

  /// `links`: what is played ends before the connection behind these.
  func run(links: Int = .max) {
    for (i, entry) in script.entries.enumerated() {
      position = i + 1
      if case .packet(let link, _, _, _, _) = entry, link >= links { return }
      switch entry {
      case .note(let text): step(text)
      case .packet(let link, let isMeta, let fromAlpha, let packet, let content):
        establish(link)
        if self.link != link { continue }
        if fromAlpha == isAlpha { own(packet, content, isMeta) } else { feed(packet, content, isMeta) }
      case .ended(let link, let isMeta, let fromAlpha):
        if self.link == link, fromAlpha != isAlpha { hangUp(isMeta) }
      }
    }
  }

  /// Handles what is in the inbox. When a generation is drawn, it is the one that the kernel drew.
  func settle() {
    repeat {
      if let next = draws.first, isInUse(next & ~1) { draws.removeFirst() }
      if let next = draws.first, !isSearching { node.engine.random = SeededGenerator(next: next) }
    } while node.step()
  }

  private func isInUse(_ uuid: UInt64) -> Bool {
    node.engine.snapshot().volumes.contains { $0.current & ~1 == uuid || $0.bitmap & ~1 == uuid }
  }

  /// Lets time pass until something holds.
  func pass(_ seconds: UInt64, until done: () -> Bool) {
    let end = node.now + .seconds(seconds)
    settle()
    while !done(), node.now < end {
      node.now = max(node.now, min(node.engine.nextDeadline ?? end, end))
      settle()
    }
  }

  private func carry(_ effect: Effect) {
    switch effect {
    case .connect: wantsConnect = true
    case .close(let socket, _):
      if socket == data || socket == meta {
        if socket == data { data = nil } else { meta = nil }
        node.inbox.append(.event(.socketClosed(socket)))
      }
    case .send(let socket, let volume, let packet, let payload, _):
      guard let link else { return }
      let isMeta = socket == meta
      ours[link, default: []].append(
        Spoken(isMeta: isMeta, packet: packet, volume: volume, payload: Int(payload?.bytes ?? 0)))
      answer(packet, volume)
    default: break
    }
  }

  /// What the replay answers in the peer's place.
  private func answer(_ packet: Packet, _ volume: VolumeNumber) {
    if isSilent { return }
    switch packet {
    case .ping: say(.pingAck, meta)
    case .data(let head): sent(head.blockID)
    case .trim(let range), .zeroes(let range): sent(range.data.blockID)
    case .barrier(let number):
      barrierAcks.append(BarrierAck(handle: number, setSize: writesSinceBarrier))
      writesSinceBarrier = 0
      ackBarriers()
    case .resyncRequest(let request), .thinRequest(let request), .checksumRequest(let request, _):
      requests.append((request, volume))
      serve()
    case .resyncReply(let head): ackUnasked(head.sector, volume)
    default: break
    }
  }

  /// Answers our resync requests as far as the kernel's were answered at this point.
  private func serve() {
    while let (request, volume) = requests.first, UInt64(request.size) <= served {
      requests.removeFirst()
      if isRefused(request) {
        let ack = BlockAck(sector: request.sector, blockID: syncerBlockID, size: request.size, sequence: 0)
        say(.negativeResyncReply(ack), meta, nil, volume)
        continue
      }
      if served != .max { served -= UInt64(request.size) }
      var head = DataHeader()
      head.sector = request.sector
      head.blockID = syncerBlockID
      let payload = node.allocate([UInt64](repeating: 0, count: Int(request.size) / 512), lent: true)
      say(.resyncReply(head), data, payload, volume)
    }
  }

  /// The recorded source could not read a part of this.
  private func isRefused(_ request: BlockRequest) -> Bool {
    let range = BlockRange(start: request.sector, bytes: request.size)
    return facts.refused.contains { $0.overlaps(range) }
  }

  /// We answer a checksum request with data where the kernel may have said that the block is equal: nobody acks that.
  private func ackUnasked(_ sector: UInt64, _ volume: VolumeNumber) {
    for equal in facts.equal where equal.start.value == sector {
      let ack = BlockAck(sector: sector, blockID: syncerBlockID, size: UInt32(equal.bytes), sequence: 0)
      say(.resyncWriteAck(ack), meta, nil, volume)
    }
  }

  /// The recorded peer will send more resync blocks on this connection, or the resync is broken off.
  private var hasMoreBlocks: Bool { position <= facts.lastBlock || position > facts.lastOwnState }

  private func sent(_ id: UInt64) {
    writesSinceBarrier += 1
    unacked.insert(id)
  }

  private func ackBarriers() {
    guard unacked.isEmpty || wireProtocol == .a else { return }
    for ack in barrierAcks { say(.barrierAck(ack), meta) }
    barrierAcks = []
  }

  func say(
    _ packet: Packet, _ socket: SocketID?, _ payload: PayloadRef? = nil, _ volume: VolumeNumber = .zero
  ) {
    if let socket { node.inbox.append(.event(.packet(socket, volume, packet, payload))) }
  }

  /// As if we knew the secret: our answer to the recorded challenge, or what the peer's answer to ours has to be.
  private func sign(_ message: [UInt8]) -> [UInt8] {
    var challenge: [UInt8]?
    var responses: [Bool: [UInt8]] = [:]
    for case .packet(_, _, let fromAlpha, let decoded, _) in script.entries {
      if case .authChallenge(let bytes) = decoded.packet, fromAlpha != isAlpha { challenge = bytes }
      if case .authResponse(let bytes) = decoded.packet { responses[fromAlpha == isAlpha] = bytes }
    }
    if message == challenge { return responses[true]! }
    return script.recording.name.contains("wrong-secret") ? [1] : responses[false]!
  }

  /// As if our disk held what the kernel's did: the digest it sent, or one that is equal where it found so.
  private func digest(_ id: WorkID, _ range: BlockRange) -> [UInt8] {
    let expected = node.engine.digests[id.slot.raw]
    if id.kind == .resyncRead {
      return facts.equal.contains { $0.start == range.start } ? expected ?? [] : [0, 0, 0, 0]
    }
    guard id.kind == .verify else { return [0, 0, 0, 0] }
    for case .packet(link, _, let fromAlpha, let decoded, _) in script.entries where fromAlpha == isAlpha {
      switch decoded.packet {
      case .verifyReply(let reply, let digest) where reply.sector == range.start.value: return digest
      case .verifyResult(let ack) where ack.sector == range.start.value:
        return ack.blockID == Engine.inSyncMark ? expected ?? [] : [0, 0, 0, 0]
      default: break
      }
    }
    return [0, 0, 0, 0]
  }

  // MARK: The recorded peer

  private func establish(_ index: Int) {
    if let link, index <= link { return }
    let recorded = script.links[index]
    if data != nil || meta != nil {
      // The old connection has not ended in the recording: it dies by itself.
      isSilent = true
      pass(120, until: { data == nil && meta == nil })
    }
    if case .down = node.engine.link.phase { return }
    pass(10, until: { if case .searching = node.engine.link.phase { true } else { false } })
    guard case .searching = node.engine.link.phase else { return }
    isSilent = false
    writeWhatTheBitmapSays(index)
    isSearching = true
    defer { isSearching = false }
    link = index
    handles = [:]
    unacked = []
    barrierAcks = []
    writesSinceBarrier = 0
    requests = []
    served = 0
    facts = LinkFacts(script, index, isAlpha: isAlpha)
    data = open(byUs: recorded.dataOpenedByAlpha == isAlpha, .initialData)
    meta = open(byUs: recorded.metaOpenedByAlpha == isAlpha, .initialMeta)
    pass(10, until: { if case .greeting = node.engine.link.phase { true } else { false } })
  }

  private func open(byUs: Bool, _ first: Packet) -> SocketID {
    lastSocket += 1
    let socket = SocketID(lastSocket)
    if byUs {
      pass(20, until: { wantsConnect })
      wantsConnect = false
      node.inbox.append(.event(.connected(socket)))
    } else {
      if wantsConnect {
        wantsConnect = false
        node.inbox.append(.event(.connectFailed(why: "refused")))
        settle()
      }
      node.inbox.append(.event(.accepted(socket)))
      node.inbox.append(.event(.packet(socket, .zero, first, nil)))
    }
    settle()
    return socket
  }

  private func hangUp(_ isMeta: Bool) {
    guard let socket = isMeta ? meta : data else { return }
    if isMeta { meta = nil } else { data = nil }
    node.inbox.append(.event(.socketClosed(socket)))
    settle()
  }

  /// A packet that the kernel sent in our place: the application does what made it do so.
  private func own(_ decoded: DecodedPacket, _ content: [UInt64], _ isMeta: Bool) {
    // Still in the wire after the power cut. The consent to an end that both wanted is the last word, not a leftover.
    if data == nil, node.volume().disk == .diskless, node.volume().replication == .standAlone {
      guard case .connectionChangeReply = decoded.packet else { return }
    }
    theirs[link!, default: []].append(
      Spoken(isMeta: isMeta, packet: decoded.packet, volume: VolumeNumber(decoded.volume), payload: decoded.payload))
    switch decoded.packet {
    case .data(let head):
      let volume = VolumeNumber(decoded.volume)
      let before = ours[link!]?.count ?? 0
      let payload = node.allocate(content, lent: true)
      let range = BlockRange(start: head.sector, bytes: UInt32(decoded.payload))
      node.inbox.append(
        .event(.write(Ticket(node.number()), volume, range, payload, fua: head.flags.contains(.fua))))
      settle()
      match(head.blockID, since: before)
    case .trim(let range): discarded(range, zero: nil, VolumeNumber(decoded.volume))
    case .zeroes(let range): discarded(range, zero: range.data.flags.contains(.discard), VolumeNumber(decoded.volume))
    case .dataRequest(let request):
      func count(_ spoken: [Spoken]?) -> Int {
        (spoken ?? []).count {
          if case .dataRequest(let one) = $0.packet { one.sector == request.sector } else { false }
        }
      }
      // A second attempt after a negative answer is our engine's own doing, too.
      let isRepeated = count(ours[link!]) >= count(theirs[link!])
      let before = isRepeated ? 0 : ours[link!]?.count ?? 0
      if !isRepeated { _ = node.read(request.sector, UInt64(request.size) / 512, volume: VolumeNumber(decoded.volume)) }
      settle()
      match(request.blockID, since: before)
    case .outOfSync(let block):
      node.write(block.sector, UInt64(block.size) / 512, stamp: 5, volume: VolumeNumber(decoded.volume))
      settle()
    case .connectionChangeRequest where script.recording.name.hasPrefix("42-"):
      // Both nodes are taken down between the cases of this recording, without a line that says so.
      settle()
      give(.down)
    case .state(let state) where state.role == .secondary && node.engine.role == .primary:
      settle()
      if node.engine.role == .primary { give(.secondary) }
    default: settle()
    }
  }

  private func discarded(_ range: RangeHeader, zero mayUnmap: Bool?, _ volume: VolumeNumber) {
    let before = ours[link!]?.count ?? 0
    if let mayUnmap {
      node.zero(range.data.sector, UInt64(range.size) / 512, mayUnmap: mayUnmap, volume: volume)
    } else {
      node.discard(range.data.sector, UInt64(range.size) / 512, volume: volume)
    }
    settle()
    match(range.data.blockID, since: before)
  }

  /// The kernel's handle of a request stands for the handle of the packet we have just sent.
  private func match(_ handle: UInt64, since before: Int) {
    for spoken in (ours[link!] ?? []).dropFirst(before) {
      switch spoken.packet {
      case .data(let head): handles[handle] = head.blockID
      case .trim(let range), .zeroes(let range): handles[handle] = range.data.blockID
      case .dataRequest(let request): handles[handle] = request.blockID
      default: break
      }
    }
  }

  private func feed(_ decoded: DecodedPacket, _ content: [UInt64], _ isMeta: Bool) {
    if served != .max {
      switch decoded.packet {
      case .resyncReply: served += UInt64(decoded.payload)
      case .deallocated(let block): served += UInt64(block.size)
      case .inSync(let ack), .negativeResyncReply(let ack): served += UInt64(ack.size)
      default: break
      }
    }
    if !hasMoreBlocks { served = .max }
    serve()
    guard let socket = isMeta ? meta : data, let packet = translated(decoded.packet) else { return }
    var payload: PayloadRef?
    if decoded.payload > 0 { payload = node.allocate(content, lent: true) }
    if let size = packet.answerSize { payload = node.allocate([UInt64](repeating: 0, count: size / 512), lent: true) }
    node.inbox.append(.event(.packet(socket, VolumeNumber(decoded.volume), packet, payload)))
    settle()
    ackBarriers()
    settle()
  }

  /// nil: answers something that we have not said, or that has been answered.
  private func translated(_ packet: Packet) -> Packet? {
    func ours(_ ack: BlockAck) -> BlockAck? {
      if ack.blockID == syncerBlockID { return ack }
      guard let id = handles[ack.blockID] else { return nil }
      unacked.remove(id)
      var ack = ack
      ack.blockID = id
      return ack
    }
    switch packet {
    case .initialData, .initialMeta, .pingAck, .barrierAck, .resyncReply, .deallocated, .inSync,
      .negativeResyncReply:
      settle()
      return nil
    case .receiveAck(let ack): return ours(ack).map { .receiveAck($0) }
    case .writeAck(let ack): return ours(ack).map { .writeAck($0) }
    case .resyncWriteAck(let ack): return ours(ack).map { .resyncWriteAck($0) }
    case .negativeAck(let ack): return ours(ack).map { .negativeAck($0) }
    case .negativeDataReply(let ack): return ours(ack).map { .negativeDataReply($0) }
    case .dataReply(var head):
      guard let id = handles[head.blockID] else { return nil }
      head.blockID = id
      return .dataReply(head)
    case .features(var peer) where !isAlpha && script.recording.name.hasPrefix("39"):
      // The proxy lowers what alpha says, too.
      peer.maximum = node.settings.net.maximumVersion
      peer.flags = script.links[link!].features
      return .features(peer)
    default: return packet
    }
  }
}
