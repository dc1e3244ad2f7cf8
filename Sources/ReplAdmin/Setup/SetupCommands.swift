// The commands of `replsetup` that one daemon is asked: which daemon, by what the low-level tool is given, and which request.
import Base
import Control
import MetaDisk

extension SetupCall {
  func tell() throws(Refusal) -> Int32 {
    let object = try SetupObject.named(by: self)
    let deadline = deadline(60)
    func ask(_ request: Command) throws(Refusal) { try object.daemon.ask(request, deadline: deadline) }
    let volume = object.volumeNumber

    switch line.row.name {
    case "role": console.out(object.snapshot.roleWord + "\n")
    case "cstate":
      for connection in object.snapshot.connections where object.peer == nil || object.peer == connection {
        console.out(connection.state.connectionName + "\n")
      }
    case "dstate": console.out((object.snapshot.diskWords(volume) ?? "") + "\n")
    case "udev": console.out(udev(object))
    case "get-gi", "show-gi": try printGenerations(object)
    case "primary" where line.flag("--automatic"): try roleChange(object).promoteAutomatically()
    case "secondary" where line.flag("--automatic"): try roleChange(object).demoteAutomatically()
    case "primary":
      try roleChange(object).promote(force: line.flag("--force") || line.flag("--overwrite-data-of-peer"))
    case "secondary": try roleChange(object).demote(force: line.flag("--force"))
    case "connect":
      try ask(
        .connect(
          peer: object.peer?.name, discardMyData: line.flag("--discard-my-data"), tentative: line.flag("--tentative")))
    case "disconnect", "del-peer": try ask(.disconnect(peer: object.peer?.name, force: line.flag("--force")))
    case "attach":
      try object.expectDisk(line.operands, deadline: deadline)
      try ask(.attach(volume: volume))
    case "detach": try ask(.detach(volume: volume, force: line.flag("--force")))
    case "outdate": try ask(.outdate(volume: volume))
    case "invalidate":
      try object.expectSource(try line.number("--sync-from-peer-node-id"))
      try ask(.invalidate(volume: volume, resetBitmap: line.value("--reset-bitmap") != "no"))
    case "invalidate-remote":
      try ask(.invalidateRemote(volume: volume, resetBitmap: line.value("--reset-bitmap") != "no"))
    case "suspend-io": try ask(.suspendIO(volume: volume))
    case "resume-io": try ask(.resumeIO(volume: volume))
    case "new-current-uuid": try ask(.newCurrentUUID(volume: volume, clearBitmap: line.flag("--clear-bitmap")))
    case "resize", "check-resize": try resize(object)
    case "pause-sync": try ask(.pauseSync(volume: volume))
    case "resume-sync": try ask(.resumeSync(volume: volume))
    case "verify":
      try ask(
        .verify(volume: volume, startSector: try line.number("--start"), stopSector: try line.number("--stop")))
    case "new-minor": try newMinor(object)
    case "del-minor": try delMinor(object)
    case "del-resource": try delResource(object)
    case "new-peer": try object.expectName(line.value("--_name"))
    case "new-path": try object.expectPath(line.operands)
    case "disk-options", "net-options", "resource-options", "peer-device-options": break
    default: preconditionFailure("\(line.row.name) is in the table and not told")
    }
    try applySettings(object)
    return 0
  }

  /// Options of a section that came with the command, or are the command.
  private func applySettings(_ object: SetupObject) throws(Refusal) {
    guard let section = line.row.section else { return }
    let isCommand = line.row.name == section.commandName
    guard isCommand || !line.settings.isEmpty else { return }
    try object.daemon.ask(
      .changeOptions(
        section: section.commandName, volume: object.volume, settings: line.settings,
        setDefaults: isCommand && line.flag("--set-defaults")), deadline: deadline(30))
  }

  private func roleChange(_ object: SetupObject) -> RoleChange {
    RoleChange(
      daemon: object.daemon, devices: ResourceDevices(object.snapshot, surroundings, console), deadline: deadline(60))
  }

  private func resize(_ object: SetupObject) throws(Refusal) {
    let isResize = line.row.name == "resize"
    var size: UInt64?
    if isResize, let text = line.value("--size") {
      guard let sectors = SizeText.sectors(text) else {
        throw SetupArguments.wrong("\(text) is no size: write 10G, 512M or 8192s")
      }
      size = sectors
    }
    let reply = try object.daemon.ask(
      .resize(
        volume: object.volumeNumber, sizeSectors: size, assumeClean: isResize && line.flag("--assume-clean"),
        assumePeerHasSpace: isResize && line.flag("--assume-peer-has-space")), deadline: deadline(60))
    if case .text(let remark) = reply { console.err(remark + "\n") }
  }

  // MARK: Waiting

  func wait() throws(Refusal) -> Int32 {
    let object = try SetupObject.named(by: self)
    let limits = WaitLimits(
      normal: try line.seconds("--wfc-timeout"), degraded: try line.seconds("--degr-wfc-timeout"),
      outdated: try line.seconds("--outdated-wfc-timeout"), waitAfterSplitBrain: line.flag("--wait-after-sb"))
    for remark in limits.remarks { console.err("\(object.snapshot.name): \(remark).\n") }
    let after = limits.waitAfterSplitBrain
    let command: Command =
      line.row.name.hasPrefix("wait-sync") ? .waitSync(waitAfterSb: after) : .waitConnect(waitAfterSb: after)
    try limits.ask(object.daemon, command, patience: deadline(10), limit: hasLimit ? deadline(nil) : nil)
    return 0
  }

