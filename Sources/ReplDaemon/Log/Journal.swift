// The daemon's log: the lines of the engine, and its own, which begin with the resource (`r0:`), the connection (`r0 beta:`)
// or a volume (`r0/0:`, `r0/0 beta:`), too.
// Lines that repeat themselves are counted instead of written (Repetitions), and no reader can stop the thread that writes them
// (LineWriter).
import Base
import Engine
import Logging

struct Journal: Sendable {
  private let logger: Logger
  private let sink: LineSink
  private let resource: String

  init(resource: String) {
    self.resource = resource
    let sink = LineSink()
    self.sink = sink
    logger = Logger(label: "repld", factory: { _ in LineLogHandler(sink) })
  }

  /// A line of the engine, which names what it is about itself.
  func log(_ level: LogLevel, _ text: String) {
    switch level {
    case .info: logger.info("\(text)")
    case .warning: logger.warning("\(text)")
    case .error: logger.error("\(text)")
    }
  }

  /// Lines of the daemon about the resource, or about a volume of it, or about its connection to `peer`.
  func info(_ text: String, _ volume: VolumeNumber? = nil, peer: String? = nil) { log(.info, line(text, peer, volume)) }
  func warning(_ text: String, peer: String? = nil) { log(.warning, line(text, peer)) }
  func error(_ text: String, peer: String? = nil) { log(.error, line(text, peer)) }

  private func line(_ text: String, _ peer: String?, _ volume: VolumeNumber? = nil) -> String {
    let subject = volume.map { "\(resource)/\($0.value)" } ?? resource
    return if let peer { "\(subject) \(peer): \(text)" } else { "\(subject): \(text)" }
  }

  /// When something is left to be said: how often a line came again, or how many were lost.
  var deadline: Instant? { sink.deadline }
  func keepTime(at now: Instant) { sink.keepTime(at: now) }
  /// Says what is left to be said.
  func end() { sink.end() }
}
