// What the service manager shows of this daemon: one line with role, disks and connection in the words of `status`. Made only
// when a state has changed and a service manager listens.
import BlockIO
import Control

extension Reactor {
  mutating func sayReady() {
    guard service.isPresent else { return }
    let line = serviceStatus
    service.ready(line, at: now)
  }

  mutating func sayStatus() {
    guard service.isPresent else { return }
    service.status(serviceStatus)
  }

  private var serviceStatus: String {
    let snapshot = engine.snapshot()
    let disks = snapshot.volumes.map(\.disk.name).joined(separator: ",")
    return
      "\(setup.hosted.name) role:\(snapshot.role.name) disk:\(disks) connection:\(snapshot.connection.connectionName)"
      + (snapshot.connection >= .connected ? " peer-role:\(snapshot.peerRole.name)" : "")
  }
}
