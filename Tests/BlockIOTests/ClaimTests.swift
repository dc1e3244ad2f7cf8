// Who may open a device: nobody twice, nobody what is mounted, held, read-only, absent or no disk at all; and the refusal
// names the reason.

import Base
import Foundation
import Testing

@testable import BlockIO

extension OnThisMachine {
  @Suite struct ClaimTests {
    private func refused(_ path: String, _ access: DeviceAccess = .exclusive) -> DeviceRefusal? {
      refusal { () throws(DeviceRefusal) in _ = try PlainDisk(path: path, access: access) }
    }

    private func isFree(_ path: String) -> Bool {
      do {
        _ = try PlainDisk(path: path)
        return true
      } catch {
        return false
      }
    }

    /// Refused as in use, with these words in the reason.
    private func inUse(_ wanted: String, as access: DeviceAccess = .exclusive, _ words: String) {
      guard case .inUse(let path, let by)? = refused(wanted, access), path == wanted else {
        Issue.record("not refused as in use")
        return
      }
      #expect(by.contains(words))
    }

    @Test("A file is opened once; when it is closed, again")
    func fileTwice() throws {
      let scratch = try Scratch()
      let path = try scratch.file()
      do {
        let first = try PlainDisk(path: path)
        inUse(path, "this very process")
        _ = try PlainDisk(path: path, access: .readOnly)
        withExtendedLifetime(first.path) {}
      }
      _ = try PlainDisk(path: path)
    }

    @Test("A device of the ring is free again after close")
    func ringClose() throws {
      let scratch = try Scratch()
      let path = try scratch.file()
      var ring = try Ring.forTest()
      let device = try BackingDevice(path: path, ring: &ring)
      inUse(path, "pid \(getpid())")
      device.close(&ring)
      _ = try PlainDisk(path: path)
    }

    @Test("Regions of one file exclude each other only where they overlap, and the whole")
    func regions() throws {
      let scratch = try Scratch()
      let path = try scratch.file()
      let first = try PlainDisk(path: path, access: .region(offset: 0, bytes: 1 << 20))
      let second = try PlainDisk(path: path, access: .region(offset: 1 << 20, bytes: 1 << 20))
      inUse(path, as: .region(offset: 1 << 19, bytes: 1 << 20), "pid")
      inUse(path, "pid")
      withExtendedLifetime((first.bytes, second.bytes)) {}
    }

    @Test("Regions of one block device do too", .enabled(if: canLoop, loopComment))
    func blockRegions() throws {
      let loop = try Loop()
      do {
        let first = try PlainDisk(path: loop.device, access: .region(offset: 0, bytes: 1 << 20))
        let second = try PlainDisk(path: loop.device, access: .region(offset: 1 << 20, bytes: 1 << 20))
        inUse(loop.device, as: .region(offset: 1 << 19, bytes: 1 << 20), "pid")
        inUse(loop.device, "pid")
        withExtendedLifetime((first.bytes, second.bytes)) {}
      }
      let whole = try PlainDisk(path: loop.device)
      inUse(loop.device, as: .region(offset: 0, bytes: 1 << 20), "pid")
      inUse(loop.device, "pid")
      withExtendedLifetime(whole.bytes) {}
    }

    @Test("A file that a loop device uses is refused by the loop device's name", .enabled(if: canLoop, loopComment))
    func loopFile() throws {
      let scratch = try Scratch()
      let path = try scratch.file()
      let device = try run("losetup", "--find", "--show", path)
      inUse(path, "\(device) is set up on it")
      try run("losetup", "--detach", device)
      _ = try PlainDisk(path: path)
    }

    @Test(
      "A mounted device is refused by its mount point", .enabled(if: canLoop && tool("mkfs.ext4") != nil, loopComment))
    func mounted() throws {
      let loop = try Loop()
      let scratch = try Scratch()
      let place = "\(scratch.path)/a place"
      try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: true)
      try run("mkfs.ext4", "-q", loop.device)
      try run("mount", loop.device, place)
      inUse(loop.device, "it is mounted on \(place)")
      inUse(loop.device, as: .region(offset: 0, bytes: 4096), "it is mounted on \(place)")
      try run("umount", place)
      // A mount namespace that another test made meanwhile keeps a copy of the mount until it ends. Each try waits a
      // little by itself.
      let patience = Clock.now() + .seconds(60)
      while !isFree(loop.device), Clock.now() < patience {}
      _ = try PlainDisk(path: loop.device)
    }

    @Test("A read-only device is refused, but may be looked at", .enabled(if: canLoop, loopComment))
    func readOnlyDevice() throws {
      let loop = try Loop()
      try run("blockdev", "--setro", loop.device)
      #expect(refused(loop.device) == .readOnly(path: loop.device))
      let seen = try PlainDisk(path: loop.device, access: .readOnly)
      #expect(seen.bytes == 64 << 20)
    }

    @Test("What is absent, empty or no disk is refused by what it is")
    func others() throws {
      let scratch = try Scratch()
      let absent = "\(scratch.path)/absent"
      #expect(refused(absent) == .missing(path: absent))
      #expect(refused(scratch.path) == .notADisk(path: scratch.path, what: "a directory"))
      #expect(refused("/dev/null") == .notADisk(path: "/dev/null", what: "a character device"))
      let empty = try scratch.file("empty", mebibytes: 0)
      #expect(refused(empty) == .empty(path: empty))
    }

    @Test("Every refusal is one sentence")
    func sentences() {
      let all: [DeviceRefusal] = [
        .missing(path: "/dev/x"), .notADisk(path: "/dev/x", what: "a directory"), .readOnly(path: "/dev/x"),
        .inUse(path: "/dev/x", by: "it is mounted on /mnt"), .noPermission(path: "/dev/x"), .empty(path: "/dev/x"),
        .failed(path: "/dev/x", doing: "size", Errno(EIO)),
      ]
      for refusal in all {
        #expect(refusal.text.hasPrefix("/dev/x "))
        #expect(!refusal.text.contains("\n"))
      }
    }

    @Test("Blanks in the kernel's tables are read as blanks")
    func unescape() {
      #expect(DeviceUse.unescape("/mnt/a\\040b\\134c") == "/mnt/a b\\c")
      #expect(DeviceUse.unescape("/mnt/\\04") == "/mnt/\\04")
    }
  }
}
