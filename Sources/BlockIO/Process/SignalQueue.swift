// Signals for a program that waits with poll(2): blocked, and read from a descriptor when the program is ready for them. Law: with the
// end of the queue they do again what they did before.
import CURing
import Glibc

public struct SignalQueue: ~Copyable {
  public let descriptor: Int32
  private let numbers: [Int32]

  public init(_ numbers: [Int32]) throws(Errno) {
    self.numbers = numbers
    var set = SignalQueue.set(numbers)
    let made = signalfd(-1, &set, Int32(SFD_CLOEXEC) | Int32(SFD_NONBLOCK))
    guard made >= 0 else { throw Errno.last }
    descriptor = made
    pthread_sigmask(SIG_BLOCK, &set, nil)
  }

  deinit {
    close(descriptor)
    var set = SignalQueue.set(numbers)
    pthread_sigmask(SIG_UNBLOCK, &set, nil)
  }

  /// The next one that has come; nil: none.
  public func next() -> Int32? {
    var info = signalfd_siginfo()
    let got = read(descriptor, &info, MemoryLayout<signalfd_siginfo>.size)
    return got == MemoryLayout<signalfd_siginfo>.size ? Int32(info.ssi_signo) : nil
  }

  /// Sends this process the signal and lets it act now; returns when the process goes on.
  public func yield(to number: Int32) {
    var one = SignalQueue.set([number])
    kill(getpid(), number)
    pthread_sigmask(SIG_UNBLOCK, &one, nil)
    pthread_sigmask(SIG_BLOCK, &one, nil)
  }

  private static func set(_ numbers: [Int32]) -> sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    for number in numbers { sigaddset(&set, number) }
    return set
  }
}
