// The commands of `replsetup` that one daemon is asked: which daemon, by what the low-level tool is given, and which request.
import Base
import Control
import FoundationEssentials
import MetaDisk

extension SetupCall {
  private enum Scope { case resource, connection, minor, peerDevice }

  /// The object that was named, at a daemon that runs.
  private struct Object {
    var daemon: DaemonProcess
    var snapshot: StatusSnapshot
    var peer: ConnectionStatus?
    var volume: VolumeNumber?

    var volumeNumber: VolumeNumber { volume ?? VolumeNumber(0) }
  }

  private static func scope(_ command: String) -> Scope? {
    switch command {
    case "role", "primary", "secondary", "down", "wait-connect-resource", "wait-sync-resource": .resource
    case "cstate", "connect", "disconnect", "wait-connect-connection", "wait-sync-connection": .connection
    case "dstate", "attach", "detach", "outdate", "invalidate", "invalidate-remote", "suspend-io", "resume-io", "udev",
      "new-current-uuid", "resize", "check-resize":
      .minor
    case "get-gi", "show-gi", "pause-sync", "resume-sync", "verify", "wait-connect-volume", "wait-sync-volume":
      .peerDevice
    default: nil
    }
  }

  mutating func tell(_ command: String) throws(Refusal) -> Int32 {
    guard let scope = SetupCall.scope(command) else {
      throw Refusal(
        "\(command) is no command of replsetup",
        next: "type replsetup --help; what the configuration file says is done by repladm \(command)", exitCode: 20)
    }
    let force = words.flag("--force") || words.flag("--overwrite-data-of-peer")
    let discard = words.flag("--discard-my-data")
    let clear = words.flag("--clear-bitmap")
    let clean = words.flag("--assume-clean")
    let hasSpace = words.flag("--assume-peer-has-space")
    let tentative = words.flag("--tentative")
    let reset = words.value("--reset-bitmap") != "no"
    let start = try number(words.value("--start"), "--start")
    let stop = try number(words.value("--stop"), "--stop")
    let size = try sectors(words.value("--size"))
    let seconds = try number(words.value("--wfc-timeout"), "--wfc-timeout")
    for ignored in ["--degr-wfc-timeout", "--outdated-wfc-timeout", "--wait-after-sb"] { _ = words.value(ignored) }
    try expectNoOptions()
    let arguments = Array(words.left.dropFirst())
    if command == "down", let name = arguments.first, !daemon(name).isRunning { return 0 }
    let object = try object(scope, arguments, command)
    let deadline = Deadline(after: 30)
    func ask(_ request: Command) throws(Refusal) { try object.daemon.ask(request, deadline: deadline) }

    switch command {
    case "role": console.out(object.snapshot.roleWord + "\n")
    case "cstate":
      for connection in object.snapshot.connections where object.peer == nil || object.peer == connection {
        console.out(connection.state.connectionName + "\n")
      }
    case "dstate": console.out((object.snapshot.diskWords(object.volumeNumber) ?? "") + "\n")
    case "udev": console.out(udev(object))
    case "get-gi", "show-gi": try printGenerations(command, object)
    case "primary": try ask(.primary(force: force))
    case "secondary": try ask(.secondary(force: force))
    case "down":
      let process = object.daemon.listening
      try ask(.down)
      // What comes next meets nobody that is just going.
      try object.daemon.waitForEnd(of: process, deadline: deadline)
    case "connect": try ask(.connect(peer: object.peer?.name, discardMyData: discard, tentative: tentative))
    case "disconnect": try ask(.disconnect(peer: object.peer?.name, force: force))
    case "attach":
      try expectConfigured(arguments, object)
      try ask(.attach(volume: object.volumeNumber))
    case "detach": try ask(.detach(volume: object.volumeNumber, force: force))
    case "outdate": try ask(.outdate(volume: object.volumeNumber))
    case "invalidate": try ask(.invalidate(volume: object.volumeNumber, resetBitmap: reset))
    case "invalidate-remote": try ask(.invalidateRemote(volume: object.volumeNumber, resetBitmap: reset))
    case "suspend-io": try ask(.suspendIO(volume: object.volumeNumber))
    case "resume-io": try ask(.resumeIO(volume: object.volumeNumber))
    case "new-current-uuid": try ask(.newCurrentUUID(volume: object.volumeNumber, clearBitmap: clear))
    case "resize", "check-resize":
      let reply = try object.daemon.ask(
        .resize(
          volume: object.volumeNumber, sizeSectors: size, assumeClean: clean, assumePeerHasSpace: hasSpace),
        deadline: deadline)
      if case .text(let remark) = reply { console.err(remark + "\n") }
    case "pause-sync": try ask(.pauseSync(volume: object.volumeNumber))
    case "resume-sync": try ask(.resumeSync(volume: object.volumeNumber))
    case "verify": try ask(.verify(volume: object.volumeNumber, startSector: start, stopSector: stop))
    default:
      // What is left waits.
      let patience = Deadline(after: seconds.flatMap { $0 > 0 ? Double($0) : nil })
      try object.daemon.ask(command.hasPrefix("wait-sync") ? .waitSync : .waitConnect, deadline: patience)
    }
    return 0
  }

