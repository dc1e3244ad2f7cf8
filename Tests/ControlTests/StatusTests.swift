// The formats of `status` against what DRBD 9.3.3 with drbd-utils 9.22 printed.
import Base
import Control
import Testing

@Suite struct RecordedStatus {
  @Test(arguments: try Recording.steps(with: "drbdadm status drbd0"))
  func plainTextIsTheRecordedText(step: String) throws {
    let recorded = try Recording.output(step)
    #expect(StatusText().render([Recording.snapshot(ofText: recorded)]) == recorded)
  }

  @Test(arguments: try Recording.steps(with: "drbdsetup status drbd0 --verbose --statistics"))
  func verboseStatisticsAreTheRecordedText(step: String) throws {
    let recorded = try Recording.output(step)
    let text = StatusText(verbose: true, statistics: true).render([Recording.snapshot(ofText: recorded)])
    #expect(text == recorded)
  }

  @Test func verboseAloneIsTheRecordedText() throws {
    let recorded = try Recording.output("1-create-sync/117")
    #expect(StatusText(verbose: true).render([Recording.snapshot(ofText: recorded)]) == recorded)
  }

  @Test func statisticsAloneAreTheRecordedText() throws {
    let recorded = try Recording.output("1-create-sync/118")
    #expect(StatusText(statistics: true).render([Recording.snapshot(ofText: recorded)]) == recorded)
  }

  @Test(arguments: try Recording.steps(with: "drbdsetup status --json"))
  func jsonIsTheRecordedJSON(step: String) throws {
    let recorded = try Recording.output(step)
    #expect(try StatusJSON.render(Recording.snapshots(ofJSON: recorded)) == recorded)
  }

  @Test func everyStoryIsThere() throws {
    #expect(try Recording.steps(with: "drbdadm status drbd0").count >= 25)
    #expect(try Recording.steps(with: "drbdsetup status drbd0 --verbose --statistics").count >= 10)
    #expect(try Recording.steps(with: "drbdsetup status --json").count >= 15)
  }
}

@Suite struct FoundingStory {
  private func snapshot(_ role: Role, _ disk: DiskState, _ peer: PeerDeviceStatus) -> StatusSnapshot {
    var snapshot = StatusSnapshot(name: "drbd0", nodeID: 0, role: role)
    snapshot.devices = [DeviceStatus(volume: VolumeNumber(0), minor: 0, disk: disk)]
    var connection = ConnectionStatus(
      name: "zabbix-server02", peerNodeID: 1, state: .connected, peerRole: .secondary)
    connection.peerDevices = [peer]
    snapshot.connections = [connection]
    return snapshot
  }

  private func peer(_ disk: DiskState, _ replication: ConnectionState = .connected) -> PeerDeviceStatus {
    PeerDeviceStatus(volume: VolumeNumber(0), replication: replication, peerDisk: disk)
  }

  @Test func blockA() throws {
    let text = StatusText().render([snapshot(.secondary, .inconsistent, peer(.inconsistent))])
    #expect(
      text == """
        drbd0 role:Secondary
          disk:Inconsistent
          zabbix-server02 role:Secondary
            peer-disk:Inconsistent


        """)
  }

  @Test func blockBHasARisingDone() throws {
    var syncing = peer(.inconsistent, .syncSource)
    syncing.resync = ResyncStatus(totalSectors: 20_000)
    syncing.outOfSync = 8766
    let text = StatusText().render([snapshot(.primary, .upToDate, syncing)])
    #expect(
      text == """
        drbd0 role:Primary
          disk:UpToDate
          zabbix-server02 role:Secondary
            replication:SyncSource peer-disk:Inconsistent done:12.34


        """)
  }

  @Test func blocksCAndDDifferInTheRole() throws {
    for role in [Role.primary, .secondary] {
      let text = StatusText().render([snapshot(role, .upToDate, peer(.upToDate))])
      #expect(
        text == """
          drbd0 role:\(role.name)
            disk:UpToDate
            zabbix-server02 role:Secondary
              peer-disk:UpToDate


          """)
    }
  }
}

