// The text of 8.4's /proc/drbd (admin spec 5.6), for tools that can read it elsewhere: a program can not make that file. Per
// volume a line of states, a line of counters in KiB, and while it resyncs a bar with the pace.
import Base

public enum ProcText {
  /// The version of 8.4 whose text this is, because parsers refuse another major number, and the protocol versions this side
  /// speaks; the second line is the one in which 8.4 tells of its build.
  public static let firstLines = "version: \(version) (api:1/proto:86-101)\nrepl: \(Product.version), in user space\n"
  private static let version = "8.4.11"

  public static func render(_ resources: [StatusSnapshot]) -> String {
    let volumes = resources.flatMap { resource in resource.devices.map { (resource, $0) } }
    return firstLines + volumes.sorted { $0.1.minor < $1.1.minor }.map { volume($0, $1) }.joined()
  }

  /// The paragraph of one volume.
  public static func volume(_ resource: StatusSnapshot, _ device: DeviceStatus) -> String {
    let connection = resource.connections.first
    let peer = connection?.peerDevices.first { $0.volume == device.volume }
    let isConnected = (connection?.state ?? .standAlone) >= .connected
    let state = isConnected ? peer?.replication ?? .connected : connection?.state ?? .standAlone
    let roles = "\(resource.role.name)/\((connection?.peerRole ?? .unknown).name)"
    let disks = "\(device.disk.name)/\((peer?.peerDisk ?? .unknown).name)"
    let letter = state == .standAlone ? " " : connection?.protocolLetter ?? " "
    let number = "\(device.minor)"
    let margin = String(repeating: " ", count: max(0, 2 - number.count))
    var text =
      "\(margin)\(number): cs:\(state.word84) ro:\(roles) ds:\(disks) \(letter) \(flags(resource, device, connection, peer))\n"
    text +=
      "    ns:\(peer?.sent ?? 0) nr:\(peer?.received ?? 0) dw:\(device.written) dr:\(device.read)"
      + " al:\(device.activityLogWrites) bm:\(device.bitmapWrites) lo:\(device.lowerPending) pe:\(peer?.pending ?? 0)"
      + " ua:\(peer?.unacked ?? 0) ap:\(device.upperPending) ep:1 wo:\(resource.writeOrdering.prefix(1))"
      + " oos:\(peer?.outOfSync ?? 0)\n"
    if let peer, let resync = peer.resync { text += progress(peer, resync) }
    return text
  }

  private static func flags(
    _ resource: StatusSnapshot, _ device: DeviceStatus, _ connection: ConnectionStatus?, _ peer: PeerDeviceStatus?
  ) -> String {
    [
      resource.isSuspended ? "s" : "r", peer?.resyncSuspendedByDependency == true ? "a" : "-",
      peer?.resyncSuspendedByPeer == true ? "p" : "-", peer?.resyncSuspendedByUser == true ? "u" : "-",
      connection?.isCongested == true ? "n" : "-", device.activityLogSuspended ? "s" : "-",
    ].joined()
  }

  private static func progress(_ peer: PeerDeviceStatus, _ resync: ResyncStatus) -> String {
    let left = peer.sectorsLeft / 2
    let total = max(resync.totalSectors / 2, left)
    let perMille = total == 0 ? 1000 : 1000 - Int(Double(left) / Double(total) * 1000)
    let filled = perMille / 50
    let bar =
      String(repeating: "=", count: max(0, filled - 1)) + ">" + String(repeating: ".", count: max(0, 20 - filled))
    let percent = "\(perMille / 10).\(perMille % 10)"
    let padding = String(repeating: " ", count: max(0, 5 - percent.count))
    let isLarge = total > 4 << 20
    let amounts = isLarge ? "(\(left >> 10)/\(total >> 10))M" : "(\(left)/\(total))K"
    let seconds = peer.secondsLeft ?? 0
    let recent = UInt64(resync.newerMark.rate * 1024)
    let overall = UInt64(resync.overallRate(left: peer.sectorsLeft) * 1024)
    let word = resync.verify == nil ? "sync'ed" : "verified"
    var text = "\t[\(bar)] \(word):\(padding)\(percent)% \(amounts)\n"
    text += "\tfinish: \(seconds / 3600):\(twoDigits(seconds / 60 % 60)):\(twoDigits(seconds % 60))"
    text += " speed: \(grouped(recent)) (\(grouped(overall)))"
    if peer.replication == .syncTarget, resync.wantedRate > 0 { text += " want: \(grouped(resync.wantedRate))" }
    text += " K/sec"
    if resync.newerMark.milliseconds > 180_000, resync.newerMark.sectors == 0 { text += " (stalled)" }
    return text + "\n"
  }

  private static func twoDigits(_ number: UInt64) -> String { (number < 10 ? "0" : "") + "\(number)" }

  /// `1,234,567`.
  private static func grouped(_ number: UInt64) -> String {
    guard number >= 1000 else { return "\(number)" }
    let rest = number % 1000
    return grouped(number / 1000) + "," + String(repeating: "0", count: 3 - "\(rest)".count) + "\(rest)"
  }
}

extension ConnectionState {
  /// 8.4 had its own word for waiting.
  fileprivate var word84: String {
    if self > .connected { return replicationName }
    return connectionName == "Connecting" ? "WFConnection" : connectionName
  }
}
