// The answer to readdir(3) of a directory with files of one kind.
import CFuse
import Glibc

/// Lists the directory itself, its parent, and `files`, from entry `offset` on, as far as `bytes` go.
func listing(
  _ call: OpaquePointer, _ files: [(String, UInt64)], kind: mode_t, bytes: Int, from offset: Int
) {
  let root: UInt64 = 1
  let names = [(".", root), ("..", root)] + files
  let memory = UnsafeMutablePointer<CChar>.allocate(capacity: max(1, bytes))
  defer { memory.deallocate() }
  var used = 0
  for (i, (name, inode)) in names.enumerated().dropFirst(offset) {
    var facts = stat()
    facts.st_ino = ino_t(inode)
    facts.st_mode = inode == root ? S_IFDIR : kind
    let need = fuse_add_direntry(call, memory + used, bytes - used, name, &facts, off_t(i + 1))
    guard need <= bytes - used else { break }
    used += need
  }
  fuse_reply_buf(call, memory, used)
}
