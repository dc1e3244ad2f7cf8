// The control socket's language: what one side encodes the other understands, and refusals keep DRBD's shape.
import Base
import Control
import Foundation
import Testing

@Suite struct ControlLanguage {
  @Test(arguments: [
    Command.status, .primary(force: true), .secondary(force: false), .attach(volume: nil),
    .detach(volume: VolumeNumber(3), force: true), .connect(peer: "a", discardMyData: true),
    .disconnect(peer: nil, force: false), .newCurrentUUID(volume: VolumeNumber(0), clearBitmap: true), .waitSync(),
    .down,
    .verify(volume: nil, startSector: 8, stopSector: nil),
  ])
  func requestsSurviveTheLine(command: Command) throws {
    let request = Request(command, timeoutMilliseconds: 1500)
    let line = try JSONEncoder().encode(request)
    #expect(!line.contains(ControlLine.end))
    #expect(try JSONDecoder().decode(Request.self, from: line) == request)
  }

  @Test func repliesSurviveTheLine() throws {
    let recorded = try Recording.output("1-create-sync/061")
    let snapshot = try Recording.snapshots(ofJSON: recorded)[0]
    let refusal = Refusal(.deviceInUse, details: ["drbd0 opened by mount (pid 1)"], next: "umount it")
    for reply in [
      Reply.done, .status(snapshot), .progress(snapshot), .refused(refusal), .text("x"), .superblock([1, 2]),
    ] {
      let line = try JSONEncoder().encode(reply)
      #expect(!line.contains(ControlLine.end))
      #expect(try JSONDecoder().decode(Reply.self, from: line) == reply)
    }
  }

  @Test func statesTravelAsWords() throws {
    let line = try JSONEncoder().encode(DeviceStatus(volume: VolumeNumber(1), minor: 2, disk: .upToDate))
    #expect(String(decoding: line, as: UTF8.self).contains("\"disk\":\"UpToDate\""))
    #expect(throws: DecodingError.self) { try JSONDecoder().decode([Role].self, from: Data("[\"Master\"]".utf8)) }
  }

  @Test func onlyProgressIsNotFinal() {
    #expect(Reply.done.isFinal)
    #expect(!Reply.progress(StatusSnapshot(name: "r", nodeID: 0, role: .primary)).isFinal)
  }
}

@Suite struct Refusals {
  @Test func stateChangesKeepDRBDsLine() {
    let refusal = Refusal(
      .noUpToDateDisk, why: "the disk is Inconsistent and no peer is connected",
      next: "connect a peer that is UpToDate, or keep this copy with repladm primary --force drbd0")
    #expect(refusal.exitCode == 17)
    #expect(
      refusal.text(for: "drbd0") == """
        drbd0: State change failed: (-2) Need access to UpToDate data
        the disk is Inconsistent and no peer is connected: connect a peer that is UpToDate, or keep this copy with \
        repladm primary --force drbd0.

        """)
  }

  @Test func otherRefusalsAreFailures() {
    #expect(
      Refusal(.unknownResource, next: "").text(for: "drbd0") == "drbd0: Failure: (158) Unknown resource\n")
    #expect(Refusal.notRunning("drbd0").exitCode == 10)
    let hint = Refusal("no metadata", next: "type repladm create-md \(Refusal.object)", exitCode: 1)
    #expect(hint.text(for: "drbd0/1").hasSuffix("type repladm create-md drbd0/1.\n"))
    #expect(hint.text(for: "98", hint: "minor-98") == "98: no metadata\ntype repladm create-md minor-98.\n")
    #expect(Refusal.notRunning("drbd0").text(for: "drbd0").contains("start it with repladm up drbd0"))
  }

  @Test func holdersAreListed() {
    let text = Refusal(.deviceInUse, details: ["drbd0 opened by mount (pid 7)"], next: "umount it").text(for: "drbd0")
    #expect(
      text == """
        drbd0: State change failed: (-12) Device is held open by someone
        additional info:
        drbd0 opened by mount (pid 7)
        umount it.

        """)
  }

  @Test func recordedRefusalsHaveOurWords() throws {
    for (step, number) in [
      ("031", RefusalNumber.noUpToDateDisk), ("033", .minorExists), ("035", .netConfigured),
      ("056", .noVerifyAlgorithm),
      ("057", .lowerThanOutdated), ("070", .twoPrimaries), ("109", .connectedOutdates),
    ] {
      let recorded = try String(
        contentsOf: Recording.directory.appending(path: "1-create-sync/\(step).err"), encoding: .utf8)
      #expect(recorded.contains(": " + Refusal(number, next: "").headline + "\n"), "step \(step)")
    }
  }

  @Test func exitCodesOfTheClusterAgent() {
    #expect(RefusalNumber.noUpToDateDisk.exitCode == 17)
    #expect(RefusalNumber.lowerThanOutdated.exitCode == 5)
    #expect(RefusalNumber.deviceInUse.exitCode == 11)
    #expect(RefusalNumber.minorExists.exitCode == 10)
  }
}

@Suite struct RunFileNames {
  @Test func theURINamesTheSocket() {
    let files = RunFiles(directory: "/run/repl/")
    #expect(files.controlSocket("drbd0") == "/run/repl/drbd0.sock")
    #expect(files.exportURI("drbd0", VolumeNumber(2)) == "nbd+unix:///?socket=/run/repl/drbd0-2.nbd")
    #expect(RunFiles(directory: "/a b").exportURI("r", VolumeNumber(0)) == "nbd+unix:///?socket=/a%20b/r-0.nbd")
  }
}
