// Two nodes that do not fit together: settings, secrets, sizes, versions, and peers that speak nonsense.
import Base
import MetaDisk
import Protocol
import Testing

@testable import Engine

@Suite("Two nodes: refusals")
struct RefusalStoryTests {
  /// Both connect; neither may become Connected; at least alpha ends StandAlone with a sentence that says `word`.
  private func refused(
    _ pair: Pair, _ word: String, both: Bool = true, at location: SourceLocation = #_sourceLocation
  ) {
    for node in pair.both { pair.order(.connect(discardMyData: false), on: node, at: location) }
    pair.pass(.seconds(30))
    var sentences: [String] = []
    for node in pair.both {
      #expect(node.volume().replication < .connected, sourceLocation: location)
      if let sentence = node.engine.connectionRefusal {
        #expect(node.volume().replication == .standAlone, sourceLocation: location)
        sentences.append(sentence)
      }
    }
    #expect(sentences.contains { $0.contains(word) }, "\(sentences)", sourceLocation: location)
    pair.expectRest(at: location)
  }

  @Test(
    "a dry run moves nothing: the node that asked stays StandAlone, the other one waits, and both say what would follow",
    arguments: [true, false])
  func dryRun(byBeta: Bool) throws {
    let pair = try Pair()
    pair.synced()
    pair.order(.disconnect(force: false), on: byBeta ? pair.beta : pair.alpha)
    pair.settle()
    pair.wait(pair.alpha, [pair.alpha.write(64, stamp: 7)])
    let marked = pair.alpha.volume().outOfSync
    let (asking, other) = byBeta ? (pair.beta, pair.alpha) : (pair.alpha, pair.beta)
    pair.order(.connect(discardMyData: false, tentative: true), on: asking)
    pair.pass(.seconds(30))
    #expect(asking.volume().replication == .standAlone)
    #expect(other.volume().replication == .wfConnection)
    #expect(pair.alpha.volume().outOfSync == marked)
    #expect(pair.beta.disks[.zero]![64] != 7)
    pair.order(.connect(discardMyData: false), on: asking)
    pair.waitSync()
    pair.pass(.seconds(2))
    pair.expectEqual()
    pair.expectRest()
  }

  @Test("another protocol letter")
  func letter() throws {
    let pair = try Pair { settings, isAlpha in settings.net.wireProtocol = isAlpha ? .c : .b }
    pair.attach()
    refused(pair, "protocol")
  }

  @Test("another after-split-brain policy; discard-local and discard-remote are each other's mirror")
  func policy() throws {
    let pair = try Pair { settings, isAlpha in
      settings.net.afterSplitBrain0 = isAlpha ? .discardZeroChanges : .disconnect
    }
    pair.attach()
    refused(pair, "after-sb-0pri")
    let mirrored = try Pair { settings, isAlpha in
      settings.net.afterSplitBrain0 = isAlpha ? .discardLocal : .discardRemote
    }
    mirrored.attach()
    mirrored.connect()
  }

  @Test("another verify-alg or csums-alg")
  func algorithms() throws {
    let verify = try Pair { settings, isAlpha in settings.net.verifyAlgorithm = isAlpha ? "crc32c" : "" }
    verify.attach()
    refused(verify, "verify-alg")
    let checksum = try Pair { settings, isAlpha in settings.net.checksumAlgorithm = isAlpha ? "sha1" : "md5" }
    checksum.attach()
    refused(checksum, "csums-alg")
  }

  @Test("the right secret connects, a wrong one does not, and one that only one node has does not either")
  func secrets() throws {
    func pair(_ alpha: String, _ beta: String) throws -> Pair {
      let pair = try Pair { settings, isAlpha in settings.net.cramHMAC = (isAlpha ? alpha : beta).isEmpty ? "" : "sha1"
      }
      pair.alpha.secret = alpha
      pair.beta.secret = beta
      pair.attach()
      return pair
    }
    let good = try pair("s", "s")
    good.connect()
    good.expect("Connected Secondary/Secondary Inconsistent/Inconsistent")
    refused(try pair("s", "t"), "secret")
    refused(try pair("s", ""), "secret")
  }

