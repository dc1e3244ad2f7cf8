// One change of the role at a time: the cluster's, an operator's, and the one that an open of the device asks for. While it is held,
// `repl-device` answers no caller of open(2) or mount(2). Law: a command that has the lock sees what the one before it has done.
import BlockIO
import Control
import Glibc

final class RoleLock {
  private let file: Int32
  /// Nil: there is no device server.
  private let hold: Hold?

  /// A box for a socket, which the server watches.
  private final class Hold {
    let socket: PacketSocket
    init(_ socket: consuming PacketSocket) { self.socket = socket }
  }

  /// Waits for its turn. Nil: the lock could not be made here, as in a run directory that is another user's.
  init?(_ resource: String, _ files: RunFiles, deadline: Deadline) throws(Refusal) {
    let path = files.roleLock(resource)
    while true {
      let opened = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
      guard opened >= 0 else { return nil }
      if flock(opened, LOCK_EX | LOCK_NB) == 0 {
        // Whoever had it before may have removed it.
        if RoleLock.leads(path, to: opened) {
          file = opened
          break
        }
        close(opened)
        continue
      }
      let isTaken = errno == EWOULDBLOCK
      close(opened)
      guard isTaken else { return nil }
      guard !deadline.hasPassed else {
        throw Refusal(
          "another command is changing \(resource)", why: "it has not ended within \(deadline.text)",
          next: "see what it is by fuser \(path), and repeat the command when it has ended", exitCode: 20)
      }
      pause(milliseconds: 20)
    }
    do throws(Errno) {
      let socket = try PacketSocket.connected(to: files.deviceSocket(resource), seconds: 3)
      try socket.send(DeviceRequest.hold.text)
      // An older server does not know the word, and shows no nodes.
      _ = try socket.receive()
      hold = Hold(socket)
    } catch {
      hold = nil
    }
  }

  deinit { close(file) }

  private static func leads(_ path: String, to descriptor: Int32) -> Bool {
    var named = stat()
    var held = stat()
    return stat(path, &named) == 0 && fstat(descriptor, &held) == 0 && named.st_ino == held.st_ino
      && named.st_dev == held.st_dev
  }
}
