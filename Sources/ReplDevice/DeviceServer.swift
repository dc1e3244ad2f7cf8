// The server of a resource's block devices: one thread that waits for the kernel, for the daemon and for `repladm`. Laws: the
// server ends when it is told to and has no volume and no node, and then nothing is left of it; no connection that breaks and no signal
// ends it while a volume is in use.
import Base
import BlockIO
import CFuse
import Control
import Glibc

final class DeviceServer {
  let resource: String
  let table = RequestTable()
  private(set) var volumes: [ServedVolume] = []
  /// The nodes, and the role that follows their use.
  private(set) lazy var role = AutomaticRole(resource, files) { [unowned self] in log($0) }

  private let files: RunFiles
  private var memory = LentMemory(pieces: writesUnderWay + 1, bytes: FuseSession.requestBytes)
  /// What the next call of the kernel is read into; nil: a write that is under way has kept it.
  private var callMemory: UnsafeMutableRawPointer?
  private var session: FuseSession?
  private let signals: Int32
  private var inodes: UInt64 = 1
  private var mustEnd = false
  private var saidOver = false
  /// Since when there is no volume.
  private var idleSince = ContinuousClock.now

  /// More than the kernel sends without waiting for answers, so that names and sizes can be asked for at all times.
  private static let writesUnderWay = Int(FuseSession.background) + 32
  /// The server ends when no volume was served for so long: the command that started it has ended.
  private static let idleLimit = Duration.seconds(60)

  init(_ resource: String, _ files: RunFiles, signals: Int32) {
    self.resource = resource
    self.files = files
    self.signals = signals
  }

  func log(_ text: String) { ServerLog(resource: resource).write(text) }

  /// Mounts, and serves until it is told to leave.
  func run() throws(FuseRefusal) {
    let places = [files.deviceMount(resource), files.deviceNodes(resource)]
    for place in places { try prepare(place) }
    defer { for place in places { rmdir(place) } }
    let session = try FuseSession(at: places[0], name: "repl:\(resource)", .files, self)
    self.session = session
    defer { session.end() }
    let nodes = try FuseSession(at: places[1], name: "repl-nodes:\(resource)", .nodes, self)
    defer {
      role.end()
      nodes.end()
    }
    var nodeMemory = LentMemory(pieces: 1, bytes: FuseSession.requestBytes)
    guard let nodeCall = nodeMemory.borrow() else { preconditionFailure("one piece was made") }
    let control: PacketSocket
    do throws(Errno) { control = try PacketSocket.listening(at: files.deviceSocket(resource)) } catch {
      throw FuseRefusal(text: "\(files.deviceSocket(resource)) cannot be listened on: \(error)")
    }
    var callers = Callers(control)
    var entries: [pollfd] = []
    while !hasEnded(session, nodes, &callers) {
      entries.removeAll(keepingCapacity: true)
      entries.append(pollfd(fd: signals, events: Int16(POLLIN), revents: 0))
      entries.append(pollfd(fd: mayTake ? session.descriptor : -1, events: Int16(POLLIN), revents: 0))
      for volume in volumes {
        let events = POLLIN | (volume.isStuck ? POLLOUT : 0)
        entries.append(pollfd(fd: volume.connection, events: Int16(events), revents: 0))
      }
      let ofVolumes = 2..<entries.count
      entries.append(pollfd(fd: nodes.isOver ? -1 : nodes.descriptor, events: Int16(POLLIN), revents: 0))
      role.append(to: &entries)
      callers.append(to: &entries)
      let rc = poll(&entries, nfds_t(entries.count), role.patience ?? (isIdle ? 1000 : -1))
      defer { role.advance(isHeld: callers.isHeld) }
      guard rc > 0 else { continue }
      if entries[0].revents != 0 { takeSignals() }
      for i in ofVolumes where entries[i].revents != 0 { volumes[i - 2].receive() }
      if entries[1].revents != 0 { takeCalls(session) }
      for volume in volumes where volume.wantsToSend { volume.send() }
      if entries[ofVolumes.upperBound].revents != 0 {
        for _ in 0..<64 where nodes.take(nodeCall, bytes: nodeMemory.bytesOfPiece) {}
      }
      // Last: it changes which volumes there are.
      callers.take(entries[(ofVolumes.upperBound + 1 + AutomaticRole.entries)...]) { self.carryOut($0, $1) }
    }
  }

  private func prepare(_ mountPoint: String) throws(FuseRefusal) {
    // What a server that was killed has left there answers nothing.
    umount2(mountPoint, Int32(MNT_DETACH))
    guard mkdir(mountPoint, 0o700) == 0 || errno == EEXIST else {
      throw FuseRefusal(text: "\(mountPoint) could not be made: \(String(cString: strerror(errno)))")
    }
  }

