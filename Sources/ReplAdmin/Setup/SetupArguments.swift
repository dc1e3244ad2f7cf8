// One command line of `replsetup` by the row of its command: options wherever they stand, with `=` or the next word, shortened as
// far as they stay clear. Law: every word was understood, or the line is refused.
import Base
import Config
import Control

struct SetupArguments {
  let row: SetupRow
  private(set) var operands: [String] = []
  /// By the option's whole name; a flag is `yes`.
  private var values: [String: String] = [:]
  /// `NAME=VALUE` of the section.
  private(set) var settings: [String] = []
  /// Options that change nothing here, each said once.
  private(set) var remarks: [String] = []

  init(_ words: [String]) throws(Refusal) {
    // Options may stand before the command.
    let place = words.first?.hasPrefix("-") == true ? words.firstIndex { SetupTable.row($0) != nil } ?? 0 : 0
    guard let row = words.isEmpty ? nil : SetupTable.row(words[place]) else {
      guard let first = words.first(where: { !$0.hasPrefix("-") }) else {
        throw SetupArguments.wrong("a command is needed")
      }
      throw Refusal(
        "\(first) is no command of replsetup", why: AbsentCommands.reason(of: first) ?? "",
        next: "type replsetup --help; what the configuration file says is done by repladm", exitCode: 20)
    }
    self.row = row
    var left = words[..<place] + words[(place + 1)...]
    while let word = left.popFirst() {
      if word == "--" { continue }
      if word.hasPrefix("-"), word != "-" { try take(option: word, &left) } else { operands.append(word) }
    }
  }

  private mutating func take(option word: String, _ left: inout ArraySlice<String>) throws(Refusal) {
    let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let given = parts.count == 2 ? parts[1] : nil
    if let option = row.option(parts[0]) {
      let value: String
      switch option.value {
      case .none:
        guard given == nil else { throw SetupArguments.wrong("\(option.name) takes no value") }
        value = "yes"
      case .yesNo:
        value = given ?? "yes"
        guard value == "yes" || value == "no" else {
          throw SetupArguments.wrong("\(option.name) is yes or no, not '\(value)'")
        }
      case .word:
        guard let next = given ?? left.popFirst() else { throw SetupArguments.wrong("\(option.name) needs a value") }
        value = next
      }
      values[option.name] = value
      if let remark = option.remark(on: value) { remarks.append(remark) }
      return
    }
    guard let (row, name) = row.setting(parts[0]) else {
      throw SetupArguments.wrong("\(word) is no option of \(row.name)")
    }
    var text = given.map { "\(name)=\($0)" } ?? name
    if given == nil, row.type != .boolean {
      guard let next = left.popFirst() else { throw SetupArguments.wrong("--\(name) needs a value") }
      text = "\(name)=\(next)"
    }
    do throws(ConfigurationError) {
      _ = try OptionOverride(text, of: row.section)
    } catch {
      throw Refusal("usage: \(withoutPeriod(error.text))", next: "correct the option", exitCode: 20)
    }
    settings.append(text)
  }

  func flag(_ name: String) -> Bool { value(name) == "yes" }

  func value(_ name: String) -> String? {
    precondition(row.option(name)?.name == name, "\(row.name) has no option \(name)")
    return values[name]
  }

  /// A number that is no less than 0.
  func number(_ name: String) throws(Refusal) -> UInt64? {
    guard let text = value(name) else { return nil }
    guard let number = UInt64(text.hasSuffix("s") ? text.dropLast() : text[...]) else {
      throw SetupArguments.wrong("\(text) is no number for \(name)")
    }
    return number
  }

  func seconds(_ name: String) throws(Refusal) -> Double? {
    guard let text = value(name) else { return nil }
    guard let seconds = Double(text), (0...1e9).contains(seconds) else {
      throw SetupArguments.wrong("\(text) is no number of seconds for \(name)")
    }
    return seconds
  }

  static func wrong(_ why: String) -> Refusal { Refusal("usage: \(why)", next: "type replsetup --help", exitCode: 20) }
}
