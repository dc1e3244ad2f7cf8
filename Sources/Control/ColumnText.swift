// Lines of `status`: words joined by a blank, broken before a word that would pass the last column, with the continuation
// indented by four more blanks (admin spec 5.1, rule 12).

struct ColumnText {
  private(set) var text = ""
  private let columns: Int
  private var indent = 0
  private var column = 0

  init(columns: Int) { self.columns = columns }

  /// Begins a line. Words that do not fit continue four blanks further right.
  mutating func line(indent: Int) {
    endLine()
    self.indent = indent
    put(blanks: indent)
  }

  /// Goes on in a new line, at the indent of a continuation, when something stands on this one already.
  mutating func continuation() {
    guard column > 0 else { return }
    endLine()
    put(blanks: indent + 4)
  }

  mutating func word(_ word: String) {
    let length = word.unicodeScalars.count
    let atStart = column == 0 || isBlank
    if !atStart, column + 1 + length > columns { continuation() }
    if !(column == 0 || isBlank) {
      text += " "
      column += 1
    }
    text += word
    column += length
    isBlank = false
  }

  mutating func endLine() {
    guard column > 0 else { return }
    text += "\n"
    column = 0
    isBlank = true
  }

  mutating func emptyLine() {
    endLine()
    text += "\n"
  }

  /// Only the indent stands on the line so far.
  private var isBlank = true

  private mutating func put(blanks: Int) {
    text += String(repeating: " ", count: blanks)
    column = blanks
    isBlank = true
  }
}
