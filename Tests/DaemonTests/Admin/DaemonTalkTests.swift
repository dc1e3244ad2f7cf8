// `repladm` in front of a daemon that answers, refuses, is slow, mute, broken or not there.
import Base
import Control
import Foundation
import Testing

private func snapshot(done: UInt64? = nil) -> StatusSnapshot {
  var snapshot = StatusSnapshot(name: "r0", nodeID: 0, role: .primary)
  var device = DeviceStatus(volume: VolumeNumber(0), minor: 90, disk: .upToDate)
  device.size = 10_000
  snapshot.devices = [device]
  var connection = ConnectionStatus(name: "two", peerNodeID: 1, state: .connected, peerRole: .secondary)
  var peer = PeerDeviceStatus(volume: VolumeNumber(0), replication: .connected, peerDisk: .upToDate)
  if let done {
    peer.replication = .syncSource
    peer.peerDisk = .inconsistent
    peer.outOfSync = 10_000 - done
    var resync = ResyncStatus(totalSectors: 20_000)
    resync.newerMark = .init(milliseconds: 1000, sectors: 2048)
    peer.resync = resync
  }
  connection.peerDevices = [peer]
  snapshot.connections = [connection]
  return snapshot
}

@Suite struct TalkingToTheDaemon {
  private func bench() throws -> AdminBench {
    let bench = try AdminBench()
    try bench.configure()
    return bench
  }

  @Test func askingIsAnsweredInDRBDsWords() throws {
    let bench = try bench()
    let daemon = FakeDaemon("r0", bench.files) { _ in [.reply(.status(snapshot()))] }
    defer { daemon.stop() }
    #expect(bench.run("role", "r0").out == "Primary\n")
    #expect(bench.run("state", "r0").out == "Primary\n")
    #expect(bench.run("cstate", "r0").out == "Connected\n")
    #expect(bench.run("cstate", "r0:two").out == "Connected\n")
    #expect(bench.run("dstate", "r0/0").out == "UpToDate/UpToDate\n")
    let block = "r0 role:Primary\n  disk:UpToDate\n  two role:Secondary\n    peer-disk:UpToDate\n\n"
    #expect(bench.run("status", "r0") == AdminBench.Outcome(code: 0, out: block, err: ""))
    #expect(bench.run("status").out == block)
    #expect(bench.run("status", "r0", "--verbose").out.contains("node-id:0 role:Primary suspended:no"))
    #expect(bench.run("status", "r0", "--statistics").out.contains("read:0 written:0"))
    #expect(bench.run("status", "--json").out.hasPrefix("[\n{\n  \"name\": \"r0\",\n"))
    #expect(bench.run("status", program: "replsetup").out == block)
    #expect(bench.run("role", "r0", program: "drbdsetup").out == "Primary\n")
  }

  @Test func withoutADaemonCommandsSayHowToStartOne() throws {
    let bench = try bench()
    for command in ["role", "cstate", "primary", "secondary", "attach", "disconnect", "wait-sync", "new-current-uuid"] {
      let outcome = bench.run(command, "r0")
      #expect(outcome.code == 10, "\(command)")
      #expect(outcome.err.contains("repld for r0 is not running: start it with repladm up r0"), "\(command)")
    }
    let status = bench.run("status", "r0")
    #expect(status.code == 10 && status.out == StatusText.nothingConfigured && status.err.contains("No such resource"))
    #expect(bench.run("status") == AdminBench.Outcome(code: 0, out: StatusText.nothingConfigured, err: ""))
    #expect(bench.run("down", "r0") == AdminBench.Outcome(code: 0, out: "", err: ""))
    #expect(bench.run("dstate", "r0").code == 20)
  }

