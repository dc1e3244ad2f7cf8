// Pairs what the recorded kernels logged about a comparison of generations (slots of both, result, rule, what followed)
// with the packets that led to it (flags, roles, disks, policies, who holds resolve_conflicts).
import Base
import Engine
import Foundation
import Protocol

struct RecordedComparison {
  var input: GenerationInput
  let line: String
  let result: Int
  let rule: Int
  /// Connection states that the log names next, of this volume or of the connection.
  var outcomes: [String] = []
  var full = false
  /// Slots after rules 34, 35, 51 and 71.
  var correctedOwn: [UInt64]?
  var correctedPeer: [UInt64]?
}

struct RecordedScenario {
  let directory: URL
  var name: String { "\(directory.deletingLastPathComponent().lastPathComponent)/\(directory.lastPathComponent)" }
  /// The comparison of DRBD 9 has other words and other rules.
  var kernel84Nodes: [String] {
    if !name.hasPrefix("wire9/") { return ["alpha", "beta"] }
    // From 09 on `beta` is this project's own daemon, and has no kernel log.
    return FileManager.default.fileExists(atPath: directory.appending(path: "kernel-beta.log").path) ? ["beta"] : []
  }

  static func all() throws -> [RecordedScenario] {
    let fixtures = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Fixtures")
    return try ["wire", "wire9"].flatMap { part in
      let folder = fixtures.appending(path: part)
      return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        .map { RecordedScenario(directory: folder.appending(path: $0)) }
        .filter { FileManager.default.fileExists(atPath: $0.directory.appending(path: "packets.txt").path) }
    }
  }

  private func lines(_ file: String) throws -> [Substring] {
    try String(contentsOf: directory.appending(path: file), encoding: .utf8).split(separator: "\n")
  }

  func loggedComparisons(of node: String) throws -> Int {
    try lines("kernel-\(node).log").count { $0.contains("uuid_compare()=") }
  }

  // MARK: Packets

  /// One packet of a data socket, as far as packets.txt prints it.
  private struct Listed {
    let at: Int
    let fromAlpha: Bool
    let name: Substring
    let payload: String
    func word(_ i: Int) -> UInt32 { UInt32(payload.dropFirst(i * 8).prefix(8), radix: 16)! }
    func long(_ i: Int) -> UInt64 { UInt64(payload.dropFirst(i * 16).prefix(16), radix: 16)! }

    var identifiers: GenerationIdentifiers {
      var slots = GenerationIdentifiers()
      slots.current = long(0)
      slots.bitmap = long(1)
      slots.history0 = long(2)
      slots.history1 = long(3)
      slots.dirtyBits = long(4)
      slots.flags = .init(rawValue: long(5))
      return slots
    }
    var state: PackedState { PackedState(word: word(0)) }
  }

  private struct Link {
    var packets: [Listed]
    let alphaResolvesConflicts: Bool
    let version: UInt32
    let features: FeatureFlags
  }

  private func links() throws -> [Link] {
    struct Life {
      var opened = 0
      var byAlpha = false
      var ended = Int.max
      var packets: [Listed] = []
      var features: [Listed] { packets.filter { $0.name == "P_CONNECTION_FEATURES" } }
    }
    var lives: [String: Life] = [:]
    for (at, line) in try lines("packets.txt").enumerated() {
      let fields = line.split(separator: " ")
      guard fields.count >= 4, Double(fields[0]) != nil, let dash = fields[1].firstIndex(of: "-"),
        dash == fields[1].index(fields[1].startIndex, offsetBy: 2)
      else { continue }
      let connection = String(fields[1])
      if fields[2] == "----" {
        lives[connection] = Life(opened: at, byAlpha: fields[3] == "alpha")
      } else if fields[3] == "FIN" || fields[3] == "RST" {
        if lives[connection]!.ended == .max { lives[connection]!.ended = at }
      } else if connection.hasSuffix("-data"), fields.count > 8 {
        let payload = fields[8...].filter { $0 != "..." }.joined()
        lives[connection]!.packets.append(
          Listed(at: at, fromAlpha: fields[2] == "a2b", name: fields[5], payload: payload))
      }
    }
    let used = lives.filter { $0.value.features.count == 2 }.values.sorted { $0.opened < $1.opened }
    return used.map { life in
      let features = life.features
      let agreedAt = features[1].at
      let meta = lives.filter { $0.key.hasSuffix("-meta") && $0.value.opened < agreedAt && $0.value.ended > agreedAt }
        .values.max { $0.opened < $1.opened }!
      return Link(
        packets: life.packets, alphaResolvesConflicts: !meta.byAlpha,
        version: min(features[0].word(2), features[1].word(2)),
        features: FeatureFlags(rawValue: features[0].word(1) & features[1].word(1)))
    }
  }

  // MARK: Log

  private struct Logged {
    let minor: Substring
    var own: [UInt64] = []
    var peer: [UInt64] = []
    var correctedOwn: [UInt64]?
    var correctedPeer: [UInt64]?
    var peerFlags: UInt64 = 0
    var line = ""
    var result = 0
    var rule = 0
    var outcomes: [String] = []
    var full = false
  }

