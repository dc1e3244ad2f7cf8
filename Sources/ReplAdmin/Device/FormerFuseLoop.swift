// A device that a version before `repl-device` made: `nbdfuse` shows the export of one volume as a file, a loop device makes a block
// device of it. It is used on until it is taken away, and never made any more.
import Glibc

struct FormerFuseLoop {
  let record: DeviceRecord

  private var loop: LoopDevice? {
    guard let major = record.major, let minor = record.minor, let mount = record.fuseMount else { return nil }
    return LoopDevice(number: BlockNumber(major: major, minor: minor), file: "\(mount)/export")
  }

  var stands: Bool { record.fuse?.isAlive == true && loop?.isBound == true }

  /// False when the loop device is in use; then everything stays as it is.
  func detach(deadline: Deadline) -> Bool {
    if let loop, !loop.detach() { return false }
    if let directory = record.fuseMount {
      let unmounted = Deadline(after: 5).wait {
        umount2(directory, 0) == 0 || errno == EINVAL || errno == ENOENT
      }
      if !unmounted { umount2(directory, Int32(MNT_DETACH)) }
      rmdir(directory)
    }
    // Unmounting ends it, after its last write and flush were answered.
    if let fuse = record.fuse, !deadline.wait(until: { !fuse.isAlive }) { end(fuse) }
    return true
  }

  /// First the server: what waits for a daemon that hangs ends with an error then, and nothing below waits for it.
  func abandon() {
    if let fuse = record.fuse, fuse.isAlive { end(fuse) }
    loop?.detachWhenUnused()
    guard let directory = record.fuseMount else { return }
    umount2(directory, Int32(MNT_DETACH))
    rmdir(directory)
  }

  private func end(_ fuse: DeviceRecord.ProcessMark) {
    kill(fuse.pid, SIGKILL)
    _ = Deadline(after: 3).wait { !fuse.isAlive }
  }
}
