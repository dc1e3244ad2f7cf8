// What this node answers when the peer wants to change something, and what it does with answers (wire spec 4.3, 4.4).
import Base
import Protocol
import Testing

@testable import Engine

@Suite("Agreement")
struct AgreementTests {
  private func change(_ mask: UInt32, _ value: UInt32) -> StateChange {
    StateChange(mask: PackedState(word: mask), value: PackedState(word: value))
  }

  private func secondary() throws -> Bench {
    let bench = try Bench()
    bench.primary()
    _ = bench.order(.secondary)
    bench.node.forgetTrace()
    return bench
  }

  private func answer(_ bench: Bench) -> Int32? {
    for one in bench.node.sent.reversed() {
      switch one.packet {
      case .stateChangeReply(let code), .connectionChangeReply(let code): return code
      default: break
      }
    }
    return nil
  }

  @Test("a promotion of the peer is granted by a Secondary and refused by a Primary")
  func promotion() throws {
    let bench = try secondary()
    bench.say(.stateChangeRequest(change(3, 1)))
    #expect(answer(bench) == 1)
    #expect(bench.node.state == "Connected Secondary/Primary UpToDate/UpToDate")
    let primary = try Bench()
    primary.primary()
    primary.say(.stateChangeRequest(change(3, 1)))
    #expect(answer(primary) == -1)
    #expect(primary.node.state == "Connected Primary/Secondary UpToDate/UpToDate")
  }

  @Test("a promotion is judged again when the peer agrees: a disk may have failed", arguments: [false, true])
  func dataLostMeanwhile(force: Bool) throws {
    let bench = try Bench()
    bench.fallBehind([3, 4])
    bench.say(.syncUUID(0x54))
    #expect(bench.node.state == "SyncTarget Secondary/Secondary Inconsistent/UpToDate")
    let to = bench.order(.primary(force: force))
    bench.say(.state(bench.state(.secondary, .connected, .failed, .inconsistent)))
    bench.node.forgetTrace()
    bench.say(.stateChangeReply(1))
    if force {
      #expect(bench.node.replies[to] == .done)
      #expect(bench.node.state == "Connected Primary/Secondary UpToDate/Failed")
      return
    }
    guard case .refused(let refusal)? = bench.node.replies[to] else {
      Issue.record("Inconsistent data were called UpToDate without --force: \(bench.node.state)")
      return
    }
    #expect(refusal.number == -2 && refusal.why.contains("the disk here is Inconsistent, the peer's is Failed"))
    #expect(bench.node.state == "Connected Secondary/Secondary Inconsistent/Failed")
    // The peer hears that this node is no Primary.
    let said = bench.node.sent.compactMap { if case .state(let state) = $0.packet { state.role } else { nil } }
    #expect(said == [.secondary])
  }

  @Test("a peer that lets its disk go in the same word is in no resync or verify", arguments: [0x4b0, 0x4c0, 0x520])
  func diskAndResync(value: UInt32) throws {
    let bench = try Bench { $0.net.verifyAlgorithm = "crc32c" }
    bench.primary()
    _ = bench.order(.secondary)
    let before = bench.node.state
    bench.say(.stateChangeRequest(change(0x1ff0, value)))
    #expect(answer(bench) == (value == 0x4c0 ? -4 : -2))
    #expect(bench.node.state == before)
  }

  @Test("a disk that fails while the peer is asked is not called UpToDate, by force neither")
  func ownDiskLostMeanwhile() throws {
    let bench = try Bench()
    bench.fallBehind([3, 4])
    bench.say(.syncUUID(0x54))
    let to = bench.order(.primary(force: true))
    _ = bench.order(.detach(.zero, force: true))
    bench.say(.state(bench.state(.secondary, .connected, .failed, .diskless)))
    bench.say(.stateChangeReply(1))
    guard case .refused? = bench.node.replies[to] else {
      Issue.record("a Primary without any data: \(bench.node.state)")
      return
    }
    #expect(bench.node.state == "Connected Secondary/Secondary Diskless/Failed")
  }

  @Test("DRBD 9 asks for its role changes with the packet of the connection, and calls its disk 9")
  func byDRBD9() throws {
    let bench = try secondary()
    bench.say(.connectionChangeRequest(change(3, 1)))
    #expect(bench.node.sent.last?.packet == .connectionChangeReply(1))
    #expect(bench.node.state == "Connected Secondary/Primary UpToDate/UpToDate")
    bench.say(.state(PackedState(word: 0x0080_0000 | bench.state(.primary, .connected, .upToDate, .upToDate).word)))
    bench.say(.connectionChangeRequest(change(3, 2)))
    #expect(bench.node.sent.last?.packet == .connectionChangeReply(1))
    for _ in 0..<2 { bench.say(.state(bench.state(.secondary, .connected, .upToDate, .upToDate))) }
    #expect(bench.node.state == "Connected Secondary/Secondary UpToDate/UpToDate")
    let primary = try Bench()
    primary.primary()
    primary.say(.connectionChangeRequest(change(3, 1)))
    #expect(answer(primary) == -1)
    let fresh = try Bench()
    fresh.attach()
    fresh.handshake(disk: .inconsistent)
    fresh.say(.connectionChangeRequest(change(0x1e03, 0x1201)))
    #expect(answer(fresh) == 1)
    #expect(fresh.node.volume().peerDisk == .upToDate)
    #expect(fresh.node.engine.snapshot().peerRole == .primary)
  }

  @Test("the peer may let its disk go while ours is good, not while a Primary would be left without")
  func detach() throws {
    let bench = try Bench()
    bench.primary()
    bench.say(.stateChangeRequest(change(0x1e00, 0x400)))
    #expect(answer(bench) == 1)
    let old = try Bench()
    old.primary()
    _ = old.order(.detach(.zero, force: false))
    old.say(.stateChangeReply(1))
    #expect(old.node.volume().disk == .diskless)
    old.say(.stateChangeRequest(change(0x1e00, 0x400)))
    #expect(answer(old) == -2)
  }

