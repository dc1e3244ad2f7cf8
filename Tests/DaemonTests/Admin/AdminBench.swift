// A bench for `repladm`: a directory of its own with configuration, disks and run directory, and command lines run in this
// process with everything they print caught.
import Base
import Control
import Foundation
import Glibc
import ReplAdmin
import Synchronization

final class AdminBench {
  let directory: String
  /// Lines the user at a terminal would answer; nil: no terminal.
  var answers: [String]?
  var outputIsTerminal = false
  var environment: [String: String]
  var isRoot = geteuid() == 0

  init() throws {
    let base = FileManager.default.temporaryDirectory.path
    directory = "\(base)/repladm-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    try FileManager.default.createDirectory(atPath: directory + "/run", withIntermediateDirectories: true)
    environment = [
      "PATH": ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin", "REPL_RUN_DIR": directory + "/run",
      "REPL_CONFIG": directory + "/repl.conf",
    ]
  }

  deinit {
    endChild()
    do { try FileManager.default.removeItem(atPath: directory) } catch { print("left behind: \(directory)") }
  }

  /// Ends the process whose number a script left in the run directory.
  func endChild() {
    guard let data = FileManager.default.contents(atPath: files.directory + "/child"),
      let pid = Int32(String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines))
    else { return }
    kill(pid, SIGKILL)
    waitpid(pid, nil, 0)
  }

  var files: RunFiles { RunFiles(directory: directory + "/run") }
  var disk: String { directory + "/disk" }

  func write(_ name: String, _ text: String) throws {
    try text.write(toFile: "\(directory)/\(name)", atomically: true, encoding: .utf8)
  }

  /// A two-node resource `r0` whose disk on this host, `one`, is a file.
  func configure(
    resource: String = "r0", disk: String? = nil, metaDisk: String = "internal", device: String = "/dev/drbd90",
    extra: String = ""
  ) throws {
    try write(
      "repl.conf",
      """
      global { disable-ip-verification; }
      resource \(resource) {
        device \(device) minor 90;
        disk \(disk ?? self.disk);
        meta-disk \(metaDisk);
        \(extra)
        on one { address 127.0.0.1:7790; node-id 0; }
        on two { address 127.0.0.1:7791; node-id 1; }
      }
      """)
  }

  func makeDisk(_ bytes: UInt64, named name: String = "disk") throws {
    let path = "\(directory)/\(name)"
    _ = FileManager.default.createFile(atPath: path, contents: nil)
    let file = try FileHandle(forWritingTo: URL(filePath: path))
    try file.truncate(atOffset: bytes)
    try file.close()
  }

  func put(_ bytes: [UInt8], at offset: UInt64, in path: String) throws {
    let file = try FileHandle(forUpdating: URL(filePath: path))
    try file.seek(toOffset: offset)
    try file.write(contentsOf: Data(bytes))
    try file.close()
  }

  struct Outcome: Equatable {
    var code: Int32
    var out: String
    var err: String
  }

  /// Runs `repladm --node one ARGUMENTS`, or another personality.
  @discardableResult
  func run(_ arguments: String..., program: String = "repladm", node: String? = "one") -> Outcome {
    run(arguments, program: program, node: node)
  }

  @discardableResult
  func run(_ arguments: [String], program: String = "repladm", node: String? = "one") -> Outcome {
    let out = Mutex("")
    let err = Mutex("")
    var left = answers ?? []
    let console = Console(
      out: { text in out.withLock { $0 += text } }, err: { text in err.withLock { $0 += text } },
      readLine: { left.isEmpty ? nil : left.removeFirst() }, inputIsTerminal: answers != nil,
      outputIsTerminal: outputIsTerminal, columns: 80)
    var environment = environment
    environment["__DRBD_NODE__"] = node
    let surroundings = Surroundings(
      programName: program, environment: environment, isRoot: isRoot, hostName: "this-host",
      programDirectory: directory)
    let code = CommandLineRun.run(arguments, surroundings: surroundings, console: console)
    return Outcome(code: code, out: out.withLock { $0 }, err: err.withLock { $0 })
  }
}

