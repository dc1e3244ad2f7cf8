// The run directory: what others may write into it they could replace (the pid file, the log, the sockets), and a link put
// there would make a program of root write elsewhere. So it belongs to this user or to root, no other user may write to it,
// and no file in it is opened through a link.

import CURing
import Glibc

public enum RunDirectoryRefusal: Error, Equatable, Sendable {
  case noDirectory(String)
  case foreign(String, owner: UInt32, user: UInt32)
  case writable(String, mode: UInt32)
  case failed(String, Errno)

  /// What is wrong, without a next step.
  public var why: String {
    switch self {
    case .noDirectory(let path): "\(path) is not a directory"
    case .foreign(let path, let owner, let user):
      "the run directory \(path) belongs to user \(owner), who could replace the files in it; this program runs as user \(user)"
    case .writable(let path, let mode):
      "the run directory \(path) may be written by other users (mode \(String(mode, radix: 8))), who could replace the files"
        + " in it"
    case .failed(let path, let error): "the run directory \(path) cannot be used: \(error)"
    }
  }

  /// One sentence without its end.
  public var next: String {
    switch self {
    case .noDirectory: "move it away, or choose another run directory (REPL_RUN_DIR)"
    case .foreign(let path, _, let user): "chown \(user) \(path), or choose another run directory (REPL_RUN_DIR)"
    case .writable(let path, _): "chmod go-w \(path), or choose another run directory (REPL_RUN_DIR)"
    case .failed: "run as root, or choose another run directory (REPL_RUN_DIR)"
    }
  }

  public var text: String { "\(why): \(next)" }
}

public enum RunDirectory {
  /// Makes it when it is not there; the directories above it are there.
  public static func prepare(_ path: String) throws(RunDirectoryRefusal) {
    if mkdir(path, 0o755) != 0, errno != EEXIST { throw .failed(path, Errno.last) }
    try check(path)
  }

  public static func check(_ path: String) throws(RunDirectoryRefusal) {
    var status = stat()
    guard stat(path, &status) == 0 else { throw .failed(path, Errno.last) }
    guard status.st_mode & S_IFMT == S_IFDIR else { throw .noDirectory(path) }
    let user = geteuid()
    guard status.st_uid == user || status.st_uid == 0 else {
      throw .foreign(path, owner: status.st_uid, user: user)
    }
    guard status.st_mode & 0o022 == 0 else { throw .writable(path, mode: status.st_mode & 0o7777) }
  }

  /// Opens the log for appending, and for reading: the daemon cuts it when it grows. Not through a link.
  public static func openLog(_ path: String) throws(Errno) -> Int32 {
    let file = cu_open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o640)
    guard file >= 0 else { throw Errno.last }
    var status = stat()
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(file)
      throw Errno(EINVAL)
    }
    return file
  }

  /// The last thing a daemon wrote may have been cut in the middle: then a line of ours begins with a line end.
  public static func endsInsideALine(_ file: Int32) -> Bool {
    let size = lseek(file, 0, SEEK_END)
    guard size > 0 else { return false }
    var last = UInt8(ascii: "\n")
    return pread(file, &last, 1, size - 1) == 1 && last != UInt8(ascii: "\n")
  }
}
