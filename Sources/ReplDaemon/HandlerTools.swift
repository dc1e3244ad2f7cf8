// What a handler finds first: the tools of this daemon, under their own names and under DRBD's, in a directory of the run
// directory. A script that says `drbdsetup` asks this daemon then, also where drbd-utils are installed. Law: the links are looked at
// before each handler, because a new version may lie elsewhere.
import BlockIO
import Config
import Control
import Glibc

struct HandlerTools {
  static let names = ["repladm", "replsetup", "replmeta", "drbdadm", "drbdsetup", "drbdmeta"]
  /// Where else programs are looked for.
  static let path = "/sbin:/bin:/usr/sbin:/usr/bin"

  let directory: String
  /// What the tools need to know to reach this daemon: `NAME=VALUE`.
  let surroundings: [String]

  init(_ setup: Setup) {
    directory = setup.files.tools
    var lines = ["\(RunFiles.environmentKey)=\(setup.files.directory)", "REPL_CONFIG=\(setup.mainFile)"]
    lines.append("__DRBD_NODE__=\(setup.host)")
    if let state = getenv(SizeRecords.environmentKey) {
      lines.append("\(SizeRecords.environmentKey)=\(String(cString: state))")
    }
    surroundings = lines
  }

  /// `PATH=...`. What keeps the tools from being found is said; then the others are.
  func searchPath(_ log: (String) -> Void) -> String {
    guard let program = HandlerTools.program else {
      log("repladm is not installed beside repld: handlers find the tools of \(HandlerTools.path)")
      return "PATH=\(HandlerTools.path)"
    }
    do throws(Fault) {
      try makeDirectory()
      for name in HandlerTools.names { try link(name, to: program) }
    } catch {
      log("handlers find the tools of \(HandlerTools.path) only: \(error.text)")
      return "PATH=\(HandlerTools.path)"
    }
    return "PATH=\(directory):\(HandlerTools.path)"
  }

  private struct Fault: Error {
    let text: String
    init(_ what: String) { text = what }
    init(making path: String) {
      text = "making \(path): " + (strerror(errno).map { String(cString: $0) } ?? "error \(errno)")
    }
  }

  private func makeDirectory() throws(Fault) {
    guard mkdir(directory, 0o755) != 0 else { return }
    guard errno == EEXIST else { throw Fault(making: directory) }
    var status = stat()
    guard lstat(directory, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, status.st_mode & 0o022 == 0,
      status.st_uid == geteuid() || status.st_uid == 0
    else { throw Fault("\(directory) is no directory of this user: remove it") }
  }

  private func link(_ name: String, to program: String) throws(Fault) {
    let path = "\(directory)/\(name)"
    if HandlerTools.target(of: path) == program { return }
    let temporary = "\(directory)/.\(name).\(getpid())"
    unlink(temporary)
    guard symlink(program, temporary) == 0, rename(temporary, path) == 0 else { throw Fault(making: path) }
  }

  /// `repladm`: beside this program, else where programs are.
  private static var program: String? {
    let own = target(of: "/proc/self/exe").flatMap { path in path.lastIndex(of: "/").map { String(path[..<$0]) } }
    let directories = (own.map { [$0] } ?? []) + path.split(separator: ":").map(String.init)
    return directories.map { "\($0)/repladm" }.first { access($0, X_OK) == 0 }
  }

  private static func target(of path: String) -> String? {
    var buffer = [CChar](repeating: 0, count: 4096)
    let length = readlink(path, &buffer, buffer.count)
    return length >= 0 ? String(decoding: buffer[0..<length].map(UInt8.init(bitPattern:)), as: UTF8.self) : nil
  }
}
