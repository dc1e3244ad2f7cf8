// Tells a recorded story again to two real daemons: every command line is given to a shell in which DRBD's names are ours. The
// recording opens /dev/drbd0 where ours opens the export; the lines that do are told `instead`.
import Base
import Control
import Foundation
import Glibc
import Testing

/// What is different on purpose, and the row of docs/differences.md that says why.
struct Difference {
  var why: String
  var exit: Int32?
  /// The words of stdout are others; the refusals on stderr are others.
  var words = false
  var refusals = false
}

/// How one recorded story is told again.
struct Telling {
  typealias Action = (Teller) throws -> Void
  var story: String
  var differences: [String: Difference] = [:]
  /// A step in other words: another command line, or what the step does to the export and the exit code it comes to.
  var instead: [String: String] = [:]
  var acts: [String: (Teller) throws -> Int32] = [:]
  /// Lines of the recording that come from what is not told again.
  var without: [String: [String]] = [:]
  /// Fields of `events2` that go through other states, `device disk`, and the row that says why.
  var others: [String: String] = [:]
  /// Steps of other programs only.
  var left: Set<String> = []
  var eventOptions: [String] = []
  var before: [String: Action] = [:]
  var after: [String: Action] = [:]
}

final class Teller {
  let desk: Desk
  private let names: String
  private let peerID: Int
  private var opened: [String: Client] = [:]

  init(_ desk: Desk) throws {
    self.desk = desk
    names = desk.bench.directory + "/names"
    try FileManager.default.createDirectory(atPath: names, withIntermediateDirectories: true)
    succeeds(try desk.a("install-names \(names)"))
    peerID = try #require(Int(try desk.a("-d net-options r0").out.split(separator: " ").last?.dropLast() ?? ""))
  }

  func node(_ host: String) -> Node { host == "01" ? desk.bench.a : desk.bench.b }

  // MARK: The application

  /// Opens the export and keeps it open; false: refused.
  @discardableResult
  func open(_ host: String) throws -> Bool {
    do { opened[host] = try Client(node(host).exportPath) } catch is Client.Denied { return false }
    return true
  }

  func opens(_ host: String, _ expected: Bool) throws {
    let isOpen = try open(host)
    #expect(isOpen == expected, "\(node(host).name) is opened")
  }

  func close(_ host: String) throws {
    try opened[host]?.leave()
    opened[host] = nil
  }

  /// Opens, uses, closes; false: refused.
  func use(_ host: String, _ body: (Client) throws -> Void) throws -> Bool {
    guard try open(host), let client = opened[host] else { return false }
    try body(client)
    try close(host)
    return true
  }

  /// The power of a node goes, with everything that had something open there.
  func cutPower(_ host: String) throws {
    desk.killDaemon(node(host))
    opened[host] = nil
    let other = host == "01" ? desk.bench.b : desk.bench.a
    try until("\(other.name) looks for its peer") { try other.status().connections[0].state == .wfConnection }
  }

  // MARK: Telling

  /// The recorded line as ours.
  func line(_ command: String, on host: String) -> String {
    let node = node(host)
    let rules = [
      ("(?<!/dev/)\\bdrbd0\\b", "r0"), ("drbdadm up r0", "drbdadm up --no-device r0"),
      ("(drbdsetup (outdate|attach|dstate|detach)) 0\\b", "$1 90"), ("drbdmeta 0\\b", "drbdmeta 90"),
      ("(-connection r0) 1\\b", "$1 \(peerID)"), ("/dev/sdb1", node.disk(0)),
    ]
    return rules.reduce(command) { text, rule in
      text.replacingOccurrences(of: rule.0, with: rule.1, options: .regularExpression)
    }
  }

  func say(_ line: String, on host: String) throws -> Said {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin:/usr/sbin:/sbin"
    return try desk.run("/bin/sh", ["-c", line], on: node(host), ["PATH": "\(names):\(path)"])
  }

