// The `repld` of one resource as `repladm` sees it: asked over its socket, started when it is not there, waited for when it
// goes. Law: every question has a deadline, and giving up says what was waited for.
import Control
import FoundationEssentials
import Glibc

struct DaemonProcess {
  let resource: String
  let files: RunFiles

  init(_ resource: String, files: RunFiles) {
    self.resource = resource
    self.files = files
  }

  /// Grace beyond the deadline the daemon itself keeps, so that its better sentence arrives.
  private static let graceSeconds = 1.0

  /// Asks and waits for the final reply. A refusal is thrown; so is every kind of silence.
  @discardableResult
  func ask(_ command: Command, deadline: Deadline, progress: (StatusSnapshot) -> Void = { _ in }) throws(Refusal)
    -> Reply
  {
    let patience = Deadline(after: deadline.seconds.map { $0 + DaemonProcess.graceSeconds })
    do {
      var client = try ControlClient(connecting: files.controlSocket(resource), deadline: patience)
      try client.send(Request(command, timeoutMilliseconds: deadline.milliseconds), deadline: patience)
      while true {
        let reply = try client.reply(deadline: patience)
        switch reply {
        case .progress(let snapshot): progress(snapshot)
        case .refused(let refusal): throw refusal
        default: return reply
        }
      }
    } catch let fault as ControlFault {
      throw refusal(for: fault, asking: command, waited: deadline)
    } catch let refusal as Refusal {
      throw refusal
    } catch {
      preconditionFailure("the control client throws nothing else")
    }
  }

  func status(deadline: Deadline) throws(Refusal) -> StatusSnapshot {
    guard case .status(let snapshot) = try ask(.status, deadline: deadline) else { throw misanswered(.status) }
    return snapshot
  }

  func text(_ command: Command, deadline: Deadline) throws(Refusal) -> String {
    guard case .text(let text) = try ask(command, deadline: deadline) else { throw misanswered(command) }
    return text
  }

  func superblock(_ command: Command, deadline: Deadline) throws(Refusal) -> [UInt8] {
    guard case .superblock(let bytes) = try ask(command, deadline: deadline) else { throw misanswered(command) }
    return bytes
  }

  /// True when something listens on the socket. A listener that hangs is running.
  var isRunning: Bool {
    do {
      _ = try ControlClient(connecting: files.controlSocket(resource), deadline: Deadline(after: 1))
      return true
    } catch {
      return switch error {
      case .notRunning, .impossible: false
      case .silent, .broken, .system: true
      }
    }
  }

  /// The process id in the pid file; nil when there is none.
  var pid: Int32? {
    guard let data = FileManager.default.contents(atPath: files.pidFile(resource)) else { return nil }
    let text = String(decoding: data.prefix(32), as: UTF8.self)
    return Int32(text.prefix { $0.isASCII && $0.isNumber })
  }

  /// Waits for the process that `pid` named before it was told to end.
  func waitForEnd(of pid: Int32?, deadline: Deadline) throws(Refusal) {
    let ended = deadline.wait {
      if let pid { return kill(pid, 0) != 0 && errno == ESRCH || processIsZombie(pid) }
      return !isRunning
    }
    guard ended else {
      throw Refusal(
        "repld said it would end, but \(described(pid)) is still there after \(deadline.text)",
        next: "see \(files.log(resource)), then stop it with kill", exitCode: 20)
    }
  }

  private func described(_ pid: Int32?) -> String { pid.map { "process \($0)" } ?? "its socket" }

  private func misanswered(_ command: Command) -> Refusal {
    Refusal(
      "repld answered \(command.name) with something else", next: "install repladm and repld of the same version",
      exitCode: 20)
  }

  private func refusal(for fault: ControlFault, asking command: Command, waited: Deadline) -> Refusal {
    switch fault {
    case .notRunning: .notRunning(resource)
    case .silent:
      Refusal(
        "repld (\(described(pid))) did not answer \(command.name) within \(waited.text)",
        next: "see \(files.log(resource)) for what it is doing, or ask again with a longer --timeout", exitCode: 20)
    case .broken(let why):
      Refusal(
        "repld (\(described(pid))) could not be asked for \(command.name)", why: why,
        next: "see \(files.log(resource))", exitCode: 20)
    case .impossible(let why):
      Refusal(
        "repld cannot be asked for \(command.name)", why: why, next: "choose a shorter run directory (REPL_RUN_DIR)",
        exitCode: 20)
    case .system(let why):
      Refusal("repld could not be asked for \(command.name)", why: why, next: "run repladm as root", exitCode: 20)
    }
  }
}

/// A process that has ended and was not yet collected by its parent.
func processIsZombie(_ pid: Int32) -> Bool { processFields(pid)?.first == "Z" }

/// When a process began, in the kernel's ticks: with the pid it names a process for good.
func processStart(_ pid: Int32) -> UInt64? {
  guard let fields = processFields(pid), fields.count > 19 else { return nil }
  return UInt64(fields[19])
}

/// The fields of /proc/PID/stat after the name, from the state on.
private func processFields(_ pid: Int32) -> [Substring]? {
  guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else { return nil }
  let text = String(decoding: data, as: UTF8.self)
  guard let close = text.lastIndex(of: ")") else { return nil }
  return text[text.index(after: close)...].split(separator: " ")
}
