// Signals as bytes on the ring: the ones that mean "stop" and "read your configuration again" are blocked and read from a
// descriptor, so that no code ever runs inside a signal handler. A broken pipe is an error code, not a signal.

import CURing
import Glibc

public struct Signals: ~Copyable {
  private let descriptor: Int32
  private let record: UnsafeMutablePointer<signalfd_siginfo>

  /// Call before any other thread exists: threads inherit the mask.
  public init(_ numbers: [Int32] = [SIGTERM, SIGINT, SIGHUP]) throws(Errno) {
    var set = sigset_t()
    sigemptyset(&set)
    for number in numbers { sigaddset(&set, number) }
    let rc = pthread_sigmask(SIG_BLOCK, &set, nil)
    guard rc == 0 else { throw Errno(rc) }
    signal(SIGPIPE, SIG_IGN)
    // Children are reaped by pidfd; ignored SIGCHLD would make their status disappear.
    signal(SIGCHLD, SIG_DFL)
    let made = signalfd(-1, &set, Int32(SFD_CLOEXEC))
    guard made >= 0 else { throw Errno.last }
    descriptor = made
    record = .allocate(capacity: 1)
    record.initialize(to: signalfd_siginfo())
  }

  deinit {
    close(descriptor)
    record.deallocate()
  }

  /// Asks for the next one; take it with `received` when `tag` completes, then ask again.
  public func wait(_ ring: inout Ring, tag: Tag) {
    ring.read(stream: RingFile(descriptor), into: record, count: MemoryLayout<signalfd_siginfo>.size, tag: tag)
  }

  /// The number of the signal that the completed read brought.
  public func received(_ completion: Completion) -> Int32? {
    completion.result == MemoryLayout<signalfd_siginfo>.size ? Int32(record.pointee.ssi_signo) : nil
  }
}
