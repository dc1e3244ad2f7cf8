// Fencing with real daemons: the handler's environment, its exit status on the event stream and what follows from it, and
// an application that waits while I/O is frozen.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct DaemonFencing {
  /// The handler writes down what it is told, waits for the gate if there is one, and exits with what `answer` holds.
  private func handler(_ bench: Bench, waits: Bool = false) throws -> String {
    let script = """
      d=\(bench.directory)
      env > $d/told; mv $d/told $d/fence.$DRBD_MY_NODE_ID
      \(waits ? "while [ ! -e $d/gate ]; do sleep 0.05; done" : "")
      exit `cat $d/answer`
      """
    try script.write(toFile: bench.directory + "/fence.sh", atomically: true, encoding: .utf8)
    return "fence-peer \"sh \(bench.directory)/fence.sh\";"
  }

  private func answer(_ bench: Bench, _ exit: Int) throws {
    try "\(exit)\n".write(toFile: bench.directory + "/answer", atomically: true, encoding: .utf8)
  }

  private func told(_ bench: Bench, _ node: Node) throws -> [String] {
    let path = "\(bench.directory)/fence.\(try node.status().nodeID)"
    try until("\(path) is written") { access(path, R_OK) == 0 }
    return try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map(String.init)
  }

  @Test func frozenWritesWaitForTheHandler() throws {
    let bench = try Bench(volumes: 2)
    try bench.configure(net: "fencing resource-and-stonith;", handlers: try handler(bench, waits: true))
    try answer(bench, 4)
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    try client.write(pattern(4096, 1), at: 0)
    bench.b.kill()
    let words = try told(bench, bench.a)
    #expect(words.contains("DRBD_RESOURCE=r0") && words.contains("DRBD_PEER=b"))
    #expect(words.contains("DRBD_VOLUME=0 1") && words.contains("DRBD_MINOR=90 91"))
    let frozen = try bench.a.status()
    #expect(frozen.suspendedFencing && !frozen.suspendedByUser)
    try bench.a.repladm(["status", "r0"])
    #expect(bench.a.log.contains("r0 role:Primary suspended:fencing"))
    try bench.a.repladm(["status", "r0", "--json"])
    #expect(bench.a.log.contains("\"suspended-fencing\": true"))
    try bench.a.repladm(["events2", "--now", "r0"])
    #expect(bench.a.log.contains("exists resource name:r0 role:Primary suspended:fencing"))
    let ended = DispatchSemaphore(value: 0)
    let path = bench.a.exportPath
    Thread.detachNewThread {
      do {
        let other = try Client(path)
        try other.write(pattern(4096, 2), at: 4096)
        ended.signal()
      } catch { print("the write failed: \(error)") }
    }
    #expect(ended.wait(timeout: .now() + 1) == .timedOut, "nothing is answered before the handler")
    _ = FileManager.default.createFile(atPath: bench.directory + "/gate", contents: nil)
    #expect(ended.wait(timeout: .now() + 20) == .success)
    let after = try bench.a.status()
    #expect(!after.suspendedFencing)
    #expect(after.connections[0].peerDevices.allSatisfy { $0.peerDisk == .outdated })
    #expect(bench.a.log.contains("r0 b: helper command: fence-peer exit code 4"))
  }

  @Test(arguments: [(0, -7), (1, -7), (3, 0), (4, 0), (5, 0), (6, -2), (7, 0)])
  func aNodeAloneIsPromotedWhenItsPeerIsFenced(_ exit: Int, _ number: Int) throws {
    let bench = try Bench()
    try bench.configure(disk: "fencing resource-only;", handlers: try handler(bench))
    try answer(bench, exit)
    try bench.synced()
    try bench.a.done(.secondary(force: false))
    bench.a.kill()
    try until("b has noticed") { try bench.b.status().connections[0].state < .connected }
    if number == 0 {
      try bench.b.done(.primary(force: false))
      #expect(try bench.b.status().connections[0].peerDevices[0].peerDisk == (exit == 3 ? .inconsistent : .outdated))
    } else {
      let refusal = try bench.b.refused(.primary(force: false))
      #expect(refusal.number.map { Int($0.rawValue) } == number && !refusal.next.isEmpty)
      #expect(try bench.b.status().role == .secondary)
    }
    _ = try told(bench, bench.b)
  }

  @Test func aPrimaryThatDisconnectsOutdatesItsPeerAndAsksNobody() throws {
    let bench = try Bench()
    try bench.configure(net: "fencing resource-and-stonith;", handlers: try handler(bench))
    try answer(bench, 1)
    try bench.synced()
    try bench.a.done(.disconnect(peer: nil, force: false))
    try until("b is Outdated") { try bench.b.status().devices[0].disk == .outdated }
    let status = try bench.a.status()
    #expect(!status.suspendedFencing && status.connections[0].peerDevices[0].peerDisk == .outdated)
    #expect(!bench.a.log.contains("helper command: fence-peer"))
    try bench.a.done(.connect(peer: nil, discardMyData: false))
    try bench.connected()
    try bench.inSync()
  }

  @Test func withoutAHandlerAPrimaryStaysFrozenUntilItsPeerIsBack() throws {
    let bench = try Bench()
    try bench.configure(net: "fencing resource-and-stonith;")
    try bench.synced()
    bench.b.kill()
    try until("a is frozen") { try bench.a.status().suspendedFencing }
    try until("it says why") { bench.a.log.contains("no fence-peer handler is configured") }
    try bench.b.start()
    try bench.b.done(.attach(volume: nil))
    #expect(try bench.b.status().devices[0].disk == .consistent)
    try bench.b.done(.connect(peer: nil, discardMyData: false))
    try bench.connected()
    try bench.inSync()
    #expect(try !bench.a.status().suspendedFencing)
  }

  @Test func theCallAndItsAnswerAreOnTheEventStream() throws {
    let bench = try Bench()
    try bench.configure(net: "fencing resource-and-stonith;", handlers: try handler(bench, waits: true))
    try answer(bench, 7)
    try bench.synced()
    let follower = try Follower(
      try program("repladm"), ["events2", "r0"], on: bench.a, directory: bench.directory)
    defer { follower.end() }
    try follower.sees("exists -")
    let peer = try bench.b.status().nodeID
    bench.b.kill()
    let helper = "helper name:r0 peer-node-id:\(peer) conn-name:b helper:fence-peer"
    try follower.sees("call \(helper)")
    try follower.sees("change resource name:r0", "suspended:fencing")
    #expect(!follower.lines.contains { $0.hasPrefix("response \(helper)") })
    _ = FileManager.default.createFile(atPath: bench.directory + "/gate", contents: nil)
    try follower.sees("response \(helper) status:7")
    try follower.sees("change resource name:r0", "suspended:no")
    try follower.sees("change peer-device name:r0", "peer-disk:Outdated")
    let lines = follower.lines
    #expect(lines.contains("call \(helper)") && lines.contains("response \(helper) status:7"), "nothing else in them")
    #expect(lines.count { $0.contains("helper:fence-peer") } == 2)
  }

  @Test(arguments: ["dont-care", "resource-only"])
  func aFrozenPrimaryThatIsAdjustedGoesOn(_ policy: String) throws {
    let bench = try Bench()
    try bench.configure(net: "fencing resource-and-stonith;", handlers: try handler(bench))
    try answer(bench, 1)
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    bench.b.kill()
    try until("a stays frozen") { bench.a.log.contains("I/O stays frozen") }
    #expect(try bench.a.status().suspendedFencing)
    try bench.configure(net: "fencing \(policy);", handlers: try handler(bench))
    try bench.a.done(.adjust)
    try client.write(pattern(4096, 3), at: 0)
    #expect(try !bench.a.status().suspendedFencing)
    try bench.b.start()
    try bench.b.done(.attach(volume: nil))
    try bench.b.done(.connect(peer: nil, discardMyData: false))
    try bench.connected()
    try bench.inSync()
    try bench.expectEqualData()
  }

  // MARK: call-pri-lost-after-sb

  /// `a` is Primary without changes, and what `b` wrote wins.
  private func lost(_ bench: Bench) throws -> String {
    let file = bench.directory + "/lost"
    try bench.configure(
      net: "after-sb-0pri discard-zero-changes; after-sb-1pri call-pri-lost-after-sb;",
      handlers: "pri-lost-after-sb \"echo $DRBD_RESOURCE $DRBD_MY_NODE_ID >> \(file)\";")
    try bench.synced()
    for node in [bench.a, bench.b] { try node.done(.disconnect(peer: nil, force: true)) }
    try bench.b.done(.primary(force: true))
    let client = try Client(bench.b.exportPath)
    try client.write(pattern(4096, 5), at: 8192)
    try client.flush()
    try client.leave()
    try bench.b.done(.secondary(force: false))
    return file
  }

  @Test func aPrimaryThatLostAndThatNobodyUsesStepsDown() throws {
    let bench = try Bench()
    let file = try lost(bench)
    for node in [bench.a, bench.b] { try node.done(.connect(peer: nil, discardMyData: false)) }
    try bench.connected()
    try bench.inSync()
    #expect(try bench.a.status().role == .secondary)
    #expect(bench.a.log.contains("demoted: the data of the peer are kept"))
    try bench.expectEqualData()
    #expect(access(file, F_OK) != 0, "it has no need of its handler")
    try bench.a.done(.primary(force: false))
    let client = try Client(bench.a.exportPath)
    #expect(try client.read(4096, at: 8192) == pattern(4096, 5))
  }

  @Test func aPrimaryThatLostAndIsInUseCallsItsHandler() throws {
    let bench = try Bench()
    let file = try lost(bench)
    let client = try Client(bench.a.exportPath)
    let id = try bench.a.status().nodeID
    for node in [bench.a, bench.b] { try node.done(.connect(peer: nil, discardMyData: false)) }
    try until("the handler was called") { access(file, R_OK) == 0 }
    try until("a is StandAlone") { try bench.a.status().connections[0].state == .standAlone }
    #expect(try String(contentsOfFile: file, encoding: .utf8) == "r0 \(id)\n")
    #expect(try bench.a.status().role == .primary)
    try client.write(pattern(4096, 6), at: 0)
    // The handler would end the application: then the node can be told to give way.
    try client.leave()
    try bench.a.done(.secondary(force: false))
    try bench.a.done(.connect(peer: nil, discardMyData: true))
    try bench.connected()
    try bench.inSync()
    try bench.expectEqualData()
  }

  @Test func theEndOfAConnectionIsToldWithItsReason() throws {
    let bench = try Bench()
    let file = bench.directory + "/gone"
    try bench.configure(handlers: "disconnected \"echo $DRBD_MY_NODE_ID $DRBD_CSTATE >> \(file)\";")
    try bench.synced()
    try bench.b.done(.disconnect(peer: nil, force: false))
    let (a, b) = (try bench.a.status().nodeID, try bench.b.status().nodeID)
    var lines: Set<String> = []
    try until("both were told") {
      guard access(file, R_OK) == 0 else { return false }
      lines = Set(try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n").map(String.init))
      return lines.count == 2
    }
    #expect(lines == ["\(a) TearDown", "\(b) Disconnecting"])
  }
}
