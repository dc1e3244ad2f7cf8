// Option sections: `NAME VALUE;`, the bare name of a boolean, `no-NAME`, and the legacy spellings that lead elsewhere.

extension Parser {
  /// `{ option; option; ... }` of one written section.
  mutating func options(in section: WrittenSection) throws(ConfigurationError) -> [OptionSetting] {
    var settings: [OptionSetting] = []
    try expect("{")
    while !isAt("}") { settings.append(try option(in: section)) }
    try advance()
    return settings
  }

  private mutating func option(in section: WrittenSection) throws(ConfigurationError) -> OptionSetting {
    let position = here
    guard token.kind == .word else {
      throw unexpected(expected: ["an option of the \(section.rawValue) section"])
    }
    let word = token.text
    guard let match = OptionTable.match(word, in: section) else { throw unknownOption(word, in: section) }
    try advance()
    let setting = try value(of: match, written: word, at: position)
    try expect(";")
    return setting
  }

  /// The value behind an option's name, without the semicolon.
  mutating func value(
    of match: OptionMatch, written word: String, at position: SourcePosition
  ) throws(ConfigurationError) -> OptionSetting {
    let definition = match.definition
    if definition.type == .boolean, isAt(";") {
      return OptionSetting(
        definition: definition, value: .flag(!match.negated), text: match.negated ? "no" : "yes", position: position)
    }
    if match.negated {
      throw unexpected(expected: [";"], advice: "'\(word)' already says no; write '\(definition.name) yes' for yes")
    }
    if definition.type == .hosts {
      var names = [try text("host name, or both")]
      while token.kind == .word || token.kind == .quoted { names.append(try text("host name")) }
      return OptionSetting(
        definition: definition, value: .words(names), text: names.joined(separator: " "), position: position)
    }
    let written = try text("value of \(definition.name)")
    do throws(OptionFault) {
      let value = try OptionValue(written, for: definition)
      // A letter may be written small; the file's own spelling is kept for `dump`.
      return OptionSetting(definition: definition, value: value, text: written, position: position)
    } catch {
      var shown = Lexer.printable(written)
      if shown.utf8.count > 20 { shown = String(shown.prefix(20)) + "..." }
      var refusal = fault("while parsing value ('\(shown)')\nfor \(definition.name). \(error.why).", at: position)
      refusal.suggestion = error.suggestion
      throw refusal
    }
  }

  private func unknownOption(_ word: String, in section: WrittenSection) -> ConfigurationError {
    var error = ConfigurationError(.syntax, at: here, "")
    error.expected = ["an option of the \(section.rawValue) section"]
    error.found = token.shown
    if let home = OptionTable.home(of: word) {
      error.advice = "'\(word)' belongs in the \(home.keyword) section"
    } else if word.hasPrefix("no-"), let match = OptionTable.match(String(word.dropFirst(3)), in: section) {
      error.advice =
        "'no-' goes in front of yes/no options only; \(match.definition.name) takes "
        + match.definition.allowed
    } else {
      error.suggestion = NearMiss.of(word, among: section.words)
      if error.suggestion == nil, section.words.count < 20 { error.expected = section.words }
    }
    return error
  }

  /// The common part of `common` and `resource`: option sections and what 8.4 wrote beside them. Returns false when the
  /// token at hand begins none of them. `seen` holds the sections read so far, which may be written once each.
  mutating func optionSection(
    into block: inout OptionBlock, seen: inout [String: SourcePosition]
  ) throws(ConfigurationError) -> Bool {
    guard token.kind == .word else { return false }
    let word = token.text
    let position = here
    switch word {
    case "protocol":
      if let first = seen[word] { throw conflict("protocol", first: first) }
      seen[word] = position
      try advance()
      let match = OptionMatch(definition: OptionTable.row("protocol", in: .net))
      block.settings.append(try value(of: match, written: word, at: position))
      try expect(";")
    case "proxy":
      if block.proxy != nil { throw conflict("the proxy section", first: block.proxy?.position ?? position) }
      try advance()
      block.proxy = try proxy(at: position)
    case "disk", "net", "startup", "options", "handlers", "syncer":
      guard let section = WrittenSection(rawValue: word) else { return false }
      if let first = seen[word] { throw conflict("the \(word) section", first: first) }
      seen[word] = position
      try advance()
      block.settings += try options(in: section)
    default: return false
    }
    return true
  }

  /// `proxy { ... }` or `proxy on HOST { ... }`: understood as far as its braces and kept word by word.
  mutating func proxy(at position: SourcePosition) throws(ConfigurationError) -> ProxySection {
    var section = ProxySection(position: position)
    while token.kind == .word || token.kind == .quoted { try advance() }
    try expect("{")
    var depth = 1
    var line = ""
    while true {
      if token.kind == .end { throw unexpected(expected: ["}"]) }
      if isAt("{") { depth += 1 }
      if isAt("}") {
        depth -= 1
        if depth == 0 { break }
      }
      if isAt(";") || isAt("{") || isAt("}") {
        section.lines.append(line + (isAt(";") ? ";" : line.isEmpty ? token.text : " " + token.text))
        line = ""
      } else {
        let glued = line.isEmpty || isAt(":") || line.hasSuffix(":")
        line += (glued ? "" : " ") + (token.kind == .quoted ? Words.quoted(token.text) : token.text)
      }
      try advance()
    }
    try advance()
    return section
  }

  // MARK: common

  mutating func common(at position: SourcePosition) throws(ConfigurationError) -> CommonSection {
    var section = CommonSection(position: position)
    section.options = try optionSections(of: "common")
    return section
  }

  /// Option sections in braces, and nothing else: `common`, also at the head of a template file.
  mutating func optionSections(of what: String) throws(ConfigurationError) -> OptionBlock {
    var block = OptionBlock()
    var seen: [String: SourcePosition] = [:]
    try expect("{")
    while !isAt("}") {
      if isAt(word: "skip") {
        try skip()
        continue
      }
      if try optionSection(into: &block, seen: &seen) { continue }
      let hostSections = ["on", "floating", "stacked-on-top-of", "volume", "connection", "connection-mesh"]
      guard token.kind != .word || !hostSections.contains(token.text) else {
        throw ConfigurationError(
          .invalid, at: here, "the \(what) section has no '\(token.text)' sections: it is about every resource",
          advice: "Write it in the resource it belongs to")
      }
      throw unexpected(expected: ["protocol", "disk", "net", "startup", "options", "handlers", "syncer", "proxy", "}"])
    }
    try advance()
    return block
  }
}