  // MARK: Objects

  private func object(_ scope: Scope, _ arguments: [String], _ command: String) throws(Refusal) -> Object {
    guard let first = arguments.first else { throw wrong("\(command) needs to know what it is about") }
    if scope == .minor { return try object(minor: first) }
    let daemon = daemon(first)
    guard daemon.isRunning else {
      throw command == "role" ? Refusal.notRunning(first).unnumbered : .notRunning(first)
    }
    var object = Object(daemon: daemon, snapshot: try daemon.status(deadline: SetupCall.soon))
    if arguments.count > 1, scope != .resource {
      guard let id = Int(arguments[1]),
        let peer = object.snapshot.connections.first(where: { $0.peerNodeID == id })
      else {
        let known = object.snapshot.connections.map { "\($0.peerNodeID)" }.joined(separator: ", ")
        throw Refusal(
          .invalidRequest, why: "\(first) has no peer with node id \(arguments[1])",
          next: known.isEmpty ? "it has no peer" : "its peer has the node id \(known)")
      }
      object.peer = peer
    }
    guard scope == .peerDevice else { return object }
    guard arguments.count > 2 else { throw wrong("\(command) needs RES, NODE-ID and VOLUME") }
    guard let number = UInt16(arguments[2]),
      object.snapshot.devices.contains(where: { $0.volume == VolumeNumber(number) })
    else {
      throw Refusal(
        .unknownMinor, why: "\(first) has no volume \(arguments[2])", next: "see replsetup status \(first)")
    }
    object.volume = VolumeNumber(number)
    return object
  }

  /// `0`, `minor-0` or `/dev/drbd0`.
  private func object(minor text: String) throws(Refusal) -> Object {
    let digits =
      text.hasPrefix("minor-") ? text.dropFirst(6) : text.hasPrefix("/dev/drbd") ? text.dropFirst(9) : text[...]
    guard let minor = UInt32(digits) else { throw wrong("\(text) is no minor number") }
    for name in RunningResources.names(files) {
      let daemon = daemon(name)
      guard daemon.isRunning else { continue }
      let snapshot = try daemon.status(deadline: SetupCall.soon)
      guard let device = snapshot.devices.first(where: { $0.minor == minor }) else { continue }
      return Object(daemon: daemon, snapshot: snapshot, volume: device.volume)
    }
    throw Refusal(
      .unknownMinor, why: "no repld that runs has the minor \(minor)", next: "see replsetup status for those that run")
  }

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
  private func expectConfigured(_ arguments: [String], _ object: Object) throws(Refusal) {
    guard arguments.count > 1 else { return }
    let text = try object.daemon.text(.show(json: true, defaults: false), deadline: SetupCall.soon)
    let disk: String?
    do {
      let shown = try JSONDecoder().decode(Shown.self, from: Data(text.utf8))
      disk = shown.host.volumes.first { $0.number == object.volumeNumber.value }?.disk
    } catch {
      throw Refusal("repld did not say its disks: \(error)", next: "attach by repladm attach", exitCode: 20)
    }
    guard disk != arguments[1] else { return }
    throw Refusal(
      .invalidRequest, why: "the disk of \(object.snapshot.name)/\(object.volumeNumber.value) is \(disk ?? "none")",
      next: "write another one into the file, then type repladm adjust \(object.snapshot.name)")
  }

  // MARK: Words and numbers

  private func number(_ text: String?, _ option: String) throws(Refusal) -> UInt64? {
    guard let text else { return nil }
    guard let value = UInt64(text.hasSuffix("s") ? text.dropLast() : text[...]) else {
      throw wrong("\(text) is no number for \(option)")
    }
    return value
  }

  private func sectors(_ text: String?) throws(Refusal) -> UInt64? {
    guard let text else { return nil }
    guard let sectors = SizeText.sectors(text) else { throw wrong("\(text) is no size: write 10G, 512M or 8192s") }
    return sectors
  }

  private func printGenerations(_ command: String, _ object: Object) throws(Refusal) {
    let bytes = try object.daemon.superblock(.metadata(volume: object.volumeNumber), deadline: SetupCall.soon)
    let peer = object.peer?.peerNodeID ?? 0
    do throws(MetaFault) {
      let superblock = try Superblock(reading: bytes.span.bytes)
      console.out(
        command == "get-gi"
          ? superblock.generationLine(peerNode: peer) + "\n" : superblock.generationLegend(peerNode: peer))
    } catch {
      throw Refusal(metadata: error)
    }
  }

  /// What a udev rule asks for.
  private func udev(_ object: Object) -> String {
    let device = object.snapshot.devices.first { $0.volume == object.volumeNumber }
    let name = object.snapshot.name
    let link = "drbd/by-res/\(name)/\(object.volumeNumber.value)"
    var lines = ["DEVICE=drbd\(device?.minor ?? 0)", "SYMLINK=\(link)", "SYMLINK_BY_RES=\(link)"]
    if let disk = device?.backingDevice, disk.hasPrefix("/dev/") {
      lines.append("SYMLINK_BY_DISK=drbd/by-disk/\(disk.dropFirst(5))")
    }
    return lines.map { $0 + "\n" }.joined()
  }
}
