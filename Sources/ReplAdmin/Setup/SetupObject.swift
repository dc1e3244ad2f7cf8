// What a command line of `replsetup` names, at a daemon that runs. Law: a name that is not known is refused with the ones that are.
import Base
import Control
import FoundationEssentials

struct SetupObject {
  let daemon: DaemonProcess
  let snapshot: StatusSnapshot
  var peer: ConnectionStatus?
  var volume: VolumeNumber?

  var volumeNumber: VolumeNumber { volume ?? VolumeNumber(0) }

  /// What the words after the command name.
  static func named(by call: SetupCall) throws(Refusal) -> SetupObject {
    let line = call.line
    guard let first = line.operands.first else {
      throw SetupArguments.wrong("\(line.row.name) needs to know what it is about")
    }
    if line.row.scope == .minor { return try named(minor: first, by: call) }
    let daemon = call.daemon(first)
    guard daemon.isRunning else {
      throw line.row.name == "role" ? Refusal.notRunning(first).unnumbered : .notRunning(first)
    }
    var object = SetupObject(daemon: daemon, snapshot: try daemon.status(deadline: call.deadline(10)))
    guard line.row.scope != .resource else { return object }
    if line.operands.count > 1 { object.peer = try peer(line.operands[1], of: object.snapshot) }
    guard line.row.scope == .peerDevice else { return object }
    guard line.operands.count > 2 else {
      throw SetupArguments.wrong("\(line.row.name) needs RES, NODE-ID and VOLUME")
    }
    guard let number = UInt16(line.operands[2]),
      object.snapshot.devices.contains(where: { $0.volume == VolumeNumber(number) })
    else {
      throw Refusal(
        .unknownMinor, why: "\(first) has no volume \(line.operands[2])", next: "see replsetup status \(first)")
    }
    object.volume = VolumeNumber(number)
    return object
  }

  private static func peer(_ text: String, of snapshot: StatusSnapshot) throws(Refusal) -> ConnectionStatus {
    if let id = Int(text), let peer = snapshot.connections.first(where: { $0.peerNodeID == id }) { return peer }
    let known = snapshot.connections.map { "\($0.peerNodeID)" }.joined(separator: ", ")
    throw Refusal(
      .invalidRequest, why: "\(snapshot.name) has no peer with node id \(text)",
      next: known.isEmpty ? "it has no peer" : "its peer has the node id \(known)")
  }

  /// `0`, `minor-0` or `/dev/drbd0`.
  private static func named(minor text: String, by call: SetupCall) throws(Refusal) -> SetupObject {
    let digits =
      text.hasPrefix("minor-") ? text.dropFirst(6) : text.hasPrefix("/dev/drbd") ? text.dropFirst(9) : text[...]
    guard let minor = UInt32(digits) else { throw SetupArguments.wrong("\(text) is no minor number") }
    for name in RunningResources.names(call.files) {
      let daemon = call.daemon(name)
      guard daemon.isRunning else { continue }
      let snapshot = try daemon.status(deadline: call.deadline(10))
      guard let device = snapshot.devices.first(where: { $0.minor == minor }) else { continue }
      return SetupObject(daemon: daemon, snapshot: snapshot, volume: device.volume)
    }
    throw Refusal(
      .unknownMinor, why: "no repld that runs has the minor \(minor)", next: "see replsetup status for those that run")
  }

  // MARK: What has to agree with the file

  /// What `show --json` says of the disks.
  private struct Shown: Decodable {
    struct Host: Decodable { var volumes: [Volume] }
    struct Volume: Decodable {
      var number: UInt16
      var disk: String
      enum CodingKeys: String, CodingKey { case number = "volume_nr", disk = "backing-disk" }
    }
    var host: Host
    enum CodingKeys: String, CodingKey { case host = "_this_host" }
  }

  /// `attach MINOR DISK META-DISK INDEX`: the daemon knows its disk from the file, and no other is taken.
  func expectDisk(_ operands: [String], deadline: Deadline) throws(Refusal) {
    guard operands.count > 1 else { return }
    let text = try daemon.text(.show(json: true, defaults: false), deadline: deadline)
    let disk: String?
    do {
      let shown = try JSONDecoder().decode(Shown.self, from: Data(text.utf8))
      disk = shown.host.volumes.first { $0.number == volumeNumber.value }?.disk
    } catch {
      throw Refusal("repld did not say its disks: \(error)", next: "attach by repladm attach", exitCode: 20)
    }
    guard disk != operands[1] else { return }
    throw Refusal(
      .invalidRequest, why: "the disk of \(snapshot.name)/\(volumeNumber.value) is \(disk ?? "none")",
      next: "write another one into the file, then type repladm adjust \(snapshot.name)")
  }

  /// `--sync-from-peer-node-id`: there is one peer to resync from.
  func expectSource(_ id: UInt64?) throws(Refusal) {
    guard let id, !snapshot.connections.contains(where: { UInt64($0.peerNodeID) == id }) else { return }
    _ = try SetupObject.peer("\(id)", of: snapshot)
  }

  /// `new-peer --_name`.
  func expectName(_ name: String?) throws(Refusal) {
    guard let peer else { throw SetupArguments.wrong("new-peer needs RES and NODE-ID") }
    guard let name, name != peer.name else { return }
    throw Refusal(
      .invalidRequest, why: "the peer with node id \(peer.peerNodeID) is \(peer.name), not \(name)",
      next: "write its name into the file, then type repladm adjust \(snapshot.name)")
  }

  /// `new-path RES NODE-ID LOCAL REMOTE`.
  func expectPath(_ operands: [String]) throws(Refusal) {
    guard let peer, operands.count == 4 else {
      throw SetupArguments.wrong("new-path needs RES, NODE-ID, LOCAL and REMOTE")
    }
    guard !peer.paths.contains(where: { $0.local == operands[2] && $0.peer == operands[3] }) else { return }
    let known = peer.paths.map { "\($0.local) \($0.peer)" }.joined(separator: ", ")
    throw Refusal(
      .invalidRequest, why: "the path to \(peer.name) in the configuration is \(known)",
      next: "write another one into the file, then type repladm adjust \(snapshot.name)")
  }
}
