// The picture as it fits a terminal: a line on top, as much of the resources as there is room for, the keys at the bottom; or the
// help. Law: never more lines than the terminal has.

public struct MonitorScreen: Sendable {
  public var columns: Int
  public var rows: Int
  public var host: String
  /// What else a person has to know, such as a file that cannot be read.
  public var note: String?
  public var showsHelp = false
  /// The first line of the resources that is shown.
  public var top = 0

  public init(columns: Int, rows: Int, host: String) {
    self.columns = max(1, columns)
    self.rows = max(1, rows)
    self.host = host
  }

  /// Lines between the first and the last.
  public var room: Int { max(0, rows - 2 - (note == nil ? 0 : 1)) }

  public static let help = [
    "Keys", "", "  q, ^C         quit", "  h, ?          this help; any key goes back",
    "  ^Z            stop; fg goes on",
    "  up, down      scroll a line (k, j)", "  blank, b      scroll a screen (PgDn, PgUp)",
    "  g, G          first, last line (Home, End)",
    "  r, ^L         draw anew", "",
    "Rates and latencies are those since the last picture. ms: mean time of requests; p99: 99 of 100 took less.",
    "write: mean time of each stage; disk and peer run side by side.",
    "  queue  until its blocks are free", "  log    until the activity log covers them", "  disk   local write",
    "  send   until the kernel has the bytes", "  peer   from then until the peer's acknowledgement",
    "  ack    from both done until the answer",
  ]

  /// All lines, the top one first; moves `top` to where there is something.
  public mutating func lines(_ resources: [MonitoredResource], clock: String) -> [MonitorLine] {
    let text = MonitorText(width: columns)
    let all = showsHelp ? MonitorScreen.help.flatMap(broken).map { MonitorLine($0) } : text.lines(resources)
    if showsHelp { return framed(all, 0, resources, clock) }
    top = min(max(0, top), max(0, all.count - room))
    return framed(all, top, resources, clock)
  }

  private func framed(
    _ all: [MonitorLine], _ first: Int, _ resources: [MonitoredResource], _ clock: String
  ) -> [MonitorLine] {
    var head = MonitorLine("repl \(Product.version)  \(host)  ", .title)
    let summary = MonitorText.summary(resources)
    head.add(summary.text, summary.tone)
    let gap = columns - head.text.count - clock.count
    if gap > 0 { head.add(String(repeating: " ", count: gap) + clock) }
    guard rows > 1 else { return [head] }
    let shown = all.dropFirst(first).prefix(room)
    var lines = [head]
    if rows > 2, let note { lines.append(MonitorLine(note, .busy)) }
    lines += shown
    lines += Array(repeating: MonitorLine(), count: max(0, room - shown.count))
    var foot = "q quit  h help"
    if all.count > room {
      foot += "  up/down scroll: \(first + 1) to \(first + shown.count) of \(all.count) lines"
    }
    lines.append(MonitorLine(foot, .title))
    return Array(lines.prefix(rows))
  }

  /// Words that do not fit the terminal go to a line of their own.
  private func broken(_ text: String) -> [String] {
    guard text.count > columns else { return [text] }
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty, line.count + 1 + word.count > columns {
        lines.append(line)
        line = ""
      }
      line += (line.isEmpty ? "" : " ") + word
    }
    return lines + [line]
  }
}