  func tell(_ telling: Telling, location: SourceLocation = #_sourceLocation) throws {
    let story = try Story(telling.story)
    try expectReasons(telling, location)
    let followers = try ["01", "02"].map { try follow($0, telling.eventOptions) }
    defer { for follower in followers { follower.end() } }
    for step in story.steps where !telling.left.contains(step.number) {
      try telling.before[step.number]?(self)
      let difference = telling.differences[step.number]
      let name = "step \(step.number), \(step.command)"
      if let act = telling.acts[step.number] {
        let exit = try act(self)
        #expect(exit == difference?.exit ?? step.exit, "\(name)", sourceLocation: location)
      } else {
        let line = line(telling.instead[step.number] ?? step.command, on: step.host)
        let said = try say(line, on: step.host)
        #expect(
          said.code == difference?.exit ?? step.exit, "\(name): \(said.out)\(said.err)", sourceLocation: location)
        let dropped = telling.without[step.number] ?? []
        compareWords(step, said, dropped, differs: difference?.words == true, name, location)
        compareRefusals(step, said, differs: difference?.refusals == true, name, location)
      }
      try telling.after[step.number]?(self)
    }
    for (host, follower) in zip(["01", "02"], followers) {
      try compareEvents(telling, EventLines(follower.lines), story, host, location)
    }
  }

  /// Every difference is a row of docs/differences.md.
  private func expectReasons(_ telling: Telling, _ location: SourceLocation) throws {
    let path = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().appending(path: "docs/differences.md")
    let text = try String(contentsOf: path, encoding: .utf8)
    for why in telling.differences.values.map(\.why) + telling.others.values {
      #expect(text.contains("\n| \(why) |"), "docs/differences.md has no row '\(why)'", sourceLocation: location)
    }
  }

  private func follow(_ host: String, _ options: [String]) throws -> Follower {
    let follower = try Follower(
      names + "/drbdsetup", ["events2", "--timestamps"] + options, on: node(host), directory: desk.bench.directory
    )
    try until("events2 has begun") { follower.lines.contains { $0.hasSuffix("exists -") } }
    return follower
  }

  /// Every line has a form that was recorded, and everything goes through the recorded states, as far as both streams go.
  private func compareEvents(
    _ telling: Telling, _ ours: EventLines, _ story: Story, _ host: String, _ location: SourceLocation
  ) throws {
    let forms = try Story.eventForms()
    let strange = ours.lines.filter { !EventLines.isKnown($0, among: forms) }
    #expect(strange.isEmpty, "lines of events2 on \(host)", sourceLocation: location)
    guard let theirs = story.events(host) else { return }
    for (object, field) in EventLines.states where telling.others["\(object) \(field)"] == nil {
      let (mine, recorded) = (ours.lasting(field, of: object), theirs.lasting(field, of: object))
      #expect(
        recorded.contains(mine) || mine.contains(recorded), "\(object) \(field) on \(host): \(mine), \(recorded)",
        sourceLocation: location)
    }
  }

  private func compareWords(
    _ step: Story.Step, _ said: Said, _ dropped: [String], differs: Bool, _ name: String, _ location: SourceLocation
  ) {
    let recorded = step.out.split(separator: "\n", omittingEmptySubsequences: false)
      .filter { line in !dropped.contains { line.contains($0) } }.joined(separator: "\n")
    let isWrapped = ["--verbose", "--statistics"].contains { step.command.contains($0) }
    var (ours, theirs) = (
      Shape(said.out, wrapped: isWrapped).lines, Shape(recorded: recorded, wrapped: isWrapped).lines
    )
    if step.command.contains("show-gi") {
      // The legend has words of its own; the line that it explains has not.
      (ours, theirs) = (ours.filter { $0.contains("GENERATION") }, theirs.filter { $0.contains("GENERATION") })
    }
    if differs {
      #expect(ours != theirs, "no difference any more: \(name)", sourceLocation: location)
    } else {
      #expect(ours == theirs, "\(name)", sourceLocation: location)
    }
  }

  /// Number and first sentence of every refusal, in order. What is not a success says something, as it was recorded.
  private func compareRefusals(
    _ step: Story.Step, _ said: Said, differs: Bool, _ name: String, _ location: SourceLocation
  ) {
    let (ours, theirs) = (refusals(said.err), refusals(Shape.withOurNames(step.err)))
    if differs {
      #expect(ours != theirs, "no difference any more: \(name)", sourceLocation: location)
    } else {
      #expect(ours == theirs, "\(name): \(said.err)", sourceLocation: location)
    }
    if said.code != 0 { #expect(!said.err.isEmpty, "\(name) says why", sourceLocation: location) }
  }

  private func refusals(_ text: String) -> [String] {
    // A volume is called by its minor or by the name that was typed (docs/differences.md).
    text.replacingOccurrences(of: "(?m)^(0|90|r0|r0/0):", with: "OBJECT:", options: .regularExpression)
      .split(separator: "\n").map(String.init)
      .filter { $0.range(of: ": (State change failed|Failure): ", options: .regularExpression) != nil }
  }
}
