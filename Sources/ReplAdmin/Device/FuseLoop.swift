// Second best means: `repl-device` shows the volume as a file, a loop device makes a block device of it. When the daemon dies the device
// stays and its requests wait in `repl-device`; a connection to the next daemon is put in its place and they go on (D7).
import Base
import Control
import Glibc

struct FuseLoop {
  let resource: String
  let volume: VolumeNumber
  let surroundings: Surroundings

  private var files: RunFiles { surroundings.runFiles }
  private var server: DeviceServerProcess { DeviceServerProcess(resource: resource, surroundings: surroundings) }
  private var socket: String { files.exportSocket(resource, volume) }

  /// Nil when it can be tried, else what is missing.
  var missing: String? {
    if surroundings.deviceProgram == nil { return "repl-device is not installed beside repladm" }
    if access("/dev/fuse", R_OK | W_OK) != 0 { return "/dev/fuse cannot be opened (modprobe fuse)" }
    return nil
  }

  /// The names follow: they are the caller's.
  func attach(record: inout DeviceRecord, recordPath: String, deadline: Deadline) throws(DeviceFault) {
    let connection = try ExportConnection.open(socket, deadline: deadline)
    record.fuseMount = files.deviceMount(resource)
    try record.write(to: recordPath)
    record.fuse = try server.start(deadline)
    try record.write(to: recordPath)
    // Of a command that ended half way.
    if server.shown(volume) != nil { try server.ask(.end(volume)) }
    let request = DeviceRequest.serve(volume, size: connection.size, flags: connection.flags)
    guard case .served(let name) = try server.ask(request, passing: connection.descriptor) else {
      throw .cannot("serve a volume by repl-device", "it does not say the name of its file")
    }
    record.fuseFile = name
    var written = record
    _ = try LoopDevice.attach(file(of: record), blockSize: connection.blockSize) {
      (number) throws(DeviceFault) in
      written.major = number.major
      written.minor = number.minor
      try written.write(to: recordPath)
    }
    record = written
  }

  /// Gives the device of a daemon that died to the one that runs now.
  func resume(deadline: Deadline) throws(DeviceFault) {
    let connection = try ExportConnection.open(socket, deadline: deadline)
    try server.ask(
      .resume(volume, size: connection.size, flags: connection.flags), passing: connection.descriptor)
  }

  /// Gives the device the size that the export has now.
  func resize(_ record: DeviceRecord, to export: borrowing ExportConnection) throws(DeviceFault) {
    try server.ask(.resize(volume, size: export.size))
    try loop(of: record)?.grow()
  }

  private func file(of record: DeviceRecord) -> String { "\(record.fuseMount ?? "")/\(record.fuseFile ?? "")" }

  /// The loop device of a record; nil before there was one.
  private func loop(of record: DeviceRecord) -> LoopDevice? {
    guard let major = record.major, let minor = record.minor else { return nil }
    return LoopDevice(number: BlockNumber(major: major, minor: minor), file: file(of: record))
  }

  /// Whether server and loop device are there. Without asking the server, which answers its owner only.
  func stands(_ record: DeviceRecord) -> Bool { whatIsGone(record) == nil }

  /// Nil: nothing.
  func whatIsGone(_ record: DeviceRecord) -> String? {
    guard let fuse = record.fuse else { return "its server (repl-device) was never started" }
    guard fuse.isAlive else { return "its server (repl-device, process \(fuse.pid)) has died" }
    guard loop(of: record)?.isBound == true else { return "its loop device has been taken away" }
    return nil
  }

  /// Whether the server has a connection to the daemon for it.
  var isConnected: Bool { server.shown(volume)?.isConnected ?? false }

  /// False when the loop device is in use; then everything stays as it is.
  func detach(_ record: DeviceRecord) throws(DeviceFault) -> Bool {
    if let loop = loop(of: record), !loop.detach() { return false }
    if let fuse = record.fuse, fuse.isAlive {
      try server.ask(.end(volume))
      try server.end(fuse)
    }
    server.removeLeftovers()
    return true
  }

  /// Takes down whatever is left, whether it works or not. First the volume: what waits for a daemon ends with an error then, and
  /// nothing below waits for it.
  func abandon(_ record: DeviceRecord) {
    if let fuse = record.fuse, fuse.isAlive {
      do throws(DeviceFault) { try server.ask(.end(volume)) } catch { end(fuse) }
    }
    loop(of: record)?.detachWhenUnused()
    if let fuse = record.fuse, fuse.isAlive {
      do throws(DeviceFault) { try server.end(fuse) } catch { end(fuse) }
    }
    server.removeLeftovers()
  }

  /// One that hangs. The devices of the other volumes end with it, and are made again by the next promotion.
  private func end(_ hung: DeviceRecord.ProcessMark) {
    kill(hung.pid, SIGKILL)
    _ = Deadline(after: 3).wait { !hung.isAlive }
  }
}
