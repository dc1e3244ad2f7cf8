// The lines of a followed `events2 --timestamps`, and what of them is the same in every run of a story: which fields a line has
// and in which order, and through which states everything goes.

struct EventLines {
  /// Without their times.
  let lines: [String]

  init(_ lines: [String]) {
    self.lines = lines.map { $0.first?.isNumber == true ? String($0.drop { $0 != " " }.dropFirst()) : $0 }
  }

  /// `change device name volume minor backing_dev disk client quorum`.
  static func form(_ line: String) -> String {
    line.split(separator: " ").map { $0.prefix { $0 != ":" } }.joined(separator: " ")
  }

  var forms: Set<String> { Set(lines.map(EventLines.form)) }

  /// Whether a line of this form was recorded. Changes that come at once may share a line: then its fields are some of those of a
  /// whole object, in their order.
  static func isKnown(_ line: String, among forms: Set<String>) -> Bool {
    let form = form(line)
    if forms.contains(form) { return true }
    let words = form.split(separator: " ")
    guard words.count > 2, words[0] == "change" else { return false }
    return forms.contains { whole in
      let fields = whole.split(separator: " ")
      guard fields.count > 2, fields[0] == "exists", fields[1] == words[1] else { return false }
      var rest = fields[2...]
      for word in words.dropFirst(2) {
        guard let at = rest.firstIndex(of: word) else { return false }
        rest = rest[(at + 1)...]
      }
      return true
    }
  }

  static let states = [
    ("resource", "role"), ("connection", "connection"), ("connection", "role"), ("device", "disk"),
    ("peer-device", "replication"), ("peer-device", "peer-disk"),
  ]

  /// States on the way to another one, which a reader may miss or which only one of both drivers has.
  private static let passing: Set<String> = [
    "Unconnected", "Disconnecting", "TearDown", "NetworkFailure", "BrokenPipe", "Timeout", "Attaching", "Detaching",
    "Failed", "Negotiating", "Consistent", "WFBitMapS", "WFBitMapT", "WFSyncUUID",
  ]

  /// The values that a field had, one after the other.
  func lasting(_ field: String, of object: String) -> [String] {
    var values: [String] = []
    for line in lines {
      let words = line.split(separator: " ")
      guard words.count > 2, words[1] == object,
        let word = words.dropFirst(2).first(where: { $0.hasPrefix(field + ":") })
      else { continue }
      let value = String(word.dropFirst(field.count + 1))
      if values.last != value, !EventLines.passing.contains(value) { values.append(value) }
    }
    return values
  }
}
