// What is typed at the picture. Keys that a terminal sends as sequences come whole or in parts; parts are kept until the next read.

enum MonitorKey: Equatable {
  case quit, help, redraw
  case up, down, pageUp, pageDown, first, last
  case other
}

struct MonitorKeys {
  private var rest: [UInt8] = []

  /// The keys in what was read. ESC alone is a key when nothing follows it in the same read.
  mutating func keys(_ bytes: [UInt8]) -> [MonitorKey] {
    var text = (rest + bytes)[...]
    rest = []
    var keys: [MonitorKey] = []
    while let byte = text.first {
      if byte == 0x1B, text.count > 1, let second = text.dropFirst().first, second == 0x5B || second == 0x4F {
        // ESC [ or ESC O, digits, and the byte that ends it.
        guard let end = text.dropFirst(2).firstIndex(where: { $0 >= 0x40 && $0 < 0x7F }) else {
          rest = Array(text.prefix(16))
          return keys
        }
        keys.append(MonitorKeys.sequence(String(decoding: text[(text.startIndex + 2)...end], as: UTF8.self)))
        text = text[(end + 1)...]
      } else {
        keys.append(MonitorKeys.single(byte))
        text = text.dropFirst()
      }
    }
    return keys
  }

  private static func single(_ byte: UInt8) -> MonitorKey {
    switch byte {
    // ^C and ^D, too, where the terminal does not make signals of them.
    case UInt8(ascii: "q"), UInt8(ascii: "Q"), 3, 4: .quit
    case UInt8(ascii: "h"), UInt8(ascii: "?"): .help
    case UInt8(ascii: "r"), 12: .redraw
    case UInt8(ascii: "k"): .up
    case UInt8(ascii: "j"), 10, 13: .down
    case UInt8(ascii: "b"): .pageUp
    case UInt8(ascii: " "): .pageDown
    case UInt8(ascii: "g"): .first
    case UInt8(ascii: "G"): .last
    default: .other
    }
  }

  private static func sequence(_ text: String) -> MonitorKey {
    switch text {
    case "A": .up
    case "B": .down
    case "5~": .pageUp
    case "6~": .pageDown
    case "H", "1~", "7~": .first
    case "F", "4~", "8~": .last
    default: .other
    }
  }
}
