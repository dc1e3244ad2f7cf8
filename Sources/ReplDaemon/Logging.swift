// Log lines on standard error: with the journal's level prefix when it listens, else with the time in front. Law: a reader
// that does not read never stops the ring thread; what could not be written is counted and said later.
import Base
import BlockIO
import Glibc
import Logging

struct LineLogHandler: LogHandler {
  var logLevel = Logger.Level.info
  var metadata = Logger.Metadata()
  private let sink: LineSink

  init(_ sink: LineSink) { self.sink = sink }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) { sink.write(event.level, event.message.description) }
}

/// Where the lines go. One thread writes them.
struct LineSink: Sendable {
  enum Way { case plain, socket }
  private let way: Way
  private let isJournal: Bool
  private let descriptor: Int32

  init(descriptor: Int32 = 2) {
    self.descriptor = descriptor
    isJournal = getenv("JOURNAL_STREAM") != nil
    var status = stat()
    let known = fstat(descriptor, &status) == 0
    way = known && status.st_mode & S_IFMT == S_IFSOCK ? .socket : .plain
    if known, status.st_mode & S_IFMT == S_IFIFO {
      _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }
  }

  func write(_ level: Logger.Level, _ text: String) {
    var line = isJournal ? "<\(LineSink.priority(level))>" : "\(LineSink.time()) \(LineSink.word(level))"
    // One line each: what a peer or a client sent must not look like a line of ours.
    for scalar in text.unicodeScalars { line.unicodeScalars.append(scalar.value < 0x20 ? " " : scalar) }
    line += "\n"
    var bytes = Array(line.utf8)
    let count = bytes.count
    _ =
      way == .socket
      ? send(descriptor, &bytes, count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
      : Glibc.write(descriptor, &bytes, count)
  }

  private static func priority(_ level: Logger.Level) -> Int {
    switch level {
    case .trace, .debug: 7
    case .info: 6
    case .notice: 5
    case .warning: 4
    case .error: 3
    case .critical: 2
    }
  }

  private static func word(_ level: Logger.Level) -> String {
    switch level {
    case .warning: "warning: "
    case .error, .critical: "error: "
    default: ""
    }
  }

  private static func time() -> String {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    var parts = tm()
    localtime_r(&now.tv_sec, &parts)
    func two(_ n: Int32) -> String { n < 10 ? "0\(n)" : "\(n)" }
    let milliseconds = now.tv_nsec / 1_000_000
    let fraction = String(String(milliseconds + 1000).dropFirst())
    return "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) "
      + "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)).\(fraction)"
  }
}
