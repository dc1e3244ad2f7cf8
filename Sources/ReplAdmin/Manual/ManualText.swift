// What the manual page of a command says beyond its options: what happens, what the command waits for, what it refuses, and
// examples. The pages themselves are made by ManualPages. Law: every command that `repladm help` shows has a text.

/// The part of a manual page that is written by hand.
struct ManualText: Sendable {
  /// A command line, and what it is for.
  struct Example: Sendable {
    var line: String
    var purpose: String
  }

  var command: String
  /// What the command does to the resource.
  var does: String
  /// What has to happen before the command returns. Empty: it waits for nothing but the daemon's answer.
  var waits = ""
  /// In which states the command changes nothing and fails. Empty: none but a daemon that is not running.
  var refuses = ""
  var examples: [Example]
  /// Other commands, without `repladm-`.
  var related: [String] = []

  static let all: [ManualText] = roles + connections + disks + sizes + metadata + options + reading + scripts

  static func of(_ command: String) -> ManualText? { all.first { $0.command == command } }

  /// The paragraphs of DESCRIPTION.
  var paragraphs: [String] {
    [
      does, waits.isEmpty ? "The command returns when the daemon has answered." : waits,
      refuses,
    ].filter { !$0.isEmpty }
  }
}

extension ManualText.Example {
  init(_ line: String, _ purpose: String) { self.init(line: line, purpose: purpose) }
}
