// Every command of tiers T0 and T1 (admin spec 4) with every option it has, said to two real nodes, and its wrong uses: the exit
// code and a part of what is said. Law: a command or an option that is new needs a row here, and so does a wrong use of it.
import Base
import Control
import Foundation
import Testing

@testable import ReplAdmin

/// One command line and what it comes to.
struct CommandRow: CustomStringConvertible {
  var host: String
  var line: String
  var code: Int32
  var part: String
  var description: String { "\(host): \(line)" }
}

@Suite(.serialized) struct CommandTable {
  private static func a(_ line: String, _ code: Int32 = 0, _ part: String = "") -> CommandRow {
    CommandRow(host: "a", line: line, code: code, part: part)
  }
  private static func b(_ line: String, _ code: Int32 = 0, _ part: String = "") -> CommandRow {
    CommandRow(host: "b", line: line, code: code, part: part)
  }

  // MARK: The rows, in the order in which they are said

  /// Nothing runs, and there are no metadata yet.
  static let offline = [
    a("status", 0, "# No currently configured DRBD found."), a("status r0", 10, "r0: No such resource"),
    a("status nosuch", 1, "nosuch"), a("status --sideways", 1, "--sideways"), a("down r0"),
    a("down nosuch", 1, "nosuch"),
    a("role r0", 10, "r0: Unknown resource"), a("explain r0", 0, "To start the resource: repladm up r0."),
    a("metrics r0", 0, "repl_resource_up{name=\"r0\"} 0"),
    a("state r0", 10, "Unknown resource"), a("cstate r0", 10, "(158)"),
    a("dstate r0", 1, "No valid meta data found"), a("primary r0", 10, "(158)"), a("secondary r0", 10, "(158)"),
    a("get-gi r0", 1, "No valid meta data found"), a("show-gi r0", 1, "No valid meta data found"),
    a("dump-md r0", 1, "No valid meta data found"), a("apply-al r0", 1, "No valid meta data found"),
    a("repair-md r0", 1, "No valid meta data found"), a("convert-md --to v08 r0", 1, "No valid meta data found"),
    a("outdate r0", 1, "No valid meta data found"), a("check-resize r0", 1, "no suitable meta data found"),
    a("wipe-md r0", 0, "no drbd meta data"), a("up r0 --no-device", 1, "No valid meta data found"), a("down r0"),

    a("create-md r0", 0, "successfully created"), a("create-md r0", 1, "Operation cancelled"),
    a("create-md nosuch", 1, "nosuch"), a("create-md --max-peers 40 --force r0", 20, "allowed range 1 .. 31"),
    a("create-md --format v07 r0", 1, "v07"),
    a("create-md --force --max-peers 3 --al-stripes 2 --al-stripe-size-kB 64 --peer-max-bio-size 4096 r0"),
    a("create-md --force --format v08 r0", 1, "v08 has one bitmap, this metadata has 3"), a("wipe-md --force r0"),
    a("create-md --force --format v08 r0"), a("dstate r0", 0, "Inconsistent"), a("dstate r0/9", 1, "no volume 9"),
    a("convert-md --to v09 r0", 1, "Operation cancelled"), a("convert-md --to v09 --force r0"),
    a("convert-md r0", 1, "--to"), a("create-md --force --ignore-sanity-checks r0"),
    a("get-gi r0", 0, "0000000000000004:"), a("get-gi", 1, "Name a resource"),
    a("show-gi r0", 0, "current generation of the data"),
    a("show-gi nosuch", 1, "nosuch"), a("dump-md r0", 0, "version \"v09\";"), a("dump-md --force r0"),
    a("dump-md nosuch", 1, "nosuch"), a("apply-al r0"), a("apply-al --force r0"), a("apply-al nosuch", 1, "nosuch"),
    a("repair-md r0"), a("repair-md --force r0"), a("check-resize r0"), a("check-resize --from 8M r0"),
    a("restore-md r0/0 DUMP", 1, "Operation cancelled"), a("restore-md --force r0/0 DUMP", 0, "Successfully restored"),
    a("restore-md r0/0 /nonexistent", 20, "/nonexistent"),
    a("outdate r0", 5), a("invalidate r0"), a("wipe-md r0", 1, "Operation cancelled"),
    a("wipe-md --force r0", 0, "successfully wiped"), a("wipe-md nosuch", 1, "nosuch"),
    a("create-md r0"), b("create-md --force r0"),
    a("new-current-uuid r0", 10, "(158)"), a("resize r0", 10, "(158)"), a("attach r0", 10, "(158)"),
    a("detach r0", 10, "(158)"), a("connect r0", 10, "(158)"), a("disconnect r0", 10, "(158)"),
    a("verify r0", 10, "(158)"), a("pause-sync r0", 10, "(158)"), a("resume-sync r0", 10, "(158)"),
    a("suspend-io r0", 10, "(158)"), a("resume-io r0", 10, "(158)"), a("invalidate-remote r0", 10, "(158)"),
    a("disk-options r0", 10, "(158)"), a("net-options r0", 10, "(158)"), a("resource-options r0", 10, "(158)"),
    a("peer-device-options r0", 10, "(158)"), a("syncer r0", 10, "(158)"), a("wait-connect r0", 10, "(158)"),
    a("wait-sync r0", 10, "(158)"), a("wait-con-int r0", 10, "(158)"),
  ]

