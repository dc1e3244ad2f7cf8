// The text of /proc/drbd against what the 8.4.11 driver of Linux printed (Fixtures/metadata/*.proc, Fixtures/wire).
import Base
import Control
import Foundation
import Testing

@Suite struct RecordedProc {
  /// From a recorded paragraph to a snapshot: the states and counters as they stand.
  private func snapshot(_ states: String, _ counters: String) -> StatusSnapshot {
    let words = states.split(separator: " ").map(String.init)
    let fields = Fields(words)
    let numbers = Fields(counters.split(separator: " ").map(String.init))
    func pair(_ key: String) -> (String, String) {
      let parts = (fields[key] ?? "/").split(separator: "/").map(String.init)
      return (parts[0], parts[1])
    }
    let (roles, disks) = (pair("ro"), pair("ds"))
    var s = StatusSnapshot(name: "r", nodeID: 0, role: Role(word: roles.0) ?? .unknown)
    var device = DeviceStatus(volume: VolumeNumber(0), minor: 0, disk: DiskState(word: disks.0) ?? .unknown)
    device.written = UInt64(numbers.number("dw"))
    device.read = UInt64(numbers.number("dr"))
    device.activityLogWrites = UInt64(numbers.number("al"))
    device.bitmapWrites = UInt64(numbers.number("bm"))
    device.lowerPending = UInt64(numbers.number("lo"))
    device.upperPending = UInt64(numbers.number("ap"))
    s.devices = [device]
    let word = fields["cs"] == "WFConnection" ? "Connecting" : fields["cs"] ?? ""
    let below = ConnectionState.allCases.first { $0.connectionName == word && $0 <= .connected }
    var connection = ConnectionStatus(
      name: "p", peerNodeID: 1, state: below ?? .connected, peerRole: Role(word: roles.1) ?? .unknown)
    connection.protocolLetter = words[words.count - 2].count == 1 ? words[words.count - 2] : "C"
    var peer = PeerDeviceStatus(
      volume: VolumeNumber(0), replication: ConnectionState(replication: word),
      peerDisk: DiskState(word: disks.1) ?? .unknown)
    if below == .connected { peer.replication = .connected }
    let flags = Array(words.last ?? "")
    peer.resyncSuspendedByPeer = flags[2] == "p"
    peer.resyncSuspendedByUser = flags[3] == "u"
    peer.sent = UInt64(numbers.number("ns"))
    peer.received = UInt64(numbers.number("nr"))
    peer.pending = UInt64(numbers.number("pe"))
    peer.unacked = UInt64(numbers.number("ua"))
    peer.outOfSync = UInt64(numbers.number("oos"))
    connection.peerDevices = [peer]
    s.connections = [connection]
    return s
  }

  @Test func everyRecordedStateAndCounterLineIsTheSame() throws {
    let fixtures = Recording.directory.deletingLastPathComponent()
    var files = try FileManager.default.contentsOfDirectory(
      at: fixtures.appending(path: "metadata"), includingPropertiesForKeys: nil
    )
    .filter { $0.pathExtension == "proc" }
    for story in try FileManager.default.contentsOfDirectory(
      at: fixtures.appending(path: "wire"), includingPropertiesForKeys: nil)
    {
      files.append(story.appending(path: "packets.txt"))
    }
    var compared = 0
    for file in files where FileManager.default.fileExists(atPath: file.path) {
      let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map { line in
        line.range(of: "##    | ").map { String(line[$0.upperBound...]) } ?? String(line)
      }
      for (index, line) in lines.enumerated() where line.hasPrefix(" 0: cs:") && index + 1 < lines.count {
        // 8.4 has a protocol for a connection that is gone, two Primaries and states of others that are not ours to be in.
        guard lines[index + 1].contains("ns:"), lines[index + 1].contains(" wo:f") else { continue }
        let s = snapshot(line, lines[index + 1])
        let text = ProcText.volume(s, s.devices[0]).split(separator: "\n").map(String.init)
        #expect(text[0] == line, "\(file.lastPathComponent)")
        #expect(text[1] == lines[index + 1].replacingOccurrences(of: "ep:0", with: "ep:1"), "\(file.lastPathComponent)")
        compared += 1
      }
    }
    #expect(compared > 30)
  }

  @Test func aResyncHasABarAndAPace() throws {
    var s = snapshot(
      " 0: cs:SyncSource ro:Secondary/Secondary ds:UpToDate/Inconsistent C r-----",
      "    ns:1608 nr:0 dw:0 dr:4096 al:0 bm:0 lo:0 pe:2 ua:3 ap:0 ep:1 wo:f oos:16384")
    var resync = ResyncStatus(totalSectors: 20480 * 2)
    resync.elapsedMilliseconds = 4000
    resync.newerMark = .init(milliseconds: 4000, sectors: 8192)
    s.connections[0].peerDevices[0].resync = resync
    let lines = ProcText.volume(s, s.devices[0]).split(separator: "\n").map(String.init)
    #expect(lines[2] == "\t[===>................] sync'ed: 20.0% (16384/20480)K")
    #expect(lines[3] == "\tfinish: 0:00:16 speed: 1,024 (1,024) K/sec")
  }

  @Test func everyMinorHasItsParagraphInOrder() {
    var a = StatusSnapshot(name: "a", nodeID: 0, role: .secondary)
    a.devices = [DeviceStatus(volume: VolumeNumber(0), minor: 12, disk: .upToDate)]
    var b = StatusSnapshot(name: "b", nodeID: 0, role: .primary)
    b.devices = [DeviceStatus(volume: VolumeNumber(0), minor: 3, disk: .diskless)]
    let lines = ProcText.render([a, b]).split(separator: "\n")
    // Parsers of 8.4 take the major number of the first line, and no other than 8.
    #expect(lines[0].wholeMatch(of: /version: 8\.4\.[0-9]+ \(api:1\/proto:86-101\)/) != nil)
    #expect(lines[2].hasPrefix(" 3: cs:StandAlone ro:Primary/Unknown ds:Diskless/DUnknown   r-----"))
    #expect(lines[4].hasPrefix("12: cs:StandAlone"))
  }
}
