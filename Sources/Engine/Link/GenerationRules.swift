// The rules of the generation comparison in their order (wire spec 5.2): the first that matches wins. Rules 34, 35, 51 and
// 71 see that a packet of an earlier resync was lost, and correct the slots as if it had arrived.
import Base
import Protocol

extension GenerationIdentifiers {
  /// current of metadata that nobody has used yet.
  public static let justCreated: UInt64 = 4
  /// A sync UUID is the old bitmap UUID and this.
  public static let syncStep: UInt64 = 0x0001_0000_0000_0000

  /// Bit 0 of every slot cleared.
  fileprivate var masked: GenerationIdentifiers {
    var slots = self
    slots.current &= ~1
    slots.bitmap &= ~1
    slots.history0 &= ~1
    slots.history1 &= ~1
    return slots
  }

  fileprivate var isUnused: Bool { current == Self.justCreated || current == 0 }

  fileprivate func remembers(_ identifier: UInt64) -> Bool { history0 == identifier || history1 == identifier }

  /// The resync of which this node was the source has ended: the bitmap UUID becomes history.
  fileprivate mutating func endResync() {
    history1 = history0
    history0 = bitmap
    bitmap = 0
  }

  /// The resync of which this node was the source has never begun.
  fileprivate mutating func undoResync() {
    bitmap = history0
    history0 = history1
  }

  /// As `undoResync`, where the history was never written.
  fileprivate mutating func takeBackSyncUUID() { bitmap &-= Self.syncStep }
}

enum GenerationResult: Equatable {
  case none
  case source(full: Bool)
  case target(full: Bool)
  case splitBrain(commonAncestor: Bool)
  case unrelated
  case needsVersion(UInt32)
  case needsFeatures(FeatureFlags)

  /// As DRBD logs it.
  var number: Int {
    switch self {
    case .none: 0
    case .source(let full): full ? 2 : 1
    case .target(let full): full ? -2 : -1
    case .splitBrain(let commonAncestor): commonAncestor ? 100 : -100
    case .unrelated: -1000
    case .needsVersion(let version): -1000 - Int(version)
    case .needsFeatures(let features): -(0x10000 | Int(features.rawValue) << 8 | 101)
    }
  }

  var mirrored: GenerationResult {
    switch self {
    case .source(let full): .target(full: full)
    case .target(let full): .source(full: full)
    default: self
    }
  }
}

struct GenerationComparison: Equatable {
  var rule: Int
  var result: GenerationResult
  var own: GenerationIdentifiers
  var peer: GenerationIdentifiers
}

extension GenerationInput {
  func compare() -> GenerationComparison {
    let (mine, theirs) = (own.masked, peer.masked)
    if mine.current == GenerationIdentifiers.justCreated, theirs.current == GenerationIdentifiers.justCreated {
      return verdict(10, .none)
    }
    if mine.isUnused, theirs.current != GenerationIdentifiers.justCreated { return verdict(20, .target(full: true)) }
    if theirs.isUnused { return verdict(30, .source(full: true)) }
    return mine.current == theirs.current ? compareEqual(mine, theirs) : compareDifferent(mine, theirs)
  }

  private func verdict(_ rule: Int, _ result: GenerationResult) -> GenerationComparison {
    GenerationComparison(rule: rule, result: result, own: own, peer: peer)
  }

  /// Corrections need a peer that makes the same one.
  private func corrected(
    _ rule: Int, _ result: GenerationResult, _ correct: (inout GenerationComparison) -> Void
  ) -> GenerationComparison {
    guard version >= 91 else { return verdict(rule, .needsVersion(91)) }
    var comparison = verdict(rule, result)
    correct(&comparison)
    return comparison
  }

  // MARK: Rules 34 to 41: the same generation

  private func compareEqual(_ mine: GenerationIdentifiers, _ theirs: GenerationIdentifiers) -> GenerationComparison {
    if peer.bitmap == 0, own.bitmap != 0 {
      // This node was the source of a resync. Either it missed the end, or the peer lost the sync UUID.
      if mine.bitmap == theirs.history0, mine.history0 == theirs.history1 {
        return corrected(34, .source(full: false)) { $0.own.endResync() }
      }
      return corrected(36, .source(full: false)) { _ in }
    }
    if own.bitmap == 0, peer.bitmap != 0 {
      if mine.history0 == theirs.bitmap, mine.history1 == theirs.history0 {
        return corrected(35, .target(full: false)) { $0.peer.endResync() }
      }
      return corrected(37, .target(full: false)) { _ in }
    }
    let marked = (own.flags.contains(.crashedPrimary), peer.flags.contains(.crashedPrimary))
    if marked == (false, false) { return verdict(40, .none) }
    switch (ownRole == .primary, peerRole == .primary) {
    case (false, false): break
    case _ where !features.contains(.writeSame): return verdict(41, .needsFeatures(.writeSame))
    case (true, true): return verdict(41, .splitBrain(commonAncestor: false))
    case (let ownPrimary, _): return verdict(41, ownPrimary ? .source(full: false) : .target(full: false))
    }
    // Both Secondary: who was Primary when the lights went out has the newer data.
    let ownWins = marked.0 != marked.1 ? marked.0 : !resolveConflicts
    return verdict(40, ownWins ? .source(full: false) : .target(full: false))
  }

  // MARK: Rules 50 to 100: different generations

  private func compareDifferent(_ mine: GenerationIdentifiers, _ theirs: GenerationIdentifiers) -> GenerationComparison
  {
    if mine.current == theirs.bitmap { return verdict(50, .target(full: false)) }
    if mine.current == theirs.history0, lostSyncUUID(of: theirs, other: mine) {
      return corrected(51, .target(full: false)) { $0.peer.undoResync() }
    }
    if tookSyncUUID(theirs, from: mine) { return corrected(51, .target(full: false)) { $0.peer.takeBackSyncUUID() } }
    if theirs.remembers(mine.current) { return verdict(60, .target(full: true)) }

    if mine.bitmap == theirs.current { return verdict(70, .source(full: false)) }
    if mine.history0 == theirs.current, lostSyncUUID(of: mine, other: theirs) {
      return corrected(71, .source(full: false)) { $0.own.undoResync() }
    }
    if tookSyncUUID(mine, from: theirs) { return corrected(71, .source(full: false)) { $0.own.takeBackSyncUUID() } }
    if mine.remembers(theirs.current) { return verdict(80, .source(full: true)) }

    if mine.bitmap == theirs.bitmap, mine.bitmap != 0 { return verdict(90, .splitBrain(commonAncestor: true)) }
    // Two empty history slots count as equal.
    if theirs.remembers(mine.history0) || theirs.remembers(mine.history1) {
      return verdict(100, .splitBrain(commonAncestor: false))
    }
    return verdict(100, .unrelated)
  }

  /// As `lostSyncUUID`, and the source's history does not say so: of its superblock a power cut has left the first sectors, which hold the
  /// bitmap UUID, as they were to be, and the history, behind them, as it was (v09, metadata spec 4).
  private func tookSyncUUID(_ source: GenerationIdentifiers, from other: GenerationIdentifiers) -> Bool {
    features.contains(.resyncsGrown) && source.bitmap == other.current &+ GenerationIdentifiers.syncStep
  }

  /// The source of a resync made its sync UUID, but the target never got it.
  private func lostSyncUUID(of source: GenerationIdentifiers, other: GenerationIdentifiers) -> Bool {
    version >= 96
      ? source.history0 &+ GenerationIdentifiers.syncStep == source.bitmap : other.history0 == source.history1
  }
}