  @Test func commandsArriveWithTheirArguments() throws {
    let bench = try bench()
    let daemon = FakeDaemon("r0", bench.files) { FakeDaemon.saysVolumeOrDone($0) }
    defer { daemon.stop() }
    try "".write(toFile: bench.files.noDevice("r0"), atomically: true, encoding: .utf8)
    bench.run("primary", "--overwrite-data-of-peer", "r0")
    bench.run("secondary", "r0")
    bench.run("attach", "r0")
    bench.run("detach", "--force", "r0/0")
    bench.run("connect", "--discard-my-data", "r0")
    bench.run("disconnect", "r0:two")
    bench.run("invalidate", "r0")
    bench.run("invalidate-remote", "--reset-bitmap=no", "r0/0")
    bench.run("outdate", "minor-90")
    bench.run("new-current-uuid", "--clear-bitmap", "r0/0")
    bench.run("verify", "--start", "8", "r0")
    bench.run("pause-sync", "r0")
    bench.run("resize", "--size", "1M", "r0")
    bench.run("adjust", "r0")
    #expect(
      daemon.commands.filter { $0 != .status } == [
        .primary(force: true), .secondary(force: false), .attach(volume: nil),
        .detach(volume: VolumeNumber(0), force: true), .connect(peer: nil, discardMyData: true),
        .disconnect(peer: "two", force: false), .invalidate(volume: nil, resetBitmap: true),
        .invalidateRemote(volume: VolumeNumber(0), resetBitmap: false), .outdate(volume: VolumeNumber(0)),
        .newCurrentUUID(volume: VolumeNumber(0), clearBitmap: true),
        .verify(volume: nil, startSector: 8, stopSector: nil), .pauseSync(volume: nil),
        .resize(volume: nil, sizeSectors: 2048, assumeClean: false), .adjust,
      ])
    #expect(daemon.requests.allSatisfy { $0.version == Request.currentVersion && $0.timeoutMilliseconds != nil })
  }

  @Test(arguments: [
    (RefusalNumber.noUpToDateDisk, Int32(17)), (.twoPrimaries, 11), (.lowerThanOutdated, 5), (.netConfigured, 10),
  ])
  func refusalsPassTheirExitCode(number: RefusalNumber, code: Int32) throws {
    let bench = try bench()
    let daemon = FakeDaemon("r0", bench.files) { _ in [.reply(.refused(Refusal(number, next: "do this")))] }
    defer { daemon.stop() }
    let outcome = bench.run("primary", "r0")
    #expect(outcome.code == code)
    #expect(outcome.err == "r0: \(Refusal(number, next: "").headline)\ndo this.\n")
  }

  @Test func aMuteDaemonCostsTheDeadlineOnly() throws {
    let bench = try bench()
    let daemon = FakeDaemon("r0", bench.files) { _ in [.silence] }
    defer { daemon.stop() }
    let outcome = bench.run("--timeout", "0.1", "primary", "r0")
    #expect(outcome.code == 20)
    #expect(outcome.err.contains("did not answer primary within 0.1 s"))
  }

  @Test(arguments: [
    FakeDaemon.Answer.line("{}"), .line("nonsense"), .hangUp, .line(String(repeating: "x", count: 2 << 20)),
  ])
  func aBrokenDaemonIsSaidToBeBroken(answer: FakeDaemon.Answer) throws {
    let bench = try bench()
    let daemon = FakeDaemon("r0", bench.files) { _ in [answer] }
    defer { daemon.stop() }
    let outcome = bench.run("primary", "r0")
    #expect(outcome.code == 20 && outcome.err.contains("could not be asked for primary"))
  }

  @Test func waitingShowsItsProgressOncePerTenth() throws {
    let bench = try bench()
    let steps = stride(from: UInt64(0), through: 9_900, by: 100).map {
      FakeDaemon.Answer.reply(.progress(snapshot(done: $0)))
    }
    let daemon = FakeDaemon("r0", bench.files) { _ in steps + [.reply(.done)] }
    defer { daemon.stop() }
    let plain = bench.run("wait-sync", "r0")
    #expect(plain.code == 0)
    #expect(plain.out.isEmpty, "stdout is for scripts")
    #expect(plain.err.split(separator: "\n").count == 10)
    #expect(plain.err.hasPrefix("r0/0 two replication:SyncSource done:0.00 eta:10\n"))
    bench.outputIsTerminal = true
    let bars = bench.run("wait-sync", "r0").out
    #expect(bars.hasPrefix("\rr0/0 two [>...") && bars.hasSuffix("\n"))
    #expect(bars.contains("] 50.00 % 1.0 MiB/s 0:05"))
  }

  @Test func aWaitThatRunsOutOfTimeIsExitFive() throws {
    let bench = try bench()
    let daemon = FakeDaemon("r0", bench.files) { _ in
      [.reply(.refused(.waitTimedOut("two to connect", next: "look at two")))]
    }
    defer { daemon.stop() }
    let outcome = bench.run("wait-connect", "--wfc-timeout=1", "r0")
    #expect(outcome.code == 5 && outcome.err.contains("timed out waiting for two to connect"))
    #expect((900...1000).contains(daemon.requests.first?.timeoutMilliseconds ?? 0))
    bench.run("wait-connect", "r0")
    #expect(daemon.requests.last?.timeoutMilliseconds == nil)
  }

  @Test func generationsComeFromTheDaemonThatHasTheDisk() throws {
    let bench = try bench()
    try bench.makeDisk(64 << 20)
    #expect(bench.run("create-md", "r0").code == 0)
    let data = try Data(contentsOf: URL(filePath: bench.disk))
    var block = [UInt8](data[((64 << 20) - 4096)...])
    block[15] = 9
    let live = block
    let daemon = FakeDaemon("r0", bench.files) { command in
      if case .status = command { [.reply(.status(snapshot()))] } else { [.reply(.superblock(live))] }
    }
    defer { daemon.stop() }
    #expect(bench.run("get-gi", "r0").out.hasPrefix("0000000000000009:"))
    for command in ["create-md", "wipe-md", "apply-al", "dump-md"] {
      let outcome = bench.run(command, "r0")
      #expect(outcome.code == 20 && outcome.err.contains("Device '90' is configured!"), "\(command)")
    }
  }

  @Test func demotionWaitsForAClientThatIsJustLeaving() throws {
    let bench = try bench()
    let busy = Refusal(.deviceInUse, details: ["r0/0 opened by an NBD client"], next: "end it")
    let counter = Counter()
    let daemon = FakeDaemon("r0", bench.files) { _ in counter.next() < 3 ? [.reply(.refused(busy))] : [.reply(.done)] }
    defer { daemon.stop() }
    #expect(bench.run("secondary", "r0").code == 0)
    #expect(daemon.commands.count { $0 == .secondary(force: false) } == 3)
  }
}

