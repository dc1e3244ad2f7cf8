// Who has the better data: the comparison of two nodes' generation identifiers and what follows from it (wire spec 5.2
// to 5.4), as one pure function. Law: both nodes run it over the same packets with swapped roles and reach mirrored
// verdicts. Where the table itself would not mirror (it happens only with histories that normal operation cannot
// produce), the verdict is a refusal: two nodes never disagree about who has the data.
//
// Bit 0 of an identifier says "was Primary" and is masked in every comparison, unless a rule asks whether a slot is
// empty.
import Base
import Protocol

/// After-split-brain policies with their numbers on the wire (P_PROTOCOL).
public enum SplitBrainPolicy: UInt32, Sendable, CaseIterable {
  case disconnect = 0
  case discardYoungerPrimary = 1
  case discardOlderPrimary = 2
  case discardZeroChanges = 3
  case discardLeastChanges = 4
  case discardLocal = 5
  case discardRemote = 6
  case consensus = 7
  case discardSecondary = 8
  case callPrimaryLost = 9
  case violently = 10
}

/// `rr-conflict`: what a Primary does whose data would be overwritten.
public enum ResyncRolePolicy: Sendable, CaseIterable {
  case disconnect
  case callPrimaryLost
  case violently
}

public struct GenerationInput: Equatable, Sendable {
  /// Slots, flags and dirty bits as sent in the last P_UUIDS of each node. Own flags carry the crashed-Primary mark.
  public var own = GenerationIdentifiers()
  public var peer = GenerationIdentifiers()
  public var ownRole = Role.secondary
  public var peerRole = Role.secondary
  /// Negotiating already replaced by what the disk will be (wire spec 4.4, attach while connected).
  public var ownDisk = DiskState.upToDate
  public var peerDisk = DiskState.upToDate
  /// The own disk is being attached: a Primary without data may become a target.
  public var ownDiskNegotiating = false
  /// This node accepted the meta socket.
  public var resolveConflicts = false
  public var version: UInt32 = 101
  public var features = FeatureFlags.all
  /// The operator said so for this connection. The peer says it in its UUID flags.
  public var discardMyData = false
  public var afterSplitBrain0 = SplitBrainPolicy.disconnect
  public var afterSplitBrain1 = SplitBrainPolicy.disconnect
  public var afterSplitBrain2 = SplitBrainPolicy.disconnect
  public var alwaysAfterSplitBrain = false
  public var rrConflict = ResyncRolePolicy.disconnect
  /// For call-pri-lost-after-sb: the device is not in use, so this Primary can step down.
  public var canDemote = false
  public var dryRun = false
  public init() {}

  public var peerDiscardsData: Bool { peer.flags.contains(.discardMyData) }

  /// The same comparison as the peer sees it.
  var mirrored: GenerationInput {
    var other = self
    other.own = peer
    other.peer = own
    other.ownRole = peerRole
    other.peerRole = ownRole
    other.resolveConflicts = !resolveConflicts
    return other
  }
}

public enum GenerationAction: Equatable, Sendable {
  case noSync
  case source(full: Bool)
  case target(full: Bool)
  case refuse(GenerationRefusal)
}

/// Every one means StandAlone, except for an attach while connected (wire spec 4.5 rule 8).
public enum GenerationRefusal: Equatable, Sendable {
  case splitBrain
  case unrelated
  case needsVersion(UInt32)
  case needsFeatures(FeatureFlags)
  case inconsistentSource
  case primaryWouldLose
  /// The two nodes would not agree: broken histories.
  case contradictory
  case dryRun

