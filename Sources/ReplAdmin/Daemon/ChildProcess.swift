// Starting other programs: tools that are waited for with a deadline, and servers that outlive this process in a session of
// their own. A child gets no descriptor but its three streams.
import Glibc

struct ChildProcess {
  /// Zero once the child was seen to have ended.
  private(set) var pid: pid_t
  /// Exit status, or 128 plus the signal; known once it ended.
  private(set) var status: Int32?
  /// The signal it died of.
  private(set) var signal: Int32?

  enum Fault: Error { case notStarted(String) }

  /// Starts `path`. Output goes to `output`, or where this process's own goes, or nowhere.
  static func start(
    _ path: String, _ arguments: [String], environment: [String: String], output: Int32? = nil,
    sharesOutput: Bool = false, ownSession: Bool
  ) throws(Fault) -> ChildProcess {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    if let output {
      posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
      posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO)
    } else if !sharesOutput {
      posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
      posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0)
    }
    for descriptor in openDescriptors() where descriptor > STDERR_FILENO {
      posix_spawn_file_actions_addclose(&actions, descriptor)
    }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var flags = Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF)
    if ownSession { flags |= spawnInOwnSession }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    var usual = sigset_t()
    sigemptyset(&usual)
    for signal in [SIGPIPE, SIGINT, SIGQUIT, SIGHUP, SIGTERM] { sigaddset(&usual, signal) }
    posix_spawnattr_setsigdefault(&attributes, &usual)
    posix_spawnattr_setflags(&attributes, flags)

    var pid: pid_t = 0
    let rc = withCStrings([path] + arguments) { argv in
      withCStrings(environment.map { "\($0.key)=\($0.value)" }) { envp in
        posix_spawn(&pid, path, &actions, &attributes, argv, envp)
      }
    }
    guard rc == 0 else { throw .notStarted("\(path) could not be started: \(systemWords(rc))") }
    return ChildProcess(pid: pid, status: nil, signal: nil)
  }

  /// True when the child has ended; remembers its status.
  mutating func hasEnded() -> Bool {
    if status != nil { return true }
    var word: Int32 = 0
    let rc = waitpid(pid, &word, WNOHANG)
    guard rc == pid else {
      if rc < 0, errno == ECHILD { status = 255 }
      return status != nil
    }
    if word & 0x7f != 0 { signal = word & 0x7f }
    status = signal.map { 128 + $0 } ?? (word >> 8) & 0xff
    return true
  }

  /// Waits for as long as it takes.
  mutating func wait() -> Int32 {
    while !hasEnded() { usleep(2000) }
    return status ?? 255
  }

  /// Ends it: politely, then not.
  mutating func stop() {
    guard !hasEnded() else { return }
    kill(pid, SIGTERM)
    for _ in 0..<100 where !hasEnded() { usleep(20_000) }
    guard !hasEnded() else { return }
    kill(pid, SIGKILL)
    var word: Int32 = 0
    waitpid(pid, &word, 0)
    status = 128 + SIGKILL
  }
}

/// POSIX_SPAWN_SETSID, which the C library's Swift module leaves out.
private let spawnInOwnSession: Int16 = 0x80

/// The descriptors of this process, including those it inherited without knowing.
private func openDescriptors() -> [Int32] { directoryEntries("/proc/self/fd").compactMap { Int32($0) } }

/// A tool's answer.
struct ToolResult {
  var status: Int32
  var output: String
  var ok: Bool { status == 0 }
  /// The last line it wrote, for a sentence.
  var lastLine: String {
    output.split(separator: "\n").last.map(String.init) ?? "exit code \(status) and no message"
  }
}

/// Finding and running the tools of others.
struct Tools {
  let environment: [String: String]

  /// The absolute path of a program, or nil.
  func find(_ name: String) -> String? {
    if name.contains("/") { return access(name, X_OK) == 0 ? name : nil }
    let path = environment["PATH"] ?? ""
    let directories = path.split(separator: ":").map(String.init) + ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
    return directories.lazy.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
  }

  /// Runs a program to its end; status 124 when it outran the deadline, 127 when it could not be started.
  func run(_ name: String, _ arguments: [String], deadline: Deadline = Deadline(after: 20)) -> ToolResult {
    guard let path = find(name) else { return ToolResult(status: 127, output: "\(name) is not installed") }
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { return ToolResult(status: 127, output: systemError("pipe")) }
    defer { close(ends[0]) }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    _ = fcntl(ends[0], F_SETFL, O_NONBLOCK)
    var child: ChildProcess
    do {
      child = try ChildProcess.start(path, arguments, environment: environment, output: ends[1], ownSession: false)
      close(ends[1])
    } catch {
      close(ends[1])
      guard case .notStarted(let why) = error else { return ToolResult(status: 127, output: "") }
      return ToolResult(status: 127, output: why)
    }
    var output: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    while !child.hasEnded() {
      if deadline.hasPassed {
        child.stop()
        return ToolResult(status: 124, output: "\(name) did not end within \(deadline.text)")
      }
      var entry = pollfd(fd: ends[0], events: Int16(POLLIN), revents: 0)
      poll(&entry, 1, 10)
      collect(ends[0], &chunk, into: &output)
    }
    collect(ends[0], &chunk, into: &output)
    return ToolResult(status: child.status ?? 255, output: String(decoding: output, as: UTF8.self))
  }

  private func collect(_ descriptor: Int32, _ chunk: inout [UInt8], into output: inout [UInt8]) {
    while output.count < 1 << 20 {
      let got = read(descriptor, &chunk, chunk.count)
      guard got > 0 else { return }
      output += chunk[0..<got]
    }
  }
}

/// Calls `body` with a null-terminated array of C strings.
private func withCStrings<R>(_ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> R) -> R {
  let copies: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
  defer { copies.forEach { free($0) } }
  return body(copies + [nil])
}
