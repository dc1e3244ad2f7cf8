// Promotion, demotion and the end of a resource together with its block devices: what `repladm` and `replsetup` do in the same
// way. The daemon decides, the devices follow. Law: what is refused leaves the devices as they were.
import Base
import BlockIO
import Control
import Glibc

struct RoleChange {
  let daemon: DaemonProcess
  let devices: ResourceDevices
  let deadline: Deadline

  /// One change at a time. `patience`: how long to wait for the one before.
  private func lock(patience: Deadline? = nil) throws(Refusal) -> RoleLock? {
    try RoleLock(daemon.resource, daemon.files, deadline: patience ?? deadline)
  }

  func promote(force: Bool) throws(Refusal) {
    let turn = try lock()
    defer { withExtendedLifetime(turn) {} }
    devices.remark(devices.each.flatMap { $0.cleanUp(mayResume: true) })
    try daemon.ask(.primary(force: force), deadline: deadline)
    devices.tellRole(automatic: false)
    try attach(force: force)
  }

  /// Makes the devices of a node that was just promoted, or gives it those that wait for it.
  private func attach(force: Bool) throws(Refusal) {
    if devices.each.contains(where: \.awaitsDaemon) {
      let status = try daemon.status(deadline: deadline)
      if force || !isUnchanged(status) { devices.cleanUp() }
    }
    devices.attach(deadline: deadline)
  }

  /// Because the device is used (`auto-promote`): the last close is to undo it, unless the node was Primary before.
  func promoteAutomatically() throws(Refusal) {
    let turn = try lock()
    defer { withExtendedLifetime(turn) {} }
    let rules = try AutoPromotion(of: daemon, deadline: deadline)
    guard rules.isOn else {
      throw Refusal(
        "auto-promote is off", next: "promote it by repladm primary \(daemon.resource)", exitCode: 11)
    }
    devices.remark(devices.each.flatMap { $0.cleanUp(mayResume: true) })
    if try daemon.status(deadline: deadline).role != .primary {
      try askWhenPeerHasDemoted(Deadline(after: rules.seconds))
      devices.tellRole(automatic: true)
    }
    try attach(force: false)
  }

  private func askWhenPeerHasDemoted(_ patience: Deadline) throws(Refusal) {
    while true {
      do throws(Refusal) {
        try daemon.ask(.primary(force: false), deadline: deadline)
        return
      } catch {
        let mayPass: [RefusalNumber] = [
          .twoPrimaries, .refusedByPeer, .inTransientState, .concurrentStateChange, .deviceInUse,
        ]
        guard let number = error.number, mayPass.contains(number), !patience.hasPassed else { throw error }
        pause(milliseconds: 200)
      }
    }
  }

  /// Because of the last close: refused when a command has promoted the node meanwhile.
  func demoteAutomatically() throws(Refusal) {
    let turn = try lock()
    defer { withExtendedLifetime(turn) {} }
    guard devices.mayDemote else {
      throw Refusal(
        "a command has promoted \(daemon.resource) meanwhile",
        next: "demote it by repladm secondary \(daemon.resource)",
        exitCode: 11)
    }
    try demoteUnderLock(force: false)
  }

  /// Makes the devices of a Primary anew that do not work any more, and the names that are gone or, where a unit started the
  /// daemon, were never there.
  func mend(_ minors: [VolumeNumber: UInt32]) throws(Refusal) {
    let turn = try lock()
    defer { withExtendedLifetime(turn) {} }
    try mendUnderLock(minors)
  }

  /// Has the daemon take over volumes that come, go or are renamed. The devices of `leaving` go before that, and come back when the
  /// daemon refuses; a Primary gets those of the volumes that have come.
  func changeVolumes(
    to minors: [VolumeNumber: UInt32], leaving: ResourceDevices, _ ask: () throws(Refusal) -> Void
  ) throws(Refusal) {
    let turn = try lock()
    defer { withExtendedLifetime(turn) {} }
    try leaving.without(force: false, deadline: deadline) { () throws(Refusal) in try untilClientsAreGone(ask) }
    leaving.removeNames()
    try mendUnderLock(minors)
    if try daemon.status(deadline: deadline).role == .primary { devices.attach(deadline: deadline) }
  }

  private func mendUnderLock(_ minors: [VolumeNumber: UInt32]) throws(Refusal) {
    devices.mendNames(minors, deadline: deadline)
    guard devices.each.contains(where: \.needsMending) else { return }
    let status = try daemon.status(deadline: deadline)
    guard status.role == .primary else { return }
    if !isUnchanged(status) {
      devices.remark(devices.each.filter(\.awaitsDaemon).flatMap { $0.cleanUp(mayResume: false) })
    }
    devices.attach(deadline: deadline)
  }

