// What the compiler cannot see: pure targets import nothing of the system, files stay short and open with a comment,
// nothing is left half done, and nothing names the machine it was written on.

import Foundation
import Testing

private let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent()

/// The files below `folder`, relative to the root, that end in one of `endings` (all files when empty).
private func files(_ folder: String, _ endings: [String] = ["swift"]) -> [String] {
  guard let walk = FileManager.default.enumerator(atPath: root.appendingPathComponent(folder).path) else { return [] }
  var found: [String] = []
  for case let path as String in walk {
    let isFile = walk.fileAttributes?[.type] as? FileAttributeType == .typeRegular
    let ending = URL(fileURLWithPath: path).pathExtension
    if isFile, endings.isEmpty || endings.contains(ending) { found.append("\(folder)/\(path)") }
  }
  return found.sorted()
}

private func text(_ path: String) throws -> String {
  try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
}

private func lines(_ path: String) throws -> [Substring] {
  try text(path).split(separator: "\n", omittingEmptySubsequences: false)
}

@Suite struct TidyTests {
  /// The pure targets with what they may import, as Package.swift declares them: `pure("Engine", ["Base", ...])`.
  private func pureTargets() throws -> [String: Set<String>] {
    var targets: [String: Set<String>] = [:]
    // A call may be broken after its bracket.
    let text = try lines("Package.swift").joined(separator: "\n").replacingOccurrences(
      of: "pure\\(\n *\"", with: "pure(\"", options: .regularExpression)
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: "\"", omittingEmptySubsequences: false).map(String.init)
      guard parts.count >= 2, parts[0].trimmingCharacters(in: .whitespaces) == "pure(" else { continue }
      targets[parts[1]] = Set(stride(from: 3, to: parts.count, by: 2).map { parts[$0] })
    }
    return targets
  }

  /// The module an import line names.
  private func imported(_ line: Substring) -> String? {
    let words = line.split(separator: " ")
    guard let at = words.firstIndex(of: "import"), at < 3, at + 1 < words.count, !line.hasPrefix("//") else {
      return nil
    }
    guard words[..<at].allSatisfy({ $0.hasPrefix("@") || ["public", "internal", "package"].contains($0) }) else {
      return nil
    }
    let kinds = ["struct", "class", "enum", "protocol", "typealias", "func", "let", "var"]
    let name = kinds.contains(String(words[at + 1])) && at + 2 < words.count ? words[at + 2] : words[at + 1]
    return String(name.split(separator: ".")[0])
  }

  @Test func pureTargetsImportOnlyPureTargets() throws {
    let targets = try pureTargets()
    #expect(targets.count >= 8)
    for (target, allowed) in targets {
      for path in files("Sources/\(target)") {
        for line in try lines(path) {
          guard let module = imported(line) else { continue }
          #expect(allowed.contains(module), "\(path) imports \(module)")
        }
      }
    }
  }

  @Test func noFileOfTheSourcesIsLongerThan450Lines() throws {
    for path in files("Sources") {
      let count = try lines(path).count
      #expect(count <= 451, "\(path) has \(count) lines: one file, one noun")
    }
  }

  @Test func everyFileOpensWithAComment() throws {
    for path in files("Sources") + files("Tests") {
      let first = try lines(path)[0]
      #expect(first.hasPrefix("// ") && first.count > 12, "\(path) does not say what it owns")
    }
    for path in files("scripts", []) + files(".ci", []) {
      let opening = try lines(path).prefix(2)
      #expect(opening.contains { $0.hasPrefix("# ") }, "\(path) does not say what it does")
    }
  }

  @Test func nothingIsLeftHalfDone() throws {
    let words = ["TODO", "FIXME", "XXX", " try?", "(try?", "fatalError", "HACK"]
    for path in files("Sources") {
      for (number, line) in try lines(path).enumerated() {
        // The one place that says why the program ends.
        let isLastWord = path == "Sources/Base/Precondition.swift"
        for word in words where line.contains(word) && !(isLastWord && word == "fatalError") {
          Issue.record("\(path):\(number + 1) says \(word)")
        }
        let lowered = line.lowercased().split { !$0.isLetter }
        if lowered.contains("stub") { Issue.record("\(path):\(number + 1) says stub") }
      }
    }
  }

  @Test func nothingNamesTheMachineItWasWrittenOn() throws {
    // Put together here, so that this file does not contain them.
    let places = ["/wo" + "rk/", "/tmp/" + "h/", "/tmp/" + "hub", "/ho" + "me/"]
    let paths =
      files("Sources") + files("Tests") + files("scripts", []) + files(".ci", []) + files("docs", ["md"])
      + ["Package.swift", "README.md", "ARCHITECTURE.md", "HACKING.md", "CHANGELOG.md", "SECURITY.md"]
    for path in paths where FileManager.default.fileExists(atPath: root.appendingPathComponent(path).path) {
      for (number, line) in try lines(path).enumerated() {
        for place in places where line.contains(place) {
          Issue.record("\(path):\(number + 1) names a place of one machine: \(place)")
        }
      }
    }
  }

  /// A test that cannot run here is skipped, with its reason, by a trait; it does not return before it has looked at
  /// anything.
  @Test func noTestIsSkippedInSilence() throws {
    for path in files("Tests") {
      let lines = try lines(path).map { $0.trimmingCharacters(in: .whitespaces) }
      for (number, line) in lines.enumerated() where line.contains(".enabled(if:") || line.contains(".disabled(") {
        let declaration = lines[number...].prefix(2).joined()
        let hasReason = declaration.contains(", \"") || declaration.contains("Comment")
        if !line.hasPrefix("//"), !path.hasPrefix("Tests/TidyTests") {
          #expect(hasReason, "\(path):\(number + 1) skips a test without saying why")
        }
      }
      for (number, line) in lines.enumerated() where line.contains("func ") && line.hasSuffix("{") {
        let isTest = lines[max(0, number - 3)...number].contains { $0.hasPrefix("@Test") }
        guard isTest, number + 1 < lines.count else { continue }
        let first = lines[number + 1]
        #expect(
          !(first.hasPrefix("guard ") || first.hasPrefix("if ")) || !first.contains("{ return }"),
          "\(path):\(number + 2) returns before the test has looked at anything")
      }
    }
  }

  @Test func scriptsStopAtTheFirstError() throws {
    for path in files("scripts", []) + files(".ci", []) where try lines(path)[0].hasPrefix("#!") {
      #expect(try text(path).contains("set -euo pipefail"), "\(path) goes on after an error")
      let attributes = try FileManager.default.attributesOfItem(atPath: root.appendingPathComponent(path).path)
      let mode = attributes[.posixPermissions] as? Int ?? 0
      #expect(mode & 0o100 != 0, "\(path) is not executable")
    }
  }
}