  /// For the log. The first six are DRBD's own words, which monitoring looks for.
  public var sentence: String {
    switch self {
    case .splitBrain: "Split-Brain detected but unresolved, dropping connection!"
    case .unrelated: "Unrelated data, aborting!"
    case .needsVersion(let version): "To resolve this both sides have to support at least protocol \(version)"
    case .needsFeatures(let features):
      "To resolve this both sides have to support feature flags 0x\(String(features.rawValue, radix: 16))"
    case .inconsistentSource: "I shall become SyncSource, but I am inconsistent!"
    case .primaryWouldLose: "I shall become SyncTarget, but I am primary!"
    case .contradictory: "the two nodes' generation identifiers contradict each other, dropping connection"
    case .dryRun: "dry-run connect, dropping connection"
    }
  }

  /// The same with what to type on which node, for the operators of both; they read the same on their nodes.
  func advised(resource: String, volume: String) -> String {
    let other = "and on the other node, if its connection is StandAlone: repladm connect \(resource)"
    let discard = "repladm disconnect \(resource), repladm connect --discard-my-data \(resource)"
    let next: String
    switch self {
    case .splitBrain:
      next =
        "choose the node whose changes are discarded, and type there: repladm secondary \(resource), \(discard); \(other)"
    case .unrelated, .contradictory:
      next =
        "if the disks are the right ones, choose the node whose data are replaced, and type there: repladm down \(resource), "
        + "repladm create-md --force \(volume), repladm up \(resource); \(other)"
    case .inconsistentSource: next = "type on this node: \(discard); \(other)"
    case .primaryWouldLose:
      next =
        "its data are older than the peer's: end what uses them, and type on this node: repladm secondary \(resource), "
        + "repladm connect \(resource); \(other)"
    case .needsVersion, .needsFeatures:
      next = "upgrade the older node, and type on both nodes: repladm connect \(resource)"
    case .dryRun: return sentence
    }
    return sentence.hasSuffix("!")
      ? "\(sentence) \(next.prefix(1).uppercased())\(next.dropFirst())" : "\(sentence); \(next)"
  }
}

public struct GenerationVerdict: Equatable, Sendable {
  public var rule: Int
  /// The result of the comparison as DRBD logs it, before disks, roles and policies are considered.
  public var comparison: Int
  public var action: GenerationAction
  /// Own slots to store: corrected by rules 34 and 71.
  public var own: GenerationIdentifiers
  /// Copy of the peer's slots to keep: corrected by rules 35 and 51.
  public var peer: GenerationIdentifiers
  /// Both nodes changed their data apart from each other; the handler is to be called.
  public var splitBrain = false
  /// A policy or discard-my-data has decided who loses.
  public var splitBrainResolved = false
  /// A policy has decided against this Primary, which cannot step down now: the handler is to be called.
  public var losesAsPrimary = false
  /// This Primary has to step down before it becomes the target (call-pri-lost-after-sb).
  public var mustDemote = false
}

public func decideGenerations(_ input: GenerationInput) -> GenerationVerdict {
  let comparison = input.compare()
  var verdict = GenerationVerdict(
    rule: comparison.rule, comparison: comparison.result.number, action: .noSync, own: comparison.own,
    peer: comparison.peer)
  guard input.mirrored.compare().result == comparison.result.mirrored else {
    verdict.action = .refuse(.contradictory)
    return verdict
  }
  switch comparison.result {
  case .unrelated: verdict.action = .refuse(.unrelated)
  case .needsVersion(let version): verdict.action = .refuse(.needsVersion(version))
  case .needsFeatures(let features): verdict.action = .refuse(.needsFeatures(features))
  case .none: verdict.settle(.none, full: false, input)
  case .source(let full): verdict.settle(.source, full: full, input)
  case .target(let full): verdict.settle(.target, full: full, input)
  case .splitBrain(let commonAncestor): verdict.settle(.unknown, full: !commonAncestor, input)
  }
  return verdict
}

// MARK: - From the result to the action (5.3)

private enum Direction { case none, source, target, unknown }