  // MARK: Coming and going

  /// `down RES` and `down all`; what is down already is a success.
  func end() -> Int32 {
    guard let name = line.operands.first, line.operands.count == 1 else {
      console.err(SetupArguments.wrong("down needs one resource, or all").text(for: "replsetup"))
      return 20
    }
    var code: Int32 = 0
    for name in name == "all" ? RunningResources.names(files) : [name] {
      do throws(Refusal) { try end(name) } catch {
        console.err(error.text(for: name))
        if code == 0 { code = Int32(error.exitCode) }
      }
    }
    return code
  }

  private func end(_ name: String) throws(Refusal) {
    let daemon = daemon(name)
    let forced = line.flag("--force")
    var devices = ResourceDevices(recorded: name, surroundings, console)
    do throws(Refusal) {
      if daemon.isRunning {
        devices = ResourceDevices(try daemon.status(deadline: deadline(forced ? 3 : 10)), surroundings, console)
      }
    } catch {
      // One that does not answer is ended with what is on record of its devices.
      guard forced else { throw error }
    }
    let change = RoleChange(daemon: daemon, devices: devices, deadline: deadline(forced ? 20 : 60))
    if forced { try change.endByForce() } else { try change.end() }
  }

  /// Starts the daemon, as the file describes the resource.
  func newResource() throws(Refusal) -> Int32 {
    guard line.operands.count == 2, let id = Int(line.operands[1]) else {
      throw SetupArguments.wrong("new-resource needs RES and NODE-ID")
    }
    let name = line.operands[0]
    let limit = (line.value("--timeout") ?? line.value("--command-timeout")).map { ["--timeout", $0] } ?? []
    let code = CommandLineRun.repladm(
      ["new-resource", "--node-id", "\(id)"] + limit + [name], surroundings, console)
    guard code == 0, !line.settings.isEmpty else { return code }
    try daemon(name).ask(
      .changeOptions(
        section: line.row.section?.commandName ?? "", volume: nil, settings: line.settings, setDefaults: false),
      deadline: deadline(30))
    return 0
  }

  private func newMinor(_ object: SetupObject) throws(Refusal) {
    guard line.operands.count == 3, let minor = UInt32(line.operands[1]), let number = UInt16(line.operands[2]) else {
      throw SetupArguments.wrong("new-minor needs RES, MINOR and VOLUME")
    }
    let volume = VolumeNumber(number)
    try object.daemon.ask(.addMinor(volume: volume, minor: minor), deadline: deadline(60))
    let snapshot = try object.daemon.status(deadline: deadline(10))
    guard let device = snapshot.devices.first(where: { $0.volume == volume }) else {
      throw Refusal(.unknownMinor, why: "\(snapshot.name) has no volume \(number)", next: "repeat the command")
    }
    try StepOfUp.createMinor(device, ResourceDevices(snapshot, surroundings, console))
  }

  private func delMinor(_ object: SetupObject) throws(Refusal) {
    let volume = object.volumeNumber
    let all = ResourceDevices(object.snapshot, surroundings, console)
    let stay = object.snapshot.devices.filter { $0.volume != volume }
    let minors = Dictionary(stay.map { ($0.volume, $0.minor) }, uniquingKeysWith: { first, _ in first })
    let change = RoleChange(daemon: object.daemon, devices: all.only(Set(minors.keys)), deadline: deadline(60))
    try change.changeVolumes(to: minors, leaving: all.only([volume])) { () throws(Refusal) in
      try object.daemon.ask(.removeMinor(volume: volume), deadline: deadline(60))
    }
  }

  /// The last step of a `down` that is typed one by one.
  private func delResource(_ object: SetupObject) throws(Refusal) {
    let name = object.snapshot.name
    if let device = object.snapshot.devices.first(where: { $0.disk != .diskless }) {
      throw Refusal(
        .resourceInUse, why: "\(name)/\(device.volume.value) has its disk attached",
        next: "detach it first, or use repladm down \(name), which does all of it")
    }
    if let connection = object.snapshot.connections.first(where: { $0.state != .standAlone }) {
      throw Refusal(
        .resourceInUse, why: "the connection to \(connection.name) is \(connection.state.connectionName)",
        next: "disconnect it first, or use repladm down \(name), which does all of it")
    }
    try roleChange(object).end()
  }

  // MARK: Text

  private func printGenerations(_ object: SetupObject) throws(Refusal) {
    let bytes = try object.daemon.superblock(.metadata(volume: object.volumeNumber), deadline: deadline(10))
    let peer = object.peer?.peerNodeID ?? 0
    do throws(MetaFault) {
      let superblock = try Superblock(reading: bytes.span.bytes)
      console.out(
        line.row.name == "get-gi"
          ? superblock.generationLine(peerNode: peer) + "\n" : superblock.generationLegend(peerNode: peer))
    } catch {
      throw Refusal(metadata: error)
    }
  }

  /// What a udev rule asks for.
  private func udev(_ object: SetupObject) -> String {
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
