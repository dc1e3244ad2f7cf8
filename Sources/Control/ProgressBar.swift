// A resync or verify as one line with a bar, for terminals: `wait-sync`, `verify` and `monitor` show it. ASCII only.
import Base

extension PeerDeviceStatus {
  /// `drbd0/0 zabbix-server02 [=====>......] 45.20 % 103.4 MiB/s 0:12`
  public func progressLine(_ key: String, width: Int) -> String {
    let percent = percentDone ?? 0
    let rate = resync.map { fixed($0.newerMark.rate, decimals: 1) } ?? "0.0"
    let rest = secondsLeft.map(clock) ?? "--:--"
    let paused = replication == .pausedSyncS || replication == .pausedSyncT
    let tail = " \(fixed(percent, decimals: 2)) % " + (paused ? "paused" : "\(rate) MiB/s \(rest)")
    let room = width - key.count - tail.count - 3
    guard room >= 8 else { return String((key + tail).prefix(width)) }
    let filled = min(room, Int(percent / 100 * Double(room)))
    let bar = String(repeating: "=", count: filled) + (filled < room ? ">" : "")
    return "\(key) [\(bar)\(String(repeating: ".", count: room - bar.count))]\(tail)"
  }
}

/// `0:12`, `1:02:03`.
private func clock(_ seconds: UInt64) -> String {
  let minutes = seconds / 60
  let tail = "\(seconds % 60 < 10 ? "0" : "")\(seconds % 60)"
  guard minutes >= 60 else { return "\(minutes):\(tail)" }
  return "\(minutes / 60):\(minutes % 60 < 10 ? "0" : "")\(minutes % 60):\(tail)"
}

/// A number with that many decimals.
public func fixed(_ value: Double, decimals: Int) -> String {
  var scale: UInt64 = 1
  for _ in 0..<decimals { scale *= 10 }
  let units = UInt64((max(0, min(value, 1e12)) * Double(scale)).rounded())
  guard decimals > 0 else { return "\(units)" }
  let fraction = String(units % scale)
  return "\(units / scale)." + String(repeating: "0", count: decimals - fraction.count) + fraction
}
