// The calls of the kernel: names and sizes are answered at once, reads, writes, flushes and zeroes go to `repld`. Law: a file that
// was ended answers every call with EIO, also while a loop device still has it open.
import Base
import CFuse
import Control
import Export
import Glibc

extension DeviceServer {
  private static let root: UInt64 = 1
  private static let punchHole: Int32 = 2
  private static let zeroRange: Int32 = 16
  private static let keepSize: Int32 = 1

  private func volume(inode: UInt64) -> ServedVolume? { volumes.first { $0.inode == inode } }

  private func facts(_ inode: UInt64) -> stat? {
    var facts = stat()
    facts.st_ino = ino_t(inode)
    if inode == DeviceServer.root {
      facts.st_mode = S_IFDIR | 0o700
      facts.st_nlink = 2
      return facts
    }
    guard let volume = volume(inode: inode) else { return nil }
    facts.st_mode = S_IFREG | 0o600
    facts.st_nlink = 1
    facts.st_size = off_t(clamping: volume.size)
    facts.st_blksize = 4096
    facts.st_blocks = facts.st_size / 512
    return facts
  }

  // Sizes change and volumes end without a call of the kernel: it remembers nothing of them.

  func look(_ call: OpaquePointer, in parent: UInt64, for name: String) {
    guard parent == DeviceServer.root, let volume = volumes.first(where: { $0.name == name }),
      let facts = facts(volume.inode)
    else {
      fuse_reply_err(call, ENOENT)
      return
    }
    var entry = fuse_entry_param()
    entry.ino = volume.inode
    entry.attr = facts
    fuse_reply_entry(call, &entry)
  }

  func tell(_ call: OpaquePointer, about inode: UInt64) {
    guard var facts = facts(inode) else {
      fuse_reply_err(call, EIO)
      return
    }
    fuse_reply_attr(call, &facts, 0)
  }

  func list(_ call: OpaquePointer, _ inode: UInt64, bytes: Int, from offset: Int) {
    let names = volumes.map { ($0.name, $0.inode) }
    listing(call, names, kind: S_IFREG, bytes: bytes, from: offset)
  }

  func open(_ call: OpaquePointer, _ inode: UInt64, _ file: UnsafeMutablePointer<fuse_file_info>) {
    guard let volume = volume(inode: inode) else {
      fuse_reply_err(call, EIO)
      return
    }
    // An error: the caller of open(2) was interrupted, and no release will follow.
    if fuse_reply_open(call, file) == 0 { volume.opens += 1 }
  }

  func release(_ call: OpaquePointer, _ inode: UInt64) {
    volume(inode: inode)?.opens -= 1
    fuse_reply_err(call, 0)
  }

  // MARK: Data

  func read(_ call: OpaquePointer, _ inode: UInt64, offset: off_t, bytes: Int) {
    guard let volume = volume(inode: inode), offset >= 0 else {
      fuse_reply_err(call, EIO)
      return
    }
    let left = volume.size > UInt64(offset) ? volume.size - UInt64(offset) : 0
    let count = Int(min(UInt64(bytes), left))
    guard count > 0 else {
      fuse_reply_buf(call, nil, 0)
      return
    }
    guard ServedVolume.mayRead(count) else {
      fuse_reply_err(call, EINVAL)
      return
    }
    ask(call, volume, .read, offset: UInt64(offset), length: UInt32(count))
  }

  func write(_ call: OpaquePointer, _ inode: UInt64, offset: off_t, _ bytes: UnsafeRawBufferPointer) {
    guard let volume = volume(inode: inode), offset >= 0 else {
      fuse_reply_err(call, EIO)
      return
    }
    guard UInt64(offset) + UInt64(bytes.count) <= volume.size else {
      fuse_reply_err(call, ENOSPC)
      return
    }
    ask(call, volume, .write, offset: UInt64(offset), length: UInt32(bytes.count), bytes)
  }

  func flush(_ call: OpaquePointer, _ inode: UInt64) {
    guard let volume = volume(inode: inode) else {
      fuse_reply_err(call, EIO)
      return
    }
    ask(call, volume, .flush, offset: 0, length: 0)
  }

  /// A loop device asks this way for discards and for zeroes, and wants zeroes after both. The kernel writes zeroes itself, or
  /// does without a discard, where it is told that we cannot.
  func allocate(_ call: OpaquePointer, _ inode: UInt64, mode: Int32, offset: off_t, length: off_t) {
    guard let volume = volume(inode: inode), offset >= 0, length > 0 else {
      fuse_reply_err(call, EIO)
      return
    }
    let kind: ClientAsk
    switch mode & ~DeviceServer.keepSize {
    case DeviceServer.punchHole where volume.abilities.zeroes:
      kind = .zero(mayUnmap: true, fast: volume.abilities.zeroesFast)
    case DeviceServer.zeroRange where volume.abilities.zeroes: kind = .zero(mayUnmap: false, fast: false)
    default:
      fuse_reply_err(call, EOPNOTSUPP)
      return
    }
    guard UInt64(offset) < volume.size else {
      fuse_reply_err(call, 0)
      return
    }
    guard let count = UInt32(exactly: min(UInt64(length), volume.size - UInt64(offset))) else {
      fuse_reply_err(call, EFBIG)
      return
    }
    ask(call, volume, kind, offset: UInt64(offset), length: count)
  }

  private func ask(
    _ call: OpaquePointer, _ volume: ServedVolume, _ kind: ClientAsk, offset: UInt64, length: UInt32,
    _ bytes: UnsafeRawBufferPointer? = nil
  ) {
    var request = HeldRequest(
      reply: call, inode: volume.inode, ask: kind, offset: offset, length: length, bytes: bytes?.baseAddress)
    // The bytes lie in the memory that the call was read into: it is kept until they are answered.
    if bytes != nil { request.memory = keepCallMemory() }
    volume.append(table.insert(request))
  }

  // MARK: Answers

  func answer(_ place: Int, error: Int32) {
    let request = table.remove(place)
    if error == 0, request.ask == .write {
      fuse_reply_write(request.reply, Int(request.length))
    } else {
      fuse_reply_err(request.reply, error)
    }
    if let memory = request.memory { giveBack(memory) }
  }

  func answer(_ place: Int, read bytes: UnsafeRawPointer) {
    let request = table.remove(place)
    fuse_reply_buf(request.reply, bytes.assumingMemoryBound(to: CChar.self), Int(request.length))
  }
}
