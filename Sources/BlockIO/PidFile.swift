// One daemon per resource: a file locked for as long as the process lives, with its number inside for people. The lock
// decides, not the number, so a file left by a killed daemon is no obstacle.

import CURing
import Glibc

public enum PidFileRefusal: Error, Equatable, Sendable {
  /// 0 when the holder has not written its number yet.
  case held(path: String, pid: Int32)
  /// A link, or no plain file, lies there.
  case notAFile(path: String)
  case failed(path: String, Errno)

  public var text: String {
    switch self {
    case .held(let path, 0): "another process holds \(path): stop it first"
    case .held(let path, let pid):
      "\(KernelText.describe(process: pid)) already serves this resource (it holds \(path)): stop it first"
    case .notAFile(let path): "\(path) is a link or no plain file: remove it"
    case .failed(let path, Errno(ENOSPC)):
      "\(path) could not be written: no space is left there; make room, or choose another run directory (REPL_RUN_DIR)"
    case .failed(let path, let error): "\(path) could not be locked: \(error)"
    }
  }
}

public struct PidFile: ~Copyable {
  private let descriptor: Int32
  public let path: String

  public init(path: String) throws(PidFileRefusal) {
    while true {
      let file = cu_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o644)
      guard file >= 0 else {
        let error = Errno.last
        throw [ELOOP, ENXIO, EISDIR].contains(error.code) ? .notAFile(path: path) : .failed(path: path, error)
      }
      guard flock(file, LOCK_EX | LOCK_NB) == 0 else {
        let error = Errno.last
        close(file)
        throw error.code == EWOULDBLOCK ? .held(path: path, pid: PidFile.holder(path)) : .failed(path: path, error)
      }
      // Its last owner may have removed it between our open and our lock: then we hold a nameless file.
      var ours = stat()
      var there = stat()
      guard fstat(file, &ours) == 0, lstat(path, &there) == 0, ours.st_ino == there.st_ino,
        ours.st_dev == there.st_dev
      else {
        close(file)
        continue
      }
      guard ours.st_mode & S_IFMT == S_IFREG else {
        close(file)
        throw .notAFile(path: path)
      }
      let text = Array("\(getpid())\n".utf8)
      guard ftruncate(file, 0) == 0, pwrite(file, text, text.count, 0) == text.count else {
        let error = Errno.last
        unlink(path)
        close(file)
        throw .failed(path: path, error)
      }
      descriptor = file
      self.path = path
      return
    }
  }

  deinit {
    unlink(path)
    close(descriptor)
  }

  /// The number in the file, 0 when there is none. Says who wrote it, not whether it lives: `isHeld` does.
  public static func holder(_ path: String) -> Int32 {
    KernelText.line(path).flatMap { Int32($0) } ?? 0
  }

  public static func isHeld(_ path: String) -> Bool {
    let file = cu_open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0)
    guard file >= 0 else { return false }
    defer { close(file) }
    return flock(file, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK
  }
}
