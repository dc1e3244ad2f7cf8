// The steps of `up` one by one, as DRBD's cluster agent and its scripts call them. A `repld` has its volumes and its peer from the
// file when it starts, so `new-resource` is the step that does something; the later ones see that the daemon is there and that
// nothing contradicts. Law: a step that was done before is refused or silent as DRBD's is.
import ArgumentParser
import Base
import Config
import Control

enum StepOfUp {
  /// The minor is there as soon as the daemon is; its node, which scripts wait for, is made here.
  static func createMinor(_ device: DeviceStatus, _ devices: ResourceDevices) throws(Refusal) {
    guard device.disk == .diskless else {
      throw Refusal(
        .minorExists, why: "minor \(device.minor) has its disk attached",
        next: "bring it in line with the file by repladm adjust \(devices.resource)")
    }
    devices.announce([device.volume: device.minor])
  }
}

struct NewResource: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "new-resource", abstract: "Start the daemon of a resource, without its disks and its connection.",
    shouldDisplay: false)
  @Option(help: ArgumentHelp("Refuse unless the file gives this host this node id.", valueName: "n")) var nodeId: Int?
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ResourceArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .resource, .needed) { target in
      let resource = target.resource
      if let nodeId, nodeId != resource.nodeID {
        throw Refusal(
          .invalidRequest, why: "the node id of this host in the file is \(resource.nodeID)",
          next: "see repladm dump \(resource.name)")
      }
      if admin.instead(["replsetup", "new-resource", resource.name, "\(resource.nodeID)"]) { return }
      if admin.daemon(resource).isRunning { return }
      try admin.startDaemon(
        resource, noDevice: exists(admin.files.noDevice(resource.name)), deadline: admin.deadline(30))
    }
  }
}

struct NewMinor: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "new-minor", abstract: "Check that the daemon has a volume, and make its device node.",
    shouldDisplay: false)
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: VolumeArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.forEach(objects.names, .volume) { target in
      var left: [HostedVolume] = []
      for volume in target.volumes {
        let words = ["replsetup", "new-minor", target.resource.name, "\(volume.minor)", "\(volume.number.value)"]
        if !admin.instead(words) { left.append(volume) }
      }
      if left.isEmpty { return }
      let snapshot = try admin.daemon(target.resource).status(deadline: admin.deadline(10))
      for volume in left {
        guard let device = snapshot.devices.first(where: { $0.volume == volume.number }),
          device.minor == UInt32(clamping: volume.minor)
        else {
          throw Refusal(
            .invalidRequest, why: "the repld that runs has no volume \(volume.number.value) with minor \(volume.minor)",
            next: "bring it in line with the file by repladm adjust \(target.resource.name)")
        }
        try StepOfUp.createMinor(device, try admin.devices(target.resource))
      }
    }
  }
}

struct NewPeer: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "new-peer", abstract: "Check that the daemon has the peer of the file.", shouldDisplay: false)
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ConnectionArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.expectPeers(objects.names) { ["new-peer", $0, $1, "--_name=" + $2.name] }
  }
}

struct NewPath: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "new-path", abstract: "Check that the daemon has the path of the file.", shouldDisplay: false)
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ConnectionArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.expectPeers(objects.names) { resource, id, peer in
      ["new-path", resource, id] + [peer.ownAddress, peer.address].map { $0.description.replacing(" ", with: ":") }
    }
  }
}

struct DelPeer: AdminCommand {
  static let configuration = CommandConfiguration(
    commandName: "del-peer", abstract: "Disconnect from a peer that will be removed from the file.",
    shouldDisplay: false)
  @Flag(help: "Disconnect from a peer that does not answer.") var force = false
  @OptionGroup var general: GeneralOptions
  @OptionGroup var objects: ConnectionArguments

  func perform(_ admin: Admin) -> Int32 {
    admin.tellPeers(objects.names, "del-peer", force ? ["--force"] : []) {
      .disconnect(peer: $0.namedPeer, force: force)
    }
  }
}

extension Admin {
  /// The peers named are the ones that the daemon has, with the addresses of the file.
  fileprivate func expectPeers(_ names: [String], _ words: (String, String, HostedPeer) -> [String]) -> Int32 {
    forEach(names, .connection) { target in
      var left: [HostedPeer] = []
      for peer in target.peers
      where !instead(["replsetup"] + words(target.resource.name, "\(peer.nodeID)", peer)) { left.append(peer) }
      if left.isEmpty { return }
      let snapshot = try daemon(target.resource).status(deadline: deadline(10))
      for peer in left {
        let own = peer.ownAddress.description.replacing(" ", with: ":")
        let other = peer.address.description.replacing(" ", with: ":")
        let known = snapshot.connections.first { $0.peerNodeID == peer.nodeID }
        guard let known, known.paths.contains(where: { $0.local == own && $0.peer == other }) else {
          throw Refusal(
            .invalidRequest, why: "the repld that runs has no peer \(peer.name) with the path \(own) \(other)",
            next: "bring it in line with the file by repladm adjust \(target.resource.name)")
        }
      }
    }
  }

  /// One request for each connection named, and the low-level commands that stand for it: one for each peer.
  func tellPeers(
    _ names: [String], _ word: String, _ flags: [String], _ check: AddressCheck = .skipped,
    _ command: (Selection) -> Command
  ) -> Int32 {
    forEach(names, .connection, check) { target in
      let lines = target.peers.map { ["replsetup", word, target.resource.name, "\($0.nodeID)"] + flags }
      // Each of them is said before any is left out.
      let left = lines.map { instead($0) }
      if left.contains(true) || options.dryRun { return }
      let reply = try daemon(target.resource).ask(command(target), deadline: deadline(30))
      pass(on: reply, about: target.resource)
    }
  }
}
