// The lines of the log. Each begins with what it is about, in DRBD 9's way: `r0:` the resource, `r0/0:` the device of a volume,
// `r0 beta:` the connection, `r0/0 beta:` a volume of the connection.
import Base

/// What a line of the log is about.
enum LogSubject {
  case resource
  case device(Int)
  case connection
  case peerDevice(Int)
}

extension Engine {
  mutating func log(_ subject: LogSubject, _ text: String) { say(.info, subject, text) }
  mutating func warn(_ subject: LogSubject, _ text: String) { say(.warning, subject, text) }

  /// An error is written however much the peer says.
  mutating func fail(_ subject: LogSubject, _ text: String) { fx.append(.log(.error, line(subject, text))) }

  private mutating func say(_ level: LogLevel, _ subject: LogSubject, _ text: String) {
    let (admitted, unsaid) = peerLines.admits(at: now)
    if unsaid > 0 {
      fx.append(.log(.warning, line(.connection, "\(unsaid) more lines about what the peer sent were left out")))
    }
    if admitted { fx.append(.log(level, line(subject, text))) }
  }

  private func line(_ subject: LogSubject, _ text: String) -> String {
    switch subject {
    case .resource: "\(settings.name): \(text)"
    case .device(let v): "\(name(v)): \(text)"
    case .connection: "\(settings.name) \(settings.peerName): \(text)"
    case .peerDevice(let v): "\(name(v)) \(settings.peerName): \(text)"
    }
  }

  /// A no: said in the log, and to the operator who waits.
  mutating func refuse(_ reply: ReplyTo?, _ refusal: Refusal) {
    warn(.resource, "\(refusal.what): \(refusal.why)")
    if let reply { fx.append(.reply(reply, .refused(refusal))) }
  }
}
