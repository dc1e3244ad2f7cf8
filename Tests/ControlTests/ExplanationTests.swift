// `explain`: each state that needs an operator has a sentence and a next step.
import Base
import Control
import Testing

@Suite("Explanation") struct ExplanationTests {
  /// Two connected UpToDate nodes, and what a case makes of them.
  private func snapshot(
    _ state: ConnectionState = .connected, own: DiskState = .upToDate, peer: DiskState = .upToDate,
    _ change: (inout StatusSnapshot) -> Void = { _ in }
  ) -> StatusSnapshot {
    var one = StatusSnapshot(name: "r0", nodeID: 0, role: .primary)
    one.devices = [DeviceStatus(volume: VolumeNumber(0), minor: 0, disk: own)]
    var connection = ConnectionStatus(
      name: "beta", peerNodeID: 1, state: min(state, .connected), peerRole: .secondary)
    connection.peerDevices = [PeerDeviceStatus(volume: VolumeNumber(0), replication: state, peerDisk: peer)]
    one.connections = [connection]
    change(&one)
    return one
  }

  private func text(_ one: StatusSnapshot) -> String { one.findings.map(\.text).joined(separator: "\n") }

  @Test("nothing is said of two connected UpToDate nodes")
  func healthy() { #expect(snapshot().findings.isEmpty) }

  @Test("a connection that is missing, was disconnected, or given up")
  func connections() {
    #expect(text(snapshot(.wfConnection, peer: .unknown)).contains("On beta: repladm up r0"))
    #expect(text(snapshot(.standAlone, peer: .unknown)).contains("repladm connect r0"))
    let refused = snapshot(.standAlone, peer: .unknown) { $0.connections[0].refusedBecause = "wrong secret" }
    #expect(text(refused).contains("wrong secret") && text(refused).contains("repladm adjust r0"))
    let deaf = snapshot(.wfConnection, peer: .unknown) { $0.connections[0].cannotListen = "the port is taken" }
    #expect(text(deaf).contains("the port is taken"))
  }

  @Test("every disk state but UpToDate has a next step", arguments: DiskState.allCases)
  func disks(_ disk: DiskState) {
    let found = snapshot(.wfConnection, own: disk, peer: .unknown).findings.filter { $0.object == "r0/0" }
    switch disk {
    case .diskless, .inconsistent, .outdated, .consistent: #expect(found.count == 1 && !found[0].next.isEmpty)
    case .failed: #expect(found.count == 1)
    case .attaching, .negotiating, .unknown, .upToDate: #expect(found.isEmpty)
    }
  }

  @Test("a new resource, a resync, a pause, differences, a peer without disk, suspended I/O")
  func others() {
    #expect(text(snapshot(own: .inconsistent, peer: .inconsistent)).contains("repladm primary --force r0"))
    let sync = snapshot(.syncTarget, own: .inconsistent) { $0.connections[0].peerDevices[0].outOfSync = 40 }
    #expect(text(sync).contains("from beta runs, 40 KiB are left") && sync.findings.count == 1)
    let paused = snapshot(.pausedSyncS, peer: .inconsistent) {
      $0.connections[0].peerDevices[0].resyncSuspendedByUser = true
    }
    #expect(text(paused).contains("repladm resume-sync r0/0"))
    let differing = snapshot { $0.connections[0].peerDevices[0].outOfSync = 8 }
    #expect(text(differing).contains("8 KiB differ"))
    #expect(text(differing).contains("To resync them: repladm disconnect r0, then repladm connect r0."))
    let undecided = snapshot {
      $0.role = .secondary
      $0.connections[0].peerDevices[0].outOfSync = 8
    }
    #expect(text(undecided).contains("on the node whose data are right: repladm primary r0, then repladm disconnect"))
    #expect(text(snapshot(own: .diskless)).contains("reads and writes go to beta"))
    #expect(text(snapshot(.wfConnection, own: .diskless, peer: .unknown)).contains("nothing can be read or written"))
    #expect(text(snapshot(own: .diskless, peer: .inconsistent)).contains("that of beta is Inconsistent: nothing"))
    #expect(text(snapshot(peer: .diskless)).contains("On beta: repladm attach r0/0"))
    #expect(text(snapshot { $0.suspendedByUser = true }).contains("repladm resume-io r0"))
    #expect(text(snapshot(.wfConnection, peer: .unknown) { $0.suspendedFencing = true }).contains("fence-peer"))
  }
}