  /// Coming up, alone and then together, with fresh disks.
  static let fresh = [
    a("up --no-device r0"), a("up --no-device r0", 1, "(161) Minor or volume exists already"),
    a("up nosuch", 1, "nosuch"),
    a("create-md r0", 20, "is configured!"), a("wipe-md --force r0", 20, "is configured!"),
    a("dump-md r0", 20, "is configured!"), a("restore-md --force r0/0 DUMP", 20, "is configured!"),
    a("convert-md --to v08 --force r0", 20, "is configured!"), a("repair-md r0", 20, "is configured!"),
    a("apply-al r0", 20, "is configured!"),
    a("role r0", 0, "Secondary"), a("state r0", 0, "Secondary"), a("state nosuch", 1, "nosuch"),
    a("role nosuch", 1, "nosuch"), a("explain nosuch", 1, "nosuch"), a("explain", 0, "r0"),
    a("monitor nosuch", 1, "nosuch"), a("monitor", 0, "r0  Secondary"), a("monitor r0", 0, "Connecting"),
    a("metrics nosuch", 1, "nosuch"), a("metrics", 0, "repl_resource_up{name=\"r0\"} 1"),
    a("metrics --output /nonexistent/m", 20, "name a file in a directory that exists"),
    a("cstate r0", 0, "Connecting"), a("cstate r0:nosuch", 1, "nosuch"), a("dstate r0", 0, "Inconsistent/DUnknown"),
    a("primary r0", 17, "(-2) Need access to UpToDate data"), a("primary", 1, "Name a resource"),
    a("wait-connect --wfc-timeout 1 r0", 5, "timed out"), a("wait-sync --wfc-timeout=1 r0", 5, "timed out"),
    a("wait-connect --wfc-timeout=x r0", 1, "--wfc-timeout"), a("wait-sync --wfc-timeout=-1 r0", 1, "300000"),
    a("wait-con-int --timeout 1 r0", 5, "timed out"), a("wait-con-int --wfc-timeout=1", 5, "timed out"),
    a("wait-con-int --wfc-timeout=1 --degr-wfc-timeout=1 --outdated-wfc-timeout=1 --wait-after-sb=yes", 5),
    a("wait-sync nosuch", 1, "nosuch"),
    a("wait-connect nosuch", 1, "nosuch"),
    a("connect r0", 10, "(125)"), a("attach r0", 10, "(124)"), a("adjust r0"), a("adjust nosuch", 1, "nosuch"),
    a("adjust --skip-disk --skip-net r0"), a("adjust --discard-my-data r0"), a("adjust r0/0"),
    a("adjust-with-progress r0"),
    a("adjust-with-progress nosuch", 1, "nosuch"), a("expect-successor r0"), a("expect-successor nosuch", 1, "nosuch"),
    a("verify r0", 11, "(-15)"), a("invalidate-remote r0", 17, "(-2)"),
    b("up --no-device r0"),
    a("wait-connect --wfc-timeout=20 --degr-wfc-timeout=20 --outdated-wfc-timeout=20 --wait-after-sb=yes r0"),
    b("wait-connect r0"), a("verify r0", 11, "(-14) Need a verify algorithm"), a("outdate r0", 5, "(-16)"),
    a("invalidate r0", 17, "(-2)"), a("new-current-uuid r0/9", 1, "no volume 9"),
    a("new-current-uuid --clear-bitmap r0"),
    a("wait-sync --wfc-timeout=20 --degr-wfc-timeout=20 --outdated-wfc-timeout=20 --wait-after-sb=no r0"),
    a("dstate r0", 0, "UpToDate/UpToDate"), a("check-resize r0"),
  ]

