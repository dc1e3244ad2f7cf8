// The generation decision: every rule by hand, every combination of a small set of values for mirroring, and every
// comparison that two recorded kernels logged.
import Base
import Foundation
import Protocol
import Testing

@testable import Engine

@Suite("Generations")
struct GenerationsTests {
  static let step = GenerationIdentifiers.syncStep

  static func slots(
    _ current: UInt64, _ bitmap: UInt64 = 0, _ history0: UInt64 = 0, _ history1: UInt64 = 0, crashed: Bool = false,
    dirty: UInt64 = 0
  ) -> GenerationIdentifiers {
    var identifiers = GenerationIdentifiers()
    identifiers.current = current
    identifiers.bitmap = bitmap
    identifiers.history0 = history0
    identifiers.history1 = history1
    identifiers.dirtyBits = dirty
    if crashed { identifiers.flags.insert(.crashedPrimary) }
    return identifiers
  }

  static func input(_ own: GenerationIdentifiers, _ peer: GenerationIdentifiers) -> GenerationInput {
    var input = GenerationInput()
    input.own = own
    input.peer = peer
    return input
  }

  private func check(
    _ input: GenerationInput, _ rule: Int, _ comparison: Int, mirror: Int? = nil,
    _ location: SourceLocation = #_sourceLocation
  ) {
    let verdict = decideGenerations(input)
    #expect(verdict.rule == rule && verdict.comparison == comparison, "\(verdict)", sourceLocation: location)
    let other = decideGenerations(input.mirrored)
    #expect(other.rule == mirror ?? rule, "\(other)", sourceLocation: location)
  }

  // MARK: The rules

  @Test("metadata that nobody has used: rules 10, 20, 30")
  func unused() {
    check(Self.input(Self.slots(4), Self.slots(4)), 10, 0)
    check(Self.input(Self.slots(4), Self.slots(0x10)), 20, -2, mirror: 30)
    check(Self.input(Self.slots(0), Self.slots(0x10)), 20, -2, mirror: 30)
    check(Self.input(Self.slots(0), Self.slots(4)), 30, 2, mirror: 20)
  }

  @Test("the end of a resync that one node missed: rules 34 and 35 correct the slots")
  func missedEnd() {
    let source = Self.slots(0x10, 0x21, 0x30, 0x40)
    let target = Self.slots(0x10, 0, 0x20, 0x31)
    let atSource = decideGenerations(Self.input(source, target))
    #expect(atSource.rule == 34 && atSource.action == .source(full: false))
    #expect(atSource.own == Self.slots(0x10, 0, 0x21, 0x30))
    #expect(atSource.peer == target)
    let atTarget = decideGenerations(Self.input(target, source))
    #expect(atTarget.rule == 35 && atTarget.action == .target(full: false))
    #expect(atTarget.peer == Self.slots(0x10, 0, 0x21, 0x30))
    #expect(atTarget.own == target)
    check(Self.input(Self.slots(0x10, 0x20, 0x30), Self.slots(0x10, 0, 0x50)), 36, 1, mirror: 37)
  }

  @Test("equal generations and a crash: rules 40 and 41")
  func crashed() {
    let clean = Self.slots(0x10)
    let marked = Self.slots(0x11, crashed: true)
    check(Self.input(clean, clean), 40, 0)
    check(Self.input(marked, clean), 40, 1)
    check(Self.input(clean, marked), 40, -1)
    var both = Self.input(marked, marked)
    both.resolveConflicts = true
    check(both, 40, -1)
    var primary = Self.input(clean, marked)
    primary.ownRole = .primary
    check(primary, 41, 1)
    primary.peerRole = .primary
    check(primary, 41, -100)
    primary.features = [.trim]
    #expect(decideGenerations(primary).action == .refuse(.needsFeatures(.writeSame)))
  }

