// Fields of a volume's state that follow from others (wire spec 4.2), and where safety asks for more than the kernel does.
import Base
import Testing

@testable import Engine

@Suite("A state is made whole")
struct NormaliseTests {
  private func state(
    _ conn: ConnectionState, _ disk: DiskState, _ peerDisk: DiskState, role: Role = .secondary
  ) -> VolumeState {
    var state = VolumeState()
    state.role = role
    state.conn = conn
    state.disk = disk
    state.peerDisk = peerDisk
    state.peerRole = .primary
    state.normalise()
    return state
  }

  @Test("an interrupted target does not become UpToDate because its source's disk went")
  func interruptedTarget() {
    let target = state(.wfSyncUUID, .outdated, .failed)
    #expect(target.conn == .connected)
    #expect(target.disk == .outdated)
    #expect(state(.syncTarget, .inconsistent, .diskless).disk == .inconsistent)
  }

  @Test("two compared disks make each other UpToDate when no resync is needed")
  func compared() {
    let both = state(.connected, .outdated, .consistent)
    #expect(both.disk == .upToDate)
    #expect(both.peerDisk == .upToDate)
  }

  @Test("without a connection the peer is unknown, but what is known of its disk stays")
  func disconnected() {
    #expect(state(.wfConnection, .upToDate, .upToDate).peerDisk == .unknown)
    #expect(state(.wfConnection, .upToDate, .inconsistent).peerDisk == .inconsistent)
    #expect(state(.wfConnection, .upToDate, .upToDate).peerRole == .unknown)
  }

  @Test("what is normal stays as it is")
  func idempotent() {
    for conn in ConnectionState.allCases {
      for disk in DiskState.allCases {
        for peerDisk in DiskState.allCases {
          let once = state(conn, disk, peerDisk)
          var twice = once
          twice.normalise()
          #expect(once == twice, "\(conn) \(disk) \(peerDisk)")
        }
      }
    }
  }
}
