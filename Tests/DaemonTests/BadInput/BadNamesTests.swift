// What is typed or written wrong: names, commands, hosts, the file itself. Nothing is started by any of it.
import Base
import Foundation
import Testing

@Suite struct BadInputNames {
  private func nothingWasStarted(_ desk: Desk) throws {
    let files = try FileManager.default.contentsOfDirectory(atPath: desk.bench.a.runDirectory)
    #expect(files.isEmpty, "\(files)")
  }

  @Test(arguments: ["up", "down", "status", "primary", "secondary", "create-md", "adjust", "wait-sync", "sh-nbd-uri"])
  func aResourceThatIsNotInTheFileIsNamedAndANearOneSuggested(command: String) throws {
    let desk = try Desk()
    refuses(try desk.a("\(command) r1"), 1, "'r1' not defined in your config (for this host)", "Did you mean 'r0'?")
    try nothingWasStarted(desk)
  }

  @Test func aHostThatIsNotInTheFileIsToldWhichHostsAre() throws {
    let desk = try Desk()
    refuses(try desk.a("--node c up r0"), 1, "it has no section for 'c'", "Its hosts are a and b; set the host name")
    refuses(try desk.a("up all", ["__DRBD_NODE__": "c"]), 1, "no resources defined for this host ('c')", "a and b")
    refuses(try desk.a("primary r0", ["__DRBD_NODE__": ""]), 1, "not defined in your config (for this host)")
    try nothingWasStarted(desk)
  }

  @Test func aWordThatIsNoCommandAndAnObjectOfTheWrongKind() throws {
    let desk = try Desk()
    refuses(try desk.a("primry r0"), 1, "there is no command 'primry', did you mean 'primary'")
    refuses(try desk.a("del-path r0"), 1, "'del-path' does not exist here", "use repladm adjust r0")
    refuses(try desk.a("-c \(desk.config) del-path r0"), 1, "then use repladm adjust r0")
    refuses(try desk.a("del-minor 90"), 1, "'del-minor' does not exist here", "use repladm adjust RES")
    refuses(try desk.a("primary"), 1, "Name a resource, or all")
    refuses(try desk.a("attach r0/7"), 1, "has no volume 7", "Its volumes are 0")
    refuses(try desk.a("disconnect r0:c"), 1, "Not a valid connection (r0:c) for this host", "The peers of 'r0' are b.")
    #expect(try desk.a("primary --frobnicate r0").code == 1)
    try nothingWasStarted(desk)
  }

  @Test func aFileThatIsBrokenOrNotThere() throws {
    let desk = try Desk()
    let there = try desk.otherConfig("resource r0", "resorce r0")
    for command in ["up r0", "status", "status --json", "primary r0"] {
      let said = try desk.a(command, there)
      #expect(said.code == 10 && said.out.isEmpty, "\(said)")
      #expect(said.err.contains(":3: Parse error:") && said.err.contains("Did you mean 'resource'?"), "\(said.err)")
    }
    let missing = ["REPL_CONFIG": desk.bench.directory + "/no.conf"]
    refuses(try desk.a("up r0", missing), 20, "no.conf", "No such file or directory", "name another one with -c FILE")
    try nothingWasStarted(desk)
  }
}
