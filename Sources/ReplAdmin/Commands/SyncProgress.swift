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

  /// Leaves the bars as they were shown last.
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
      text += "\r" + row.peer.progressLine(row.key, width: width) + "\u{1B}[K" + (index + 1 < rows.count ? "\n" : "")
    }
    console.out(text)
    drawnLines = rows.count
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
}
