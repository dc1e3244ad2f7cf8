// Commands to a running resource beside the everyday ones: the event stream, options at run time, what is in force, the low-level
// names of things.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct RunTimeCommands {
  private func setup(_ desk: Desk, _ line: String) throws -> Said {
    let link = desk.bench.directory + "/replsetup"
    if access(link, F_OK) != 0 { symlink(try program("repladm"), link) }
    return try desk.run(link, line.split(separator: " ").map(String.init), on: desk.bench.a)
  }

  // MARK: events2

  @Test func theDumpOfAMomentHasTheRecordedForm() throws {
    let desk = try Desk()
    #expect(try desk.a("events2 --now").out == "exists -\n")
    try desk.synced()
    let said = try desk.a("events2 --now --timestamps --statistics r0")
    let lines = said.out.split(separator: "\n").map(String.init)
    #expect(said.code == 0 && lines.count == 6)
    let stamp = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{6}[+-][0-9]{2}:[0-9]{2} "
    for line in lines { #expect(line.range(of: stamp, options: .regularExpression) != nil, "\(line)") }
    let words = lines.map { $0.split(separator: " ").dropFirst().prefix(2).joined(separator: " ") }
    #expect(
      words == [
        "exists resource", "exists connection", "exists device", "exists peer-device", "exists path", "exists -",
      ])
    #expect(
      lines[0].hasSuffix(
        "role:Primary suspended:no force-io-failures:no write-ordering:flush may_promote:no promotion_score:10102"))
    #expect(lines[4].contains("local:ipv4:127.0.0.1:") && lines[4].hasSuffix("established:yes"))
    let low = try setup(desk, "events2 --now all")
    #expect(low.out.split(separator: "\n").count == 6 && !low.out.contains("written:"))
  }

  @Test func aResyncAndItsHandlersAreSeenStepByStep() throws {
    let desk = try Desk()
    try desk.up()
    let follower = try Follower(
      try program("repladm"), ["events2", "--statistics"], on: desk.bench.b, directory: desk.bench.directory)
    defer { follower.end() }
    try follower.sees("exists -")
    succeeds(try desk.a("primary --force r0"))
    try follower.sees("change connection name:r0", "role:Primary")
    try follower.sees("call helper name:r0", "volume:0 minor:90 helper:before-resync-target")
    try follower.sees("response helper name:r0", "helper:before-resync-target status:0")
    try follower.sees("change peer-device name:r0", "replication:SyncTarget done:")
    try follower.sees("change device name:r0 volume:0 minor:90", "disk:UpToDate")
    try follower.sees("change peer-device name:r0", "replication:Established")
    try follower.sees("response helper name:r0", "helper:after-resync-target status:0")
    // A difference shows both values.
    let diff = try Follower(
      try program("repladm"), ["events2", "--diff", "r0"], on: desk.bench.b, directory: desk.bench.directory)
    defer { diff.end() }
    try diff.sees("exists -")
    succeeds(try desk.a("disconnect r0"))
    try diff.sees("change connection name:r0", "role:Primary->Unknown")
  }

  @Test func tooManyFollowersAreRefusedAndStatusStillAnswers() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    succeeds(try desk.a("up --no-device r0"))
    let followers = try (0..<10).map { _ in
      try Follower(try program("repladm"), ["events2", "r0"], on: desk.bench.a, directory: desk.bench.directory)
    }
    defer { for follower in followers { follower.end() } }
    try until("eight follow") { followers.filter { $0.lines.contains { $0.hasPrefix("exists resource") } }.count == 8 }
    succeeds(try desk.a("status r0"))
  }

  // MARK: Options

  @Test func optionsChangeWhileTheResourceRuns() throws {
    let desk = try Desk()
    try desk.synced()
    let client = try Client(desk.bench.a.exportPath)
    #expect(!(try setup(desk, "show r0").out.contains("timeout ")))
    succeeds(try desk.a("net-options --timeout=30 --ko-count 3 r0"))
    succeeds(try desk.a("peer-device-options r0 --c-max-rate=512000k"))
    succeeds(try desk.a("syncer r0"))
    succeeds(try desk.a("resource-options --no-auto-promote r0"))
    succeeds(try desk.a("disk-options --al-extents=127 r0/0"))
    let text = try setup(desk, "show r0").out
    for line in [
      "timeout         \t30; # 1/10 seconds", "ko-count        \t3;", "c-max-rate      \t512000k; # bytes/second",
      "auto-promote    \tno;", "al-extents      \t127;", "_name           \t\"b\";",
    ] { #expect(text.contains(line), "\(line) in\n\(text)") }
    // Nothing of this needed a new connection, and the client never noticed.
    try client.write(pattern(4096, 1), at: 0)
    #expect(try desk.bench.a.status().connections[0].state == .connected)
    // The file is the truth again.
    succeeds(try desk.a("net-options --set-defaults r0"))
    #expect(!(try setup(desk, "show r0").out.contains("timeout ")))
    #expect(try setup(desk, "show r0").out.contains("al-extents"))
    succeeds(try desk.a("adjust r0"))
    #expect(!(try setup(desk, "show r0").out.contains("al-extents")))
    try client.leave()
  }

  @Test func whatBothNodesMustAgreeOnIsAgreedOnAnew() throws {
    let desk = try Desk()
    try desk.synced()
    for said in [try desk.a("net-options --protocol=A r0"), try desk.b("net-options --protocol=A r0")] {
      succeeds(said)
    }
    try desk.bench.connected()
    try until("they agree on A") { try setup(desk, "proc").out.contains("ds:UpToDate/UpToDate A r-----") }
  }

  @Test func whatOneNodeIsToldHoldsOnBothUntilItIsNamed() throws {
    let desk = try Desk()
    try desk.synced()
    func agree(_ letter: String) throws {
      try until("they agree on \(letter)") {
        try [desk.bench.a, desk.bench.b].allSatisfy { try $0.status().connections[0].protocolLetter == letter }
      }
    }
    succeeds(try desk.b("net-options --protocol=A r0"))
    try agree("A")
    for line in [
      "net-options --timeout=30 r0", "disk-options --al-extents=127 r0/0", "resource-options --auto-promote=no r0",
    ] {
      succeeds(try desk.a(line))
    }
    // Both nodes have heard what those commands had to say.
    succeeds(try desk.a("net-options --after-sb-0pri=discard-zero-changes r0"))
    succeeds(try desk.b("net-options --ping-int=9 r0"))
    try agree("A")
    succeeds(try desk.a("net-options --protocol=C r0"))
    try agree("C")
  }

  @Test func wrongOptionsAreRefusedInWords() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    refuses(try desk.a("net-options --timeout=30 r0"), 10, "(158) Unknown resource", "repladm up r0")
    succeeds(try desk.a("up --no-device r0"))
    let big = try desk.a("net-options --timeout=99999 r0")
    #expect(big.code == 10 && big.err.contains("'99999' is not allowed for timeout") && big.err.contains("1..600"))
    refuses(try desk.a("net-options --set tmeout=3 r0"), 10, "'tmeout' is no option of net-options", "timeout")
    refuses(try desk.a("resource-options --quorum=majority r0"), 10, "quorum")
    succeeds(try desk.a("detach r0"))
    refuses(try desk.a("disk-options --al-extents=127 r0"), 10, "(138) Device does not have a disk-config")
    #expect(try desk.a("-d net-options --timeout=30 r0").out.hasSuffix(" --timeout=30\n"))
  }

  @Test func adjustCanLeaveAPartAlone() throws {
    let desk = try Desk()
    try desk.synced()
    succeeds(try desk.a("secondary r0"))
    succeeds(try desk.a("disconnect r0"))
    succeeds(try desk.a("detach r0"))
    succeeds(try desk.a("adjust --skip-net r0"))
    #expect(try desk.bench.a.status().connections[0].state == .standAlone)
    #expect(try desk.bench.a.status().devices[0].disk != .diskless)
    succeeds(try desk.a("detach r0"))
    succeeds(try desk.a("adjust --skip-disk r0"))
    try desk.bench.connected()
    #expect(try desk.bench.a.status().devices[0].disk == .diskless)
    succeeds(try desk.a("adjust r0"))
    try desk.bench.inSync()
  }

  // MARK: The low-level names of things

  @Test func lowLevelCommandsFindTheirObjects() throws {
    let desk = try Desk()
    try desk.synced()
    #expect(try setup(desk, "role r0").out == "Primary\n")
    #expect(try setup(desk, "dstate 90").out == "UpToDate/UpToDate\n")
    let peer = try desk.bench.a.status().connections[0].peerNodeID
    #expect(try setup(desk, "cstate r0 \(peer)").out == "Connected\n")
    #expect(try setup(desk, "get-gi r0 \(peer) 0").out == (try desk.a("get-gi r0").out))
    succeeds(try setup(desk, "wait-sync-volume r0 \(peer) 0 --wfc-timeout=5"))
    #expect(try setup(desk, "udev minor-90").out.hasPrefix("DEVICE=drbd90\nSYMLINK=drbd/by-res/r0/0\n"))
    let proc = try setup(desk, "proc").out
    #expect(proc.contains("90: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n    ns:"))
    refuses(try setup(desk, "dstate 7"), 10, "(127) Device minor not allocated")
    refuses(try setup(desk, "outdate 90"), 11, "(-6) Refusing to be Outdated while Connected")
    refuses(try setup(desk, "cstate r0 9"), 10, "no peer with node id 9")
    refuses(try setup(desk, "frobnicate r0"), 20, "is no command of replsetup")
    succeeds(try setup(desk, "secondary r0"))
    succeeds(try setup(desk, "down r0"))
    succeeds(try setup(desk, "down r0"))
    refuses(try setup(desk, "role r0"), 10, "r0: Unknown resource")
  }

  /// Admin spec 6.2a, for the commands that leave the resource as it is.
  @Test func refusalsHaveTheNumbersThatScriptsKnow() throws {
    let desk = try Desk()
    #expect(try setup(desk, "status").out == "# No currently configured DRBD found.\n")
    refuses(try setup(desk, "status r0"), 10, "No such resource")
    refuses(try desk.a("role r0"), 10, "r0: Unknown resource")
    refuses(try desk.a("dstate r0"), 1, "No valid meta data found")
    succeeds(try desk.a("down r0"))
    refuses(try desk.a("up --no-device r0"), 1, "No valid meta data found")
    succeeds(try desk.a("down r0"))
    try desk.up()
    refuses(try desk.a("up --no-device r0"), 1, "(161) Minor or volume exists already")
    refuses(try desk.a("primary r0"), 17, "(-2) Need access to UpToDate data")
    refuses(try setup(desk, "outdate 90"), 5, "(-16) Disk state is lower than outdated")
    refuses(try desk.a("connect r0"), 10, "(125)")
    refuses(try desk.a("attach r0"), 10, "(124)")
    succeeds(try desk.a("primary --force r0"))
    try desk.bench.inSync()
    refuses(try desk.b("primary r0"), 11, "(-1) Multiple primaries not allowed by config")
    refuses(try desk.b("primary --force r0"), 11, "(-1)")
    succeeds(try desk.b("secondary r0"))
    succeeds(try desk.b("disconnect r0"))
    succeeds(try desk.b("wait-connect r0"))
  }
}
