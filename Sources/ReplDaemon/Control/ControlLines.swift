// Lines of the control socket to requests, and replies to lines: JSON as the Codable types of Control write it. Hostile
// input ends here with one sentence.
import Base
import Control
import Engine
import FoundationEssentials

enum ControlLines {
  /// The request, or what to answer instead.
  static func request(_ line: [UInt8]) -> Result<ControlRequest, ControlRefusal> {
    struct Head: Decodable { var version: Int }
    let data = Data(line)
    do {
      let head = try JSONDecoder().decode(Head.self, from: data)
      guard head.version == ControlRequest.currentVersion else {
        return .failure(
          .notUnderstood("this repld speaks version \(ControlRequest.currentVersion), not \(head.version)"))
      }
      return .success(try JSONDecoder().decode(ControlRequest.self, from: data))
    } catch {
      return .failure(.notUnderstood("the line is no request"))
    }
  }

  static func line(_ reply: ControlReply) -> [UInt8] {
    do {
      return Array(try JSONEncoder().encode(reply)) + [ControlLine.end]
    } catch {
      preconditionFailure("a reply that cannot be written: \(error)")
    }
  }
}

extension ControlRefusal {
  /// The engine's no, with the number's own words where the number is known.
  init(_ refusal: EngineRefusal) {
    if let number = refusal.number.flatMap({ RefusalNumber(rawValue: Int32(clamping: $0)) }) {
      self.init(number, why: refusal.why, next: refusal.next, exitCode: UInt8(clamping: refusal.exit))
    } else {
      self.init(refusal.what, why: refusal.why, next: refusal.next, exitCode: UInt8(clamping: refusal.exit))
    }
  }
}
