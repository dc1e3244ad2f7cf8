// A local socket of packets: each send is one message, and one descriptor may travel beside it. Law: the path belongs to its user
// alone, and a descriptor that came with a packet and is not used is closed by the receiver.
import CURing
import Glibc

public struct PacketSocket: ~Copyable {
  public let descriptor: Int32
  /// The path that goes with it, of one that listens.
  private let path: String?

  private init(_ descriptor: Int32, path: String? = nil) {
    self.descriptor = descriptor
    self.path = path
  }

  deinit {
    if let path { unlink(path) }
    close(descriptor)
  }

  /// Listens without ever waiting. Whatever had the path before is gone: the caller holds a lock for it.
  public static func listening(at path: String) throws(Errno) -> PacketSocket {
    let descriptor = try made(O_NONBLOCK)
    unlink(path)
    let before = umask(0o177)
    let rc = withAddress(path) { bind(descriptor, $0, $1) }
    let bound = Errno.last
    umask(before)
    guard rc == 0 else {
      close(descriptor)
      throw bound
    }
    guard listen(descriptor, 16) == 0 else {
      let error = Errno.last
      close(descriptor)
      throw error
    }
    return PacketSocket(descriptor, path: path)
  }

  /// Connects, and waits for answers no longer than `seconds`.
  public static func connected(to path: String, seconds: Int) throws(Errno) -> PacketSocket {
    let descriptor = try made(0)
    var limit = timeval(tv_sec: seconds, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    guard withAddress(path, { connect(descriptor, $0, $1) }) == 0 else {
      let error = Errno.last
      close(descriptor)
      throw error
    }
    return PacketSocket(descriptor)
  }

  /// The next caller; nil when there is none now.
  public func accepted() -> PacketSocket? {
    let caller = accept(descriptor, nil, nil)
    guard caller >= 0 else { return nil }
    _ = fcntl(caller, F_SETFD, FD_CLOEXEC)
    _ = fcntl(caller, F_SETFL, O_NONBLOCK)
    return PacketSocket(caller)
  }

  /// The process at the other end; nil where its number means nothing here.
  public var peer: Int32? {
    var credentials: (pid: Int32, user: UInt32, group: UInt32) = (0, 0, 0)
    var length = socklen_t(MemoryLayout.size(ofValue: credentials))
    let rc = getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length)
    return rc == 0 && credentials.pid > 0 ? credentials.pid : nil
  }

  public func send(_ text: String, passing passed: Int32? = nil) throws(Errno) {
    let bytes = Array(text.utf8)
    while cu_send_packet(descriptor, bytes, bytes.count, passed ?? -1) < 0 {
      guard errno == EINTR else { throw Errno.last }
    }
  }

  /// The next packet. An empty one: the other end has hung up. `passed` is the caller's to close.
  public func receive() throws(Errno) -> (text: String, passed: Int32?) {
    var bytes = [UInt8](repeating: 0, count: 4096)
    var passed: Int32 = -1
    while true {
      let got = cu_receive_packet(descriptor, &bytes, bytes.count, &passed)
      if got >= 0 { return (String(decoding: bytes[..<got], as: UTF8.self), passed >= 0 ? passed : nil) }
      guard errno == EINTR else { throw Errno.last }
    }
  }

  private static func made(_ flags: Int32) throws(Errno) -> Int32 {
    let descriptor = socket(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue) | O_CLOEXEC | flags, 0)
    guard descriptor >= 0 else { throw Errno.last }
    return descriptor
  }

  private static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let name = Array(path.utf8)
    guard name.count < MemoryLayout.size(ofValue: address.sun_path) else {
      errno = ENAMETOOLONG
      return -1
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, size) }
    }
  }
}
