// The folders of the engine have an order (ARCHITECTURE.md): State <- Link <- Write, Read, Resync <- Admin <- Engine.swift. A call
// against it is counted here; the numbers of those that are left only become smaller.
import Foundation
import Testing

@Suite struct EngineArrows {
  /// Where a call may come from to reach a folder: from the same rank, or from a higher one. Files beside `Engine.swift`
  /// are the vocabulary, and call nothing.
  private static let rank = [
    "": -1, "State": 0, "Link": 1, "Write": 2, "Read": 2, "Resync": 2, "Admin": 3, "Engine.swift": 4,
  ]

  /// Calls that run against the order still.
  private static let known: [String: Int] = [
    "Link -> Admin": 27,
    "Link -> Read": 5,
    "Link -> Resync": 29,
    "Link -> Write": 20,
    "Read -> Admin": 3,
    "Resync -> Admin": 13,
    "State -> Admin": 25,
    "State -> Link": 8,
    "State -> Resync": 14,
    "State -> Write": 7,
    "Write -> Admin": 11,
  ]

  private static let engine = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Sources/Engine")

  /// Every file with its room: the folder, or the switchboard itself. Comments are left out.
  private func sources() throws -> [(room: String, text: String)] {
    guard let walk = FileManager.default.enumerator(atPath: Self.engine.path) else { return [] }
    var found: [(room: String, text: String)] = []
    for case let path as String in walk where path.hasSuffix(".swift") {
      let text = try String(contentsOf: Self.engine.appendingPathComponent(path), encoding: .utf8)
      let code = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
        line.range(of: "//").map { line[..<$0.lowerBound] } ?? line
      }
      let folder = path.contains("/") ? String(path.prefix { $0 != "/" }) : ""
      found.append((path == "Engine.swift" ? path : folder, code.joined(separator: "\n")))
    }
    return found
  }

  /// Names in front of a bracket that are not members of something else; `declared`: behind `func`.
  private func names(_ text: String) -> [(name: Substring, isDeclared: Bool)] {
    var found: [(name: Substring, isDeclared: Bool)] = []
    var last: Substring = ""
    var at = text.startIndex
    while at < text.endIndex {
      guard text[at].isLetter || text[at] == "_" else {
        if !text[at].isWhitespace { last = "" }
        at = text.index(after: at)
        continue
      }
      let begin = at
      while at < text.endIndex, text[at].isLetter || text[at].isNumber || text[at] == "_" { at = text.index(after: at) }
      let name = text[begin..<at]
      let isMember = begin > text.startIndex && text[text.index(before: begin)] == "."
      if at < text.endIndex, text[at] == "(", !isMember { found.append((name, last == "func")) }
      last = name
    }
    return found
  }

  /// The rooms that declare a function of the engine: private functions are called in their own file only.
  private func declarations(_ sources: [(room: String, text: String)]) -> [Substring: Set<String>] {
    var rooms: [Substring: Set<String>] = [:]
    for (room, text) in sources {
      var isOfEngine = false
      for line in text.split(separator: "\n") {
        if line.contains("extension Engine {") || line.contains("struct Engine:") { isOfEngine = true }
        if line.hasPrefix("}") { isOfEngine = false }
        guard isOfEngine, line.hasPrefix("  "), !line.hasPrefix("   "), !line.contains("private ") else { continue }
        for one in names(String(line)) where one.isDeclared { rooms[one.name, default: []].insert(room) }
      }
    }
    return rooms
  }

  @Test("no new call runs against the order of the engine's folders")
  func callsGoDownwards() throws {
    let sources = try sources()
    let rooms = declarations(sources)
    #expect(rooms.count > 200)
    var calls: [String: Int] = [:]
    for (room, text) in sources where !room.isEmpty {
      guard let rank = Self.rank[room] else {
        Issue.record("Sources/Engine/\(room) has no place in the order")
        continue
      }
      for one in names(text) where !one.isDeclared {
        guard let targets = rooms[one.name], !targets.contains(room) else { continue }
        if targets.allSatisfy({ (Self.rank[$0] ?? 0) > rank }) {
          calls["\(room) -> \(targets.sorted()[0])", default: 0] += 1
        }
      }
    }
    for (arrow, count) in calls.sorted(by: { $0.key < $1.key }) {
      let allowed = Self.known[arrow] ?? 0
      #expect(
        count <= allowed,
        "\(arrow): \(count) calls against the order, \(allowed) are known. Let the owner return what follows, or move the rule"
      )
    }
    for (arrow, count) in Self.known.sorted(by: { $0.key < $1.key }) {
      #expect(calls[arrow, default: 0] >= count, "\(arrow): fewer than \(count) are left; lower the number")
    }
  }
}
