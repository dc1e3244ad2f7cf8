// The names of one volume's device, from `up` to `down`: `/dev/drbd0` leads to a node that `repl-device` shows, `/dev/drbd/by-res/...` leads
// to `/dev/drbd0`. Laws: a name that belongs to another device is left alone; the record is on disk before the names exist.
import Base
import BlockIO
import Control
import FoundationEssentials
import Glibc

struct DeviceNames {
  let resource: String
  let volume: VolumeNumber
  let path: String
  let links: [String]
  let surroundings: Surroundings

  /// What `up` has named, for who comes after.
  struct Record: Codable, Equatable {
    var minor: UInt32
    var paths: [String]
    var server: DeviceRecord.ProcessMark?
  }

  private var files: RunFiles { surroundings.runFiles }
  private var server: DeviceServerProcess { DeviceServerProcess(resource: resource, surroundings: surroundings) }
  private var name: String { lastComponent(path) }
  private var node: String { "\(files.deviceNodes(resource))/\(name)" }
  private var recordPath: String { files.names(resource, volume) }

  var record: Record? {
    guard let data = FileManager.default.contents(atPath: recordPath) else { return nil }
    do { return try JSONDecoder().decode(Record.self, from: data) } catch { return nil }
  }

  /// Whether the path leads to our node.
  private var stand: Bool { symbolicLinkTarget(path) == node }

  /// Makes the names, or makes sure of them.
  func show(minor: UInt32, deadline: Deadline) throws(DeviceFault) {
    guard DeviceRequest.canBeNamed(name) else { throw .cannot("name it", "its name has a blank") }
    try checkFree(minor)
    var record = Record(minor: minor, paths: [path] + links, server: self.record?.server)
    try write(record)
    do throws(DeviceFault) {
      record.server = try server.start(deadline)
      try server.ask(.name(volume, minor: minor, name))
      try write(record)
      if !stand { try BlockNode.link(path, to: node) }
      for link in links { try BlockNode.link(link, to: path) }
    } catch {
      remove()
      throw error
    }
  }

  /// Has the node stand for the device that was just made. False: there is no node.
  func bind(_ number: BlockNumber, deadline: Deadline) throws(DeviceFault) -> Bool {
    guard let record else { return false }
    // A server that was killed and started again knows nothing of it.
    try show(minor: record.minor, deadline: deadline)
    try server.ask(.bind(volume, major: number.major, minor: number.minor))
    return true
  }

  /// Takes the names away. The server goes when it has nothing left to show.
  func remove() {
    guard record != nil else { return }
    let ours = links.filter { symbolicLinkTarget($0).map(lastComponent) == name }
    if stand { for path in ours + [path] { BlockNode.remove(path) } }
    unlink(recordPath)
    // One that does not answer is ended by whoever ends its devices.
    if server.running != nil { do throws(DeviceFault) { try server.ask(.unname(volume)) } catch {} }
  }

  /// What is wrong with the names; nil: nothing.
  func complaint() -> String? {
    guard let record else { return nil }
    let mend = "repladm adjust \(resource) mends it"
    guard let server = record.server, server.isAlive else {
      return "\(path) cannot be opened, because its server (repl-device) has died: \(mend)"
    }
    return stand ? nil : "\(path) has been taken away or given to another device: \(mend)"
  }

  private func write(_ record: Record) throws(DeviceFault) {
    do {
      try JSONEncoder().encode(record).write(to: URL(filePath: recordPath), options: .atomic)
    } catch {
      throw .cannot("write \(recordPath)", "\(error)")
    }
  }

  private func checkFree(_ minor: UInt32) throws(DeviceFault) {
    try BlockNode.checkFree(path)
    if BlockNumber(major: BlockNumber.drbdMajor, minor: minor).kernelName != nil {
      throw .cannot("make \(path)", "DRBD's kernel module has this minor up: drbdadm down it first")
    }
    var status = stat()
    guard !stand, lstat(path, &status) == 0 else { return }
    if let number = BlockNumber(status), number.major != BlockNumber.drbdMajor {
      throw .cannot("make \(path)", "it is the name of a device already")
    }
    // Of another node on this machine, whose server lives.
    if let target = symbolicLinkTarget(path), target.hasSuffix(".nodes/\(name)"), lstat(target, &status) == 0 {
      throw .cannot("make \(path)", "it leads to \(target), the device of another node on this machine")
    }
  }
}
