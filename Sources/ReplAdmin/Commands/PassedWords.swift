// Words that DRBD's tools take in forms that the argument parser does not: `--force=yes`, and `-W OPTION`, which hands an option on
// to the lower program. Both are the option itself here.
import Config

enum PassedWords {
  /// The options that are yes or no below drbdadm, and flags of a command here.
  private static let yesNo: Set<String> = [
    "--force", "--overwrite-data-of-peer", "--discard-my-data", "--tentative", "--diskless", "--clear-bitmap",
    "--force-resync", "--assume-clean", "--assume-peer-has-space",
  ]

  /// In front of `net-options`, `--timeout` is the one of every command; behind it, and behind `--`, the one of the section.
  static func withGeneralTimeout(_ arguments: [String]) -> [String] {
    guard let name = arguments.firstIndex(of: OptionSection.net.commandName) else { return arguments }
    let command = min(name, arguments.firstIndex(of: "--") ?? name)
    let before = arguments[..<command].map { word in
      word == "--timeout" || word.hasPrefix("--timeout=") ? "--command-" + word.dropFirst(2) : word
    }
    return before + arguments[command...]
  }

  static func rewritten(_ arguments: [String]) -> [String] {
    var result: [String] = []
    var left = arguments[...]
    while let word = left.popFirst() {
      if word == "-W" || word == "--setup-option" {
        if let passed = left.popFirst() { result += plain(passed) }
      } else if word.hasPrefix("--setup-option=") {
        result += plain(String(word.dropFirst("--setup-option=".count)))
      } else if word.hasPrefix("-W"), !word.hasPrefix("--") {
        result += plain(String(word.dropFirst(2)))
      } else {
        result += plain(word)
      }
    }
    return result
  }

  /// `--force=yes` is `--force`, `--force=no` is nothing.
  private static func plain(_ word: String) -> [String] {
    let parts = word.split(separator: "=", maxSplits: 1).map(String.init)
    guard parts.count == 2, yesNo.contains(parts[0]) else { return [word] }
    return switch parts[1] {
    case "yes": [parts[0]]
    case "no": []
    default: [word]
    }
  }
}
