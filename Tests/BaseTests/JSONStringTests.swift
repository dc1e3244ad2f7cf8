// The escape that every JSON text of the tools goes through.
import Testing

@testable import Base

@Suite("Text inside a JSON string")
struct JSONStringTests {
  @Test("quotes, backslashes and control characters are escaped, everything else stays")
  func escapes() {
    #expect("a\"b\\c".escapedForJSON == "a\\\"b\\\\c")
    #expect("\u{1}\n\u{1f}".escapedForJSON == "\\u0001\\u000a\\u001f")
    #expect("/dev/ä€".escapedForJSON == "/dev/ä€")
  }
}
