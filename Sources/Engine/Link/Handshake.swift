// The handshake, in wire order (wire spec 3): features, authentication, then the parameters of the connection and of
// every volume. Each step only accepts its own packet.
import Base
import Protocol

extension Engine {
  mutating func beginGreeting(_ data: SocketID, _ meta: SocketID, leftOver: [Search.Undecided]) {
    for one in leftOver { fx.append(.close(one.socket, afterSending: false)) }
    fx.append(.stopListening)
    link.data = data
    link.meta = meta
    link.metaLost = nil
    link.generation &+= 1
    link.version = 101
    link.features = []
    link.peerMaximum = 0
    link.began = now
    link.sendsDigest = nil
    link.receivesDigest = nil
    link.pingDeadline = nil
    link.pingTimer = now
    link.dataHeard = false
    link.mayWrite = false
    link.phase = .greeting(.features(until: now + handshakeLimit))
    fx.append(.configure(data, PacketStream(socket: .data)))
    fx.append(
      .send(
        data, connectionVolume,
        .features(Features(minimum: 86, maximum: settings.net.maximumVersion, flags: ownFeatures)), nil, notify: nil))
  }

  /// A kernel wants a digest in front of P_ZEROES that no sender appends (K2): with digests zeroes travel as P_TRIM.
  private var ownFeatures: FeatureFlags {
    let known = FeatureFlags.all.union([.resyncsGrown, .takesSectors, .marksAnswers])
    return settings.net.integrityAlgorithm.isEmpty ? known : known.subtracting(.writeZeroes)
  }

  mutating func featuresReceived(_ peer: Features) {
    guard case .greeting(.features) = link.phase else {
      breakLink(.protocolError, "P_CONNECTION_FEATURES out of order")
      return
    }
    let theirs = peer.maximum == 0 ? peer.minimum : peer.maximum
    let mine = settings.net.maximumVersion
    link.peerMaximum = theirs
    guard mine >= peer.minimum, theirs >= 86 else {
      if peer.minimum > 101 {
        giveUpLink(withholdsItsDialect(peer))
        return
      }
      giveUpLink(
        "no common protocol version: this node speaks 86 to \(mine), the peer \(peer.minimum) to \(theirs); "
          + "upgrade the older node")
      return
    }
    link.version = min(mine, theirs)
    if link.version < 100, volumes.count > 1 || volumes[0].number.value != 0 {
      giveUpLink(
        "the peer speaks version \(link.version), whose packets know volume 0 only: upgrade it, or configure one volume"
      )
      return
    }
    link.features = peer.flags.intersection(ownFeatures)
    let integrity = settings.net.integrityAlgorithm
    link.sendsDigest = digest(integrity)
    if !integrity.isEmpty, link.sendsDigest == nil || link.version < 87 {
      giveUpLink(
        link.version < 87
          ? "the peer speaks version \(link.version), which has no data-integrity-alg: upgrade it, or remove the option"
          : "data-integrity-alg is \(unusable(integrity)): choose another digest on both nodes")
      return
    }
    configureData()
    if let meta = link.meta {
      fx.append(.configure(meta, PacketStream(socket: .meta, version: link.version, features: link.features)))
    }
    log(.connection, "peer speaks \(peer.minimum) to \(theirs), agreed on protocol version \(link.version)")
    if settings.net.cramHMAC.isEmpty {
      sendParameters()
      return
    }
    link.phase = .greeting(.challenge(mine: [], theirs: nil, until: now + handshakeLimit))
    fx.append(.drawChallenge)
  }

  /// Ours, from whoever carries out effects: chance that this node's own generator makes can be worked out from other numbers
  /// that it has given away, such as generation identifiers.
  mutating func challengeDrawn(_ bytes: [UInt8]) {
    precondition(bytes.count == 64, "a challenge has 64 bytes")
    // Drawn for a connection that has ended, and another has its own by now.
    guard case .greeting(.challenge(let mine, let theirs, let until)) = link.phase, mine.isEmpty else { return }
    link.phase = .greeting(.challenge(mine: bytes, theirs: nil, until: until))
    sendData(.authChallenge(bytes))
    if let theirs { challengeReceived(theirs) }
  }

  mutating func configureData() {
    guard let data = link.data else { return }
    let stream = PacketStream(socket: .data, version: link.version, features: link.features)
    fx.append(.configure(data, stream.protected(sends: link.sendsDigest, receives: link.receivesDigest)))
  }

  /// A packet of the session while the handshake still waits for another.
  mutating func outOfPlace(_ packet: Packet) {
    if case .greeting(.challenge) = link.phase {
      // No packet explains it, and the next attempt would end alike (wire spec 3.2).
      giveUpLink(
        "\(packet.name) where P_AUTH_CHALLENGE is due: the peer does not authenticate; "
          + "set cram-hmac-alg and shared-secret on both nodes")
    } else {
      breakLink(.protocolError, "\(packet.name) before the handshake")
    }
  }

