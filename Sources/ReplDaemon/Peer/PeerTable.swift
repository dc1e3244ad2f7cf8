// The way to the peer: the listener, the attempt to connect, and the sockets that came of them. Only the configured peer's
// address is let in, and no more sockets than a search needs.
import Base
import BlockIO
import Engine

struct PeerTable: ~Copyable {
  private(set) var own: SocketAddress
  private(set) var peer: SocketAddress
  var options: SocketOptions
  /// How long an attempt to connect may take.
  var patience: Interval
  private var answerLimit: Int

  /// Two of a connection, those of a search, and those that end. A bit each in `awake`.
  static let socketsMax = 16
  var sockets = Places<PeerSocket>(capacity: PeerTable.socketsMax)
  private var counter: UInt32 = 0

  /// Sockets that may have something to say without a completion, one bit each.
  private var awake: UInt64 = 0

  private var acceptor = Places<Acceptor>(capacity: 1)
  /// The address that the acceptor listens on: `own`, or the one before `adjust`.
  private var listened: SocketAddress?
  private var wantsListener = false

  /// The attempt under way, and when it is given up.
  private(set) var attempt: (place: Int, until: Instant)?
  /// Why there is no listener although one was asked for.
  private(set) var listenRefusal: SocketRefusal?
  /// Why the last attempt failed; nil once the peer was met.
  private(set) var silence: String?
  /// Strangers were reported already.
  private var strangers = 0

  /// Answers that two nodes which keep the protocol owe each other at once: acks of all writes and requests under way, and for each
  /// volume 1024 digests of a verify and 256 acks of a resync, or a round of its bitmap. More than that only a peer leaves unread
  /// that does not read at all, so that two nodes never wait for each other here.
  static func answerLimit(volumes: Int) -> Int { 512 << 10 + volumes * (128 << 10) }

  init(own: SocketAddress, peer: SocketAddress, options: SocketOptions, patience: Interval, volumes: Int) {
    answerLimit = PeerTable.answerLimit(volumes: volumes)
    self.own = own
    self.peer = peer
    self.options = options
    self.patience = patience
  }

  /// The place is the low byte of the number, the rest counts: a late completion finds nobody.
  private mutating func identify(_ place: Int) -> SocketID {
    counter = (counter &+ 1) & 0xff_ffff
    return SocketID(counter << 8 | UInt32(place))
  }

  @inline(__always) func place(of id: SocketID) -> Int? {
    let place = Int(id.raw & 0xff)
    return sockets.contains(place) && sockets[place].id == id ? place : nil
  }

  /// Answers to what this socket brings wait on another one.
  func isBackedUpElsewhere(_ place: Int) -> Bool {
    for i in 0..<sockets.capacity where i != place && sockets.contains(i) && sockets[i].phase == .open {
      if sockets[i].isBackedUp { return true }
    }
    return false
  }

  mutating func wake(_ place: Int) { awake |= 1 << UInt64(place) }

  mutating func popAwake() -> Int? {
    guard awake != 0 else { return nil }
    let place = awake.trailingZeroBitCount
    awake &= awake - 1
    return place
  }

  /// The resource has so many volumes now: what the next connection may owe.
  mutating func serve(volumes: Int) { answerLimit = PeerTable.answerLimit(volumes: volumes) }

  /// The addresses of the configuration have changed (`adjust`). They count from the next search for the peer on.
  mutating func move(own: SocketAddress, peer: SocketAddress) {
    self.own = own
    self.peer = peer
    silence = nil
  }

  // MARK: Listening

  /// Nil, or why the address cannot be listened on now.
  mutating func listen(_ ring: inout Ring) -> String? {
    if acceptor.contains(0), let listened, listened != own { return "the listener on \(listened) is being closed" }
    wantsListener = true
    guard !acceptor.contains(0) else { return nil }
    do throws(SocketRefusal) {
      // Who holds the port is looked for once: that reads all of /proc.
      let isNew = listenRefusal == nil
      let listener = try Listener(tcp: own, options: options, namesHolder: isNew)
      acceptor.put(Acceptor(listener, tag: Tag(kind: Kind.peerAccept)), at: 0)
      listened = own
    } catch {
      wantsListener = false
      if case .portInUse(_, nil) = error, case .portInUse = listenRefusal {} else { listenRefusal = error }
      return listenRefusal?.text
    }
    listenRefusal = nil
    acceptor[0].accept(&ring)
    return nil
  }

  mutating func stopListening(_ ring: inout Ring) {
    wantsListener = false
    listenRefusal = nil
    if acceptor.contains(0), acceptor[0].close(&ring) { _ = acceptor.remove(0) }
  }

