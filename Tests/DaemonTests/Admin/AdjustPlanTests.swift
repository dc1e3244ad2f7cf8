// What `adjust` would do, said by the daemon that would do it.
import Foundation
import Testing

@Suite(.serialized) struct AdjustPlans {
  private func plan(_ desk: Desk, _ options: String = "") throws -> String {
    let said = try desk.a("-d adjust \(options) r0")
    #expect(said.code == 0 && said.err.isEmpty, "\(said)")
    return said.out
  }

  @Test func aDryRunOfAdjustSaysWhatDiffersAndNothingElse() throws {
    let desk = try Desk()
    try desk.synced()
    #expect(try plan(desk).isEmpty)
    let peer = try #require(
      try desk.a("-d net-options r0").out.split(separator: "\n").first?.split(separator: " ").last)
    // A comment and a value that is the default are no change.
    try desk.edit("net {", "# moved\n net { ko-count 7;")
    #expect(try plan(desk).isEmpty)
    try desk.edit("ko-count 7;", "ko-count 9;")
    let changed = try plan(desk)
    #expect(changed.hasPrefix("replsetup net-options r0 \(peer) --set-defaults ") && changed.contains(" --ko-count=9"))
    #expect(changed.split(separator: "\n").count == 1, "\(changed)")
    // Nothing was taken over.
    #expect(try plan(desk) == changed)
    succeeds(try desk.a("adjust r0"))
    #expect(try plan(desk).isEmpty)
    // What was changed at run time would be taken back.
    succeeds(try desk.a("disk-options --al-extents=127 r0"))
    #expect(try plan(desk).hasPrefix("replsetup disk-options 90 --set-defaults"))
    succeeds(try desk.a("adjust r0"))
    // What has to be attached and connected again.
    succeeds(try desk.a("disconnect r0"))
    #expect(try plan(desk).hasPrefix("replsetup connect r0 \(peer) ipv4:127.0.0.1:"))
    #expect(try plan(desk, "--skip-net").isEmpty)
    succeeds(try desk.a("adjust r0"))
    succeeds(try desk.b("adjust r0"))
    succeeds(try desk.a("wait-connect r0"))
    succeeds(try desk.b("detach r0"))
    let attach = try desk.b("-d adjust r0")
    #expect(attach.code == 0 && attach.out.hasPrefix("replsetup attach "), "\(attach)")
    #expect(try desk.b("-d adjust --skip-disk r0").out.isEmpty)
    #expect(try desk.b("dstate r0").out.hasPrefix("Diskless"))
  }

  @Test func adjustReadsTheFileThatItsCommandLineNames() throws {
    let desk = try Desk()
    try desk.synced()
    let other = try desk.otherConfig("net {", "net { ko-count 9;")
    #expect(try desk.a("-d adjust r0", other).out.contains(" --ko-count=9"))
    #expect(try plan(desk).isEmpty)
    succeeds(try desk.a("-c \(try #require(other["REPL_CONFIG"])) adjust r0"))
    #expect(try desk.a("-d adjust r0", other).out.isEmpty)
    // An option beside it is one more than those of that file.
    succeeds(try desk.a("net-options --max-buffers=4000 r0", other))
    let back = try plan(desk)
    #expect(back.contains("net-options") && !back.contains("ko-count=9"), "\(back)")
    #expect(try desk.a("-d adjust r0", other).out.contains("--set-defaults"))
    succeeds(try desk.a("adjust r0"))
    #expect(try plan(desk).isEmpty)
  }

  @Test func aDryRunIsRefusedAsAdjustWouldBe() throws {
    let desk = try Desk()
    try desk.up()
    try desk.edit("net {", "options { quorum majority; } net {")
    let said = try desk.a("-d adjust r0")
    let real = try desk.a("adjust r0")
    #expect(said.code == 10 && said.out.isEmpty && said.err.contains("quorum"))
    #expect(said.code == real.code && said.err == real.err)
    try desk.edit("quorum majority", "quorum off")
    // The node's place in the metadata lives as long as the process.
    try desk.edit("on a {", "on a { node-id 5;")
    try desk.edit("on b {", "on b { node-id 6;")
    let plan = try desk.a("-d adjust r0")
    let refused = try desk.a("adjust r0")
    #expect(plan.code == 10 && plan.out.isEmpty && plan.err == refused.err)
  }
}
