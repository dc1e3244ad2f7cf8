// Generation identifiers as one line of text: what `get-gi` prints, `show-gi` explains and `set-gi` takes (metadata
// spec 5.3). The order of the fields is DRBD's.
import Base

/// A field behind the four generations.
private enum GenerationFlag {
  case device(DeviceFlags)
  case peer(PeerFlags)
}

extension Superblock {
  private static let flagsV08: [(flag: GenerationFlag, meaning: String)] = [
    (.device(.consistent), "the data are consistent"),
    (.device(.wasUpToDate), "the data were up to date"),
    (.device(.primaryIndicator), "this node was Primary"),
    (.device(.connectedIndicator), "the peer was connected"),
    (.device(.fullSync), "all bits of the bitmap were being set"),
    (.device(.peerOutdated), "the peer's disk was outdated or inconsistent"),
    (.device(.crashedPrimary), "crashed as Primary, not in sync with a peer since"),
  ]

  private static let flagsV09: [(flag: GenerationFlag, meaning: String)] = [
    (.device(.consistent), "the data are consistent"),
    (.device(.wasUpToDate), "the data were up to date"),
    (.device(.primaryIndicator), "this node was Primary"),
    (.device(.crashedPrimary), "crashed as Primary, not in sync with a peer since"),
    (.device(.alClean), "the activity log is applied, attach is allowed"),
    (.device(.alDisabled), "the activity log was switched off"),
    (.device(.primaryLostQuorum), "lost quorum while Primary"),
    (.peer(.connected), "the peer was connected"),
    (.peer(.outdated), "the peer's disk was outdated or inconsistent"),
    (.peer(.fencing), "fencing was configured towards the peer"),
    (.peer(.fullSync), "all bits of the peer's slot were being set"),
    (.peer(.seen), "the peer has been seen with a disk"),
  ]

  private var generationFlags: [(flag: GenerationFlag, meaning: String)] {
    format == .v08 ? Superblock.flagsV08 : Superblock.flagsV09
  }

  private func has(_ flag: GenerationFlag, _ peerNode: Int) -> Bool {
    switch flag {
    case .device(let f): flags.contains(f)
    case .peer(let f): peerFlags(peerNode: peerNode).contains(f)
    }
  }

  private mutating func put(_ flag: GenerationFlag, _ value: Bool, _ peerNode: Int) {
    switch flag {
    case .device(let f): if value { flags.insert(f) } else { flags.remove(f) }
    case .peer(let f):
      var all = peerFlags(peerNode: peerNode)
      if value { all.insert(f) } else { all.remove(f) }
      setPeerFlags(all, peerNode: peerNode)
    }
  }

  /// The line of `get-gi`. v08 has one peer and ignores the node id.
  public func generationLine(peerNode: Int) -> String {
    let g = generations(peerNode: peerNode)
    let uuids = [g.current, g.bitmap, g.history0, g.history1].map(hex)
    let bits = generationFlags.map { has($0.flag, peerNode) ? "1" : "0" }
    return (uuids + bits).joined(separator: ":")
  }

  /// The text of `show-gi`: the same line with a legend above and below.
  public func generationLegend(peerNode: Int) -> String {
    let columns = [7, 24, 41, 58]
    let names = [
      "current generation of the data", "generation the bitmap counts from", "younger history", "older history",
    ]
    var text = "\n"
    func bars(_ count: Int) -> String {
      var line = ""
      for column in columns.prefix(count) { line += String(repeating: " ", count: column - line.utf8.count) + "|" }
      return line
    }
    for i in 0..<4 {
      let line = bars(i)
      text += line + String(repeating: " ", count: columns[i] - line.utf8.count) + "+--<  \(names[i])  >-\n"
    }
    text += bars(4).replacing("|", with: "V") + "\n" + generationLine(peerNode: peerNode) + "\n"
    let list = generationFlags
    text += String(repeating: " ", count: 68) + list.map { _ in "^" }.joined(separator: " ") + "\n"
    for (i, item) in list.enumerated() {
      let label = "-<  \(item.meaning)  >--+"
      text += String(repeating: " ", count: max(0, 69 + 2 * i - label.utf8.count)) + label
      text += String(repeating: " |", count: list.count - 1 - i) + "\n"
    }
    return text + "\n" + summary
  }

  /// What `show-gi` says in words.
  private var summary: String {
    var text = ""
    if format == .v08 {
      text += "flags:\(flags.contains(.crashedPrimary) ? " crashed" : "")"
      text += flags.contains(.primaryIndicator) ? " Primary" : " Secondary"
      text += flags.contains(.connectedIndicator) ? ", Connected" : ", StandAlone"
      if !flags.contains(.consistent) {
        text += ", Inconsistent"
      } else {
        text += flags.contains(.wasUpToDate) ? ", UpToDate" : ", Outdated"
      }
      if flags.contains(.fullSync) { text += ", need full sync" }
      if flags.contains(.peerOutdated) { text += ", peer Outdated" }
      text += "\nmeta-data: \(isClean ? "clean" : "need apply-al")\n"
    }
    guard effectiveSize.value > 0 else { return text + "zero size device -- never seen peer yet?\n" }
    text += "last agreed size: \(Size.short(kib: effectiveSize.value / 2)) (\(effectiveSize.value) sectors)\n"
    return text + "last agreed max bio size: \(peerMaxBioSize) Byte\n"
  }

  /// Takes over what a `set-gi` line says. Empty fields keep their value; the line may stop early.
  public mutating func setGenerations(line: String, peerNode: Int) throws(MetaFault) {
    let fields = line.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    let list = generationFlags
    // A colon at the end stands for no further field.
    let count = fields.last == "" ? fields.count - 1 : fields.count
    guard count <= 4 + list.count else {
      throw .generationSyntax(field: 5 + list.count, text: fields[4 + list.count])
    }
    var changed = self
    var g = generations(peerNode: peerNode)
    for (i, field) in fields.prefix(count).enumerated() where !field.isEmpty {
      if i < 4 {
        guard field.utf8.count <= 16, field.utf8.first != UInt8(ascii: "+"), let value = UInt64(field, radix: 16) else {
          throw .generationSyntax(field: i + 1, text: field)
        }
        switch i {
        case 0: g.current = value
        case 1: g.bitmap = value
        case 2: g.history0 = value
        default: g.history1 = value
        }
      } else {
        guard field == "0" || field == "1" else { throw .generationSyntax(field: i + 1, text: field) }
        changed.put(list[i - 4].flag, field == "1", peerNode)
      }
    }
    changed.replaceGenerations(
      current: g.current, bitmap: g.bitmap, history0: g.history0, history1: g.history1, peerNode: peerNode)
    self = changed
  }
}