  mutating func challengeReceived(_ theirs: [UInt8]) {
    guard case .greeting(.challenge(let mine, let earlier, let until)) = link.phase, earlier == nil else {
      let why =
        "the peer wants to authenticate, this node has no shared secret: set cram-hmac-alg and shared-secret alike"
      settings.net.cramHMAC.isEmpty ? giveUpLink(why) : breakLink(.protocolError, "P_AUTH_CHALLENGE out of order")
      return
    }
    if mine.isEmpty {
      link.phase = .greeting(.challenge(mine: [], theirs: theirs, until: until))
      return
    }
    guard theirs.count >= 64, theirs.count <= 128, Array(theirs[0..<64]) != mine else {
      giveUpLink("authentication of the peer failed: its challenge is our own, or has a wrong length")
      return
    }
    let state = Authentication(mine: mine, theirs: theirs)
    link.phase = .greeting(.response(state, until: now + handshakeLimit))
    // Two signatures: our answer, and what the peer has to answer.
    let algorithm = settings.net.cramHMAC
    let tag = UInt64(link.generation) << 1
    fx.append(.sign(WorkID(kind: .auth, slot: SlotID(raw: tag)), algorithm: algorithm, message: theirs))
    fx.append(.sign(WorkID(kind: .auth, slot: SlotID(raw: tag | 1)), algorithm: algorithm, message: mine))
  }

  mutating func signed(_ id: WorkID, _ digest: [UInt8]) {
    guard UInt32(truncatingIfNeeded: id.slot.raw >> 1) == link.generation,
      case .greeting(.response(var state, let until)) = link.phase
    else { return }
    if digest.isEmpty {
      giveUpLink("cram-hmac-alg is \(unusable(settings.net.cramHMAC)): choose another digest on both nodes")
      return
    }
    if id.slot.raw & 1 == 0 {
      state.answered = true
      sendData(.authResponse(digest))
    } else {
      state.expected = digest
    }
    link.phase = .greeting(.response(state, until: until))
    checkAuthentication()
  }

  mutating func responseReceived(_ response: [UInt8]) {
    guard case .greeting(.response(var state, let until)) = link.phase, state.received == nil else {
      breakLink(.protocolError, "P_AUTH_RESPONSE out of order")
      return
    }
    state.received = response
    link.phase = .greeting(.response(state, until: until))
    checkAuthentication()
  }

  private mutating func checkAuthentication() {
    guard case .greeting(.response(let state, _)) = link.phase, let expected = state.expected,
      let received = state.received, state.answered
    else { return }
    // Compared whole, so that the time taken tells nothing.
    var difference = expected.count == received.count ? UInt8(0) : 1
    for i in 0..<min(expected.count, received.count) { difference |= expected[i] ^ received[i] }
    if difference == 0 {
      log(.connection, "peer authenticated using \(settings.net.cramHMAC)")
      sendParameters()
    } else {
      giveUpLink(
        "authentication of the peer failed: the shared secrets differ; set the same shared-secret on both nodes")
    }
  }

  /// Steps 3 and 4 of the handshake; from here on the peer's packets are those of a session.
  private mutating func sendParameters() {
    link.phase = .up
    link.state = .wfReportParams
    link.peerOffer = nil
    link.wireProtocol = settings.net.wireProtocol
    // Old versions have no field for their names.
    link.verifyAlgorithm = link.version >= 88 ? settings.net.verifyAlgorithm : ""
    link.checksumAlgorithm = link.version >= 89 ? settings.net.checksumAlgorithm : ""
    link.pingTimer = now
    sendData(.protocolOffer(ownOffer()))
    for v in 0..<volumes.count {
      introduce(v)
    }
    setConnection(.wfReportParams)
  }

  private mutating func introduce(_ v: Int) {
    volumes[v].peer.meet()
    sendParameters(v)
    sendSizes(v)
    partIfNeeded(v)
    sendGenerations(v)
    // Sent before the state changes: the first P_STATE says WFConnection (wire spec 3).
    sendState(v, conn: .wfConnection)
  }

  func ownOffer() -> ProtocolOffer {
    var offer = ProtocolOffer()
    offer.letter = settings.net.wireProtocol.rawValue
    offer.afterSplitBrain0 = settings.net.afterSplitBrain0.rawValue
    offer.afterSplitBrain1 = settings.net.afterSplitBrain1.rawValue
    offer.afterSplitBrain2 = settings.net.afterSplitBrain2.rawValue
    offer.connectionFlags = (link.discardMyData ? 1 : 0) | (link.tentative ? 2 : 0)
    offer.integrityAlgorithm = settings.net.integrityAlgorithm
    return offer
  }

