// The commands of the `handlers` section, run by /bin/sh with the environment of admin spec 7. A handler that the file does
// not name has succeeded; one that cannot be started ends with 127. The ring thread never waits for one, and
// one that still runs when the daemon ends is left to finish its work.
import Base
import BlockIO
import Config
import Engine

struct Handlers: ~Copyable {
  /// What scripts are told about the resource beside the volume.
  struct Facts: Sendable {
    var resource: String
    var configuration: String
    var host: String
    var nodeID: Int
    var own: HostAddress?
    var peer: HostAddress?
    var peerName: String
    var peerNodeID: Int
  }

  struct Running: ~Copyable {
    let id: WorkID
    let name: String
    var child: Child
  }

  var commands: [String: String]
  var volumes: [HostedVolume]
  let facts: Facts
  private var running = Places<Running>(capacity: 16)

  init(commands: [String: String], volumes: [HostedVolume], facts: Facts) {
    self.commands = commands
    self.volumes = volumes
    self.facts = facts
  }

  /// The exit status when it is known at once, nil when the handler runs now.
  mutating func run(
    _ handler: EngineHandler, _ volume: VolumeNumber, _ state: ConnectionState, _ id: WorkID, _ ring: inout Ring,
    _ log: (String) -> Void
  ) -> Int32? {
    guard let command = commands[handler.rawValue] else { return 0 }
    guard running.hasRoom else {
      log("handler \(handler.rawValue) was not run: too many handlers are running")
      return 127
    }
    do throws(ChildRefusal) {
      let child = try Child(shell: command, environment: environment(volume, state), log: 2)
      let place = running.free
      ring.pollReadable(child.descriptor, tag: Tag(kind: Kind.child, UInt64(place)))
      running.put(Running(id: id, name: handler.rawValue, child: child), at: place)
      log("helper command: \(handler.rawValue)")
      return nil
    } catch {
      log("handler \(handler.rawValue): \(error.text)")
      return 127
    }
  }

  /// A child's descriptor became readable.
  mutating func ended(
    _ completion: Completion, _ ring: inout Ring, _ log: (String) -> Void
  ) -> (id: WorkID, exit: Int32)? {
    let place = Int(completion.tag.payload)
    guard let exit = running[place].child.reap() else {
      ring.pollReadable(running[place].child.descriptor, tag: completion.tag)
      return nil
    }
    let done = running.remove(place)
    let status: Int32 =
      switch exit {
      case .status(let status): status
      case .signal(let signal): 128 + signal
      }
    log("helper command: \(done.name) exit code \(status)")
    return (done.id, status)
  }

  private func environment(_ number: VolumeNumber, _ state: ConnectionState) -> [String] {
    var result = ["PATH=/sbin:/bin:/usr/sbin:/usr/bin", "HOME=/"]
    func put(_ name: String, _ value: String) { result.append("\(name)=\(value)") }
    put("DRBD_RESOURCE", facts.resource)
    put("DRBD_CONF", facts.configuration)
    put("DRBD_MY_NODE_ID", "\(facts.nodeID)")
    put("DRBD_PEER_NODE_ID", "\(facts.peerNodeID)")
    put("DRBD_NODE_ID_\(facts.nodeID)", facts.host)
    put("DRBD_NODE_ID_\(facts.peerNodeID)", facts.peerName)
    put("DRBD_PEER", facts.peerName)
    put("DRBD_PEERS", facts.peerName)
    put("DRBD_CSTATE", state.connectionName)
    if let own = facts.own {
      put("DRBD_MY_AF", own.family.rawValue)
      put("DRBD_MY_ADDRESS", own.host)
    }
    if let peer = facts.peer {
      put("DRBD_PEER_AF", peer.family.rawValue)
      put("DRBD_PEER_ADDRESS", peer.host)
    }
    if let volume = volumes.first(where: { $0.number == number }) {
      put("DRBD_VOLUME", "\(number.value)")
      put("DRBD_MINOR", "\(volume.minor)")
      put("DRBD_BACKING_DEV", volume.disk ?? "none")
      put("DRBD_LL_DISK", volume.disk ?? "none")
    }
    for volume in volumes {
      put("DRBD_MINOR_\(volume.number.value)", "\(volume.minor)")
      put("DRBD_BACKING_DEV_\(volume.number.value)", volume.disk ?? "none")
    }
    return result
  }
}