@Suite struct StatusRules {
  private func base(volumes: [UInt16]) -> StatusSnapshot {
    var snapshot = StatusSnapshot(name: "r", nodeID: 0, role: .primary)
    snapshot.devices = volumes.map { DeviceStatus(volume: VolumeNumber($0), minor: UInt32($0), disk: .upToDate) }
    var connection = ConnectionStatus(name: "peer", peerNodeID: 1, state: .connected, peerRole: .secondary)
    connection.peerDevices = volumes.map {
      PeerDeviceStatus(volume: VolumeNumber($0), replication: .connected, peerDisk: .upToDate)
    }
    snapshot.connections = [connection]
    return snapshot
  }

  @Test func nothingConfiguredIsOneCommentLine() {
    #expect(StatusText().render([]) == "# No currently configured DRBD found.\n")
  }

  @Test func severalVolumesAreNumberedOnBothLines() {
    #expect(
      StatusText().render([base(volumes: [1, 0])]) == """
        r role:Primary
          volume:0 disk:UpToDate
          volume:1 disk:UpToDate
          peer role:Secondary
            volume:0 peer-disk:UpToDate
            volume:1 peer-disk:UpToDate


        """)
  }

  @Test func aSingleVolumeOtherThanZeroIsNumbered() {
    #expect(StatusText().render([base(volumes: [5])]).contains("  volume:5 disk:UpToDate\n"))
  }

  @Test func suspensionAndLostQuorumAreSaidOnlyWhenTheyAre() {
    var snapshot = base(volumes: [0])
    #expect(!StatusText().render([snapshot]).contains("suspended"))
    snapshot.suspendedNoData = true
    snapshot.suspendedQuorum = true
    snapshot.devices[0].hasQuorum = false
    let text = StatusText().render([snapshot])
    #expect(text.hasPrefix("r role:Primary suspended:no-data,quorum\n  disk:UpToDate quorum:no\n"))
  }

  @Test func clientIsLeftOutOnATerminal() {
    var snapshot = base(volumes: [0])
    snapshot.devices[0].disk = .diskless
    #expect(StatusText().render([snapshot]).contains("  disk:Diskless client:no\n"))
    #expect(StatusText(toTerminal: true).render([snapshot]).contains("  disk:Diskless\n"))
  }

  @Test func aWordThatEndsInTheLastColumnStays() {
    var snapshot = base(volumes: [0])
    snapshot.connections[0].peerDevices[0].replication = .pausedSyncT
    snapshot.connections[0].peerDevices[0].resyncSuspendedByUser = true
    let line = "    replication:PausedSyncT peer-disk:UpToDate resync-suspended:user"
    #expect(StatusText(columns: line.count).render([snapshot]).contains(line + "\n"))
    #expect(
      StatusText(columns: line.count - 1).render([snapshot])
        .contains("    replication:PausedSyncT peer-disk:UpToDate\n        resync-suspended:user\n"))
  }

  @Test func resourcesAndConnectionsAreSorted() {
    var other = base(volumes: [0])
    other.name = "a"
    #expect(StatusText().render([base(volumes: [0]), other]).hasPrefix("a role"))
  }

  @Test func numbersThatMakeNoSenseArePrintedNotTrapped() {
    var snapshot = base(volumes: [0])
    var resync = ResyncStatus(totalSectors: 0)
    resync.newerMark = .init(milliseconds: .max, sectors: 1)
    resync.pausedMilliseconds = .max
    snapshot.connections[0].peerDevices[0].resync = resync
    snapshot.connections[0].peerDevices[0].outOfSync = .max
    #expect(StatusText(verbose: true, statistics: true).render([snapshot]).contains("eta:nan"))
    #expect(StatusJSON.render([snapshot]).contains("\"estimated-seconds-to-finish\": -1"))
  }

  @Test func shortWords() {
    var snapshot = base(volumes: [0])
    snapshot.connections[0].peerDevices[0].peerDisk = .inconsistent
    #expect(snapshot.roleWord == "Primary")
    #expect(snapshot.connectionWords == ["Connected"])
    #expect(snapshot.diskWords(VolumeNumber(0)) == "UpToDate/Inconsistent")
    #expect(snapshot.diskWords(VolumeNumber(7)) == nil)
  }
}