  /// Both UpToDate and connected.
  static let running = [
    a("wait-con-int"), a("primary r0"), b("primary r0", 11, "(-1) Multiple primaries not allowed by config"),
    b("primary --force r0", 11, "(-1)"), b("primary --overwrite-data-of-peer r0", 11, "(-1)"),
    a("new-current-uuid r0", 11), a("status r0", 0, "role:Primary"), a("status --json", 0, "\"role\": \"Primary\""),
    a("status --statistics r0", 0, "sent:"), a("status --verbose r0", 0, "node-id:"),
    a("get-gi r0"), a("show-gi r0"), a("cstate r0", 0, "Connected"),
    a("secondary r0"), a("secondary --force r0"), a("secondary nosuch", 1, "nosuch"),
    a("secondary --sideways r0", 1, "--sideways"), a("primary --force r0"),
    a("events2 --now r0", 0, "exists resource name:r0"),
    a("events2 --now --timestamps --statistics --full --diff --poll r0", 0, "exists -"),
    a("events2 --sideways", 1, "--sideways"),
    a("suspend-io r0"), a("status r0", 0, "suspended:user"), a("resume-io r0"), a("resume-io nosuch", 1, "nosuch"),
    a("suspend-io nosuch", 1, "nosuch"),
    a("invalidate r0", 11), a("invalidate --reset-bitmap=maybe r0", 1, "maybe"), a("outdate r0", 11, "(-6)"),
    a("outdate nosuch", 1, "nosuch"),
    b("invalidate r0"), b("wait-sync r0"), b("invalidate --reset-bitmap=no r0", 0, "no effect here"), b("wait-sync r0"),
    a("invalidate-remote r0"), a("wait-sync r0"), a("invalidate-remote --reset-bitmap=no r0"), a("wait-sync r0"),
    a("invalidate-remote nosuch", 1, "nosuch"), a("invalidate-remote --reset-bitmap=7 r0", 1, "7"),
    a("net-options --verify-alg=crc32c r0"), b("net-options --verify-alg=crc32c r0"),
    a("net-options --ping-timeout=nonsense r0", 10, "ping-timeout"),
    a("net-options --no-such-option r0", 1, "no-such-option"),
    a("net-options --set-defaults r0"), a("net-options --set verify-alg=crc32c r0"),
    a("net-options nosuch", 1, "nosuch"),
    a("verify --start=8 --stop=4096 r0"), a("verify --start=x r0", 1, "--start"), a("verify nosuch", 1, "nosuch"),
    a("pause-sync r0"), a("resume-sync r0"), a("pause-sync nosuch", 1, "nosuch"), a("resume-sync nosuch", 1, "nosuch"),
    a("disk-options --al-extents=127 r0"), a("disk-options --set-defaults r0"),
    a("disk-options --set al-updates=yes r0"),
    a("disk-options --al-extents=many r0", 10, "al-extents"), a("disk-options nosuch", 1, "nosuch"),
    a("peer-device-options --c-max-rate=100M r0"), a("peer-device-options --set c-plan-ahead=0 r0"),
    a("peer-device-options --set-defaults r0"), a("peer-device-options --c-max-rate=fast r0", 10, "c-max-rate"),
    a("syncer --resync-rate=500M r0"), a("syncer --set resync-rate=500M r0"), a("syncer --set-defaults r0"),
    a("syncer --resync-rate=fast r0", 10, "resync-rate"),
    a("resource-options --auto-promote=no r0"), a("resource-options --set auto-promote=yes r0"),
    a("resource-options --set-defaults r0"),
    a("resource-options --on-no-data-accessible=cry r0", 10, "on-no-data-accessible"),
    a("resize r0"), a("resize --size=4M r0", 10), a("resize --size=big r0", 1, "big"),
    a("resize --assume-clean --assume-peer-has-space r0"), a("resize nosuch", 1, "nosuch"),
    a("detach r0"), a("dstate r0", 0, "Diskless/UpToDate"), a("detach r0"),
    a("disk-options --al-extents=127 r0", 10, "(138)"),
    b("detach r0", 11, "(-10)"), a("detach nosuch", 1, "nosuch"),
    a("attach r0"), a("wait-sync r0"), a("attach nosuch", 1, "nosuch"), b("detach --force r0"), b("attach r0"),
    b("wait-sync r0"),
    b("detach --diskless r0", 0, "no effect here"), b("attach r0"), b("wait-sync r0"),
    b("disconnect r0"), b("disconnect r0"), b("wait-connect r0"), b("cstate r0", 0, "StandAlone"),
    b("outdate r0"), b("connect --tentative r0"), b("disconnect r0"), b("connect --discard-my-data r0"),
    b("connect nosuch", 1, "nosuch"),
    b("wait-connect r0"),
    b("wait-sync r0"),
    b("del-peer --force r0"), b("cstate r0", 0, "StandAlone"), b("connect r0"), b("wait-connect r0"),
    b("del-peer nosuch", 1, "nosuch"), b("disconnect --force r0"), b("disconnect r0:nosuch", 1, "nosuch"),
    b("connect r0"), b("wait-connect r0"),
    b("new-current-uuid --force-resync r0", 11),
  ]