  private var isIdle: Bool { volumes.isEmpty && role.nodes.nodes.isEmpty }

  // MARK: The kernel's calls

  private var mayTake: Bool {
    if callMemory == nil { callMemory = memory.borrow() }
    return callMemory != nil && table.hasRoom
  }

  private func takeCalls(_ session: FuseSession) {
    for _ in 0..<64 {
      guard mayTake, let callMemory, session.take(callMemory, bytes: memory.bytesOfPiece) else { return }
    }
  }

  func keepCallMemory() -> UnsafeMutableRawPointer {
    guard let kept = callMemory else { preconditionFailure("no call is being carried out") }
    callMemory = nil
    return kept
  }

  func giveBack(_ piece: UnsafeMutableRawPointer) { memory.giveBack(piece) }

  // MARK: What repladm asks

  /// Takes over the descriptor where it is used.
  private func carryOut(_ request: DeviceRequest, _ passed: Int32?) -> (DeviceReply, used: Bool) {
    switch request {
    case .serve(let number, let size, let flags):
      guard let passed else { return (.refused("no connection came with it"), false) }
      guard !volumes.contains(where: { $0.number == number }) else {
        return (.refused("volume \(number.value) is served already"), false)
      }
      inodes += 1
      let chance = String(UInt64.random(in: .min ... .max), radix: 16)
      let volume = ServedVolume(
        number, inode: inodes, name: "\(resource)-\(number.value)-\(chance)", size: size, self)
      volumes.append(volume)
      _ = volume.connect(passed, size: size, flags: flags)
      return (.served(volume.name), true)
    case .resume(let number, let size, let flags):
      guard let passed else { return (.refused("no connection came with it"), false) }
      guard let volume = volumes.first(where: { $0.number == number }) else {
        return (.refused("volume \(number.value) is not served"), false)
      }
      guard !volume.isConnected else {
        return (.refused("volume \(number.value) has a connection that works"), false)
      }
      guard size >= volume.size else {
        return (.refused("volume \(number.value) had \(volume.size) bytes and has \(size) now"), false)
      }
      let waiting = volume.connect(passed, size: size, flags: flags)
      log("volume \(number.value): connected to the new repld; \(waiting) requests that waited were sent again")
      return (.done, true)
    case .resize(let number, let size):
      guard let volume = volumes.first(where: { $0.number == number }) else {
        return (.refused("volume \(number.value) is not served"), false)
      }
      volume.size = size
      return (.done, false)
    case .end(let number):
      guard let at = volumes.firstIndex(where: { $0.number == number }) else { return (.done, false) }
      role.nodes.bind(number, to: nil)
      volumes.remove(at: at).end()
      return (.done, false)
    case .name(let number, let minor, let name):
      guard role.nodes.add(number, minor: minor, name: name) else {
        return (.refused("another volume has a device that is called \(name)"), false)
      }
      return (.done, false)
    case .unname(let number):
      role.nodes.remove(number)
      return (.done, false)
    case .bind(let number, let major, let minor):
      role.nodes.bind(number, to: DeviceNumber(major: major, minor: minor))
      return (.done, false)
    case .hold: return (.done, false)
    case .role(let automatic):
      role.setAutomatic(automatic)
      return (.done, false)
    case .mayDemote: return (role.isAutomatic ? .done : .refused("a command has promoted it meanwhile"), false)
    case .leave:
      guard isIdle else { return (.done, false) }
      mustEnd = true
      return (.leaving, false)
    case .state:
      return (.state(volumes.map { DeviceReply.Shown(volume: $0.number, isConnected: $0.isConnected) }), false)
    }
  }

  // MARK: The end

  private func takeSignals() {
    var information = signalfd_siginfo()
    while Glibc.read(signals, &information, MemoryLayout<signalfd_siginfo>.size) > 0 {
      if volumes.contains(where: { $0.opens > 0 }) {
        log(
          "signal \(information.ssi_signo): it does not end while a device of \(resource) is there: type repladm secondary"
            + " \(resource) or repladm down \(resource)")
      } else {
        mustEnd = true
      }
    }
  }

  private func hasEnded(_ session: FuseSession, _ nodes: FuseSession, _ callers: inout Callers) -> Bool {
    if nodes.isOver, !session.isOver {
      if volumes.isEmpty { return true }
      if !saidOver { log("\(nodes.mountPoint) was unmounted: the devices of \(resource) have lost their names") }
      saidOver = true
    }
    if session.isOver {
      if !volumes.isEmpty { log("\(session.mountPoint) was unmounted: type repladm primary \(resource)") }
      for volume in volumes { volume.end() }
      return true
    }
    if !isIdle { idleSince = .now }
    return mustEnd || ContinuousClock.now - idleSince > DeviceServer.idleLimit
  }
}
