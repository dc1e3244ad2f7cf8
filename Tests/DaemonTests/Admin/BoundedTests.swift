// Commands that end, whatever the daemon does: `--timeout` of every command, and `down --force` against a daemon that hangs under a
// mounted file system.
import Base
import Config
import Control
import Foundation
import Glibc
import Testing

@testable import ReplAdmin

@Suite(.serialized) struct BoundedCommands {
  /// Every command that asks a daemon. The others read the file or a disk.
  static let asking = [
    "up r0", "down r0", "primary r0", "secondary r0", "status r0", "adjust r0", "adjust-with-progress r0", "role r0",
    "state r0", "cstate r0", "dstate r0", "attach r0", "detach r0", "connect r0", "disconnect r0", "invalidate r0",
    "invalidate-remote r0", "outdate r0", "pause-sync r0", "resume-sync r0", "verify r0", "suspend-io r0",
    "resume-io r0", "resize r0", "disk-options r0", "net-options r0", "peer-device-options r0", "resource-options r0",
    "syncer r0", "wait-connect r0", "wait-con-int", "wait-sync r0", "events2 --now", "get-gi r0", "show-gi r0",
    "new-current-uuid r0", "create-md r0", "wipe-md r0", "dump-md r0", "restore-md r0/0 /dev/null", "apply-al r0",
    "check-resize r0", "convert-md --to v08 r0", "repair-md r0", "new-minor r0", "new-peer r0", "new-path r0",
    "del-peer r0", "split-brain r0", "explain r0",
    "metrics r0", "monitor r0",
  ]
  static let silent = [
    "new-resource r0", "dump", "dump-xml", "sh-nop", "sh-resources", "sh-resource r0", "sh-dev r0", "sh-minor r0",
    "sh-ll-dev r0", "sh-md-dev r0", "sh-md-idx r0", "sh-ip r0", "sh-udev r0/0", "sh-mod-parms", "sh-lr-of r0",
    "sh-nbd-uri r0", "install-names /nonexistent", "man", "hidden-commands", "expect-successor r0",
  ]

