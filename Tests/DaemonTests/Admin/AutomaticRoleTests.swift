// The role follows the use of the device (`auto-promote`): who promotes, who does not, what is refused and how, and that the last close
// demotes. With real daemons, repl-device, ext4 and XFS.
import Base
import BlockIO
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized, .enabled(if: hasFuseDevices, "needs root and FUSE, and a kernel without nbd"))
struct AutomaticRoles {
  @Test(arguments: [("ext4", 32), ("xfs", 320)])
  func aMountPromotesAndTheUnmountDemotes(_ kind: String, _ mebibytes: Int) throws {
    let pair = try PairOfDevices(mebibytes: mebibytes)
    let device = pair.device(pair.a)
    // A program that makes a file system promotes as well.
    try shell("mkfs.\(kind) -q \(device)")
    try pair.becomes("Secondary", pair.a)
    #expect(pair.log(pair.a).contains("repl-device: auto-promote: for mkfs.\(kind) (pid "))
    #expect(pair.errorOfMounting(device, pair.places.0, kind) == 0)
    #expect(try pair.role(pair.a) == "Primary")
    try "there".write(toFile: pair.places.0 + "/file", atomically: true, encoding: .utf8)
    try #require(umount2(pair.places.0, 0) == 0)
    try pair.becomes("Secondary", pair.a)
    // The other node has what was written, and mounts as mount(8) does: it looks for the kind first.
    try shell("mount \(pair.device(pair.b)) \(pair.places.1)")
    #expect(try String(contentsOfFile: pair.places.1 + "/file", encoding: .utf8) == "there")
    #expect(try pair.role(pair.b) == "Primary")
    try shell("umount \(pair.device(pair.b))")
    try pair.becomes("Secondary", pair.b)
  }

