// A listener and the accept under way on it: for the peer, for NBD clients and for the control socket. Law: an
// accept that failed because descriptors or memory are short is not repeated before a moment has passed; the next one
// would fail at once, too, and the loop would do nothing else. Further connections wait in the kernel's queue meanwhile.
import Base
import BlockIO

struct Acceptor: ~Copyable {
  enum Arrival: ~Copyable {
    case socket(Socket)
    /// The connection has ended already, or the accept was cancelled.
    case nobody
    /// Told once for each time that something runs short.
    case shortage(Errno)
  }

  /// How long nothing is accepted after a shortage.
  static let pause = Interval.seconds(1)

  let listener: Listener
  private let tag: Tag
  private(set) var isAccepting = false
  /// A shortage: nothing is accepted before.
  private(set) var pausedUntil: Instant?
  private var isShort = false

  init(_ listener: consuming Listener, tag: Tag) {
    self.listener = listener
    self.tag = tag
  }

  mutating func accept(_ ring: inout Ring) {
    precondition(!isAccepting, "two accepts at once")
    isAccepting = true
    pausedUntil = nil
    ring.accept(listener, tag: tag)
  }

  /// What the accept brought. The next one is the caller's to ask for, or `resume`'s after a pause.
  mutating func accepted(_ completion: Completion, at now: Instant) -> Arrival {
    isAccepting = false
    guard let fault = completion.fault else {
      isShort = false
      return .socket(Socket(accepted: completion.result))
    }
    if fault.passesWithTheCaller { return .nobody }
    pausedUntil = now + Acceptor.pause
    if isShort { return .nobody }
    isShort = true
    return .shortage(fault)
  }

  mutating func resume(at now: Instant, _ ring: inout Ring) {
    if let until = pausedUntil, now >= until { accept(&ring) }
  }

  /// True when nothing is under way; else the accept ends with ECANCELED.
  func close(_ ring: inout Ring) -> Bool {
    if isAccepting { ring.cancel(tag, own: Tag(kind: Kind.cancel)) }
    return !isAccepting
  }
}

extension Errno {
  /// The fault of the one connection that was to be accepted, or of nobody: the next accept may succeed at once.
  fileprivate var passesWithTheCaller: Bool {
    switch code {
    // EINTR, EPERM, EPROTO, ECONNABORTED, ECANCELED
    case 4, 1, 71, 103, 125: true
    default: false
    }
  }
}
