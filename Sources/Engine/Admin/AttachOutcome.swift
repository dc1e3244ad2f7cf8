// How an attach ends whose disk a connected peer has to compare first (wire spec 4.5, 5.6): taken, refused by the comparison,
// cut short by the loss of the peer, or left without an answer. Law: the command is answered with what became of the disk.
import Base

extension Engine {
  /// The disk is Negotiating no longer. One that is being let go answers when it is closed.
  mutating func comparisonEnded(_ v: Int, _ disk: DiskState) {
    volumes[v].attach.deadline = nil
    if disk < .inconsistent { return }
    noteAgreedSize(v)
    answer(.attach, on: v, .done)
  }

  /// A peer that says nothing to the disk: it is let go, and what the application uses stays as it was.
  mutating func attachTick(_ v: Int) {
    guard let due = volumes[v].attach.deadline, now >= due else { return }
    volumes[v].attach.deadline = nil
    volumes[v].attach.refusal = Refusal(
      number: nil, exit: 10, what: "attach of \(name(v)) failed",
      why: "\(settings.peerName) is connected and has not said whether this disk fits its data",
      next: "see the log on \(settings.peerName), and attach without a connection: repladm disconnect "
        + "\(settings.name), repladm attach \(name(v)), repladm connect \(settings.name)")
    beginDetach(v, graceful: true, nil)
  }

  /// A Primary has shown newer data than this disk has.
  func tooOld(_ v: Int) -> Refusal {
    .request(
      150, "attach of \(name(v)) failed", why: "the disk is older than the data that this Primary has in use",
      next: "connect the node that has them first: repladm connect \(settings.name)")
  }

  /// The comparison with the connected peer has refused this disk.
  func doesNotFit(_ v: Int, _ reason: GenerationRefusal, haveAncestor: Bool) -> Refusal {
    let peer = settings.peerName
    let fresh =
      "if this is the right disk, and all of its data may be replaced by those of \(peer): "
      + "repladm create-md --force \(name(v)), then repladm attach \(name(v))"
    let why: String
    let next: String
    switch reason {
    case .splitBrain where !haveAncestor:
      // The bitmap says nothing about what differs: throwing away the changes would not be enough.
      why = "split brain: this disk and \(peer) have no generation in common"
      next = fresh
    case .splitBrain:
      why = "split brain: this disk and \(peer) were both written to since they were last equal"
      next =
        role == .primary
        ? fresh
        : "to discard the changes on this disk: repladm disconnect \(settings.name), repladm attach \(name(v)), "
          + "repladm connect --discard-my-data \(settings.name)"
    case .unrelated:
      why =
        "the data on this disk are not related to those of \(peer): they are those of another volume, or too old to tell"
      next = fresh
    case .primaryWouldLose:
      why = "the data on this disk are older than those of \(peer), and this node is Primary"
      next = "demote it first (repladm secondary \(settings.name)), then: repladm attach \(name(v))"
    case .inconsistentSource:
      why = "this disk would have to bring \(peer) up to date, and its own data are Inconsistent"
      next = fresh
    case .needsVersion, .needsFeatures, .contradictory, .dryRun:
      why = reason.sentence
      next = "repladm disconnect \(settings.name), repladm attach \(name(v)), and see what repladm connect says"
    }
    return .request(150, "attach of \(name(v)) failed", why: why, next: next)
  }

  /// It failed, or was detached, before it was compared.
  func lostInAttach(_ v: Int) -> Refusal {
    .request(
      118, "attach of \(name(v)) failed", why: "the disk was detached before \(settings.peerName) had compared it",
      next: "see the log, and when the disk is sound: repladm attach \(name(v))")
  }
}
