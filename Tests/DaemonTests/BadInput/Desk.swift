// Two nodes as an operator has them: command lines of the real `repladm`, daemons that it starts. Law of these tests: every
// refusal is a sentence that can be read aloud and ends in time, and whatever a desk starts ends with it.
import Base
import Control
import Foundation
import Glibc
import Testing

/// What a command line came to.
struct Said {
  var line: String
  var code: Int32
  var out: String
  var err: String
  var seconds: Double
}

final class Desk {
  let bench: Bench
  /// Mounts and loop devices to be taken away at the end, last one first.
  private var undo: [() -> Void] = []

  init(net: String = "", disk: String = "", mebibytes: (Int, Int) = (16, 16), volumes: Int = 1) throws {
    bench = try Bench(
      net: "socket-check-timeout 1; " + net, disk: disk, volumes: volumes, mebibytes: mebibytes)
  }

  deinit {
    for step in undo.reversed() { step() }
    for node in [bench.a, bench.b] {
      killDaemon(node)
      // The device server outlives it, with the names of the devices.
      guard access(node.files.deviceSocket("r0"), F_OK) == 0 else { continue }
      do { succeeds(try type("down --force r0", on: node, [:])) } catch { print("left behind: \(node.runDirectory)") }
    }
  }

  var config: String { bench.a.config }

  func afterwards(_ step: @escaping () -> Void) { undo.append(step) }

  // MARK: Typing

  @discardableResult
  func a(_ line: String, _ surroundings: [String: String] = [:]) throws -> Said {
    try type(line, on: bench.a, surroundings)
  }
  @discardableResult
  func b(_ line: String, _ surroundings: [String: String] = [:]) throws -> Said {
    try type(line, on: bench.b, surroundings)
  }

  /// Runs `repladm LINE` to its end. What does not end within half a minute hangs.
  func type(_ line: String, on node: Node, _ surroundings: [String: String]) throws -> Said {
    try run(try program("repladm"), line.split(separator: " ").map(String.init), on: node, surroundings)
  }

  /// Runs a program to its end.
  func run(
    _ path: String, _ arguments: [String], on node: Node, _ surroundings: [String: String] = [:]
  ) throws -> Said {
    let line = arguments.joined(separator: " ")
    let process = Process()
    process.executableURL = URL(filePath: path)
    process.arguments = arguments
    var environment = [
      "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin:/usr/sbin:/sbin", "REPL_CONFIG": config,
      "REPL_RUN_DIR": node.runDirectory, "REPL_STATE_DIR": node.runDirectory + ".state", "__DRBD_NODE__": node.name,
    ]
    for (name, value) in surroundings { environment[name] = value }
    process.environment = environment
    let out = try Paper(in: bench.directory)
    let err = try Paper(in: bench.directory)
    process.standardOutput = out.handle
    process.standardError = err.handle
    process.standardInput = FileHandle.nullDevice
    let begun = ContinuousClock.now
    try process.run()
    do {
      try until("repladm \(line) ends", within: 30) { !process.isRunning }
    } catch {
      kill(process.processIdentifier, SIGKILL)
      throw error
    }
    let took = (ContinuousClock.now - begun).components
    return Said(
      line: line, code: process.terminationStatus, out: try out.text(), err: try err.text(),
      seconds: Double(took.seconds) + Double(took.attoseconds) / 1e18)
  }

  /// Metadata on both, both up; connected unless told otherwise.
  func up(connected: Bool = true) throws {
    for node in [bench.a, bench.b] {
      succeeds(try type("create-md r0", on: node, [:]))
      succeeds(try type("up --no-device r0", on: node, [:]))
    }
    if connected { for node in [bench.a, bench.b] { succeeds(try type("wait-connect r0", on: node, [:])) } }
  }

  /// Both up, `a` Primary, both disks with the same data.
  func synced() throws {
    try up()
    succeeds(try a("primary --force r0"))
    try bench.inSync()
  }

  // MARK: Daemons

  func pid(of node: Node) -> pid_t? {
    FileManager.default.contents(atPath: node.files.pidFile("r0"))
      .flatMap { pid_t(String(decoding: $0, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)) }
  }

