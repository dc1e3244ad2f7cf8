// Volumes that come and go as an operator types it: dry runs, the steps below `adjust`, and the block devices.
import Base
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct VolumeSteps {
  private func file(_ desk: Desk) throws -> String { try String(contentsOfFile: desk.config, encoding: .utf8) }

  private func without(_ volume: Int, _ text: String) -> String {
    text.replacingOccurrences(of: "volume \(volume) \\{[^}]*\\}", with: "", options: .regularExpression)
  }

  private func write(_ text: String, _ desk: Desk) throws {
    try text.write(toFile: desk.config, atomically: true, encoding: .utf8)
  }

  @Test func aDryRunSaysWhichMinorsComeAndGo() throws {
    let desk = try Desk(volumes: 2)
    try desk.synced()
    let both = try file(desk)
    let disk = desk.bench.a.disk(1)
    try write(without(1, both), desk)
    #expect(try desk.a("-d adjust r0").out == "replsetup detach 91\nreplsetup del-minor 91\n")
    succeeds(try desk.a("adjust r0"))
    #expect(try desk.a("-d adjust r0").out.isEmpty)
    try write(both, desk)
    let comes = try desk.a("-d adjust r0").out
    #expect(comes.hasPrefix("replsetup new-minor r0 91 1\nreplsetup attach 91 \(disk) \(disk) internal"), "\(comes)")
    succeeds(try desk.a("adjust r0/1"))
    #expect(try desk.a("-d adjust r0").out.isEmpty)
    // Another minor for the same volume: no disk and no connection is touched.
    succeeds(try desk.a("wait-connect r0"))
    succeeds(try desk.a("wait-sync r0"))
    let log = desk.log(desk.bench.a)
    try desk.edit("device /dev/drbd91;", "device /dev/drbd97;")
    #expect(try desk.a("-d adjust r0").out == "replsetup del-minor 91\nreplsetup new-minor r0 97 1\n")
    succeeds(try desk.a("adjust r0"))
    #expect(try desk.a("sh-minor r0/1").out == "97\n")
    #expect(try desk.a("status --verbose r0").out.contains("minor:97"))
    #expect(!desk.log(desk.bench.a).dropFirst(log.count).contains("conn("))
    succeeds(try desk.b("adjust r0"))
    succeeds(try desk.a("wait-connect r0"))
  }

  @Test func theStepsBelowAdjustTakeOneVolume() throws {
    let desk = try Desk(volumes: 3)
    try desk.synced()
    let all = try file(desk)
    func low(_ line: String) throws -> Said {
      let tool = desk.bench.directory + "/replsetup"
      if access(tool, F_OK) != 0 {
        try FileManager.default.createSymbolicLink(atPath: tool, withDestinationPath: try program("repladm"))
      }
      return try desk.run(tool, line.split(separator: " ").map(String.init), on: desk.bench.a)
    }
    func minors() throws -> [UInt32] { try desk.bench.a.status().devices.map(\.minor) }
    let refused = try low("del-minor 92")
    #expect(refused.code == 10 && refused.err.contains("r0/2 is in the configuration"), "\(refused)")
    try write(without(1, without(2, all)), desk)
    let attached = try low("del-minor 92")
    #expect(attached.code == 10 && attached.err.contains("has its disk attached"), "\(attached)")
    succeeds(try low("detach 92"))
    succeeds(try low("del-minor 92"))
    // The file has volume 1 no more, either, but nothing was said of it.
    #expect(try minors() == [90, 91])
    try write(all, desk)
    let other = try low("new-minor r0 95 2")
    #expect(other.code == 10 && other.err.contains("is not in the configuration"), "\(other)")
    #expect(try minors() == [90, 91])
    succeeds(try low("new-minor r0 92 2"))
    #expect(try minors() == [90, 91, 92])
    #expect(try desk.bench.a.status().devices[2].disk == .diskless)
    succeeds(try low("attach 92"))
    succeeds(try desk.a("wait-connect r0"))
    succeeds(try desk.a("wait-sync r0"))
    // The end, one by one.
    let inUse = try low("del-resource r0")
    #expect(inUse.code == 10 && inUse.err.contains("(159)"), "\(inUse)")
    succeeds(try low("secondary r0"))
    succeeds(try low("disconnect r0"))
    for minor in [90, 91, 92] { succeeds(try low("detach \(minor)")) }
    succeeds(try low("del-resource r0"))
    #expect(try desk.a("status r0").code == 10)
  }

  @Test(
    .enabled(if: hasFuseDevices && isInstalled("mkfs.ext4"), "needs root, FUSE, mkfs.ext4 and a kernel without nbd"))
  func theDevicesOfVolumesComeAndGoBesideAMountedOne() throws {
    let pair = try PairOfDevices(volumes: 2)
    let both = try file(pair.desk)
    func adjust(_ node: Node) throws { succeeds(try pair.type("adjust r0", on: node)) }
    succeeds(try pair.type("primary r0", on: pair.a))
    try shell("mkfs.ext4 -q \(pair.device(pair.a)) && mkfs.ext4 -q \(pair.device(pair.a, 1))")
    #expect(pair.errorOfMounting(pair.device(pair.a), pair.places.0, "ext4") == 0)
    #expect(pair.errorOfMounting(pair.device(pair.a, 1), pair.places.1, "ext4") == 0)
    try "kept".write(toFile: pair.places.1 + "/file", atomically: true, encoding: .utf8)

    // A mounted volume stays, and who has it is said.
    try write(without(1, both), pair.desk)
    for line in ["adjust r0", "-d adjust r0"] {
      let said = try pair.type(line, on: pair.a)
      #expect(said.code == 11 && said.err.contains("mounted on \(pair.places.1)"), "\(said)")
    }
    try "more".write(toFile: pair.places.0 + "/file", atomically: true, encoding: .utf8)
    #expect(umount2(pair.places.1, 0) == 0)
    try adjust(pair.a)
    try adjust(pair.b)
    var status = stat()
    #expect(lstat(pair.device(pair.a, 1), &status) != 0 && lstat(pair.device(pair.b, 1), &status) != 0)
    try "still".write(toFile: pair.places.0 + "/file", atomically: true, encoding: .utf8)

    // It comes back with its device and its data, and the mounted one was never away.
    try write(both, pair.desk)
    try adjust(pair.b)
    try adjust(pair.a)
    succeeds(try pair.type("wait-sync r0", on: pair.a))
    #expect(pair.errorOfMounting(pair.device(pair.a, 1), pair.places.1, "ext4") == 0)
    #expect(try String(contentsOfFile: pair.places.1 + "/file", encoding: .utf8) == "kept")
    #expect(umount2(pair.places.1, 0) == 0)

    // Another name for the device.
    let renamed = pair.device(pair.a, 1) + "x"
    try pair.desk.edit("device \(pair.device(pair.a, 1)) minor 91;", "device \(renamed) minor 96;")
    try adjust(pair.a)
    #expect(lstat(pair.device(pair.a, 1), &status) != 0)
    #expect(pair.errorOfMounting(renamed, pair.places.1, "ext4") == 0)
    #expect(umount2(pair.places.1, 0) == 0 && umount2(pair.places.0, 0) == 0)
    succeeds(try pair.type("down r0", on: pair.a))
    succeeds(try pair.type("down r0", on: pair.b))
    #expect(lstat(renamed, &status) != 0)
    try pair.expectNothing(of: pair.a)
    try pair.expectNothing(of: pair.b)
  }
}