  /// What reads the file, and what the file names.
  static let reading = [
    a("dump", 0, "resource r0"), a("dump r0", 0, "resource r0"), a("dump nosuch", 1, "nosuch"),
    a("dump -c /nonexistent", 20, "/nonexistent"), a("dump-xml r0", 0, "<resource name=\"r0\""),
    a("dump-xml nosuch", 1, "nosuch"),
    a("dump -t /nonexistent r0", 20, "/nonexistent"),
    a("hidden-commands", 0, "sh-mod-parms"), a("hidden-commands x", 1, "x"),
    a("sh-nop"), a("sh-nop -c /nonexistent", 20, "/nonexistent"), a("sh-resources", 0, "r0"),
    a("sh-resources x", 0, "ignore resource names"), a("sh-resources --sideways", 1, "--sideways"),
    a("sh-resource r0", 0, "r0"), a("sh-resource nosuch", 1, "nosuch"), a("sh-dev r0", 0, "/dev/drbd90"),
    a("sh-dev nosuch", 1, "nosuch"), a("sh-minor r0", 0, "90"), a("sh-minor minor-7", 1, "minor-7"),
    a("sh-ll-dev r0", 0, "a-0.img"), a("sh-ll-dev nosuch", 1, "nosuch"), a("sh-md-dev r0", 0, "a-0.img"),
    a("sh-md-dev nosuch", 1, "nosuch"), a("sh-md-idx r0", 0, "internal"), a("sh-md-idx nosuch", 1, "nosuch"),
    a("sh-ip r0", 0, "127.0.0.1"), a("sh-ip r0/0"), a("sh-ip r0/9", 1, "no volume 9"), a("sh-lr-of r0", 1, "stacked"),
    a("sh-udev r0/0", 0, "DEVICE=drbd90"),
    a("sh-udev nosuch", 1, "nosuch"), a("sh-mod-parms", 0, "minor_count="), a("sh-mod-parms x", 1, "x"),
    a("sh-nbd-uri r0", 0, "nbd+unix:///"), a("sh-nbd-uri nosuch", 1, "nosuch"),
    a("split-brain r0"), a("fence-peer r0"), a("outdate-peer r0"), a("pri-lost-after-sb nosuch", 1, "nosuch"),
    a("install-names NAMES"), a("install-names --remove NAMES"),
    a("install-names /nonexistent/there", 20, "/nonexistent"),
    a("man --directory MANUAL"), a("man nosuch", 1, "no command nosuch"),
    // Newer than drbd-utils 9.22, and of tier T2 and T3.
    a("sh-list-adjustable", 1, "sh-resources"), a("sh-list-config-file", 1, "dump"), a("new-minor nosuch", 1, "nosuch"),
    a("new-minor r0", 10, "(161)"), a("new-resource r0"), a("new-resource --node-id 7 r0", 10, "(162)"),
    a("new-peer r0"),
    a("new-path r0"), a("new-peer nosuch", 1, "nosuch"), a("new-path nosuch", 1, "nosuch"),
    a("new-resource nosuch", 1, "nosuch"), a("del-minor r0", 1, "repladm adjust r0"),
    a("proxy-up r0", 1, "no proxy"), a("frobnicate r0", 1, "there is no command 'frobnicate'"),
  ]

