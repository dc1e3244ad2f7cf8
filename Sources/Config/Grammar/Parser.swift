// The cursor of the parser: one token of look-ahead, and the words for "this was expected, that was found". The
// productions are in the Parser+*.swift files, in the order of the grammar in admin spec 2.3.

struct Parser {
  /// Files inside files inside files: DRBD's own limit.
  static let deepestInclude = 10
  /// A configuration file longer than this is none.
  static let longestFile = 16 << 20

  let source: any ConfigurationSource
  var lexer: Lexer
  var token: Token
  /// Nesting of `include`.
  var depth = 0
  /// Files already read, so that one that is named twice counts once.
  var visited: Set<String>
  var tree: SyntaxTree

  /// Reads the main file and everything it includes.
  static func parse(_ path: String, from source: some ConfigurationSource) throws(ConfigurationError) -> SyntaxTree {
    let text: String
    do throws(ConfigurationSourceFault) { text = try source.read(path) } catch {
      throw ConfigurationError(
        .unreadable, "can not open '\(path)': \(error.reason)",
        advice: "Create the file, or name another one with -c FILE")
    }
    var parser = try Parser(source, path, text, depth: 0, visited: [path], tree: SyntaxTree(mainFile: path))
    try parser.file()
    return parser.tree
  }

  init(
    _ source: any ConfigurationSource, _ path: String, _ text: String, depth: Int, visited: Set<String>,
    tree: SyntaxTree
  ) throws(ConfigurationError) {
    guard text.utf8.count <= Self.longestFile else {
      throw ConfigurationError(
        .syntax, at: SourcePosition(file: path, line: 1), "the file is larger than 16 MiB",
        advice: "Is this a configuration file?")
    }
    self.source = source
    self.depth = depth
    self.visited = visited
    self.tree = tree
    lexer = Lexer(file: path, text: text)
    token = try lexer.next()
  }

  var here: SourcePosition { SourcePosition(file: lexer.file, line: token.line) }

  // MARK: tokens

  mutating func advance() throws(ConfigurationError) { token = try lexer.next() }

  func isAt(_ punctuation: String) -> Bool { token.kind == .punctuation && token.text == punctuation }
  func isAt(word: String) -> Bool { token.kind == .word && token.text == word }

  /// Consumes `punctuation` or complains.
  mutating func expect(_ punctuation: String) throws(ConfigurationError) {
    guard isAt(punctuation) else { throw unexpected(expected: [punctuation]) }
    try advance()
  }

  /// Consumes `punctuation` if it stands here.
  mutating func take(_ punctuation: String) throws(ConfigurationError) -> Bool {
    guard isAt(punctuation) else { return false }
    try advance()
    return true
  }

  mutating func take(word: String) throws(ConfigurationError) -> Bool {
    guard isAt(word: word) else { return false }
    try advance()
    return true
  }

  /// A name or value: a word or a quoted string.
  mutating func text(_ what: String) throws(ConfigurationError) -> String {
    guard token.kind == .word || token.kind == .quoted else { throw unexpected(expected: [what]) }
    let text = token.text
    try advance()
    return text
  }

  /// A plain decimal number in a range.
  mutating func number(_ what: String, in range: ClosedRange<Int>) throws(ConfigurationError) -> Int {
    let position = here
    let digits = try text("<\(what)>")
    guard (1...10).contains(digits.utf8.count), digits.utf8.allSatisfy({ (48...57).contains($0) }),
      let value = Int(digits)
    else {
      throw ConfigurationError(
        .syntax, at: position, "the \(what) '\(Lexer.printable(digits))' is not a number",
        advice: "Write a number \(range.lowerBound)..\(range.upperBound)")
    }
    guard range.contains(value) else {
      throw ConfigurationError(
        .syntax, at: position, "the \(what) \(value) is out of range",
        advice: "Write a number \(range.lowerBound)..\(range.upperBound)")
    }
    return value
  }

  // MARK: complaints

  /// The token at hand is not one of those that could stand here.
  func unexpected(expected: [String], advice: String? = nil) -> ConfigurationError {
    var error = ConfigurationError(.syntax, at: here, "", advice: advice)
    error.expected = expected
    error.found = token.shown
    if token.kind == .word { error.suggestion = NearMiss.of(token.text, among: expected) }
    return error
  }

  func fault(_ message: String, at position: SourcePosition, advice: String? = nil) -> ConfigurationError {
    ConfigurationError(.syntax, at: position, message, advice: advice)
  }

  /// The same thing was said before, and only one of the two can be meant.
  func conflict(_ what: String, first: SourcePosition) -> ConfigurationError {
    ConfigurationError(
      .invalid, at: here, "\(what) is written twice; first in \(first)", advice: "Keep one of the two")
  }
}
