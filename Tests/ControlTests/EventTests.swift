// `events2` against the recorded streams of DRBD 9.3.3: the state is rebuilt from the recorded lines, change by change, and
// rendered again. Lines of one change have one timestamp.
import Base
import Control
import Foundation
import Testing

@Suite struct RecordedEvents {
  static let dumps = try! Recording.steps(with: "drbdsetup events2 --now --timestamps --statistics")
  static let follows = [
    "1-create-sync/events2-follow.01", "1-create-sync/events2-follow.02", "2-use-and-reconnect/events2-follow.01",
    "2-use-and-reconnect/events2-follow.02", "3-disconnect-and-power-cut/events2-follow.02",
  ]

  @Test(arguments: dumps)
  func theDumpOfAMomentIsTheRecordedOne(step: String) throws {
    let lines = try Recording.output(step).split(separator: "\n").map { withoutTime($0) }
    var state: StatusSnapshot?
    for line in lines { state = EventReading.apply(line, to: state) }
    let text = EventText(statistics: true)
    #expect(try text.existing(#require(state)).map(withoutETA) + [EventText.endOfDump] == lines.map(withoutETA))
  }

  @Test(arguments: follows)
  func theStreamOfChangesIsTheRecordedOne(file: String) throws {
    let path = Recording.directory.appending(path: file + ".txt")
    let recorded = try String(contentsOf: path, encoding: .utf8).split(separator: "\n")
    let text = EventText(statistics: file.hasPrefix("1-"))
    var state: StatusSnapshot?
    var compared = 0
    var index = 0
    while index < recorded.count {
      let time = recorded[index].prefix { $0 != " " }
      var group: [String] = []
      while index < recorded.count, recorded[index].hasPrefix(time) {
        group.append(withoutTime(recorded[index]))
        index += 1
      }
      let before = state
      for line in group { state = EventReading.apply(line, to: state) }
      // The first lines are the state that was; what a newer driver tells without a field says nothing.
      let rendered = text.changes(from: before, to: state).map(withoutETA)
      let told = group.filter { !$0.hasPrefix("exists") && !$0.contains(" helper ") && !EventReading.isEmpty($0) }
        .map { withoutETA($0.replacingOccurrences(of: "disk:Detaching", with: "disk:Failed")) }
        .compactMap { withoutUnmovedCounters($0, beside: rendered) }
      guard !told.isEmpty else { continue }
      #expect(rendered == told, "at \(time)")
      compared += told.count
    }
    #expect(compared > 10, "\(file) has something to compare")
  }

  @Test(arguments: follows)
  func helpersAreTheRecordedLines(file: String) throws {
    let path = Recording.directory.appending(path: file + ".txt")
    let lines = try String(contentsOf: path, encoding: .utf8).split(separator: "\n").map { withoutTime($0) }
    for line in lines where line.contains(" helper ") {
      let fields = Fields(line.split(separator: " ").map(String.init))
      let event = HelperEvent(
        handler: try #require(fields["helper"]), connection: try #require(fields["conn-name"]),
        peerNodeID: fields.number("peer-node-id"),
        volume: fields["volume"].flatMap(UInt16.init).map { VolumeNumber($0) },
        minor: fields["minor"].flatMap(UInt32.init),
        status: fields["status"].flatMap(Int32.init))
      #expect(EventText().helper(event, of: "drbd0") == line)
    }
  }

  private func withoutTime(_ line: Substring) -> String { String(line.drop { $0 != " " }.dropFirst()) }

  /// A kernel counts more than the tool prints, so it repeats counters that stand still: those of a line that is right without
  /// them are dropped, and the line with nothing else.
  private func withoutUnmovedCounters(_ line: String, beside rendered: [String]) -> String? {
    guard !rendered.contains(line) else { return line }
    for first in [" received:", " size:"] {
      guard let counters = line.range(of: first) else { continue }
      let rest = String(line[..<counters.lowerBound])
      if EventReading.isEmpty(rest) { return nil }
      if rendered.contains(rest) { return rest }
    }
    return line
  }

  /// The rate has two decimals in the recording, so the seconds left cannot be computed from it exactly.
  private func withoutETA(_ line: String) -> String {
    guard let eta = line.range(of: "eta:"), line[eta.upperBound...] != "nan" else { return line }
    return line[..<eta.upperBound] + "N"
  }
}

@Suite struct EventForms {
  private var one: StatusSnapshot {
    var snapshot = StatusSnapshot(name: "r0", nodeID: 0, role: .secondary)
    snapshot.devices = [DeviceStatus(volume: VolumeNumber(0), minor: 3, disk: .upToDate)]
    return snapshot
  }

  @Test func aDifferenceShowsBothValues() {
    var after = one
    after.role = .primary
    #expect(
      EventText(diff: true).changes(from: one, to: after)
        == ["change resource name:r0 role:Secondary->Primary may_promote:yes->no promotion_score:10101"])
  }

  @Test func fullChangesPrintEveryField() {
    var after = one
    after.role = .primary
    #expect(
      EventText(full: true).changes(from: one, to: after) == [
        "change resource name:r0 role:Primary suspended:no force-io-failures:no write-ordering:flush may_promote:no"
          + " promotion_score:10101"
      ])
  }

  @Test func countersAloneAreAChangeOnlyWithStatistics() {
    var after = one
    after.devices[0].written = 8
    #expect(EventText().changes(from: one, to: after).isEmpty)
    #expect(EventText(statistics: true).changes(from: one, to: after).count == 1)
    #expect(EventText(statistics: true).changes(from: one, to: one).isEmpty)
  }

  @Test func aResyncThatGoesOnTellsHowFarItIsAlsoWhenNothingHasMoved() throws {
    var peer = PeerDeviceStatus(volume: VolumeNumber(0), replication: .pausedSyncT, peerDisk: .upToDate)
    peer.resyncSuspendedByUser = true
    peer.outOfSync = 500
    peer.resync = ResyncStatus(totalSectors: 2000)
    var before = one
    before.connections = [ConnectionStatus(name: "b", peerNodeID: 1, state: .connected, peerRole: .primary)]
    before.connections[0].peerDevices = [peer]
    var after = before
    after.connections[0].peerDevices[0].replication = .syncTarget
    after.connections[0].peerDevices[0].resyncSuspendedByUser = false
    let begin = "change peer-device name:r0 peer-node-id:1 conn-name:b volume:0 replication:SyncTarget"
    #expect(EventText().changes(from: before, to: after) == [begin + " resync-suspended:no done:50.00"])
    let line = try #require(EventText(statistics: true).changes(from: before, to: after).first)
    #expect(
      line.hasPrefix(begin + " resync-suspended:no done:50.00 received:0 sent:0 out-of-sync:500 pending:0 unacked:0"))
  }

  @Test func severalVolumesAndNoPeerHaveTheKnownScore() {
    var two = one
    two.devices.append(DeviceStatus(volume: VolumeNumber(1), minor: 4, disk: .upToDate))
    #expect(two.promotionScore == 10201)
    two.devices[1].disk = .inconsistent
    #expect(two.promotionScore == 0)
  }
}