  /// The comparisons after each completed handshake.
  private func logged(_ node: String) throws -> (links: [[Logged]], fromBoot: Bool) {
    var links: [[Logged]] = []
    let lines = try lines("kernel-\(node).log")
    for line in lines {
      guard let bracket = line.firstIndex(of: "]") else { continue }
      var words = line[line.index(after: bracket)...].split(separator: " ")
      // Kernel 6.12 writes "drbd r0/0 drbd0:" where earlier ones write "block drbd0:".
      if words.count > 2, words[0] == "drbd", words[1].contains("/") { words = ["block"] + words[2...] }
      if line.contains("Handshake successful") { links.append([]) }
      guard !links.isEmpty, words.count > 2 else { continue }
      let last = links.count - 1
      if words[0] == "block", words[2] == "drbd_sync_handshake:" {
        links[last].append(Logged(minor: words[1]))
      } else if words[0] == "block", words[2] == "self" || words[2] == "peer", words.count == 6,
        let i = links[last].lastIndex(where: { $0.minor == words[1] })
      {
        let slots =
          words[3].split(separator: ":").map { UInt64($0, radix: 16)! } + [UInt64(words[4].dropFirst(5))!]
        // Printed a second time after a correction.
        switch (words[2], links[last][i].own.isEmpty, links[last][i].peer.isEmpty) {
        case ("self", true, _): links[last][i].own = slots
        case ("self", false, _): links[last][i].correctedOwn = slots
        case (_, _, false): links[last][i].correctedPeer = slots
        default:
          links[last][i].peer = slots
          links[last][i].peerFlags = UInt64(words[5].dropFirst(6), radix: 16)!
        }
      } else if words[0] == "block", words[2].hasPrefix("uuid_compare()="),
        let i = links[last].lastIndex(where: { $0.minor == words[1] })
      {
        links[last][i].line = words[2...].joined(separator: " ")
        links[last][i].result = Int(words[2].dropFirst("uuid_compare()=".count))!
        links[last][i].rule = Int(words[5])!
      } else if let i = links[last].lastIndex(where: { words[0] == "drbd" || $0.minor == words[1] }),
        links[last][i].rule > 0, links[last][i].outcomes.isEmpty
      {
        if line.contains("full sync required after drbd_sync_handshake") { links[last][i].full = true }
        if let conn = words.firstIndex(of: "conn("), words.count > conn + 3 {
          links[last][i].outcomes.append(String(words[conn + 3]))
        }
      }
    }
    return (links, lines.first?.contains("Linux version") ?? false)
  }

  // MARK: Both

  func comparisons(of node: String) throws -> [RecordedComparison] {
    let isAlpha = node == "alpha"
    let logged = try logged(node)
    var links = try links()
    // The log of a node that lost power begins with its next boot.
    if logged.fromBoot { links = links.suffix(logged.links.count) }
    guard logged.links.count == links.count else { return [] }
    var found: [RecordedComparison] = []
    for (log, link) in zip(logged.links, links) {
      var pending = log[...]
      var peerIdentifiers: Listed?
      for packet in link.packets where packet.fromAlpha != isAlpha {
        if packet.name == "P_UUIDS" { peerIdentifiers = packet }
        guard packet.name == "P_STATE", let peer = peerIdentifiers, let next = pending.first else { continue }
        let identifiers = peer.identifiers
        guard identifiers.slots == next.peer, identifiers.flags.rawValue == next.peerFlags else { continue }
        let sent = link.packets.filter { $0.fromAlpha == isAlpha }
        let candidates = sent.filter { $0.name == "P_UUIDS" && $0.identifiers.slots == next.own }
        guard let own = candidates.last(where: { $0.at < packet.at }) ?? candidates.first else { continue }
        let states = sent.filter { $0.name == "P_STATE" }
        guard let ownState = states.first(where: { $0.at > own.at }) ?? states.last else { continue }
        pending = pending.dropFirst()
        peerIdentifiers = nil
        let offer = sent.first { $0.name == "P_PROTOCOL" }!
        var input = GenerationInput()
        input.own = own.identifiers
        input.peer = identifiers
        input.ownRole = ownState.state.role
        input.peerRole = packet.state.role
        input.ownDisk = real(ownState.state.disk, input.own)
        input.ownDiskNegotiating = ownState.state.disk == .negotiating
        input.peerDisk = real(packet.state.disk, input.peer)
        input.resolveConflicts = link.alphaResolvesConflicts == isAlpha
        input.version = link.version
        input.features = link.features
        input.discardMyData = offer.word(4) & 1 != 0
        input.afterSplitBrain0 = SplitBrainPolicy(rawValue: offer.word(1))!
        input.afterSplitBrain1 = SplitBrainPolicy(rawValue: offer.word(2))!
        input.afterSplitBrain2 = SplitBrainPolicy(rawValue: offer.word(3))!
        found.append(
          RecordedComparison(
            input: input, line: next.line, result: next.result, rule: next.rule, outcomes: next.outcomes,
            full: next.full, correctedOwn: next.correctedOwn, correctedPeer: next.correctedPeer))
      }
    }
    return found
  }

  private func real(_ disk: DiskState, _ identifiers: GenerationIdentifiers) -> DiskState {
    guard disk == .negotiating else { return disk }
    return identifiers.flags.contains(.inconsistent) ? .inconsistent : .consistent
  }
}

extension GenerationIdentifiers {
  /// As the log prints them: four slots and the dirty bits.
  var slots: [UInt64] { [current, bitmap, history0, history1, dirtyBits] }
}
