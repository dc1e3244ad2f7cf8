// The options that both nodes compare, changed on an open connection (wire spec 3.3): P_PROTOCOL_UPDATE tells the peer, and
// what the peer tells is taken over. Law: a write is acknowledged and answered by the protocol it was sent under, and a
// digest counts from the announcement on, in the direction of the one who announced it.
import Base
import Protocol

extension Engine {
  /// Whether the peer can be told of these options on this connection; else they count from the next one on.
  public func canAnnounce(_ new: NetSettings) -> Bool {
    guard link.phase.isUp, link.version >= 100 else { return false }
    for v in 0..<volumes.count where volumes[v].state.conn < .connected { return false }
    // What is under way keeps its algorithm.
    let own = settings.net
    if own.verifyAlgorithm != new.verifyAlgorithm || own.checksumAlgorithm != new.checksumAlgorithm, !isAtRest {
      return false
    }
    if new.integrityAlgorithm.isEmpty { return true }
    // A kernel that has agreed to P_ZEROES chokes on it beside digests (K2): it has to agree anew.
    return digest(new.integrityAlgorithm) != nil
      && (!link.features.contains(.writeZeroes) || link.features.contains(.resyncsGrown))
  }

  /// No resync, no verify, no exchange of bitmaps.
  private var isAtRest: Bool {
    for v in 0..<volumes.count where volumes[v].state.conn != .connected { return false }
    return true
  }

  /// The settings have been adopted: from here on they are those of this connection.
  mutating func announceOptions() {
    guard canAnnounce(settings.net) else { return }
    if isAtRest {
      link.verifyAlgorithm = settings.net.verifyAlgorithm
      link.checksumAlgorithm = settings.net.checksumAlgorithm
    }
    sendData(.protocolUpdate(ownOffer()))
    goOn(under: settings.net.wireProtocol)
    let digest = digest(settings.net.integrityAlgorithm)
    if digest != link.sendsDigest {
      link.sendsDigest = digest
      configureData()
    }
    for v in 0..<volumes.count { sendParameters(v) }
  }

  /// P_PROTOCOL_UPDATE: the peer's options were changed while it is connected. What it says holds over reconnects, until
  /// our own options are taken over anew; the digest that we send stays our own.
  mutating func offerUpdated(_ peer: ProtocolOffer) {
    guard let letter = WireProtocol(rawValue: peer.letter) else {
      breakLink(.protocolError, "P_PROTOCOL_UPDATE names protocol \(peer.letter)")
      return
    }
    link.peerOffer = peer
    settings.net.wireProtocol = letter
    settings.net.take(policiesOf: peer)
    goOn(under: letter)
    takeDigest(of: peer)
  }

  /// An epoch holds writes of one protocol only: what a flush has to wait for depends on it.
  private mutating func goOn(under letter: WireProtocol) {
    if letter == link.wireProtocol { return }
    log(.connection, "protocol \(link.wireProtocol.letter) -> \(letter.letter)")
    if epochs.sent > 0 { closeEpoch() }
    link.wireProtocol = letter
    fx.append(.stateChanged)
  }

  /// From here on the peer's payloads carry this digest.
  mutating func takeDigest(of peer: ProtocolOffer) {
    let name = digest(peer.integrityAlgorithm)
    if name == nil, !peer.integrityAlgorithm.isEmpty {
      breakLink(
        .protocolError, "the peer's data-integrity-alg is \(unusable(peer.integrityAlgorithm))")
      return
    }
    if name == link.receivesDigest { return }
    link.receivesDigest = name
    configureData()
  }

  /// The protocol of this connection; without one that of the next.
  var wireProtocol: WireProtocol { link.phase.isUp ? link.wireProtocol : settings.net.wireProtocol }
}

/// The options that P_PROTOCOL_UPDATE changes on the node that is told.
public struct AnnouncedOptions: OptionSet, Sendable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }
  public static let wireProtocol = Self(rawValue: 1)
  public static let afterSplitBrain0 = Self(rawValue: 2)
  public static let afterSplitBrain1 = Self(rawValue: 4)
  public static let afterSplitBrain2 = Self(rawValue: 8)
}

/// What becomes of the options of the connection when changed options are adopted.
public enum NetAdoption: Sendable {
  case kept
  /// `except`: what the peer has announced stays there.
  case taken(except: AnnouncedOptions)
}

/// Discarding the local data is discarding the remote ones, seen from the other node.
func mirroredPolicy(_ policy: UInt32) -> UInt32 { policy == 5 ? 6 : policy == 6 ? 5 : policy }

extension NetSettings {
  mutating func keep(_ options: AnnouncedOptions, of old: NetSettings) {
    if options.contains(.wireProtocol) { wireProtocol = old.wireProtocol }
    if options.contains(.afterSplitBrain0) { afterSplitBrain0 = old.afterSplitBrain0 }
    if options.contains(.afterSplitBrain1) { afterSplitBrain1 = old.afterSplitBrain1 }
    if options.contains(.afterSplitBrain2) { afterSplitBrain2 = old.afterSplitBrain2 }
  }

  /// Policies nobody knows here stay what they were.
  fileprivate mutating func take(policiesOf peer: ProtocolOffer) {
    func policy(_ number: UInt32, else old: SplitBrainPolicy) -> SplitBrainPolicy {
      SplitBrainPolicy(rawValue: mirroredPolicy(number)) ?? old
    }
    afterSplitBrain0 = policy(peer.afterSplitBrain0, else: afterSplitBrain0)
    afterSplitBrain1 = policy(peer.afterSplitBrain1, else: afterSplitBrain1)
    afterSplitBrain2 = policy(peer.afterSplitBrain2, else: afterSplitBrain2)
  }
}
