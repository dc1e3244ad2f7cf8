// One end of a connection. Owns its descriptor; the bytes move by the ring. To end one with requests under way:
// `shutdown`, let them complete, then drop it.

import Base
import CURing
import Glibc

public struct SocketOptions: Sendable {
  /// Bytes; 0 leaves them to the kernel, which then adapts them.
  public var sendBuffer: Int = 0
  public var receiveBuffer: Int = 0
  public init(sendBuffer: Int = 0, receiveBuffer: Int = 0) {
    self.sendBuffer = sendBuffer
    self.receiveBuffer = receiveBuffer
  }
}

public struct Socket: ~Copyable {
  public let descriptor: Int32

  /// Takes over a descriptor that `accept` gave.
  public init(accepted descriptor: Int32) { self.descriptor = descriptor }

  deinit { close(descriptor) }

  /// Bound to this host's own address, so that the peer sees the address it knows; any free port. Connect it by the ring.
  public init(tcpFrom address: SocketAddress, options: SocketOptions = SocketOptions()) throws(SocketRefusal) {
    let made = try Socket.make(address, options, reuse: true)
    descriptor = made
    tuneTCP(options)
  }

  /// A unix connection; blocks for as long as the listener's queue is full. For the admin program and tests.
  public init(unixTo path: String) throws(SocketRefusal) {
    let address = try UnixPath(path)
    let made = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard made >= 0 else { throw .failed(where: path, doing: "socket", Errno.last) }
    guard address.with({ Glibc.connect(made, $0, $1) }) == 0 else {
      let error = Errno.last
      close(made)
      throw error.code == EACCES ? .noPermission(where: path) : .failed(where: path, doing: "connect", error)
    }
    descriptor = made
  }

  /// For requests of the ring.
  public var file: RingFile { RingFile(descriptor) }

  /// A socket bound to `address`, with port 0 when `reuse` asks for an outgoing one.
  static func make(
    _ address: SocketAddress, _ options: SocketOptions, reuse outgoing: Bool, namesHolder: Bool = true
  ) throws(SocketRefusal) -> Int32 {
    let made = socket(address.family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard made >= 0 else { throw .failed(where: address.description, doing: "socket", Errno.last) }
    set(made, SOL_SOCKET, SO_REUSEADDR, 1)
    // Before connect and listen: the window scale is fixed with the first packet.
    if options.sendBuffer > 0 { set(made, SOL_SOCKET, SO_SNDBUF, Int32(clamping: options.sendBuffer)) }
    if options.receiveBuffer > 0 { set(made, SOL_SOCKET, SO_RCVBUF, Int32(clamping: options.receiveBuffer)) }
    var own = address
    if outgoing { own.port = 0 }
    var storage = sockaddr_storage()
    let length = own.store(in: &storage)
    let rc = withUnsafePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(made, $0, length) }
    }
    guard rc == 0 else {
      let error = Errno.last
      close(made)
      throw .binding(address, error, namesHolder: namesHolder)
    }
    return made
  }

  /// For every connection between hosts, accepted ones too: no delay for small packets, a dead host is noticed.
  public func tuneTCP(_ options: SocketOptions = SocketOptions()) {
    let level = Int32(IPPROTO_TCP)
    Socket.set(descriptor, level, TCP_NODELAY, 1)
    Socket.set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
    Socket.set(descriptor, level, TCP_KEEPIDLE, 23)
    Socket.set(descriptor, level, TCP_KEEPINTVL, 23)
    Socket.set(descriptor, level, TCP_KEEPCNT, 3)
    if options.sendBuffer > 0 { Socket.set(descriptor, SOL_SOCKET, SO_SNDBUF, Int32(clamping: options.sendBuffer)) }
    if options.receiveBuffer > 0 {
      Socket.set(descriptor, SOL_SOCKET, SO_RCVBUF, Int32(clamping: options.receiveBuffer))
    }
  }

  /// Both directions end; what is under way completes.
  public func shutdown() { _ = Glibc.shutdown(descriptor, Int32(SHUT_RDWR)) }

  /// No more to send; the other side may still talk.
  public func endSending() { _ = Glibc.shutdown(descriptor, Int32(SHUT_WR)) }

  public var localAddress: SocketAddress? { address(getsockname) }
  /// Nil for unix sockets and broken connections.
  public var peerAddress: SocketAddress? { address(getpeername) }

  /// Who is at the other end, for people: "fio (pid 4711)", or an address.
  public var peerDescription: String {
    if let address = peerAddress { return "\(address)" }
    // struct ucred: pid, uid, gid.
    var credentials: (pid: Int32, user: UInt32, group: UInt32) = (0, 0, 0)
    var length = socklen_t(MemoryLayout.size(ofValue: credentials))
    guard getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0, credentials.pid > 0 else {
      return "a process that has ended"
    }
    return KernelText.describe(process: credentials.pid)
  }

  /// Bytes sent that the other host has not acknowledged yet.
  public var unacknowledgedBytes: Int {
    var count: Int32 = 0
    return cu_unsent(descriptor, &count) == 0 ? Int(count) : 0
  }

  private func address(
    _ ask: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
  ) -> SocketAddress? {
    Socket.address(descriptor, ask)
  }

  static func address(
    _ descriptor: Int32, _ ask: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
  ) -> SocketAddress? {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let rc = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { ask(descriptor, $0, &length) }
    }
    return rc == 0 ? SocketAddress(storage) : nil
  }

  /// Options that only tune: a kernel that refuses one works without it.
  static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
    var value = value
    _ = setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
  }
}