/// A daemon that answers what it is told to, on the control socket of a resource, until it is stopped.
final class FakeDaemon: Sendable {
  enum Answer: Sendable {
    case reply(Reply)
    case line(String)
    /// Say nothing more, but stay.
    case silence
    case hangUp
  }

  /// Does all it is told, and has volume 0 with the minor of the bench's file.
  static func saysVolumeOrDone(_ command: Command) -> [Answer] {
    guard case .status = command else { return [.reply(.done)] }
    var snapshot = StatusSnapshot(name: "r0", nodeID: 0, role: .secondary)
    snapshot.devices = [DeviceStatus(volume: VolumeNumber(0), minor: 90, disk: .upToDate)]
    return [.reply(.status(snapshot))]
  }

  private let path: String
  private let listener: Int32
  private let heard = Mutex<[Request]>([])
  private let held = Mutex<[Int32]>([])

  init(_ resource: String, _ files: RunFiles, answer: @escaping @Sendable (Command) -> [Answer]) {
    path = files.controlSocket(resource)
    listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
    unlink(path)
    let rc = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    precondition(rc == 0 && listen(listener, 16) == 0, "the fake daemon cannot listen on \(path)")
    Thread.detachNewThread { [self] in serve(answer) }
  }

  var requests: [Request] { heard.withLock { $0 } }
  var commands: [Command] { requests.map(\.command) }

  func stop() {
    unlink(path)
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
    held.withLock { for descriptor in $0 { close(descriptor) } }
  }

  private func serve(_ answer: @Sendable (Command) -> [Answer]) {
    while true {
      let caller = accept(listener, nil, nil)
      guard caller >= 0 else { return }
      guard let request = readRequest(caller) else {
        close(caller)
        continue
      }
      heard.withLock { $0.append(request) }
      var stays = false
      for step in answer(request.command) {
        switch step {
        case .reply(let reply): send(caller, encoded(reply))
        case .line(let line): send(caller, line + "\n")
        case .silence: stays = true
        case .hangUp: break
        }
      }
      if stays { held.withLock { $0.append(caller) } } else { close(caller) }
    }
  }

  private func readRequest(_ descriptor: Int32) -> Request? {
    var line: [UInt8] = []
    var byte: UInt8 = 0
    while read(descriptor, &byte, 1) == 1, byte != ControlLine.end { line.append(byte) }
    do { return try JSONDecoder().decode(Request.self, from: Data(line)) } catch { return nil }
  }

  private func encoded(_ reply: Reply) -> String {
    do {
      return String(decoding: try JSONEncoder().encode(reply), as: UTF8.self) + "\n"
    } catch {
      preconditionFailure("replies encode")
    }
  }

  private func send(_ descriptor: Int32, _ text: String) {
    let bytes = Array(text.utf8)
    _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }
}

/// Counts calls from the daemon's thread.
final class Counter: Sendable {
  private let value = Mutex(0)
  func next() -> Int {
    value.withLock {
      $0 += 1
      return $0
    }
  }
}

/// A daemon that another thread made.
final class Box: Sendable {
  private let content = Mutex<FakeDaemon?>(nil)
  var daemon: FakeDaemon? { content.withLock { $0 } }
  func set(_ daemon: FakeDaemon) { content.withLock { $0 = daemon } }
}

struct NeverHappened: Error {}

/// Yields until `condition` holds; false when it has not for 20 s.
func hasHappened(_ condition: () -> Bool) -> Bool {
  let end = ContinuousClock.now + .seconds(20)
  while !condition() {
    if ContinuousClock.now > end { return false }
    sched_yield()
  }
  return true
}

func waitUntil(_ condition: () -> Bool) throws {
  guard hasHappened(condition) else { throw NeverHappened() }
}
