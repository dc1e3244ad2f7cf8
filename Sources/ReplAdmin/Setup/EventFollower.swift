// `events2`: what every daemon of this host is, then whatever happens to it (admin spec 5.3). Daemons come and go while it
// runs: a resource that appears is created, one whose daemon ends is destroyed. Laws: the dump ends with `exists -`; all lines
// of one change have one timestamp; it ends when nobody reads.
import Control
import FoundationEssentials
import Glibc

struct EventFollower: ~Copyable {
  struct Options {
    var text: EventText
    var timestamps = false
    /// Dump and stop.
    var now = false
    /// An `n` on stdin asks for a comparison with how things are.
    var poll = false
    /// Nil: every resource.
    var resource: String?
    /// Of the whole command; nil: as long as the lines are read.
    var limit: Deadline?
  }

  private final class Followed {
    var client: ControlClient
    /// As it was shown last; nil before the first line.
    var shown: StatusSnapshot?
    init(_ client: consuming ControlClient) { self.client = client }
  }

  private let options: Options
  private let files: RunFiles
  private let console: Console
  private var followed: [String: Followed] = [:]
  private var stdinIsOpen: Bool
  /// How soon a daemon that was started is noticed.
  private static let rescanMilliseconds: Int32 = 200

  init(_ options: Options, files: RunFiles, console: Console) {
    self.options = options
    self.files = files
    self.console = console
    stdinIsOpen = options.poll
  }

  /// Returns for `--now`, at the end of the limit, and when the reader has closed the output.
  mutating func run() throws(Refusal) -> Int32 {
    if options.now {
      for name in names {
        let daemon = DaemonProcess(name, files: files)
        guard daemon.isRunning else { continue }
        say(options.text.existing(try daemon.status(deadline: patience)))
      }
      say([EventText.endOfDump])
      return 0
    }
    for name in names {
      guard let snapshot = follow(name) else { continue }
      say(options.text.existing(snapshot))
    }
    say([EventText.endOfDump])
    while waitForNews() {
      if options.limit?.hasPassed == true {
        throw Refusal(
          "events2 ended after \(patience.text)", next: "leave --timeout out to go on", exitCode: 5)
      }
      for name in followed.keys.sorted() { hear(name) }
      for name in names where followed[name] == nil {
        if let snapshot = follow(name) { say(options.text.changes(from: nil, to: snapshot)) }
      }
    }
    return 0
  }

  /// For the answer of a daemon.
  private var patience: Deadline { options.limit ?? Deadline(after: 10) }

  /// The resources that may have a daemon.
  private var names: [String] { options.resource.map { [$0] } ?? RunningResources.names(files) }

  // MARK: Following

  /// Begins to follow a daemon; its state, or nil when there is none (yet).
  private mutating func follow(_ name: String) -> StatusSnapshot? {
    let deadline = patience
    do throws(ControlFault) {
      var client = try ControlClient(connecting: files.socket(of: name, for: .watch), deadline: deadline)
      try client.send(Request(.watch), deadline: deadline)
      guard case .progress(let snapshot) = try client.reply(deadline: deadline) else { return nil }
      let new = Followed(client)
      new.shown = snapshot
      followed[name] = new
      return snapshot
    } catch {
      // Nobody is there, or it is just going: it is looked for again.
      return nil
    }
  }

  /// Everything a daemon has said since.
  private mutating func hear(_ name: String) {
    guard let one = followed[name] else { return }
    do throws(ControlFault) {
      while let reply = try one.client.replyAtHand() {
        switch reply {
        case .progress(let snapshot):
          say(options.text.changes(from: one.shown, to: snapshot))
          one.shown = snapshot
        case .helper(let event): say([options.text.helper(event, of: name)])
        default: throw .broken("it answered something else")
        }
      }
    } catch {
      say(options.text.changes(from: one.shown, to: nil))
      followed[name] = nil
    }
  }

  /// False when the reader has closed the output.
  private mutating func waitForNews() -> Bool {
    let left = options.limit?.pollMilliseconds ?? -1
    let pause = left < 0 ? EventFollower.rescanMilliseconds : min(left, EventFollower.rescanMilliseconds)
    var entries = followed.values.map { pollfd(fd: $0.client.descriptor, events: Int16(POLLIN), revents: 0) }
    entries.append(pollfd(fd: STDOUT_FILENO, events: 0, revents: 0))
    entries.append(pollfd(fd: stdinIsOpen ? STDIN_FILENO : -1, events: Int16(POLLIN), revents: 0))
    let ready = poll(&entries, nfds_t(entries.count), pause)
    guard ready > 0 else { return true }
    if entries[entries.count - 2].revents & Int16(POLLERR) != 0 { return false }
    if entries[entries.count - 1].revents != 0 { readCommands() }
    return true
  }

  private mutating func readCommands() {
    var bytes = [UInt8](repeating: 0, count: 256)
    let got = read(STDIN_FILENO, &bytes, bytes.count)
    guard got > 0 else {
      stdinIsOpen = false
      return
    }
    guard bytes[..<got].contains(UInt8(ascii: "n")) else { return }
    for name in followed.keys.sorted() {
      // What was on its way is older.
      hear(name)
      guard let one = followed[name] else { continue }
      do throws(Refusal) {
        let snapshot = try DaemonProcess(name, files: files).status(deadline: patience)
        say(options.text.changes(from: one.shown, to: snapshot))
        one.shown = snapshot
      } catch {
        // Its end will be heard of.
        continue
      }
    }
  }

  // MARK: Speaking

  private func say(_ lines: [String]) {
    guard !lines.isEmpty else { return }
    let stamp = options.timestamps ? EventTime.now() + " " : ""
    console.out(lines.map { stamp + $0 + "\n" }.joined())
  }
}

/// ISO 8601 with microseconds and the zone's offset.
enum EventTime {
  static func now() -> String {
    var moment = timespec()
    clock_gettime(CLOCK_REALTIME, &moment)
    var local = tm()
    localtime_r(&moment.tv_sec, &local)
    var text = [CChar](repeating: 0, count: 64)
    let length = strftime(&text, text.count, "%Y-%m-%dT%H:%M:%S|%z", &local)
    let parts = String(decoding: text[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self).split(separator: "|")
    let micros = String(moment.tv_nsec / 1000)
    let zone = parts.count > 1 ? parts[1] : "+0000"
    return "\(parts[0])." + String(repeating: "0", count: 6 - micros.count) + micros
      + "\(zone.prefix(3)):\(zone.dropFirst(3))"
  }
}

/// The resources that have a control socket.
enum RunningResources {
  static func names(_ files: RunFiles) -> [String] {
    let suffix = ".sock"
    return directoryEntries(files.directory).filter { $0.hasSuffix(suffix) }.map { String($0.dropLast(suffix.count)) }
      .sorted()
  }
}
