// The names of a device are there from `up` to `down`, on a Secondary as on a Primary; a server that has died is named and mended, and
// nothing is left of it.
import Base
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized, .enabled(if: hasFuseDevices, "needs root and FUSE, and a kernel without nbd"))
struct NamesOfDevices {
  @Test func theNamesAreThereFromUpToDown() throws {
    let pair = try PairOfDevices(volumes: 2)
    for volume in 0...1 {
      let device = pair.device(pair.a, volume)
      #expect(try pair.majorNumber(device) == 147)
    }
    // Both nodes of this machine share /dev, and the names by resource with it.
    #expect(access("/dev/drbd/by-res/\(pair.name)", F_OK) == 0)
    succeeds(try pair.type("primary r0", on: pair.a))
    #expect(try pair.majorNumber(pair.device(pair.a, 1)) == 7)
    #expect(try pair.majorNumber(pair.device(pair.b, 1)) == 147)
    succeeds(try pair.type("secondary r0", on: pair.a))
    #expect(try pair.majorNumber(pair.device(pair.a, 1)) == 147)
    succeeds(try pair.type("adjust r0", on: pair.a))
    succeeds(try pair.type("down r0", on: pair.a))
    succeeds(try pair.type("down r0", on: pair.b))
    try pair.expectNothing(of: pair.a)
    try pair.expectNothing(of: pair.b)
    #expect(access("/dev/drbd/by-res/\(pair.name)", F_OK) != 0)
    // Up and down again.
    succeeds(try pair.type("up r0", on: pair.a))
    #expect(try pair.majorNumber(pair.device(pair.a)) == 147)
  }

  @Test func aServerThatWasKilledIsNamedAndMended() throws {
    let pair = try PairOfDevices()
    let device = pair.device(pair.a)
    for command in ["adjust r0", "primary r0", "adjust r0"] {
      let server = try #require(pair.server(pair.a))
      try #require(kill(server, SIGKILL) == 0)
      try until("it has gone") { try isGone(server) }
      let status = try pair.type("status r0", on: pair.a)
      #expect(
        status.err.contains("\(pair.name): \(device) ") && status.err.contains("its server (repl-device"),
        "\(status.err)")
      #expect(try pair.type("explain r0", on: pair.a).out.contains("its server (repl-device"))
      succeeds(try pair.type(command, on: pair.a))
      #expect(try pair.type("status r0", on: pair.a).err.isEmpty)
      #expect(pair.errorOfOpening(device, O_RDWR) == 0)
    }
  }

  /// A unit that starts the daemon at boot does so without `up`, and has `adjust` do the rest.
  @Test func adjustMakesNamesThatAreNotThere() throws {
    let pair = try PairOfDevices()
    let device = pair.device(pair.a)
    let server = try #require(pair.server(pair.a))
    let records = pair.a.runDirectory
    try #require(kill(server, SIGKILL) == 0)
    try until("it has gone") { try isGone(server) }
    _ = try shell("rm -- \(records)/*.names \(device)")
    succeeds(try pair.type("adjust r0", on: pair.a))
    #expect(try pair.majorNumber(device) == 147)
    #expect(pair.errorOfOpening(device, O_RDONLY) == EMEDIUMTYPE)
  }

  /// A zombie counts as gone.
  private func isGone(_ pid: pid_t) throws -> Bool {
    let state = try shell("ps -o stat= -p \(pid) || true")
    return state.isEmpty || state.hasPrefix("Z")
  }

  @Test(arguments: [SIGKILL, SIGSTOP])
  func downByForceLeavesNothingOfADeadServer(_ signal: Int32) throws {
    let pair = try PairOfDevices()
    for line in ["role r0", "primary r0"] {
      succeeds(try pair.type(line, on: pair.a))
      let server = try #require(pair.server(pair.a))
      try #require(kill(server, signal) == 0)
      succeeds(try pair.type("down --force r0", on: pair.a))
      try pair.expectNothing(of: pair.a)
      succeeds(try pair.type("up r0", on: pair.a))
      succeeds(try pair.type("wait-connect r0", on: pair.a))
    }
  }

  @Test func aNameThatBelongsToAnotherDeviceIsLeftAlone() throws {
    let pair = try PairOfDevices()
    succeeds(try pair.type("down r0", on: pair.a))
    let device = pair.device(pair.a)
    try "a file".write(toFile: device, atomically: false, encoding: .utf8)
    defer { unlink(device) }
    let up = try pair.type("up r0", on: pair.a)
    succeeds(up)
    #expect(up.err.contains("something that is no block device has that name"), "\(up.err)")
    #expect(try String(contentsOfFile: device, encoding: .utf8) == "a file")
  }
}