  @Test("a disk that goes while the peer is asked to let it go, goes once")
  func goesMeanwhile() throws {
    let bench = try Bench()
    bench.primary()
    let asked = bench.order(.detach(.zero, force: false))
    _ = bench.order(.detach(.zero, force: true))
    #expect(bench.node.volume().disk == .diskless)
    bench.say(.stateChangeReply(1))
    #expect(bench.node.replies[asked] == .done)
    #expect(bench.node.volume().disk == .diskless)
  }

  @Test("the peer may not disconnect while a Primary works on its data")
  func disconnect() throws {
    let bench = try Bench()
    bench.primary()
    _ = bench.order(.detach(.zero, force: false))
    bench.say(.stateChangeReply(1))
    bench.say(.connectionChangeRequest(change(0x1f0, 0x10)))
    #expect(answer(bench) == -2)
    #expect(bench.node.volume().replication == .connected)
    let good = try Bench()
    good.primary()
    good.say(.connectionChangeRequest(change(0x1f0, 0x10)))
    #expect(answer(good) == 1)
    #expect(good.node.volume().replication < .connected)
    good.pass(.seconds(1))
    #expect(good.node.volume().replication == .wfConnection)
  }

  @Test("a disconnect that outdates this node is followed, but not by a Primary")
  func outdated() throws {
    let bench = try secondary()
    bench.say(.connectionChangeRequest(change(0x1e1f0, 0xa010)))
    #expect(answer(bench) == 1)
    #expect(bench.node.volume().disk == .outdated)
    let primary = try Bench()
    primary.primary()
    primary.say(.connectionChangeRequest(change(0x1e1f0, 0xa010)))
    #expect(primary.node.volume().disk == .upToDate)
  }

  @Test("a full sync is granted to whoever asks while both are good, in both directions", arguments: [0xb0, 0xc0])
  func invalidate(_ value: UInt32) throws {
    let bench = try secondary()
    bench.say(.stateChangeRequest(change(0x1f0, value)))
    #expect(answer(bench) == 1)
    #expect(bench.node.volume().replication == (value == 0xc0 ? .syncSource : .wfSyncUUID))
    #expect(bench.node.volume().outOfSync == SectorCount(16304))
    bench.node.forgetTrace()
    bench.say(.stateChangeRequest(change(0x1f0, value)))
    #expect(answer(bench) == -8)
  }

  @Test("an online verify is refused with a number that says why")
  func verify() throws {
    let bench = try secondary()
    bench.say(.stateChangeRequest(change(0x1f0, 0x120)))
    #expect(answer(bench) == -14)
  }

  @Test("an answer that nobody waits for is ignored")
  func unexpected() throws {
    let bench = try secondary()
    for code: Int32 in [1, 0, -1, -19, .max, .min] {
      bench.say(.stateChangeReply(code))
      bench.say(.connectionChangeReply(code))
    }
    #expect(bench.node.state == "Connected Secondary/Secondary UpToDate/UpToDate")
  }

  @Test("the peer's no to a promotion is passed on", arguments: [-1, -10, -19, 0])
  func refused(_ code: Int32) throws {
    let bench = try secondary()
    let to = bench.order(.primary(force: false))
    bench.say(.pingAck)
    bench.say(.stateChangeReply(code))
    bench.pass(.seconds(5))
    // A transient no may be asked once more.
    if bench.node.replies[to] == nil { bench.say(.stateChangeReply(code)) }
    guard case .refused(let refusal) = bench.node.replies[to] else {
      Issue.record("\(String(describing: bench.node.replies[to]))")
      return
    }
    #expect(refusal.exit == 11)
    #expect(bench.node.engine.role == .secondary)
  }

  @Test("a peer that dies while it is asked: the promotion goes on alone")
  func silent() throws {
    let bench = try secondary()
    let to = bench.order(.primary(force: false))
    #expect(bench.node.replies[to] == nil)
    bench.pass(.seconds(1))
    #expect(bench.node.replies[to] == .done)
    #expect(bench.node.state == "Unconnected Primary/Unknown UpToDate/DUnknown" || bench.node.engine.role == .primary)
    #expect(bench.node.volume().bitmap != 0)
  }

  @Test("commands that do not fit are refused with DRBD's numbers")
  func commands() throws {
    func number(_ bench: Bench, _ command: Command) -> Int? {
      let to = bench.order(command)
      if case .refused(let refusal) = bench.node.replies[to] { return refusal.number }
      return nil
    }
    let bench = try Bench()
    bench.primary()
    #expect(number(bench, .attach(.zero)) == 124)
    #expect(number(bench, .attach(VolumeNumber(9))) == 127)
    #expect(number(bench, .connect(discardMyData: false)) == 125)
    #expect(number(bench, .invalidate(.zero)) == 0)
    #expect(number(bench, .outdate(.zero)) == -6)
    #expect(number(bench, .newCurrentUUID(.zero, clearBitmap: true)) == -21)
    _ = bench.order(.disconnect(force: true))
    #expect(number(bench, .connect(discardMyData: true)) == 123)
    #expect(number(bench, .invalidateRemote(.zero)) == -2)
    #expect(number(bench, .outdate(.zero)) == -2)
    let empty = try Bench()
    #expect(number(empty, .primary(force: true)) == -2)
    #expect(number(empty, .newCurrentUUID(.zero, clearBitmap: false)) == 138)
    #expect(number(empty, .outdate(.zero)) == -16)
    #expect(number(empty, .detach(.zero, force: false)) == nil)
  }
}
