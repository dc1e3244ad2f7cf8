// A change of the role that the server has carried out by the low-level command, as an operator would: the daemon decides, the device
// comes and goes, and what the command says is kept for the log.
import BlockIO
import Control
import Glibc

final class RoleCommand {
  let promotes: Bool
  private var child: Child
  private let output: Int32

  /// Readable when it has ended.
  var descriptor: Int32 { child.descriptor }

  init(promotes: Bool, _ resource: String, _ files: RunFiles) throws(ChildRefusal) {
    self.promotes = promotes
    let words = ["replsetup", promotes ? "primary" : "secondary", resource, "--automatic"]
    let name = words.joined(separator: " ")
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw ChildRefusal(command: name, error: Errno(errno)) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    defer { close(ends[1]) }
    do throws(ChildRefusal) {
      child = try Child(
        program: words, at: RoleCommand.program, environment: RoleCommand.environment(files), log: ends[1])
    } catch {
      close(ends[0])
      throw error
    }
    output = ends[0]
  }

  deinit { close(output) }

  /// What came of it; nil while it runs.
  func result() -> (ok: Bool, text: String)? {
    guard let exit = child.reap() else { return nil }
    var bytes = [UInt8](repeating: 0, count: 16 << 10)
    let got = max(0, read(output, &bytes, bytes.count))
    let lines = String(decoding: bytes[..<got], as: UTF8.self).split(separator: "\n")
    let text = lines.joined(separator: "; ")
    return (exit == .status(0), text.isEmpty ? "it ended with \(exit) and said nothing" : text)
  }

  /// `repladm` names itself when it starts the server; a unit does not.
  private static var program: String {
    if let named = getenv("REPLADM") { return String(cString: named) }
    if let own = linkTarget("/proc/self/exe"), let slash = own.lastIndex(of: "/") {
      let beside = String(own[...slash]) + "repladm"
      if access(beside, X_OK) == 0 { return beside }
    }
    return "/usr/sbin/repladm"
  }

  private static func environment(_ files: RunFiles) -> [String] {
    var words = ["\(RunFiles.environmentKey)=\(files.directory)"]
    var place = environ
    while let word = place.pointee {
      let text = String(cString: word)
      if !text.hasPrefix(RunFiles.environmentKey + "=") { words.append(text) }
      place += 1
    }
    return words
  }
}
