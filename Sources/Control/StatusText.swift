// `status` as text (admin spec 5.1), byte for byte what drbd-utils 9.22 prints. Law (spec section 11): a plain line may gain
// fields only at its end and only when they are not in the normal state.
import Base

public struct StatusText: Sendable {
  public var verbose: Bool
  public var statistics: Bool
  /// Width of the terminal, or 80.
  public var columns: Int
  public var toTerminal: Bool

  public init(verbose: Bool = false, statistics: Bool = false, columns: Int = 80, toTerminal: Bool = false) {
    self.verbose = verbose
    self.statistics = statistics
    self.columns = max(columns, 20)
    self.toTerminal = toTerminal
  }

  public static let nothingConfigured = "# No currently configured DRBD found.\n"

  /// Paragraphs of all resources, sorted by name.
  public func render(_ resources: [StatusSnapshot]) -> String {
    guard !resources.isEmpty else { return StatusText.nothingConfigured }
    return resources.sorted { $0.name < $1.name }.map(render).joined()
  }

  /// One paragraph and the empty line after it.
  public func render(_ resource: StatusSnapshot) -> String {
    var out = ColumnText(columns: columns)
    let onlyVolumeZero = resource.devices.allSatisfy { $0.volume.value == 0 } && resource.devices.count <= 1
    self.resource(resource, &out)
    for device in resource.devices.sorted(by: { $0.volume < $1.volume }) {
      self.device(device, showVolume: verbose || !onlyVolumeZero, &out)
    }
    for connection in resource.connections.sorted(by: { $0.name < $1.name }) {
      self.connection(connection, &out)
      guard connection.state >= .connected || verbose || statistics else { continue }
      for peerDevice in connection.peerDevices.sorted(by: { $0.volume < $1.volume }) {
        self.peerDevice(peerDevice, showVolume: verbose || !onlyVolumeZero, &out)
      }
    }
    out.emptyLine()
    return out.text
  }

  private func resource(_ resource: StatusSnapshot, _ out: inout ColumnText) {
    out.line(indent: 0)
    out.word(resource.name)
    if verbose { out.word("node-id:\(resource.nodeID)") }
    out.word("role:\(resource.role.name)")
    if verbose || resource.isSuspended { out.word("suspended:\(resource.suspendedWords)") }
    if verbose || resource.forcesIOFailures { out.word("force-io-failures:\(yesNo(resource.forcesIOFailures))") }
    if verbose, statistics {
      out.continuation()
      out.word("write-ordering:\(resource.writeOrdering)")
    }
  }

  private func device(_ device: DeviceStatus, showVolume: Bool, _ out: inout ColumnText) {
    out.line(indent: 2)
    if showVolume { out.word("volume:\(device.volume.value)") }
    if verbose { out.word("minor:\(device.minor)") }
    out.word("disk:\(device.disk.name)")
    if device.disk == .diskless, verbose || !toTerminal { out.word("client:\(yesNo(device.isClient))") }
    if verbose { out.word("backing_dev:\(device.backingDevice.isEmpty ? "none" : device.backingDevice)") }
    if verbose || !device.hasQuorum { out.word("quorum:\(yesNo(device.hasQuorum))") }
    if verbose, !statistics { out.word("blocked:no") }
    guard statistics else { return }
    out.continuation()
    if verbose { out.word("size:\(device.size)") }
    out.word("read:\(device.read)")
    out.word("written:\(device.written)")
    guard verbose else { return }
    out.word("al-writes:\(device.activityLogWrites)")
    out.word("bm-writes:\(device.bitmapWrites)")
    out.word("upper-pending:\(device.upperPending)")
    out.word("lower-pending:\(device.lowerPending)")
    out.word("al-suspended:\(yesNo(device.activityLogSuspended))")
    out.word("blocked:no")
  }

  private func connection(_ connection: ConnectionStatus, _ out: inout ColumnText) {
    out.line(indent: 2)
    out.word(connection.name)
    if verbose { out.word("node-id:\(connection.peerNodeID)") }
    let connected = connection.state >= .connected
    if verbose || !connected { out.word("connection:\(connection.state.connectionName)") }
    if verbose || connected { out.word("role:\(connection.peerRole.name)") }
    if verbose || connection.isCongested { out.word("congested:\(yesNo(connection.isCongested))") }
    guard verbose else { return }
    out.word("ap-in-flight:\(connection.applicationInFlight)")
    out.word("rs-in-flight:\(connection.resyncInFlight)")
  }

  private func peerDevice(_ peer: PeerDeviceStatus, showVolume: Bool, _ out: inout ColumnText) {
    out.line(indent: 4)
    if showVolume { out.word("volume:\(peer.volume.value)") }
    if verbose || peer.replication > .connected { out.word("replication:\(peer.replication.replicationName)") }
    out.word("peer-disk:\(peer.peerDisk.name)")
    if peer.peerDisk == .diskless, peer.isPeerClient { out.word("peer-client:yes") }
    if let done = peer.percentDone { out.word("done:\(decimals(done))") }
    if verbose || peer.isResyncSuspended { out.word("resync-suspended:\(peer.resyncSuspendedWords)") }
    guard statistics else { return }
    out.continuation()
    out.word("received:\(peer.received)")
    out.word("sent:\(peer.sent)")
    guard verbose else { return }
    out.word("out-of-sync:\(peer.outOfSync)")
    out.word("pending:\(peer.pending)")
    out.word("unacked:\(peer.unacked)")
    guard let resync = peer.resync else { return }
    out.word("dbdt1:\(decimals(resync.newerMark.rate))")
    out.word("eta:\(peer.secondsLeft.map(String.init) ?? "nan")")
  }
}

func yesNo(_ value: Bool) -> String { value ? "yes" : "no" }

/// `no`, or the reasons as a comma list.
private func reasons(_ list: [(Bool, String)]) -> String {
  let given = list.filter(\.0).map(\.1)
  return given.isEmpty ? "no" : given.joined(separator: ",")
}

extension StatusSnapshot {
  var suspendedWords: String {
    reasons([
      (suspendedByUser, "user"), (suspendedNoData, "no-data"), (suspendedFencing, "fencing"),
      (suspendedQuorum, "quorum"),
    ])
  }
}

extension PeerDeviceStatus {
  var isResyncSuspended: Bool { resyncSuspendedByUser || resyncSuspendedByPeer || resyncSuspendedByDependency }
  var resyncSuspendedWords: String {
    reasons([
      (resyncSuspendedByUser, "user"), (resyncSuspendedByPeer, "peer"), (resyncSuspendedByDependency, "dependency"),
    ])
  }
}