  func demote(force: Bool) throws(Refusal) {
    guard daemon.isRunning else { throw Refusal.notRunning(daemon.resource) }
    let turn = try lock()
    defer { withExtendedLifetime(turn) {} }
    try demoteUnderLock(force: force)
  }

  private func demoteUnderLock(force: Bool) throws(Refusal) {
    try devices.without(force: force, deadline: deadline) { () throws(Refusal) in
      try askWhenClientsAreGone(.secondary(force: force))
    }
    devices.tellRole(automatic: false)
  }

  /// Ends the resource: its connection, its disks, its daemon, its devices. A success when it is down already.
  func end() throws(Refusal) {
    let turn = try lock()
    defer { withExtendedLifetime(turn) {} }
    guard daemon.isRunning else {
      devices.cleanUp()
      devices.removeLeftovers()
      return
    }
    let process = daemon.listening
    try devices.without(force: false, deadline: deadline) { () throws(Refusal) in
      try askWhenClientsAreGone(.down)
    }
    // What comes next meets no daemon that is just going.
    try daemon.waitForEnd(of: process, deadline: deadline)
    devices.removeLeftovers()
  }

  /// The same, whoever uses the devices and whether the daemon answers or not: one that does not is killed, and what was under way
  /// ends with errors. Bounded: each step has a limit of its own.
  func endByForce() throws(Refusal) {
    var turn: RoleLock?
    // One that hangs does not hold this up.
    do throws(Refusal) { turn = try lock(patience: Deadline(after: 3)) } catch { devices.remark([error.headline]) }
    defer { withExtendedLifetime(turn) {} }
    let process = daemon.listening ?? daemon.lockHolder
    if daemon.isRunning { askToEnd(process) }
    // The daemon first: a kernel that is still writing to it holds up whoever takes its device away.
    if let process, process.isAlive {
      guard kill(process.pid, SIGKILL) == 0 || errno == ESRCH else {
        throw Refusal(
          "repld (process \(process.pid)) was not killed", why: systemWords(errno), next: "run repladm as root",
          exitCode: 20)
      }
      devices.remark(["repld (process \(process.pid)) did not end by itself and was killed."])
      guard Deadline(after: 10).wait(until: { !process.isAlive }) else {
        throw Refusal(
          "repld (process \(process.pid)) does not end after SIGKILL", why: "the kernel waits for a disk of it",
          next: "see the kernel's log for that disk; the process ends when the disk answers or is removed", exitCode: 20
        )
      }
    }
    // Else systemd takes the killed daemon for a crashed one and starts another.
    daemon.unit?.stop(waits: false)
    devices.remark(devices.each.flatMap { $0.cut() })
    devices.removeLeftovers()
  }

  /// As long as a daemon that works needs to end well.
  private func askToEnd(_ process: DeviceRecord.ProcessMark?) {
    let patience = Deadline(after: min(5, deadline.secondsLeft ?? 5))
    do throws(Refusal) {
      let role = try daemon.status(deadline: patience).role
      if role == .primary { try daemon.ask(.secondary(force: true), deadline: patience) }
      try daemon.ask(.down, deadline: patience)
      try daemon.waitForEnd(of: process, deadline: patience)
    } catch {
      devices.remark([error.headline + (error.why.isEmpty ? "." : ": \(error.why).")])
    }
  }

  /// Whether a file system that was in use when the last daemon died may stay mounted: the disk is UpToDate, and no peer has
  /// written to the volumes since this daemon was started.
  private func isUnchanged(_ status: StatusSnapshot) -> Bool {
    status.devices.allSatisfy { $0.disk == .upToDate }
      && status.connections.allSatisfy { connection in
        connection.peerRole != .primary
          && connection.peerDevices.allSatisfy {
            $0.received == 0 && $0.replication != .syncTarget && $0.replication != .pausedSyncT
          }
      }
  }

  /// Demotion is refused while NBD clients are connected; the one that was just ended may not have been noticed yet.
  private func askWhenClientsAreGone(_ command: Command) throws(Refusal) {
    try untilClientsAreGone { () throws(Refusal) in try daemon.ask(command, deadline: deadline) }
  }

  private func untilClientsAreGone(_ ask: () throws(Refusal) -> Void) throws(Refusal) {
    let patience = Deadline(after: 2)
    while true {
      do throws(Refusal) {
        try ask()
        return
      } catch {
        guard error.number == .deviceInUse, !patience.hasPassed, !deadline.hasPassed else { throw error }
        pause(milliseconds: 50)
      }
    }
  }
}
