// The block devices of one resource, one for each volume (D7): by the configuration, by what the daemon tells, or by the records
// that are left when neither can be asked. Law: a device in use forbids a demotion before anything was changed, unless the operator
// forces it: then what is under way ends with errors. A promotion succeeds even where no device can be made.
import Base
import Config
import Control
import Glibc

struct ResourceDevices {
  let resource: String
  let each: [VolumeDevice]
  let surroundings: Surroundings
  let console: Console

  private var files: RunFiles { surroundings.runFiles }

  /// As the file names them.
  init(_ resource: HostedResource, _ globals: GlobalOptions, _ surroundings: Surroundings, _ console: Console) {
    self.init(
      resource.name,
      resource.volumes.map { ($0.number, ShellValues.devicePaths(of: $0, in: resource, globals: globals)) },
      surroundings, console)
  }

  /// As the daemon names them.
  init(_ snapshot: StatusSnapshot, _ surroundings: Surroundings, _ console: Console) {
    self.init(
      snapshot.name, snapshot.devices.map { ($0.volume, $0.devicePaths ?? ["/dev/drbd\($0.minor)"]) }, surroundings,
      console)
  }

  /// What is on record of a resource whose daemon cannot tell.
  init(recorded resource: String, _ surroundings: Surroundings, _ console: Console) {
    let files = surroundings.runFiles
    let recorded = files.volumes(of: resource).compactMap { number -> (VolumeNumber, [String])? in
      if let record = DeviceRecord(reading: files.device(resource, number)) { return (number, record.paths) }
      let names = DeviceNames(
        resource: resource, volume: number, path: "", links: [], surroundings: surroundings)
      return names.record.map { (number, $0.paths) }
    }
    self.init(resource, recorded.filter { !$0.1.isEmpty }, surroundings, console)
  }

  private init(
    _ resource: String, _ volumes: [(VolumeNumber, [String])], _ surroundings: Surroundings, _ console: Console
  ) {
    self.resource = resource
    self.surroundings = surroundings
    self.console = console
    each = volumes.map { number, paths in
      VolumeDevice(
        resource: resource, volume: number, path: paths[0], links: Array(paths.dropFirst()), surroundings: surroundings)
    }
  }

  /// Those of some volumes.
  func only(_ volumes: Set<VolumeNumber>) -> ResourceDevices {
    ResourceDevices(
      resource, each.filter { volumes.contains($0.volume) }.map { ($0.volume, [$0.path] + $0.links) }, surroundings,
      console)
  }

  func remark(_ lines: [String]) {
    for line in lines { console.err("\(resource): \(line)\n") }
  }

  /// Makes the devices after a promotion. Where that cannot be, says so once and where the data are.
  func attach(deadline: Deadline) {
    if exists(files.noDevice(resource)) { return }
    for device in each {
      do throws(DeviceFault) {
        guard surroundings.isRoot else { throw .noMeans("only root can make block devices") }
        try device.attach(deadline: deadline)
      } catch {
        remark([
          "\(device.path) was not made, because \(error.text); the data are at "
            + "\(files.exportURI(resource, device.volume))."
        ])
      }
    }
  }

  /// Takes the devices away, does `body`, and brings them back when it is refused. With `force` a device in use is taken away, too.
  func without(force: Bool, deadline: Deadline, _ body: () throws(Refusal) -> Void) throws(Refusal) {
    let held = each.flatMap { $0.settledHolders() }
    guard held.isEmpty || force else { throw VolumeDevice.inUse(held) }
    var taken: [VolumeDevice] = []
    do throws(Refusal) {
      for device in each {
        if held.isEmpty {
          if try device.detach() { taken.append(device) }
        } else {
          remark(device.cut())
        }
      }
      try body()
    } catch {
      for device in taken {
        do throws(DeviceFault) {
          try device.attach(deadline: deadline)
        } catch let fault {
          remark(["\(device.path) could not be made again: \(fault.text)."])
        }
      }
      throw error
    }
  }

  /// What a daemon that died has left.
  func cleanUp() { remark(each.flatMap { $0.cleanUp(mayResume: false) }) }

  private var server: DeviceServerProcess { DeviceServerProcess(resource: resource, surroundings: surroundings) }

  /// Makes the names that are there from `up` to `down`, where that can be.
  func showNames(_ minors: [VolumeNumber: UInt32], deadline: Deadline) {
    guard surroundings.isRoot, !exists(files.noDevice(resource)) else { return }
    for device in each {
      guard let minor = minors[device.volume] else { continue }
      do throws(DeviceFault) {
        try device.showNames(minor: minor, deadline: deadline)
      } catch {
        remark(["\(device.path) has no device before this node is Primary: \(error.text)."])
      }
    }
  }

  /// Makes the names again that a server has taken along, and those that nothing has made yet.
  func mendNames(_ minors: [VolumeNumber: UInt32], deadline: Deadline) {
    for device in each {
      let record = device.names.record
      guard record == nil || device.names.complaint() != nil, let minor = record?.minor ?? minors[device.volume] else {
        continue
      }
      showNames([device.volume: minor], deadline: deadline)
    }
  }

  /// Who has promoted this node, for the last close of the device. No server: nothing follows the device.
  func tellRole(automatic: Bool) {
    guard server.running != nil else { return }
    // An older one does not know the word, and demotes nothing.
    do throws(DeviceFault) { try server.ask(.role(automatic: automatic)) } catch {}
  }

  /// Whether the last close may demote still.
  var mayDemote: Bool {
    do throws(DeviceFault) { return try server.ask(.mayDemote) == .done } catch { return false }
  }

  /// Makes a node at each path that has none, as DRBD does when the minor is created: it names the device before it can be opened.
  func announce(_ minors: [VolumeNumber: UInt32]) {
    guard surroundings.isRoot, !exists(files.noDevice(resource)) else { return }
    showNames(minors, deadline: Deadline(after: 10))
    for device in each {
      guard let minor = minors[device.volume], !exists(device.path) else { continue }
      do throws(DeviceFault) {
        try BlockNode.make(device.path, BlockNumber(major: BlockNumber.drbdMajor, minor: minor))
      } catch {
        remark(["\(device.path) was not made: \(error.text)."])
      }
    }
  }

  func removeNames() {
    for device in each {
      device.names.remove()
      BlockNode.removeUnused(device.path)
    }
  }

  /// Removes the names, their server, what `announce` made, and the files that a daemon removes when it ends well.
  func removeLeftovers() {
    removeNames()
    server.endWhenIdle()
    files.removeLeftovers(of: resource)
  }
}

extension RunFiles {
  /// The volumes of a resource that have a file here.
  func volumes(of resource: String) -> [VolumeNumber] {
    let numbers = directoryEntries(directory).compactMap { name -> UInt16? in
      guard name.hasPrefix(resource + "-") else { return nil }
      let rest = name.dropFirst(resource.count + 1)
      guard rest.hasSuffix(".device") || rest.hasSuffix(".names") || rest.hasSuffix(".nbd") else { return nil }
      return UInt16(rest.prefix { $0 != "." })
    }
    return Set(numbers).sorted().map { VolumeNumber($0) }
  }

  /// What the daemon removes itself when it ends well, and what only `repladm` knows of.
  func removeLeftovers(of resource: String) {
    let numbers = volumes(of: resource)
    unlink(controlSocket(resource))
    unlink(statusSocket(resource))
    unlink(pidFile(resource))
    unlink(noDevice(resource))
    unlink(roleLock(resource))
    for number in numbers { unlink(exportSocket(resource, number)) }
  }
}
