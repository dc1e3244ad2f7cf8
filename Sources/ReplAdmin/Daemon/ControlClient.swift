// The client's end of a control socket: one request line out, reply lines in, with a deadline on every step. A daemon that is
// stopped, gone or talking nonsense costs the deadline at most.
import Control
import FoundationEssentials
import Glibc

/// Why a daemon could not be asked.
enum ControlFault: Error, Equatable {
  /// Nobody listens on the socket.
  case notRunning
  /// It listens, but did not answer in time.
  case silent
  /// It hung up before the final reply, or wrote what is no reply.
  case broken(String)
  /// No socket can have this path, so the peer does not listen on this port.
  case impossible(String)
  case system(String)
}

struct ControlClient: ~Copyable {
  let descriptor: Int32
  private var buffered: [UInt8] = []

  init(connecting path: String, deadline: Deadline) throws(ControlFault) {
    descriptor = try ControlClient.connected(to: path, deadline: deadline)
  }

  deinit { close(descriptor) }

  /// The process that listens, as the kernel knows it; nil when it lives where its number means nothing here.
  var server: Int32? {
    // struct ucred: pid, uid, gid.
    var credentials: (pid: Int32, user: UInt32, group: UInt32) = (0, 0, 0)
    var length = socklen_t(MemoryLayout.size(ofValue: credentials))
    let rc = getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length)
    return rc == 0 && credentials.pid > 0 ? credentials.pid : nil
  }

  private static func connected(to path: String, deadline: Deadline) throws(ControlFault) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    let room = MemoryLayout.size(ofValue: address.sun_path) - 1
    guard bytes.count <= room else {
      throw .impossible("the path of the control socket, \(path), is longer than \(room) bytes")
    }
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | O_NONBLOCK | O_CLOEXEC, 0)
    guard descriptor >= 0 else { throw .system(systemError("socket")) }
    while true {
      let size = socklen_t(MemoryLayout<sockaddr_un>.size)
      let rc = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
      }
      if rc == 0 { return descriptor }
      let code = errno
      if code == EINTR { continue }
      // Its queue of callers is full.
      if code == EAGAIN, !deadline.hasPassed {
        usleep(20_000)
        continue
      }
      close(descriptor)
      switch code {
      case ENOENT, ECONNREFUSED: throw .notRunning
      case EAGAIN: throw .silent
      default: throw .system("connecting to \(path): \(systemWords(code))")
      }
    }
  }

  mutating func send(_ request: Request, deadline: Deadline) throws(ControlFault) {
    var line: [UInt8]
    do {
      line = Array(try JSONEncoder().encode(request))
    } catch {
      throw .system("the request cannot be written as JSON")
    }
    line.append(ControlLine.end)
    var rest = line[...]
    while !rest.isEmpty {
      let sent = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if sent >= 0 {
        rest = rest.dropFirst(sent)
      } else if errno == EAGAIN {
        try wait(for: Int16(POLLOUT), deadline)
      } else if errno != EINTR {
        throw .broken(systemError("writing the request"))
      }
    }
  }

  /// The next reply line.
  mutating func reply(deadline: Deadline) throws(ControlFault) -> Reply {
    var searched = 0
    while true {
      if let reply = try buffered(from: searched) { return reply }
      searched = buffered.count
      guard searched <= ControlLine.bytesMax else {
        throw .broken("its answer is longer than \(ControlLine.bytesMax) bytes")
      }
      try wait(for: Int16(POLLIN), deadline)
      try fill()
    }
  }

  /// The next reply line as far as it has come; nil: none has.
  mutating func replyAtHand() throws(ControlFault) -> Reply? {
    if let reply = try buffered(from: 0) { return reply }
    var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    guard poll(&entry, 1, 0) > 0 else { return nil }
    try fill()
    return try buffered(from: 0)
  }

  private mutating func buffered(from searched: Int) throws(ControlFault) -> Reply? {
    guard let end = buffered[searched...].firstIndex(of: ControlLine.end) else { return nil }
    let line = Data(buffered[..<end])
    buffered.removeSubrange(...end)
    do {
      return try JSONDecoder().decode(Reply.self, from: line)
    } catch {
      throw .broken("its answer is not understood: install repladm and repld of the same version")
    }
  }

  private mutating func fill() throws(ControlFault) {
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    let got = recv(descriptor, &chunk, chunk.count, 0)
    if got > 0 {
      buffered += chunk[0..<got]
    } else if got == 0 {
      throw .broken("it ended or hung up before it answered")
    } else if errno != EAGAIN, errno != EINTR {
      throw .broken(systemError("reading the answer"))
    }
  }

  private func wait(for events: Int16, _ deadline: Deadline) throws(ControlFault) {
    var entry = pollfd(fd: descriptor, events: events, revents: 0)
    let ready = poll(&entry, 1, deadline.pollMilliseconds)
    if ready == 0 { throw .silent }
    if ready < 0, errno != EINTR { throw .system(systemError("poll")) }
  }
}

/// "connect: Permission denied".
func systemError(_ what: String) -> String { "\(what): \(systemWords(errno))" }

func systemWords(_ code: Int32) -> String { strerror(code).map { String(cString: $0) } ?? "error \(code)" }
