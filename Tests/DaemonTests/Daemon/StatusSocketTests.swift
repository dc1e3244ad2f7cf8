// The status socket: a group of users may look, and change nothing.
import BlockIO
import Control
import Foundation
import Glibc
import Testing

@testable import ReplAdmin

@Suite(.serialized) struct StatusSocket {
  private static let reader = "games"

  /// A resource that waits for its peer, with a status socket for the group `reader`.
  private func waiting() throws -> (desk: Desk, files: RunFiles) {
    let desk = try Desk()
    succeeds(try desk.a("create-md --force r0"))
    succeeds(try desk.a("up --no-device r0", [RunFiles.readersKey: Self.reader]))
    return (desk, RunFiles(directory: desk.bench.a.runDirectory))
  }

  @Test(.enabled(if: geteuid() == 0, "needs root"))
  func itsGroupMayLookAndNobodyElse() throws {
    let (desk, _) = try waiting()
    let copy = desk.bench.directory + "/repladm"
    try copyProgram("repladm", to: copy)
    for path in [desk.bench.directory, desk.bench.a.runDirectory, copy] { #expect(chmod(path, 0o755) == 0) }
    #expect(chmod(desk.config, 0o644) == 0)
    func user(of group: String, _ words: String...) throws -> Said {
      try desk.run(
        "/usr/bin/setpriv", ["--reuid=nobody", "--regid=\(group)", "--clear-groups", copy] + words, on: desk.bench.a)
    }
    let status = try user(of: Self.reader, "status", "r0")
    #expect(status.code == 0 && status.out.hasPrefix("r0 role:Secondary"), "\(status)")
    let events = try user(of: Self.reader, "events2", "--now", "r0")
    #expect(events.code == 0 && events.out.contains("exists -"), "\(events)")
    #expect(try user(of: Self.reader, "metrics", "r0").out.contains("repl_resource_up{name=\"r0\"} 1"))
    let monitor = try user(of: Self.reader, "monitor")
    #expect(monitor.code == 0 && monitor.out.hasPrefix("r0  Secondary\n"), "\(monitor)")
    let change = try user(of: Self.reader, "disconnect", "r0")
    #expect(change.code == 20 && change.err.contains("Run the command as root"), "\(change)")
    let stranger = try user(of: "nogroup", "status", "r0")
    #expect(stranger.code == 20 && stranger.err.contains("a member of the group repl"), "\(stranger)")
    #expect(try desk.a("cstate r0").out == "Connecting\n")
  }

  @Test(.enabled(if: geteuid() == 0, "needs root"))
  func itTakesNoCommandThatChangesSomething() throws {
    let (desk, files) = try waiting()
    for command: Control.Command in [
      .primary(force: true), .down, .metadata(volume: .init(0)), .show(json: false, defaults: false),
    ] {
      var client = try ControlClient(connecting: files.statusSocket("r0"), deadline: Deadline(after: 10))
      try client.send(Request(command), deadline: Deadline(after: 10))
      guard case .refused(let refusal) = try client.reply(deadline: Deadline(after: 10)) else {
        Issue.record("\(command.name) was not refused")
        continue
      }
      #expect(refusal.what == "this command is for root")
    }
    #expect(try desk.a("role r0").out == "Secondary\n")
  }

  @Test(.enabled(if: geteuid() == 0, "needs root"))
  func readersThatWaitLeaveRoomForRoot() throws {
    let (desk, files) = try waiting()
    let limit = Deadline(after: 30)
    var readers: [Reader] = []
    for _ in 0..<8 { readers.append(try Reader(files, limit)) }
    #expect(try !Reader.isAnswered(files, limit))
    for _ in 0..<3 { #expect(try desk.a("role r0").code == 0) }
    readers.removeAll()
    try until("a place is free") { try Reader.isAnswered(files, limit) }
    _ = desk
  }

  /// A program that follows the resource.
  private final class Reader {
    var client: ControlClient
    init(_ files: RunFiles, _ limit: Deadline) throws {
      client = try ControlClient(connecting: files.statusSocket("r0"), deadline: limit)
      try client.send(Request(.watch), deadline: limit)
      _ = try client.reply(deadline: limit)
    }

    static func isAnswered(_ files: RunFiles, _ limit: Deadline) throws -> Bool {
      do throws(ControlFault) {
        var client = try ControlClient(connecting: files.statusSocket("r0"), deadline: limit)
        try client.send(Request(.status), deadline: limit)
        _ = try client.reply(deadline: limit)
        return true
      } catch { return false }
    }
  }

  @Test func withoutTheGroupThereIsNone() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md --force r0"))
    succeeds(try desk.a("up --no-device r0", [RunFiles.readersKey: "no-such-group-here"]))
    #expect(access(RunFiles(directory: desk.bench.a.runDirectory).statusSocket("r0"), F_OK) != 0)
  }
}
