// A no that an operator can act on: what happened, why, what to type next. Numbers are DRBD's, for scripts that
// already know them (admin spec 6).
import Base

public struct Refusal: Error, Equatable, Sendable {
  /// Negative: a state change was refused; 102...176: a request was refused; nil: DRBD has no number for it.
  public var number: Int?
  public var exit: Int32
  public var what: String
  public var why: String
  public var next: String

  public init(number: Int?, exit: Int32, what: String, why: String, next: String) {
    self.number = number
    self.exit = exit
    self.what = what
    self.why = why
    self.next = next
  }
}

extension Refusal {
  /// A state change that was refused, by its number (wire spec 4.3); `resource` for the command to type. `next` where
  /// the usual advice is not the right one.
  static func stateChange(
    _ code: Int32, resource: String, peer: String, why: String = "", next: String = ""
  ) -> Refusal {
    var refusal = usual(code, resource: resource, peer: peer, why: why)
    if !next.isEmpty { refusal.next = next }
    return refusal
  }

  private static func usual(_ code: Int32, resource: String, peer: String, why: String) -> Refusal {
    switch code {
    case -1:
      Refusal(
        number: -1, exit: 11, what: "Multiple primaries not allowed by config",
        why: "\(peer) is Primary", next: "demote it there first: repladm secondary \(resource)")
    case -2:
      Refusal(
        number: -2, exit: 17, what: "Need access to UpToDate data",
        why: why.isEmpty ? "neither this node nor a connected peer has UpToDate data" : why,
        next:
          "connect a node whose data are UpToDate, or, if the data of this node are to be kept: repladm primary --force \(resource)"
      )
    case -6:
      Refusal(
        number: -6, exit: 11, what: "Refusing to be Outdated while Connected", why: why,
        next: "disconnect first: repladm disconnect \(resource)")
    case -7:
      Refusal(
        number: -7, exit: 11, what: "Refusing to be Primary while peer is not outdated", why: why,
        next: "connect \(peer), or make sure that it is down and then: repladm primary --force \(resource)")
    case -8:
      Refusal(
        number: -8, exit: 11, what: "Refusing to start while a resync is running", why: why,
        next: "wait for it: repladm wait-sync \(resource)")
    case -10:
      Refusal(
        number: -10, exit: 11, what: "State change was refused by peer node", why: why,
        next: "see the log on \(peer)")
    case -12:
      Refusal(
        number: -12, exit: 11, what: "Device is held open by someone", why: why,
        next: "unmount it or end the program that uses it, then repeat the command")
    case -14:
      Refusal(
        number: -14, exit: 11, what: "Need a verify algorithm to start online verify", why: why,
        next: "set verify-alg on both nodes (crc32c, sha1, ...), then: repladm adjust \(resource)")
    case -15:
      Refusal(
        number: -15, exit: 11, what: "Need a connection to start this", why: "\(peer) is not connected",
        next: "repladm connect \(resource)")
    case -16:
      Refusal(
        number: -16, exit: 5, what: "Disk state is lower than outdated", why: why,
        next: "nothing is to be done: the data of this node are not used")
    case -18:
      Refusal(
        number: -18, exit: 11, what: "In transient state, retry after next state change", why: why,
        next: "repeat the command in a moment")
    case -23:
      Refusal(
        number: -23, exit: 11, what: "Timeout in operation", why: why,
        next: "check the connection to \(peer): repladm status \(resource)")
    default:
      Refusal(
        number: Int(code), exit: code == -4 ? 16 : 11, what: "State change was refused", why: why,
        next: "see repladm status \(resource) and the log")
    }
  }

  /// A request that is not possible as things are; numbers 102...176.
  static func request(_ number: Int, _ what: String, why: String, next: String) -> Refusal {
    Refusal(number: number, exit: 10, what: what, why: why, next: next)
  }
}
