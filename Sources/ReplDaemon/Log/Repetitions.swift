// What keeps the log from growing as fast as a peer or a client can provoke lines: a line that comes again and again is
// written a few times and then counted, and the count is written when its time is over; lines of many kinds are bounded in
// sum. Law: memory is a table of fixed size, and nothing is left out without a number that says so.
import Base
import Logging

struct Repetitions {
  struct Line: Equatable {
    var level: Logger.Level
    var text: String
  }

  private struct Entry {
    var line: Line
    var until: Instant
    var written: Int
    var counted: Int
  }

  /// How often the same line is written within the window.
  static let writtenMax = 8
  static let window = Interval.seconds(10)
  /// Different lines that are remembered.
  static let places = 64
  /// Lines of all kinds: so many at once, then so many a second.
  static let burst = 4000
  static let perSecond = 20

  private var entries: [Entry] = []
  private var credit = Repetitions.burst
  private var creditAt: Instant
  private var withheld = 0
  private var withheldUntil: Instant
  /// When `due` has something.
  private(set) var deadline: Instant?

  init(at now: Instant) {
    creditAt = now
    withheldUntil = now
    entries.reserveCapacity(Repetitions.places)
  }

  /// Whether the line is to be written. Ask for what is `due` before.
  mutating func admits(_ text: String, _ level: Logger.Level, at now: Instant) -> Bool {
    let line = Line(level: level, text: text)
    if let i = entries.firstIndex(where: { $0.line == line }) {
      if now >= entries[i].until {
        entries[i] = Entry(line: line, until: now + Repetitions.window, written: 0, counted: 0)
      }
      guard entries[i].written < Repetitions.writtenMax else {
        entries[i].counted += 1
        if deadline == nil || entries[i].until < deadline! { deadline = entries[i].until }
        return false
      }
      entries[i].written += 1
    } else {
      remember(line, at: now)
    }
    return pays(at: now)
  }

  /// A line that is counted keeps its place; else the oldest goes.
  private mutating func remember(_ line: Line, at now: Instant) {
    let entry = Entry(line: line, until: now + Repetitions.window, written: 1, counted: 0)
    if entries.count < Repetitions.places { return entries.append(entry) }
    var oldest: Int?
    for i in entries.indices where entries[i].counted == 0 {
      if oldest == nil || entries[i].until < entries[oldest!].until { oldest = i }
    }
    // None: every one of them is being counted, and the sum of all lines bounds this one.
    if let oldest { entries[oldest] = entry }
  }

  private mutating func pays(at now: Instant) -> Bool {
    let gained = (now - creditAt).nanoseconds / (1_000_000_000 / UInt64(Repetitions.perSecond))
    if gained > 0 {
      credit = min(Repetitions.burst, credit + Int(clamping: gained))
      creditAt = now
    }
    guard credit > 0 else {
      if withheld == 0 { withheldUntil = now + Repetitions.window }
      withheld += 1
      if deadline == nil || withheldUntil < deadline! { deadline = withheldUntil }
      return false
    }
    credit -= 1
    return true
  }

  private func nextDeadline() -> Instant? {
    var next = withheld > 0 ? withheldUntil : nil
    for entry in entries where entry.counted > 0 && (next == nil || entry.until < next!) { next = entry.until }
    return next
  }

  /// What is to be said about the lines that were not written. A line that goes on is counted on.
  mutating func due(at now: Instant) -> [Line] {
    var lines: [Line] = []
    for i in entries.indices where entries[i].counted > 0 && now >= entries[i].until {
      lines.append(Repetitions.summary(entries[i]))
      entries[i].counted = 0
      entries[i].until = now + Repetitions.window
    }
    if withheld > 0, now >= withheldUntil { lines.append(takeWithheld()) }
    deadline = nextDeadline()
    return lines
  }

  mutating func takeAll() -> [Line] {
    var lines: [Line] = []
    for i in entries.indices where entries[i].counted > 0 {
      lines.append(Repetitions.summary(entries[i]))
      entries[i].counted = 0
    }
    if withheld > 0 { lines.append(takeWithheld()) }
    deadline = nil
    return lines
  }

  private mutating func takeWithheld() -> Line {
    defer { withheld = 0 }
    return Line(
      level: .warning,
      text: "\(withheld) lines were not written: more than \(Repetitions.perSecond) a second for too long")
  }

  private static func summary(_ entry: Entry) -> Line {
    Line(level: entry.line.level, text: "\(entry.line.text) (came \(entry.counted) times more)")
  }
}
