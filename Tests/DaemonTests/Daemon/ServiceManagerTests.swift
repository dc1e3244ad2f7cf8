// A real `repld` under a service manager that a test plays: sd_notify's words on a socket that NOTIFY_SOCKET names.
import Base
import BlockIO
import Control
import Foundation
import Glibc
import Testing

@Suite struct UnderAServiceManager {
  /// The socket that a service manager listens on.
  private final class Ear {
    let path: String
    private let descriptor: Int32

    init(_ path: String) throws {
      self.path = path
      descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
      var address = sockaddr_un()
      address.sun_family = sa_family_t(AF_UNIX)
      withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
      let rc = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
        }
      }
      try #require(rc == 0)
    }

    deinit { close(descriptor) }

    /// The next datagram; nil: none within that time.
    func next(milliseconds: Int32 = 20_000) -> String? {
      var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&entry, 1, milliseconds) == 1 else { return nil }
      var bytes = [UInt8](repeating: 0, count: 4096)
      let got = recv(descriptor, &bytes, bytes.count, 0)
      return got >= 0 ? String(decoding: bytes[..<got], as: UTF8.self) : nil
    }

    /// The next one that begins with these words.
    func next(_ words: String, location: SourceLocation = #_sourceLocation) throws -> String {
      while let said = next() { if said.hasPrefix(words) { return said } }
      throw Timeout(description: "nothing was said that begins with \(words)")
    }

    func drain() { while next(milliseconds: 0) != nil {} }
  }

  private func bench() throws -> (Bench, Ear) {
    let bench = try Bench()
    let ear = try Ear("\(bench.directory)/notify")
    bench.a.variables = ["NOTIFY_SOCKET=\(ear.path)"]
    return (bench, ear)
  }

  @Test func aDaemonIsReadyWhenItsControlSocketAnswersAndSaysWhatItDoes() throws {
    let (bench, ear) = try bench()
    try bench.a.createMetadata()
    var process = try bench.a.spawn()
    defer { process.kill() }
    // No second try: who is told that the daemon is ready is answered.
    #expect(try ear.next("") == "READY=1\nSTATUS=r0 role:Secondary disk:Diskless connection:StandAlone")
    #expect(try bench.a.status().role == .secondary)
    try bench.a.done(.attach(volume: nil))
    #expect(try ear.next("STATUS=r0 role:Secondary disk:Inconsistent").hasSuffix("connection:StandAlone"))
    ear.drain()
    // Without a limit there is no keep-alive, and nothing happens that would be worth a word.
    #expect(ear.next(milliseconds: 300) == nil)
    try bench.a.done(.down)
    #expect(try ear.next("STOPPING=1") == "STOPPING=1")
    try until("it ends") { process.reap() == .status(0) }
  }

  @Test func aDaemonThatHangsIsNoticed() throws {
    let (bench, ear) = try bench()
    bench.a.variables.append("WATCHDOG_USEC=400000")
    var process = try bench.a.spawn()
    defer {
      process.kill()
      _ = process.reap()
    }
    #expect(try ear.next("READY=1").hasPrefix("READY=1\n"))
    for _ in 0..<4 { #expect(try ear.next("WATCHDOG=1") == "WATCHDOG=1") }
    // The thread of the ring says so, and no other.
    process.kill(SIGSTOP)
    try until("it is stopped") {
      try String(contentsOfFile: "/proc/\(process.pid)/stat", encoding: .utf8).contains(") T ")
    }
    ear.drain()
    #expect(ear.next(milliseconds: 800) == nil)
    process.kill(SIGCONT)
    #expect(try ear.next("WATCHDOG=1") == "WATCHDOG=1")
  }

  @Test func aLimitThatIsMeantForAnotherProcessIsNotKept() throws {
    let (bench, ear) = try bench()
    bench.a.variables += ["WATCHDOG_USEC=100000", "WATCHDOG_PID=1"]
    var process = try bench.a.spawn()
    defer {
      process.kill()
      _ = process.reap()
    }
    #expect(try ear.next("READY=1").hasPrefix("READY=1\n"))
    ear.drain()
    #expect(ear.next(milliseconds: 300) == nil)
  }

  @Test func aNameThatNoSocketCanHaveIsRefused() throws {
    let (bench, _) = try bench()
    bench.a.variables = ["NOTIFY_SOCKET=notify"]
    let (status, text) = try bench.a.run()
    #expect(status == .status(20))
    #expect(text.contains("repld: NOTIFY_SOCKET is not the name of a socket"))
  }
}
