// What standard error is: the journal, or something that can be opened a second time, so that writing without waiting is not
// imposed on others who share it.

import CURing
import Glibc

public enum StandardError {
  /// systemd names device and inode of the stream it gave; a program started by another inherits the name only.
  public static func isJournal(_ descriptor: Int32 = 2) -> Bool {
    guard let name = getenv("JOURNAL_STREAM").map({ String(cString: $0) }) else { return false }
    var status = stat()
    return fstat(descriptor, &status) == 0 && name == "\(status.st_dev):\(status.st_ino)"
  }

  public static func flags(_ descriptor: Int32) -> Int32 { max(0, fcntl(descriptor, F_GETFL)) }

  /// The same pipe or terminal, which does not make the writer wait. Nil: it cannot be had.
  public static func openedAgain(_ descriptor: Int32) -> Int32? {
    let own = cu_open("/proc/self/fd/\(descriptor)", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0)
    return own >= 0 ? own : nil
  }
}
