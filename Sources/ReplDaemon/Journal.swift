// The daemon's voice: log lines of the engine as they are, and its own.
import Engine
import Logging

struct Journal: Sendable {
  private let logger: Logger

  init() {
    let sink = LineSink()
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
}
