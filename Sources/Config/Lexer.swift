// Bytes of a configuration file to tokens (admin spec 2.2). Never looks behind the end, never needs more than one
// pass: any input ends in a token, an end or an error.

struct Token: Equatable {
  enum Kind: Equatable {
    /// Letters, digits and `/ . _ -`. Keywords and numbers are words too; the parser knows which it wants.
    case word
    /// Written in double quotes; never a keyword.
    case quoted
    case punctuation
    case end
  }
  var kind: Kind
  var text: String
  var line: Int

  /// As an error message shows it.
  var shown: String { kind == .end ? "the end of the file" : "'\(Lexer.printable(text))'" }
}

struct Lexer {
  static let longestWord = 128
  static let longestString = 255

  let file: String
  private let bytes: [UInt8]
  private var offset = 0
  private(set) var line = 1
  /// The last token was none, or one behind which a keyword stands.
  private var isStatementStart = true

  init(file: String, text: String) {
    self.file = file
    bytes = Array(text.utf8)
  }

  mutating func next() throws(ConfigurationError) -> Token {
    skipBlanksAndComments()
    guard offset < bytes.count else { return Token(kind: .end, text: "", line: line) }
    let byte = bytes[offset]
    if bytes[offset...].starts(with: "/*".utf8) || startsWithSlashes {
      throw fault(
        "comments of C begin here, and this is no comment", advice: "Begin a comment with '#'; it ends with its line")
    }
    isStatementStart = ";{}".utf8.contains(byte)
    if Self.isWord(byte) { return try word() }
    switch byte {
    case UInt8(ascii: "\""): return try quoted()
    case UInt8(ascii: "{"), UInt8(ascii: "}"), UInt8(ascii: ";"), UInt8(ascii: "["), UInt8(ascii: "]"),
      UInt8(ascii: ":"):
      offset += 1
      return Token(kind: .punctuation, text: String(UnicodeScalar(byte)), line: line)
    case 0xef where bytes[offset...].starts(with: Self.byteOrderMark):
      throw fault(
        "a byte order mark (0xef 0xbb 0xbf) stands here, which some editors put in front of a text",
        advice: "Save the file as UTF-8 without it; sed -i 's/\\xef\\xbb\\xbf//' FILE removes it")
    default:
      throw fault(
        "the character \(Self.shown(byte)) cannot stand here",
        advice: "Put text with such characters in double quotes, or begin a comment with '#'")
    }
  }

  /// `//` where a keyword is due, or with a blank behind it. Elsewhere it begins a path, such as `//dev/sdb1`.
  private var startsWithSlashes: Bool {
    guard bytes[offset...].starts(with: "//".utf8) else { return false }
    return isStatementStart || offset + 2 == bytes.count || " \t\r\n".utf8.contains(bytes[offset + 2])
  }

  private static let byteOrderMark: [UInt8] = [0xef, 0xbb, 0xbf]

  /// The inside of `[...]` behind an opening bracket: an IPv6 address, whose colons are not punctuation.
  mutating func bracketed() throws(ConfigurationError) -> Token {
    let start = offset
    while offset < bytes.count, Self.isWord(bytes[offset]) || ":%".utf8.contains(bytes[offset]) { offset += 1 }
    guard offset < bytes.count, bytes[offset] == UInt8(ascii: "]"), offset > start,
      offset - start <= Self.longestWord
    else {
      throw fault("an IPv6 address in square brackets is not complete", advice: "Write it like [2001:db8::1]:7789")
    }
    let text = String(decoding: bytes[start..<offset], as: UTF8.self)
    offset += 1
    return Token(kind: .word, text: text, line: line)
  }

  /// Consumes everything up to the brace that closes one already opened, strings and comments as they are.
  mutating func skipBalanced() throws(ConfigurationError) {
    let from = line
    var depth = 1
    while offset < bytes.count {
      let byte = bytes[offset]
      offset += 1
      switch byte {
      case UInt8(ascii: "\n"): line += 1
      case UInt8(ascii: "{"): depth += 1
      case UInt8(ascii: "}"):
        depth -= 1
        if depth == 0 { return }
      case UInt8(ascii: "#"):
        while offset < bytes.count, bytes[offset] != UInt8(ascii: "\n") { offset += 1 }
      case UInt8(ascii: "\""):
        if let close = closingQuote() { offset = close + 1 }
      default: break
      }
    }
    throw fault(
      "the file ends inside the skip section that begins in line \(from)", advice: "Add the missing '}'")
  }

  /// Where the string that begins before `offset` closes, if it does so in its line.
  private func closingQuote() -> Int? {
    var at = offset
    while at < bytes.count, bytes[at] != UInt8(ascii: "\n") {
      if bytes[at] == UInt8(ascii: "\"") { return at }
      at += bytes[at] == UInt8(ascii: "\\") ? 2 : 1
    }
    return nil
  }

  private mutating func skipBlanksAndComments() {
    while offset < bytes.count {
      switch bytes[offset] {
      case UInt8(ascii: "\n"): line += 1
      case UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\r"): break
      case UInt8(ascii: "#"):
        while offset + 1 < bytes.count, bytes[offset + 1] != UInt8(ascii: "\n") { offset += 1 }
      default: return
      }
      offset += 1
    }
  }

  private mutating func word() throws(ConfigurationError) -> Token {
    let start = offset
    while offset < bytes.count, Self.isWord(bytes[offset]) { offset += 1 }
    guard offset - start <= Self.longestWord else {
      throw fault(
        "a word of \(offset - start) characters is longer than \(Self.longestWord)",
        advice: "Put long text in double quotes (at most \(Self.longestString) characters)")
    }
    return Token(kind: .word, text: String(decoding: bytes[start..<offset], as: UTF8.self), line: line)
  }

  private mutating func quoted() throws(ConfigurationError) -> Token {
    offset += 1
    var text: [UInt8] = []
    while offset < bytes.count, bytes[offset] != UInt8(ascii: "\n") {
      var byte = bytes[offset]
      offset += 1
      if byte == UInt8(ascii: "\"") {
        return Token(kind: .quoted, text: String(decoding: text, as: UTF8.self), line: line)
      }
      if byte == UInt8(ascii: "\\"), offset < bytes.count, bytes[offset] != UInt8(ascii: "\n") {
        byte = bytes[offset]
        offset += 1
      }
      text.append(byte)
      guard text.count <= Self.longestString else {
        throw fault(
          "a quoted string is longer than \(Self.longestString) characters", advice: "Is a closing quote missing?")
      }
    }
    throw fault("a quoted string has no closing quote in its line", advice: "Add the missing '\"'")
  }

  private func fault(_ message: String, advice: String) -> ConfigurationError {
    ConfigurationError(.syntax, at: SourcePosition(file: file, line: line), message, advice: advice)
  }

  static func isWord(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "/"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: "-"):
      true
    default: false
    }
  }

  private static func shown(_ byte: UInt8) -> String {
    if byte > 0x20, byte < 0x7f { return "'\(UnicodeScalar(byte))'" }
    let digits = Array("0123456789abcdef")
    return "0x\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
  }

  /// Text from a file, made safe and short for a terminal.
  static func printable(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars.prefix(60) {
      result.unicodeScalars.append(scalar.value < 0x20 || scalar.value == 0x7f ? "?" : scalar)
    }
    return text.unicodeScalars.count > 60 ? result + "..." : result
  }
}
