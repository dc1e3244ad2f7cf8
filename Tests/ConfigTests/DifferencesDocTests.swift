// docs/differences.md tells every deliberate difference of the parser, with its reason.
import Foundation
import Testing

@Suite struct DifferencesDocument {
  private static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  @Test func theTableIsTheListOfTheDifferentialTest() throws {
    let listed = try String(
      contentsOf: Self.root.appending(path: "Tests/Fixtures/config/differences.tsv"), encoding: .utf8)
    let document = try String(contentsOf: Self.root.appending(path: "docs/differences.md"), encoding: .utf8)
    let rows = document.split(separator: "\n").filter { $0.hasPrefix("| `") && $0.contains(".res` |") }
    let expected = listed.split(separator: "\n").map { line in
      let fields = line.split(separator: "\t", maxSplits: 1)
      return "| `\(fields[0])` | \(fields[1]) |"
    }
    #expect(rows.map(String.init) == expected)
    #expect(expected.count > 10)
  }
}
