// Recorded kernels as peers of our engine: what we say in their place, and what the metadata say afterwards, is what
// the kernel said and wrote. Every place where it is not is listed here with its reason.
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Recorded peers")
struct RecordedPeerTests {
  /// What cannot be played at all.
  static let leftOut: [String: String] = [
    "12b-integrity-zeroes": "we do not agree on P_ZEROES with digests (K2), so nothing breaks",
    "18-two-primaries": "allow-two-primaries is refused", "34b-both-primary-crash": "allow-two-primaries is refused",
    "23-options-change as alpha": "the options are changed by commands of another kind",
    "27-write-resync-target as alpha": "our requests are larger, so that writes wait for other blocks",
    "36-two-volumes as alpha": "two generations are drawn in one step, and only one can be prescribed",
    "41-tail-restart": "the kernel forgets the last bits (K1)",
    "41b-tail-crash": "the kernel forgets the last bits (K1)",
    "43-ahead-behind as alpha": "we never go Ahead",
  ]

  /// What differs for a reason: connection and part, or `bitmap`.
  static let deviations: [String: Set<String>] = [
    // 960 dirty bits of 1024: the kernel forgets the last ones (K1).
    "25-size-differs as beta": ["1 data"],
    // Cut in the middle: other blocks had been received by then.
    "31-cut-in-resync as beta": ["3 data"],
    // What was lost on the way is not in the recording.
    "32-lost-sync-uuid as alpha": ["2 data"],
    "32b-lost-sync-uuid-secondary as alpha": ["2 data"],
    "33-lost-final-state as beta": ["2 data"],
    "33b-lost-final-state-secondary as beta": ["2 data"],
    // The last write was under way when the power was cut.
    "34-both-crash as beta": ["1 meta", "1 bulk"],
    // A disk that failed is not written any more; a bit that was cleared may be written later.
    "38-write-error-detach as alpha": ["bitmap"],
    "38-write-error-detach as beta": ["2 data", "bitmap"],
    // The kernel has no rule for a target that gave up, and stays SyncSource (K17).
    // It draws no generation either when it loses the Inconsistent peer, which may not have recorded that.
    "38-write-error-pass_on as alpha": ["2 data", "slots"],
    // We wait for the last barrier ack before we demote, and ask a third time for what the peer cannot read.
    "38b-read-error-detach as alpha": ["1 data", "1 meta", "1 bulk"],
    // Several requests failed with one bad sector where we ask once; the end that the kernel never reaches (K22).
    "38c-resync-read-error-detach as alpha": ["2 bulk", "bitmap"],
    "38c-resync-read-error-detach as beta": ["2 data", "bitmap"],
    "38c-resync-read-error-pass_on as alpha": ["2 data", "2 bulk"],
    "38c-resync-read-error-pass_on as beta": ["2 data", "bitmap"],
  ]

  static let played: [String] = Recording.all.filter { !$0.isWithDRBD9 && leftOut[$0.name] == nil }.map(\.name)

  @Test("what we say and store is what the kernel said and stored", arguments: played)
  func same(_ scenario: String) throws {
    let script = try Script(scenario)
    for role in ["alpha", "beta"] where Self.leftOut["\(scenario) as \(role)"] == nil {
      let replay = try Replay(script, as: role)
      replay.run()
      try replay.check(except: Self.deviations["\(scenario) as \(role)"] ?? [])
      #expect(replay.node.lentPayloads == 0)
    }
  }

  // MARK: DRBD 9

  /// `alpha` runs DRBD 9.3, we take the place of the kernel 8.4 at `beta`.
  static let withDRBD9 = Recording.all.filter {
    $0.isWithDRBD9 && $0.name < "09" && $0.name != "08-auth-integrity-verify"
  }.map(\.name)

  @Test("towards DRBD 9 as well", arguments: withDRBD9)
  func towardsDRBD9(_ scenario: String) throws {
    let script = try Script(scenario, withDRBD9: true)
    let replay = try Replay(script, as: "beta")
    replay.run()
    // The kernel drops the connection at packet 0x59, which we skip; it answers the requests in the next one.
    try replay.check(except: scenario == "02-sync-from-84" ? ["1 bulk", "slots"] : [])
    #expect(replay.node.lentPayloads == 0)
  }

  /// `alpha` runs DRBD 9.3, `beta` this project's daemon before it knew what these recordings show.
  static let ofOwnDaemon = Recording.all.filter { $0.isWithDRBD9 && $0.name > "09" }.map(\.name)

  /// How many connections are played. What the recorded kernel says behind these answers what this node does not say any more;
  /// DRBD9RulesTests goes on with a scripted peer.
  static let connectionsOfOwnDaemon: [String: Int] = [
    // The recorded daemon broke the second connection for a ping whose ack had come with that of another.
    "12-two-volumes-from-repl": 2,
    // It began the resync of volume 0 only, and broke the first connection.
    "13-three-volumes-forced-by-repl": 1,
    // It broke the second connection: both were the source.
    "15-crash-of-repl-primary": 2,
  ]

  /// What this node says otherwise now.
  static let changesOfOwnDaemon: [String: Set<String>] = [
    // The attach asks for a disconnect instead of saying Negotiating.
    "09-attach-of-repl-after-sync-from-9": ["1 data"],
    // And the kernel's new generation has been taken over by the second connection.
    "10-attach-of-repl-made-equal-by-repl": ["1 data", "2 data"],
    // Two resyncs end together: which volume says so first is chance.
    "11-two-volumes-from-9": ["2 data"],
    // The resyncs of volumes 1 and 2 begin here.
    "13-three-volumes-forced-by-repl": ["1 data"],
    // This node becomes the target.
    "15-crash-of-repl-primary": ["2 data"],
    // No metadata were kept. The disk does not grow here.
    "16-resize-by-9": ["metadata"],
    // The kernel's new generation has been taken over.
    "18-day0-by-repl": ["2 data"],
  ]

  @Test("the daemon's own sessions with DRBD 9, as far as it says what it said then", arguments: ofOwnDaemon)
  func ownSessions(_ scenario: String) throws {
    let script = try Script(scenario, withDRBD9: true)
    let replay = try Replay(script, as: "beta")
    let links = Self.connectionsOfOwnDaemon[scenario] ?? .max
    replay.run(links: links)
    try replay.check(except: Self.changesOfOwnDaemon[scenario] ?? [], links: links)
    #expect(replay.node.lentPayloads == 0)
    if scenario == "15-crash-of-repl-primary" {
      #expect(replay.node.volume().disk == .upToDate)
      #expect(replay.node.volume().outOfSync == .zero)
    }
  }
}
