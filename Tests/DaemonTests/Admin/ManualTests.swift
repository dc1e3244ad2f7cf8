// The manual pages: every command and every option is described, and what is kept in docs/man is what `repladm man` writes.
import Config
import Foundation
import Testing

@testable import ReplAdmin

@Suite("Manual pages")
struct ManualTests {
  @Test("every command that help shows has a text, and every text has its command")
  func commandsAreDescribed() throws {
    let tool = try DescribedCommand.decode(Repladm._dumpHelp())
    let shown = (tool.subcommands ?? []).filter { $0.shouldDisplay != false && $0.commandName != "help" }
    #expect(Set(shown.map(\.commandName)) == Set(ManualText.all.map(\.command)))
    #expect(Set(ManualText.all.map(\.command)).count == ManualText.all.count, "a command is described twice")
    for text in ManualText.all {
      for other in text.related { #expect(ManualText.of(other) != nil, "\(text.command) names \(other)") }
      for example in text.examples { #expect(example.line.contains("repladm"), "\(example.line)") }
      #expect(!text.examples.isEmpty, "\(text.command)")
    }
  }

  @Test("every option that has an effect is described in repl.conf(5)", arguments: OptionTable.rows.filter(\.hasEffect))
  func optionsAreDescribed(_ row: OptionDefinition) {
    #expect(OptionText.of(row) != nil, "\(row.section.keyword) \(row.name)")
  }

  @Test("docs/man is what repladm man writes")
  func keptPagesAreCurrent() throws {
    let bench = try AdminBench()
    bench.environment["REPLD"] = try program("repld")
    let written = bench.directory + "/man"
    #expect(bench.run("man", "--directory", written).code == 0)
    let kept = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../docs/man").standardized
      .path()
    let names = try FileManager.default.contentsOfDirectory(atPath: written).sorted()
    #expect(try FileManager.default.contentsOfDirectory(atPath: kept).sorted() == names)
    for name in names {
      let new = try String(contentsOfFile: "\(written)/\(name)", encoding: .utf8)
      let old = try? String(contentsOfFile: "\(kept)/\(name)", encoding: .utf8)
      #expect(new == old, "\(name): write it again by repladm man --directory docs/man")
    }
  }
}

extension OptionDefinition {
  fileprivate var hasEffect: Bool { if case .noEffect = effect { false } else { true } }
}