@Suite struct StartingTheDaemon {
  private func bench(script: String) throws -> AdminBench {
    let bench = try AdminBench()
    try bench.configure()
    try bench.write("repld", "#!/bin/sh\necho $$ > \"$REPL_RUN_DIR/child\"\n\(script)\n")
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: bench.directory + "/repld")
    return bench
  }

  @Test func aDaemonThatEndsAtOnceIsQuoted() throws {
    let bench = try bench(script: "echo 'port 7790 is in use by nginx' >&2; exit 10")
    let outcome = bench.run("up", "r0")
    #expect(outcome.code == 10)
    #expect(outcome.err.contains("port 7790 is in use by nginx") && outcome.err.contains("repeat repladm up r0"))
  }

  @Test func aDaemonThatDiesAtOnceIsSaidToHaveDied() throws {
    let bench = try bench(script: "echo 'Fatal error: a belief' >&2; ulimit -c 0; kill -SEGV $$; sleep 60")
    let outcome = bench.run("up", "r0")
    #expect(outcome.code == 20)
    #expect(outcome.err.contains("r0: repld died at once, of SIGSEGV (signal 11)\nFatal error: a belief\n"))
    #expect(outcome.err.contains("see \(bench.files.log("r0")) for the whole of it"))
  }

  @Test func aDaemonThatNeverListensIsStopped() throws {
    let bench = try bench(script: "exec sleep 60")
    let outcome = bench.run("--timeout", "0.5", "up", "r0")
    #expect(outcome.code == 20 && outcome.err.contains("did not open its control socket within 0.5 s"))
    let text = try String(contentsOfFile: bench.files.directory + "/child", encoding: .utf8)
    let pid = try #require(Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)))
    #expect(!FileManager.default.fileExists(atPath: "/proc/\(pid)"))
  }

  @Test func aMissingProgramIsNamed() throws {
    let bench = try AdminBench()
    try bench.configure()
    bench.environment["REPLD"] = "/nonexistent/repld"
    let outcome = bench.run("up", "r0")
    #expect(outcome.code == 20 && outcome.err.contains("/nonexistent/repld"))
  }

  @Test func upAttachesAndConnectsAndDownEnds() throws {
    let bench = try bench(script: "cd \"$REPL_RUN_DIR\"; env > env; mv env environment; exec sleep 60")
    // Listens once the "daemon" was started, as a real one does.
    let files = bench.files
    let started = files.directory + "/environment"
    let box = Box()
    let watcher = Thread {
      guard hasHappened({ FileManager.default.fileExists(atPath: started) }) else { return }
      box.set(FakeDaemon("r0", files) { _ in [.reply(.done)] })
    }
    watcher.start()
    #expect(bench.run("up", "--no-device", "r0") == AdminBench.Outcome(code: 0, out: "", err: ""))
    let daemon = try #require(box.daemon)
    #expect(daemon.commands.suffix(2) == [.attach(volume: nil), .connect(peer: nil, discardMyData: false)])
    let environment = try String(contentsOfFile: started, encoding: .utf8)
    #expect(environment.contains("REPL_CONFIG=\(bench.directory)/repl.conf\n"))
    #expect(environment.contains("__DRBD_NODE__=one\n") && environment.contains("REPL_RUN_DIR=\(files.directory)\n"))
    #expect(FileManager.default.fileExists(atPath: files.noDevice("r0")))
    let again = bench.run("up", "r0")
    #expect(again.code == 1 && again.err.contains("(161) Minor or volume exists already"))
    daemon.stop()
    #expect(bench.run("down", "r0").code == 0)
    #expect(!FileManager.default.fileExists(atPath: files.noDevice("r0")))
  }

  @Test func upWithoutMetadataIsExitOneAndSaysWhatToType() throws {
    let bench = try bench(script: "touch \"$REPL_RUN_DIR/started\"; exec sleep 60")
    let files = bench.files
    let box = Box()
    Thread.detachNewThread {
      guard hasHappened({ FileManager.default.fileExists(atPath: files.directory + "/started") }) else { return }
      box.set(
        FakeDaemon("r0", files) { _ in
          [.reply(.refused(Refusal(.noValidMetadata, why: "nothing there", next: "create some")))]
        })
    }
    let outcome = bench.run("up", "r0")
    box.daemon?.stop()
    #expect(outcome.code == 1)
    #expect(outcome.err == "r0: No valid meta data found\nnothing there: create some.\n")
  }
}