  /// `replsetup` and `replmeta`, which know no file. PEER is the peer's node id, DISK the disk of `a`.
  static let low = [
    a("replsetup status", 0, "r0 role:"), a("replsetup status --verbose --statistics r0", 0, "upper-pending:"),
    a("replsetup status --json r0", 0, "\"name\": \"r0\""), a("replsetup status nosuch", 10, "No such resource"),
    a("replsetup status --sideways", 20, "--sideways"), a("replsetup events2 --now r0", 0, "exists -"),
    a("replsetup events2 --now --timestamps --statistics --full --diff --poll all", 0, "exists -"),
    a("replsetup events2 r0 r1", 20, "one resource"), a("replsetup show r0", 0, "resource \"r0\""),
    a("replsetup show --json --show-defaults r0", 0, "\"auto-promote\": true"),
    a("replsetup show nosuch", 10, "No such resource"), a("replsetup proc", 0, "90: cs:Connected"),
    a("replsetup proc --sideways", 20, "--sideways"), a("replsetup role r0", 0, "Primary"),
    a("replsetup role nosuch", 10, "nosuch: Unknown resource"), a("replsetup role", 20, "needs to know"),
    a("replsetup cstate r0 PEER", 0, "Connected"), a("replsetup cstate r0 77", 10, "no peer with node id 77"),
    a("replsetup dstate 90", 0, "UpToDate/UpToDate"), a("replsetup dstate 7", 10, "(127)"),
    a("replsetup dstate x", 20, "no minor number"), a("replsetup secondary r0"), a("replsetup secondary --force r0"),
    a("replsetup primary --automatic r0"), a("replsetup secondary --automatic r0", 11, "a command has promoted"),
    a("replsetup primary nosuch", 10, "(158)"), a("replsetup secondary nosuch", 10, "(158)"),
    a("replsetup primary --force r0"), a("replsetup primary --overwrite-data-of-peer r0"),
    b("replsetup primary r0", 11, "(-1)"), a("replsetup suspend-io 90"), a("replsetup resume-io 90"),
    a("replsetup suspend-io 7", 10, "(127)"), a("replsetup resume-io 7", 10, "(127)"),
    a("replsetup pause-sync r0 PEER 0"), a("replsetup resume-sync r0 PEER 0"),
    a("replsetup pause-sync r0 PEER", 20, "VOLUME"),
    a("replsetup resume-sync r0 PEER 9", 10, "(127)"), a("replsetup get-gi r0 PEER 0", 0, ":1:1:1:1:"),
    a("replsetup get-gi r0", 20, "VOLUME"), a("replsetup show-gi r0 PEER 0", 0, "current generation"),
    a("replsetup show-gi r0", 20, "VOLUME"), a("replsetup verify r0 PEER 0 --start=0 --stop=8"),
    a("replsetup verify r0 PEER 0 --start=x", 20, "--start"), a("replsetup wait-connect-resource r0 --wfc-timeout=5"),
    a("replsetup wait-connect-connection r0 PEER --wfc-timeout=5 --degr-wfc-timeout=5 --outdated-wfc-timeout=5"),
    a("replsetup wait-connect-volume r0 PEER 0 --wait-after-sb=yes"),
    a("replsetup wait-sync-resource r0 --wfc-timeout=5"),
    a("replsetup wait-sync-connection r0 PEER"), a("replsetup wait-sync-volume r0 PEER 0"),
    a("replsetup wait-sync-connection r0 77", 10, "node id 77"),
    a("replsetup wait-sync-resource r0 --wfc-timeout=x", 20, "x"),
    a("replsetup udev 90", 0, "DEVICE=drbd90"), a("replsetup udev 7", 10, "(127)"),
    a("replsetup attach 90 DISK DISK internal", 10, "(124)"), a("replsetup detach 90"),
    a("replsetup detach 7", 10, "(127)"),
    a("replsetup attach 90 /dev/other /dev/other internal", 10, "(162)"), a("replsetup attach 90 DISK DISK internal"),
    a("replsetup wait-sync-resource r0 --wfc-timeout=20"), a("replsetup attach 7", 10, "(127)"),
    a("replsetup outdate 90", 11, "(-6)"), b("replsetup invalidate 90 --reset-bitmap=no"),
    b("replsetup wait-sync-resource r0"),
    a("replsetup invalidate-remote 90"), a("replsetup wait-sync-resource r0"), a("replsetup invalidate 7", 10, "(127)"),
    a("replsetup invalidate-remote 7", 10, "(127)"), a("replsetup new-current-uuid 90 --clear-bitmap", 11),
    a("replsetup resize 90 --assume-clean --assume-peer-has-space"), a("replsetup resize 90 --size=big", 20, "no size"),
    a("replsetup check-resize 90"), b("replsetup disconnect r0 PEER"), b("replsetup connect r0 PEER --tentative"),
    b("replsetup disconnect r0 --force"), b("replsetup connect r0 --discard-my-data"),
    b("replsetup wait-connect-resource r0"),
    b("replsetup connect r0", 10, "(125)"), b("replsetup disconnect r0 77", 10, "node id 77"),
    a("replsetup del-minor 90", 10, "is in the configuration"), a("replsetup del-minor 7", 10, "(127)"),
    a("replsetup del-resource r0", 10, "(159)"), a("replsetup frobnicate r0", 20, "is no command"),
    a("replsetup --version", 0, "DRBD_KERNEL_VERSION_CODE="),
    a("replmeta 90 v09 DISK internal dstate", 0, "Consistent"),
    a("replmeta 90 v09 DISK internal create-md 1 --force", 20),
    a("replsetup down nosuch"), a("replsetup secondary r0"), a("replsetup down r0"), a("replsetup down r0"),
    a("replmeta 90 v09 DISK internal dstate", 0, "Consistent"),
    a("replmeta --node-id PEER 90 v09 DISK internal get-gi", 0, ":1:1:"),
    a("replmeta 90 v09 DISK internal get-gi", 10, "--node-id"),
    a("replmeta --node-id PEER 90 v09 DISK internal show-gi", 0, "current generation"),
    a("replmeta 90 v09 DISK internal apply-al"), a("replmeta 90 v09 DISK internal dump-md", 0, "version"),
    a("replmeta 90 v09 DISK internal verify-dump DUMP", 0, "parsed ok"),
    a("replmeta 90 v09 DISK internal verify-dump /nonexistent", 20, "readable FILE"),
    a("replmeta --force 90 v09 DISK internal restore-md DUMP"),
    a("replmeta 90 v09 DISK internal outdate", 5, "inconsistent"),
    a("replmeta 90 v09 DISK internal invalidate"), a("replmeta --force 90 v09 DISK internal wipe-md"),
    a("replmeta 90 v09 DISK internal dstate", 1, "No valid meta data found"),
    a("replmeta --force --ignore-sanity-checks 90 v09 DISK internal create-md 1"),
    a("replmeta 90 v07 DISK internal dstate", 20, "no format"), a("replmeta 90 v09", 20, "five words"),
    a("replmeta 90 v09 DISK internal frobnicate", 20),
    a("replmeta 90 v09 /nonexistent internal dstate", 20, "/nonexistent"),
  ]

