// The first recorded story of DRBD 9.3.3 (Fixtures/admin/1-create-sync) told again, step by step, to two real daemons: every command
// of drbdadm and drbdsetup has the exit code that was recorded, and what is for scripts has the same words. Where ours
// differ on purpose, docs/differences.md says why, and `differences` below names the step.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct RecordedStory {
  struct Step {
    var number: String
    var host: String
    var exit: Int32
    var command: String
  }

  static let directory = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "Fixtures/admin/1-create-sync")

  /// Step, and our exit code.
  static let differences: [String: Int32] = [
    // attach asks the daemon, which has DRBD's number for it: (124).
    "034": 10,
    // outdate on a running volume asks the daemon, as drbdsetup outdate does.
    "055": 5, "077": 11,
    // status knows the options of drbdsetup status.
    "114": 0, "115": 0, "116": 0,
  ]

  /// Steps of other programs, and the two that need the kernel's file.
  private func isOurs(_ command: String) -> Bool {
    (command.hasPrefix("drbdadm ") || command.hasPrefix("drbdsetup ")) && !command.contains("|")
  }

  private func steps() throws -> [Step] {
    let text = try String(contentsOf: Self.directory.appending(path: "steps.tsv"), encoding: .utf8)
    return text.split(separator: "\n").dropFirst().compactMap { line in
      let fields = line.split(separator: "\t", maxSplits: 3).map(String.init)
      guard fields.count == 4, let exit = Int32(fields[2]), isOurs(fields[3]) else { return nil }
      return Step(number: fields[0], host: fields[1], exit: exit, command: fields[3])
    }
  }

  /// The recording's names as ours.
  private func ours(_ command: String, peer: Int) -> [String] {
    var words = command.split(separator: " ").map { $0 == "drbd0" ? "r0" : String($0) }
    if words.count > 2, words[0] == "drbdsetup", words[1] == "outdate" { words[2] = "90" }
    if words[1].hasSuffix("-connection") { words[3] = "\(peer)" }
    if words[0] == "drbdadm", words[1] == "up" { words.insert("--no-device", at: 2) }
    return words
  }

  private func recorded(_ step: Step) -> String {
    let data = FileManager.default.contents(atPath: Self.directory.appending(path: step.number + ".out").path) ?? Data()
    return String(decoding: data, as: UTF8.self)
  }

  /// Words that must be the same: numbers that differ from run to run are replaced.
  private func shape(_ text: String) -> [String] {
    text.replacingOccurrences(of: "zabbix-server01", with: "a").replacingOccurrences(of: "zabbix-server02", with: "b")
      .replacingOccurrences(of: "drbd0", with: "r0")
      .replacingOccurrences(of: "done:[0-9.]+", with: "done:N", options: .regularExpression)
      .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  @Test func everyStepExitsAsItWasRecorded() throws {
    // The resync is slow enough to be looked at until the story waits for its end.
    let desk = try Desk(disk: "c-plan-ahead 0; resync-rate 200K;", mebibytes: (400, 400))
    let names = desk.bench.directory + "/names"
    try FileManager.default.createDirectory(atPath: names, withIntermediateDirectories: true)
    succeeds(try desk.a("install-names \(names)"))
    let peer = try #require(Int(try desk.a("-d net-options r0").out.split(separator: " ").last?.dropLast() ?? ""))
    let plain = ["drbdadm status drbd0", "drbdadm role drbd0", "drbdadm cstate drbd0", "drbdadm dstate drbd0"]
    for step in try steps() {
      let node = step.host == "01" ? desk.bench.a : desk.bench.b
      let words = ours(step.command, peer: peer)
      if step.command == "drbdadm wait-sync drbd0" {
        succeeds(try desk.b("peer-device-options --resync-rate=500M r0"))
        succeeds(try desk.a("peer-device-options --resync-rate=500M r0"))
      }
      let said = try desk.run("\(names)/\(words[0])", Array(words.dropFirst()), on: node)
      let expected = Self.differences[step.number] ?? step.exit
      #expect(said.code == expected, "step \(step.number), \(step.command): \(said.out)\(said.err)")
      if plain.contains(step.command), Self.differences[step.number] == nil {
        #expect(shape(said.out) == shape(recorded(step)), "step \(step.number), \(step.command)")
      }
      // What is not a success says so, but for the two that DRBD refuses in silence.
      if said.code != 0 { #expect(!said.err.isEmpty, "step \(step.number), \(step.command)") }
      // Between the recorded steps there was time.
      if step.number == "037" { try desk.bench.connected() }
      if step.command.hasPrefix("drbdadm wait-sync") { try desk.bench.inSync() }
    }
  }
}
