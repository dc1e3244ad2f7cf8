// Sockets through the ring: TCP and unix echo, scattered and gathered messages, and every refusal by its sentence.

import Base
import CURing
import Foundation
import Testing

@testable import BlockIO

extension OnThisMachine {
  @Suite struct SocketTests {
    private enum Kind { static let accept: UInt8 = 1, connect: UInt8 = 2, receive: UInt8 = 3, send: UInt8 = 4 }

    /// Both ends of a TCP connection made by the ring.
    private func pair(_ ring: inout Ring, _ host: String = "127.0.0.1") throws -> Pair {
      let own = try have(SocketAddress(host, port: 0))
      let listener = try Listener(tcp: own)
      let address = try have(listener.localAddress)
      ring.accept(listener, tag: Tag(kind: Kind.accept))
      let client = try Socket(tcpFrom: own)
      ring.connect(client, to: address, tag: Tag(kind: Kind.connect))
      var accepted: Int32 = -1
      for _ in 0..<2 {
        let done = try ring.one()
        try #require(done.result >= 0)
        if done.tag.kind == Kind.accept { accepted = done.result }
      }
      let server = Socket(accepted: accepted)
      #expect(server.peerAddress == client.localAddress)
      #expect(client.peerAddress == address)
      return Pair(client: client, server: server)
    }

    private struct Pair: ~Copyable {
      let client: Socket
      let server: Socket
    }

    @Test("A large message goes out gathered and comes in scattered, whole", arguments: ["127.0.0.1", "::1"])
    func tcp(host: String) throws {
      var ring = try Ring.forTest()
      let pair = try pair(&ring, host)
      let total = 3 << 20
      let bytes = pattern(total, seed: 2)
      let source = AlignedBuffer(count: total)
      source.bytes.copyBytes(from: bytes)
      let target = AlignedBuffer(count: total)

      // Out in 50 uneven parts, in through 3.
      var out = Message()
      var at = 0
      for part in 1...50 {
        let count = part == 50 ? total - at : part * 1031
        // A hole between the parts, so that they are not joined: the parts alternate between two copies.
        out.append(source.pointer + at, count: count)
        at += count
      }
      var parts = Message()
      for part in 0..<3 { parts.append(target.pointer + part << 20, count: 1 << 20) }
      ring.send(pair.client.file, from: out, tag: Tag(kind: Kind.send))
      ring.receive(pair.server.file, into: parts, tag: Tag(kind: Kind.receive))
      var sent = false
      var received = false
      while !sent || !received {
        let done = try ring.one()
        try #require(done.result > 0)
        if done.tag.kind == Kind.send {
          sent = out.consume(Int(done.result))
          if !sent { ring.send(pair.client.file, from: out, tag: done.tag) }
        } else {
          received = parts.consume(Int(done.result))
          if !received { ring.receive(pair.server.file, into: parts, tag: done.tag) }
        }
      }
      #expect(Array(target.bytes) == bytes)
    }

