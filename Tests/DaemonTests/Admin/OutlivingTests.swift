// The block device outlives its daemon: requests of a mounted file system wait while repld is dead, and are sent to the next repld;
// `down` ends them with errors. With real daemons, repl-device and ext4.
import Base
import Control
import Foundation
import Glibc
@testable import ReplAdmin
import Testing

/// Two nodes; `a` is Primary, its device has ext4 on it and is mounted.
private final class Mounted {
  let desk: Desk
  let device: String
  let place: String
  /// The names of the files under the loop devices that there were.
  private var names: [String] = []
  /// Writes numbered lines to a file of the mount, each flushed to the disk, until it is told to stop or meets an error.
  private(set) var writer: Process?
  private var stop: String { desk.bench.directory + "/stop" }
  private var log: String { desk.bench.directory + "/written" }

  init(mebibytes: Int = 96) throws {
    desk = try Desk(mebibytes: (mebibytes, mebibytes))
    // Another run of these tests may go on beside this one.
    device = "/dev/drbd_out\(getpid())"
    place = desk.bench.directory + "/mnt"
    try desk.edit("device /dev/drbd90;", "device \(device) minor 90;")
    try desk.makePrimaryWithDevice()
    try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: false)
    try shell("mkfs.ext4 -q \(device)")
    try mountIt()
  }

  deinit {
    _ = FileManager.default.createFile(atPath: stop, contents: nil)
    // What waits for a daemon that is gone ends with it.
    do {
      try desk.a("down --force r0")
      if let writer { try until("the writer ends") { !writer.isRunning } }
    } catch {
      print("left behind: \(device)")
    }
    umount2(place, Int32(MNT_DETACH))
    do {
      for node in [desk.bench.a, desk.bench.b] { succeeds(try desk.type("down --force r0", on: node, [:])) }
    } catch {
      print("left behind: \(device)")
    }
  }

  func mountIt() throws {
    try noteName()
    try #require(mount(device, place, "ext4", 0, nil) == 0)
  }

  func noteName() throws { names.append(try shell("ls \(desk.bench.a.files.deviceMount("r0"))")) }

  func beginWriting() throws {
    let process = Process()
    process.executableURL = URL(filePath: "/bin/sh")
    process.arguments = [
      "-c",
      "i=0; while [ ! -e \(stop) ]; do i=$((i + 1)); echo \"line $i\" >>\(place)/lines && sync \(place)/lines || exit 1; "
        + "echo $i >>\(log); done",
    ]
    process.standardError = FileHandle.nullDevice
    try process.run()
    writer = process
    try until("the writer writes") { written > 20 }
  }

  /// Lines that are durable.
  var written: Int {
    FileManager.default.contents(atPath: log)?.split(separator: UInt8(ascii: "\n")).last
      .flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0
  }

  /// Returns the exit code of the writer.
  func endWriting() throws -> Int32 {
    _ = FileManager.default.createFile(atPath: stop, contents: nil)
    let process = try #require(writer)
    try until("the writer ends") { !process.isRunning }
    return process.terminationStatus
  }

  func isWaiting() throws -> Bool {
    // The shell waits for `echo`, a part of itself, or for `sync`, its child.
    let pid = try #require(writer).processIdentifier
    return try shell("ps -o stat= --pid \(pid) --ppid \(pid)").contains("D")
  }

  var server: pid_t? {
    FileManager.default.contents(atPath: desk.bench.a.files.deviceLock("r0"))
      .flatMap { pid_t(String(decoding: $0, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)) }
  }

  func nothingIsLeft(location: SourceLocation = #_sourceLocation) throws {
    let files = desk.bench.a.files
    for path in [
      device, "/dev/drbd/by-res/r0", files.device("r0", VolumeNumber(0)), files.deviceSocket("r0"),
      files.deviceLock("r0"),
      files.deviceMount("r0"),
    ] { #expect(access(path, F_OK) != 0, "\(path) is left", sourceLocation: location) }
    let mounts = try String(contentsOfFile: "/proc/self/mounts", encoding: .utf8)
    #expect(!mounts.contains(desk.bench.directory), sourceLocation: location)
    let loops = try shell("losetup --list --output BACK-FILE")
    for name in names { #expect(!name.isEmpty && !loops.contains(name), sourceLocation: location) }
  }
}

@Suite(.serialized, .enabled(if: hasFuseDevices, "needs root and FUSE, and a kernel without nbd"))
struct DeviceOutlivesDaemon {
  @Test func aWriterSeesNoErrorWhenTheDaemonIsKilled() throws {
    let mounted = try Mounted()
    let desk = mounted.desk
    try mounted.beginWriting()
    desk.killDaemon(desk.bench.a)
    try until("the writer waits") { try mounted.isWaiting() }
    let status = try desk.a("status r0")
    #expect(
      status.err.contains(
        "r0: the requests to \(mounted.device) wait for repladm up r0, then repladm primary r0; repladm down r0 ends them with "
          + "errors.\n"), "\(status.err)")
    let before = mounted.written
    succeeds(try desk.a("up r0"))
    succeeds(try desk.a("wait-connect r0"))
    #expect(try desk.a("status r0").err.contains("wait for repladm primary r0;"))
    #expect(mounted.written <= before + 1 && mounted.server != nil)
    succeeds(try desk.a("primary r0"))
    try until("the writer goes on") { mounted.written > before + 20 }
    #expect(try mounted.endWriting() == 0)
    #expect(try desk.a("status r0").err.isEmpty)
    let lines = try String(contentsOfFile: mounted.place + "/lines", encoding: .utf8)
    #expect(lines == (1...mounted.written).map { "line \($0)\n" }.joined())
    try #require(umount2(mounted.place, 0) == 0)
    try shell("e2fsck -fn \(mounted.device)")
    succeeds(try desk.a("secondary r0"))
    try desk.bench.inSync()
    try desk.bench.expectEqualData()
    succeeds(try desk.a("down r0"))
    try mounted.nothingIsLeft()
  }

  @Test func theDeviceOutlivesTwoDaemons() throws {
    let mounted = try Mounted()
    let desk = mounted.desk
    try mounted.beginWriting()
    for _ in 0..<2 {
      let before = mounted.written
      desk.killDaemon(desk.bench.a)
      try desk.startAgainAsPrimary()
      try until("the writer goes on") { mounted.written > before + 20 }
    }
    #expect(try mounted.endWriting() == 0)
  }

  /// What comes while no daemon is there waits, too.
  @Test func aDaemonThatEndsInOrderIsWaitedFor() throws {
    let mounted = try Mounted()
    let desk = mounted.desk
    try mounted.beginWriting()
    let pid = try #require(desk.pid(of: desk.bench.a))
    #expect(kill(pid, SIGTERM) == 0)
    try until("the daemon has ended") { kill(pid, 0) != 0 }
    let before = mounted.written
    try desk.startAgainAsPrimary()
    try until("the writer goes on") { mounted.written > before + 20 }
    #expect(try mounted.endWriting() == 0)
  }

  @Test func downEndsWhatWaitsWithErrors() throws {
    let mounted = try Mounted()
    let desk = mounted.desk
    try mounted.beginWriting()
    desk.killDaemon(desk.bench.a)
    try until("the writer waits") { try mounted.isWaiting() }
    let down = try desk.a("down r0")
    #expect(down.code == 0 && down.err.contains("left over from a repld that died: end that use"), "\(down.err)")
    let writer = try #require(mounted.writer)
    try until("the writer has its error") { !writer.isRunning }
    #expect(writer.terminationStatus == 1)
    try #require(umount2(mounted.place, 0) == 0)
    try mounted.nothingIsLeft()
  }

  /// The peer has written in between: what was mounted must not be written on.
  @Test func dataThatAreNotTheSameAreNotGoneOnWith() throws {
    let mounted = try Mounted()
    let desk = mounted.desk
    try mounted.beginWriting()
    desk.killDaemon(desk.bench.a)
    try until("the writer waits") { try mounted.isWaiting() }
    try until("the peer notices") { try desk.b("cstate r0").out == "Connecting\n" }
    succeeds(try desk.b("primary r0"))
    let client = try Client(desk.bench.b.exportPath)
    try client.write(pattern(4096, 77), at: client.size - 4096)
    try client.leave()
    succeeds(try desk.b("secondary r0"))
    succeeds(try desk.a("up r0"))
    succeeds(try desk.a("wait-connect r0"))
    try desk.bench.inSync()
    let primary = try desk.a("primary r0")
    #expect(primary.code == 0 && primary.err.contains("left over from a repld that died"), "\(primary.err)")
    let writer = try #require(mounted.writer)
    try until("the writer has its error") { !writer.isRunning }
    #expect(writer.terminationStatus == 1)
    try #require(umount2(mounted.place, 0) == 0)
    let file = try FileHandle(forReadingFrom: URL(filePath: mounted.device))
    try file.seek(toOffset: UInt64(client.size) - 4096)
    #expect(try file.read(upToCount: 4096) == Data(pattern(4096, 77)))
    try file.close()
    succeeds(try desk.a("secondary r0"))
  }

  @Test(arguments: ["primary r0", "adjust r0"])
  func aServerThatDiedIsSaidAndMended(_ command: String) throws {
    let mounted = try Mounted()
    let desk = mounted.desk
    let server = try #require(mounted.server)
    // A signal that asks it to end is no reason to.
    #expect(kill(server, SIGTERM) == 0)
    try until("it says so") { desk.log(desk.bench.a).contains("it does not end while a device of r0 is there") }
    try "here".write(toFile: mounted.place + "/file", atomically: false, encoding: .utf8)
    sync()
    #expect(kill(server, SIGKILL) == 0)
    let said =
      "\(mounted.device) does not work any more, because its server (repl-device, process \(server)) has died: "
    try until("status says it") { try desk.a("status r0").err.hasPrefix("r0: " + said + "repladm primary r0 makes") }
    #expect(try desk.a("explain r0").out.contains(said))
    succeeds(try desk.a(command))
    #expect(try desk.a("status r0").err.isEmpty)
    // The mount is on the device that was.
    umount2(mounted.place, 0)
    try mounted.mountIt()
    #expect(try String(contentsOfFile: mounted.place + "/file", encoding: .utf8) == "here")
    try #require(umount2(mounted.place, 0) == 0)
    succeeds(try desk.a("down r0"))
    try mounted.nothingIsLeft()
  }

  @Test func aMountedDeviceGrows() throws {
    let mounted = try Mounted()
    let desk = mounted.desk
    try mounted.beginWriting()
    for node in [desk.bench.a, desk.bench.b] { #expect(truncate(node.disk(0), 160 << 20) == 0) }
    let resize = try desk.a("resize r0")
    #expect(resize.code == 0 && resize.out.contains("\(mounted.device) has "), "\(resize.out) \(resize.err)")
    let size = try desk.bench.a.status().devices[0].size << 10
    #expect(try shell("blockdev --getsize64 \(mounted.device)") == "\(size)")
    // To the last block, and past the end of the file system.
    try shell("dd if=/dev/urandom of=\(mounted.device) bs=4096 count=1024 seek=\(size / 4096 - 1024) oflag=direct")
    #expect(try mounted.endWriting() == 0)
    try #require(umount2(mounted.place, 0) == 0)
    try shell("e2fsck -fn \(mounted.device)")
    succeeds(try desk.a("secondary r0"))
    try desk.bench.expectEqualData()
  }

  @Test func twoVolumesHaveOneServer() throws {
    let desk = try Desk()
    let devices = (0...1).map { "/dev/drbd_two\(getpid())_\($0)" }
    try desk.bench.makeDisk(desk.bench.directory + "/a1.img", mebibytes: 16)
    let text = """
      global { disable-ip-verification; }
      resource r2 {
        volume 0 { device \(devices[0]) minor 92; disk \(desk.bench.directory)/a1.img; meta-disk internal; }
        volume 1 { device \(devices[1]) minor 93; disk \(desk.bench.directory)/a2.img; meta-disk internal; }
        on a { address 127.0.0.1:\(try freePort()); node-id 0; } on b { address 127.0.0.1:\(try freePort()); node-id 1; }
      }
      """
    try desk.bench.makeDisk(desk.bench.directory + "/a2.img", mebibytes: 16)
    try text.write(toFile: desk.config, atomically: true, encoding: .utf8)
    for line in ["create-md r2", "up r2", "primary --force r2"] { succeeds(try desk.a(line)) }
    defer { do { try desk.a("down --force r2") } catch { print("left behind: r2") } }
    let files = desk.bench.a.files
    let names = try FileManager.default.contentsOfDirectory(atPath: files.deviceMount("r2")).sorted()
    #expect(names.count == 2 && names[0].hasPrefix("r2-0-") && names[1].hasPrefix("r2-1-"))
    for device in devices { try shell("dd if=/dev/urandom of=\(device) bs=1M count=8 oflag=direct") }
    succeeds(try desk.a("secondary r2"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: files.deviceMount("r2")).isEmpty)
    for device in devices { #expect(open(device, O_RDONLY) < 0 && errno == EMEDIUMTYPE) }
    // With the server dead, all of both goes, too.
    succeeds(try desk.a("primary r2"))
    let later = try FileManager.default.contentsOfDirectory(atPath: files.deviceMount("r2"))
    let lock = try String(contentsOfFile: files.deviceLock("r2"), encoding: .utf8)
    let server = try #require(pid_t(lock.trimmingCharacters(in: .whitespacesAndNewlines)))
    #expect(kill(server, SIGKILL) == 0)
    try until("the server is dead") { kill(server, 0) != 0 }
    succeeds(try desk.a("down r2"))
    #expect(access(files.deviceMount("r2"), F_OK) != 0 && devices.allSatisfy { access($0, F_OK) != 0 })
    let loops = try shell("losetup --list --output BACK-FILE")
    for name in names + later { #expect(!loops.contains(name), "\(name) is left") }
  }

  /// Such a device may be in use when the next version is installed.
  @Test func aDeviceOfAnEarlierVersionIsTakenAway() throws {
    let desk = try Desk()
    let device = "/dev/drbd_old\(getpid())"
    try desk.edit("device /dev/drbd90;", "device \(device) minor 90;")
    let mount = desk.bench.a.runDirectory + "/r0-0.fuse"
    try FileManager.default.createDirectory(atPath: mount, withIntermediateDirectories: true)
    try shell("mount -t tmpfs none \(mount) && truncate --size 1M \(mount)/export")
    desk.afterwards { umount2(mount, Int32(MNT_DETACH)) }
    let loop = try shell("losetup --find --show \(mount)/export")
    desk.afterwards { do { try shell("losetup --detach \(loop) || true") } catch { print("left behind: \(loop)") } }
    let minor = try #require(Int(loop.dropFirst("/dev/loop".count)))
    try shell("mknod \(device) b 7 \(minor)")
    let server = Process()
    server.executableURL = URL(filePath: "/bin/sleep")
    server.arguments = ["60"]
    try server.run()
    desk.afterwards { server.terminate() }
    let start = try #require(DeviceRecord.ProcessMark(server.processIdentifier)).start
    let text =
      "{\"means\":\"nbdfuse\",\"major\":7,\"minor\":\(minor),\"paths\":[\"\(device)\"],\"fuseMount\":\"\(mount)\","
      + "\"fuse\":{\"pid\":\(server.processIdentifier),\"start\":\(start)},\"daemon\":{\"pid\":1,\"start\":0}}"
    try text.write(toFile: desk.bench.a.files.device("r0", VolumeNumber(0)), atomically: true, encoding: .utf8)
    succeeds(try desk.a("down r0"))
    #expect(!server.isRunning)
    for path in [device, mount, desk.bench.a.files.device("r0", VolumeNumber(0))] {
      #expect(access(path, F_OK) != 0, "\(path) is left")
    }
    #expect(try !shell("losetup --list --output BACK-FILE").contains(mount))
  }
}

extension Desk {
  /// Two nodes that are connected and UpToDate; the first is Primary and has the block device, the second has none.
  func makePrimaryWithDevice() throws {
    for node in [bench.a, bench.b] { succeeds(try type("create-md r0", on: node, [:])) }
    succeeds(try a("up r0"))
    succeeds(try b("up --no-device r0"))
    succeeds(try a("wait-connect r0"))
    succeeds(try a("primary --force r0"))
    try bench.inSync()
  }

  /// The next daemon of the first node, promoted when it is connected: a promotion during the handshake is refused.
  fileprivate func startAgainAsPrimary() throws {
    succeeds(try a("up r0"))
    succeeds(try a("wait-connect r0"))
    succeeds(try a("primary r0"))
  }
}
