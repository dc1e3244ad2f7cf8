// Lines of the device server on standard error, which is the log of the resource: time, resource, who speaks, and what.
import Glibc

struct ServerLog {
  let resource: String

  /// Who cannot be written to is not told.
  func write(_ text: String) {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    var parts = tm()
    localtime_r(&now.tv_sec, &parts)
    func two(_ n: Int32) -> String { n < 10 ? "0\(n)" : "\(n)" }
    let fraction = String(String(now.tv_nsec / 1_000_000 + 1000).dropFirst())
    let time =
      "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
      + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(fraction)"
    let line = Array("\(time) \(resource): repl-device: \(text)\n".utf8)
    _ = Glibc.write(STDERR_FILENO, line, line.count)
  }
}
