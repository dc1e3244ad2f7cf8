// The daemon's voice: log lines of the engine as they are, and its own. Lines that repeat themselves are counted instead of
// written (Repetitions), and no reader can stop the thread that writes them (LineWriter).
import Base
import Engine
import Logging

struct Journal: Sendable {
  private let logger: Logger
  private let sink: LineSink

  init() {
    let sink = LineSink()
    self.sink = sink
    logger = Logger(label: "repld", factory: { _ in LineLogHandler(sink) })
  }

  func log(_ level: LogLevel, _ text: String) {
    switch level {
    case .info: info(text)
    case .warning: warning(text)
    case .error: error(text)
    }
  }

  func info(_ text: String) { logger.info("\(text)") }
  func warning(_ text: String) { logger.warning("\(text)") }
  func error(_ text: String) { logger.error("\(text)") }

  /// When something is left to be said: how often a line came again, or how many were lost.
  var deadline: Instant? { sink.deadline }
  func keepTime(at now: Instant) { sink.keepTime(at: now) }
  /// Says what is left to be said.
  func end() { sink.end() }
}