  @Test("one node went on alone: rules 50, 60, 70, 80")
  func wentOn() {
    check(Self.input(Self.slots(0x10), Self.slots(0x20, 0x11)), 50, -1, mirror: 70)
    check(Self.input(Self.slots(0x10), Self.slots(0x20, 0x30, 0x10)), 60, -2, mirror: 80)
    check(Self.input(Self.slots(0x10), Self.slots(0x20, 0x30, 0x40, 0x10)), 60, -2, mirror: 80)
  }

  @Test("a sync UUID that was lost: rules 51 and 71 undo the start")
  func lostSyncUUID() {
    let source = Self.slots(0x20, 0x10 + Self.step, 0x10, 0x40)
    let target = Self.slots(0x10, 0, 0x40, 0x50)
    let atTarget = decideGenerations(Self.input(target, source))
    #expect(atTarget.rule == 51 && atTarget.action == .target(full: false))
    #expect(atTarget.peer == Self.slots(0x20, 0x10, 0x40, 0x40))
    let atSource = decideGenerations(Self.input(source, target))
    #expect(atSource.rule == 71 && atSource.action == .source(full: false))
    #expect(atSource.own == Self.slots(0x20, 0x10, 0x40, 0x40))
    // A torn superblock: the bitmap UUID is the new one, the history the old one. Only two nodes of `repl` agree on what that means.
    var torn = Self.input(target, Self.slots(0x20, 0x10 + Self.step, 0x40, 0x50))
    check(torn, 100, -100)
    torn.features.insert(.resyncsGrown)
    let afterTear = decideGenerations(torn)
    #expect(afterTear.rule == 51 && afterTear.action == .target(full: false))
    #expect(afterTear.peer == Self.slots(0x20, 0x10, 0x40, 0x50))
    check(torn, 51, -1, mirror: 71)
    // Below 96 the history tells.
    var old = Self.input(target, Self.slots(0x20, 0x99, 0x10, 0x40))
    old.version = 95
    check(old, 51, -1, mirror: 71)
    old.version = 90
    #expect(decideGenerations(old).action == .refuse(.needsVersion(91)))
  }

  @Test("both went on alone: rules 90 and 100, and unrelated data")
  func bothWentOn() {
    check(Self.input(Self.slots(0x10, 0x31), Self.slots(0x20, 0x30)), 90, 100)
    check(Self.input(Self.slots(0x10, 0x30, 0x60), Self.slots(0x20, 0x40, 0x50, 0x61)), 100, -100)
    // Empty history slots count as equal.
    check(Self.input(Self.slots(0x10, 0x30, 0x60), Self.slots(0x20, 0x40, 0x50)), 100, -100)
    let strangers = Self.input(Self.slots(0x10, 0x30, 0x60, 0x70), Self.slots(0x20, 0x40, 0x50, 0x80))
    check(strangers, 100, -1000)
    #expect(decideGenerations(strangers).action == .refuse(.unrelated))
  }

  @Test("histories that contradict each other are refused by both nodes")
  func contradictory() {
    let twoEmpty = Self.input(Self.slots(0), Self.slots(0))
    let cyclic = Self.input(Self.slots(0x10, 0, 0x20), Self.slots(0x20, 0, 0x10))
    for input in [twoEmpty, cyclic, cyclic.mirrored] {
      #expect(decideGenerations(input).action == .refuse(.contradictory))
    }
  }

  // MARK: From result to action

  @Test("exactly one Inconsistent disk decides the direction")
  func inconsistentDisk() {
    var input = Self.input(Self.slots(0x10), Self.slots(0x10))
    input.ownDisk = .inconsistent
    #expect(decideGenerations(input).action == .target(full: false))
    #expect(decideGenerations(input.swapped).action == .source(full: false))
    // It overrides the identifiers, and a full sync stays one.
    input.own = Self.slots(0x20, 0x30, 0x10)
    #expect(decideGenerations(input).comparison == 2)
    #expect(decideGenerations(input).action == .target(full: true))
    // No split brain is left to resolve.
    input.own = Self.slots(0x20, 0x30, 0x40)
    #expect(decideGenerations(input).comparison == -100)
    #expect(decideGenerations(input).action == .target(full: true))
    #expect(!decideGenerations(input).splitBrain)
    // Strangers stay strangers.
    input.own = Self.slots(0x20, 0x30, 0x40, 0x50)
    input.peer = Self.slots(0x10, 0x60, 0x70, 0x80)
    #expect(decideGenerations(input).action == .refuse(.unrelated))
  }

