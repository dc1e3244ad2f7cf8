// Best means where the kernel has it: the nbd module, given a connection to the export's unix socket. When the daemon dies
// the device stays and its requests wait; a connection to the next daemon is put in its place and they go on (D7).
// Law: a device with another export behind it is somebody else's and is left alone.
import Base
import Control
import Glibc

struct KernelNBD {
  let resource: String
  let volume: VolumeNumber
  let surroundings: Surroundings

  /// How long requests wait for the next daemon before they fail.
  static let deadLinkSeconds: UInt64 = 120
  /// How often the kernel looks whether a request under way when the daemon died can be sent again.
  private static let resendMilliseconds = 10000

  private var socket: String { surroundings.runFiles.exportSocket(resource, volume) }

  /// Nil when it can be tried, else what is missing.
  var missing: String? {
    if access("/sys/module/nbd", F_OK) == 0 { return nil }
    // DRBD's devices have no partitions.
    guard surroundings.tools.run("modprobe", ["nbd", "max_part=0"]).ok, access("/sys/module/nbd", F_OK) == 0 else {
      return "the kernel has no nbd module"
    }
    return nil
  }

  func attach(node: String, record: inout DeviceRecord, recordPath: String, deadline: Deadline) throws(DeviceFault) {
    var control = try NBDControl.open()
    let connection = try ExportConnection.open(socket, deadline: deadline)
    for index in UInt32(0)..<256 where KernelNBD.isFree(index) {
      record.nbdIndex = index
      record.backend = socket
      try record.write(to: recordPath)
      guard try control.connect(index, connection, backend: socket, deadLinkSeconds: KernelNBD.deadLinkSeconds) else {
        continue
      }
      let number = try KernelNBD.number(index)
      record.major = number.major
      record.minor = number.minor
      try record.write(to: recordPath)
      KernelNBD.set("\(KernelNBD.resendMilliseconds)", "/sys/block/nbd\(index)/queue/io_timeout")
      try BlockNode.make(node, number)
      return
    }
    throw .cannot("find a free nbd device", "all 256 are in use")
  }

  /// Gives the device of a daemon that died to the one that runs now.
  func resume(_ record: DeviceRecord, deadline: Deadline) throws(DeviceFault) {
    guard let index = record.nbdIndex, let backend = record.backend else {
      throw .cannot("go on with the device", "it was never complete")
    }
    var control = try NBDControl.open()
    let connection = try ExportConnection.open(socket, deadline: deadline)
    try control.reconnect(index, connection, backend: backend, deadline: deadline)
  }

  /// Gives the device the size that the export has now.
  func resize(_ record: DeviceRecord, to export: borrowing ExportConnection) throws(DeviceFault) {
    guard let index = record.nbdIndex, let backend = record.backend else {
      throw .cannot("resize the device", "it was never complete")
    }
    var control = try NBDControl.open()
    // What is mounted keeps its blocks, whatever the export of a later daemon says.
    let own = smallFile("/sys/block/nbd\(index)/queue/logical_block_size").flatMap { UInt32($0) }
    try control.resize(index, to: export.size, blockSize: own ?? export.blockSize, backend: backend)
  }

  /// Whether the kernel still has the device of this record.
  static func exists(_ record: DeviceRecord) -> Bool {
    guard let index = record.nbdIndex, access("/sys/block/nbd\(index)/pid", F_OK) == 0 else { return false }
    // Kernels before 5.14 do not tell what is behind it.
    guard let backend = smallFile("/sys/block/nbd\(index)/backend") else { return true }
    return backend == record.backend
  }

  /// False when it is held by somebody; then everything stays as it is.
  static func detach(_ record: DeviceRecord, node: String) throws(DeviceFault) -> Bool {
    guard exists(record) else { return true }
    // While it is claimed here nobody can mount it.
    let claim = open(node, O_RDWR | O_EXCL | O_CLOEXEC)
    guard claim >= 0 else { return false }
    fsync(claim)
    do throws(DeviceFault) {
      try abandon(record)
    } catch {
      close(claim)
      throw error
    }
    // The kernel lets go at the last close.
    close(claim)
    return Deadline(after: 5).wait { !exists(record) }
  }

  /// Ends the connection, whether it works or not: what still waits for an answer gets an error.
  static func abandon(_ record: DeviceRecord) throws(DeviceFault) {
    guard exists(record), let index = record.nbdIndex else { return }
    var control = try NBDControl.open()
    try control.disconnect(index)
  }

  /// One that is not connected, or that the kernel would make.
  private static func isFree(_ index: UInt32) -> Bool { access("/sys/block/nbd\(index)/pid", F_OK) != 0 }

  /// The numbers of a device: how many minors each takes is a parameter of the module.
  private static func number(_ index: UInt32) throws(DeviceFault) -> BlockNumber {
    let parts = smallFile("/sys/block/nbd\(index)/dev")?.split(separator: ":").compactMap { UInt32($0) } ?? []
    guard parts.count == 2 else { throw .cannot("use nbd\(index)", "the kernel does not show its numbers") }
    return BlockNumber(major: parts[0], minor: parts[1])
  }

  /// A setting that older kernels may not have.
  private static func set(_ value: String, _ path: String) {
    let descriptor = open(path, O_WRONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    defer { close(descriptor) }
    _ = value.withCString { write(descriptor, $0, strlen($0)) }
  }
}
