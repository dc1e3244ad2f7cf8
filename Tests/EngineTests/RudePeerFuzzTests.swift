// Seeded chance in the place of a peer: recorded and invented packets, mutated as bytes, at an engine in every state that a life
// brings. Laws: it never traps, its queues stay bounded, every request of the application is answered, and no UpToDate data are
// replaced that no comparison has given up. `REPL_RUDE_LIVES=2000` (and `REPL_RUDE_SEED`) for more than a few seconds.
import Foundation
import Protocol
import Testing

@testable import Engine

@Suite("A rude peer, by chance")
struct RudePeerFuzzTests {
  /// A few of every kind of packet that kernels have sent.
  static let corpus: [Packet] = {
    var packets: [Packet] = []
    var seen: [String: Int] = [:]
    for name in [
      "02-initial-sync", "03-writes-c", "13-csums-resync", "14b-verify-resync", "22-thin-resync", "43-ahead-behind",
    ] {
      do {
        for case .packet(_, _, _, let decoded, _) in try Script(name).entries {
          let kind = decoded.packet.name
          if seen[kind, default: 0] >= 6 { continue }
          seen[kind, default: 0] += 1
          packets.append(decoded.packet)
        }
      } catch {
        preconditionFailure("\(name): \(error)")
      }
    }
    return packets
  }()

  private static func number(_ name: String, _ standard: UInt64) -> UInt64 {
    ProcessInfo.processInfo.environment[name].flatMap { UInt64($0) } ?? standard
  }

  @Test("lives of 400 packets")
  func lives() throws {
    let first = Self.number("REPL_RUDE_SEED", 1)
    var met: [String: Int] = [:]
    for seed in first..<first + Self.number("REPL_RUDE_LIVES", 60) {
      let peer = try RudePeer(seed: seed, corpus: Self.corpus)
      if Self.number("REPL_RUDE_LIVES", 60) == 1 { print("seed \(seed)") }
      peer.live(packets: 400)
      met.merge(peer.met) { $0 + $1 }
      if Test.current != nil, peer.node.log.isEmpty { Issue.record("seed \(seed) met nothing") }
    }
    // What must have been met, or the lives are none.
    for name in ["P_DATA", "P_RS_DATA_REPLY", "P_STATE", "P_BITMAP", "P_SYNC_UUID", "P_OV_REQUEST", "P_BARRIER"] {
      #expect(met[name, default: 0] > 20, "\(name): \(met)")
    }
  }
}
