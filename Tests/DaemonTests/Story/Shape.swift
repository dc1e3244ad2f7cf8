// The words of an output without what differs from run to run: names, numbers of nodes and minors, addresses, times, counters,
// percentages, the digits of generations. Law: a word of a state, the name of a field, their order and the flags of a
// generation stay.
import Foundation

struct Shape: Equatable, CustomStringConvertible {
  let lines: [String]

  /// The recording's text, with our names.
  init(recorded text: String, wrapped: Bool = false) {
    self.init(Shape.withOurNames(text), wrapped: wrapped)
  }

  /// `wrapped`: where lines break depends on counters, so blanks and breaks are all the same.
  init(_ text: String, wrapped: Bool = false) {
    var text = text
    for (pattern, word) in Shape.passing {
      text = text.replacingOccurrences(of: pattern, with: word, options: .regularExpression)
    }
    lines =
      wrapped
      ? text.split { $0 == " " || $0 == "\n" }.map(String.init)
      : text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  var description: String { lines.joined(separator: "\n") }

  static func withOurNames(_ text: String) -> String {
    var text = text
    for (theirs, ours) in names { text = text.replacingOccurrences(of: theirs, with: ours) }
    return text
  }

  static let names = [("zabbix-server01", "a"), ("zabbix-server02", "b"), ("drbd0", "r0")]

  private static let counters =
    "size|read|written|al-writes|bm-writes|upper-pending|lower-pending|received|sent|out-of-sync|pending|unacked"
    + "|ap-in-flight|rs-in-flight|done|dbdt1|eta|node-id|minor"

  private static let passing = [
    ("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+[+-][0-9:]{5}", "TIME"),
    ("ipv4( |:)[0-9.]+:[0-9]+", "ipv4$1ADDRESS"),
    ("(backing_dev:|disk\\s+\"|\"backing-disk\": \")/[^ \"\n]+", "$1DISK"),
    // No generation is no generation in every run.
    ("0{16}", "NONE"), ("[0-9A-F]{16}", "GENERATION"),
    // How far back it goes is another matter (docs/differences.md).
    ("(?m)^([A-Z]+:[A-Z]+):[A-Z]+:[A-Z]+:", "$1:"),
    ("\\b(\(counters)):(-?[0-9]+([.][0-9]+)?|nan)", "$1:N"),
    ("(\"(?!volume)[^\"]+\": )-?[0-9]+([.][0-9]+)?", "$1N"),
    ("(node-id\\s+|_peer_node_id |device\\s+minor )[0-9]+", "$1N"),
  ]
}
