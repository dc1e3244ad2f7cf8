// Inheritance: layers of settings, the most general first; what a later layer sets replaces what an earlier one said
// (admin spec 2.4). What nobody set has the default of its row.

import Base

public struct EffectiveOptions: Sendable, Equatable {
  public let section: OptionSection
  private var settings: [String: OptionSetting] = [:]

  init(_ section: OptionSection, layers: [[OptionSetting]]) {
    self.section = section
    for setting in layers.joined() where setting.definition.section == section {
      settings[setting.name] = setting
    }
  }

  /// What was written for an option, if anybody wrote something.
  public func setting(_ name: String) -> OptionSetting? { settings[name] }
  public func isSet(_ name: String) -> Bool { settings[name] != nil }

  /// All that is set, in the order of the table.
  public var all: [OptionSetting] {
    OptionTable.rows.compactMap { $0.section == section ? settings[$0.name] : nil }
  }

  /// The same in force: what is not set counts with its default.
  func hasValues(of other: EffectiveOptions) -> Bool {
    OptionTable.rows.allSatisfy { $0.section != section || value($0.name) == other.value($0.name) }
  }

  public func flag(_ name: String) -> Bool {
    guard case .flag(let value) = value(name) else { preconditionFailure("\(name) is not yes or no") }
    return value
  }

  public func number(_ name: String) -> UInt64 {
    guard case .number(let value) = value(name) else { preconditionFailure("\(name) is not a number") }
    return value
  }

  /// The word of a choice or a text; nil when unset and without default, or set to the empty text.
  public func word(_ name: String) -> String? {
    switch value(name) {
    case .word(let value): value.isEmpty ? nil : value
    case nil: nil
    default: preconditionFailure("\(name) is not a word")
    }
  }

  public func words(_ name: String) -> [String] {
    switch value(name) {
    case .words(let value): value
    case nil: []
    default: preconditionFailure("\(name) is not a list of words")
    }
  }

  /// A choice as its type. The table and the type list the same words.
  func choice<Choice: RawRepresentable>(_ name: String) -> Choice where Choice.RawValue == String {
    guard let word = word(name), let choice = Choice(rawValue: word) else {
      preconditionFailure("\(name) has a word that its type does not know")
    }
    return choice
  }

  private func value(_ name: String) -> OptionValue? {
    let definition = OptionTable.row(name, in: section)
    return settings[name]?.value ?? definition.defaultValue
  }
}
