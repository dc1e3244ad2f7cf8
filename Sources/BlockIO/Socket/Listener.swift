// A socket that waits for connections: TCP on one own address, or unix with access for its owner only. Law: a unix socket
// file is removed only after it was seen to be a socket on which nobody answers.

import CURing
import Glibc

public struct Listener: ~Copyable {
  public let descriptor: Int32
  /// Of a unix listener.
  public let path: String?
  private let inode: ino_t

  /// `namesHolder`: of a port in use. That takes a look at every process.
  public init(
    tcp address: SocketAddress, options: SocketOptions = SocketOptions(), backlog: Int32 = 16, namesHolder: Bool = true
  ) throws(SocketRefusal) {
    let made = try Socket.make(address, options, reuse: false, namesHolder: namesHolder)
    guard listen(made, backlog) == 0 else {
      let error = Errno.last
      close(made)
      throw .binding(address, error, namesHolder: namesHolder)
    }
    descriptor = made
    path = nil
    inode = 0
  }

  /// `group`: its members may connect as well.
  public init(unix path: String, group: UInt32? = nil, backlog: Int32 = 64) throws(SocketRefusal) {
    let address = try UnixPath(path)
    try address.clear()
    let made = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard made >= 0 else { throw .failed(where: path, doing: "socket", Errno.last) }
    // The file gets the socket's mode when it is made: there is no moment in which others may connect. The group is let in when the
    // file is the group's.
    _ = fchmod(made, 0o600)
    let isBound = address.with({ bind(made, $0, $1) }) == 0
    let isShared = group.map { isBound && lchown(path, .max, $0) == 0 && chmod(path, 0o660) == 0 } ?? true
    guard isBound, isShared, listen(made, backlog) == 0 else {
      let error = Errno.last
      close(made)
      switch error.code {
      case EADDRINUSE: throw .pathInUse(path)
      case EACCES, EPERM, EROFS: throw .noPermission(where: path)
      default: throw .failed(where: path, doing: "bind", error)
      }
    }
    descriptor = made
    self.path = path
    var status = stat()
    inode = lstat(path, &status) == 0 ? status.st_ino : 0
  }

  deinit {
    close(descriptor)
    guard let path else { return }
    var status = stat()
    // Somebody else's by now? Then it stays.
    if lstat(path, &status) == 0 && status.st_ino == inode { unlink(path) }
  }

  /// With the port the kernel chose when 0 was asked for.
  public var localAddress: SocketAddress? { Socket.address(descriptor, getsockname) }
}

/// A path that fits into a socket address.
struct UnixPath {
  let path: String
  static let limit = MemoryLayout.size(ofValue: sockaddr_un().sun_path) - 1

  init(_ path: String) throws(SocketRefusal) {
    guard path.utf8.count <= UnixPath.limit else { throw .pathTooLong(path, limit: UnixPath.limit) }
    self.path = path
  }

  func with(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
  }

  /// Removes what a killed daemon left behind.
  func clear() throws(SocketRefusal) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFSOCK else { throw .pathTaken(path) }
    let probe = socket(
      AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard probe >= 0 else { throw .failed(where: path, doing: "socket", Errno.last) }
    defer { close(probe) }
    // Refused: nobody listens. Anything else, a full queue included, means somebody does.
    guard with({ connect(probe, $0, $1) }) != 0, errno == ECONNREFUSED else { throw .pathInUse(path) }
    guard unlink(path) == 0 || errno == ENOENT else { throw .failed(where: path, doing: "remove", Errno.last) }
  }
}
