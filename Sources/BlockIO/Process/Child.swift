// A child process: a handler of the configuration, or a helper program. The ring watches its pidfd; when that becomes
// readable, `reap` collects the exit status. A child has its own process group, so that `kill` reaches what it started.

import Base
import CURing
import Glibc

public struct ChildRefusal: Error, Equatable, Sendable {
  public let command: String
  public let error: Errno

  public init(command: String, error: Errno) {
    self.command = command
    self.error = error
  }

  public var text: String { "'\(command)' could not be started: \(error)" }
}

public struct Child: ~Copyable {
  public enum Exit: Equatable, Sendable {
    case status(Int32)
    case signal(Int32)
  }

  public let pid: Int32
  /// Readable when the child has ended: `ring.pollReadable(child.descriptor, ...)`.
  public let descriptor: Int32
  private var exit: Exit? = nil

  /// Runs `/bin/sh -c command`. `environment` is complete: "NAME=value". `log` gets both outputs; nil discards them.
  public init(shell command: String, environment: [String], log: Int32? = nil) throws(ChildRefusal) {
    try self.init(["/bin/sh", "-c", command], environment: environment, log: log, name: command)
  }

  /// Runs the program at the absolute path `arguments[0]`, or the one at `path` under the name `arguments[0]`.
  public init(
    program arguments: [String], at path: String? = nil, environment: [String], log: Int32? = nil
  ) throws(ChildRefusal) {
    try self.init(arguments, at: path, environment: environment, log: log, name: arguments.joined(separator: " "))
  }

  private init(
    _ arguments: [String], at path: String? = nil, environment: [String], log: Int32?, name: String
  ) throws(ChildRefusal) {
    precondition(!arguments.isEmpty, "a child needs a program")
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawnattr_init(&attributes)
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    for output in [Int32(1), 2] {
      if let log {
        posix_spawn_file_actions_adddup2(&actions, log, output)
      } else {
        posix_spawn_file_actions_addopen(&actions, output, "/dev/null", O_WRONLY, 0)
      }
    }
    // We block and ignore signals; the child starts with the usual ones.
    var none = sigset_t()
    var all = sigset_t()
    sigemptyset(&none)
    sigfillset(&all)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setsigdefault(&attributes, &all)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF) | Int16(POSIX_SPAWN_SETPGROUP))

    var argv: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    var envp: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
    defer { for text in argv + envp { free(text) } }
    var made: pid_t = 0
    let rc = posix_spawn(&made, path ?? arguments[0], &actions, &attributes, &argv, &envp)
    guard rc == 0 else { throw ChildRefusal(command: name, error: Errno(rc)) }
    // The child stays a zombie until we reap it, so the number cannot have passed to another process.
    let watched = cu_pidfd_open(made)
    guard watched >= 0 else {
      let error = Errno.last
      Glibc.kill(-made, SIGKILL)
      var status: Int32 = 0
      waitpid(made, &status, 0)
      throw ChildRefusal(command: name, error: error)
    }
    pid = made
    descriptor = watched
    // A daemon that the kernel must not kill has children that it may.
    OutOfMemory.protect(process: made, .normal)
  }

  deinit { close(descriptor) }

  /// The exit status, nil while it runs. Never waits.
  public mutating func reap() -> Exit? {
    if let exit { return exit }
    var info = siginfo_t()
    guard cu_wait_pidfd(descriptor, &info) == 0, cu_exit_pid(&info) == pid else { return nil }
    let status = cu_exit_status(&info)
    exit = cu_exit_code(&info) == CLD_EXITED ? .status(status) : .signal(status)
    return exit
  }

  /// Ends the child and what it started. `reap` it after.
  public func kill(_ signal: Int32 = SIGKILL) {
    if exit == nil { _ = Glibc.kill(-pid, signal) }
  }
}