  /// What an accept brought: a socket for the engine, or nothing.
  mutating func accepted(
    _ completion: Completion, at now: Instant, _ ring: inout Ring, _ warn: (String) -> Void
  ) -> SocketID? {
    let arrival = acceptor[0].accepted(completion, at: now)
    guard wantsListener else {
      _ = acceptor.remove(0)
      return nil
    }
    if acceptor[0].pausedUntil == nil { acceptor[0].accept(&ring) }
    let socket: Socket
    switch consume arrival {
    case .nobody: return nil
    case .shortage(let fault):
      warn("connections of the peer are not accepted now: \(fault); repld tries again every second")
      return nil
    case .socket(let one): socket = one
    }
    guard sockets.hasRoom else { return nil }
    let address = socket.peerAddress
    guard address?.host == peer.host else {
      strangers += 1
      if strangers == 1 || strangers % 1000 == 0 {
        warn("closed a connection from \(address?.description ?? "nowhere"), which is not the peer \(peer.hostText)")
      }
      return nil
    }
    socket.tuneTCP(options)
    silence = nil
    return add(socket, .open, &ring)
  }

  mutating func resumeAccepting(at now: Instant, _ ring: inout Ring) {
    if acceptor.contains(0) { acceptor[0].resume(at: now, &ring) }
  }

  private mutating func add(_ socket: consuming Socket, _ phase: PeerSocket.Phase, _ ring: inout Ring) -> SocketID {
    let place = sockets.free
    let id = identify(place)
    let file = ring.register(socket.descriptor)
    sockets.put(PeerSocket(id: id, socket: socket, file: file, phase: phase, answerLimit: answerLimit), at: place)
    return id
  }

  // MARK: Connecting

  /// Nil: an attempt was begun. Else why not.
  mutating func connect(at now: Instant, _ ring: inout Ring) -> AttemptFault? {
    guard attempt == nil, sockets.hasRoom else { return AttemptFault(text: "an attempt is under way", isNews: false) }
    do throws(SocketRefusal) {
      let id = add(try Socket(tcpFrom: own, options: options), .connecting, &ring)
      let place = Int(id.raw & 0xff)
      ring.connect(sockets[place].socket, to: peer, tag: Tag(kind: Kind.peerConnect, UInt64(id.raw)))
      attempt = (place, now + patience)
      return nil
    } catch {
      return fault(error.text)
    }
  }

  mutating func giveUpAttempt(at now: Instant, _ ring: inout Ring) {
    guard let (place, until) = attempt, now >= until else { return }
    ring.cancel(Tag(kind: Kind.peerConnect, UInt64(sockets[place].id.raw)), own: Tag(kind: Kind.cancel))
    attempt = (place, Instant(nanoseconds: .max))
  }

  /// The end of an attempt: the socket, or why there is none.
  mutating func connected(_ completion: Completion, _ ring: inout Ring) -> Result<SocketID, AttemptFault> {
    guard let (place, _) = attempt else { preconditionFailure("a connect ended that was not begun") }
    attempt = nil
    if let fault = completion.fault {
      drop(place, &ring)
      let isCancelled = fault.code == 125
      return fail(isCancelled ? "no answer within \(patience.nanoseconds / 1_000_000_000) s" : "\(fault)")
    }
    // On one host a socket may meet itself when its own port happens to be the peer's.
    if sockets[place].socket.localAddress == sockets[place].socket.peerAddress {
      drop(place, &ring)
      return fail("the peer does not listen on this port")
    }
    silence = nil
    sockets[place].phase = .open
    return .success(sockets[place].id)
  }

  private mutating func fail(_ why: String) -> Result<SocketID, AttemptFault> { .failure(fault(why)) }

  private mutating func fault(_ why: String) -> AttemptFault {
    let text = "\(peer): \(why)"
    let isNews = text != silence
    silence = text
    return AttemptFault(text: text, isNews: isNews)
  }

  /// Lets a socket go. Nothing may be under way on it.
  mutating func drop(_ place: Int, _ ring: inout Ring) {
    ring.unregister(sockets[place].file)
    _ = sockets.remove(place)
  }

  /// The next moment at which something here has to end.
  var deadline: Instant? {
    var next = attempt?.until
    if acceptor.contains(0), let until = acceptor[0].pausedUntil, next == nil || until < next! { next = until }
    for i in 0..<sockets.capacity where sockets.contains(i) {
      if case .lingering(let until) = sockets[i].phase, next == nil || until < next! { next = until }
    }
    return next
  }
}

struct AttemptFault: Error {
  let text: String
  /// The attempt before this one did not fail like this.
  let isNews: Bool
}
