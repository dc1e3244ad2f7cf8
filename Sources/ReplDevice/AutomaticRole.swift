// Promotion when the device is used and demotion after its last close. A lookup that comes before an open or a mount waits here until the
// node is Primary or that was refused. Laws: a look never changes the role; only a promotion that was automatic is undone; between an
// answer that names the device and the open that follows, the device is not taken away.
import BlockIO
import CFuse
import Control
import Glibc

final class AutomaticRole {
  let nodes = NodeDirectory()
  /// Made by an open, not by a command.
  private(set) var isAutomatic = false
  private let resource: String
  private let files: RunFiles
  private let log: (String) -> Void

  /// Lookups without an answer.
  private var waiting: [Waiting] = []
  private var command: RoleCommand?
  private var probe: UseProbe?
  /// Callers that were given the device and may still be on their way to it.
  private var arriving: [(caller: NodeCaller, line: String, since: ContinuousClock.Instant)] = []
  private var lastUse = ContinuousClock.now
  private var nextProbe = ContinuousClock.now
  private var pause = AutomaticRole.grace
  /// Until then a refusal is answered again: mount(8) asks several times.
  private var refusedUntil = ContinuousClock.now
  private var hasLoggedUntold = false

  private struct Waiting {
    let call: OpaquePointer
    let name: String
    let caller: NodeCaller
    let since = ContinuousClock.now
    var line: String?
    var intent: NodeCaller.Intent?
  }

  /// How long the devices are left alone after a use.
  private static let grace = Duration.seconds(1)
  private static let longestPause = Duration.seconds(60)
  private static let refusalHolds = Duration.milliseconds(500)
  /// A caller falls asleep within microseconds; one that does not is not waited for.
  private static let sightLimit = Duration.seconds(5)
  private static let probeLimit = Duration.seconds(2)
  private static let limit = 1024

  init(_ resource: String, _ files: RunFiles, log: @escaping (String) -> Void) {
    self.resource = resource
    self.files = files
    self.log = log
  }

  // MARK: The kernel's calls

  func look(_ call: OpaquePointer, in parent: UInt64, for name: String) {
    guard nodes.isRoot(parent), nodes.node(named: name) != nil else {
      fuse_reply_err(call, ENOENT)
      return
    }
    guard waiting.count < AutomaticRole.limit, let context = fuse_req_ctx(call) else {
      fuse_reply_err(call, EAGAIN)
      return
    }
    let caller = NodeCaller(pid: context.pointee.pid, user: context.pointee.uid, group: context.pointee.gid)
    waiting.append(Waiting(call: call, name: name, caller: caller))
  }

  // MARK: The loop

  /// What else the server waits for: the command and the probe.
  func append(to entries: inout [pollfd]) {
    entries.append(pollfd(fd: command?.descriptor ?? -1, events: Int16(POLLIN), revents: 0))
    entries.append(pollfd(fd: probe?.descriptor ?? -1, events: Int16(POLLIN), revents: 0))
  }
  static let entries = 2

  /// In milliseconds, when something is due by the clock.
  var patience: Int32? {
    if waiting.contains(where: { $0.intent == nil }) { return 1 }
    if isAutomatic, command == nil { return 500 }
    return !waiting.isEmpty && probe?.askedAt != nil ? 500 : nil
  }

  /// `isHeld`: a command is about to change the role.
  func advance(isHeld: Bool) {
    takeResults()
    see()
    while answer(isHeld: isHeld) {}
    if waiting.isEmpty, !isHeld { demoteWhenUnused() }
  }

  private func takeResults() {
    if let (isFree, asked) = probe?.take() {
      nextProbe = .now + AutomaticRole.grace
      if isFree, lastUse < asked, isAutomatic, command == nil, waiting.isEmpty { start(promotes: false) }
    }
    guard let command, let (ok, text) = command.result() else { return }
    self.command = nil
    if command.promotes {
      pause = AutomaticRole.grace
      lastUse = .now
      if !ok {
        refusedUntil = .now + AutomaticRole.refusalHolds
        log("auto-promote: refused: \(text)")
      } else if nodes.nodes.contains(where: { $0.bound == nil }) {
        refusedUntil = .now + AutomaticRole.refusalHolds
        log("auto-promote: the node is Primary, and a device is missing: \(text)")
      }
    } else if ok {
      isAutomatic = false
      log("auto-demote: the last user of the device has closed it")
    } else {
      if pause == AutomaticRole.grace { log("auto-demote: not yet: \(text)") }
      pause = min(pause * 2, AutomaticRole.longestPause)
      nextProbe = .now + pause
    }
  }

