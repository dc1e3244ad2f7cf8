// Programs that follow the resource (`events2`): each state the engine passes through is a line for them, and so is each
// handler. Laws: a follower that reads too slowly misses states in between, never the newest one; nobody waits for it.
import Base
import Control
import Engine

extension ControlServer {
  /// Room is left for programs that ask something.
  static let watchersMax = 8
  /// Lines that may wait for a follower.
  static let backlog = 64

  var watchers: Int {
    var count = 0
    for place in 0..<connections.capacity where connections.contains(place) && connections[place].isWatching {
      count += 1
    }
    return count
  }

  mutating func tellWatchers(_ reply: ControlReply) {
    let line = ControlLines.line(reply)
    for place in 0..<connections.capacity where connections.contains(place) && connections[place].isWatching {
      guard connections[place].waitingLines < ControlServer.backlog else {
        connections[place].isBehind = true
        continue
      }
      connections[place].put(line)
    }
    newsForWatchers()
  }
}

extension Reactor {
  /// How often a follower is told of counters and the progress of a resync.
  private static let counterInterval = Interval.seconds(1)

  mutating func beginWatching(_ job: ControlConnection.Job, _ place: Int) {
    guard control.watchers < ControlServer.watchersMax else {
      let refusal = ControlRefusal(
        "\(ControlServer.watchersMax) programs follow \(setup.hosted.name) already",
        next: "end one of the events2 that run", exitCode: 20)
      control.connections[place].put(ControlLines.line(.refused(refusal)))
      control.finish(place)
      return
    }
    var job = job
    job.wait = .watch
    job.deadline = nil
    job.nextProgress = now + Reactor.counterInterval
    control.connections[place].job = job
    control.connections[place].put(ControlLines.line(.progress(status())))
  }

  /// The engine's state has moved.
  mutating func tellWatchers() {
    guard control.watchers > 0 else { return }
    let status = status()
    guard status != control.shownToWatchers else { return }
    control.shownToWatchers = status
    control.tellWatchers(.progress(status))
  }

  mutating func tellWatchers(of handler: EngineHandler, _ volume: VolumeNumber, status: Int32?) {
    guard control.watchers > 0, let peer = setup.hosted.peers.first else { return }
    let configured = handler.isAboutEveryVolume ? nil : setup.hosted.volume(volume)
    control.tellWatchers(
      .helper(
        HelperEvent(
          handler: handler.rawValue, connection: peer.name, peerNodeID: peer.nodeID, volume: configured?.number,
          minor: configured.map { UInt32(clamping: $0.minor) }, status: status)))
  }

  /// Counters move without a change of state; one that fell behind is shown the newest.
  mutating func lookAtWatcher(_ place: Int, _ job: ControlConnection.Job) {
    if control.connections[place].isBehind, control.connections[place].isQuiet {
      control.connections[place].isBehind = false
      control.connections[place].put(ControlLines.line(.progress(status())))
    }
    guard now >= job.nextProgress else { return }
    control.connections[place].job?.nextProgress = now + Reactor.counterInterval
    tellWatchers()
  }
}
