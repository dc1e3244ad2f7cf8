// A daemon at the edges of its machine: no descriptors left, too many volumes, a death.
import Base
import BlockIO
import Control
import Foundation
import Glibc
import Testing

@Suite(.serialized) struct DaemonShortages {
  private func limit(_ pid: pid_t, _ files: String) throws {
    try shell("prlimit --pid \(pid) --nofile=\(files):")
  }

  /// How many completions the ring of a daemon has brought since its start.
  private func completions(_ pid: pid_t) throws -> UInt32 {
    for name in try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fdinfo") {
      let text = try String(contentsOfFile: "/proc/\(pid)/fdinfo/\(name)", encoding: .utf8)
      for line in text.split(separator: "\n") where line.hasPrefix("CqTail:") {
        return try #require(UInt32(line.dropFirst(7).trimmingCharacters(in: .whitespaces)))
      }
    }
    return try #require(nil as UInt32?, "the daemon has no ring")
  }

  @Test(.enabled(if: isRoot && isInstalled("prlimit"), "needs root and prlimit"))
  func withoutDescriptorsNothingSpinsAndEveryoneIsServedLater() throws {
    let desk = try Desk()
    try desk.synced()
    let pid = try #require(desk.pid(of: desk.bench.a))
    let client = try Client(desk.bench.a.exportPath)
    let highest = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").compactMap { Int($0) }.max()
    try limit(pid, "\(try #require(highest) + 1)")
    let complaints = {
      desk.log(desk.bench.a).split(separator: "\n").count { $0.contains("not accepted now: Too many open files") }
    }
    // The accepts that were under way take what is free; these meet the limit.
    let waiting = try (0..<4).map { _ in try Wire(unix: desk.bench.a.exportPath) }
    let programs = try (0..<4).map { _ in try Wire(unix: desk.bench.a.files.controlSocket("r0")) }
    try until("the daemon has said so") { complaints() == 2 }
    // Each accept is tried again once a second: a loop without that pause brings a completion for every turn.
    let before = try completions(pid)
    for i in 0..<64 { try client.write(pattern(4096, UInt64(i)), at: 4096 * UInt64(i)) }
    let busy = try completions(pid) &- before
    sleep(2)
    let idle = try completions(pid) &- before &- busy
    #expect(idle < 100, "\(idle) completions of the idle daemon in two seconds, \(busy) for 64 writes before")
    #expect(complaints() == 2, "said once for each acceptor")
    // The connection to the peer is lost and found without a StandAlone.
    try shell("prlimit --pid \(pid) --nofile=4096:")
    for one in waiting { #expect(try one.receive(8) == Array("NBDMAGIC".utf8)) }
    #expect(programs.count == 4)
    succeeds(try desk.a("status r0"))
    #expect(!desk.log(desk.bench.a).contains("-> StandAlone"))
  }

  @Test(.enabled(if: isRoot && isInstalled("prlimit"), "needs root and prlimit"))
  func withoutDescriptorsTheSearchForThePeerGoesOn() throws {
    let desk = try Desk()
    try desk.synced()
    let pid = try #require(desk.pid(of: desk.bench.a))
    try limit(pid, "3")
    desk.killDaemon(desk.bench.b)
    try until("a has no descriptor for its listener") {
      desk.log(desk.bench.a).contains("cannot listen: socket on 127.0.0.1:")
    }
    try until("a has none to connect either") {
      desk.log(desk.bench.a).split(separator: "\n").contains {
        $0.contains("r0 b: the peer does not answer (127.0.0.1:") && $0.contains(": Too many open files)")
      }
    }
    succeeds(try desk.b("up --no-device r0"))
    try limit(pid, "4096")
    succeeds(try desk.a("wait-connect r0"))
    try desk.bench.inSync()
    #expect(!desk.log(desk.bench.a).contains("-> StandAlone"))
  }

  @Test(.enabled(if: !isRoot || isInstalled("setpriv"), "needs setpriv, to be a root that cannot raise its limits"))
  func aLimitOfOpenFilesThatIsTooSmallIsSaidAtTheStart() throws {
    let bench = try Bench()
    let without = isRoot ? "setpriv --bounding-set=-sys_resource " : ""
    func start(_ limit: Int) throws -> String {
      let path = try program("repld")
      var child = try bench.a.spawn(shell: "ulimit -n \(limit); exec \(without)\(path) r0")
      defer {
        child.kill(SIGTERM)
        _ = hasHappened { child.reap() != nil }
      }
      try until("repld says who it is") { bench.a.log.contains("repld serves") }
      return bench.a.log
    }
    let said = try start(60)
    #expect(said.contains("r0: 60 files may be open at once, and "), "\(said)")
    #expect(said.contains("set LimitNOFILE="))
    unlink(bench.a.logPath)
    #expect(try !start(1000).contains("files may be open at once"))
  }

  // MARK: Tables

  @Test func moreVolumesThanThereArePlacesForAreRefusedEverywhere() throws {
    let desk = try Desk()
    let volumes = (0..<65).map { "volume \($0) { device minor \(500 + $0); disk /dev/d\($0); meta-disk internal; }" }
    let text = """
      resource r0 {
        on a { address 127.0.0.1:7001; \(volumes.joined(separator: "\n")) }
        on b { address 127.0.0.1:7002; \(volumes.joined(separator: "\n")) }
      }
      """
    try text.write(toFile: desk.config, atomically: true, encoding: .utf8)
    let words = "resource 'r0' has 65 volumes on host 'a', and 64 are the most that one resource may have"
    for line in ["dump r0", "dump", "create-md r0", "up --no-device r0", "adjust r0"] {
      refuses(try desk.a(line), 10, words, "Move some of them to another resource")
    }
    let (exit, said) = try desk.bench.a.run()
    #expect(exit == .status(10) && said.contains(words), "\(exit) \(said)")
    try text.replacing(volumes[64] + "\n", with: "").replacing(volumes[64], with: "").write(
      toFile: desk.config, atomically: true, encoding: .utf8)
    succeeds(try desk.a("dump r0"))
  }

  @Test func aVolumeMayBeExportedAtManyAddresses() throws {
    let bench = try Bench()
    let ports = try (0..<3).map { _ in try freePort() }
    try bench.a.start(ports.flatMap { ["--nbd-tcp", "0=127.0.0.1:\($0)"] } + ["r0"])
    for port in ports { #expect(try Wire(port: port).receive(8) == Array("NBDMAGIC".utf8)) }
  }

  @Test func anAddressForClientsThatIsTakenIsTriedAgain() throws {
    let bench = try Bench()
    let port = try freePort()
    do {
      let holder = try Listener(tcp: try #require(SocketAddress("127.0.0.1:\(port)")))
      try bench.a.start(["--nbd-tcp", "0=127.0.0.1:\(port)", "r0"])
      #expect(bench.a.log.contains("port \(port) on 127.0.0.1 is in use"), "\(bench.a.log)")
      #expect(try Wire(unix: bench.a.exportPath).receive(8) == Array("NBDMAGIC".utf8))
      withExtendedLifetime(holder) {}
    }
    try until("clients are let in there") { bench.a.log.contains("accepted on 127.0.0.1:\(port) now") }
    #expect(try Wire(port: port).receive(8) == Array("NBDMAGIC".utf8))
    #expect(bench.a.log.components(separatedBy: "tries again every second").count == 2, "\(bench.a.log)")
  }

  // MARK: Death

  @Test(arguments: [SIGSEGV, SIGILL, SIGBUS, SIGABRT])
  func aDaemonThatDiesLeavesTheSignalInItsLog(signal: Int32) throws {
    let bench = try Bench()
    try bench.a.start()
    let text = try String(contentsOfFile: bench.a.files.pidFile("r0"), encoding: .utf8)
    let pid = try #require(Int32(text.trimmingCharacters(in: .whitespacesAndNewlines)))
    #expect(kill(pid, signal) == 0)
    #expect(try bench.a.awaitExit() == .signal(signal))
    let reason = try #require(Death.reason(of: pid, in: bench.a.log), "\(bench.a.log)")
    #expect(reason == "died of \(Death.name(of: signal)) sent by process \(getpid())")
    #expect(bench.a.log.contains("repld("), "the way there")
    // Nothing of it stands in the way of the next one.
    try bench.a.start()
    #expect(try bench.a.status().name == "r0")
  }

  @Test(arguments: [SIGSEGV, SIGKILL])
  func aCommandSaysThatTheDaemonDiedMeanwhile(signal: Int32) throws {
    let desk = try Desk()
    succeeds(try desk.a("create-md r0"))
    succeeds(try desk.a("up --no-device r0"))
    let pid = try #require(desk.pid(of: desk.bench.a))
    kill(pid, SIGSTOP)
    let socket = desk.bench.a.files.controlSocket("r0")
    var command = try desk.bench.a.start(repladm: ["--timeout", "30", "primary", "r0"])
    // The listener, and the program that waits for its answer.
    try until("repladm has connected") {
      try String(contentsOfFile: "/proc/net/unix", encoding: .utf8).split(separator: "\n").count {
        $0.hasSuffix(socket)
      } >= 2
    }
    kill(pid, signal)
    kill(pid, SIGCONT)
    try until("repladm ends") { command.reap() != nil }
    let exit = command.reap()
    #expect(exit == .status(20))
    let said = desk.bench.a.log
    let how = signal == SIGKILL ? "ended" : "died of SIGSEGV (signal 11) sent by process \(getpid())"
    #expect(said.contains("r0: repld (process \(pid)) \(how) while it was asked for primary\n"), "\(said)")
    #expect(said.contains(desk.bench.a.files.log("r0")) && said.contains("repladm up r0"))
  }
}