extension GenerationVerdict {
  /// `full` with an unknown direction: there is no common ancestor, so whoever loses loses everything.
  fileprivate mutating func settle(_ compared: Direction, full comparedFull: Bool, _ input: GenerationInput) {
    var direction = compared
    var full = comparedFull
    if (input.ownDisk == .inconsistent) != (input.peerDisk == .inconsistent),
      max(input.ownDisk, input.peerDisk) > .inconsistent
    {
      direction = input.ownDisk > .inconsistent ? .source : .target
    }
    if direction == .unknown {
      splitBrain = true
      if !full || input.alwaysAfterSplitBrain { direction = resolveByPolicy(input) }
      if direction == .unknown, input.discardMyData != input.peerDiscardsData {
        direction = input.discardMyData ? .target : .source
        full = false
      }
      splitBrainResolved = direction != .unknown
    }
    action = permitted(direction, full: full, input)
  }

  private func permitted(_ direction: Direction, full: Bool, _ input: GenerationInput) -> GenerationAction {
    switch direction {
    case .unknown: return .refuse(.splitBrain)
    case .none: return input.dryRun ? .refuse(.dryRun) : .noSync
    case .source:
      if input.ownDisk <= .inconsistent { return .refuse(.inconsistentSource) }
      return input.dryRun ? .refuse(.dryRun) : .source(full: full)
    case .target:
      let losesData = input.ownRole == .primary && input.ownDisk >= .consistent && !input.ownDiskNegotiating
      if losesData, !mustDemote, input.rrConflict != .violently { return .refuse(.primaryWouldLose) }
      return input.dryRun ? .refuse(.dryRun) : .target(full: full)
    }
  }
}

// MARK: - After-split-brain policies (5.4)

extension GenerationVerdict {
  fileprivate mutating func resolveByPolicy(_ input: GenerationInput) -> Direction {
    let isPrimary = input.ownRole == .primary
    let primaries = (isPrimary ? 1 : 0) + (input.peerRole == .primary ? 1 : 0)
    let policy = [input.afterSplitBrain0, input.afterSplitBrain1, input.afterSplitBrain2][primaries]
    if primaries == 0 { return Self.loser(policy, input) }
    switch policy {
    case .discardSecondary where primaries == 1: return isPrimary ? .source : .target
    case .consensus where primaries == 1:
      let decided = Self.loser(input.afterSplitBrain0, input)
      return decided == (isPrimary ? .source : .target) ? decided : .unknown
    case .violently: return Self.loser(input.afterSplitBrain0, input)
    case .callPrimaryLost:
      let decided = Self.loser(input.afterSplitBrain0, input)
      guard decided == .target, isPrimary else { return decided }
      guard input.canDemote else {
        losesAsPrimary = true
        return .unknown
      }
      mustDemote = true
      return .target
    default: return .unknown
    }
  }

  /// The decision for two Secondaries.
  private static func loser(_ policy: SplitBrainPolicy, _ input: GenerationInput) -> Direction {
    let ownWasPrimary = input.own.bitmap & 1 != 0
    let peerWasPrimary = input.peer.bitmap & 1 != 0
    let tie = input.resolveConflicts ? Direction.target : .source
    switch policy {
    case .disconnect, .consensus, .discardSecondary, .callPrimaryLost, .violently: return .unknown
    case .discardLocal: return .target
    case .discardRemote: return .source
    case .discardYoungerPrimary where ownWasPrimary != peerWasPrimary: return ownWasPrimary ? .source : .target
    case .discardOlderPrimary where ownWasPrimary != peerWasPrimary: return ownWasPrimary ? .target : .source
    default: break
    }
    if policy != .discardLeastChanges {
      if input.own.dirtyBits == 0, input.peer.dirtyBits == 0 { return tie }
      if input.peer.dirtyBits == 0 { return .source }
      if input.own.dirtyBits == 0 { return .target }
      if policy == .discardZeroChanges { return .unknown }
    }
    if input.own.dirtyBits == input.peer.dirtyBits { return tie }
    return input.own.dirtyBits < input.peer.dirtyBits ? .target : .source
  }
}
