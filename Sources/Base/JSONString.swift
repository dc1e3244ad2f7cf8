// Text inside the quotes of a JSON string. The texts around it are written where they are laid out, as DRBD's tools lay them out.

extension String {
  /// Quotes, backslashes and control characters escaped (RFC 8259 section 7); without the quotes around it.
  public var escapedForJSON: String {
    var result = ""
    for scalar in unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case _ where scalar.value < 0x20:
        result += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
