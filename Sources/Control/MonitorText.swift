// The picture that `monitor` shows: from the state of all resources, now and a moment ago, to lines of spans. Plain values, so that a
// test sees what a terminal sees. Laws: no line is longer than the terminal is wide; every state is a word, a colour only repeats it;
// nothing that a peer or a file has named reaches the terminal as a control character.
import Base

/// A resource as the monitor knows it.
public struct MonitoredResource: Equatable, Sendable {
  public enum Standing: Equatable, Sendable {
    case asked
    case running(StatusSnapshot)
    case notRunning
    /// Why it could not be asked: one sentence.
    case failed(String)
  }
  public var name: String
  public var standing: Standing
  /// An earlier picture, and how many seconds before the present one it was taken: for rates.
  public var earlier: StatusSnapshot?
  public var seconds = 0.0

  public init(_ name: String, _ standing: Standing, earlier: StatusSnapshot? = nil, seconds: Double = 0) {
    self.name = name
    self.standing = standing
    self.earlier = earlier
    self.seconds = seconds
  }
}

/// What a span of text says: colours follow from it.
public enum MonitorTone: Equatable, Sendable { case plain, title, good, busy, bad }

public struct MonitorLine: Equatable, Sendable {
  public var spans: [(text: String, tone: MonitorTone)] = []

  public init() {}
  public init(_ text: String, _ tone: MonitorTone = .plain) { add(text, tone) }

  public mutating func add(_ text: String, _ tone: MonitorTone = .plain) {
    spans.append((String(String.UnicodeScalarView(text.unicodeScalars.map { $0.isPrintable ? $0 : "?" })), tone))
  }

  public static func == (a: MonitorLine, b: MonitorLine) -> Bool {
    a.spans.elementsEqual(b.spans) { $0.text == $1.text && $0.tone == $1.tone }
  }

  public var text: String { spans.map(\.text).joined() }

  /// As it is written to a terminal, at most so wide; `colours`: by the sequences of ECMA-48.
  public func rendered(width: Int, colours: Bool) -> String {
    var room = width
    var line = ""
    for (text, tone) in spans where room > 0 {
      let shown = text.unicodeScalars.count <= room ? text : String(text.unicodeScalars.prefix(room))
      room -= shown.unicodeScalars.count
      line += colours && tone != .plain ? tone.sequence + shown + "\u{1B}[0m" : shown
    }
    return line
  }
}

extension MonitorTone {
  fileprivate var sequence: String {
    switch self {
    case .plain: ""
    case .title: "\u{1B}[1m"
    case .good: "\u{1B}[32m"
    case .busy: "\u{1B}[33m"
    case .bad: "\u{1B}[1;31m"
    }
  }
}

extension Unicode.Scalar {
  /// One column of a terminal, and no control character.
  fileprivate var isPrintable: Bool { value >= 0x20 && value < 0x7f }
}

public struct MonitorText: Sendable {
  public var width: Int

  public init(width: Int) { self.width = max(20, width) }

  /// The paragraphs of all resources.
  public func lines(_ resources: [MonitoredResource]) -> [MonitorLine] {
    guard !resources.isEmpty else {
      return [MonitorLine("No resource is configured or runs on this host: see repladm help up.")]
    }
    return Array(resources.sorted { $0.name < $1.name }.map(paragraph).joined(separator: [MonitorLine()]))
  }

  /// "3 resources, 1 not as it should be".
  public static func summary(_ resources: [MonitoredResource]) -> (text: String, tone: MonitorTone) {
    let wrong = resources.count { !$0.isInOrder }
    let many = "\(resources.count) resource\(resources.count == 1 ? "" : "s")"
    if resources.contains(where: { $0.standing == .asked }) { return (many, .plain) }
    return wrong == 0 ? ("\(many), in order", .good) : ("\(many), \(wrong) not in order", .bad)
  }

