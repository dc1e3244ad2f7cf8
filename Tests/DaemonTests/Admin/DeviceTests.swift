// The block device around a promotion (D7): repl-device and a loop device in front of a real NBD server. Needs root, FUSE and
// nbdkit; everything it makes is taken away again.
import Base
import Control
import Foundation
import Glibc
import Testing

let hasFuseDevices =
  geteuid() == 0 && access("/dev/loop-control", F_OK) == 0 && access("/dev/fuse", F_OK) == 0
  // The kernel's own nbd would be preferred.
  && access("/sys/module/nbd", F_OK) != 0

/// Programs in the background of a test, ended with it.
private final class Background {
  private var processes: [Process] = []

  @discardableResult
  func start(_ program: String, _ arguments: String...) throws -> Process {
    let process = Process()
    process.executableURL = URL(filePath: program)
    process.arguments = arguments
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    processes.append(process)
    return process
  }

  deinit {
    for process in processes where process.isRunning {
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
  }
}

@Suite(
  .serialized,
  .enabled(if: hasFuseDevices && isInstalled("nbdkit"), "needs root, FUSE and nbdkit, and a kernel without nbd"))
struct BlockDevices {
  private let bench: AdminBench
  private let device: String
  /// Another run of these tests may go on beside this one.
  private let name = "admin\(getpid())"
  private let background = Background()

  init() throws {
    bench = try AdminBench()
    bench.environment["REPL_DEVICE"] = try program("repl-device")
    device = "/dev/drbd_\(name)"
    try bench.configure(resource: name, device: device)
  }

  private func serve(pid: Int32 = getpid()) throws -> FakeDaemon {
    let socket = bench.files.exportSocket(name, VolumeNumber(0))
    let ready = bench.directory + "/nbdkit.pid"
    try background.start("/usr/bin/nbdkit", "-f", "-P", ready, "-U", socket, "memory", "64M")
    try waitUntil { access(ready, F_OK) == 0 }
    try "\(pid)\n".write(toFile: bench.files.pidFile(name), atomically: true, encoding: .utf8)
    return FakeDaemon(name, bench.files) { _ in [.reply(.done)] }
  }

  private var isBlockDevice: Bool {
    var status = stat()
    return stat(device, &status) == 0 && status.st_mode & S_IFMT == S_IFBLK
  }

  private func nothingIsLeft() throws {
    #expect(access(device, F_OK) != 0)
    #expect(access("/dev/drbd/by-res/\(name)", F_OK) != 0)
    #expect(access(bench.files.device(name, VolumeNumber(0)), F_OK) != 0)
    let mounts = try String(contentsOfFile: "/proc/self/mounts", encoding: .utf8)
    #expect(!mounts.contains(bench.directory))
  }

  @Test func promotionMakesTheDeviceAndDemotionTakesItAway() throws {
    let daemon = try serve()
    defer { daemon.stop() }
    #expect(bench.run("primary", name) == AdminBench.Outcome(code: 0, out: "", err: ""))
    #expect(isBlockDevice)
    #expect(
      try FileManager.default.destinationOfSymbolicLink(atPath: "/dev/drbd/by-res/\(name)")
        == "../../\(device.dropFirst(5))"
    )
    try bench.put(Array("here".utf8), at: 1 << 20, in: device)
    // A second promotion finds it and leaves it alone.
    #expect(bench.run("primary", name).code == 0)
    #expect(bench.run("secondary", name) == AdminBench.Outcome(code: 0, out: "", err: ""))
    try nothingIsLeft()
    #expect(daemon.commands == [.primary(force: false), .primary(force: false), .secondary(force: false)])

    #expect(bench.run("primary", name).code == 0)
    let file = try FileHandle(forReadingFrom: URL(filePath: device))
    try file.seek(toOffset: 1 << 20)
    #expect(try file.read(upToCount: 4) == Data("here".utf8))
    try file.close()
    #expect(bench.run("secondary", name).code == 0)
  }

