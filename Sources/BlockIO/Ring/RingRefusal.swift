// Why the kernel gave no ring, in one sentence with the way out. The sysctl's value is handed in, so that every answer
// can be tested on a machine that has io_uring.

import Glibc

public enum RingRefusal: Error, Equatable, Sendable {
  /// The sysctl forbids it: 1 to the unprivileged, 2 to all.
  case disabled(sysctl: Int)
  /// The sysctl allows it, so a filter of system calls does not: containers and hardened service units.
  case filtered
  /// A kernel without it, or a filter that pretends so.
  case absent
  case lockedMemory
  case failed(Errno)

  init(_ error: Errno, sysctl: Int?) {
    switch (error.code, sysctl) {
    case (EPERM, .some(let value)) where value > 0: self = .disabled(sysctl: value)
    case (EPERM, _), (EACCES, _): self = .filtered
    case (ENOSYS, _): self = .absent
    case (ENOMEM, _): self = .lockedMemory
    default: self = .failed(error)
    }
  }

  static func sysctl() -> Int? {
    KernelText.read("/proc/sys/kernel/io_uring_disabled").flatMap { Int($0.prefix { $0.isNumber }) }
  }

  public var text: String {
    switch self {
    case .disabled(sysctl: 1):
      "io_uring is reserved for privileged programs by the sysctl kernel.io_uring_disabled=1: run as root, or "
        + "allow it with 'sysctl kernel.io_uring_disabled=0'"
    case .disabled(let value):
      "io_uring is switched off by the sysctl kernel.io_uring_disabled=\(value): allow it with "
        + "'sysctl kernel.io_uring_disabled=0'"
    case .filtered:
      "io_uring is forbidden here by a system call filter (seccomp) although the kernel has it: allow io_uring_setup, "
        + "io_uring_enter and io_uring_register in the container's seccomp profile or the unit's SystemCallFilter"
    case .absent:
      "this kernel has no io_uring, or a system call filter (seccomp) hides it: Linux 5.11 or later is needed"
    case .lockedMemory:
      "io_uring found too little lockable memory: raise it with 'ulimit -l unlimited' or LimitMEMLOCK=infinity in the unit"
    case .failed(let error):
      "io_uring could not be set up: \(error)"
    }
  }
}
