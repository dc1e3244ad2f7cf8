// What a service manager hears: datagrams on a socket that it named.

import Base
import Foundation
import Glibc
import Testing

@testable import BlockIO

extension OnThisMachine {
  @Suite struct ServiceManagerTests {
    private let start = Instant(nanoseconds: 1_000_000_000)

    /// The end that listens.
    private final class Ear {
      let path: String
      private let descriptor: Int32

      init(_ path: String) throws {
        self.path = path
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var bytes = Array(path.utf8)
        let isAbstract = bytes[0] == UInt8(ascii: "@")
        if isAbstract { bytes[0] = 0 }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let length = isAbstract ? 2 + bytes.count : MemoryLayout<sockaddr_un>.size
        let rc = withUnsafePointer(to: &address) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(length)) }
        }
        try #require(rc == 0)
      }

      deinit { close(descriptor) }

      /// What has come and was not taken yet.
      func heard() -> [String] {
        var said: [String] = []
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
          let got = recv(descriptor, &bytes, bytes.count, 0)
          guard got >= 0 else { return said }
          said.append(String(decoding: bytes[..<got], as: UTF8.self))
        }
      }
    }

    @Test("Ready, alive twice within the limit, ending: each as one datagram")
    func life() throws {
      let scratch = try Scratch()
      let ear = try Ear("\(scratch.path)/notify")
      var manager = try ServiceManager(path: ear.path, limit: .seconds(10), at: start)
      manager.ready("r0\nWATCHDOG=1\tx", at: start)
      #expect(ear.heard() == ["READY=1\nSTATUS=r0 WATCHDOG=1 x"])
      #expect(manager.deadline == start + .seconds(5))
      manager.keepTime(at: start + .milliseconds(4999))
      #expect(ear.heard() == [])
      manager.keepTime(at: start + .seconds(6))
      #expect(ear.heard() == ["WATCHDOG=1"])
      #expect(manager.deadline == start + .seconds(11))
      manager.status("r0 role:Primary")
      manager.stopping()
      #expect(ear.heard() == ["STATUS=r0 role:Primary", "STOPPING=1"])
    }

    @Test("An abstract name is one that begins with @; without a limit no keep-alive")
    func abstract() throws {
      let ear = try Ear("@repl-test-\(getpid())-\(UInt32.random(in: 0...UInt32.max))")
      var manager = try ServiceManager(path: ear.path, limit: nil, at: start)
      manager.ready("r0", at: start)
      #expect(ear.heard() == ["READY=1\nSTATUS=r0"])
      #expect(manager.deadline == nil)
      manager.keepTime(at: start + .seconds(1000))
      #expect(ear.heard() == [])
    }

    @Test("A service manager that does not read does not stop the daemon, and gets READY=1 when it reads again")
    func full() throws {
      let scratch = try Scratch()
      let ear = try Ear("\(scratch.path)/notify")
      var manager = try ServiceManager(path: ear.path, limit: nil, at: start)
      // More than the queue of such a socket takes.
      for number in 0..<20_000 { manager.status("\(number)") }
      manager.ready("r0", at: start)
      #expect(manager.deadline == start + .milliseconds(100))
      manager.keepTime(at: start + .milliseconds(100))
      #expect(manager.deadline == start + .milliseconds(200), "there is still no room")
      #expect(ear.heard().contains { $0.hasPrefix("READY") } == false)
      manager.keepTime(at: start + .milliseconds(200))
      #expect(ear.heard() == ["READY=1\nSTATUS=r0"])
      #expect(manager.deadline == nil)
    }

    @Test("A name that no socket can have is refused, and one that has gone is no obstacle")
    func names() throws {
      for name in ["notify", "vsock:2:1", "/" + String(repeating: "x", count: 108)] {
        #expect(throws: Errno(EINVAL)) { _ = try ServiceManager(path: name, limit: nil, at: self.start) }
      }
      var manager = try ServiceManager(path: "/nonexistent/notify", limit: nil, at: start)
      manager.ready("r0", at: start)
      #expect(manager.deadline == nil)
    }
  }
}