  /// Finds out what those who wait are about.
  private func see() {
    for i in waiting.indices where waiting[i].intent == nil {
      let line = waiting[i].caller.callLine
      waiting[i].line = line
      waiting[i].intent = waiting[i].caller.intent(in: line)
      if waiting[i].intent == nil, .now - waiting[i].since > AutomaticRole.sightLimit {
        waiting[i].intent = .untold("its thread does not sleep")
      }
    }
  }

  /// Answers those who can be answered. True: a command has been started, which may have failed at once.
  private func answer(isHeld: Bool) -> Bool {
    let changes = isHeld || command != nil || isProbing
    var promotesFor: Waiting?
    waiting.removeAll { one in
      guard let intent = one.intent else { return false }
      guard let node = nodes.node(named: one.name) else {
        fuse_reply_err(one.call, ENOENT)
        return true
      }
      if case .untold(let why) = intent { noteUntold(one, why) }
      let reaches = [.reads, .opens, .writes, .mounts].contains(intent)
      guard reaches, one.caller.may(intent, owner: nodes.owner, group: nodes.group) else {
        nodes.show(node, to: one.call)
        return true
      }
      guard !changes else { return false }
      if node.bound != nil {
        lastUse = .now
        if isAutomatic, let line = one.line { arriving.append((one.caller, line, .now)) }
        nodes.show(node, to: one.call)
        return true
      }
      if intent == .reads || intent == .opens || .now < refusedUntil {
        fuse_reply_err(one.call, EMEDIUMTYPE)
        return true
      }
      if promotesFor == nil { promotesFor = one }
      return false
    }
    guard let promotesFor else { return false }
    log("auto-promote: for \(promotesFor.caller.name) (pid \(promotesFor.caller.pid))")
    start(promotes: true)
    return command == nil
  }

  private func noteUntold(_ one: Waiting, _ why: String) {
    guard !hasLoggedUntold else { return }
    hasLoggedUntold = true
    log(
      "auto-promote: what process \(one.caller.pid) wants of \(one.name) is not to be seen (\(why)): such a process needs"
        + " repladm primary \(resource) first")
  }

  private func start(promotes: Bool) {
    do throws(ChildRefusal) {
      command = try RoleCommand(promotes: promotes, resource, files)
    } catch {
      log("auto-\(promotes ? "promote" : "demote"): \(error.text)")
      refusedUntil = .now + AutomaticRole.refusalHolds
      pause = min(pause * 2, AutomaticRole.longestPause)
      nextProbe = .now + pause
    }
  }

  // MARK: The last close

  private var isProbing: Bool { probe?.askedAt.map { .now - $0 < AutomaticRole.probeLimit } ?? false }

  private func demoteWhenUnused() {
    guard isAutomatic, command == nil, probe?.askedAt == nil, .now >= nextProbe,
      .now - lastUse >= AutomaticRole.grace
    else { return }
    arriving.removeAll { one in
      guard let line = one.caller.callLine else { return true }
      // One that computes is not seen to be in a call, or not to be: it is given time to come out of this one.
      return line != one.line && !(line.hasPrefix("running") && .now - one.since < AutomaticRole.sightLimit)
    }
    if !arriving.isEmpty {
      nextProbe = .now + AutomaticRole.grace
      return
    }
    let bound = nodes.bound
    if bound.isEmpty { return start(promotes: false) }
    if probe == nil { probe = UseProbe(nodes: files.deviceNodes(resource)) }
    guard let probe else {
      nextProbe = .now + AutomaticRole.longestPause
      return
    }
    probe.ask(about: bound)
    nextProbe = .now + AutomaticRole.grace
  }

  // MARK: What repladm tells

  func setAutomatic(_ isAutomatic: Bool) {
    self.isAutomatic = isAutomatic
    lastUse = .now
    nextProbe = .now
    pause = AutomaticRole.grace
  }

  /// The server ends: whoever waits for it waits no more.
  func end() {
    for one in waiting { fuse_reply_err(one.call, EIO) }
    waiting = []
  }
}
