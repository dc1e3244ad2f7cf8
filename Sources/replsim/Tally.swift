// What a run has seen: how many lives, and which of them broke a law. Written as one word, so that it survives an engine
// that ends the process at a precondition.
struct Tally {
  var lives: UInt64 = 0
  var events = 0
  var failures: [(seed: UInt64, law: String)] = []

  init() {}

  init(_ word: String) {
    for (i, part) in word.split(separator: ";", omittingEmptySubsequences: true).enumerated() {
      let pair = part.split(separator: ":", maxSplits: 1)
      guard pair.count == 2, let number = UInt64(pair[0]) else { continue }
      if i == 0 {
        lives = number
        events = Int(pair[1]) ?? 0
      } else {
        failures.append((number, String(pair[1])))
      }
    }
  }

  var word: String {
    var text = "\(lives):\(events)"
    for failure in failures { text += ";\(failure.seed):\(Self.kind(failure.law))" }
    return text
  }

  /// A law without its numbers and names, so that equal failures count as one.
  static func kind(_ law: String) -> String {
    var text = ""
    for word in law.prefix(70).split(separator: " ") {
      let plain = word.contains(where: \.isNumber) ? "N" : word == "alpha" || word == "beta" ? "a node" : String(word)
      text += (text.isEmpty ? "" : " ") + plain.filter { $0 != ";" && $0 != ":" }
    }
    return text
  }

  /// Every kind of failure with its seeds, the most frequent first.
  var summary: String {
    var kinds: [(name: String, seeds: [UInt64])] = []
    for failure in failures {
      let name = Self.kind(failure.law)
      if let i = kinds.firstIndex(where: { $0.name == name }) {
        kinds[i].seeds.append(failure.seed)
      } else {
        kinds.append((name, [failure.seed]))
      }
    }
    kinds.sort { $0.seeds.count > $1.seeds.count }
    return kinds.map { kind in
      "\(kind.seeds.count) x \(kind.name): seeds \(kind.seeds.prefix(12).map(String.init).joined(separator: " "))"
        + (kind.seeds.count > 12 ? " ..." : "")
    }.joined(separator: "\n")
  }
}
