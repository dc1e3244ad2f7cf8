// A terminal of a test: a pseudo-terminal with a program on it, and the screen that a person would see. Law: a line that would wrap
// or a screen that would scroll while it is drawn by positions is noticed.
import Foundation
import Glibc

final class Pty {
  private let master: Int32
  private let slave: String
  private let process = Process()
  private(set) var child: pid_t = 0
  /// All that was written.
  private(set) var text = ""
  private(set) var columns: Int
  private(set) var rows: Int

  /// `setsid` makes the terminal the controlling one: signals of keys and of a new size arrive.
  init(
    _ program: String, _ arguments: [String], environment: [String: String], columns: Int = 80, rows: Int = 24
  ) throws {
    self.columns = columns
    self.rows = rows
    master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
    var locked: Int32 = 0
    var number: UInt32 = 0
    // TIOCSPTLCK and TIOCGPTN, which Glibc's module does not have.
    guard master >= 0, ioctl(master, 0x4004_5431, &locked) == 0, ioctl(master, 0x8004_5430, &number) == 0 else {
      throw Timeout(description: "there is no pseudo-terminal")
    }
    slave = "/dev/pts/\(number)"
    _ = fcntl(master, F_SETFL, O_NONBLOCK)
    resize(columns: columns, rows: rows)
    let descriptor = open(slave, O_RDWR | O_NOCTTY | O_CLOEXEC)
    guard descriptor >= 0 else { throw Timeout(description: "\(slave) cannot be opened") }
    let end = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    process.executableURL = URL(filePath: "/usr/bin/setsid")
    process.arguments = ["--ctty", "--wait", program] + arguments
    process.environment = environment
    process.standardInput = end
    process.standardOutput = end
    process.standardError = end
    try process.run()
    child = try Pty.program(begunBy: process.processIdentifier)
  }

  deinit {
    end()
    if master >= 0, !isHungUp { close(master) }
  }

  private var isHungUp = false

  /// The terminal goes away, as when a connection breaks.
  func hangUp() {
    isHungUp = true
    close(master)
  }

  func resize(columns: Int, rows: Int) {
    self.columns = columns
    self.rows = rows
    var size = winsize(ws_row: UInt16(rows), ws_col: UInt16(columns), ws_xpixel: 0, ws_ypixel: 0)
    _ = ioctl(master, UInt(TIOCSWINSZ), &size)
  }

  func type(_ keys: String) {
    let bytes = Array(keys.utf8)
    _ = write(master, bytes, bytes.count)
  }

  /// Takes what was written since.
  func listen() {
    guard !isHungUp else { return }
    var bytes = [UInt8](repeating: 0, count: 65536)
    while true {
      let got = read(master, &bytes, bytes.count)
      guard got > 0 else { return }
      text += String(decoding: bytes[..<got], as: UTF8.self)
    }
  }

  /// Forgets what was written: what is seen next was written later.
  func forget() {
    listen()
    text = ""
  }

  func sees(_ part: String) throws {
    do {
      try until("'\(part)' on the terminal") {
        listen()
        return text.contains(part)
      }
    } catch { throw Timeout(description: "\(error); there is:\n\(text.debugDescription)") }
  }

  /// The screen shows this line.
  func shows(_ line: String) throws {
    do {
      try until("the line '\(line)'") {
        listen()
        return Screen(text, columns, rows).lines.contains(line)
      }
    } catch { throw Timeout(description: "\(error); the screen is:\n\(screen.lines.joined(separator: "\n"))") }
  }

  var screen: Screen { Screen(text, columns, rows) }

  /// Canonical input with echo: what a shell's user expects.
  var isCooked: Bool {
    var state = termios()
    guard tcgetattr(master, &state) == 0 else { return false }
    return state.c_lflag & tcflag_t(ICANON) != 0 && state.c_lflag & tcflag_t(ECHO) != 0
  }

  var isRunning: Bool { process.isRunning }

  /// The program itself: `setsid` begins it in a process of its own and waits for it.
  private static func program(begunBy setsid: pid_t) throws -> pid_t {
    var found = setsid
    try until("setsid begins the program") {
      guard FileManager.default.contents(atPath: "/proc/\(setsid)/comm") == Data("setsid\n".utf8) else { return true }
      let data = FileManager.default.contents(atPath: "/proc/\(setsid)/task/\(setsid)/children") ?? Data()
      guard let child = String(decoding: data, as: UTF8.self).split(separator: " ").first.flatMap({ pid_t($0) }) else {
        return false
      }
      found = child
      return true
    }
    return found
  }

  func code() throws -> Int32 {
    try until("the program ends") {
      listen()
      return !process.isRunning
    }
    listen()
    return process.terminationStatus
  }

  func end() {
    guard process.isRunning else { return }
    if child > 0 { kill(child, SIGKILL) }
    if child != process.processIdentifier { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
  }
}

/// What the sequences leave on the screen: those that the monitor uses.
struct Screen {
  private var cells: [[Character]]
  private var row = 0
  private var column = 0
  private let columns: Int
  private let rows: Int
  /// The other screen, without the lines that the shell has written.
  private(set) var isAlternate = false
  private(set) var hidesCursor = false
  /// A line went over the last column, or the screen scrolled, while the other screen was shown.
  private(set) var overflowed = false

  init(_ text: String, _ columns: Int, _ rows: Int) {
    self.columns = columns
    self.rows = rows
    cells = Array(repeating: Array(repeating: " ", count: columns), count: rows)
    var rest = Array(text.unicodeScalars)[...]
    while let scalar = rest.popFirst() {
      switch scalar {
      case "\u{1B}": sequence(&rest)
      case "\r": column = 0
      case "\n": lineFeed()
      case "\u{8}": column = max(0, column - 1)
      case _ where scalar.value < 32: break
      default: put(Character(scalar))
      }
    }
  }

  var lines: [String] {
    cells.map { row in
      var text = String(row)
      while text.last == " " { text.removeLast() }
      return text
    }
  }

  private mutating func put(_ character: Character) {
    if column == columns {
      if isAlternate { overflowed = true }
      column = 0
      lineFeed()
    }
    cells[row][column] = character
    column += 1
  }

  private mutating func lineFeed() {
    if row + 1 < rows {
      row += 1
    } else {
      if isAlternate { overflowed = true }
      cells.removeFirst()
      cells.append(Array(repeating: " ", count: columns))
    }
  }

  private mutating func sequence(_ rest: inout ArraySlice<Unicode.Scalar>) {
    guard rest.first == "[" else { return }
    rest.removeFirst()
    var arguments = ""
    while let scalar = rest.popFirst() {
      guard scalar.value >= 0x40, scalar.value < 0x7F else {
        arguments.unicodeScalars.append(scalar)
        continue
      }
      switch (scalar, arguments) {
      case ("H", ""): (row, column) = (0, 0)
      // Behind a full line the cursor stands on the last column.
      case ("K", ""): for i in min(column, columns - 1)..<columns { cells[row][i] = " " }
      case ("J", ""):
        for i in min(column, columns - 1)..<columns { cells[row][i] = " " }
        for i in (row + 1)..<max(row + 1, rows) { cells[i] = Array(repeating: " ", count: columns) }
      case ("h", "?1049"), ("l", "?1049"):
        isAlternate = scalar == "h"
        cells = Array(repeating: Array(repeating: " ", count: columns), count: rows)
        (row, column) = (0, 0)
      case ("h", "?25"), ("l", "?25"): hidesCursor = scalar == "l"
      default: break
      }
      return
    }
  }
}
