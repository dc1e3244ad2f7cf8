// A process that dies of a signal says so: which signal, where, and the addresses of the way there, on standard error, which
// is the log of a daemon. Without it the log of a release build ends in the middle. SIGKILL leaves no line.

import CURing
import Glibc

public enum Death {
  /// Call once, before anything can go wrong.
  public static func leavesReason() { cu_tell_of_death(StandardError.isJournal() ? 1 : 0) }

  /// The line that process `pid` left in a log: what comes after "process N ".
  public static func reason(of pid: Int32, in log: String) -> String? {
    let opening = "repld: process \(pid) "
    for line in log.split(separator: "\n").reversed() {
      guard let at = line.firstRange(of: opening) else { continue }
      return String(line[at.upperBound...].prefix { $0 != ";" })
    }
    return nil
  }

  /// "SIGILL" for 4; the number where it has no name here.
  public static func name(of signal: Int32) -> String {
    let names: [Int32: String] = [
      SIGILL: "SIGILL", SIGTRAP: "SIGTRAP", SIGABRT: "SIGABRT", SIGBUS: "SIGBUS", SIGFPE: "SIGFPE",
      SIGSEGV: "SIGSEGV", SIGKILL: "SIGKILL", SIGTERM: "SIGTERM", SIGINT: "SIGINT", SIGHUP: "SIGHUP",
      SIGSYS: "SIGSYS", SIGPIPE: "SIGPIPE", SIGQUIT: "SIGQUIT",
    ]
    return names[signal].map { "\($0) (signal \(signal))" } ?? "signal \(signal)"
  }
}

public enum OpenFiles {
  /// Raises the limit of open files to `needed`, or as far as this user may. Returns what holds then.
  public static func allow(_ needed: Int) -> Int { Int(clamping: cu_allow_open_files(UInt64(needed))) }
}
