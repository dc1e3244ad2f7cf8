// The other end of a socket of `repld`, blocking, with a deadline: bytes as a test wants them.
import BlockIO
import Glibc

struct WireEnded: Error {}

final class Wire {
  private let socket: Socket
  private var rest: [UInt8] = []

  init(unix path: String) throws {
    socket = try Socket(unixTo: path)
    limit()
  }

  /// From 127.0.0.1, as the peer of a bench connects.
  init(port: UInt16) throws {
    let here = SocketAddress(host: .v4(0x7f00_0001), port: 0)
    socket = try Socket(tcpFrom: here)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let rc = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket.descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard rc == 0 else { throw WireEnded() }
    limit()
  }

  private func limit() {
    var time = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(socket.descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(socket.descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
  }

  func send(_ bytes: [UInt8]) throws {
    var done = 0
    while done < bytes.count {
      let sent = bytes[done...].withUnsafeBytes {
        Glibc.send(socket.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard sent > 0 else { throw WireEnded() }
      done += sent
    }
  }

  // For a client that sends and receives at the same time: as much as goes at once, without waiting.

  var descriptor: Int32 { socket.descriptor }

  /// How many of these bytes went out; nil: the other side has gone.
  func sendNow(_ bytes: ArraySlice<UInt8>) -> Int? {
    let sent = bytes.withUnsafeBytes {
      Glibc.send(socket.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
    }
    return sent >= 0 ? sent : errno == EAGAIN ? 0 : nil
  }

  /// Nil: the other side has gone.
  func receiveNow() -> [UInt8]? {
    var chunk = [UInt8](repeating: 0, count: 256 << 10)
    let got = recv(socket.descriptor, &chunk, chunk.count, Int32(MSG_DONTWAIT))
    if got > 0 { return Array(chunk[..<got]) }
    return got < 0 && errno == EAGAIN ? [] : nil
  }

  /// Sends this again and again, whole, for so long, as fast as it is taken, and reads nothing. Returns how many bytes were taken;
  /// the end of the connection ends it.
  func flood(_ bytes: [UInt8], seconds: Double, meanwhile look: () throws -> Void) rethrows -> Int {
    let end = ContinuousClock.now + .milliseconds(Int(seconds * 1000))
    var taken = 0
    var at = 0
    while ContinuousClock.now < end {
      let sent = bytes[at...].withUnsafeBytes {
        Glibc.send(socket.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
      }
      if sent > 0 {
        taken += sent
        at = (at + sent) % bytes.count
      } else if errno == EAGAIN {
        try look()
        usleep(2000)
      } else {
        return taken
      }
    }
    return taken
  }

  func receive(_ count: Int) throws -> [UInt8] {
    while rest.count < count { try more() }
    defer { rest.removeFirst(count) }
    return Array(rest[..<count])
  }

  /// Up to the next line end, without it.
  func line() throws -> [UInt8] {
    while true {
      if let end = rest.firstIndex(of: 10) {
        defer { rest.removeFirst(end + 1) }
        return Array(rest[..<end])
      }
      try more()
    }
  }

  private func more() throws {
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    let got = recv(socket.descriptor, &chunk, chunk.count, 0)
    guard got > 0 else { throw WireEnded() }
    rest += chunk[..<got]
  }

  /// The other side has closed, now or within the deadline; what it sent before does not count.
  func hasEnded() -> Bool {
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while true {
      let got = recv(socket.descriptor, &chunk, chunk.count, 0)
      if got > 0 { continue }
      return got == 0 || errno == ECONNRESET
    }
  }
}