  @Test func aPeerThatIsPrimaryRefusesWithTheWrongMediumType() throws {
    let pair = try PairOfDevices()
    let device = pair.device(pair.a)
    try shell("mkfs.ext4 -q \(device)")
    try pair.becomes("Secondary", pair.a)
    succeeds(try pair.type("resource-options --auto-promote-timeout=0 r0", on: pair.a))
    succeeds(try pair.type("primary r0", on: pair.b))
    let begun = ContinuousClock.now
    #expect(pair.errorOfOpening(device, O_RDWR) == EMEDIUMTYPE)
    #expect(pair.errorOfMounting(device, pair.places.0, "ext4") == EMEDIUMTYPE)
    #expect(pair.errorOfOpening(device, O_RDONLY) == EMEDIUMTYPE)
    #expect(ContinuousClock.now - begun < .seconds(3))
    #expect(
      pair.log(pair.a).contains(
        "repl-device: auto-promote: refused: \(pair.name): State change failed: (-1) Multiple primaries not allowed by config"
      ))
    // With its time to wait, an open meets a peer that has demoted meanwhile.
    succeeds(try pair.type("resource-options --auto-promote-timeout=200 r0", on: pair.a))
    var opening: Process?
    try until("it is tried") {
      // For a moment the last refusal holds.
      if opening?.isRunning != true {
        opening = try pair.begun("/bin/dd", ["if=/dev/zero", "of=\(device)", "bs=4096", "count=1"], on: pair.a)
      }
      return pair.log(pair.a).contains("auto-promote: for dd")
    }
    let writer = try #require(opening)
    succeeds(try pair.type("secondary r0", on: pair.b))
    try until("it ends") { !writer.isRunning }
    #expect(writer.terminationStatus == 0)
  }

  @Test func aLookDoesNotPromote() throws {
    let pair = try PairOfDevices()
    let device = pair.device(pair.a)
    #expect(try pair.majorNumber(device) == 147)
    #expect(
      try shell(
        "ls -lL \(device) && stat -L \(device) && test -b \(device) && ls -l \(pair.a.files.deviceNodes(pair.name))/"
      ).contains("147,"))
    #expect(try shell("blkid -p \(device) || true").isEmpty)
    #expect(try shell("head -c 1 \(device) 2>&1 || true").contains("Wrong medium type"))
    #expect(pair.errorOfOpening(device, O_RDONLY) == EMEDIUMTYPE)
    #expect(pair.errorOfOpening(device, 0x20_0000) == 0, "O_PATH opens the name")
    // Whether this one writes is not to be seen.
    let openat2 = """
      python3 -c 'import ctypes, os, struct
      how = struct.pack("QQQ", os.O_RDWR, 0, 0)
      rc = ctypes.CDLL(None, use_errno=True).syscall(437, -100, b"\(device)", how, 24)
      print(rc, ctypes.get_errno())'
      """
    #expect(try shell(openat2) == "-1 \(EMEDIUMTYPE)")
    #expect(!pair.log(pair.a).contains("auto-promote"))
    for node in [pair.a, pair.b] { #expect(try pair.role(node) == "Secondary") }
    // What was opened by its number only opens nothing.
    #expect(access("/sys/dev/block/147:90", F_OK) != 0)
  }

  @Test func autoPromoteNoLeavesTheRoleToCommands() throws {
    let pair = try PairOfDevices()
    let device = pair.device(pair.a)
    succeeds(try pair.type("resource-options --auto-promote=no r0", on: pair.a))
    #expect(pair.errorOfOpening(device, O_RDWR) == EMEDIUMTYPE)
    #expect(try pair.role(pair.a) == "Secondary")
    #expect(pair.log(pair.a).contains("auto-promote: refused: \(pair.name): auto-promote is off"))
    succeeds(try pair.type("primary r0", on: pair.a))
    #expect(pair.errorOfOpening(device, O_RDWR) == 0)
    guard case .refused = try pair.ask(.mayDemote, pair.a) else {
      Issue.record("the last close may demote")
      return
    }
  }

  @Test func theLastCloseDoesNotUndoACommand() throws {
    let pair = try PairOfDevices()
    let device = pair.device(pair.a)
    let first = try pair.opened(device)
    let second = try pair.opened(device, O_RDONLY)
    #expect(try pair.ask(.mayDemote, pair.a) == .done)
    succeeds(try pair.type("primary r0", on: pair.a))
    pair.closed(first)
    pair.closed(second)
    guard case .refused = try pair.ask(.mayDemote, pair.a) else {
      Issue.record("the last close may demote")
      return
    }
    // What the server types at the last close is refused, too.
    let repladm = try program("repladm")
    let demotion = try pair.desk.run(
      "/bin/bash", ["-c", "exec -a replsetup \(repladm) secondary \(pair.name) --automatic"], on: pair.a)
    refuses(demotion, 11, "a command has promoted \(pair.name) meanwhile")
    #expect(try pair.role(pair.a) == "Primary")
    succeeds(try pair.type("secondary r0", on: pair.a))
    #expect(try pair.majorNumber(device) == 147)
  }

  @Test func theLastOfSeveralUsersDemotes() throws {
    let pair = try PairOfDevices(volumes: 2)
    let writer = try pair.opened(pair.device(pair.a, 0))
    #expect(try pair.majorNumber(pair.device(pair.a, 1)) == 7)
    let reader = try pair.opened(pair.device(pair.a, 1), O_RDONLY)
    pair.closed(writer)
    // The server has looked at least twice, and found the reader.
    let pid = getpid()
    let demoted = hasHappened(within: 3) { pair.log(pair.a).contains("auto-demote") }
    #expect(!demoted, "process \(pid) has it open")
    #expect(try pair.role(pair.a) == "Primary")
    pair.closed(reader)
    try pair.becomes("Secondary", pair.a)
    // The server says so when the command has ended, which is after the change.
    #expect(hasHappened { pair.log(pair.a).contains("auto-demote: the last user of the device has closed it") })
  }

  @Test func whatWasReadBeforeIsNotReadAgain() throws {
    let pair = try PairOfDevices()
    let (mine, theirs) = (pair.device(pair.a), pair.device(pair.b))
    func put(_ byte: UInt8, _ path: String) throws {
      let file = try pair.opened(path)
      let bytes = [UInt8](repeating: byte, count: 1 << 20)
      try #require(pwrite(file, bytes, bytes.count, 4096) == bytes.count && fsync(file) == 0)
      pair.closed(file)
    }
    func expect(_ byte: UInt8, _ path: String) throws {
      let file = try pair.opened(path)
      var bytes = [UInt8](repeating: 0xff, count: 1 << 20)
      try #require(pread(file, &bytes, bytes.count, 4096) == bytes.count)
      #expect(bytes.allSatisfy { $0 == byte }, "\(path) has \(bytes[0]), not \(byte)")
      pair.closed(file)
    }
    try put(1, mine)
    // Through the page cache, so that it could be read from there.
    try expect(1, mine)
    try pair.becomes("Secondary", pair.a)
    #expect(pair.errorOfOpening(mine, O_RDONLY) == EMEDIUMTYPE)
    for byte in UInt8(2)...4 {
      try put(byte, theirs)
      #expect(pair.errorOfOpening(mine, O_RDONLY) == EMEDIUMTYPE)
      try pair.becomes("Secondary", pair.b)
      try expect(byte, mine)
      try pair.becomes("Secondary", pair.a)
    }
  }

  @Test func anOpenThatMeetsADemotionGetsTheDevice() throws {
    let pair = try PairOfDevices()
    let device = pair.device(pair.a)
    var bytes: off_t?
    for round in 0..<12 {
      succeeds(try pair.type("primary r0", on: pair.a))
      let demotion = try pair.begun(try program("repladm"), ["secondary", pair.name], on: pair.a)
      // It has begun when it holds the lock of the role; each round meets it at another place.
      while demotion.isRunning, !PidFile.isHeld(pair.a.files.roleLock(pair.name)) { sched_yield() }
      usleep(UInt32(round) * 3000)
      // Neither nothing, nor a loop device without a file.
      let file = try pair.opened(device)
      let end = lseek(file, 0, SEEK_END)
      #expect(end > 31 << 20 && end == bytes ?? end, "round \(round)")
      bytes = end
      var byte: UInt8 = 1
      #expect(pwrite(file, &byte, 1, 0) == 1)
      pair.closed(file)
      try until("the demotion ends") { !demotion.isRunning }
      #expect([0, 11].contains(demotion.terminationStatus), "round \(round)")
    }
  }

  @Test func whoMayNotUseTheDeviceDoesNotPromote() throws {
    let pair = try PairOfDevices()
    let device = pair.device(pair.a)
    let group = try shell("stat -L -c %g \(device)").trimmingCharacters(in: .whitespacesAndNewlines)
    let asNobody = "setpriv --reuid 65534 --regid 65534"
    try shell("chmod 755 \(pair.desk.bench.directory)")
    #expect(
      try shell("\(asNobody) --clear-groups dd if=/dev/zero of=\(device) bs=4096 count=1 2>&1 || true")
        .contains("Permission denied"))
    #expect(try pair.role(pair.a) == "Secondary")
    #expect(!pair.log(pair.a).contains("auto-promote"))
    try shell("\(asNobody) --groups \(group) dd if=/dev/zero of=\(device) bs=4096 count=1")
    #expect(pair.log(pair.a).contains("auto-promote: for dd"))
  }
}

/// Whether it happens within this time.
private func hasHappened(within seconds: Double, _ condition: () -> Bool) -> Bool {
  do {
    try until("it happens", within: seconds) { condition() }
    return true
  } catch {
    return false
  }
}
