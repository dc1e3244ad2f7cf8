// From the configuration's view of this host to the engine's settings. A table of equal words; nothing is decided here but
// what has no equal: then the engine gets the stricter one.
import Base
import BlockIO
import Config
import Engine
import MetaDisk
import Protocol

extension ResourceSettings {
  init(_ hosted: HostedResource) {
    let peer = hosted.peers.first
    self.init(
      name: hosted.name, nodeID: Int32(hosted.nodeID), peerNodeID: Int32(peer?.nodeID ?? (hosted.nodeID == 0 ? 1 : 0)),
      peerName: peer?.name ?? "nobody",
      volumes: hosted.volumes.map { VolumeSettings($0, resync: peer?.resync[$0.number]) })
    if let peer { net = NetSettings(peer.net) }
    maxRequests = ResourceSettings.requestsAtOnce
  }

  /// Application requests under way at once, all clients together.
  static let requestsAtOnce = 2048
}

extension VolumeSettings {
  init(_ volume: HostedVolume, resync options: ResyncOptions?) {
    self.init(number: volume.number)
    hasDisk = volume.disk != nil
    metaLocation =
      switch volume.metaDisk {
      case .internal: .internal
      case .external: .external
      case .indexed(_, let index): .indexed(index)
      }
    sizeLimit = volume.options.size ?? .zero
    onIOError =
      switch volume.options.onIOError {
      case .passOn: .passOn
      case .callLocalIOError: .callLocalIOError
      case .detach: .detach
      }
    alExtents = UInt32(clamping: volume.options.alExtents)
    alUpdates = volume.options.alUpdates
    if let options { resync = ResyncSettings(options) }
    // Whole blocks, and none longer than a packet.
    resync.discardGranularity = UInt32(min(volume.options.rsDiscardGranularity, 1 << 20)) & ~4095
  }
}

extension ResyncSettings {
  init(_ options: ResyncOptions) {
    self.init()
    rate = UInt32(clamping: options.resyncRate)
    planAhead = UInt32(clamping: options.cPlanAhead.nanoseconds / 100_000_000)
    delayTarget = UInt32(clamping: options.cDelayTarget.nanoseconds / 100_000_000)
    fillTarget = UInt32(clamping: options.cFillTarget.value)
    maxRate = UInt32(clamping: options.cMaxRate)
    minRate = UInt32(clamping: options.cMinRate)
    rateIsConfigured = options.written.contains(.resyncRate) || options.written.contains(.cMaxRate)
    minRateIsConfigured = options.written.contains(.cMinRate)
  }
}

extension NetSettings {
  init(_ options: NetOptions) {
    self.init()
    wireProtocol =
      switch options.wireProtocol {
      case .a: .a
      case .b: .b
      case .c: .c
      }
    timeout = options.timeout
    connectInterval = options.connectInt
    pingInterval = options.pingInt
    pingTimeout = options.pingTimeout
    koCount = UInt64(options.koCount)
    maxEpochSize = UInt32(clamping: options.maxEpochSize)
    maxBuffers = UInt32(clamping: options.maxBuffers)
    socketCheckTimeout = options.socketCheckTimeout
    cramHMAC = options.cramHmacAlg ?? ""
    afterSplitBrain0 =
      switch options.afterSb0 {
      case .disconnect: .disconnect
      case .discardYoungerPrimary: .discardYoungerPrimary
      case .discardOlderPrimary: .discardOlderPrimary
      case .discardZeroChanges: .discardZeroChanges
      case .discardLeastChanges: .discardLeastChanges
      case .discardLocal: .discardLocal
      case .discardRemote: .discardRemote
      }
    afterSplitBrain1 =
      switch options.afterSb1 {
      case .disconnect: .disconnect
      case .consensus: .consensus
      case .discardSecondary: .discardSecondary
      case .callPriLostAfterSb: .callPrimaryLost
      case .violentlyAs0p: .violently
      }
    afterSplitBrain2 =
      switch options.afterSb2 {
      case .disconnect: .disconnect
      case .callPriLostAfterSb: .callPrimaryLost
      case .violentlyAs0p: .violently
      }
    alwaysAfterSplitBrain = options.alwaysAsbp
    roleConflict =
      switch options.rrConflict {
      case .disconnect, .retryConnect, .autoDiscard: .disconnect
      case .callPriLost: .callPrimaryLost
      case .violently: .violently
      }
    fencing =
      switch options.fencing {
      case .dontCare: .dontCare
      case .resourceOnly: .resourceOnly
      case .resourceAndStonith: .resourceAndStonith
      }
    integrityAlgorithm = options.dataIntegrityAlg ?? ""
    verifyAlgorithm = options.verifyAlg ?? ""
    checksumAlgorithm = options.csumsAlg ?? ""
    checksumsAfterCrashOnly = options.csumsAfterCrashOnly
    useRLE = options.useRle
    forbiddenDigests = Set(DigestAlgorithm.forbidden.compactMap { DigestName(rawValue: $0.rawValue) })
  }
}

extension DiskTable.Place {
  init(_ volume: HostedVolume) {
    number = volume.number
    dataPath = volume.disk
    switch volume.metaDisk {
    case .internal: break
    case .external(let path): metaPath = path
    case .indexed(let path, let index):
      metaPath = path
      metaIndex = index
    }
  }
}

extension SocketAddress {
  /// Nil: the text is no address of this family.
  init?(_ address: HostAddress) { self.init(address.host, port: address.port) }
}