  /// P_PROTOCOL: both nodes check, and no packet explains a refusal (K9).
  mutating func offerReceived(_ peer: ProtocolOffer) {
    link.peerOffer = peer
    let own = ownOffer()
    func letter(_ number: UInt32) -> String { WireProtocol(rawValue: number)?.letter ?? "\(number)" }
    var difference: String?
    if peer.letter != own.letter {
      difference = "protocol \(letter(own.letter)) here, \(letter(peer.letter)) there"
    } else if peer.afterSplitBrain0 != mirroredPolicy(own.afterSplitBrain0) {
      difference = "after-sb-0pri"
    } else if peer.afterSplitBrain1 != mirroredPolicy(own.afterSplitBrain1) {
      difference = "after-sb-1pri"
    } else if peer.afterSplitBrain2 != mirroredPolicy(own.afterSplitBrain2) {
      difference = "after-sb-2pri"
    } else if peer.connectionFlags & 1 != 0, link.discardMyData {
      difference = "both nodes want to discard their data"
    } else if peer.twoPrimaries != 0 {
      difference = "allow-two-primaries is set there, and not available here"
    } else if peer.integrityAlgorithm != own.integrityAlgorithm {
      func name(_ algorithm: String) -> String { algorithm.isEmpty ? "none" : algorithm }
      difference =
        "data-integrity-alg \(name(own.integrityAlgorithm)) here, \(name(peer.integrityAlgorithm)) there"
    }
    if let difference {
      giveUpLink(
        "incompatible settings: \(difference); make the files of both nodes equal, then: repladm adjust \(settings.name)"
      )
      return
    }
    takeDigest(of: peer)
  }

  /// The handshake of the other volumes was over long ago: the peer does not have this one.
  func isUnknownToPeer(_ v: Int) -> Bool { isSilent(v, since: handshakeLimit) }

  private func isSilent(_ v: Int, since limit: Interval) -> Bool {
    volumes[v].state.conn == .wfReportParams && link.state >= .connected && now - link.began > limit
  }

  mutating func parametersReceived(_ v: Int, _ peer: SyncParameters) {
    // A kernel (only `repl` knows that flag) adds a volume to a connection that stands. It has passed over what this node said of the volume before.
    if !link.features.contains(.resyncsGrown), isSilent(v, since: .seconds(2)) { introduce(v) }
    guard volumes[v].state.conn == .wfReportParams else {
      link.verifyAlgorithm = peer.verifyAlgorithm
      link.checksumAlgorithm = peer.checksumAlgorithm
      return
    }
    if peer.verifyAlgorithm != link.verifyAlgorithm {
      giveUpLink("incompatible settings: verify-alg; make the files of both nodes equal")
    } else if peer.checksumAlgorithm != link.checksumAlgorithm {
      giveUpLink("incompatible settings: csums-alg; make the files of both nodes equal")
    }
  }

  // MARK: own packets

  mutating func sendParameters(_ v: Int) {
    var own = SyncParameters()
    let resync = volumes[v].settings.resync
    own.resyncRate = resync.rate
    own.verifyAlgorithm = link.verifyAlgorithm
    own.checksumAlgorithm = link.checksumAlgorithm
    own.planAhead = resync.planAhead
    own.delayTarget = resync.delayTarget
    own.fillTarget = resync.fillTarget
    own.maxRate = resync.maxRate
    sendData(.syncParameters(own), volumes[v].number)
  }

  /// `compared`: the peer is to compare what was compared here, before the corrections of rules 34 and 71.
  mutating func sendGenerations(
    _ v: Int, skipInitialSync: Bool = false, compared: Generations? = nil, answersAttach: Bool = false
  ) {
    guard volumes[v].isAttached, volumes[v].state.disk >= .negotiating, link.data != nil else { return }
    let generations = compared ?? volumes[v].generations
    var own = GenerationIdentifiers()
    own.current = generations.current
    own.bitmap = generations.bitmap
    own.history0 = generations.history0
    own.history1 = generations.history1
    own.dirtyBits = volumes[v].outOfSync
    if link.discardMyData { own.flags.insert(.discardMyData) }
    if volumes[v].backing.crashedPrimary { own.flags.insert(.crashedPrimary) }
    if volumes[v].state.disk == .negotiating, link.reattach == nil,
      recordedDiskState(v) == .inconsistent
    {
      own.flags.insert(.inconsistent)
    }
    if skipInitialSync { own.flags.insert(.skipInitialSync) }
    if answersAttach, link.features.contains(.marksAnswers) { own.flags.insert(.answersAttach) }
    sendData(.uuids(own), volumes[v].number)
  }

  mutating func sendState(_ v: Int, conn: ConnectionState? = nil) {
    guard link.data != nil else { return }
    let state = volumes[v].state
    // A DRBD 9 is told of a disk that waits for its handshake as of one that was there before.
    let disk = state.disk == .negotiating && link.reattach != nil ? recordedDiskState(v) : state.disk
    sendData(
      .state(
        PackedState(
          role: role, peer: state.peerRole, connection: conn ?? state.conn, disk: disk, peerDisk: state.peerDisk,
          suspended: isSuspended, dependencyPaused: state.dependencyPaused, peerPaused: state.peerPaused,
          userPaused: state.userPaused, frozen: fencing.isFrozen)),
      volumes[v].number)
  }

  mutating func sendData(_ packet: Packet, _ volume: VolumeNumber? = nil) {
    guard let data = link.data else { return }
    fx.append(.send(data, volume ?? connectionVolume, packet, nil, notify: nil))
  }

  mutating func sendMeta(_ packet: Packet, _ volume: VolumeNumber? = nil) {
    guard let meta = link.meta else { return }
    fx.append(.send(meta, volume ?? connectionVolume, packet, nil, notify: nil))
  }
}
