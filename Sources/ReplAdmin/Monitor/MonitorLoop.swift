// The monitor at a terminal: asks, draws, and does what is typed, until it is told to quit, the time is over or the terminal is gone.
import BlockIO
import Control
import Glibc

struct MonitorLoop: ~Copyable {
  /// The resources of the file; nil: all that run.
  let configured: [String]?
  /// Those that were named: nothing else is shown.
  let isNamed: Bool
  let files: RunFiles
  let limit: Deadline?
  private var terminal: Terminal
  private var screen: MonitorScreen
  private var questions: MonitorQuestions
  private var keys = MonitorKeys()
  private var end: End?

  enum End: Equatable {
    case quit
    case signal(Int32)
    case timeIsOver
    case terminalIsGone
  }

  init(
    configured: [String]?, isNamed: Bool, files: RunFiles, host: String, note: String?, limit: Deadline?,
    environment: [String: String]
  ) throws(Errno) {
    self.configured = configured
    self.isNamed = isNamed
    self.files = files
    self.limit = limit
    terminal = try Terminal(environment: environment)
    let size = terminal.size
    screen = MonitorScreen(columns: size.columns, rows: size.rows, host: host)
    screen.note = note
    questions = MonitorQuestions(files: files)
  }

  mutating func run() -> End {
    terminal.enter()
    var next = Deadline(after: 0)
    /// A picture goes out when all have answered, or a moment later without those that have not.
    var due: Deadline?
    while end == nil {
      if next.hasPassed {
        next = Deadline(after: 1)
        due = Deadline(after: 0.3)
        let running = isNamed ? [] : RunningResources.names(files)
        questions.ask(configured: Set(configured ?? []), running: Set(running))
      }
      questions.hear()
      if let moment = due, questions.isAnswered || moment.hasPassed {
        due = nil
        draw()
      }
      if limit?.hasPassed == true { end = .timeIsOver }
      if end == nil { wait(until: [next, due, limit].compactMap { $0 }) }
    }
    terminal.leave()
    return end ?? .quit
  }

  private mutating func wait(until deadlines: [Deadline]) {
    let pause = deadlines.map(\.pollMilliseconds).filter { $0 >= 0 }.min() ?? 1000
    var entries = questions.descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
    entries.append(pollfd(fd: terminal.signals.descriptor, events: Int16(POLLIN), revents: 0))
    entries.append(pollfd(fd: STDOUT_FILENO, events: 0, revents: 0))
    entries.append(pollfd(fd: terminal.input ?? -1, events: Int16(POLLIN), revents: 0))
    guard poll(&entries, nfds_t(entries.count), pause) > 0 else { return }
    if entries[entries.count - 2].revents != 0 { end = .terminalIsGone }
    if entries[entries.count - 1].revents != 0 {
      if let bytes = terminal.typed() {
        for key in keys.keys(bytes) where end == nil { press(key) }
      } else {
        end = .terminalIsGone
      }
    }
    while end == nil, let number = terminal.signals.next() { receive(number) }
  }

  private mutating func receive(_ number: Int32) {
    switch number {
    case SIGTSTP:
      terminal.stop()
      resized()
    case SIGCONT:
      // After a SIGSTOP, which no program sees, the shell has taken the terminal.
      terminal.enter()
      resized()
    case SIGWINCH: resized()
    default: end = .signal(number)
    }
  }

  private mutating func resized() {
    let size = terminal.size
    screen.columns = size.columns
    screen.rows = size.rows
    draw()
  }

  private mutating func press(_ key: MonitorKey) {
    if key == .quit {
      end = .quit
      return
    }
    if screen.showsHelp {
      screen.showsHelp = false
      draw()
      return
    }
    switch key {
    case .help: screen.showsHelp = true
    case .up: screen.top -= 1
    case .down: screen.top += 1
    case .pageUp: screen.top -= max(1, screen.room)
    case .pageDown: screen.top += max(1, screen.room)
    case .first: screen.top = 0
    case .last: screen.top = .max
    case .redraw, .quit: break
    case .other: return
    }
    draw()
  }

  private mutating func draw() {
    let lines = screen.lines(Array(questions.resources.values), clock: MonitorLoop.clock())
    var text = ""
    if terminal.isAddressable {
      text = "\u{1B}[H"
      for (i, line) in lines.enumerated() {
        text += line.rendered(width: screen.columns, colours: terminal.hasColours)
        // Behind a full line the cursor still stands on its last column, which would be erased.
        if line.text.unicodeScalars.count < screen.columns { text += "\u{1B}[K" }
        // A last line without a line end: nothing scrolls.
        if i + 1 < lines.count { text += "\r\n" }
      }
    } else {
      text = lines.map { $0.rendered(width: screen.columns, colours: false) + "\n" }.joined()
    }
    if !terminal.write(text) { end = .terminalIsGone }
  }

  /// `02:50:11`.
  static func clock() -> String {
    var moment = time(nil)
    var local = tm()
    localtime_r(&moment, &local)
    var text = [CChar](repeating: 0, count: 16)
    let length = strftime(&text, text.count, "%H:%M:%S", &local)
    return String(decoding: text[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
