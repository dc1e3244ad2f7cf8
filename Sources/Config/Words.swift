// Names and values as a configuration file has to spell them.

enum Words {
  /// Bare where the lexer takes it bare, in double quotes otherwise.
  static func shown(_ text: String) -> String {
    let isBare =
      !text.isEmpty && text.utf8.count <= Lexer.longestWord && text.utf8.allSatisfy { Lexer.isWord($0) }
    return isBare ? text : quoted(text)
  }

  /// The name of a resource or host: quoted when it is a keyword as well.
  static func name(_ text: String) -> String { Parser.isKeyword(text) ? quoted(text) : shown(text) }

  static func quoted(_ text: String) -> String {
    var result = "\""
    for character in text.unicodeScalars {
      if character == "\"" || character == "\\" { result.unicodeScalars.append("\\") }
      result.unicodeScalars.append(character)
    }
    return result + "\""
  }

  /// Names in a sentence: `a, b and c`.
  static func list(_ names: [String]) -> String {
    guard let last = names.last else { return "none" }
    return names.count == 1 ? last : names.dropLast().joined(separator: ", ") + " and " + last
  }
}
