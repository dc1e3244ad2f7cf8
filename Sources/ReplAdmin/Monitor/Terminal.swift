// The terminal while a picture is on it: keys one by one, the other screen, no cursor. The sequences are those that every terminal
// since the VT100 knows, and a terminal without them (TERM=dumb) gets plain lines; a library of terminals is not needed for that,
// and repladm stays a program that a rescue system can run. Laws: signals are read from a descriptor, so that the terminal is as it was
// before the process stops or ends; what is written goes out whole or the terminal is gone.
import BlockIO
import Glibc

struct Terminal: ~Copyable {
  /// Moves its cursor; a dumb one gets picture after picture.
  let isAddressable: Bool
  let hasColours: Bool
  let signals: SignalQueue
  private let keysAreRead: Bool
  private var original = termios()
  private var isEntered = false
  private static let watched = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH]

  init(environment: [String: String]) throws(Errno) {
    let kind = environment["TERM"] ?? ""
    isAddressable = !kind.isEmpty && kind != "dumb"
    hasColours = isAddressable && (environment["NO_COLOR"] ?? "").isEmpty && !kind.hasPrefix("vt")
    var saved = termios()
    keysAreRead = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &saved) == 0
    original = saved
    signals = try SignalQueue(Terminal.watched)
  }

  deinit { if isEntered { restore() } }

  /// Nil: nothing is typed here.
  var input: Int32? { keysAreRead ? STDIN_FILENO : nil }

  var size: (columns: Int, rows: Int) {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return (80, 24) }
    return (Int(size.ws_col), Int(size.ws_row))
  }

  mutating func enter() {
    if keysAreRead {
      var raw = original
      raw.c_lflag &= ~tcflag_t(ICANON | ECHO)
      withUnsafeMutableBytes(of: &raw.c_cc) {
        $0[Int(VMIN)] = 1
        $0[Int(VTIME)] = 0
      }
      tcsetattr(STDIN_FILENO, TCSADRAIN, &raw)
    }
    if isAddressable { _ = write("\u{1B}[?1049h\u{1B}[?25l") }
    isEntered = true
  }

  /// Idempotent: as it was before `enter`.
  mutating func leave() {
    guard isEntered else { return }
    isEntered = false
    restore()
  }

  private func restore() {
    if isAddressable { _ = write("\u{1B}[0m\u{1B}[?25h\u{1B}[?1049l") }
    if keysAreRead {
      var saved = original
      tcsetattr(STDIN_FILENO, TCSADRAIN, &saved)
    }
  }

  /// As ^Z does for a program that does not watch it; returns when the shell lets it go on.
  mutating func stop() {
    leave()
    signals.yield(to: SIGTSTP)
    enter()
  }

  /// What was typed, as far as it is there; nil: the terminal is gone.
  func typed() -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: 64)
    let got = read(STDIN_FILENO, &bytes, bytes.count)
    if got > 0 { return Array(bytes[..<got]) }
    return got < 0 && (errno == EINTR || errno == EAGAIN) ? [] : nil
  }

  /// False: the terminal is gone.
  func write(_ text: String) -> Bool {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { Glibc.write(STDOUT_FILENO, $0.baseAddress, $0.count) }
      if written > 0 {
        rest = rest.dropFirst(written)
      } else if errno == EAGAIN {
        var entry = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
        poll(&entry, 1, -1)
      } else if errno != EINTR {
        return false
      }
    }
    return true
  }
}
