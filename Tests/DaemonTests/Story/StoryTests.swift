// The three recorded stories of DRBD 9.3.3 (Fixtures/admin) told again, step by step, to two real daemons: every step has the
// exit code, the words and the refusals that were recorded, and `events2`, which runs meanwhile, tells the same story. Where ours
// differ on purpose, docs/differences.md says why, and the tables below name the step.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct RecordedStories {
  /// A resync that is slow enough to be looked at until the story waits for its end.
  private static let slowly = "peer-device-options --resync-rate=200K --c-plan-ahead=0 r0"
  private static let fast = "peer-device-options --resync-rate=500M --c-plan-ahead=0 r0"

  private static func both(_ line: String) -> Telling.Action {
    { teller in
      for node in [teller.desk.bench.a, teller.desk.bench.b] { succeeds(try teller.desk.type(line, on: node, [:])) }
    }
  }

  private static func inSync(_ teller: Teller) throws { try teller.desk.bench.inSync() }

  /// What a command began has come to the state that the recording found; it passes through others.
  private static func waits(_ host: String, _ state: ConnectionState) -> Telling.Action {
    { teller in
      try until("\(teller.node(host).name) is \(state)") {
        let connection = try teller.node(host).status().connections[0]
        return (state > .connected ? connection.peerDevices[0].replication : connection.state) == state
      }
    }
  }

  private static func opens1(_ teller: Teller) throws -> Int32 { try teller.open("01") ? 0 : 1 }
  private static func opens2(_ teller: Teller) throws -> Int32 { try teller.open("02") ? 0 : 1 }
  private static func mounts2(_ teller: Teller) throws -> Int32 { try teller.open("02") ? 0 : 255 }

  private static let status = Difference(
    why: "`drbdadm status --json`, `--statistics`, `--verbose`", exit: 0, words: true)

  // MARK: 1

  @Test func creatingAndTheFirstSync() throws {
    let attach = Difference(why: "`drbdadm attach` of an attached volume", exit: 10, refusals: true)
    func outdate(_ exit: Int32) -> Difference {
      Difference(why: "`drbdadm outdate` of a running volume", exit: exit, refusals: true)
    }
    let log = Difference(why: "`al-suspended` of a fresh disk", words: true)
    let silent = Difference(why: "`invalidate` of a resync target, or of a Primary", refusals: true)
    let desk = try Desk(mebibytes: (64, 64))
    // What `show` says is what was changed, and the recorded file changes nothing.
    try desk.edit("connect-int 1; ping-int 2; socket-check-timeout 1;", "")
    let teller = try Teller(desk)
    try teller.tell(
      Telling(
        story: "1-create-sync",
        differences: [
          "020": log, "022": log, "034": attach, "055": outdate(5), "077": outdate(11), "074": silent,
          "107": Difference(why: "flags of a resync target's generations", words: true),
          "112": Self.status, "113": Self.status, "114": Self.status, "115": Self.status, "116": Self.status,
        ],
        acts: ["032": Self.opens1, "053": Self.opens1, "054": Self.opens1],
        left: ["090"],
        eventOptions: ["--statistics"],
        before: [
          "019": Self.waits("01", .wfConnection), "059": Self.waits("01", .syncSource),
          "063": Self.waits("02", .syncTarget), "079": Self.waits("01", .pausedSyncS),
          "080": Self.waits("02", .pausedSyncT), "082": Self.waits("01", .syncSource),
          "086": Self.waits("02", .syncTarget),
          "091": { teller in
            try Self.both("peer-device-options --set-defaults --c-max-rate=512000k r0")(teller)
          },
        ],
        after: [
          "037": { teller in
            try teller.desk.bench.connected()
            try Self.both(Self.slowly)(teller)
          },
          "091": Self.inSync,
        ]))
  }

  // MARK: 2

  @Test func usingAndReconnecting() throws {
    let opening = "opening the device of a Secondary"
    let attached = "`attach` under a Primary"
    let desk = try Desk(mebibytes: (32, 32))
    let teller = try Teller(desk)
    try desk.synced()
    succeeds(try desk.a("secondary r0"))
    try Self.both(Self.slowly)(teller)
    try teller.tell(
      Telling(
        story: "2-use-and-reconnect",
        differences: [
          "011": Difference(why: opening, exit: 1),
          "013": Difference(why: opening, exit: 0, refusals: true),
          "018": Self.status, "022": Self.status, "051": Self.status, "059": Self.status, "063": Self.status,
          "067": Self.status, "078": Self.status, "082": Self.status,
        ],
        instead: [
          "001": "drbdadm status drbd0; drbdsetup events2 --now; drbdadm role drbd0",
          "002": "drbdadm primary drbd0; drbdadm status drbd0; drbdadm secondary drbd0; drbdadm role drbd0",
          "003":
            "drbdadm primary drbd0; drbdadm status drbd0; drbdadm status drbd0; drbdadm secondary drbd0; drbdadm role drbd0",
          "004": "drbdadm status drbd0; echo refused >&2; false",
          "016": "drbdadm primary drbd0 && drbdadm role drbd0",
          "039": "drbdadm secondary drbd0; drbdadm role drbd0",
          "040": "drbdadm primary drbd0; drbdadm role drbd0; drbdadm secondary drbd0; drbdadm role drbd0",
          "041": "drbdadm primary drbd0; drbdadm role drbd0; drbdadm secondary drbd0",
          "042": "drbdadm resource-options --auto-promote=no drbd0; drbdsetup events2 --now | head -1;"
            + "drbdadm primary drbd0; drbdadm role drbd0; drbdadm secondary drbd0;"
            + "drbdadm resource-options --auto-promote=yes drbd0",
          "059": "drbdadm primary drbd0; drbdadm status drbd0 --verbose --statistics",
          "061":
            "drbdadm connect drbd0; until drbdadm status drbd0 | grep -q SyncSource; do :; done; drbdadm status drbd0",
        ],
        acts: [
          "005": Self.opens2, "011": Self.opens2, "012": Self.opens2,
          "025": { teller in
            let isOpen = try teller.use("01") { try $0.write(pattern(65536, 1), at: 0) }
            #expect(isOpen)
            try teller.opens("01", true)
            return 0
          },
          "026": Self.mounts2, "027": Self.mounts2, "028": Self.mounts2,
          "045": { teller in
            let disk = try #require(FileHandle(forUpdatingAtPath: teller.desk.bench.b.disk(0)))
            for block in [100, 101, 3000] {
              try disk.seek(toOffset: UInt64(block) << 12)
              try disk.write(contentsOf: Data(pattern(4096, UInt64(block))))
            }
            try disk.synchronize()
            return 0
          },
        ],
        without: ["001": ["4096"]],
        others: ["device disk": attached, "peer-device peer-disk": attached],
        // mkfs, and a look at the backing device.
        left: ["015", "034"],
        before: [
          "001": { try $0.opens("01", false) },
          "004": { teller in
            succeeds(try teller.desk.a("primary r0"))
            try teller.opens("01", true)
          },
          "009": { teller in
            try teller.close("01")
            succeeds(try teller.desk.a("secondary r0"))
          },
          "038": { teller in
            try Self.both(Self.fast)(teller)
            try Self.inSync(teller)
            try Self.both(Self.slowly)(teller)
          },
          "039": { try $0.close("01") },
          "047": Self.waits("02", .verifyT), "056": Self.waits("02", .wfConnection),
          "062": Self.waits("02", .syncTarget), "072": Self.waits("01", .wfConnection),
          "076": Self.both(Self.fast),
        ],
        after: [
          "004": { try $0.opens("02", false) },
          "016": { try $0.opens("01", true) },
          "059": { teller in
            let isOpen = try teller.use("01") { try $0.write(pattern(8 << 20, 2), at: 1 << 20) }
            #expect(isOpen)
          },
          "076": Self.inSync,
        ]))
  }

  // MARK: 3

  @Test func disconnectingAndAPowerCut() throws {
    let outdated = Difference(why: "`disconnect` between a Primary and its Secondary", words: true)
    let generation = Difference(why: "a new generation of a Primary that is alone", words: true)
    let desk = try Desk(mebibytes: (32, 32))
    let teller = try Teller(desk)
    try desk.synced()
    try teller.tell(
      Telling(
        story: "3-disconnect-and-power-cut",
        differences: [
          "012": outdated, "013": outdated, "014": outdated, "020": outdated, "021": outdated,
          "032": generation, "038": generation,
        ],
        // It makes the reunion a resync of nothing.
        others: ["device disk": generation.why, "peer-device replication": generation.why],
        before: [
          "002": Self.inSync,
          // Without fencing the peer stays UpToDate: docs/differences.md.
          "010": Self.both("net-options --fencing=resource-only r0"),
          "015": { teller in
            try until("b has outdated itself") { try teller.desk.bench.b.status().devices[0].disk == .outdated }
            try Self.waits("02", .wfConnection)(teller)
          },
          "023": { teller in
            try teller.desk.bench.connected()
            try Self.inSync(teller)
          },
          "025": { teller in
            try Self.both("net-options --fencing=dont-care r0")(teller)
            succeeds(try teller.desk.a("primary r0"))
            try teller.opens("01", true)
          },
        ],
        after: ["025": { try $0.cutPower("01") }]))
  }
}
