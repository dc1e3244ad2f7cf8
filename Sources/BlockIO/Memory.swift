// What keeps a block device in user space from waiting for memory that only it could free: locked pages, allocations that
// never start I/O, a process the kernel does not kill first. Every step may be forbidden; the daemon then runs without it
// and says so.

import CURing
import Glibc

/// One protection that could not be had.
public struct MemoryShortfall: Error, Equatable, Sendable {
  public let what: String
  public let error: Errno
  public let consequence: String
  public var text: String { "\(what) was refused (\(error)): \(consequence)" }
}

public enum OutOfMemory {
  public enum Standing: Int, Sendable {
    case normal = 0
    case spared = -1000
  }

  /// How likely the kernel is to kill a process when memory runs out.
  @discardableResult
  public static func protect(process: Int32 = getpid(), _ standing: Standing) -> Errno? {
    let file = cu_open("/proc/\(process)/oom_score_adj", O_WRONLY | O_CLOEXEC, 0)
    guard file >= 0 else { return Errno.last }
    defer { close(file) }
    let text = Array(String(standing.rawValue).utf8)
    return write(file, text, text.count) == text.count ? nil : Errno.last
  }
}

public enum Memory {
  /// All protections; returns those that failed. Call once the pool is mapped and the ring is made.
  public static func protect() -> [MemoryShortfall] {
    var failed: [MemoryShortfall] = []
    func note(_ what: String, _ error: Errno, _ consequence: String) {
      failed.append(MemoryShortfall(what: what, error: error, consequence: consequence))
    }
    if let error = raiseLockLimit() {
      note("raising the limit of locked memory", error, "set LimitMEMLOCK=infinity in the unit, or run as root")
    }
    // Freed heap stays ours: given back, it would have to be asked for again under pressure.
    cu_keep_heap()
    if let error = lock() {
      note("locking memory", error, "under memory pressure I/O may stall while pages are read back")
    }
    if cu_set_io_flusher() != 0 {
      note(
        "marking the process as part of the I/O path (PR_SET_IO_FLUSHER)", Errno.last,
        "under memory pressure an allocation may wait for I/O on our own device")
    }
    if let error = OutOfMemory.protect(.spared) {
      note("protection from the out-of-memory killer", error, "the kernel may end the daemon when memory runs out")
    }
    return failed
  }

  /// Registered buffers count against it. Returns why it is still bounded.
  public static func raiseLockLimit() -> Errno? { cu_raise_locked_memory() == 0 ? nil : Errno.last }

  /// What has been touched once stays. Pool and tables are touched when they are made, the paths of I/O when they first
  /// run; code that has never run is read from the system's disk, which is never one of ours, and is not worth the
  /// memory of every library that is linked.
  private static func lock() -> Errno? {
    mlockall(MCL_CURRENT | MCL_FUTURE | Int32(MCL_ONFAULT)) == 0 ? nil : Errno.last
  }
}
