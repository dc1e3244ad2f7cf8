// How a resync goes, for whoever waits for it: on a terminal bars that are redrawn in place, otherwise a plain line on
// stderr for every tenth that is done and every change of state.
import Base
import Control

struct SyncProgress {
  private let console: Console
  private var drawnLines = 0
  /// What was last said about a peer device: its replication word and the tenths done.
  private var said: [String: String] = [:]

  init(console: Console) { self.console = console }

  mutating func show(_ snapshot: StatusSnapshot) {
    var rows: [(key: String, peer: PeerDeviceStatus)] = []
    for connection in snapshot.connections {
      for peer in connection.peerDevices where peer.resync != nil || peer.replication > .connected {
        rows.append(("\(snapshot.name)/\(peer.volume.value) \(connection.name)", peer))
      }
    }
    if console.outputIsTerminal { draw(rows) } else { tell(rows) }
  }

  /// Leaves the bars full: whoever waited to the end sees the end.
  mutating func finish() {
    guard drawnLines > 0 else { return }
    console.out("\n")
    drawnLines = 0
  }

  private mutating func draw(_ rows: [(key: String, peer: PeerDeviceStatus)]) {
    guard !rows.isEmpty else { return }
    var text = drawnLines > 1 ? "\u{1B}[\(drawnLines - 1)A" : ""
    let width = max(20, console.columns - 1)
    for (index, row) in rows.enumerated() {
      text += "\r" + line(row.key, row.peer, width: width) + "\u{1B}[K" + (index + 1 < rows.count ? "\n" : "")
    }
    console.out(text)
    drawnLines = rows.count
  }

  /// `drbd0/0 zabbix-server02 [=====>......] 45.20 % 103.4 MiB/s 0:12`
  private func line(_ key: String, _ peer: PeerDeviceStatus, width: Int) -> String {
    let percent = peer.percentDone ?? 0
    let rate = peer.resync.map { fixed($0.newerMark.rate, decimals: 1) } ?? "0.0"
    let rest = peer.secondsLeft.map(clock) ?? "--:--"
    let paused = peer.replication == .pausedSyncS || peer.replication == .pausedSyncT
    let tail = " \(fixed(percent, decimals: 2)) % " + (paused ? "paused" : "\(rate) MiB/s \(rest)")
    let room = width - key.count - tail.count - 3
    guard room >= 8 else { return String((key + tail).prefix(width)) }
    let filled = min(room, Int(percent / 100 * Double(room)))
    let bar = String(repeating: "=", count: filled) + (filled < room ? ">" : "")
    return "\(key) [\(bar)\(String(repeating: ".", count: room - bar.count))]\(tail)"
  }

  private mutating func tell(_ rows: [(key: String, peer: PeerDeviceStatus)]) {
    for row in rows {
      let percent = row.peer.percentDone ?? 0
      let state = "\(row.peer.replication.replicationName) \(Int(percent / 10))"
      guard said[row.key] != state else { continue }
      said[row.key] = state
      let rest = row.peer.secondsLeft.map { " eta:\($0)" } ?? ""
      // stdout is for scripts, and DRBD says nothing there.
      console.err(
        "\(row.key) replication:\(row.peer.replication.replicationName) done:\(fixed(percent, decimals: 2))\(rest)\n")
    }
  }

  private func clock(_ seconds: UInt64) -> String {
    let minutes = seconds / 60
    let tail = "\(seconds % 60 < 10 ? "0" : "")\(seconds % 60)"
    guard minutes >= 60 else { return "\(minutes):\(tail)" }
    return "\(minutes / 60):\(minutes % 60 < 10 ? "0" : "")\(minutes % 60):\(tail)"
  }
}

/// A number with that many decimals.
func fixed(_ value: Double, decimals: Int) -> String {
  var scale: UInt64 = 1
  for _ in 0..<decimals { scale *= 10 }
  let units = UInt64((max(0, min(value, 1e12)) * Double(scale)).rounded())
  guard decimals > 0 else { return "\(units)" }
  let fraction = String(units % scale)
  return "\(units / scale)." + String(repeating: "0", count: decimals - fraction.count) + fraction
}
