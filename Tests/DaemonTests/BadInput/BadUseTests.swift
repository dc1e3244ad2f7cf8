// Promotion and demotion against the data and against those who use them: exit 17 without good data, exit 11 with the name of
// who holds the device.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite struct BadInputUse {
  @Test func promotionWithoutGoodDataIsExit17() throws {
    let desk = try Desk()
    try desk.up()
    for line in ["primary r0", "primary all"] {
      refuses(
        try desk.a(line), 17, "r0: State change failed: (-2) Need access to UpToDate data",
        "the disk of r0/0 is Inconsistent and the peer's is Inconsistent", "repladm primary --force r0")
    }
    refuses(try desk.a("invalidate r0"), 17, "(-2)", "the side that would be copied is Inconsistent")
    succeeds(try desk.a("primary --force r0"))
    try desk.bench.inSync()
    for line in ["primary r0", "primary --force r0"] {
      refuses(
        try desk.b(line), 11, "r0: State change failed: (-1) Multiple primaries not allowed by config",
        "a is Primary", "repladm secondary r0")
    }
    refuses(try desk.a("outdate r0"), 11, "(-6) Refusing to be Outdated while Connected", "repladm disconnect r0")
    refuses(try desk.a("invalidate r0"), 11, "this node is Primary: its data are in use", "repladm secondary r0")
    refuses(try desk.a("attach r0"), 10, "(124)", "repladm detach r0/0")
    refuses(try desk.a("connect r0"), 10, "(125) Device has a net-config (use disconnect first)")
    #expect(try desk.a("role r0").out == "Primary\n")
    #expect(try desk.b("role r0").out == "Secondary\n")
    // Alone and Outdated: still 17.
    succeeds(try desk.a("disconnect r0"))
    try until("b notices") { try desk.b("cstate r0").out == "Connecting\n" }
    succeeds(try desk.b("outdate r0"))
    refuses(try desk.b("primary r0"), 17, "(-2)", "the disk of r0/0 is Outdated and a is not connected")
    refuses(try desk.a("outdate r0"), 17, "this node is Primary: it needs its data", "repladm secondary r0")
  }

  @Test func aClientOfTheExportIsNamed() throws {
    let desk = try Desk()
    try desk.synced()
    let client = try Client(desk.bench.a.exportPath)
    try client.write(pattern(4096, 1), at: 0)
    // Half a request and then silence, from another.
    let silent = try Client(desk.bench.a.exportPath)
    try silent.wire.send(big(UInt32(0x2560_9513)) + big(UInt16(0)) + big(UInt16(1)))
    let me = "r0/0 opened by \(ProcessInfo.processInfo.processName.prefix(15)) (pid \(getpid())"
    for command in ["secondary r0", "down r0"] {
      refuses(
        try desk.a(command), 11, "r0: State change failed: (-12) Device is held open by someone\nadditional info:\n",
        me,
        "end the program that uses the volume, then repeat the command")
    }
    #expect(try desk.a("role r0").out == "Primary\n")
    #expect(try client.read(4096, at: 0) == pattern(4096, 1))
    succeeds(try desk.a("secondary --force r0"))
    #expect(silent.wire.hasEnded() && client.wire.hasEnded())
    #expect(throws: Client.Denied(text: "r0/0 is Secondary on this node: promote it first (repladm primary r0)")) {
      _ = try Client(desk.bench.a.exportPath)
    }
    succeeds(try desk.b("primary r0"))
    #expect(try Client(desk.bench.b.exportPath).read(4096, at: 0) == pattern(4096, 1))
  }

  @Test func requestsThatAreTooLongOrOutside() throws {
    let desk = try Desk()
    try desk.synced()
    let client = try Client(desk.bench.a.exportPath)
    try client.write(pattern(4096, 1), at: client.size - 4096)
    #expect(throws: Client.Refused(error: 22)) { _ = try client.read(Int(UInt32.max), at: 0) }
    #expect(throws: Client.Refused(error: 22)) { _ = try client.read(4096, at: client.size) }
    #expect(throws: Client.Refused(error: 22)) { _ = try client.read(4096, at: .max) }
    #expect(throws: Client.Refused(error: 22)) { try client.trim(Int(UInt32.max), at: 0) }
    #expect(throws: Client.Refused(error: 28)) { try client.zero(8192, at: client.size - 4096) }
    #expect(try client.read(4096, at: client.size - 4096) == pattern(4096, 1))
    // An option that announces four gigabytes of text.
    let long = try Wire(unix: desk.bench.a.exportPath)
    _ = try long.receive(18)
    try long.send(big(UInt32(3)) + big(UInt64(0x4948_4156_454f_5054)) + big(UInt32(7)) + big(UInt32.max))
    // The magic of another protocol.
    let other = try Wire(unix: desk.bench.a.exportPath)
    try other.send(big(UInt32(3)) + Array("SSH-2.0-OpenSSH\r\n".utf8))
    #expect(other.hasEnded())
    #expect(try client.read(4096, at: client.size - 4096) == pattern(4096, 1))
    try client.leave()
    succeeds(try desk.a("secondary r0"))
  }

  @Test(.enabled(if: hasFuseDevices, "needs root and FUSE, and a kernel without nbd"))
  func aMountedDeviceForbidsDemotionAndDown() throws {
    let desk = try Desk(mebibytes: (32, 32))
    let device = "/dev/drbd_bad\(getpid())"
    try desk.edit("device /dev/drbd90;", "device \(device) minor 90;")
    try desk.makePrimaryWithDevice()
    let place = desk.bench.directory + "/mnt"
    try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: false)
    try shell("mkfs.ext4 -q \(device) && mount \(device) \(place)")
    defer {
      umount2(place, Int32(MNT_DETACH))
      do { try desk.a("down r0") } catch { print("left behind: \(device)") }
    }
    try "before".write(toFile: place + "/file", atomically: false, encoding: .utf8)
    for command in ["secondary r0", "down r0"] {
      refuses(
        try desk.a(command), 11, "r0: State change failed: (-12) Device is held open by someone\nadditional info:\n",
        "\(device.dropFirst(5)) opened by mount (mounted on \(place))", "unmount it or end those programs")
    }
    #expect(try desk.a("role r0").out == "Primary\n")
    refuses(try desk.b("primary r0"), 11, "(-1)")
    // The file system never noticed.
    try "after".write(toFile: place + "/second", atomically: false, encoding: .utf8)
    sync()
    try #require(umount2(place, 0) == 0)
    // A program that has the device itself open.
    let file = try FileHandle(forReadingFrom: URL(filePath: device))
    refuses(try desk.a("secondary r0"), 11, "(-12)", "(pid \(getpid()))")
    try file.close()
    succeeds(try desk.a("secondary r0"))
    #expect(open(device, O_RDONLY) < 0 && errno == EMEDIUMTYPE)
    try desk.bench.expectEqualData()

    // Killed while mounted: what is left is said, and goes when its use ends.
    succeeds(try desk.a("primary r0"))
    try shell("mount \(device) \(place)")
    #expect(try String(contentsOfFile: place + "/second", encoding: .utf8) == "after")
    desk.killDaemon(desk.bench.a)
    let down = try desk.a("down r0")
    #expect(
      down.code == 0 && down.err.contains("opened by mount (mounted on \(place)), left over from a repld that died"))
    #expect(access(device, F_OK) != 0)
    umount2(place, Int32(MNT_DETACH))
    succeeds(try desk.a("up r0"))
    succeeds(try desk.a("primary r0"))
    try shell("mount \(device) \(place)")
    #expect(try String(contentsOfFile: place + "/file", encoding: .utf8) == "before")
    try #require(umount2(place, 0) == 0)
    succeeds(try desk.a("down r0"))
    #expect(access(device, F_OK) != 0)
  }
}
