// A small file that is replaced whole: a reader, or a crash, meets the old text or the new one.
import CURing
import Glibc

public enum ReplacedFile {
  /// Writes `text` beside `path` (owner read and write, others read) and renames it. After a fault the old file is there as it was.
  public static func write(_ text: String, to path: String) throws(Errno) {
    let fresh = "\(path).\(getpid())"
    let file = cu_open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o644)
    guard file >= 0 else { throw Errno.last }
    let bytes = Array(text.utf8)
    var done = 0
    var fault: Errno?
    while done < bytes.count, fault == nil {
      let written = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress! + done, bytes.count - done) }
      if written > 0 {
        done += written
      } else if written == 0 || errno != EINTR {
        fault = written < 0 ? Errno.last : Errno(ENOSPC)
      }
    }
    if close(file) != 0, fault == nil { fault = Errno.last }
    if fault == nil, rename(fresh, path) == 0 { return }
    let problem = fault ?? Errno.last
    unlink(fresh)
    throw problem
  }
}