  @Test("a digest that the daemon does not know")
  func unknownDigest() throws {
    let pair = try Pair { settings, _ in settings.net.cramHMAC = "unknown" }
    pair.attach()
    refused(pair, "unknown")
  }

  @Test("a fresh peer with a smaller disk: the smaller size is agreed; later a smaller one is refused")
  func sizes() throws {
    let pair = try Pair(diskBytes: [16 << 20], betaBytes: [8 << 20])
    pair.synced()
    #expect(pair.alpha.volume().size == SectorCount(16304))
    #expect(pair.beta.volume().size == SectorCount(16304))
    #expect(pair.alpha.sizes[.zero] == SectorCount(16304))
    pair.expectEqual()
    // beta's disk is replaced by a smaller one.
    pair.order(.down, on: pair.beta)
    pair.beta.crash(power: false)
    pair.beta.disks[.zero] = try FakeDisk.created(bytes: 4 << 20)
    pair.pass(.seconds(1))
    pair.attach([pair.beta])
    pair.order(.connect(discardMyData: false), on: pair.beta)
    pair.pass(.seconds(20))
    #expect(pair.alpha.engine.connectionRefusal?.contains("too small") == true)
    #expect(pair.beta.engine.connectionRefusal?.contains("this disk is too small for r0/0: 4056 KiB here") == true)
    for node in pair.both { #expect(node.state.hasPrefix("StandAlone")) }
    #expect(pair.alpha.volume().size == SectorCount(16304))
  }

  @Test("a configured size bounds the volume on both nodes")
  func sizeLimit() throws {
    let pair = try Pair { settings, isAlpha in
      if !isAlpha { settings.volumes[0].sizeLimit = SectorCount(8192) }
    }
    pair.synced()
    #expect(pair.alpha.volume().size == SectorCount(8192))
    #expect(pair.beta.volume().size == SectorCount(8192))
    pair.expectEqual()
  }

  @Test("every version from 86 to 101 works, and none in common is refused", arguments: 86...101)
  func versions(_ version: UInt32) throws {
    let pair = try Pair { settings, isAlpha in if isAlpha { settings.net.maximumVersion = version } }
    pair.attach()
    pair.connect()
    pair.order(.primary(force: true), on: pair.beta)
    pair.waitSync()
    pair.wait(pair.beta, [pair.beta.write(0, 64, stamp: 3), pair.beta.write(100, 1, stamp: 4, fua: true)])
    pair.wait(pair.beta, [pair.beta.flush()])
    pair.cutLink()
    pair.wait(pair.beta, [pair.beta.write(800, stamp: 5)])
    pair.mendLink()
    pair.waitConnected()
    pair.waitSync()
    pair.expect("Connected Secondary/Primary UpToDate/UpToDate")
    pair.expectEqual()
    pair.order(.disconnect(force: false), on: pair.beta)
    pair.expectRest()
  }

  // MARK: Nonsense

  /// Runs a connection to the given point and puts bytes in front of a node's parser.
  private func garbage(_ bytes: [UInt8], to kind: SocketKind, _ prepare: (Pair) -> Void) throws {
    let pair = try Pair()
    pair.attach()
    prepare(pair)
    guard let end = pair.network.end(1, kind) else {
      Issue.record("no \(kind.name) socket")
      return
    }
    pair.network.put(bytes, [], to: end)
    pair.pass(.seconds(30))
    if pair.beta.volume().replication == .standAlone {
      pair.order(.connect(discardMyData: false), on: pair.beta)
    }
    if pair.alpha.volume().replication == .standAlone {
      pair.order(.connect(discardMyData: false), on: pair.alpha)
    }
    pair.waitConnected()
    pair.waitSync()
    pair.expectRest()
  }

  private static let nonsense: [[UInt8]] = [
    [UInt8](repeating: 0, count: 16), [UInt8](repeating: 0xff, count: 16),
    Array("GET / HTTP/1.1\r\n".utf8),
    // P_DATA with a length that no version allows, P_PING with a body, an unknown code, a pad that is not zero.
    [0x86, 0x20, 0xec, 0x20, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0],
    [0x86, 0x20, 0xec, 0x20, 0, 0, 0, 0x13, 0, 0, 0, 9, 0, 0, 0, 0],
    [0x86, 0x20, 0xec, 0x20, 0, 0, 0, 0x77, 0, 0, 0, 0, 0, 0, 0, 0],
    [0x86, 0x20, 0xec, 0x20, 0, 0, 0, 0x13, 0, 0, 0, 0, 0, 0, 0, 1],
  ]

  @Test("garbage on either socket costs the connection, never the node", arguments: nonsense)
  func garbageWhileConnected(_ bytes: [UInt8]) throws {
    for kind in [SocketKind.data, .meta] {
      try garbage(bytes, to: kind) { $0.connect() }
      try garbage(bytes, to: kind) {
        $0.connect()
        $0.beta.holding = [.resyncWrite]
        $0.order(.primary(force: true), on: $0.alpha)
        $0.settle()
        $0.beta.stopHolding()
      }
    }
  }

  @Test("garbage before the handshake", arguments: nonsense)
  func garbageFirst(_ bytes: [UInt8]) throws {
    try garbage(bytes, to: .undecided) {
      $0.network.held = [.init(to: 1, kind: .undecided)]
      for node in $0.both { $0.order(.connect(discardMyData: false), on: node) }
      $0.run(until: { [network = $0.network] in network.end(1, .undecided) != nil })
      $0.network.held = []
    }
  }

  // MARK: Packets out of place

  private func inject(_ packet: Packet, into socket: SocketID, of node: Node) {
    let content: [UInt64]? =
      packet.isFollowedByPayload
      ? [1, 2, 3, 4, 5, 6, 7, 8] : packet.answerSize.map { [UInt64](repeating: 0, count: $0 / 512) }
    let payload = content.map { node.allocate($0, lent: true) }
    node.inbox.append(.event(.packet(socket, .zero, packet, payload)))
  }

  /// StandAlone nodes are connected again; then both must become Connected and come to rest.
  private func recover(_ pair: Pair, _ what: String) {
    pair.pass(.seconds(12))
    for node in pair.both where node.volume().replication == .standAlone {
      pair.order(.connect(discardMyData: false), on: node)
    }
    let good = pair.run(until: { pair.both.allSatisfy { $0.volume().replication == .connected } })
    if !good { Issue.record("\(what): \(pair.alpha.state) | \(pair.beta.state)") }
    pair.expectRest()
  }

  @Test("every packet in every stage of the handshake")
  func packetsOutOfPlace() throws {
    let pair = try Pair { settings, _ in settings.net.cramHMAC = "sha1" }
    pair.attach()
    for packet in Packet.samples {
      for stage in [0, 1, 2, 3, 5] {
        for node in pair.both { pair.order(.disconnect(force: true), on: node) }
        for node in pair.both { pair.order(.connect(discardMyData: false), on: node) }
        pair.network.held = [.init(to: 1, kind: .data), .init(to: 1, kind: .meta)]
        pair.run(limit: .seconds(5), until: { [network = pair.network] in network.end(1, .data) != nil })
        guard let data = pair.network.end(1, .data) else {
          Issue.record("no data socket")
          return
        }
        for _ in 0..<stage { pair.network.deliverHeld(to: data) }
        inject(packet, into: data.socket, of: pair.beta)
        pair.settle()
        pair.network.held = []
        recover(pair, "\(packet.name) in stage \(stage)")
      }
    }
  }

  @Test("every packet while connected, and during a resync")
  func packetsWhileConnected() throws {
    for syncing in [false, true] {
      for packet in Packet.samples {
        for kind in [SocketKind.data, .meta] where kind == .data || packet.isForMeta {
          let pair = try Pair(diskBytes: [2 << 20])
          pair.attach()
          pair.connect()
          if syncing {
            pair.beta.holding = [.resyncWrite]
            pair.order(.primary(force: true), on: pair.alpha)
            pair.settle()
          }
          inject(packet, into: pair.network.end(1, kind)!.socket, of: pair.beta)
          pair.settle()
          pair.beta.stopHolding()
          pair.pass(.seconds(12))
          pair.expectRest()
          for node in pair.both { pair.order(.down, on: node) }
        }
      }
    }
  }
}

extension Packet {
  var isFollowedByPayload: Bool {
    switch self {
    case .data, .dataReply, .resyncReply, .writeSame: true
    default: false
    }
  }

