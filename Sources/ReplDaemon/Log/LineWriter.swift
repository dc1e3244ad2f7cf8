// The end of standard error that lines are written to. Laws: a reader that does not read, a full disk and a full journal
// never stop the thread; a line that was cut is finished before the next one begins; what found no room is counted, and the
// count is written as soon as there is room. The log file of the run directory is cut when it has grown: memory is what
// it lies in.
import BlockIO
import Glibc

struct LineWriter {
  /// The log file keeps its last part when it has grown to this size.
  static let fileMax = 4 << 20
  static let fileKept = 1 << 20

  private enum Way {
    /// `isOurs`: opened by `repladm up`, so that it can be read and cut.
    case file(isOurs: Bool)
    case socket
    /// A pipe or a terminal, opened a second time: not to block is then this program's own affair.
    case opened(Int32)
    /// One that could not be opened a second time.
    case polled
  }

  private let descriptor: Int32
  private let way: Way
  private var unfinished: [UInt8] = []
  private(set) var lost = 0

  init(descriptor: Int32) {
    self.descriptor = descriptor
    var status = stat()
    let kind = fstat(descriptor, &status) == 0 ? status.st_mode & S_IFMT : 0
    switch kind {
    case S_IFREG:
      let flags = StandardError.flags(descriptor)
      way = .file(isOurs: flags & O_APPEND != 0 && flags & O_ACCMODE == O_RDWR)
    case S_IFSOCK: way = .socket
    default:
      way = StandardError.openedAgain(descriptor).map { .opened($0) } ?? .polled
    }
  }

  /// Something is left to be said, as soon as there is room.
  var isBehind: Bool { lost > 0 || !unfinished.isEmpty }

  mutating func lose() { lost += 1 }

  mutating func put(_ line: [UInt8]) {
    let count = write(line[...])
    if count == 0 { lost += 1 } else if count < line.count { unfinished = Array(line[count...]) }
    if case .file(isOurs: true) = way { cut() }
  }

  /// False: there is no room for it yet.
  mutating func finishLine() -> Bool {
    if unfinished.isEmpty { return true }
    unfinished.removeFirst(write(unfinished[...]))
    return unfinished.isEmpty
  }

  /// The line that says how many were lost.
  mutating func report(_ line: [UInt8]) -> Bool {
    let count = write(line[...])
    guard count > 0 else { return false }
    lost = 0
    if count < line.count { unfinished = Array(line[count...]) }
    return unfinished.isEmpty
  }

  /// How many bytes found room.
  private func write(_ bytes: ArraySlice<UInt8>) -> Int {
    bytes.withUnsafeBytes { bytes in
      while true {
        let count: Int
        switch way {
        case .file: count = Glibc.write(descriptor, bytes.baseAddress, bytes.count)
        case .socket:
          count = send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
        case .opened(let own): count = Glibc.write(own, bytes.baseAddress, bytes.count)
        case .polled:
          var room = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
          guard poll(&room, 1, 0) == 1, room.revents & Int16(POLLOUT) != 0 else { return 0 }
          count = Glibc.write(descriptor, bytes.baseAddress, bytes.count)
        }
        if count < 0, errno == EINTR { continue }
        return max(0, count)
      }
    }
  }

  private mutating func cut() {
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_size > off_t(LineWriter.fileMax) else { return }
    var kept = [UInt8](repeating: 0, count: LineWriter.fileKept)
    let got = pread(descriptor, &kept, kept.count, status.st_size - off_t(kept.count))
    guard got > 0, ftruncate(descriptor, 0) == 0 else { return }
    let whole = kept[..<got].firstIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    put(Array("repld: the log had grown to \(LineWriter.fileMax >> 20) MiB: earlier lines were removed\n".utf8))
    put(Array(kept[whole..<got]))
  }
}
