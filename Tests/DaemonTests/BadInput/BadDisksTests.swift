// Disks that cannot be used, and metadata that cannot be believed. The daemon stays, Diskless; nothing on the disk is changed;
// when the cause is gone one command attaches it.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite struct BadInputDisks {
  /// A node whose disk has good metadata, and is not up.
  private func prepared(_ mebibytes: Int = 16) throws -> Desk {
    let desk = try Desk(mebibytes: (mebibytes, 16))
    succeeds(try desk.a("create-md r0"))
    return desk
  }

  /// `up` and `attach` refuse, the disk is Diskless, and nothing hangs.
  private func isNotAttached(
    _ desk: Desk, _ number: Int, _ parts: String..., location: SourceLocation = #_sourceLocation
  ) throws {
    for line in ["up --no-device r0", "attach r0"] {
      let said = try desk.a(line)
      refuses(said, 10, "r0: Failure: (\(number)) ", location: location)
      for part in parts {
        #expect(said.err.contains(part), "'\(part)' is missing: \(said.err)", sourceLocation: location)
      }
    }
    #expect(try desk.a("dstate r0").out == "Diskless/DUnknown\n", sourceLocation: location)
    succeeds(try desk.a("status r0"), location: location)
  }

  @Test func aDiskThatIsMissingOrNoDisk() throws {
    let desk = try prepared()
    let disk = desk.bench.a.disk(0)
    try FileManager.default.moveItem(atPath: disk, toPath: disk + ".away")
    refuses(try desk.a("create-md r0"), 20, "\(disk) does not exist: create it, or correct the 'disk'")
    try isNotAttached(
      desk, 104, "Can not open backing device", "\(disk) does not exist: create it, or correct the 'disk'",
      "Then run repladm attach r0/0.\n")
    try FileManager.default.moveItem(atPath: disk + ".away", toPath: disk)
    succeeds(try desk.a("attach r0"))
    succeeds(try desk.a("down r0"))

    try FileManager.default.moveItem(atPath: disk, toPath: disk + ".away")
    try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: false)
    refuses(try desk.a("create-md r0"), 20, "\(disk) is a directory, neither a block device nor a file")
    try isNotAttached(desk, 104, "\(disk) is a directory, neither a block device nor a file")
  }

  @Test(arguments: [(0, "has no size"), (2048, "has 2048 bytes"), (65536, "has 65536 bytes, but at least 1048576")])
  func aDiskThatIsTooSmall(bytes: Int, words: String) throws {
    let desk = try Desk()
    try #require(truncate(desk.bench.a.disk(0), bytes) == 0)
    if bytes == 0 {
      refuses(try desk.a("create-md r0"), 20, "has no size")
    } else {
      refuses(
        try desk.a("create-md r0"), 10, "is only \(bytes) bytes. That's not enough", "need 1048576 bytes",
        "use a larger device")
    }
    try isNotAttached(desk, 111, "smaller than requested", words)
  }

  @Test func aDiskThatHasShrunkSinceIsNotCutOff() throws {
    let desk = try Desk(mebibytes: (24, 24))
    try desk.synced()
    succeeds(try desk.a("down r0"))
    let disk = desk.bench.a.disk(0)
    // Truncated: the metadata are gone with the end.
    let whole = try Data(contentsOf: URL(filePath: disk))
    try #require(truncate(disk, 16 << 20) == 0)
    refuses(
      try desk.a("up --no-device r0"), 1, "r0: No valid meta data found\n",
      "if the disk is new, write some with repladm")
    // Moved along to the new end: they say that more belongs here.
    let moved = try FileHandle(forUpdating: URL(filePath: disk))
    try moved.seek(toOffset: 15 << 20)
    try moved.write(contentsOf: whole[(23 << 20)...])
    try moved.close()
    refuses(
      try desk.a("adjust r0"), 10, "(170) Implicit device shrinking not allowed", "24536 KiB of data",
      "room for 16344 KiB", "give the device its former size back")
    // The old size back, and all is well.
    try whole.write(to: URL(filePath: disk))
    succeeds(try desk.a("adjust r0"))
    #expect(try desk.a("dstate r0/0").out.hasPrefix("UpToDate/"))
  }

  @Test func aDiskThatMayNotBeWritten() throws {
    guard canLoop else {
      let desk = try prepared()
      try #require(chmod(desk.bench.a.disk(0), 0o400) == 0)
      defer { chmod(desk.bench.a.disk(0), 0o600) }
      return try isNotAttached(desk, 104, "may not be opened for writing by this user")
    }
    let desk = try prepared()
    let loopFile = desk.bench.a.disk(0)
    let loop = try shell("losetup --find --show --read-only \(loopFile)")
    desk.afterwards { detach(loop) }
    try desk.edit(desk.bench.a.disk(0), loop)
    refuses(try desk.a("create-md r0"), 20, "\(loop) is read-only: make it writable")
    try isNotAttached(desk, 104, "\(loop) is read-only: make it writable ('blockdev --setrw'")
    try shell("losetup -d \(loop) && losetup \(loop) \(loopFile)")
    succeeds(try desk.a("attach r0"))
  }

  @Test(.enabled(if: canLoop, "needs root and loop devices"))
  func aDiskThatIsMountedOrUsedBySomethingElse() throws {
    let desk = try prepared(32)
    let disk = desk.bench.a.disk(0)
    let loop = try shell("losetup --find --show \(disk)")
    desk.afterwards { detach(loop) }
    // The file below a loop device.
    refuses(try desk.a("create-md --force r0"), 20, "\(disk) is in use: \(loop) is set up on it", "nothing was changed")
    try isNotAttached(desk, 114, "already claimed", "\(disk) is in use: \(loop) is set up on it")
    succeeds(try desk.a("down r0"))
    // The loop device itself, mounted.
    try desk.edit(disk, loop)
    let place = desk.bench.directory + "/mnt"
    try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: false)
    try shell("mkfs.ext4 -q \(loop) 16M && mount -t ext4 \(loop) \(place)")
    desk.afterwards { umount2(place, Int32(MNT_DETACH)) }
    try "kept".write(toFile: place + "/file", atomically: false, encoding: .utf8)
    refuses(
      try desk.a("create-md --force r0"), 20, "\(loop) is in use: it is mounted on \(place)", "nothing was changed")
    try isNotAttached(desk, 114, "already claimed", "\(loop) is in use: it is mounted on \(place)")
    #expect(try String(contentsOfFile: place + "/file", encoding: .utf8) == "kept")
    try #require(umount2(place, 0) == 0)
    succeeds(try desk.a("attach r0"))
  }

  @Test func aDiskThatAnotherDaemonHas() throws {
    let desk = try prepared()
    succeeds(try desk.a("up --no-device r0"))
    try FileManager.default.removeItem(atPath: desk.bench.b.disk(0))
    try FileManager.default.createSymbolicLink(
      atPath: desk.bench.b.disk(0), withDestinationPath: desk.bench.a.disk(0))
    let holder = "is in use: repld (pid \(try #require(desk.pid(of: desk.bench.a)))) has it open; nothing was changed"
    for line in ["create-md --force r0", "wipe-md --force r0"] { refuses(try desk.b(line), 20, holder) }
    refuses(try desk.b("up --no-device r0"), 10, "(114)", holder, "Then run repladm attach r0/0.\n")
    refuses(try desk.a("create-md --force r0"), 20, "Device '90' is configured!", "repladm detach r0/0")
    #expect(try desk.a("dstate r0").out.hasPrefix("Inconsistent/"))
  }

  // MARK: Metadata

  @Test func metadataThatAreAbsent() throws {
    let desk = try Desk()
    let up = try desk.a("up --no-device r0")
    refuses(
      up, 1, "r0: No valid meta data found\nno DRBD metadata was found where that of r0/0 belongs",
      "if the disk is new, write some with repladm create-md r0/0, then run repladm adjust r0.\n")
    // What DRBD leaves behind: the resource, Diskless and StandAlone.
    #expect(try desk.a("dstate r0").out == "Diskless/DUnknown\n")
    #expect(try desk.a("cstate r0").out == "StandAlone\n")
    refuses(try desk.a("primary --force r0"), 17, "(-2)", "the disk of r0/0 is Diskless")
    succeeds(try desk.a("create-md r0/0"))
    succeeds(try desk.a("adjust r0"))
    #expect(try desk.a("dstate r0").out == "Inconsistent/DUnknown\n")
    succeeds(try desk.a("down r0"))
    succeeds(try desk.a("wipe-md --force r0"))
    for command in ["dump-md", "get-gi", "dstate", "apply-al"] {
      refuses(try desk.a("\(command) r0"), 1, "No valid meta data found", "repladm create-md")
    }
  }

  /// Where the damage is, in bytes of the superblock, and what is said about it.
  @Test(arguments: [(0, "absent"), (64, "found"), (8, "belongs"), (60, "found"), (100, "found"), (200, "found")])
  func metadataThatAreDamagedAreNotOverwrittenByAdvice(offset: UInt64, _: String) throws {
    let desk = try Desk(mebibytes: (16, 16))
    try desk.synced()
    succeeds(try desk.a("down r0"))
    let disk = desk.bench.a.disk(0)
    let before = try Data(contentsOf: URL(filePath: disk))
    let file = try FileHandle(forUpdating: URL(filePath: disk))
    try file.seek(toOffset: (16 << 20) - 4096 + offset)
    try file.write(contentsOf: pattern(64, offset))
    try file.close()
    let damaged = try Data(contentsOf: URL(filePath: disk))
    let said = try desk.a("up --no-device r0")
    // Either it does not look like metadata at all, or it says what is wrong; it is never attached half understood.
    if said.code == 0 {
      #expect(try desk.a("dstate r0").out.hasPrefix("UpToDate") == false, "offset \(offset): \(said)")
    } else {
      refuses(said, 1, "r0: No valid meta data found\n")
      #expect(try Data(contentsOf: URL(filePath: disk)) == damaged, "nothing was changed")
      try before.write(to: URL(filePath: disk))
      succeeds(try desk.a("adjust r0"))
      succeeds(try desk.a("wait-connect r0"))
      try desk.bench.inSync()
    }
  }

  @Test func metadataOfTheOtherFormatAreUsedAsTheyAre() throws {
    let desk = try Desk()
    for node in [desk.bench.a, desk.bench.b] {
      succeeds(try desk.type("create-md --format v08 r0", on: node, [:]))
      succeeds(try desk.type("up --no-device r0", on: node, [:]))
    }
    succeeds(try desk.a("wait-connect r0"))
    succeeds(try desk.a("primary --force r0"))
    try desk.bench.inSync()
    succeeds(try desk.a("down r0"))
    // Converting asks first, and without a terminal the answer is no.
    let creation = try desk.a("create-md r0")
    #expect(creation.code == 1 && creation.err.contains("Valid v08 meta-data found, convert to v09?"))
    #expect(creation.err.hasSuffix("r0: Operation cancelled\nanswer yes, or use --force, if that is what you want.\n"))
    refuses(try desk.a("dump-md r0"), 1, "please apply-al first", "type repladm apply-al")
    succeeds(try desk.a("apply-al r0"))
    #expect(try desk.a("dump-md r0").out.contains("version \"v08\";"))
    succeeds(try desk.a("up --no-device r0"))
    succeeds(try desk.a("wait-connect r0"))
    try desk.bench.inSync()
  }

  @Test func metadataOfAnotherNode() throws {
    let desk = try Desk()
    try desk.synced()
    succeeds(try desk.a("down r0"))
    succeeds(try desk.b("down r0"))
    let other = try desk.otherConfig(desk.bench.a.disk(0), desk.bench.b.disk(0) + "x")
    try FileManager.default.copyItem(atPath: desk.bench.b.disk(0), toPath: desk.bench.b.disk(0) + "x")
    let said = try desk.a("up --no-device r0", other)
    refuses(said, 1, "r0: No valid meta data found\nthe metadata belongs to node ", "repladm dump r0")
  }

  @Test(.enabled(if: isInstalled("mkfs.ext4"), "needs mkfs.ext4"))
  func aFileSystemThatWouldBeCutOff() throws {
    let desk = try Desk()
    try shell("mkfs.ext4 -q \(desk.bench.a.disk(0))")
    let before = try Data(contentsOf: URL(filePath: desk.bench.a.disk(0)))
    for line in ["create-md r0", "create-md --force r0"] {
      let said = try desk.a(line)
      #expect(said.code == 40 && said.err.contains("16344 KiB would be left"), "\(said)")
      #expect(said.err.contains("use external meta data") && said.err.contains("shrink that filesystem first"))
    }
    #expect(try Data(contentsOf: URL(filePath: desk.bench.a.disk(0))) == before)
  }
}

private func detach(_ loop: String) {
  do { try shell("losetup -d \(loop)") } catch { print("left behind: \(loop)") }
}