  var isForMeta: Bool {
    switch self {
    case .stateChangeReply, .connectionChangeReply, .barrierAck, .receiveAck, .writeAck, .resyncWriteAck, .superseded,
      .negativeAck, .negativeDataReply, .negativeResyncReply, .verifyResult, .inSync, .resyncCancel, .retryWrite,
      .ping, .pingAck:
      true
    default: false
    }
  }

  /// One of each, with fields that lie inside an 8 MiB volume and belong to nothing.
  static var samples: [Packet] {
    var head = DataHeader()
    head.sector = 64
    head.blockID = 0x1234_5678_0000_0001
    head.flags = [.sendWriteAck]
    let request = BlockRequest(sector: 64, blockID: 7, size: 4096)
    let ack = BlockAck(sector: 64, blockID: 0x1234_5678_0000_0001, size: 4096, sequence: 1)
    let resyncAck = BlockAck(sector: 64, blockID: syncerBlockID, size: 4096, sequence: 1)
    var slots = GenerationIdentifiers()
    slots.current = 0x77
    func change(_ mask: UInt32, _ value: UInt32) -> StateChange {
      StateChange(mask: PackedState(word: mask), value: PackedState(word: value))
    }
    let state = PackedState(
      role: .secondary, peer: .secondary, connection: .connected, disk: .inconsistent, peerDisk: .inconsistent)
    let range = RangeHeader(head, size: 4096)
    let block = BlockDescriptor(sector: 64, size: 4096)
    return [
      .features(Features()), .authChallenge([UInt8](repeating: 1, count: 64)),
      .authChallenge([]), .authResponse([UInt8](repeating: 2, count: 20)), .authResponse([]),
      .protocolOffer(ProtocolOffer()), .protocolUpdate(ProtocolOffer()), .syncParameters(SyncParameters()),
      .sizes(Sizes()), .uuids(slots), .state(state), .state(PackedState(word: 0xffff_ffff)), .syncUUID(0x99),
      .stateChangeRequest(change(3, 1)), .stateChangeRequest(change(0x1e00, 0x400)),
      .stateChangeRequest(change(0x1f0, 0xb0)), .stateChangeRequest(change(0x1f0, 0xc0)),
      .stateChangeRequest(change(0x1f0, 0x120)), .stateChangeRequest(change(0xffff_ffff, 0xffff_ffff)),
      .stateChangeRequest(change(0, 0)), .stateChangeReply(1), .stateChangeReply(-1),
      .connectionChangeRequest(change(0x1f0, 0x10)), .connectionChangeRequest(change(3, 1)),
      .connectionChangeRequest(change(0xffff_ffff, 0xffff_ffff)), .connectionChangeReply(1),
      .connectionChangeReply(-2), .data(head), .trim(range), .zeroes(range), .barrier(0), .barrier(77),
      .barrierAck(BarrierAck(handle: 0, setSize: 0)), .unplugRemote, .outOfSync(block), .dataRequest(request),
      .dataReply(head), .resyncRequest(request), .resyncReply(head), .thinRequest(request), .deallocated(block),
      .checksumRequest(request, digest: [1, 2, 3, 4]), .verifyRequest(request),
      .verifyReply(request, digest: [1, 2, 3, 4]), .bitmap([]), .bitmap([UInt8](repeating: 0xff, count: 256)),
      .compressedBitmap([0xb2, 0x3f, 0xc5, 0x06]), .receiveAck(ack), .writeAck(ack), .resyncWriteAck(ack),
      .resyncWriteAck(resyncAck), .superseded(ack), .negativeAck(ack), .negativeAck(resyncAck),
      .negativeDataReply(ack), .negativeResyncReply(resyncAck), .verifyResult(ack), .inSync(resyncAck),
      .resyncCancel(resyncAck), .retryWrite(ack), .ping, .pingAck, .skipped(0x59),
    ]
  }
}