  private func paragraph(_ resource: MonitoredResource) -> [MonitorLine] {
    var head = MonitorLine(resource.name, .title)
    switch resource.standing {
    case .asked:
      head.add("  being asked")
      return [head]
    case .notRunning:
      head.add("  repld does not run: repladm up \(resource.name)", .bad)
      return [head]
    case .failed(let why):
      head.add("  \(why)", .bad)
      return [head]
    case .running(let snapshot):
      head.add("  \(snapshot.role.name)", .title)
      if snapshot.isSuspended { head.add("  I/O suspended: \(snapshot.suspendedWords)", .bad) }
      var lines = [head]
      for device in snapshot.devices.sorted(by: { $0.volume < $1.volume }) {
        lines += self.device(device, resource.earlierDevice(device.volume), resource.seconds)
      }
      for connection in snapshot.connections.sorted(by: { $0.name < $1.name }) {
        lines += self.connection(connection, resource)
      }
      return lines
    }
  }

  // MARK: a volume

  private func device(_ device: DeviceStatus, _ earlier: DeviceStatus?, _ seconds: Double) -> [MonitorLine] {
    var line = MonitorLine("  \(device.volume.value) \(device.devicePaths?.first ?? "minor \(device.minor)")  ")
    line.add(device.disk.name, device.disk.tone(isClient: device.isClient))
    if !device.hasQuorum { line.add("  no quorum", .bad) }
    line.add("  \(size(device.size))")
    if device.isOpen { line.add("  in use") }
    let rates =
      "read \(rate(device.read, earlier?.read, seconds))  write \(rate(device.written, earlier?.written, seconds))"
    return fitted(line, rates, indent: 4) + latencies(device, earlier)
  }

  /// Of the requests since the earlier picture; nothing when there was none.
  private func latencies(_ device: DeviceStatus, _ earlier: DeviceStatus?) -> [MonitorLine] {
    guard let now = device.latencies, let before = earlier?.latencies else { return [] }
    func recent(_ stage: LatencyStage) -> LatencyCounts {
      (now[stage.name] ?? LatencyCounts()).since(before[stage.name] ?? LatencyCounts())
    }
    let requests = LatencyStage.ofARequest.filter { recent($0).total > 0 }
    guard !requests.isEmpty else { return [] }
    var lines = [
      MonitorLine(
        "    ms:  "
          + requests.map { request in
            let counts = recent(request)
            let most = counts.bound(ofPart: 0.99).map { "p99 <\(decimalsAsNeeded($0 * 1000))" } ?? "p99 >10000"
            return "\(request.name) \(milliseconds(counts.mean)) (\(most))"
          }.joined(separator: "  "))
    ]
    if requests.contains(.write) {
      let stages = LatencyStage.ofAWrite.filter { recent($0).total > 0 }
      lines.append(
        MonitorLine(
          "    write:  "
            + stages.map { "\($0.shortName) \(milliseconds(recent($0).mean))" }.joined(separator: "  ")))
    }
    return lines
  }

  /// `0.25`, `10`.
  private func decimalsAsNeeded(_ value: Double) -> String {
    var text = fixed(value, decimals: 2)
    while text.last == "0" { text.removeLast() }
    if text.last == "." { text.removeLast() }
    return text
  }

  private func milliseconds(_ seconds: Double?) -> String {
    guard let seconds else { return "-" }
    let value = seconds * 1000
    return fixed(value, decimals: value < 10 ? 2 : value < 100 ? 1 : 0)
  }

  // MARK: a connection

  private func connection(_ connection: ConnectionStatus, _ resource: MonitoredResource) -> [MonitorLine] {
    var head = MonitorLine("  \(connection.name)  ")
    let isConnected = connection.state >= .connected
    head.add(connection.state.connectionName, isConnected ? .good : connection.state == .standAlone ? .bad : .busy)
    if isConnected { head.add("  \(connection.peerRole.name)") }
    if let letter = connection.protocolLetter, isConnected { head.add("  protocol \(letter)") }
    if connection.isCongested { head.add("  congested", .busy) }
    var lines = [head]
    if let why = connection.refusedBecause { lines.append(MonitorLine("    given up: \(why)", .bad)) }
    if let why = connection.cannotListen { lines.append(MonitorLine("    cannot listen: \(why)", .bad)) }
    let before = resource.earlier?.connections.first { $0.name == connection.name }
    for peer in connection.peerDevices.sorted(by: { $0.volume < $1.volume }) {
      let earlier = before?.peerDevices.first { $0.volume == peer.volume }
      lines += peerDevice(peer, earlier, resource.seconds, isConnected: isConnected)
    }
    return lines
  }

