// Finds the keyword that was probably meant. Only near ones are offered: a wrong guess is worse than none.

enum NearMiss {
  /// The candidate closest to `word`, if it is close enough to be a slip of the fingers.
  static func of(_ word: String, among candidates: [String]) -> String? {
    let length = word.utf8.count
    guard length > 0, length <= 64 else { return nil }
    let allowed = length <= 3 ? 1 : length <= 7 ? 2 : 3
    var best: (distance: Int, word: String)?
    for candidate in candidates where candidate != word {
      let distance = distance(Array(word.utf8), Array(candidate.utf8))
      if distance <= allowed, distance < (best?.distance ?? .max) { best = (distance, candidate) }
    }
    return best?.word
  }

  /// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
  static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
    var before = [Int](repeating: 0, count: b.count + 1)
    var above = Array(0...b.count)
    for i in 1...a.count {
      var row = [i] + [Int](repeating: 0, count: b.count)
      for j in 1...b.count {
        let replaced = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)
        row[j] = min(above[j] + 1, row[j - 1] + 1, replaced)
        if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { row[j] = min(row[j], before[j - 2] + 1) }
      }
      before = above
      above = row
    }
    return above[b.count]
  }
}
