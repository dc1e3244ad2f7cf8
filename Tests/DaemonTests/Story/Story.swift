// A recorded story of DRBD 9.3.3 (Fixtures/admin): its steps, and what each of them said.
import Foundation

struct Story {
  struct Step {
    var number: String
    /// `01` or `02`.
    var host: String
    var exit: Int32
    var command: String
    var out: String
    var err: String
  }

  let steps: [Step]
  private let directory: URL

  init(_ name: String) throws {
    let directory = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appending(path: "Fixtures/admin/\(name)")
    self.directory = directory
    func text(_ file: String) -> String {
      // Absent when nothing was said.
      let data = FileManager.default.contents(atPath: directory.appending(path: file).path) ?? Data()
      return String(decoding: data, as: UTF8.self)
    }
    let table = try String(contentsOf: directory.appending(path: "steps.tsv"), encoding: .utf8)
    steps = table.split(separator: "\n").dropFirst().compactMap { line in
      let fields = line.split(separator: "\t", maxSplits: 3).map(String.init)
      guard fields.count == 4, let exit = Int32(fields[2]) else { return nil }
      return Step(
        number: fields[0], host: fields[1], exit: exit, command: fields[3], out: text(fields[0] + ".out"),
        err: text(fields[0] + ".err"))
    }
  }

  static let names = ["1-create-sync", "2-use-and-reconnect", "3-disconnect-and-power-cut"]

  /// The forms of all lines of `events2` that were recorded, in streams and in dumps.
  static func eventForms() throws -> Set<String> {
    var forms: Set<String> = []
    for name in names {
      let story = try Story(name)
      for host in ["01", "02"] { forms.formUnion(story.events(host)?.forms ?? []) }
      for step in story.steps where step.command.hasPrefix("drbdsetup events2 --now") {
        forms.formUnion(EventLines(step.out.split(separator: "\n").map(String.init)).forms)
      }
    }
    return forms
  }

  /// The lines of `events2` that ran on a host over the whole story; nil: none ran there.
  func events(_ host: String) -> EventLines? {
    let path = directory.appending(path: "events2-follow.\(host).txt").path
    return FileManager.default.contents(atPath: path).map {
      EventLines(String(decoding: $0, as: UTF8.self).split(separator: "\n").map(String.init))
    }
  }
}
