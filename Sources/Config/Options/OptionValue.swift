// The text of one value to its meaning, checked against the option's row.

public enum OptionValue: Sendable, Equatable {
  case flag(Bool)
  /// In the option's unit.
  case number(UInt64)
  case word(String)
  case words([String])
}

/// Why a value is not allowed.
struct OptionFault: Error, Equatable {
  var why: String
  var suggestion: String?
}

extension OptionValue {
  init(_ text: String, for option: OptionDefinition) throws(OptionFault) {
    switch option.type {
    case .boolean:
      guard text == "yes" || text == "no" else { throw OptionFault(why: "Value is not 'yes' or 'no'") }
      self = .flag(text == "yes")
    case .number(let range, let unit):
      let value = try Self.number(text, unit)
      if value < range.lowerBound { throw OptionFault(why: "Value is too small. Allowed: \(option.allowed)") }
      if value > range.upperBound { throw OptionFault(why: "Value is too big. Allowed: \(option.allowed)") }
      self = .number(value)
    case .clampedNumber(let range, let unit):
      self = .number(min(max(try Self.number(text, unit), range.lowerBound), range.upperBound))
    case .choice(let words):
      guard words.contains(text) else { throw Self.notAmong(words, text) }
      self = .word(text)
    case .letter(let letters):
      guard letters.contains(text.uppercased()) else { throw Self.notAmong(letters, text) }
      self = .word(text.uppercased())
    case .discardPolicy(let words):
      let namesNode = text.hasPrefix("discard-node-") && text.utf8.count > 13
      guard namesNode || words.contains(text) else { throw Self.notAmong(words, text) }
      self = .word(text)
    case .votes(let range):
      if ["off", "majority", "all"].contains(text) {
        self = .word(text)
        return
      }
      let value = try Self.number(text, .plain)
      guard range.contains(value) else {
        throw OptionFault(
          why: "Value is too \(value < range.lowerBound ? "small" : "big"). Allowed: \(option.allowed)")
      }
      self = .number(value)
    case .text(let longest):
      guard text.utf8.count <= longest else { throw OptionFault(why: "Value is too long. Max len: \(longest)") }
      self = .word(text)
    case .resyncAfter, .hosts:
      self = .words(text.split(separator: " ").map(String.init))
    }
  }

  /// Digits with an optional `K M G` (either case) or `s`; the result is in `unit`, rounded down.
  static func number(_ text: String, _ unit: OptionUnit) throws(OptionFault) -> UInt64 {
    let notNumber = OptionFault(why: "Value is not a number (digits, then perhaps K, M, G or s)")
    guard let last = text.utf8.last else { throw notNumber }
    let multiplier: UInt64? =
      switch last {
      case UInt8(ascii: "K"), UInt8(ascii: "k"): 1 << 10
      case UInt8(ascii: "M"), UInt8(ascii: "m"): 1 << 20
      case UInt8(ascii: "G"), UInt8(ascii: "g"): 1 << 30
      case UInt8(ascii: "s"): 512
      default: nil
      }
    let digits = multiplier == nil ? text[...] : text.dropLast()
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }) else { throw notNumber }
    guard let count = UInt64(digits) else { throw OptionFault(why: "Value is too big") }
    let (bytes, overflow) = count.multipliedReportingOverflow(by: multiplier ?? unit.bytes)
    guard !overflow else { throw OptionFault(why: "Value is too big") }
    return bytes / unit.bytes
  }

  private static func notAmong(_ words: [String], _ text: String) -> OptionFault {
    OptionFault(
      why: "Value is not valid. Allowed values are: \(words.joined(separator: " | "))",
      suggestion: NearMiss.of(text, among: words))
  }
}

/// An option as somebody wrote it.
public struct OptionSetting: Sendable, Equatable {
  public var definition: OptionDefinition
  public var value: OptionValue
  /// As written, for `dump`.
  public var text: String
  public var position: SourcePosition

  public var name: String { definition.name }
}
