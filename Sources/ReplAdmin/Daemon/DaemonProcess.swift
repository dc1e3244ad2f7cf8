// The `repld` of one resource as `repladm` sees it: asked over its socket, started when it is not there, waited for when it
// goes. Law: every question has a deadline, and giving up says what was waited for.
import Base
import BlockIO
import Control
import FoundationEssentials
import Glibc

struct DaemonProcess {
  let resource: String
  let files: RunFiles
  /// Absolute path of the file that the command line is about; nil: that of the daemon.
  let configurationFile: String?

  init(_ resource: String, files: RunFiles, configurationFile: String? = nil) {
    self.resource = resource
    self.files = files
    self.configurationFile = configurationFile
  }

  /// Its unit, where systemd runs its daemons.
  var unit: ServiceUnit? {
    ServiceUnit(resource, files: files, tools: Tools(environment: ProcessInfo.processInfo.environment))
  }
  private var log: DaemonLog { DaemonLog(resource, files: files, unit: unit) }

  /// Grace beyond the deadline the daemon itself keeps, so that its better sentence arrives.
  private static let graceSeconds = 1.0
  private static func grace(beyond seconds: Double) -> Double { min(graceSeconds, max(0.1, seconds / 2)) }

  /// Asks and waits for the final reply. A refusal is thrown; so is every kind of silence.
  @discardableResult
  func ask(_ command: Command, deadline: Deadline, progress: (StatusSnapshot) -> Void = { _ in }) throws(Refusal)
    -> Reply
  {
    let isAtOnce = command.isAnsweredAtOnce
    let patience = Deadline(after: deadline.secondsLeft.map { $0 + (isAtOnce ? 0 : DaemonProcess.grace(beyond: $0)) })
    var server: Int32?
    do {
      var client = try ControlClient(connecting: files.socket(of: resource, for: command), deadline: patience)
      server = client.server
      let file = command.readsConfiguration ? configurationFile : nil
      try client.send(
        Request(command, timeoutMilliseconds: deadline.milliseconds, configurationFile: file), deadline: patience)
      while true {
        let reply = try client.reply(deadline: patience)
        switch reply {
        case .progress(let snapshot): progress(snapshot)
        case .refused(let refusal): throw refusal
        default: return reply
        }
      }
    } catch let fault as ControlFault {
      throw refusal(for: fault, asking: command, of: server, waited: deadline)
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

  /// A daemon that died instead of answering. Nil: it lives, or nothing is known of its process.
  private func death(of pid: Int32?, during command: Command) -> Refusal? {
    guard let pid else { return nil }
    let daemon = DeviceRecord.ProcessMark(pid)
    // It hangs up a moment before it is gone.
    guard Deadline(after: 1).wait(until: { daemon?.isAlive != true }) else { return nil }
    let said = log.tail
    var how = Death.reason(of: pid, in: said)
    // Its own parent knows more than its log.
    var word: Int32 = 0
    if how == nil, waitpid(pid, &word, WNOHANG) == pid, word & 0x7f != 0 {
      how = "died of \(Death.name(of: word & 0x7f))"
    }
    return Refusal(
      "repld (process \(pid)) \(how ?? "ended") while it was asked for \(command.name)",
      why: how == nil
        ? "its log does not say of what; SIGKILL, which the out-of-memory killer sends, leaves no line" : "",
      details: lastWords(in: said), next: "see \(log.place), then repladm up \(resource)", exitCode: 20)
  }

  /// The broken belief, where there was one.
  private func lastWords(in log: String) -> [String] {
    log.split(separator: "\n").suffix(80).last { $0.contains("Fatal error: ") }.map { [String($0)] } ?? []
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

  /// The process that listens on the control socket. The pid file is for people: its number may be another's by now.
  var listening: DeviceRecord.ProcessMark? {
    do throws(ControlFault) {
      let client = try ControlClient(connecting: files.controlSocket(resource), deadline: Deadline(after: 1))
      return DeviceRecord.ProcessMark(client.server)
    } catch {
      return nil
    }
  }

  var pid: Int32? { listening?.pid }

  /// The process that holds the lock of the resource, whether it listens or not.
  var lockHolder: DeviceRecord.ProcessMark? {
    let path = files.pidFile(resource)
    guard PidFile.isHeld(path) else { return nil }
    let pid = PidFile.holder(path)
    return pid > 0 ? DeviceRecord.ProcessMark(pid) : nil
  }

  /// Waits for the process that listened before it was told to end.
  func waitForEnd(of daemon: DeviceRecord.ProcessMark?, deadline: Deadline) throws(Refusal) {
    let ended = deadline.wait { daemon.map { !$0.isAlive } ?? !isRunning }
    guard ended else {
      throw Refusal(
        "repld said it would end, but \(described(daemon?.pid)) is still there after \(deadline.text)",
        next: "see \(log.place), then stop it with kill", exitCode: 20)
    }
  }

  private func described(_ pid: Int32?) -> String {
    if let pid { return "process \(pid)" }
    let path = files.pidFile(resource)
    return PidFile.isHeld(path) ? "process \(PidFile.holder(path))" : "its socket"
  }

  private func misanswered(_ command: Command) -> Refusal {
    Refusal(
      "repld answered \(command.name) with something else", next: "install repladm and repld of the same version",
      exitCode: 20)
  }

  private func refusal(
    for fault: ControlFault, asking command: Command, of pid: Int32?, waited: Deadline
  ) -> Refusal {
    switch fault {
    case .notRunning: .notRunning(resource)
    case .silent:
      Refusal(
        "repld (\(described(pid))) did not answer \(command.name) within \(waited.text)",
        next: "see \(log.place) for what it is doing, or ask again with a longer --timeout", exitCode: 20)
    case .broken(let why):
      death(of: pid, during: command)
        ?? Refusal(
          "repld (\(described(pid))) could not be asked for \(command.name)", why: why,
          next: "see \(log.place)", exitCode: 20)
    case .impossible(let why):
      Refusal(
        "repld cannot be asked for \(command.name)", why: why, next: "choose a shorter run directory (REPL_RUN_DIR)",
        exitCode: 20)
    case .system(let why):
      Refusal(
        "repld could not be asked for \(command.name)", why: why,
        next: command.onlyReads
          ? "run the command as root, or as a member of the group \(RunFiles.readers)" : "run the command as root",
        exitCode: 20)
    }
  }
}

extension RunFiles {
  /// A user who may not use the control socket asks by the status socket, where there is one.
  func socket(of resource: String, for command: Command) -> String {
    let control = controlSocket(resource)
    guard command.onlyReads, access(control, R_OK | W_OK) != 0, errno == EACCES else { return control }
    let status = statusSocket(resource)
    return access(status, F_OK) == 0 ? status : control
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
