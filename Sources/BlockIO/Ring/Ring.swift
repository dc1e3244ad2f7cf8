// The one io_uring of a daemon. Laws: one thread makes and uses it; one system call per turn; no request is ever dropped,
// because a full submission queue is submitted on the spot and a full completion queue is emptied into `backlog`.
// Requests are in RingRequests.swift, registered files in RingFiles.swift.

import Base
import CURing
import Glibc

public struct Ring: ~Copyable {
  /// How completions are delivered, best first; found by trying.
  public enum Mode: Sendable, CaseIterable {
    case deferred, cooperative, plain

    fileprivate var flags: UInt32 {
      switch self {
      case .deferred: UInt32(CU_SETUP_DEFERRED)
      case .cooperative: UInt32(CU_SETUP_COOPERATIVE)
      case .plain: 0
      }
    }
  }

  public struct Counters: Sendable {
    public var enters: UInt64 = 0
    public var completions: UInt64 = 0
    /// How often the submission queue was full in the middle of a turn.
    public var squeezed: UInt64 = 0
  }

  public let mode: Mode
  public private(set) var counters = Counters()
  let ring: UnsafeMutablePointer<io_uring>
  let timeoutsAreRequests: Bool
  private var backlog = Queue<Completion>(capacity: 64)
  /// Addresses of the connects of this turn; the kernel copies them when they are submitted.
  let addresses: UnsafeMutablePointer<sockaddr_storage>
  var addressesUsed = 0
  static let addressCount = 16
  /// Memory registered as fixed buffers, 1 GiB each.
  var fixedStart = UInt(0)
  var fixedBytes = UInt(0)
  var files: RingFileTable

  /// `entries` requests fit into one submission; four times as many completions may lie unread before the kernel keeps
  /// the rest for itself. `modes` are tried in order.
  public init(entries: UInt32 = 256, files: Int = 256, modes: [Mode] = Mode.allCases) throws(RingRefusal) {
    precondition(!modes.isEmpty && entries > 0, "a ring needs a mode and room")
    let ring = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
    ring.initialize(to: io_uring())
    var made: (mode: Mode, features: UInt32)?
    var refusal: Int32 = 0
    for mode in modes where made == nil {
      var parameters = io_uring_params()
      parameters.flags = mode.flags | UInt32(IORING_SETUP_CQSIZE) | UInt32(IORING_SETUP_CLAMP)
      parameters.cq_entries = entries * 4
      let rc = io_uring_queue_init_params(entries, ring, &parameters)
      if rc == 0 { made = (mode, parameters.features) } else { refusal = -rc }
      // Only an unknown flag is a reason to try with fewer.
      if rc != 0 && rc != -EINVAL { break }
    }
    guard let made else {
      ring.deallocate()
      throw RingRefusal(Errno(refusal), sysctl: RingRefusal.sysctl())
    }
    mode = made.mode
    timeoutsAreRequests = made.features & UInt32(IORING_FEAT_EXT_ARG) == 0
    self.ring = ring
    addresses = .allocate(capacity: Ring.addressCount)
    addresses.initialize(repeating: sockaddr_storage(), count: Ring.addressCount)
    // Saves a look-up per system call; kernels before 5.18 do without.
    _ = io_uring_register_ring_fd(ring)
    self.files = RingFileTable(ring, count: files)
  }

  deinit {
    io_uring_queue_exit(ring)
    ring.deallocate()
    addresses.deallocate()
  }

  // MARK: Down

  /// An empty request. Valid until the next call on the ring.
  @inline(__always) mutating func entry() -> UnsafeMutablePointer<io_uring_sqe> {
    if let entry = io_uring_get_sqe(ring) { return entry }
    makeRoom()
    return io_uring_get_sqe(ring)!
  }

  @inline(never) private mutating func makeRoom() {
    counters.squeezed &+= 1
    repeat { submit() } while io_uring_sq_space_left(ring) == 0
  }

  /// Hands the requests over without waiting. A turn does not need it: `submitAndWait` does the same and waits.
  public mutating func submit() {
    counters.enters &+= 1
    settle(io_uring_submit(ring))
  }

  /// Hands the requests over and waits until something has completed or `deadline` has passed. Nil waits without end.
  public mutating func submitAndWait(until deadline: Instant?) {
    guard backlog.isEmpty else { return submit() }
    counters.enters &+= 1
    guard let deadline else { return settle(io_uring_submit_and_wait(ring, 1)) }
    let left = (deadline - Clock.now()).nanoseconds
    var time = __kernel_timespec(
      tv_sec: Int64(truncatingIfNeeded: left / 1_000_000_000), tv_nsec: Int64(truncatingIfNeeded: left % 1_000_000_000))
    var first: UnsafeMutablePointer<io_uring_cqe>?
    settle(io_uring_submit_and_wait_timeout(ring, &first, 1, &time, nil))
  }

  private mutating func settle(_ rc: Int32) {
    addressesUsed = 0
    guard rc < 0 else { return }
    switch -rc {
    case EINTR, ETIME: break
    case EAGAIN, EBUSY:
      // The kernel takes nothing more until completions are read.
      while let done = take() { backlog.append(done) }
      _ = io_uring_get_events(ring)
    default: preconditionFailure("io_uring_enter failed with error \(-rc)")
    }
  }

  // MARK: Up

  /// The next completion, nil when all that are there were taken.
  @inline(__always) public mutating func next() -> Completion? {
    if !backlog.isEmpty { return backlog.popFirst() }
    return take()
  }

  @inline(__always) private mutating func take() -> Completion? {
    while true {
      let head = cu_cq_head(ring)
      if head == cu_cq_tail(ring) {
        guard io_uring_cq_has_overflow(ring), io_uring_get_events(ring) >= 0, head != cu_cq_tail(ring) else {
          return nil
        }
        continue
      }
      let event = cu_cqe_at(ring, head)!.pointee
      cu_cq_set_head(ring, head &+ 1)
      // Before EXT_ARG (Linux 5.11) the library waits with a timeout request of its own.
      if timeoutsAreRequests && event.user_data == UInt64.max { continue }
      counters.completions &+= 1
      return Completion(tag: Tag(raw: event.user_data), result: event.res, flags: event.flags)
    }
  }
}
