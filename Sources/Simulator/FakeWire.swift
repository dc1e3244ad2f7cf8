// The cable between the two nodes, as TCP shows it: connections with two lanes each, in order, with latency, bandwidth
// and a send buffer; the cable can be cut and mended, a connection reset, one end lost without a word.
import Base
import Engine
import Protocol

/// Accepted from the engine, not yet in the kernel's send buffer.
struct Waiting {
  var packet: Packet
  var volume: VolumeNumber
  /// Still the engine's: `.sent` has not been reported.
  var payload: PayloadRef?
  var notify: WorkID?
  var bytes: Int
  /// Header and fields, when packets travel as bytes.
  var encoded: [UInt8] = []
}

/// In the kernel or on the cable.
struct Moving {
  var packet: Packet
  var volume: VolumeNumber
  /// The wire's own copy.
  var payload: PayloadRef?
  /// When it arrives.
  var at: UInt64
  var bytes: Int
  /// The whole packet, when packets travel as bytes.
  var encoded: [UInt8] = []
}

/// One direction of a connection.
struct Lane: ~Copyable {
  var waiting = Queue<Waiting>(capacity: 16)
  var moving = Queue<Moving>(capacity: 16)
  var inKernel = 0
  /// Arrival of the last thing that was put on the cable.
  var clock: UInt64
  /// A delivery is in the schedule.
  var isScheduled = false
  /// The end of the stream follows what is moving.
  var ends = false
  /// The sender closes as soon as nothing waits.
  var closesWhenSent = false
  /// The receiver's engine has to say first how the stream goes on (`Effect.configure`).
  var isPaused = true

  // Packets as bytes, when the circumstances say so.
  /// How the sender writes.
  var writing = PacketStream(socket: .undecided)
  /// How the receiver reads.
  var reading = PacketStream(socket: .undecided)
  var pipe: [UInt8] = []
  var inbox: [UInt8] = []
  /// Packets lie in the inbox, and the receiver's engine has no room for requests.
  var isHeldBack = false

  init(from now: UInt64) { clock = now }

  var hasSomethingToDeliver: Bool { isHeldBack || !moving.isEmpty || (ends && waiting.isEmpty) }
}

enum EndState {
  case open
  /// `.socketClosed` is on its way to the engine.
  case closing
  case gone
  /// The machine lost its power: nobody knows this connection any more.
  case forgotten
}

/// One end.
struct End {
  var socket: SocketID
  var state = EndState.open
  /// The engine has been told about it.
  var isKnown = false
}

final class Connection {
  /// Lane i carries what end i sends.
  var lane0: Lane
  var lane1: Lane
  /// By node.
  var ends: [End]

  init(ends: [End], from now: UInt64) {
    lane0 = Lane(from: now)
    lane1 = Lane(from: now)
    self.ends = ends
  }

  /// Access to the lane that starts at this node.
  @inline(__always) func withLane<R>(_ from: Int, _ body: (inout Lane) -> R) -> R {
    from == 0 ? body(&lane0) : body(&lane1)
  }

  /// Neither engine will ever hear of it again.
  var isFinished: Bool { ends.allSatisfy { $0.state == .gone || $0.state == .forgotten } }
}
