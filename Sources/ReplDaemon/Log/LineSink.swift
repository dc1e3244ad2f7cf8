// Log lines on standard error: with the journal's level prefix when that is the journal, else with the time in front.
import Base
import BlockIO
import Glibc
import Logging
import Synchronization

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

/// Where the lines go.
final class LineSink: Sendable {
  private struct State {
    var writer: LineWriter
    var repetitions: Repetitions
    /// When it is tried again to write what found no room.
    var again: Instant?
    /// The next moment at which something is left to be said.
    var deadline: Instant? {
      guard let again else { return repetitions.deadline }
      return min(again, repetitions.deadline ?? again)
    }
  }
  private let state: Mutex<State>
  private let isJournal: Bool
  /// What of a line is written at most: a pipe takes so much as a whole or not at all.
  static let longestLine = 4000

  init(descriptor: Int32 = 2, at now: Instant = Clock.now()) {
    isJournal = StandardError.isJournal(descriptor)
    state = Mutex(State(writer: LineWriter(descriptor: descriptor), repetitions: Repetitions(at: now)))
  }

  func write(_ level: Logger.Level, _ text: String, at now: Instant = Clock.now()) {
    state.withLock { state in
      sayDue(&state, now)
      if state.repetitions.admits(text, level, at: now) { put(level, text, &state, now) }
    }
  }

  var deadline: Instant? { state.withLock { $0.deadline } }

  func keepTime(at now: Instant) {
    state.withLock { state in
      guard let due = state.deadline, now >= due else { return }
      sayDue(&state, now)
      _ = catchUp(&state, now)
    }
  }

  func end(at now: Instant = Clock.now()) {
    state.withLock { state in
      for line in state.repetitions.takeAll() { put(line.level, line.text, &state, now) }
    }
  }

  private func sayDue(_ state: inout State, _ now: Instant) {
    guard let due = state.repetitions.deadline, now >= due else { return }
    for line in state.repetitions.due(at: now) { put(line.level, line.text, &state, now) }
  }

  private func put(_ level: Logger.Level, _ text: String, _ state: inout State, _ now: Instant) {
    if catchUp(&state, now) { state.writer.put(line(level, text)) } else { state.writer.lose() }
    state.again = state.writer.isBehind ? now + .seconds(1) : nil
  }

  /// The rest of a line that was cut, and how many were lost after it. False: there is no room yet.
  private func catchUp(_ state: inout State, _ now: Instant) -> Bool {
    guard state.writer.isBehind else { return true }
    defer { state.again = state.writer.isBehind ? now + .seconds(1) : nil }
    guard state.writer.finishLine() else { return false }
    let lost = state.writer.lost
    if lost == 0 { return true }
    let lines = lost == 1 ? "1 line of the log was" : "\(lost) lines of the log were"
    return state.writer.report(line(.warning, "\(lines) lost here: there was no room for more"))
  }

  private func line(_ level: Logger.Level, _ text: String) -> [UInt8] {
    var line = isJournal ? "<\(LineSink.priority(level))>" : "\(LineSink.time()) \(LineSink.word(level))"
    // One line each: what a peer or a client sent must not look like a line of ours.
    for scalar in text.unicodeScalars.prefix(LineSink.longestLine) {
      line.unicodeScalars.append(scalar.value < 0x20 ? " " : scalar)
    }
    return Array(line.utf8.prefix(LineSink.longestLine)) + [UInt8(ascii: "\n")]
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
