// One program on the control socket: a line in, one or more lines out, one request at a time. Laws: a line longer than
// 64 KiB costs the connection; every request gets exactly one final reply, in time when it named one.
import Base
import BlockIO
import Control
import Engine

struct ControlConnection: ~Copyable {
  static let longestLine = 64 << 10

  /// What a request waits for.
  enum Wait: Equatable {
    /// The engine's answer to the command given last.
    case engine
    case connect
    case sync
    /// For nothing: it is told what happens until it leaves.
    case watch
  }

  struct Job {
    var command: ControlCommand
    /// Commands for the engine that come after the one under way.
    var steps: [EngineCommand]
    var wait: Wait
    var deadline: Instant?
    var nextProgress: Instant
    /// A wait: StandAlone does not end it.
    var waitsWhileStandAlone = false
    /// What the engine has said about steps that are done.
    var remarks: [String] = []
  }

  let socket: Socket
  let file: RingFile
  /// It came by the status socket: it may ask, and change nothing.
  let isReader: Bool
  /// Part of every `ReplyTo`: an answer that comes late finds nobody.
  var generation: UInt32
  var job: Job?
  private var staging = Staging(capacity: ControlConnection.longestLine)
  private var line: UnsafeMutableRawBufferPointer?
  private var sentBytes = 0
  private var lines: [[UInt8]] = []
  private var isReceiving = false
  private var isSending = false
  /// The ring tells when the program hangs up.
  private var isWatched = false
  private var hasHungUp = false
  private(set) var hasEnded = false
  private var endsAfterSending = false
  /// A follower that could not be told everything.
  var isBehind = false

  init(socket: consuming Socket, file: RingFile, isReader: Bool, generation: UInt32) {
    self.socket = socket
    self.isReader = isReader
    self.file = file
    self.generation = generation
  }

  deinit { line?.deallocate() }

  // MARK: In

  /// The next whole line without its end. Nil: there is none yet.
  mutating func nextLine() -> [UInt8]? {
    // One that sends requests and does not read the answers is not answered without bound.
    guard job == nil, isQuiet, !hasEnded, !endsAfterSending else { return nil }
    let bytes = UnsafeRawBufferPointer(start: staging.front, count: staging.count)
    guard let end = bytes.firstIndex(of: ControlLine.end) else { return nil }
    let line = Array(bytes[..<end])
    staging.drop(end + 1)
    return line
  }

  /// A line without end fills all the room there is.
  var isOverlong: Bool {
    job == nil && isQuiet && !endsAfterSending && staging.count == ControlConnection.longestLine
  }

  mutating func receive(_ tag: Tag, _ ring: inout Ring) {
    guard !isReceiving, !hasEnded else { return }
    let room = staging.room()
    // A full buffer while a command runs: what comes next is read when it has ended, if the program is still there.
    guard room.count > 0 else {
      if hasHungUp { end() }
      return
    }
    ring.receive(file, into: room.start, count: room.count, tag: tag)
    isReceiving = true
  }

  mutating func received(_ completion: Completion) {
    isReceiving = false
    staging.arrived(Int(max(0, completion.result)))
    if completion.result <= 0, completion.fault?.isInterruption != true { end() }
  }

  mutating func watch(_ tag: Tag, _ ring: inout Ring) {
    isWatched = true
    ring.pollHangUp(socket.descriptor, tag: tag)
  }

  mutating func hungUp() {
    isWatched = false
    hasHungUp = true
  }

  // MARK: Out

  var waitingLines: Int { lines.count }
  var isWatching: Bool { job?.wait == .watch && !hasEnded }
  /// Nothing waits to be sent: a progress line may go out.
  var isQuiet: Bool { line == nil && lines.isEmpty }

  mutating func put(_ bytes: [UInt8], thenEnd: Bool = false) {
    guard !hasEnded else { return }
    lines.append(bytes)
    endsAfterSending = endsAfterSending || thenEnd
  }

  mutating func submit(_ tag: Tag, _ ring: inout Ring) {
    guard !isSending, !hasEnded else { return }
    if line == nil, !lines.isEmpty {
      let bytes = lines.removeFirst()
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
      copy.copyBytes(from: bytes)
      line = copy
      sentBytes = 0
    }
    guard let line, let start = line.baseAddress else {
      if endsAfterSending { end() }
      return
    }
    ring.send(file, from: start + sentBytes, count: line.count - sentBytes, tag: tag)
    isSending = true
  }

  mutating func sent(_ completion: Completion) {
    isSending = false
    guard completion.result > 0 else {
      if completion.fault?.isInterruption != true { end() }
      return
    }
    sentBytes += Int(completion.result)
    if let all = line, sentBytes == all.count {
      all.deallocate()
      line = nil
    }
  }

  // MARK: The end

  mutating func end() {
    guard !hasEnded else { return }
    hasEnded = true
    lines = []
    socket.shutdown()
  }

  /// Asks for nothing and is told nothing.
  var isIdle: Bool { job == nil && isQuiet && !hasEnded }

  var canGo: Bool { hasEnded && !isReceiving && !isSending && !isWatched }
}
