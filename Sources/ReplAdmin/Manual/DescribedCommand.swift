// What the argument parser tells about a command line; the part that manual pages need.
import FoundationEssentials

struct DescribedCommand: Decodable {
  var commandName: String
  var abstract: String?
  var discussion: String?
  var shouldDisplay: Bool?
  var subcommands: [DescribedCommand]?
  var arguments: [DescribedArgument]?

  /// Reads what `--experimental-dump-help` prints.
  static func decode(_ text: String) throws -> DescribedCommand {
    struct Tool: Decodable { var command: DescribedCommand }
    return try JSONDecoder().decode(Tool.self, from: Data(text.utf8)).command
  }
}

struct DescribedArgument: Decodable {
  struct Name: Decodable {
    var kind: String
    var name: String
    var text: String { (kind == "long" ? "--" : "-") + name }
  }
  var kind: String
  var shouldDisplay: Bool
  var isOptional: Bool
  var isRepeating: Bool
  var names: [Name]?
  var valueName: String?
  var abstract: String?
  var defaultValue: String?

  /// The first long name, or else the first.
  var longName: String { (names?.first { $0.kind == "long" } ?? names?.first)?.text ?? "" }
}
