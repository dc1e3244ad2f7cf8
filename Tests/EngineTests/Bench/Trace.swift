// What happened, printed as it happens, when the environment asks for it: REPL_TRACE=1 swift test --filter ...
import Foundation

enum Trace {
  static let isOn = ProcessInfo.processInfo.environment["REPL_TRACE"] != nil

  static func note(_ node: String, _ arrow: String, _ what: @autoclosure () -> Any) {
    if isOn { FileHandle.standardError.write(Data("\(node) \(arrow) \(what())\n".utf8)) }
  }
}
