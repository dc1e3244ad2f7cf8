// One `repld` of a bench and what a test says to it.
import Base
import BlockIO
import Control
import Foundation
import Glibc
import Testing

final class Node {
  let name: String
  let config: String
  let runDirectory: String
  private let directory: String
  private var child: Child?
  /// More of its environment.
  var variables: [String] = []

  init(_ name: String, _ directory: String, _ config: String) {
    self.name = name
    self.directory = directory
    self.config = config
    runDirectory = "\(directory)/\(name)"
  }

  var files: RunFiles { RunFiles(directory: runDirectory) }
  func disk(_ volume: Int) -> String { "\(directory)/\(name)-\(volume).img" }
  var logPath: String { "\(directory)/\(name).log" }
  var log: String {
    FileManager.default.contents(atPath: logPath).map { String(decoding: $0, as: UTF8.self) } ?? ""
  }

  private var environment: [String] {
    let inherited = ProcessInfo.processInfo.environment
    let kept = ["PATH", "LD_LIBRARY_PATH", "HOME"].compactMap { name in inherited[name].map { "\(name)=\($0)" } }
    return kept + [
      "REPL_CONFIG=\(config)", "REPL_RUN_DIR=\(runDirectory)", "REPL_STATE_DIR=\(runDirectory)",
      "__DRBD_NODE__=\(name)",
    ] + variables
  }

  // MARK: The process

  func spawn(_ arguments: [String] = ["r0"]) throws -> Child {
    let output = open(logPath, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    defer { close(output) }
    return try Child(program: [try program("repld")] + arguments, environment: environment, log: output)
  }

  func spawn(shell command: String) throws -> Child {
    let output = open(logPath, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    defer { close(output) }
    return try Child(shell: command, environment: environment, log: output)
  }

  /// Starts it and waits for its control socket.
  func start(_ arguments: [String] = ["r0"]) throws {
    child = try spawn(arguments)
    try until("\(name) listens") {
      if let exit = child?.reap() { throw Timeout(description: "repld ended with \(exit): \(log)") }
      do { _ = try Wire(unix: files.controlSocket("r0")) } catch is SocketRefusal { return false }
      return true
    }
  }

  /// Runs it to its end: the exit status and what it said.
  func run(_ arguments: [String] = ["r0"]) throws -> (status: Child.Exit, text: String) {
    let before = log.count
    var process = try spawn(arguments)
    let exit = try end(&process)
    return (exit, String(log.dropFirst(before)))
  }

  private func end(_ process: inout Child) throws -> Child.Exit {
    var watched = pollfd(fd: process.descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&watched, 1, 20_000) == 1, let exit = process.reap() else {
      process.kill()
      throw Timeout(description: "repld of \(name) did not end: \(log)")
    }
    return exit
  }

  /// As a power cut does.
  func kill() {
    guard child != nil else { return }
    signal(SIGKILL)
    do { _ = try awaitExit() } catch { print("\(error)") }
  }

  func signal(_ number: Int32) { child?.kill(number) }

  func awaitExit() throws -> Child.Exit {
    guard var process = child.take() else { throw Timeout(description: "\(name) is not running") }
    return try end(&process)
  }

  var isRunning: Bool { child != nil && child?.reap() == nil }

  func createMetadata(_ format: String = "v09") throws {
    try repladm(["create-md", "--force", "--format", format, "r0"])
  }

  func repladm(_ arguments: [String]) throws {
    var process = try start(repladm: arguments)
    #expect(try end(&process) == .status(0), "repladm \(arguments) failed: \(log)")
  }

  func start(repladm arguments: [String]) throws -> Child {
    let output = open(logPath, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
    defer { close(output) }
    return try Child(program: [try program("repladm")] + arguments, environment: environment, log: output)
  }

  // MARK: The control socket

  func ask(_ command: Control.Command, milliseconds: UInt64? = 20_000) throws -> Reply {
    let line = try JSONEncoder().encode(Request(command, timeoutMilliseconds: milliseconds)) + [ControlLine.end]
    let wire = try Wire(unix: files.controlSocket("r0"))
    try wire.send(Array(line))
    while true {
      let reply = try JSONDecoder().decode(Reply.self, from: Data(try wire.line()))
      if reply.isFinal { return reply }
    }
  }

  func done(_ command: Control.Command, location: SourceLocation = #_sourceLocation) throws {
    let reply = try ask(command)
    #expect(reply == .done, "\(name): \(command.name)\n\(log)", sourceLocation: location)
  }

  func refused(_ command: Control.Command, milliseconds: UInt64? = 20_000) throws -> Control.Refusal {
    guard case .refused(let refusal) = try ask(command, milliseconds: milliseconds) else {
      throw Timeout(description: "\(command.name) was not refused")
    }
    return refusal
  }

  func status() throws -> StatusSnapshot {
    guard case .status(let status) = try ask(.status) else { throw Timeout(description: "no status") }
    return status
  }

  var exportPath: String { files.exportSocket("r0", VolumeNumber(0)) }
}