  private func peerDevice(
    _ peer: PeerDeviceStatus, _ earlier: PeerDeviceStatus?, _ seconds: Double, isConnected: Bool
  ) -> [MonitorLine] {
    var line = MonitorLine("    \(peer.volume.value) ")
    if isConnected {
      line.add(peer.replication.replicationName, peer.replication == .connected ? .good : .busy)
      line.add("  ")
      line.add(peer.peerDisk.name, peer.peerDisk.tone(isClient: peer.isPeerClient))
    } else {
      line.add("peer's disk \(peer.peerDisk.name)")
    }
    line.add("  out of sync ")
    line.add(size(peer.outOfSync), peer.outOfSync == 0 ? .plain : .busy)
    if peer.isResyncSuspended { line.add("  resync paused: \(peer.resyncSuspendedWords)", .busy) }
    var lines = [line]
    if isConnected {
      let rates =
        "sent \(rate(peer.sent, earlier?.sent, seconds))  received \(rate(peer.received, earlier?.received, seconds))"
      lines = fitted(line, rates, indent: 6)
    }
    guard peer.resync != nil else { return lines }
    return lines + [MonitorLine(peer.progressLine("     ", width: width - 1), .busy)]
  }

  /// On the same line, or on one of its own where the terminal ends before.
  private func fitted(_ line: MonitorLine, _ more: String, indent: Int) -> [MonitorLine] {
    guard line.text.count + 2 + more.count <= width else {
      return [line, MonitorLine(String(repeating: " ", count: indent) + more)]
    }
    var line = line
    line.add("  " + more)
    return [line]
  }

  // MARK: numbers

  private func size(_ kibibytes: UInt64) -> String { amount(Double(kibibytes)) }

  /// KiB of two pictures as an amount for each second; `-` before there are two.
  private func rate(_ now: UInt64, _ earlier: UInt64?, _ seconds: Double) -> String {
    guard let earlier, seconds > 0 else { return "-" }
    return amount(now >= earlier ? Double(now - earlier) / seconds : 0) + "/s"
  }

  private func amount(_ kibibytes: Double) -> String {
    var value = kibibytes
    for unit in ["KiB", "MiB", "GiB"] {
      if value < 1000 { return fixed(value, decimals: value < 10 && value > 0 ? 1 : 0) + " " + unit }
      value /= 1024
    }
    return fixed(value, decimals: value < 10 ? 1 : 0) + " TiB"
  }
}

extension DiskState {
  fileprivate func tone(isClient: Bool) -> MonitorTone {
    switch self {
    case .upToDate: .good
    case .diskless where isClient: .plain
    case .diskless, .failed: .bad
    default: .busy
    }
  }
}

extension LatencyStage {
  fileprivate var shortName: String {
    switch self {
    case .activityLog: "log"
    case .localWrite: "disk"
    case .acknowledgement: "ack"
    default: name
    }
  }
}

extension MonitoredResource {
  fileprivate func earlierDevice(_ volume: VolumeNumber) -> DeviceStatus? {
    earlier?.devices.first { $0.volume == volume }
  }

  /// Two connected nodes whose disks are UpToDate, and I/O that goes on.
  var isInOrder: Bool {
    guard case .running(let r) = standing else { return false }
    if r.isSuspended { return false }
    if r.devices.contains(where: { ($0.disk != .upToDate && !$0.isClient) || !$0.hasQuorum }) { return false }
    return r.connections.allSatisfy { connection in
      connection.state >= .connected
        && connection.peerDevices.allSatisfy { $0.peerDisk == .upToDate || $0.isPeerClient }
    }
  }
}
