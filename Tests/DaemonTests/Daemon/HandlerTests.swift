// Handlers (admin spec 7): each runs with the environment scripts know, what it answers is logged, and neither a handler that
// fails nor one that cannot be started stops the data.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct DaemonHandlers {
  /// What a handler writes down when its command is `env > FILE.$DRBD_MY_NODE_ID`.
  private func environment(_ path: String) throws -> [String: String] {
    try until("\(path) is written") { access(path, R_OK) == 0 }
    var result: [String: String] = [:]
    for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") {
      let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count == 2 { result[String(parts[0])] = String(parts[1]) }
    }
    return result
  }

  private func noting(_ bench: Bench, _ names: String...) -> String {
    names.map { name in
      let file = "\(bench.directory)/\(name).$DRBD_MY_NODE_ID"
      return "\(name) \"env > \(file).$$; mv \(file).$$ \(file)\";"
    }.joined(separator: " ")
  }

  private func nodeIDs(_ bench: Bench) throws -> (a: Int, b: Int) {
    (try bench.a.status().nodeID, try bench.b.status().nodeID)
  }

  @Test func aResyncTellsBothSidesWhichVolumeItIsAbout() throws {
    let bench = try Bench(volumes: 2)
    try bench.configure(handlers: noting(bench, "before-resync-target", "after-resync-target", "before-resync-source"))
    try bench.synced()
    let (a, b) = try nodeIDs(bench)
    let target = try environment("\(bench.directory)/before-resync-target.\(b)")
    let volume = try #require(target["DRBD_VOLUME"].flatMap { Int($0) })
    #expect(target["DRBD_RESOURCE"] == "r0" && target["DRBD_CONF"] == bench.b.config)
    #expect(target["DRBD_MINOR"] == "\(90 + volume)")
    #expect(target["DRBD_BACKING_DEV"] == bench.b.disk(volume) && target["DRBD_LL_DISK"] == bench.b.disk(volume))
    #expect(target["DRBD_MINOR_0"] == "90" && target["DRBD_MINOR_1"] == "91")
    #expect(target["DRBD_BACKING_DEV_1"] == bench.b.disk(1))
    #expect(target["DRBD_MY_NODE_ID"] == "\(b)" && target["DRBD_PEER_NODE_ID"] == "\(a)")
    #expect(target["DRBD_NODE_ID_\(a)"] == "a" && target["DRBD_NODE_ID_\(b)"] == "b")
    #expect(target["DRBD_PEER"] == "a" && target["DRBD_PEERS"] == "a")
    #expect(target["DRBD_MY_AF"] == "ipv4" && target["DRBD_MY_ADDRESS"] == "127.0.0.1")
    #expect(target["DRBD_PEER_AF"] == "ipv4" && target["DRBD_PEER_ADDRESS"] == "127.0.0.1")
    #expect(target["DRBD_CSTATE"] == "Connected")
    #expect(target["PATH"] == "\(bench.b.files.tools):/sbin:/bin:/usr/sbin:/usr/bin" && target["HOME"] == "/")
    #expect(target["REPL_RUN_DIR"] == bench.b.runDirectory && target["__DRBD_NODE__"] == "b")
    #expect(target["REPL_CONFIG"] == bench.b.config)
    #expect(target["LD_LIBRARY_PATH"] == nil, "a handler gets nothing else of the daemon's own environment")
    let after = try environment("\(bench.directory)/after-resync-target.\(b)")
    #expect(after["DRBD_RESOURCE"] == "r0" && after["DRBD_MINOR"] != nil)
    let source = try environment("\(bench.directory)/before-resync-source.\(a)")
    #expect(source["DRBD_MY_NODE_ID"] == "\(a)" && source["DRBD_PEER"] == "b")
    #expect(access("\(bench.directory)/before-resync-target.\(a)", F_OK) != 0, "the source is no target")
  }

  @Test func aSplitBrainIsToldForTheWholeConnection() throws {
    let bench = try Bench(volumes: 2)
    try bench.configure(handlers: noting(bench, "split-brain"))
    try bench.synced()
    for node in [bench.a, bench.b] { try node.done(.disconnect(peer: nil, force: false)) }
    try bench.b.done(.primary(force: true))
    for node in [bench.a, bench.b] {
      let client = try Client(node.exportPath)
      try client.write(pattern(4096, node === bench.a ? 1 : 2), at: 0)
      try client.leave()
    }
    for node in [bench.a, bench.b] { try node.done(.connect(peer: nil, discardMyData: false)) }
    let (a, b) = try nodeIDs(bench)
    for (id, node) in [(a, bench.a), (b, bench.b)] {
      let told = try environment("\(bench.directory)/split-brain.\(id)")
      #expect(told["DRBD_VOLUME"] == "0 1" && told["DRBD_MINOR"] == "90 91")
      #expect(told["DRBD_LL_DISK"] == "\(node.disk(0)) \(node.disk(1))")
      #expect(told["DRBD_BACKING_DEV_0"] == node.disk(0) && told["DRBD_MINOR_1"] == "91")
    }
  }

  @Test func whatAHandlerAnswersIsLoggedAndStopsNothing() throws {
    let bench = try Bench()
    try bench.configure(
      handlers: """
        before-resync-source "exit 7"; after-resync-target "kill -9 $$";
        """)
    try bench.synced()
    try until("the status is logged") {
      bench.a.log.contains("r0/0 b: helper command: before-resync-source exit code 7")
    }
    try until("the signal is logged") {
      bench.b.log.contains("r0/0 a: helper command: after-resync-target exit code 137")
    }
    let client = try Client(bench.a.exportPath)
    try client.write(pattern(4096, 9), at: 0)
    try client.flush()
    try bench.expectEqualData()
  }

  /// Where drbd-utils are installed, too, a script that says `drbdsetup` asks the daemon that calls it.
  @Test func aHandlerFindsTheToolsOfItsDaemon() throws {
    let bench = try Bench()
    let script = bench.directory + "/script"
    try """
    answer=\(bench.directory)/answer.$DRBD_MY_NODE_ID
    { for tool in drbdsetup drbdadm drbdmeta; do command -v $tool; done; drbdsetup role r0; drbdadm role r0; } >$answer.new
    mv $answer.new $answer
    """.write(toFile: script, atomically: true, encoding: .utf8)
    try bench.configure(handlers: "before-resync-target \"/bin/sh \(script)\";")
    try bench.synced()
    let (_, b) = try nodeIDs(bench)
    let path = "\(bench.directory)/answer.\(b)"
    try until("the handler has answered") { access(path, R_OK) == 0 }
    let tools = bench.b.files.tools
    #expect(
      try String(contentsOfFile: path, encoding: .utf8)
        == "\(tools)/drbdsetup\n\(tools)/drbdadm\n\(tools)/drbdmeta\nSecondary\nSecondary\n")
    // Links of a version that is gone are made anew.
    unlink("\(tools)/drbdsetup")
    symlink("/nonexistent/repladm", "\(tools)/drbdsetup")
    try FileManager.default.removeItem(atPath: path)
    try bench.a.done(.invalidateRemote(volume: nil, resetBitmap: true))
    try until("the handler has answered again") { access(path, R_OK) == 0 }
    #expect(try String(contentsOfFile: path, encoding: .utf8).contains("Secondary"))
  }

  @Test func whatAHandlerSaysIsInTheLog() throws {
    let desk = try Desk()
    try desk.edit(
      "handlers {  }",
      "handlers { before-resync-target \"echo said aloud; echo said in distress >&2; no-such-program; true\"; }")
    try desk.synced()
    let log = desk.log(desk.bench.b)
    for part in ["said aloud\n", "said in distress\n", "no-such-program: not found\n"] {
      #expect(log.contains(part), "\(log)")
    }
  }

  @Test func nothingIsResyncedBeforeItsHandlerHasEnded() throws {
    let bench = try Bench()
    let gate = bench.directory + "/gate"
    try bench.configure(handlers: "before-resync-target \"while [ ! -e \(gate) ]; do sleep 0.05; done\";")
    try bench.createMetadata()
    try bench.up()
    try bench.a.done(.primary(force: true))
    try until("the resync waits") { try bench.b.status().connections[0].peerDevices[0].replication == .syncTarget }
    try until("the handler runs") { bench.b.log.contains("helper command: before-resync-target") }
    #expect(try bench.b.status().connections[0].peerDevices[0].received == 0)
    #expect(try bench.b.status().devices[0].disk == .inconsistent)
    _ = FileManager.default.createFile(atPath: gate, contents: nil)
    try bench.inSync()
    try bench.expectEqualData()
  }

  @Test func aHandlerThatForbidsAResyncEndsTheConnection() throws {
    let bench = try Bench()
    try bench.configure(handlers: "before-resync-target \"exit 1\";")
    try bench.createMetadata()
    try bench.up()
    try bench.a.done(.primary(force: true))
    try until("b is StandAlone") { try bench.b.status().connections[0].state == .standAlone }
    #expect(try bench.b.status().connections[0].refusedBecause?.contains("before-resync-target") ?? false)
    #expect(try bench.b.status().devices[0].disk == .inconsistent)
    try bench.configure()
    try bench.b.done(.adjust)
    try bench.connected()
    try bench.inSync()
  }

  @Test func handlersAreReadAnewByAdjust() throws {
    let bench = try Bench()
    try bench.createMetadata()
    try bench.up()
    try bench.configure(handlers: noting(bench, "after-resync-target"))
    for node in [bench.a, bench.b] { try node.done(.adjust) }
    try bench.a.done(.primary(force: true))
    let (_, b) = try nodeIDs(bench)
    #expect(try environment("\(bench.directory)/after-resync-target.\(b)")["DRBD_RESOURCE"] == "r0")
  }

  // MARK: By hand

  @Test func aHandlerRunsByHandWithItsEnvironmentAndExitCode() throws {
    let desk = try Desk()
    try desk.edit(
      "handlers {  }",
      """
      handlers { split-brain "env; echo to stderr >&2; exit 3"; fence-peer "echo fenced $DRBD_VOLUME; exit 4"; }
      """)
    let split = try desk.a("split-brain r0", ["DRBD_VOLUME": "7"])
    #expect(split.code == 3 && split.err == "to stderr\n")
    let words = split.out.split(separator: "\n")
    #expect(words.contains("DRBD_RESOURCE=r0") && words.contains("DRBD_MINOR=90"))
    #expect(words.contains { $0.hasPrefix("DRBD_PEER_NODE_ID=") })
    #expect(words.contains { $0.hasPrefix("DRBD_NODE_ID_") && $0.hasSuffix("=a") })
    #expect(words.contains("DRBD_VOLUME=7"), "what the caller knows better stands")
    #expect(words.contains("DRBD_CONF=\(desk.config)"))
    let fence = try desk.a("fence-peer r0")
    #expect(fence.code == 4 && fence.out == "fenced 0\n")
    #expect(try desk.a("outdate-peer r0").code == 4, "8.3's name leads to the same")
    let absent = try desk.a("pri-lost r0")
    #expect(absent.code == 0 && absent.out.isEmpty && absent.err.isEmpty)
    refuses(try desk.a("split-brain r0/0"), 1, "split-brain")
    #expect(try desk.a("-d split-brain r0").out.hasPrefix("/bin/sh -c env\\;\\ echo"))
  }
}
