// Where the program speaks and is spoken to. Everything printed goes through here, so that tests can listen and a command
// knows whether a person or a script reads it.
import Glibc

public struct Console {
  public var out: (String) -> Void
  public var err: (String) -> Void
  /// One line of input without its end; nil at the end of input.
  public var readLine: () -> String?
  public var inputIsTerminal: Bool
  public var outputIsTerminal: Bool
  /// Width of the terminal; 80 when there is none.
  public var columns: Int

  public init(
    out: @escaping (String) -> Void, err: @escaping (String) -> Void, readLine: @escaping () -> String? = { nil },
    inputIsTerminal: Bool = false, outputIsTerminal: Bool = false, columns: Int = 80
  ) {
    self.out = out
    self.err = err
    self.readLine = readLine
    self.inputIsTerminal = inputIsTerminal
    self.outputIsTerminal = outputIsTerminal
    self.columns = columns
  }

  /// The process's own streams.
  public static func standard() -> Console {
    Console(
      out: { write($0, to: STDOUT_FILENO) }, err: { write($0, to: STDERR_FILENO) },
      readLine: { Swift.readLine(strippingNewline: true) }, inputIsTerminal: isatty(STDIN_FILENO) == 1,
      outputIsTerminal: isatty(STDOUT_FILENO) == 1, columns: terminalColumns())
  }

  /// Asks for the word `yes`. Without a terminal the answer is no; `forced` answers yes (metadata spec 5).
  func confirm(_ question: String, forced: Bool) -> Bool {
    err("\n\(question)\n")
    if forced {
      err("*** confirmation forced via --force option ***\n")
      return true
    }
    guard inputIsTerminal else {
      err("stdin not a TTY, not waiting for confirmation\n")
      return false
    }
    err("[need to type 'yes' to confirm] ")
    let answer = readLine()
    err("\n")
    return answer == "yes"
  }

  private static func write(_ text: String, to descriptor: Int32) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let written = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if written < 0, errno == EINTR { continue }
      // A reader that has gone away is its own business; the exit code still tells the truth.
      guard written > 0 else { return }
      rest = rest.dropFirst(written)
    }
  }

  private static func terminalColumns() -> Int {
    var size = winsize()
    if ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 { return Int(size.ws_col) }
    if let text = getenv("COLUMNS"), let columns = Int(String(cString: text)), columns > 0 { return columns }
    return 80
  }
}