  static let end = [
    a("down --force r0"), a("new-resource r0"), a("new-minor r0"), a("down r0"), b("down all"),
    a("down --sideways r0", 1, "--sideways"),
  ]

  @Test func everyCommandExitsAndSpeaksAsTheTableSays() throws {
    let desk = try Desk(disk: "c-plan-ahead 0; resync-rate 500M;")
    let directory = desk.bench.directory
    for place in ["names", "manual"] {
      try FileManager.default.createDirectory(atPath: "\(directory)/\(place)", withIntermediateDirectories: true)
    }
    // Two hosts have the node ids 0 and 1.
    let ownID = try #require(Int(try desk.b("-d net-options r0").out.split(separator: " ").last?.dropLast() ?? ""))
    succeeds(try desk.a("install-names \(directory)/names"))
    let places = [
      ("DUMP", directory + "/dump"), ("NAMES", directory + "/manual"), ("MANUAL", directory + "/manual"),
      ("DISK", desk.bench.a.disk(0)),
    ]
    for row in Self.rows {
      let node = row.host == "a" ? desk.bench.a : desk.bench.b
      var words = places.reduce(row.line) { $0.replacingOccurrences(of: $1.0, with: $1.1) }
        .split(separator: " ").map(String.init)
      if words.contains("PEER") {
        let peer = row.host == "a" ? 1 - ownID : ownID
        words = words.map { $0 == "PEER" ? "\(peer)" : $0 }
      }
      let isLow = ["replsetup", "replmeta"].contains(words[0])
      let program = isLow ? "\(directory)/names/\(words.removeFirst())" : try program("repladm")
      let said = try desk.run(program, words, on: node)
      let text = said.out + said.err
      #expect(said.code == row.code, "\(row): \(text)")
      #expect(row.part.isEmpty || text.contains(row.part), "\(row) says '\(row.part)': \(text)")
      if row.code != 0 { #expect(!said.err.isEmpty, "\(row) says why") }
      if row.line == "dump-md r0", row.code == 0 {
        try said.out.write(toFile: directory + "/dump", atomically: true, encoding: .utf8)
      }
    }
  }

  // MARK: Nothing is left out

  private static let rows = offline + fresh + running + reading + low + end

  /// The commands of tiers T0 and T1 that the spec lists.
  @Test func everyCommandOfTheSpecHasARow() throws {
    let spec = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().appending(path: "docs/spec/admin-interface.md")
    let text = try String(contentsOf: spec, encoding: .utf8)
    let section = try #require(text.components(separatedBy: "## 4. `repladm` subcommands").last)
      .components(separatedBy: "### 4.1")[0]
    let said = Set(Self.rows.map { String($0.line.prefix { $0 != " " }) })
    var seen = 0
    for line in section.split(separator: "\n") where line.hasSuffix("| T0 |") || line.hasSuffix("| T1 |") {
      let cell = line.split(separator: "|")[0]
      for (index, word) in cell.split(separator: "`").enumerated() where index % 2 == 1 && !word.contains("…") {
        seen += 1
        #expect(said.contains(String(word)), "\(word) has no row")
      }
    }
    #expect(seen >= 60)
  }

  private struct Help: Decodable {
    struct Name: Decodable {
      var name: String
    }
    struct Argument: Decodable {
      var kind: String
      var names: [Name]?
    }
    struct Command: Decodable {
      var commandName: String
      var arguments: [Argument]?
      var subcommands: [Command]?
    }
    var command: Command
  }

  /// What the program itself says it knows.
  @Test func everyCommandAndOptionHasARowAndAWrongUse() throws {
    let desk = try Desk()
    let help = try JSONDecoder().decode(
      Help.self,
      from: Data(try desk.run(try program("repladm"), ["--experimental-dump-help"], on: desk.bench.a).out.utf8))
    func options(_ command: Help.Command) -> Set<String> {
      Set((command.arguments ?? []).filter { $0.kind != "positional" }.flatMap { ($0.names ?? []).map(\.name) })
    }
    let commands = (help.command.subcommands ?? []).filter { !["help", RunHandler.word].contains($0.commandName) }
    #expect(commands.count > 50)
    let general = commands.map(options).reduce(options(commands[0])) { $0.intersection($1) }
    for command in commands {
      let rows = Self.rows.filter { $0.line.split(separator: " ")[0] == command.commandName }
      #expect(rows.contains { $0.code == 0 } || command.commandName == "sh-lr-of", "\(command.commandName) has a row")
      #expect(rows.contains { $0.code != 0 }, "\(command.commandName) has a row of a wrong use")
      let used = Set(
        rows.flatMap { $0.line.split(separator: " ") }.map { String($0.drop { $0 == "-" }.prefix { $0 != "=" }) })
      let left = options(command).subtracting(general).subtracting(used)
      #expect(left.isEmpty, "\(command.commandName) has options without a row: \(left.sorted())")
    }
  }
}
