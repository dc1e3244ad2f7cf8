// Which option a word means at the place where it is written: spellings of 8.4 (admin spec 2.6), `no-` in front of
// booleans, and suggestions for words that are near.

import Base

/// A section as it is written in a file. Several of them lead to options of other sections.
enum WrittenSection: String, CaseIterable {
  case disk, net, options, startup, handlers, global, syncer

  /// The sections whose options may stand here under their own names.
  var sections: [OptionSection] {
    switch self {
    case .disk: [.disk, .peerDevice]
    case .net: [.net]
    case .options: [.resource]
    case .startup: [.startup]
    case .handlers: [.handlers]
    case .global: [.global]
    case .syncer: []
    }
  }

  /// Words that mean an option of another name or another section.
  var legacy: [(word: String, section: OptionSection, name: String)] {
    switch self {
    case .disk: [("fencing", .net, "fencing"), ("on-no-data-accessible", .resource, "on-no-data-accessible")]
    case .handlers: [("outdate-peer", .handlers, "fence-peer")]
    case .syncer:
      [
        ("rate", .peerDevice, "resync-rate"), ("after", .disk, "resync-after"), ("al-extents", .disk, "al-extents"),
        ("c-plan-ahead", .peerDevice, "c-plan-ahead"), ("c-delay-target", .peerDevice, "c-delay-target"),
        ("c-fill-target", .peerDevice, "c-fill-target"), ("c-max-rate", .peerDevice, "c-max-rate"),
        ("c-min-rate", .peerDevice, "c-min-rate"), ("verify-alg", .net, "verify-alg"),
        ("csums-alg", .net, "csums-alg"), ("use-rle", .net, "use-rle"), ("cpu-mask", .resource, "cpu-mask"),
        ("on-no-data-accessible", .resource, "on-no-data-accessible"),
      ]
    default: []
    }
  }

  /// Every word that may begin an option here.
  var words: [String] {
    OptionTable.rows.filter { sections.contains($0.section) }.map(\.name) + legacy.map(\.word)
  }
}

/// A word that was understood as an option.
struct OptionMatch {
  var definition: OptionDefinition
  /// Written with `no-` in front.
  var negated = false
}

extension OptionTable {
  /// The row of an option. Unknown names are a mistake of the program.
  public static func row(_ name: String, in section: OptionSection) -> OptionDefinition {
    guard let row = index[Key(section: section, name: name)] else {
      preconditionFailure("no option \(name) in \(section.rawValue)")
    }
    return row
  }

  static func match(_ word: String, in section: WrittenSection) -> OptionMatch? {
    if let row = plain(word, in: section) { return OptionMatch(definition: row) }
    if word.hasPrefix("no-"), let row = plain(String(word.dropFirst(3)), in: section), row.type == .boolean {
      return OptionMatch(definition: row, negated: true)
    }
    return nil
  }

  /// A word that is an option, but of another section: the usual slip.
  static func home(of word: String) -> OptionSection? {
    OptionSection.allCases.first { index[Key(section: $0, name: word)] != nil }
  }

  private static func plain(_ word: String, in section: WrittenSection) -> OptionDefinition? {
    for home in section.sections {
      if let row = index[Key(section: home, name: word)] { return row }
    }
    guard let legacy = section.legacy.first(where: { $0.word == word }) else { return nil }
    return row(legacy.name, in: legacy.section)
  }

  private struct Key: Hashable {
    var section: OptionSection
    var name: String
  }

  private static let index: [Key: OptionDefinition] = {
    Dictionary(uniqueKeysWithValues: rows.map { (Key(section: $0.section, name: $0.name), $0) })
  }()
}