  /// A daemon that takes the call and says nothing: what a stopped one does.
  @Test(arguments: asking)
  func theTimeoutHoldsForEveryCommand(_ line: String) throws {
    let bench = try AdminBench()
    try bench.configure(extra: "handlers { split-brain true; }")
    try bench.makeDisk(8 << 20)
    let daemon = FakeDaemon("r0", bench.files) { _ in [.silence] }
    defer { daemon.stop() }
    let words = ["--timeout", "0.3"] + line.split(separator: " ").map(String.init)
    let said = bench.run(words)
    // `up` finds it running, and that is its answer.
    #expect(said.code == (line == "up r0" ? 1 : 20), "\(line): \(said.err)")
    if line != "up r0" { #expect(said.err.contains("within 0.3 s"), "\(line): \(said.err)") }
  }

  @Test func noCommandIsLeftOut() throws {
    let known = Set((Self.asking + Self.silent).map { String($0.prefix { $0 != " " }) })
    let commands = Repladm.configuration.subcommands + Repladm.configuration.groupedSubcommands.flatMap(\.subcommands)
    let names = Set(commands.compactMap { $0.configuration.commandName }).subtracting([RunHandler.word])
    #expect(names.subtracting(known).isEmpty, "without a row here: \(names.subtracting(known).sorted())")
  }

  @Test(arguments: SetupTable.rows.map(\.name))
  func theTimeoutHoldsBelowToo(_ name: String) throws {
    let bench = try AdminBench()
    try bench.configure()
    let daemon = FakeDaemon("r0", bench.files) { _ in [.silence] }
    defer { daemon.stop() }
    let row = try #require(SetupTable.row(name))
    let operands: [String] =
      switch row.scope {
      case .anything: name == "events2" ? ["--now"] : []
      case .resource, .resourceOrAll: name == "new-resource" ? ["r0", "7"] : ["r0"]
      case .connection: ["r0", "1"]
      case .minor: ["90"]
      case .peerDevice: ["r0", "1", "0"]
      }
    let limit = (row.section == .net ? "--command-timeout" : "--timeout") + "=0.3"
    let said = bench.run([name] + operands + [limit], program: "replsetup")
    // The one that starts a daemon compares the node id first.
    #expect(said.code == (name == "new-resource" ? 10 : 20), "\(name): \(said.err)")
    if name != "new-resource" { #expect(said.err.contains("within 0.3 s"), "\(name): \(said.err)") }
  }

  @Test func theTimeoutIsOneForAllThatIsNamed() throws {
    let bench = try AdminBench()
    try bench.configure()
    let daemon = FakeDaemon("r0", bench.files) { command in
      if case .primary = command {
        [.reply(.done)]
      } else {
        [.reply(.status(StatusSnapshot(name: "r0", nodeID: 0, role: .primary)))]
      }
    }
    defer { daemon.stop() }
    bench.isRoot = false
    #expect(bench.run("--timeout", "7", "role", "r0", "r0", "r0").code == 0)
    let left = daemon.requests.map { $0.timeoutMilliseconds ?? 0 }
    #expect(left.count == 3 && left.allSatisfy { $0 <= 7000 } && left[2] <= left[1] && left[1] <= left[0])
    #expect(bench.run("--timeout", "0", "role", "r0").code == 0)
    #expect(daemon.requests.last?.timeoutMilliseconds == nil)
  }

  @Test func followingEndsWithTheTimeout() throws {
    let bench = try AdminBench()
    try bench.configure()
    for said in [bench.run("--timeout", "0.3", "events2"), bench.run("events2", "--timeout=0.3", program: "drbdsetup")]
    {
      #expect(said.code == 5 && said.out == "exists -\n" && said.err.contains("events2 ended after 0.3 s"))
    }
  }

  // MARK: down --force

  @Test func aDaemonThatHangsIsEnded() throws {
    let desk = try Desk()
    try desk.synced()
    let pid = try #require(desk.pid(of: desk.bench.a))
    #expect(kill(pid, SIGSTOP) == 0)
    refuses(try desk.a("--timeout 1 down r0"), 20, "did not answer")
    let forced = try desk.a("down --force r0")
    #expect(forced.code == 0 && forced.err.contains("did not end by itself and was killed"), "\(forced.err)")
    #expect(!hasProcess(pid))
    for path in [desk.bench.a.files.controlSocket("r0"), desk.bench.a.files.pidFile("r0")] {
      #expect(access(path, F_OK) != 0)
    }
    succeeds(try desk.a("up --no-device r0"))
    // One that works ends well.
    let polite = try desk.a("down --force r0")
    #expect(polite.code == 0 && polite.err.isEmpty, "\(polite.err)")
    succeeds(try desk.a("down --force r0"))
  }

  private func hasProcess(_ pid: pid_t) -> Bool {
    DeviceRecord.ProcessMark(pid)?.isAlive ?? false
  }

  @Test func clientsOfADaemonAreHungUpOn() throws {
    let desk = try Desk()
    try desk.synced()
    let client = try Client(desk.bench.a.exportPath)
    refuses(try desk.a("down r0"), 11, "(-12) Device is held open by someone")
    succeeds(try desk.a("down --force r0"))
    #expect(throws: (any Error).self) { try client.write(pattern(4096, 1), at: 0) }
  }

  @Test(.enabled(if: hasFuseDevices, "needs root and FUSE, and a kernel without nbd"))
  func aHungDaemonUnderAMountTakesTheDeviceWithIt() throws {
    let desk = try Desk(mebibytes: (64, 64))
    let device = "/dev/drbd_hung\(getpid())"
    try desk.edit("device /dev/drbd90;", "device \(device) minor 90;")
    try desk.up()
    succeeds(try desk.a("down r0"))
    succeeds(try desk.a("up r0"))
    succeeds(try desk.a("primary --force r0"))
    let directory = desk.bench.directory + "/mnt"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
    try shell("mkfs.ext4 -q \(device)")
    try #require(mount(device, directory, "ext4", 0, nil) == 0)
    desk.afterwards { umount2(directory, Int32(MNT_DETACH)) }
    let pid = try #require(desk.pid(of: desk.bench.a))
    #expect(kill(pid, SIGSTOP) == 0)
    // A program that is stuck in the device.
    let writer = Process()
    writer.executableURL = URL(filePath: "/bin/dd")
    writer.arguments = ["if=/dev/zero", "of=\(directory)/file", "bs=1M", "count=4", "oflag=direct"]
    writer.standardError = FileHandle.nullDevice
    try writer.run()
    let state = "/proc/\(writer.processIdentifier)/stat"
    try until("it waits for the disk") {
      try String(contentsOfFile: state, encoding: .utf8).contains(") D ")
    }
    let forced = try desk.a("down --force r0")
    #expect(forced.code == 0, "\(forced.err)")
    #expect(forced.err.contains("opened by mount (mounted on \(directory)): its requests end with errors"))
    try until("the writer has its error") { !writer.isRunning }
    #expect(writer.terminationStatus != 0)
    #expect(umount2(directory, 0) == 0, "the mount lets go")
    #expect(access(device, F_OK) != 0 && !hasProcess(pid))
    let mounts = try String(contentsOfFile: "/proc/self/mounts", encoding: .utf8)
    #expect(!mounts.contains(desk.bench.directory))
  }

  // MARK: /proc

  /// A mount table is larger than one read of it gives.
  @Test(.enabled(if: isRoot && isInstalled("unshare"), "needs root and unshare"))
  func theWholeMountTableIsRead() throws {
    let bench = try AdminBench()
    let ready = bench.directory + "/ready"
    let holder = Process()
    holder.executableURL = URL(filePath: "/usr/bin/unshare")
    holder.arguments = [
      "--mount", "/bin/sh", "-c",
      """
      mkdir -p \(bench.directory)/m; for i in $(seq 700); do
        mkdir -p \(bench.directory)/m/a-directory-with-a-long-name-to-make-the-line-long-$i
        mount -t tmpfs many \(bench.directory)/m/a-directory-with-a-long-name-to-make-the-line-long-$i; done
      mount --bind \(bench.directory) /mnt; touch \(ready); exec sleep 60
      """,
    ]
    try holder.run()
    defer {
      kill(holder.processIdentifier, SIGKILL)
      holder.waitUntilExit()
    }
    try until("the mounts are there", within: 60) { access(ready, F_OK) == 0 }
    let table = "/proc/\(holder.processIdentifier)/mountinfo"
    let text = try #require(wholeFile(table))
    #expect(text.utf8.count > 64 << 10)
    // The last line names the device that the bench lies on.
    let last = try #require(text.split(separator: "\n").last)
    #expect(last.contains(" /mnt "))
    let numbers = last.split(separator: " ")[2].split(separator: ":").compactMap { UInt32($0) }
    var holders = DeviceHolders(
      number: BlockNumber(major: numbers[0], minor: numbers[1]), name: "drbd9")
    holders.mountTable = table
    #expect(holders.list().contains("drbd9 opened by mount (mounted on /mnt)"))
  }
}
