// Pieces of a manual page in roff.
import Control

enum Roff {
  static func head(_ name: String, section: Int, _ abstract: String) -> String {
    ".TH \(escaped(name.uppercased())) \(section) \"\" \"repl \(Product.version)\" "
      + "\"\(section == 5 ? "File Formats" : "System Administration")\"\n"
      + ".SH NAME\n\(escaped(name)) \\- \(escaped(abstract))\n"
  }

  /// Each text a paragraph; an empty line within a text begins another one.
  static func paragraphs(_ texts: [String]) -> String {
    texts.flatMap { $0.split(separator: "\n\n") }.map { escaped(String($0)) + "\n" }.joined(separator: ".PP\n")
  }

  static func seeAlso(_ pages: [String]) -> String {
    ".SH SEE ALSO\n" + pages.map { ".BR \(escaped($0))" }.joined(separator: ",\n") + "\n"
  }

  /// Backslashes and dashes mean something to roff; so do a dot and a quote at the start of a line.
  static func escaped(_ text: String) -> String {
    text.replacing("\\", with: "\\e").replacing("-", with: "\\-")
      .split(separator: "\n", omittingEmptySubsequences: false)
      .map { $0.hasPrefix(".") || $0.hasPrefix("'") ? "\\&\($0)" : String($0) }.joined(separator: "\n")
  }
}