    @Test("A unix socket is for its owner only and echoes")
    func unix() throws {
      var ring = try Ring.forTest()
      let scratch = try Scratch()
      let path = "\(scratch.path)/r0.sock"
      do {
        let listener = try Listener(unix: path)
        var status = stat()
        #expect(lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
        ring.accept(listener, tag: Tag(kind: Kind.accept))
        let client = try Socket(unixTo: path)
        let server = Socket(accepted: try ring.one().result)
        let buffer = AlignedBuffer(count: 4096)
        let line = Array("status r0\n".utf8)
        buffer.bytes.copyBytes(from: line)
        ring.send(client.file, from: buffer.pointer, count: line.count, tag: Tag(kind: Kind.send))
        ring.receive(server.file, into: buffer.pointer + 1024, count: 1024, tag: Tag(kind: Kind.receive))
        for _ in 0..<2 { #expect(Int(try ring.one().result) == line.count) }
        #expect(Array(buffer.bytes[1024..<1024 + line.count]) == line)
        // The end of the other side is a receive of nothing.
        ring.receive(server.file, into: buffer.pointer, count: 1024, tag: Tag(kind: Kind.receive))
        client.shutdown()
        #expect(try ring.one().result == 0)
      }
      #expect(access(path, F_OK) != 0)
    }

    @Test("What a killed daemon left is replaced; what is alive or no socket is not")
    func staleSocket() throws {
      let scratch = try Scratch()
      let path = "\(scratch.path)/r0.sock"
      // A listener whose file stays behind.
      let made = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
      #expect(try UnixPath(path).with { bind(made, $0, $1) } == 0)
      close(made)
      #expect(access(path, F_OK) == 0)
      let alive = try Listener(unix: path)
      #expect(refusal { () throws(SocketRefusal) in _ = try Listener(unix: path) } == .pathInUse(path))
      #expect(alive.path == path)
      let file = try scratch.file("plain")
      #expect(refusal { () throws(SocketRefusal) in _ = try Listener(unix: file) } == .pathTaken(file))
      #expect(access(file, F_OK) == 0)
      let long = scratch.path + "/" + String(repeating: "x", count: 100)
      #expect(refusal { () throws(SocketRefusal) in _ = try Listener(unix: long) } == .pathTooLong(long, limit: 107))
    }

    @Test("A port in use is refused by its holder, a foreign address by what this host has")
    func addresses() throws {
      let own = try have(SocketAddress("127.0.0.1", port: 0))
      let first = try Listener(tcp: own)
      let taken = try have(first.localAddress)
      let inUse = refusal { () throws(SocketRefusal) in _ = try Listener(tcp: taken) }
      guard case .portInUse(taken, let holder)? = inUse else { throw ToolFailed(description: "not refused as in use") }
      #expect(holder?.contains("pid \(getpid())") == true)
      #expect(inUse?.text.contains("port \(taken.port) on 127.0.0.1 is in use by ") == true)

      // TEST-NET-1: never an address of a real interface.
      let foreign = try have(SocketAddress("192.0.2.77:7788"))
      let refused = refusal { () throws(SocketRefusal) in _ = try Listener(tcp: foreign) }
      #expect(refused?.text.hasPrefix("192.0.2.77 is not an address of this host, which has ") == true)
      #expect(refused?.text.contains("127.0.0.1") == true)
      let outgoing = refusal { () throws(SocketRefusal) in _ = try Socket(tcpFrom: foreign) }
      #expect(outgoing == refused)
    }

    @Test("A connection that nobody takes is refused, one that is given up is cancelled")
    func failedConnects() throws {
      var ring = try Ring.forTest()
      let own = try have(SocketAddress("127.0.0.1", port: 0))
      let address: SocketAddress
      do {
        let listener = try Listener(tcp: own)
        address = try have(listener.localAddress)
      }
      let socket = try Socket(tcpFrom: own)
      ring.connect(socket, to: address, tag: Tag(kind: Kind.connect))
      #expect(try ring.one().fault == Errno(ECONNREFUSED))
      // More connects in one turn than addresses are kept for.
      var results = 0
      for _ in 0..<40 { ring.connect(socket, to: address, tag: Tag(kind: Kind.connect)) }
      for _ in 0..<40 where try ring.one().fault == Errno(ECONNREFUSED) { results += 1 }
      #expect(results > 0)
    }

    @Test("A shut down socket completes what is under way")
    func shutdown() throws {
      var ring = try Ring.forTest()
      let pair = try pair(&ring)
      let buffer = AlignedBuffer(count: 4096)
      ring.receive(pair.server.file, into: buffer.pointer, count: 4096, tag: Tag(kind: Kind.receive))
      ring.submit()
      pair.server.shutdown()
      #expect(try ring.one().result == 0)
      // To send then is an error, and no signal ends the process.
      ring.send(pair.server.file, from: buffer.pointer, count: 10, tag: Tag(kind: Kind.send))
      #expect(try ring.one().fault == Errno(EPIPE))
    }

    @Test(
      "Addresses are read and written as in the configuration",
      arguments: ["192.168.1.1:7788", "[::1]:7788", "[fd00::12:3]:1", "0.0.0.0:0", "[::ffff:1.2.3.4]:65535"])
    func addressText(text: String) throws {
      let address = try #require(SocketAddress(text))
      #expect(address.description == text)
      var storage = sockaddr_storage()
      _ = address.store(in: &storage)
      #expect(SocketAddress(storage) == address)
    }

    @Test(
      "What is no address is refused",
      arguments: [
        "", ":", "1.2.3.4", "1.2.3:7788", "host:7788", "::1:7788", "[::1]", "1.2.3.4:70000", "[fe80::1%nowhere]:1",
      ])
    func badAddress(text: String) { #expect(SocketAddress(text) == nil) }

    @Test("A message moves its beginning over any number of parts")
    func message() {
      let buffer = AlignedBuffer(count: 4096)
      var message = Message()
      #expect(message.isEmpty == true)
      message.append(buffer.pointer, count: 10)
      message.append(buffer.pointer + 10, count: 5)
      #expect(message.partCount == 1)
      message.append(buffer.pointer + 100, count: 0)
      message.append(buffer.pointer + 100, count: 20)
      message.append(buffer.pointer + 200, count: 30)
      #expect(message.left == 65 && message.partCount == 3)
      #expect(message.consume(15) == false)
      #expect(message.partCount == 2)
      #expect(message.consume(1) == false)
      #expect(message.left == 49 && message.partCount == 2)
      #expect(message.consume(49) == true)
      #expect(message.room == Message.limit)
    }
  }
}
