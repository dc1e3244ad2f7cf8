// What a split brain says to the operators of both nodes, typed as it stands.
import Foundation
import Testing

@Suite(.serialized) struct SplitBrainAdvice {
  @Test func theTextNamesWhoDoesWhatAndItEndsTheSplitBrain() throws {
    let desk = try Desk()
    try desk.synced()
    succeeds(try desk.a("disconnect r0"))
    succeeds(try desk.b("disconnect r0"))
    succeeds(try desk.b("primary r0"))
    for (node, seed) in [(desk.bench.a, 1), (desk.bench.b, 2)] {
      let client = try Client(node.exportPath)
      try client.write(pattern(64 << 10, UInt64(seed)), at: 0, fua: true)
      try client.leave()
    }
    succeeds(try desk.b("secondary r0"))
    succeeds(try desk.a("connect r0"))
    succeeds(try desk.b("connect r0"))
    try until("both are StandAlone") {
      try desk.a("cstate r0").out == "StandAlone\n" && desk.b("cstate r0").out == "StandAlone\n"
    }
    let victim = "type there: repladm secondary r0, repladm disconnect r0, repladm connect --discard-my-data r0"
    for node in [desk.bench.a, desk.bench.b] {
      let said = try desk.type("status r0", on: node, [:])
      #expect(said.err.contains("Split-Brain detected but unresolved") && said.err.contains(victim), "\(said)")
      #expect(said.err.contains("on the other node, if its connection is StandAlone: repladm connect r0.\n"))
      #expect(!said.err.contains("adjust") && readsWell(said.err), "\(said)")
      #expect(desk.log(node).contains(victim))
    }
    for line in ["secondary r0", "disconnect r0", "connect --discard-my-data r0"] { succeeds(try desk.b(line)) }
    succeeds(try desk.a("connect r0"))
    try desk.bench.inSync()
    let reader = try Client(desk.bench.a.exportPath)
    #expect(try reader.read(64 << 10, at: 0) == pattern(64 << 10, 1))
    try reader.leave()
    #expect(try desk.a("status r0").err.isEmpty)
  }
}
