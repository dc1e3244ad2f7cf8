// Loop devices by the kernel's own calls: a file (here one that `repl-device` shows) as a block device, with direct I/O, so
// that nothing is cached twice and a flush reaches the daemon. Law: a loop device that has another file behind it by now
// is somebody else's and is left alone.
import BlockIO
import Glibc

struct LoopDevice {
  let number: BlockNumber
  /// The file behind it.
  let file: String

  // From linux/loop.h, which the C library's Swift module does not cover.
  private static let configure: UInt = 0x4C0A
  private static let clearDescriptor: UInt = 0x4C01
  private static let setCapacity: UInt = 0x4C07
  private static let getStatus: UInt = 0x4C05
  private static let setStatus: UInt = 0x4C04
  private static let getFree: UInt = 0x4C82
  private static let infoBytes = 232
  private static let infoFlags = 52
  private static let infoName = 56
  private static let infoNameBytes = 64
  private static let autoClear: UInt32 = 4
  private static let directIO: UInt32 = 16

  /// Binds `file` to a free loop device. `recording` is told the number before it is used.
  static func attach(
    _ file: String, blockSize: UInt32, recording: (BlockNumber) throws(DeviceFault) -> Void
  ) throws(DeviceFault) -> BlockNumber {
    let backing = open(file, O_RDWR | O_CLOEXEC)
    guard backing >= 0 else { throw .cannot("open \(file)", systemWords(errno)) }
    defer { close(backing) }
    for _ in 0..<16 {
      let number = BlockNumber(major: BlockNumber.loopMajor, minor: UInt32(try freeIndex()))
      try recording(number)
      let loop: Int32
      do throws(Errno) {
        loop = try NumberedDevice.open(major: number.major, minor: number.minor, flags: O_RDWR)
      } catch {
        throw .cannot("open the loop device \(number.minor)", error.description)
      }
      defer { close(loop) }
      var request = [UInt8](repeating: 0, count: 8 + infoBytes + 64)
      request.withUnsafeMutableBytes { bytes in
        bytes.storeBytes(of: UInt32(backing), toByteOffset: 0, as: UInt32.self)
        bytes.storeBytes(of: blockSize, toByteOffset: 4, as: UInt32.self)
        bytes.storeBytes(of: directIO, toByteOffset: 8 + infoFlags, as: UInt32.self)
        for (i, byte) in file.utf8.prefix(infoNameBytes - 1).enumerated() { bytes[8 + infoName + i] = byte }
      }
      if ioctl(loop, configure, &request) == 0 { return number }
      // Another took it between the two calls.
      guard errno == EBUSY else { throw .cannot("set up the loop device \(number.minor)", systemWords(errno)) }
    }
    throw .cannot("set up a loop device", "every one that was free was taken by another at once")
  }

  /// Unbinds. False when somebody still holds it: then it is bound as before.
  func detach() -> Bool {
    guard isBound else { return true }
    guard let loop = opened(O_RDWR | O_EXCL) else { return false }
    let rc = ioctl(loop, LoopDevice.clearDescriptor, 0)
    // The kernel lets go at the last close.
    close(loop)
    if rc == 0, Deadline(after: 1).wait(until: { !isBound }) { return true }
    keepBound()
    return false
  }

  /// Takes the size that its file has now.
  func grow() throws(DeviceFault) {
    var status = stat()
    // Asks the server of the file: the kernel remembers no size beyond that.
    guard stat(file, &status) == 0 else { throw .cannot("see the size of \(file)", systemWords(errno)) }
    guard isBound, let loop = opened(O_RDONLY) else {
      throw .cannot("open the loop device \(number.minor)", "it is gone")
    }
    defer { close(loop) }
    guard ioctl(loop, LoopDevice.setCapacity, 0) == 0 else {
      throw .cannot("give the loop device \(number.minor) its new size", systemWords(errno))
    }
  }

  /// Lets the kernel unbind it when its last user goes.
  func detachWhenUnused() {
    guard isBound, let loop = opened(O_RDONLY) else { return }
    _ = ioctl(loop, LoopDevice.clearDescriptor, 0)
    close(loop)
  }

  /// Whether our file is behind it. Asked of sysfs: the kernel's own call fails when the server of that file is dead.
  var isBound: Bool {
    guard let name = smallFile("/sys/dev/block/\(number.major):\(number.minor)/loop/backing_file") else { return false }
    // Of a file whose mount has gone the kernel shows what is left of its path.
    return name == file || name == file + " (deleted)" || name == "/" + lastComponent(file)
  }

  /// Takes back an unbinding that was put off because somebody has it open.
  private func keepBound() {
    guard isBound, let loop = opened(O_RDONLY) else { return }
    defer { close(loop) }
    var info = [UInt8](repeating: 0, count: LoopDevice.infoBytes)
    guard ioctl(loop, LoopDevice.getStatus, &info) == 0 else { return }
    info.withUnsafeMutableBytes { bytes in
      let flags = bytes.load(fromByteOffset: LoopDevice.infoFlags, as: UInt32.self)
      bytes.storeBytes(of: flags & ~LoopDevice.autoClear, toByteOffset: LoopDevice.infoFlags, as: UInt32.self)
    }
    _ = ioctl(loop, LoopDevice.setStatus, &info)
  }

  /// Nil: it cannot be opened this way now.
  private func opened(_ flags: Int32) -> Int32? {
    do throws(Errno) {
      return try NumberedDevice.open(major: number.major, minor: number.minor, flags: flags | O_NONBLOCK)
    } catch {
      return nil
    }
  }

  private static func freeIndex() throws(DeviceFault) -> Int32 {
    let control = open("/dev/loop-control", O_RDWR | O_CLOEXEC)
    guard control >= 0 else {
      throw .noMeans("there are no loop devices here (/dev/loop-control: \(systemWords(errno)))")
    }
    defer { close(control) }
    let index = ioctl(control, getFree, 0)
    guard index >= 0 else { throw .cannot("find a free loop device", systemWords(errno)) }
    return index
  }
}