  @Test func aDeviceThatAProcessHasOpenForbidsDemotion() throws {
    let daemon = try serve()
    defer { daemon.stop() }
    #expect(bench.run("primary", name) == AdminBench.Outcome(code: 0, out: "", err: ""))
    let holder = try background.start("/bin/sh", "-c", "exec 3<\(device); exec sleep 60")
    let fd = "/proc/\(holder.processIdentifier)/fd/3"
    try waitUntil { access(fd, F_OK) == 0 }
    for command in ["secondary", "down"] {
      let outcome = bench.run(command, name)
      #expect(outcome.code == 11)
      #expect(outcome.err.hasPrefix("\(name): State change failed: (-12) Device is held open by someone\n"))
      #expect(
        outcome.err.contains("\(device.dropFirst(5)) opened by")
          && outcome.err.contains("(pid \(holder.processIdentifier))"))
    }
    #expect(isBlockDevice)
    #expect(daemon.commands == [.primary(force: false)])
    kill(holder.processIdentifier, SIGKILL)
    holder.waitUntilExit()
    #expect(bench.run("secondary", name).code == 0)
    try nothingIsLeft()
  }

  @Test func aDeviceThatIsMountedForbidsDemotion() throws {
    let daemon = try serve()
    defer { daemon.stop() }
    #expect(bench.run("primary", name) == AdminBench.Outcome(code: 0, out: "", err: ""))
    let format = try background.start("/sbin/mkfs.ext4", "-q", device)
    format.waitUntilExit()
    let directory = bench.directory + "/mnt"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
    #expect(mount(device, directory, "ext4", 0, nil) == 0)
    let outcome = bench.run("secondary", name)
    #expect(umount2(directory, 0) == 0)
    #expect(outcome.code == 11 && outcome.err.contains("opened by mount (mounted on \(directory))"))
    #expect(bench.run("secondary", name).code == 0)
    try nothingIsLeft()
  }

  @Test func aRefusedDemotionBringsTheDeviceBack() throws {
    let first = try serve()
    #expect(bench.run("primary", name) == AdminBench.Outcome(code: 0, out: "", err: ""))
    first.stop()
    let second = FakeDaemon(name, bench.files) { _ in [.reply(.refused(Refusal(.timeout, next: "try again")))] }
    #expect(bench.run("secondary", name).code == 11)
    #expect(isBlockDevice)
    second.stop()
    let third = FakeDaemon(name, bench.files) { _ in [.reply(.done)] }
    defer { third.stop() }
    #expect(bench.run("secondary", name).code == 0)
    try nothingIsLeft()
  }

  @Test func whatADeadDaemonLeavesIsTakenAway() throws {
    let process = try background.start("/bin/sleep", "60")
    let daemon = try serve(pid: process.processIdentifier)
    #expect(bench.run("primary", name) == AdminBench.Outcome(code: 0, out: "", err: ""))
    #expect(isBlockDevice)
    // What made the device for a daemon remembers its process: here it is one that can die.
    let record = bench.files.device(name, VolumeNumber(0))
    let text = try String(contentsOfFile: record, encoding: .utf8).replacing(
      /"daemon":\{[^}]*\}/, with: "\"daemon\":{\"pid\":\(process.processIdentifier),\"start\":1}")
    try text.write(toFile: record, atomically: true, encoding: .utf8)
    daemon.stop()
    kill(process.processIdentifier, SIGKILL)
    process.waitUntilExit()
    #expect(bench.run("down", name).code == 0)
    try nothingIsLeft()
  }
}

@Suite struct WithoutBlockDevices {
  @Test func whoIsNotRootIsToldWhereTheDataAre() throws {
    let bench = try AdminBench()
    bench.isRoot = false
    try bench.configure()
    let daemon = FakeDaemon("r0", bench.files) { _ in [.reply(.done)] }
    defer { daemon.stop() }
    let outcome = bench.run("primary", "r0")
    #expect(outcome.code == 0)
    #expect(
      outcome.err
        == "r0: /dev/drbd90 was not made, because only root can make block devices; the data are at "
        + "nbd+unix:///?socket=\(bench.directory)/run/r0-0.nbd.\n")
  }
}
