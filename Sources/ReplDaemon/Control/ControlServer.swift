// The control socket of the resource, for its owner only, and the status socket, whose readers change nothing: up to 16 programs;
// one more, and the oldest that asks for nothing has to go. Readers have 8 of the places at most. Who is answered is found by the number in `ReplyTo`: place and generation, so that an answer that comes after
// the program has left goes nowhere.
import Base
import BlockIO
import Control
import Engine

struct ControlServer: ~Copyable {
  static let programsMax = 16
  static let readersMax = 8
  /// Whom the daemon itself asks for: a signal has no connection.
  static let ownReply = ReplyTo(0)

  private var acceptors: Places<Acceptor>
  /// A few more than allowed: those that have to go take a moment.
  static let placesMax = programsMax + 8
  var connections = Places<ControlConnection>(capacity: ControlServer.placesMax)
  private var generation: UInt32 = 0
  /// Answers of the engine that were not looked at yet.
  private var answers = Queue<(to: ReplyTo, outcome: Outcome)>(capacity: 16)
  private var hasNews = false
  /// What followers were told last.
  var shownToWatchers: StatusSnapshot?

  /// The places of the acceptors.
  private static let (owner, reader) = (0, 1)

  /// `readers`: the group that may use the status socket; nil: there is none.
  init(path: String, status: String, readers: UInt32?) throws(SocketRefusal) {
    acceptors = Places(capacity: 2)
    try listen(Listener(unix: path), at: Self.owner)
    if let readers { try listen(Listener(unix: status, group: readers), at: Self.reader) }
  }

  private mutating func listen(_ listener: consuming Listener, at place: Int) {
    acceptors.put(Acceptor(listener, tag: Tag(kind: Kind.controlAccept, UInt64(place))), at: place)
  }

  mutating func begin(_ ring: inout Ring) {
    for i in 0..<acceptors.capacity where acceptors.contains(i) { acceptors[i].accept(&ring) }
  }

  mutating func accepted(_ completion: Completion, at now: Instant, _ ring: inout Ring, _ warn: (String) -> Void) {
    let door = Int(completion.tag.payload)
    let arrival = acceptors[door].accepted(completion, at: now)
    if acceptors[door].pausedUntil == nil { acceptors[door].accept(&ring) }
    let socket: Socket
    switch consume arrival {
    case .nobody: return
    case .shortage(let fault):
      return warn("programs on the control socket are not accepted now: \(fault); repld tries again every second")
    case .socket(let one): socket = one
    }
    let isReader = door == Self.reader
    guard connections.hasRoom, !isReader || readers < Self.readersMax || endOldestIdle(isReader: true) else { return }
    if connections.count >= ControlServer.programsMax { endOldestIdle() }
    generation &+= 1
    let place = connections.free
    let file = ring.register(socket.descriptor)
    connections.put(
      ControlConnection(socket: socket, file: file, isReader: isReader, generation: generation), at: place)
    connections[place].watch(Tag(kind: Kind.controlHangUp, UInt64(place)), &ring)
    hasNews = true
  }

  mutating func resumeAccepting(at now: Instant, _ ring: inout Ring) {
    for i in 0..<acceptors.capacity where acceptors.contains(i) { acceptors[i].resume(at: now, &ring) }
  }

  private var readers: Int {
    var count = 0
    for i in 0..<connections.capacity where connections.contains(i) && connections[i].isReader { count += 1 }
    return count
  }

  /// False: each of them waits for an answer.
  @discardableResult
  private mutating func endOldestIdle(isReader: Bool = false) -> Bool {
    var oldest: Int?
    for i in 0..<connections.capacity
    where connections.contains(i) && connections[i].isIdle && (!isReader || connections[i].isReader) {
      if oldest == nil || connections[i].generation < connections[oldest!].generation { oldest = i }
    }
    guard let oldest else { return false }
    connections[oldest].end()
    return true
  }

  mutating func received(_ completion: Completion) {
    connections[Int(completion.tag.payload)].received(completion)
    hasNews = true
  }

  mutating func sent(_ completion: Completion) {
    connections[Int(completion.tag.payload)].sent(completion)
    hasNews = true
  }

  mutating func hungUp(_ completion: Completion) {
    connections[Int(completion.tag.payload)].hungUp()
    hasNews = true
  }

  // MARK: Who waits

  func replyTo(_ place: Int) -> ReplyTo {
    ReplyTo(UInt64(connections[place].generation) << 8 | UInt64(place) | 1 << 48)
  }

  /// The place that waits for this answer, if it still does.
  func place(of reply: ReplyTo) -> Int? {
    let place = Int(reply.raw & 0xff)
    guard connections.contains(place), replyTo(place) == reply else { return nil }
    return place
  }

  mutating func replied(_ to: ReplyTo, _ outcome: Outcome) { answers.append((to, outcome)) }
  mutating func popAnswer() -> (to: ReplyTo, outcome: Outcome)? { answers.popFirst() }

  /// The state of the resource has changed: those who wait for one look again.
  mutating func stateMoved() { hasNews = true }
  mutating func newsForWatchers() { hasNews = true }

  var hasWork: Bool { hasNews || !answers.isEmpty }
  mutating func lookedAt() { hasNews = false }

  mutating func finish(_ place: Int) {
    // A later request of the same program has a number of its own.
    generation &+= 1
    connections[place].generation = generation
    connections[place].job = nil
    hasNews = true
  }

  var deadline: Instant? {
    var next: Instant?
    for i in 0..<acceptors.capacity where acceptors.contains(i) {
      if let until = acceptors[i].pausedUntil, next == nil || until < next! { next = until }
    }
    for i in 0..<connections.capacity where connections.contains(i) {
      guard let job = connections[i].job else { continue }
      if let due = job.deadline, next == nil || due < next! { next = due }
      if job.wait == .sync || job.wait == .watch, next == nil || job.nextProgress < next! { next = job.nextProgress }
    }
    return next
  }

  // MARK: The ring

  mutating func submit(_ ring: inout Ring) {
    for i in 0..<connections.capacity where connections.contains(i) {
      connections[i].submit(Tag(kind: Kind.controlSend, UInt64(i)), &ring)
      connections[i].receive(Tag(kind: Kind.controlReceive, UInt64(i)), &ring)
      if connections[i].canGo {
        ring.unregister(connections[i].file)
        _ = connections.remove(i)
      }
    }
  }

  /// No more programs. True once the last word of the ones that are here is out.
  var isQuiet: Bool {
    for i in 0..<connections.capacity where connections.contains(i) && !connections[i].isQuiet { return false }
    return true
  }
}