  @Test("a source without good data and a Primary that would lose its data refuse")
  func refusals() {
    var input = Self.input(Self.slots(0x20, 0x10), Self.slots(0x10))
    input.ownDisk = .inconsistent
    input.peerDisk = .inconsistent
    #expect(decideGenerations(input).action == .refuse(.inconsistentSource))
    var loser = Self.input(Self.slots(0x10), Self.slots(0x20, 0x10))
    loser.ownRole = .primary
    #expect(decideGenerations(loser).action == .refuse(.primaryWouldLose))
    loser.rrConflict = .violently
    #expect(decideGenerations(loser).action == .target(full: false))
    loser.rrConflict = .disconnect
    loser.ownDiskNegotiating = true
    #expect(decideGenerations(loser).action == .target(full: false))
    loser.ownDiskNegotiating = false
    loser.ownDisk = .outdated
    #expect(decideGenerations(loser).action == .target(full: false))
    loser.dryRun = true
    #expect(decideGenerations(loser).action == .refuse(.dryRun))
  }

  @Test("discard-my-data of one side decides a split brain, of both sides it does not")
  func discardMyData() {
    for peer in [Self.slots(0x20, 0x30), Self.slots(0x20, 0x40, 0x50)] {
      var input = Self.input(Self.slots(0x10, 0x30), peer)
      #expect(decideGenerations(input).action == .refuse(.splitBrain))
      #expect(decideGenerations(input).splitBrain)
      input.discardMyData = true
      #expect(decideGenerations(input).action == .target(full: false))
      #expect(decideGenerations(input).splitBrainResolved)
      input.peer.flags.insert(.discardMyData)
      #expect(decideGenerations(input).action == .refuse(.splitBrain))
      input.discardMyData = false
      #expect(decideGenerations(input).action == .source(full: false))
    }
  }

  // MARK: After-split-brain policies

