// The block device of one volume (D7): made after the daemon was promoted, taken away before it is demoted. Best means
// first; without any the NBD socket remains and the operator is told where it is. Law: a device that is in use is never taken
// away, and what a dead daemon left behind never stands in the way.
import Base
import Control
import Glibc

struct VolumeDevice {
  let resource: String
  let volume: VolumeNumber
  /// The path of the configuration, such as `/dev/drbd0`.
  let path: String
  /// Other names: `/dev/drbd/by-res/...`, `/dev/drbd/by-disk/...`.
  let links: [String]
  let surroundings: Surroundings

  private var files: RunFiles { surroundings.runFiles }
  private var recordPath: String { files.device(resource, volume) }
  private var daemon: DaemonProcess { DaemonProcess(resource, files: files) }
  private var record: DeviceRecord? { DeviceRecord(reading: recordPath) }

  /// Makes the device, or leaves the one that is there and works.
  func attach(deadline: Deadline) throws(DeviceFault) {
    if let record {
      if works(record) { return }
      abandon(record)
    }
    var missing: [String] = []
    let nbd = KernelNBD(resource: resource, volume: volume, surroundings: surroundings)
    if let why = nbd.missing {
      missing.append(why)
    } else {
      try make(.kernelNBD) { (record) throws(DeviceFault) in
        try nbd.attach(node: path, record: &record, recordPath: recordPath)
      }
      return
    }
    let fuse = FuseLoop(resource: resource, volume: volume, surroundings: surroundings)
    if let why = fuse.missing {
      missing.append(why)
    } else {
      try make(.fuseLoop) { (record) throws(DeviceFault) in
        try fuse.attach(node: path, record: &record, recordPath: recordPath, deadline: deadline)
      }
      return
    }
    throw .noMeans(missing.joined(separator: ", and "))
  }

  private func make(_ means: DeviceRecord.Means, _ attach: (inout DeviceRecord) throws(DeviceFault) -> Void)
    throws(DeviceFault)
  {
    var record = DeviceRecord(means)
    record.paths = [path] + links
    record.daemon = DeviceRecord.ProcessMark(daemon.pid)
    do throws(DeviceFault) {
      try attach(&record)
      for link in links { try BlockNode.link(link, to: path) }
    } catch {
      abandon(DeviceRecord(reading: recordPath) ?? record)
      throw error
    }
  }

  /// Who uses the device now; empty also when there is none.
  func holders() -> [String] {
    guard let record, let number = number(of: record) else { return [] }
    return DeviceHolders(number: number, path: path, name: lastComponent(path)).list()
  }

  /// Who still uses it after short visitors, such as a probe for labels, had time to go.
  func settledHolders() -> [String] {
    var found: [String] = []
    _ = Deadline(after: 1).wait(pause: 50_000) {
      found = holders()
      return found.isEmpty
    }
    return found
  }

  /// Takes the device away. False when there was none that worked.
  func detach() throws(Refusal) -> Bool {
    guard let record else { return false }
    guard works(record) else {
      abandon(record)
      return false
    }
    var found = settledHolders()
    guard found.isEmpty else { throw VolumeDevice.inUse(found) }
    let gone =
      switch record.means {
      case .kernelNBD: KernelNBD.detach(record, node: path, tools: surroundings.tools)
      case .fuseLoop: FuseLoop.detach(record, node: path, deadline: Deadline(after: 10))
      }
    guard gone else {
      found = holders()
      throw VolumeDevice.inUse(found.isEmpty ? ["\(lastComponent(path)) was opened at this very moment"] : found)
    }
    forget(record)
    return true
  }

  /// Removes what a daemon that died left behind. What is still mounted goes when it is unmounted.
  func cleanUp() -> [String] {
    guard let record, !works(record) else { return [] }
    let held = holders()
    abandon(record)
    return held.map { "\($0), left over from a repld that died: end that use" }
  }

  static func inUse(_ details: [String]) -> Refusal {
    Refusal(
      .deviceInUse, details: details, next: "unmount it or end those programs, then repeat the command")
  }

  /// True when the daemon that serves it lives, and so do the parts in between.
  private func works(_ record: DeviceRecord) -> Bool {
    guard let number = number(of: record) else { return false }
    switch record.means {
    case .kernelNBD: return access("/sys/block/nbd\(number.minor)/pid", F_OK) == 0
    case .fuseLoop:
      return record.daemon?.isAlive == true && record.fuse?.isAlive == true
        && FuseLoop.loop(of: record, node: path)?.isBound == true
    }
  }

  private func abandon(_ record: DeviceRecord) {
    switch record.means {
    case .kernelNBD: _ = KernelNBD.detach(record, node: path, tools: surroundings.tools)
    case .fuseLoop: FuseLoop.abandon(record, node: path)
    }
    forget(record)
  }

  /// Removes the names, unless another node on this machine has given them to a device of its own by now.
  private func forget(_ record: DeviceRecord) {
    var status = stat()
    let isOurs = lstat(path, &status) != 0 || BlockNumber(status) == number(of: record)
    if isOurs { for path in record.paths { BlockNode.remove(path) } }
    unlink(recordPath)
  }

  private func number(of record: DeviceRecord) -> BlockNumber? {
    guard let major = record.major, let minor = record.minor else { return nil }
    return BlockNumber(major: major, minor: minor)
  }
}
