// The block device of one volume (D7): made after the daemon was promoted, taken away before it is demoted. Its names may be there all the
// time (DeviceNames); the device behind them comes and goes with the role. Best means
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
  private var fuse: FuseLoop { FuseLoop(resource: resource, volume: volume, surroundings: surroundings) }
  var names: DeviceNames {
    DeviceNames(resource: resource, volume: volume, path: path, links: links, surroundings: surroundings)
  }
  private var nbd: KernelNBD { KernelNBD(resource: resource, volume: volume, surroundings: surroundings) }

  /// Makes the names of a device that promotes when it is used. Not with the kernel's own nbd, nor without FUSE: there the device comes
  /// with the promotion.
  func showNames(minor: UInt32, deadline: Deadline) throws(DeviceFault) {
    guard fuse.missing == nil, nbd.missing != nil else { return }
    // A device that a version before this one has made keeps its node until it is taken away.
    if record != nil, names.record == nil { return }
    try names.show(minor: minor, deadline: deadline)
  }

  /// Makes the device, or leaves the one that is there and works.
  func attach(deadline: Deadline) throws(DeviceFault) {
    if let record {
      if works(record) { return }
      if canResume(record) { return try resume(record, deadline: deadline) }
      abandon(record)
    }
    var missing: [String] = []
    if let why = nbd.missing {
      missing.append(why)
    } else {
      try make(.kernelNBD) { (record) throws(DeviceFault) in
        try nbd.attach(node: path, record: &record, recordPath: recordPath, deadline: deadline)
      }
      return
    }
    if let why = fuse.missing {
      missing.append(why)
    } else {
      try make(.deviceServer) { (record) throws(DeviceFault) in
        try fuse.attach(record: &record, recordPath: recordPath, deadline: deadline)
        guard let number = number(of: record), try !names.bind(number, deadline: deadline) else { return }
        try BlockNode.make(path, number)
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
      if let number = number(of: record) { BlockNode.announce(number) }
    } catch {
      abandon(DeviceRecord(reading: recordPath) ?? record)
      throw error
    }
  }

  private func resume(_ record: DeviceRecord, deadline: Deadline) throws(DeviceFault) {
    var record = record
    do throws(DeviceFault) {
      switch record.means {
      case .kernelNBD: try nbd.resume(record, deadline: deadline)
      case .deviceServer: try fuse.resume(deadline: deadline)
      case .nbdfuse: preconditionFailure("such a device has no successor")
      }
      record.daemon = DeviceRecord.ProcessMark(daemon.pid)
      record.hasSuccessor = nil
      try record.write(to: recordPath)
    } catch {
      abandon(record)
      throw error
    }
  }

  /// After the volume has grown: gives the device the new size where the kernel can, else tells what has to be done.
  func grow(deadline: Deadline) throws(DeviceFault) -> String? {
    guard let record, works(record) else { return nil }
    let connection = try ExportConnection.open(files.exportSocket(resource, volume), deadline: deadline)
    let wanted = connection.size
    guard let was = size(of: record), was != wanted else { return nil }
    switch record.means {
    case .kernelNBD: try nbd.resize(record, to: connection)
    case .deviceServer: try fuse.resize(record, to: connection)
    case .nbdfuse: break
    }
    if size(of: record) == wanted { return "\(path) has \(wanted >> 10) KiB now" }
    return "\(path) keeps the \(was >> 10) KiB it had until repladm secondary \(resource) and then repladm primary "
      + "\(resource); it will have \(wanted >> 10) KiB"
  }

  /// In bytes, as the kernel shows it.
  private func size(of record: DeviceRecord) -> UInt64? {
    guard let number = number(of: record) else { return nil }
    return smallFile("/sys/dev/block/\(number.major):\(number.minor)/size").flatMap { UInt64($0) }.map { $0 * 512 }
  }

  /// Who uses the device now; empty also when there is none that works: then demotion takes nothing away from them.
  func holders() -> [String] {
    guard let record, works(record) else { return [] }
    return holders(of: record)
  }

  private func holders(of record: DeviceRecord) -> [String] {
    guard let number = number(of: record) else { return [] }
    return DeviceHolders(number: number, name: lastComponent(path)).list()
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
    let gone: Bool
    do throws(DeviceFault) {
      gone =
        switch record.means {
        case .kernelNBD: try KernelNBD.detach(record, node: path)
        case .deviceServer: try fuse.detach(record)
        case .nbdfuse: FormerFuseLoop(record: record).detach(deadline: Deadline(after: 10))
        }
    } catch {
      throw Refusal("\(path) was not taken away", why: error.text, next: "repeat the command", exitCode: 20)
    }
    guard gone else {
      found = holders()
      throw VolumeDevice.inUse(found.isEmpty ? ["\(lastComponent(path)) was opened at this very moment"] : found)
    }
    forget(record)
    return true
  }

  /// Ends the device at once, in use or not: what is under way and what comes later ends with errors. Who still has it open.
  func cut() -> [String] {
    guard let record else { return [] }
    abandon(record)
    return holders(of: record).map { "\($0): its requests end with errors; end that use" }
  }

  /// Deals with what a daemon that died left behind: keeps it for the next daemon when it may and can go on with it, else
  /// removes it. What is still mounted goes when it is unmounted.
  func cleanUp(mayResume: Bool) -> [String] {
    guard let record, !works(record) else { return [] }
    if mayResume, canResume(record) { return [] }
    // To ask who has it open is to open it, and that would wait for the daemon that died.
    abandon(record)
    return holders(of: record).map { "\($0), left over from a repld that died: end that use" }
  }

  /// Whether requests to it wait for this daemon.
  var awaitsDaemon: Bool { record.map { !works($0) && canResume($0) } ?? false }

  /// Before a daemon is started: it is the one that may go on with the device of the last one.
  func expectSuccessor() -> [String] {
    guard var record, !works(record) else { return [] }
    guard record.hasSuccessor == nil, outlivesDaemon(record) else {
      return cleanUp(mayResume: false)
    }
    record.hasSuccessor = true
    do throws(DeviceFault) {
      try record.write(to: recordPath)
    } catch {
      return cleanUp(mayResume: false)
    }
    return []
  }

  static func inUse(_ details: [String]) -> Refusal {
    Refusal(
      .deviceInUse, details: details, next: "unmount it or end those programs, then repeat the command")
  }

  /// True when the daemon that serves it lives, and so do the parts in between.
  private func works(_ record: DeviceRecord) -> Bool {
    guard number(of: record) != nil, record.daemon?.isAlive == true else { return false }
    return switch record.means {
    case .kernelNBD: KernelNBD.exists(record)
    case .deviceServer: fuse.stands(record) && fuse.isConnected
    case .nbdfuse: FormerFuseLoop(record: record).stands
    }
  }

  /// Whether its requests wait when the daemon dies.
  private func outlivesDaemon(_ record: DeviceRecord) -> Bool {
    guard number(of: record) != nil else { return false }
    return switch record.means {
    case .kernelNBD: KernelNBD.exists(record)
    case .deviceServer: fuse.stands(record)
    case .nbdfuse: false
    }
  }

  /// A device whose requests wait for this daemon. Whether the data behind it are still the same is for the caller to know.
  private func canResume(_ record: DeviceRecord) -> Bool { record.hasSuccessor == true && outlivesDaemon(record) }

  /// There was a device, and it does not work.
  var needsMending: Bool { record.map { !works($0) } ?? false }

  /// What is wrong with a device that there should be, and what to type; nil: nothing.
  func complaint() -> String? {
    guard let record, number(of: record) != nil else { return names.complaint() }
    let again = "repladm primary \(resource) makes another one, and what is still mounted from this one gets errors"
    if record.means == .deviceServer, let gone = fuse.whatIsGone(record) {
      return "\(path) does not work any more, because \(gone): \(again)"
    }
    // The server is asked by root alone.
    if surroundings.isRoot ? works(record) : record.daemon?.isAlive == true { return names.complaint() }
    guard outlivesDaemon(record) else {
      return "\(path) does not work any more, because the repld that served it has died: \(again)"
    }
    let first = daemon.isRunning ? "" : "repladm up \(resource), then "
    return "the requests to \(path) wait for \(first)repladm primary \(resource); repladm down \(resource) ends them"
      + " with errors"
  }

  private func abandon(_ record: DeviceRecord) {
    switch record.means {
    case .kernelNBD:
      do throws(DeviceFault) {
        try KernelNBD.abandon(record)
      } catch {
        // Nothing is left to try; the kernel gives up by itself.
      }
    case .deviceServer: fuse.abandon(record)
    case .nbdfuse: FormerFuseLoop(record: record).abandon()
    }
    forget(record)
  }

  /// Removes the names, unless they stay, or another node on this machine has given them to a device of its own by now.
  private func forget(_ record: DeviceRecord) {
    var status = stat()
    let isOurs = lstat(path, &status) != 0 || BlockNumber(status) == number(of: record)
    if isOurs { for path in record.paths { BlockNode.remove(path) } }
    unlink(recordPath)
    if let number = number(of: record) { BlockNode.announce(number) }
  }

  private func number(of record: DeviceRecord) -> BlockNumber? {
    guard let major = record.major, let minor = record.minor else { return nil }
    return BlockNumber(major: major, minor: minor)
  }
}