  /// own / peer: was Primary when the histories separated, dirty bits.
  private func split(
    _ policy: SplitBrainPolicy, _ own: (UInt64, UInt64), _ peer: (UInt64, UInt64), resolve: Bool = false
  ) -> GenerationAction {
    var input = Self.input(Self.slots(0x10, 0x30 | own.0, dirty: own.1), Self.slots(0x20, 0x30 | peer.0, dirty: peer.1))
    input.afterSplitBrain0 = policy
    input.resolveConflicts = resolve
    let verdict = decideGenerations(input)
    let other = decideGenerations(input.swapped)
    if policy != .discardLocal, policy != .discardRemote { #expect(other.action == verdict.action.opposite) }
    return verdict.action
  }

  @Test("two Secondaries: after-sb-0pri")
  func noPrimary() {
    let (lost, kept) = (GenerationAction.target(full: false), GenerationAction.source(full: false))
    #expect(split(.disconnect, (1, 1), (0, 2)) == .refuse(.splitBrain))
    #expect(split(.discardYoungerPrimary, (0, 9), (1, 1)) == lost)
    #expect(split(.discardOlderPrimary, (0, 1), (1, 9)) == kept)
    #expect(split(.discardYoungerPrimary, (1, 2), (1, 5)) == lost)
    #expect(split(.discardOlderPrimary, (0, 0), (0, 5)) == lost)
    #expect(split(.discardZeroChanges, (0, 0), (0, 3)) == lost)
    #expect(split(.discardZeroChanges, (0, 2), (0, 3)) == .refuse(.splitBrain))
    #expect(split(.discardZeroChanges, (0, 0), (0, 0), resolve: true) == lost)
    #expect(split(.discardZeroChanges, (0, 0), (0, 0), resolve: false) == kept)
    #expect(split(.discardLeastChanges, (0, 5), (0, 2)) == kept)
    #expect(split(.discardLeastChanges, (0, 3), (0, 3), resolve: true) == lost)
    #expect(split(.discardLocal, (0, 5), (0, 2)) == lost)
    #expect(split(.discardRemote, (0, 5), (0, 2)) == kept)
    #expect(split(.consensus, (0, 5), (0, 2)) == .refuse(.splitBrain))
  }

  @Test("one Primary: after-sb-1pri")
  func onePrimary() {
    var input = Self.input(Self.slots(0x11, 0x31, dirty: 5), Self.slots(0x20, 0x30, dirty: 2))
    input.ownRole = .primary
    input.afterSplitBrain0 = .discardLeastChanges
    func action(_ policy: SplitBrainPolicy) -> GenerationVerdict {
      input.afterSplitBrain1 = policy
      return decideGenerations(input)
    }
    #expect(action(.disconnect).action == .refuse(.splitBrain))
    #expect(action(.discardSecondary).action == .source(full: false))
    #expect(action(.consensus).action == .source(full: false))
    #expect(action(.violently).action == .source(full: false))
    input.own.dirtyBits = 1
    #expect(action(.consensus).action == .refuse(.splitBrain))
    // The policy gives the Primary up; rr-conflict still protects it.
    #expect(action(.violently).action == .refuse(.primaryWouldLose))
    #expect(action(.callPrimaryLost).action == .refuse(.splitBrain))
    input.canDemote = true
    #expect(action(.callPrimaryLost).action == .target(full: false))
    #expect(action(.callPrimaryLost).mustDemote)
  }

  @Test("two Primaries: after-sb-2pri; and always-asbp makes it a full sync")
  func twoPrimaries() {
    var input = Self.input(Self.slots(0x11, 0x31, dirty: 5), Self.slots(0x21, 0x30, dirty: 2))
    input.ownRole = .primary
    input.peerRole = .primary
    input.afterSplitBrain0 = .discardLeastChanges
    #expect(decideGenerations(input).action == .refuse(.splitBrain))
    input.afterSplitBrain2 = .violently
    #expect(decideGenerations(input).action == .source(full: false))
    input.own.bitmap = 0x40
    #expect(decideGenerations(input).action == .refuse(.splitBrain))
    input.alwaysAfterSplitBrain = true
    #expect(decideGenerations(input).action == .source(full: true))
  }

  // MARK: Both nodes agree

  @Test("over all combinations of a small set of values the two nodes' verdicts mirror each other")
  func mirrors() {
    let values: [UInt64] = [0, 4, 0x10, 0x11, 0x10 + Self.step, 0x20]
    let count = values.count
    var random = SeededGenerator(seed: 11)
    var actions: [String: Int] = [:]
    for combination in 0..<(4 * count * count * count * count * count * count) {
      var rest = combination / 4
      func next() -> UInt64 {
        defer { rest /= count }
        return values[rest % count]
      }
      // Six slots over all values four times, the rest at random.
      var input = GenerationInput()
      input.own = Self.slots(next(), next(), next(), values[Int(random.below(6))], crashed: random.oneIn(2))
      input.peer = Self.slots(next(), next(), next(), values[Int(random.below(6))], crashed: random.oneIn(2))
      input.own.dirtyBits = random.below(3)
      input.peer.dirtyBits = random.below(3)
      input.ownRole = random.oneIn(2) ? .primary : .secondary
      input.peerRole = random.oneIn(3) ? .primary : .secondary
      input.resolveConflicts = random.oneIn(2)
      input.ownDisk = random.oneIn(4) ? .inconsistent : .upToDate
      input.peerDisk = random.oneIn(4) ? .inconsistent : .upToDate
      input.version = [86, 95, 101, 101][Int(random.below(4))]
      input.features = random.oneIn(4) ? [] : .all
      input.discardMyData = random.oneIn(4)
      if random.oneIn(4) { input.peer.flags.insert(.discardMyData) }
      input.afterSplitBrain0 = .discardLeastChanges
      input.afterSplitBrain1 = random.oneIn(2) ? .consensus : .discardSecondary
      input.afterSplitBrain2 = random.oneIn(2) ? .violently : .disconnect
      input.alwaysAfterSplitBrain = random.oneIn(3)
      input.rrConflict = random.oneIn(2) ? .violently : .disconnect
      let mine = decideGenerations(input)
      let theirs = decideGenerations(input.swapped)
      actions["\(mine.action)", default: 0] += 1
      if theirs.action == mine.action.opposite { continue }
      // A node that protects its own data refuses alone; the other sees the connection end.
      let oneSided = [mine.action, theirs.action].contains {
        $0 == .refuse(.primaryWouldLose) || $0 == .refuse(.inconsistentSource)
      }
      if !oneSided {
        Issue.record("\(input): \(mine.action) against \(theirs.action)")
        return
      }
    }
    #expect(actions.count >= 9, "\(actions)")
  }

  // MARK: Recorded comparisons

  @Test("every comparison that the recorded kernels logged comes out as they logged it")
  func recorded() throws {
    var paired = 0
    var logged = 0
    var rules: Set<Int> = []
    for scenario in try RecordedScenario.all() {
      for node in scenario.kernel84Nodes {
        let comparisons = try scenario.comparisons(of: node)
        logged += try scenario.loggedComparisons(of: node)
        for comparison in comparisons {
          let verdict = decideGenerations(comparison.input)
          let label: Comment = "\(scenario.name) \(node): \(comparison.line)"
          #expect(verdict.comparison == comparison.result, label)
          #expect(verdict.rule == comparison.rule, label)
          #expect(comparison.outcomes.allSatisfy(verdict.leadsTo), label)
          #expect(verdict.isFull == comparison.full, label)
          #expect(verdict.own.slots == comparison.correctedOwn ?? comparison.input.own.slots, label)
          #expect(verdict.peer.slots == comparison.correctedPeer ?? comparison.input.peer.slots, label)
          rules.insert(verdict.rule)
          paired += 1
        }
      }
    }
    #expect(paired == logged)
    #expect(paired == 316)
    #expect(rules == [10, 20, 30, 34, 35, 36, 37, 40, 41, 50, 51, 60, 70, 71, 80, 90, 100])
  }
}

extension GenerationAction {
  fileprivate var opposite: GenerationAction {
    switch self {
    case .source(let full): .target(full: full)
    case .target(let full): .source(full: full)
    case .noSync, .refuse: self
    }
  }
}

extension GenerationVerdict {
  /// Whether the kernel's log may name this connection state next. Of two nodes that refuse one closes first, and the
  /// other sees only that.
  fileprivate func leadsTo(_ connection: String) -> Bool {
    switch action {
    case .noSync: connection == "Connected"
    case .source: connection == "WFBitMapS"
    case .target: connection == "WFBitMapT"
    case .refuse: connection == "Disconnecting" || connection == "NetworkFailure"
    }
  }

  fileprivate var isFull: Bool {
    switch action {
    case .source(let full), .target(let full): full
    case .noSync, .refuse: false
    }
  }
}

extension GenerationInput {
  /// The whole input as the peer sees it, disks and wishes included.
  fileprivate var swapped: GenerationInput {
    var other = mirrored
    other.ownDisk = peerDisk
    other.peerDisk = ownDisk
    other.discardMyData = peerDiscardsData
    other.peer.flags.remove(.discardMyData)
    if discardMyData { other.peer.flags.insert(.discardMyData) }
    return other
  }
}
