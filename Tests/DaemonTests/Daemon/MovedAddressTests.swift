// `adjust` after an address or a port has changed in the file: the connection is made anew, and the Primary goes on.
import Base
import BlockIO
import Control
import Foundation
import Testing

@Suite(.serialized) struct MovedAddresses {
  /// With node ids of their own: else they follow from the addresses.
  private func numbered() throws -> Bench {
    let bench = try Bench()
    for (node, id) in [("a", 0), ("b", 1)] { try edit(bench, "on \(node) { ", "on \(node) { node-id \(id); ") }
    return bench
  }

  private func edit(_ bench: Bench, _ old: String, _ new: String) throws {
    let text = try String(contentsOfFile: bench.a.config, encoding: .utf8)
    #expect(text.contains(old))
    try text.replacingOccurrences(of: old, with: new).write(toFile: bench.a.config, atomically: true, encoding: .utf8)
  }

  /// Changes the port of one node in the file and adjusts both nodes, a first.
  private func move(_ bench: Bench, from old: UInt16, to new: UInt16) throws {
    try edit(bench, "127.0.0.1:\(old);", "127.0.0.1:\(new);")
    try bench.a.done(.adjust)
    try bench.b.done(.adjust)
    try bench.connected()
  }

  /// Whether a connection to this port of 127.0.0.1 is accepted.
  private func isListenedOn(_ port: UInt16) -> Bool {
    do { _ = try Wire(port: port) } catch { return false }
    return true
  }

  @Test func aPrimaryStaysInUseWhileItsPeerGetsAnotherAddress() throws {
    let bench = try numbered()
    try bench.synced()
    let client = try Client(bench.a.exportPath)
    try client.write(pattern(4096, 1), at: 0)
    let (a, b) = bench.ports
    let (newA, newB) = (try freePort(), try freePort())
    try move(bench, from: b, to: newB)
    try client.write(pattern(4096, 2), at: 4096)
    try move(bench, from: a, to: newA)
    try client.write(pattern(4096, 3), at: 8192)
    try client.flush()
    // A node listens while it looks for its peer.
    for (gone, port, old) in [(bench.a, newB, b), (bench.b, newA, a)] {
      try gone.done(.disconnect(peer: nil, force: false))
      try until("port \(port) is listened on") { isListenedOn(port) }
      #expect(!isListenedOn(old))
      try gone.done(.connect(peer: nil, discardMyData: false))
      try bench.connected()
    }
    #expect(try client.read(4096, at: 4096) == pattern(4096, 2))
    #expect(try bench.a.status().role == .primary)
    try bench.inSync()
    try bench.expectEqualData()
    try client.leave()
  }

  @Test func aNodeThatLooksForItsPeerListensOnTheNewPort() throws {
    let bench = try numbered()
    try bench.a.createMetadata()
    try bench.a.start()
    try bench.a.done(.attach(volume: nil))
    try bench.a.done(.connect(peer: nil, discardMyData: false))
    let (old, new) = (bench.ports.0, try freePort())
    try until("port \(old) is listened on") { isListenedOn(old) }
    try edit(bench, "127.0.0.1:\(old);", "127.0.0.1:\(new);")
    try bench.a.done(.adjust)
    try until("port \(new) is listened on") { isListenedOn(new) }
    #expect(!isListenedOn(old))
  }

  @Test func anAddressThatIsNoneIsRefusedAndNothingChanges() throws {
    let bench = try numbered()
    try bench.synced()
    try edit(bench, "127.0.0.1:\(bench.ports.1);", "elsewhere:\(bench.ports.1);")
    guard case .refused(let refusal) = try bench.a.ask(.adjust) else {
      Issue.record("taken")
      return
    }
    #expect(refusal.exitCode == 10 && !refusal.next.isEmpty)
    #expect(try bench.a.status().connections[0].state == .connected)
  }

  @Test func addressesThatGiveOtherNodeIDsAreRefusedWithTheLinesThatKeepThem() throws {
    let bench = try Bench()
    try bench.synced()
    let id = try bench.a.status().nodeID
    try edit(bench, "127.0.0.1:\(bench.ports.0);", "127.0.0.1:none;")
    try edit(bench, "127.0.0.1:\(bench.ports.1);", "127.0.0.1:\(bench.ports.0);")
    try edit(bench, "127.0.0.1:none;", "127.0.0.1:\(bench.ports.1);")
    guard case .refused(let refusal) = try bench.a.ask(.adjust) else {
      Issue.record("taken")
      return
    }
    #expect(refusal.next.contains("'node-id \(id);' for a and 'node-id \(1 - id);' for b"), "\(refusal)")
    for (node, number) in [("a", id), ("b", 1 - id)] {
      try edit(bench, "on \(node) { ", "on \(node) { node-id \(number); ")
    }
    for node in [bench.a, bench.b] { try node.done(.adjust) }
    try bench.connected()
  }
}
