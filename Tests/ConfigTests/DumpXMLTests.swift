// `dump-xml` against what drbdadm 9.22 printed for the same files (Fixtures/admin/dump-xml).
import Config
import Foundation
import Testing

@Suite struct DumpXMLGoldens {
  static let directory = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Fixtures/admin/dump-xml")

  @Test(arguments: ["two-volumes", "names-and-quotes", "floating", "mesh", "paths"])
  func theTextIsDrbdadms(name: String) throws {
    let file = Self.directory.appending(path: name + ".conf")
    let configuration = try Configuration.load(
      name + ".conf", from: OneFile(text: String(contentsOf: file, encoding: .utf8)))
    let golden = try String(contentsOf: Self.directory.appending(path: name + ".xml"), encoding: .utf8)
    #expect(DumpXML.text(of: configuration) == golden)
  }

  @Test func oneResourceAlone() throws {
    let file = Self.directory.appending(path: "paths.conf")
    let configuration = try Configuration.load(
      "paths.conf", from: OneFile(text: String(contentsOf: file, encoding: .utf8)))
    let text = DumpXML.text(of: configuration, only: ["r5"])
    #expect(text.contains("name=\"r5\"") && !text.contains("name=\"r3\""))
  }
}

private struct OneFile: ConfigurationSource {
  let text: String
  func read(_ path: String) throws(ConfigurationSourceFault) -> String { text }
  func glob(_ pattern: String, relativeTo directory: String) -> [String] { [] }
}