  /// As the out-of-memory killer does. Its files stay behind.
  func killDaemon(_ node: Node) {
    guard let pid = pid(of: node), kill(pid, SIGKILL) == 0 else { return }
    _ = hasHappened { kill(pid, 0) != 0 || isZombie(pid) }
  }

  private func isZombie(_ pid: pid_t) -> Bool {
    guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else { return true }
    return String(decoding: data, as: UTF8.self).split(separator: ")").last?.hasPrefix(" Z") ?? true
  }

  func log(_ node: Node) -> String {
    FileManager.default.contents(atPath: node.files.log("r0")).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }

  /// The file both nodes read, with every `old` replaced.
  func edit(_ old: String, _ new: String) throws {
    let text = try String(contentsOfFile: config, encoding: .utf8)
    try #require(text.contains(old))
    try text.replacingOccurrences(of: old, with: new).write(toFile: config, atomically: true, encoding: .utf8)
  }

  /// A configuration of its own for one command line: the desk's with `old` replaced.
  func otherConfig(_ old: String, _ new: String) throws -> [String: String] {
    let text = try String(contentsOfFile: config, encoding: .utf8)
    try #require(text.contains(old))
    let path = "\(bench.directory)/other-\(UInt32.random(in: 0...UInt32.max)).res"
    try text.replacingOccurrences(of: old, with: new).write(toFile: path, atomically: true, encoding: .utf8)
    return ["REPL_CONFIG": path]
  }
}

/// A file that a program writes on; a daemon that inherited it does not keep anybody waiting.
private final class Paper {
  let handle: FileHandle
  private let path: String

  init(in directory: String) throws {
    path = "\(directory)/paper-\(UInt32.random(in: 0...UInt32.max))"
    _ = FileManager.default.createFile(atPath: path, contents: nil)
    handle = try FileHandle(forWritingTo: URL(filePath: path))
  }

  deinit { unlink(path) }

  func text() throws -> String { try String(contentsOfFile: path, encoding: .utf8) }
}

// MARK: What is expected

func succeeds(_ said: Said, location: SourceLocation = #_sourceLocation) {
  #expect(said.code == 0, "repladm \(said.line): \(said.err)", sourceLocation: location)
}

/// The command refuses with this code, in words that contain these parts, and soon.
func refuses(
  _ said: Said, _ code: Int32, _ parts: String..., within seconds: Double = 15,
  location: SourceLocation = #_sourceLocation
) {
  let what = "repladm \(said.line) ended with \(said.code) after \(said.seconds) s and said:\n\(said.err)"
  #expect(said.code == code, "\(what)", sourceLocation: location)
  for part in parts { #expect(said.err.contains(part), "'\(part)' is missing. \(what)", sourceLocation: location) }
  #expect(said.seconds < seconds, "\(what)", sourceLocation: location)
  #expect(readsWell(said.err), "this does not read well. \(what)", sourceLocation: location)
}

/// Lines with something in them, no seams of sentences glued together, nothing of the program's own insides.
func readsWell(_ text: String) -> Bool {
  guard text.hasSuffix("\n"), !text.contains("\n\n") else { return false }
  for seam in [".:", "..", ": :", ",.", " .", "::", "Optional(", "Error(", "  r0"] where text.contains(seam) {
    return false
  }
  return text.split(separator: "\n").allSatisfy { $0.count < 500 }
}

let isRoot = geteuid() == 0
let canLoop = isRoot && access("/dev/loop-control", R_OK) == 0

/// Runs a program of the system to its end; throws unless it succeeds.
@discardableResult
func shell(_ command: String, with interpreter: String = "/bin/sh") throws -> String {
  let process = Process()
  process.executableURL = URL(filePath: interpreter)
  process.arguments = ["-c", "PATH=$PATH:/usr/sbin:/sbin; " + command]
  let pipe = Pipe()
  process.standardOutput = pipe
  process.standardError = FileHandle.nullDevice
  try process.run()
  let said = try pipe.fileHandleForReading.readToEnd() ?? Data()
  process.waitUntilExit()
  guard process.terminationStatus == 0 else {
    throw Timeout(description: "\(command) ended with \(process.terminationStatus)")
  }
  return String(decoding: said, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
}

func isInstalled(_ name: String) -> Bool {
  ["/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/"].contains { access($0 + name, X_OK) == 0 }
}
