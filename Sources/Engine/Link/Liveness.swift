// Keepalive (wire spec 11.1) and the patience with a peer that owes us acks (ko-count).
import Base
import Protocol

extension Engine {
  mutating func metaHeard() {
    link.pingTimer = now
    link.dataHeard = false
  }

  /// Waits for pings and all else at once: every volume has at most a few steps that wait for one.
  static let maxPings = 1024

  /// `then` goes on when the peer has seen everything that was sent before.
  mutating func sendPing(_ then: Continuation, _ v: Int? = nil) {
    guard link.phase.isUp else { return }
    guard waits.all.count < Self.maxPings else {
      breakLink(.networkFailure, "\(Self.maxPings) pings without an answer")
      pingLost(then)
      return
    }
    waits.add(.ping, v, then)
    // A DRBD 9 acknowledges pings that arrive together once (14.2 number 21): the next ping goes out with the ack of this one.
    if link.peerIsDRBD9, link.pingDeadline != nil { return }
    sendOutPing()
  }

  private mutating func sendOutPing() {
    sendMeta(.ping)
    link.pingCovers = waits.all.count { $0.reason == .ping }
    if link.pingDeadline == nil { link.pingDeadline = now + settings.net.pingTimeout }
  }

  mutating func pingAcked() {
    if link.peerIsDRBD9 {
      singlePingAcked()
      return
    }
    guard let one = waits.takeFirst(.ping) else { return }
    link.pingDeadline = waits.all.contains { $0.reason == .ping } ? now + settings.net.pingTimeout : nil
    pingAnswered(one.volume, one.then)
  }

  private mutating func pingAnswered(_ v: Int?, _ then: Continuation) {
    if case .promote(let force, let reply) = then {
      promote(force: force, reply, .peerAnswered)
    } else if let v {
      goOn(v, then)
    }
  }

  /// One ping is under way: its ack answers all that waited when it was sent, and the next one is for those that came later.
  private mutating func singlePingAcked() {
    guard link.pingDeadline != nil else { return }
    link.pingDeadline = nil
    var answered: [Wait] = []
    for _ in 0..<link.pingCovers {
      if let one = waits.takeFirst(.ping) { answered.append(one) }
    }
    if waits.all.contains(where: { $0.reason == .ping }) { sendOutPing() }
    let connection = link.generation
    for one in answered {
      if link.generation == connection { pingAnswered(one.volume, one.then) } else { pingLost(one.then) }
    }
  }

  /// The connection has ended: what waited for its peer's answer is over. A promotion is refused: the peer was Primary, and may be.
  mutating func pingLost(_ then: Continuation) {
    guard case .promote(_, let reply) = then else { return }
    refusePromotion(
      reply, -1, why: "\(settings.peerName) was Primary when the connection ended",
      next: "if \(settings.peerName) does not run any more, repeat the command")
  }

  /// The peer has not answered a ping in time: it is taken for dead. Promotions that waited for its answer are decided without it.
  private mutating func peerIsSilent() {
    let promotions = waits.take { if case .promote = $0.then, $0.reason == .ping { true } else { false } }
    breakLink(.networkFailure, "no answer to a ping within ping-timeout")
    for one in promotions {
      guard case .promote(let force, let reply) = one.then else { continue }
      if waits.contains(.down) {
        refusePromotion(reply, -18, why: "the resource is going down")
      } else {
        promote(force: force, reply)
      }
    }
  }

  /// Whether the peer owes an ack, and until when it is waited for.
  private var ackDeadline: Instant? {
    guard settings.net.koCount > 0, let since = epochs.lastProgress,
      !epochs.closed.isEmpty || waitsForAck
    else { return nil }
    return since + settings.net.timeout * settings.net.koCount
  }

  private var waitsForAck: Bool {
    for v in 0..<volumes.count where volumes[v].peer.pending.count > 0 { return true }
    return false
  }

  var livenessDeadline: Instant? {
    guard link.phase.isUp else { return nil }
    var next = link.pingDeadline ?? link.pingTimer + settings.net.pingInterval
    if let due = ackDeadline, due < next { next = due }
    return next
  }

  mutating func livenessTick() {
    guard link.phase.isUp else { return }
    if let due = link.pingDeadline, now >= due {
      if link.dataHeard {
        // It lives, its acks are late.
        link.dataHeard = false
        link.pingDeadline = now + settings.net.pingTimeout
      } else {
        peerIsSilent()
        return
      }
    } else if link.pingDeadline == nil, now >= link.pingTimer + settings.net.pingInterval {
      if link.dataHeard {
        link.pingTimer = now
        link.dataHeard = false
      } else {
        sendPing(.nothing)
      }
    }
    if let due = ackDeadline, now >= due {
      breakLink(.timeout, "the peer did not acknowledge a write within ko-count x timeout")
    }
  }
}
