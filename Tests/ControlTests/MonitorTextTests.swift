// The picture of `monitor`: what it says of each state, and that it fits every terminal.
import Base
import Control
import Testing

@Suite("Monitor") struct MonitorTextTests {
  private func snapshot(_ name: String = "r0") -> StatusSnapshot {
    var one = StatusSnapshot(name: name, nodeID: 0, role: .primary)
    var device = DeviceStatus(volume: VolumeNumber(0), minor: 7, disk: .upToDate)
    device.devicePaths = ["/dev/drbd7"]
    device.size = 10 << 20
    device.written = 1 << 20
    device.isOpen = true
    one.devices = [device]
    var connection = ConnectionStatus(name: "beta", peerNodeID: 1, state: .connected, peerRole: .secondary)
    connection.protocolLetter = "C"
    connection.peerDevices = [
      PeerDeviceStatus(volume: VolumeNumber(0), replication: .connected, peerDisk: .upToDate)
    ]
    one.connections = [connection]
    return one
  }

  private func lines(_ resources: [MonitoredResource], width: Int = 80) -> [String] {
    MonitorText(width: width).lines(resources).map(\.text)
  }

  @Test("states, sizes, and rates of what lies between two pictures")
  func picture() {
    var later = snapshot()
    later.devices[0].written += 3072
    later.connections[0].peerDevices[0].sent = 1024
    #expect(
      lines([MonitoredResource("r0", .running(later), earlier: snapshot(), seconds: 2)]) == [
        "r0  Primary", "  0 /dev/drbd7  UpToDate  10 GiB  in use  read 0 KiB/s  write 1.5 MiB/s",
        "  beta  Connected  Secondary  protocol C",
        "    0 Established  UpToDate  out of sync 0 KiB  sent 512 KiB/s  received 0 KiB/s",
      ])
    #expect(lines([MonitoredResource("r0", .running(later))])[1].hasSuffix("read -  write -"))
  }

  @Test("a resync has a bar with rate and time left, also in few columns")
  func bar() {
    var syncing = snapshot()
    syncing.connections[0].peerDevices[0].replication = .syncSource
    syncing.connections[0].peerDevices[0].peerDisk = .inconsistent
    syncing.connections[0].peerDevices[0].outOfSync = 5000
    var resync = ResyncStatus(totalSectors: 20_000)
    resync.newerMark = .init(milliseconds: 1000, sectors: 2048)
    syncing.connections[0].peerDevices[0].resync = resync
    let bar = lines([MonitoredResource("r0", .running(syncing))]).last ?? ""
    #expect(bar.hasPrefix("      [====") && bar.hasSuffix("] 50.00 % 1.0 MiB/s 0:05") && bar.count == 79)
    #expect(lines([MonitoredResource("r0", .running(syncing))], width: 30).last == "      50.00 % 1.0 MiB/s 0:05")
  }

  @Test("latencies are those since the earlier picture; none without requests")
  func latencies() {
    var before = snapshot()
    var after = before
    // 100 writes of 1 ms are old; 98 of 2 ms and 2 of 40 ms are new.
    var counts = Latencies()
    for _ in 0..<100 { counts.add(.write, .milliseconds(1)) }
    before.devices[0].latencies = counts.table
    for i in 0..<100 {
      counts.add(.write, .milliseconds(i < 98 ? 2 : 40))
      counts.add(.peer, .milliseconds(1))
    }
    after.devices[0].latencies = counts.table
    let text = lines([MonitoredResource("r0", .running(after), earlier: before, seconds: 1)])
    #expect(text[2] == "    ms:  write 2.76 (p99 <50)")
    #expect(text[3] == "    write:  peer 1.00")
    #expect(lines([MonitoredResource("r0", .running(after), earlier: after, seconds: 1)]).count == 4)
    // A daemon that began anew counts from zero.
    var anew = snapshot()
    var few = Latencies()
    few.add(.write, .milliseconds(4))
    anew.devices[0].latencies = few.table
    #expect(
      lines([MonitoredResource("r0", .running(anew), earlier: after, seconds: 1)])[2] == "    ms:  write 4.00 (p99 <5)")
  }

  @Test("what is wrong is said, and counted")
  func wrong() {
    var alone = snapshot("r1")
    alone.suspendedByUser = true
    alone.connections[0].state = .standAlone
    alone.connections[0].refusedBecause = "split brain\u{1B}[2J"
    let all = [
      MonitoredResource("r0", .running(snapshot("r0"))), MonitoredResource("r1", .running(alone)),
      MonitoredResource("r2", .notRunning), MonitoredResource("r3", .failed("repld does not answer")),
    ]
    let text = lines(all)
    #expect(text.contains("r1  Primary  I/O suspended: user"))
    #expect(text.contains("  beta  StandAlone"))
    #expect(text.contains("    given up: split brain?[2J"), "no control character reaches the terminal")
    #expect(text.contains("r2  repld does not run: repladm up r2"))
    #expect(text.contains("r3  repld does not answer"))
    #expect(MonitorText.summary(all).text == "4 resources, 3 not in order")
    #expect(MonitorText.summary([all[0]]).text == "1 resource, in order")
  }

  @Test(
    "the screen is never larger than the terminal, and shows the line that was scrolled to",
    arguments: [1, 2, 3, 10, 24])
  func fits(_ rows: Int) {
    let all = (0..<12).map { MonitoredResource("r\($0)", .running(snapshot("r\($0)"))) }
    for columns in [1, 19, 40, 80, 200] {
      for note in [nil, "the file cannot be read"] {
        for help in [false, true] {
          var screen = MonitorScreen(columns: columns, rows: rows, host: "alpha")
          screen.note = note
          screen.showsHelp = help
          screen.top = .max
          let lines = screen.lines(all, clock: "12:34:56")
          #expect(lines.count == rows)
          #expect(lines.allSatisfy { $0.rendered(width: columns, colours: false).count <= columns })
        }
      }
    }
    var screen = MonitorScreen(columns: 80, rows: rows, host: "alpha")
    screen.top = .max
    let last = screen.lines(all, clock: "12:34:56")
    if rows > 2 {
      // The last paragraph by name is r9.
      #expect(last[rows - 2].text.hasPrefix("    0 Established"))
      #expect(last[rows - 1].text.contains("of 59 lines"))
    }
    #expect(screen.top == 59 - max(0, rows - 2))
  }

  @Test("colours repeat words, and can be left out")
  func colours() {
    var line = MonitorLine("disk ")
    line.add("UpToDate", .good)
    #expect(line.rendered(width: 80, colours: false) == "disk UpToDate")
    #expect(line.rendered(width: 80, colours: true) == "disk \u{1B}[32mUpToDate\u{1B}[0m")
    #expect(line.rendered(width: 7, colours: true) == "disk \u{1B}[32mUp\u{1B}[0m")
  }
}
