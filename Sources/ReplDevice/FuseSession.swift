// A mount, by libfuse's low-level interface: the directory with a file for each volume, or the one with the nodes. The calls of the kernel arrive in `take`, one after
// the other on the one thread, and are handed to the server, which answers now or later.
import Base
import CFuse
import Glibc

struct FuseRefusal: Error {
  let text: String
}

final class FuseSession {
  let mountPoint: String
  private let session: OpaquePointer
  let descriptor: Int32
  /// The directory is not mounted any more.
  private(set) var isOver = false

  /// Requests of the kernel that are answered later, all in all: what reads ahead or comes from a loop device.
  static let background: UInt32 = 96
  static let longestWrite: UInt32 = 1 << 20
  /// What a request takes at most. libfuse reads by this size before the kernel and it have agreed on a smaller one.
  static let requestBytes = 256 * Int(sysconf(Int32(_SC_PAGESIZE))) + 2 * Int(sysconf(Int32(_SC_PAGESIZE)))

  /// What is shown there.
  enum Contents {
    /// For the loop devices: root's alone.
    case files
    /// For every user that may use the disks.
    case nodes
  }

  init(at mountPoint: String, name: String, _ contents: Contents, _ server: DeviceServer) throws(FuseRefusal) {
    self.mountPoint = mountPoint
    let others = contents == .nodes ? ",dev,allow_other" : ""
    let words = ["repl-device", "-o", "fsname=\(name),subtype=repl,default_permissions,noexec\(others)"]
    let strings: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for string in strings { free(string) } }
    var operations = contents == .nodes ? FuseSession.nodeOperations : FuseSession.operations
    let made = strings.withUnsafeBufferPointer { pointer in
      var arguments = fuse_args(
        argc: Int32(words.count), argv: UnsafeMutablePointer(mutating: pointer.baseAddress), allocated: 0)
      defer { fuse_opt_free_args(&arguments) }
      return fuse_session_new(
        &arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size, Unmanaged.passUnretained(server).toOpaque())
    }
    guard let made else { throw FuseRefusal(text: "libfuse refused its options") }
    session = made
    guard fuse_session_mount(made, mountPoint) == 0 else {
      fuse_session_destroy(made)
      throw FuseRefusal(text: "\(mountPoint) could not be mounted: see the line before")
    }
    descriptor = fuse_session_fd(made)
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
  }

  /// Ends the mount, in use or not: what comes later gets an error of the kernel.
  func end() {
    fuse_session_unmount(session)
    isOver = true
  }

  deinit { fuse_session_destroy(session) }

  /// Reads the next call of the kernel into `memory` and has it carried out. False: there is none now.
  func take(_ memory: UnsafeMutableRawPointer, bytes: Int) -> Bool {
    var buffer = cf_memory(memory, bytes)
    let got = fuse_session_receive_buf(session, &buffer)
    guard got > 0 else {
      // 0: unmounted.
      if got != -EAGAIN, got != -EINTR { isOver = true }
      return got == -EINTR
    }
    fuse_session_process_buf(session, &buffer)
    if fuse_session_exited(session) != 0 { isOver = true }
    return !isOver
  }

  private static let operations: fuse_lowlevel_ops = {
    var table = fuse_lowlevel_ops()
    table.`init` = { _, link in
      guard let link else { return }
      cf_refuse_splice(link)
      link.pointee.max_write = FuseSession.longestWrite
      link.pointee.max_background = FuseSession.background
      link.pointee.congestion_threshold = FuseSession.background
    }
    table.lookup = { call, parent, name in
      guard let call, let name else { return }
      server(call).look(call, in: parent, for: String(cString: name))
    }
    table.getattr = { call, inode, _ in if let call { server(call).tell(call, about: inode) } }
    table.open = { call, inode, file in
      guard let call, let file else { return }
      cf_set_direct(file)
      server(call).open(call, inode, file)
    }
    table.release = { call, inode, _ in if let call { server(call).release(call, inode) } }
    table.flush = { call, _, _ in if let call { fuse_reply_err(call, 0) } }
    table.readdir = { call, inode, size, offset, _ in
      if let call { server(call).list(call, inode, bytes: size, from: Int(offset)) }
    }
    table.statfs = { call, _ in
      guard let call else { return }
      var facts = statvfs()
      // Blocks of a loop device: what is discarded comes in these.
      facts.f_bsize = 4096
      facts.f_frsize = 4096
      facts.f_namemax = 255
      fuse_reply_statfs(call, &facts)
    }
    table.read = { call, inode, size, offset, _ in
      if let call { server(call).read(call, inode, offset: offset, bytes: size) }
    }
    table.write = { call, inode, bytes, size, offset, _ in
      guard let call, let bytes else { return }
      server(call).write(call, inode, offset: offset, UnsafeRawBufferPointer(start: bytes, count: size))
    }
    table.fsync = { call, inode, _, _ in if let call { server(call).flush(call, inode) } }
    table.fallocate = { call, inode, mode, offset, length, _ in
      if let call { server(call).allocate(call, inode, mode: mode, offset: offset, length: length) }
    }
    return table
  }()

  private static let nodeOperations: fuse_lowlevel_ops = {
    var table = fuse_lowlevel_ops()
    table.`init` = { _, link in if let link { cf_refuse_splice(link) } }
    table.lookup = { call, parent, name in
      guard let call, let name else { return }
      server(call).role.look(call, in: parent, for: String(cString: name))
    }
    table.getattr = { call, inode, _ in if let call { server(call).role.nodes.tell(call, about: inode) } }
    table.readdir = { call, inode, size, offset, _ in
      if let call { server(call).role.nodes.list(call, inode, bytes: size, from: Int(offset)) }
    }
    table.forget = { call, inode, lookups in
      guard let call else { return }
      server(call).role.nodes.forget(inode, lookups)
      fuse_reply_none(call)
    }
    return table
  }()
}

/// The server that a call is for.
private func server(_ call: OpaquePointer) -> DeviceServer {
  guard let pointer = fuse_req_userdata(call) else { preconditionFailure("libfuse lost our pointer") }
  return Unmanaged<DeviceServer>.fromOpaque(pointer).takeUnretainedValue()
}
