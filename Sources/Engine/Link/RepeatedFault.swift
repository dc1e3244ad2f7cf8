// A pair of nodes that end every connection with the same protocol error (wire spec 11.2): nothing changes by itself, so the next
// attempts come later, and the log says what an operator can do. Law: no pair repeats a protocol error at the pace of
// connect-int for ever.
import Base
import Protocol

struct RepeatedFault: Equatable {
  /// The error without its numbers.
  var kind: String
  /// How often it has ended a connection, one behind the other.
  var count: Int
}

extension Engine {
  /// From this one on the next attempt waits.
  static let faultsInARow = 3
  /// A connection that lasted longer was no repetition.
  static let fleeting = Interval.seconds(60)

  /// How long to wait before the next search, because the connection ends as the last ones did; nil: it does not. Called while the
  /// connection is known still.
  mutating func pauseForRepetition(_ reason: ConnectionState, _ why: String) -> Interval? {
    let isFleeting = now < link.began + Self.fleeting
    guard reason == .protocolError || (reason != .tearDown && breaksOffBitmaps) else {
      if !isFleeting { link.fault = nil }
      return nil
    }
    let kind = why.filter { !$0.isNumber }
    if let fault = link.fault, fault.kind == kind, isFleeting {
      link.fault!.count = min(fault.count + 1, 1000)
    } else {
      link.fault = RepeatedFault(kind: kind, count: 1)
    }
    let count = link.fault!.count
    if count < Self.faultsInARow { return nil }
    // 30 s, 60 s, and so on up to 8 minutes.
    let seconds = UInt64(30) << UInt64(min(count - Self.faultsInARow, 4))
    fail(
      .connection,
      "the connection has ended \(count) times in the same way: \(why); the next attempt "
        + "is made in \(seconds) s (repladm explain \(settings.name)). Compare repladm show-gi \(settings.name) and the logs of both nodes; on a node whose data may be "
        + "replaced by those of the other one: repladm disconnect \(settings.name), then repladm connect --discard-my-data "
        + "\(settings.name); to try again at once: repladm disconnect and repladm connect \(settings.name)")
    return .seconds(seconds)
  }

  /// A DRBD 9 that has met the protocol error itself hangs up while bitmaps are exchanged.
  private var breaksOffBitmaps: Bool {
    guard link.peerIsDRBD9 else { return false }
    for v in 0..<volumes.count {
      let conn = volumes[v].state.conn
      if conn >= .wfBitMapS, conn <= .wfSyncUUID { return true }
    }
    return false
  }
}
