// The run directory and the daemon in it: full, too long, taken; a daemon that is there already, or that was killed.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite struct BadInputPlaces {
  @Test(.enabled(if: isRoot, "needs root, to mount a tiny file system"))
  func aRunDirectoryWithoutRoom() throws {
    let desk = try Desk()
    let tiny = desk.bench.directory + "/tiny"
    try FileManager.default.createDirectory(atPath: tiny, withIntermediateDirectories: false)
    try #require(mount("tmpfs", tiny, "tmpfs", 0, "size=4k,nr_inodes=8,mode=755") == 0)
    desk.afterwards { umount2(tiny, Int32(MNT_DETACH)) }
    let there = ["REPL_RUN_DIR": tiny]
    let fill = tiny + "/fill"
    try Data(count: 4096).write(to: URL(filePath: fill))
    succeeds(try desk.a("create-md r0"))
    // Not even the log can be written.
    refuses(
      try desk.a("up --no-device r0", there), 20, "r0: repld was not started", "No space left on device",
      "make room in \(tiny), or choose another run directory (REPL_RUN_DIR)")
    // The log, and not the file with the lock.
    try #require(mount("tmpfs", tiny, "tmpfs", UInt(MS_REMOUNT), "size=8k,nr_inodes=8,mode=755") == 0)
    refuses(
      try desk.a("up --no-device r0", there), 20, "r0.pid could not be written: no space is left there",
      "repeat repladm up r0")
    unlink(fill)
    // No more names: the sockets cannot be made.
    let left = { try FileManager.default.contentsOfDirectory(atPath: tiny).sorted() }
    #expect(try left() == ["r0.log"])
    for names in 4...5 {
      try #require(mount("tmpfs", tiny, "tmpfs", UInt(MS_REMOUNT), "size=64k,nr_inodes=\(names),mode=755") == 0)
      let said = try desk.a("up --no-device r0", there)
      refuses(said, 20, "no space is left", "REPL_RUN_DIR")
      #expect(try left() == ["r0.log"], "\(said)")
    }
    // Room, and it starts; and what runs goes on when the room is used up again.
    try #require(mount("tmpfs", tiny, "tmpfs", UInt(MS_REMOUNT), "size=64k,nr_inodes=16,mode=755") == 0)
    succeeds(try desk.a("up --no-device r0", there))
    do { try Data(count: 1 << 20).write(to: URL(filePath: fill)) } catch { print("\(tiny) is full, as it should be") }
    succeeds(try desk.a("status r0", there))
    succeeds(try desk.a("primary --force r0", there))
    let client = try Client(tiny + "/r0-0.nbd")
    try client.write(pattern(4096, 1), at: 0, fua: true)
    try client.leave()
    succeeds(try desk.a("down r0", there))
    #expect(try desk.a("dstate r0").out == "Consistent\n")
  }

  @Test func aRunDirectoryThatOthersMayWriteIsRefused() throws {
    let desk = try Desk()
    let place = desk.bench.a.runDirectory
    succeeds(try desk.a("create-md r0"))
    for mode in [0o777, 0o775, 0o757, 0o1777] {
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: place)
      let why = "the run directory \(place) may be written by other users (mode \(String(mode, radix: 8)))"
      refuses(try desk.a("up --no-device r0"), 20, "r0: \(why)", "chmod go-w \(place)", "REPL_RUN_DIR")
      let (exit, said) = try desk.bench.a.run()
      #expect(exit == .status(20) && said.contains(why) && said.contains("chmod go-w \(place)"), "\(said)")
    }
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: place)
    succeeds(try desk.a("up --no-device r0"))
  }

  @Test(.enabled(if: isRoot, "needs root, to give a directory away"))
  func aRunDirectoryOfAnotherUserIsRefused() throws {
    let desk = try Desk()
    let place = desk.bench.a.runDirectory
    succeeds(try desk.a("create-md r0"))
    try #require(chown(place, 4321, 4321) == 0)
    refuses(
      try desk.a("up --no-device r0"), 20, "r0: the run directory \(place) belongs to user 4321",
      "chown 0 \(place)", "REPL_RUN_DIR")
    let (exit, said) = try desk.bench.a.run()
    #expect(exit == .status(20) && said.contains("belongs to user 4321"))
    try #require(chown(place, 0, 0) == 0)
    succeeds(try desk.a("up --no-device r0"))
  }

  @Test func noFileOfTheRunDirectoryIsOpenedThroughALink() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    let files = desk.bench.a.files
    let victim = desk.bench.directory + "/victim"
    try "precious\n".write(toFile: victim, atomically: true, encoding: .utf8)
    for (path, words) in [
      (files.pidFile("r0"), "r0.pid is a link or no plain file: remove it"),
      (files.log("r0"), "it is a link or no plain file: remove it"),
      (files.noDevice("r0"), "writing \(files.noDevice("r0"))"),
    ] {
      unlink(path)
      try #require(symlink(victim, path) == 0)
      refuses(try desk.a("up --no-device r0"), 20, words)
      #expect(try String(contentsOfFile: victim, encoding: .utf8) == "precious\n")
      unlink(path)
    }
    succeeds(try desk.a("up --no-device r0"))
  }

  @Test func downWaitsForTheDaemonAndForNoOtherProcess() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    succeeds(try desk.a("up --no-device r0"))
    let pid = try #require(desk.pid(of: desk.bench.a))
    defer { kill(pid, SIGKILL) }
    // A number that has passed to another process: this one.
    try "\(getpid())\n".write(toFile: desk.bench.a.files.pidFile("r0"), atomically: false, encoding: .utf8)
    let said = try desk.a("down r0")
    succeeds(said)
    #expect(said.seconds < 20)
    #expect(kill(pid, 0) != 0 || processHasEnded(pid))
  }

  @Test func aLineCutByAFullDiskIsNotJoinedWithTheNext() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    try "2026-01-01 half a li".write(toFile: desk.bench.a.files.log("r0"), atomically: false, encoding: .utf8)
    succeeds(try desk.a("up --no-device r0"))
    #expect(desk.log(desk.bench.a).hasPrefix("2026-01-01 half a li\nrepladm: starting repld r0 on a\n"))
  }

  private func processHasEnded(_ pid: pid_t) -> Bool {
    guard let data = FileManager.default.contents(atPath: "/proc/\(pid)/stat") else { return true }
    return String(decoding: data, as: UTF8.self).split(separator: ")").last?.hasPrefix(" Z") ?? true
  }

  @Test func aRunDirectoryWithTooLongAName() throws {
    let desk = try Desk()
    let there = ["REPL_RUN_DIR": desk.bench.directory + "/" + String(repeating: "x", count: 100)]
    succeeds(try desk.a("create-md r0"))
    refuses(
      try desk.a("up --no-device r0", there), 20, "is too long for a socket, which takes 107 bytes",
      "choose a shorter run directory (REPL_RUN_DIR)")
    refuses(try desk.a("primary r0", there), 20, "is longer than 107 bytes", "choose a shorter run directory")
    succeeds(try desk.a("down r0", there))
  }

  @Test func aSecondDaemonForTheSameResource() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    succeeds(try desk.a("up --no-device r0"))
    let pid = try #require(desk.pid(of: desk.bench.a))
    refuses(
      try desk.a("up --no-device r0"), 1, "(161) Minor or volume exists already", "repladm adjust r0", "repladm down")
    let (exit, text) = try desk.bench.a.run()
    #expect(exit == .status(20))
    #expect(text.contains("repld (pid \(pid)) already serves this resource") && text.contains("repladm down r0"))
    #expect(desk.pid(of: desk.bench.a) == pid)
    #expect(try desk.a("role r0").out == "Secondary\n")
  }

  @Test func commandsWhileTheDaemonIsDead() throws {
    let desk = try Desk()
    try desk.synced()
    let client = try Client(desk.bench.a.exportPath)
    try client.write(pattern(65536, 5), at: 1 << 20, fua: true)
    desk.killDaemon(desk.bench.a)
    for command in [
      "role", "cstate", "primary", "primary --force", "secondary", "attach", "detach", "connect", "disconnect",
      "wait-connect", "wait-sync", "invalidate-remote", "new-current-uuid", "pause-sync", "resume-sync",
    ] {
      refuses(
        try desk.a("\(command) r0"), 10,
        // role has no number for it.
        command == "role" ? "r0: Unknown resource" : "r0: Failure: (158) Unknown resource",
        "repld for r0 is not running: start it with repladm up r0.\n", within: 5)
    }
    let status = try desk.a("status r0")
    #expect(status.code == 10 && status.out == "# No currently configured DRBD found.\n")
    #expect(status.err.hasPrefix("r0: No such resource\n") && status.err.contains("repladm up r0"))
    #expect(try desk.a("status").code == 0)
    #expect(try desk.a("dstate r0").out == "Consistent\n", "the metadata answer")
    succeeds(try desk.a("down r0"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: desk.bench.a.runDirectory) == ["r0.log"])
    succeeds(try desk.a("down r0"))
    // The sockets of a killed daemon are no obstacle either, and nothing is lost.
    succeeds(try desk.a("up --no-device r0"))
    desk.killDaemon(desk.bench.a)
    succeeds(try desk.a("up --no-device r0"))
    succeeds(try desk.a("wait-connect r0"))
    try desk.bench.inSync()
    try desk.bench.expectEqualData()
    succeeds(try desk.a("primary r0"))
    #expect(try Client(desk.bench.a.exportPath).read(65536, at: 1 << 20) == pattern(65536, 5))
  }

  @Test func aDaemonThatIsStoppedCostsTheDeadlineOnly() throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    succeeds(try desk.a("up --no-device r0"))
    let pid = try #require(desk.pid(of: desk.bench.a))
    kill(pid, SIGSTOP)
    defer { kill(pid, SIGCONT) }
    for command in ["primary", "down", "adjust"] {
      refuses(
        try desk.a("--timeout 0.3 \(command) r0"), 20, "repld (process \(pid)) did not answer", "within 0.3 s",
        "r0.log", within: 8)
    }
  }
}
