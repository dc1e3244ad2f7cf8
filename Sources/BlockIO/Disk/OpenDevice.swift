// Opens a file or block device and makes sure that nobody else writes to it. Law: no byte is written through a device
// that is mounted, held or claimed by another. Shared by BackingDevice (ring) and PlainDisk (blocking).

import Base
import CURing
import Glibc

/// What the opener asks for.
public enum DeviceAccess: Sendable {
  /// The whole device is ours alone.
  case exclusive
  /// Only these bytes are, for external metadata that several resources share. Nobody else may hold the device whole.
  case region(offset: UInt64, bytes: UInt64)
  /// To look at; asks nobody and locks nothing.
  case readOnly
}

/// Owns the descriptor. The claim ends with it.
struct OpenDevice: ~Copyable {
  let descriptor: Int32
  let path: String
  private(set) var size: UInt64
  private(set) var reach: UInt64
  let logicalBlock: UInt32
  let isBlockDevice: Bool
  /// Opened with O_DIRECT: a completed write has left our memory and the page cache.
  let isDirect: Bool
  let canDiscard: Bool
  let canZero: Bool

  deinit { close(descriptor) }

  /// The size of now: devices grow while they are open. What cannot be measured keeps the size it had.
  mutating func measure() {
    let unit = UInt64(logicalBlock)
    var bytes: UInt64 = 0
    if isBlockDevice {
      guard cu_device_bytes(descriptor, &bytes) == 0 else { return }
    } else {
      var status = stat()
      guard fstat(descriptor, &status) == 0 else { return }
      bytes = UInt64(status.st_size)
    }
    size = bytes - bytes % unit
    reach = max(reach, size)
  }

  init(path: String, access: DeviceAccess) throws(DeviceRefusal) {
    var status = stat()
    guard stat(path, &status) == 0 else { throw OpenDevice.refusal(path, "stat", Errno.last, nil) }
    guard let identity = DiskIdentity(status) else {
      let what =
        switch status.st_mode & S_IFMT {
        case S_IFDIR: "a directory"
        case S_IFCHR: "a character device"
        case S_IFSOCK: "a socket"
        default: "a special file"
        }
      throw .notADisk(path: path, what: what)
    }
    let opened: (descriptor: Int32, isDirect: Bool)
    if case .device = identity {
      opened = try OpenDevice.openBlock(path, identity, access)
    } else {
      opened = try OpenDevice.openFile(path, identity, access)
    }
    // From here on every way out that throws must close it.
    do throws(DeviceRefusal) {
      try OpenDevice.lock(opened.descriptor, path, identity, access)
      let shape = try OpenDevice.measure(opened.descriptor, path, identity, opened.isDirect, access)
      descriptor = opened.descriptor
      isDirect = opened.isDirect
      size = shape.size
      reach = shape.size
      logicalBlock = shape.logicalBlock
    } catch {
      close(opened.descriptor)
      throw error
    }
    self.path = path
    if case .device(let number) = identity {
      isBlockDevice = true
      let zeroes = KernelText.line("\(OpenDevice.queue(number))/write_zeroes_max_bytes").map { $0 != "0" } ?? false
      let discards = KernelText.line("\(OpenDevice.queue(number))/discard_max_bytes").map { $0 != "0" } ?? false
      canZero = zeroes
      canDiscard = zeroes && discards
    } else {
      isBlockDevice = false
      // Behind the end there is nothing to lose: the call tells what the file system can do.
      let end = (size + 4095) & ~4095
      canDiscard = cu_fallocate(descriptor, Int32(CU_PUNCH_HOLE), Int64(end), 4096) == 0
      canZero = canDiscard
    }
  }

  // MARK: Opening

  private static func openBlock(
    _ path: String, _ identity: DiskIdentity, _ access: DeviceAccess
  ) throws(DeviceRefusal) -> (descriptor: Int32, isDirect: Bool) {
    switch access {
    case .readOnly:
      return (try open(path, O_RDONLY, identity), true)
    case .exclusive:
      return (try open(path, O_RDWR | O_EXCL, identity), true)
    case .region:
      // The exclusive open fails if anybody else holds the device whole; then it makes room for our neighbours.
      close(try open(path, O_RDWR | O_EXCL, identity))
      return (try open(path, O_RDWR, identity), true)
    }
  }

  private static func openFile(
    _ path: String, _ identity: DiskIdentity, _ access: DeviceAccess
  ) throws(DeviceRefusal) -> (descriptor: Int32, isDirect: Bool) {
    var mode = O_RDWR
    if case .readOnly = access {
      mode = O_RDONLY
    } else if let user = DeviceUse.quietUser(of: identity) {
      throw .inUse(path: path, by: user)
    }
    do throws(DeviceRefusal) {
      return (try open(path, mode, identity), true)
    } catch .failed(_, _, Errno(EINVAL)) {
      // The file system refuses O_DIRECT. Its page cache then plays the part of a disk's volatile cache.
      return (try open(path, mode, identity, direct: false), false)
    }
  }

  /// Attempts, 20 ms apart: a device just closed, by us or by a prober of the system, may be held a moment longer.
  private static let patience = 5

  private static func open(
    _ path: String, _ mode: Int32, _ identity: DiskIdentity, direct: Bool = true
  ) throws(DeviceRefusal) -> Int32 {
    let flags = mode | O_CLOEXEC | (direct ? Int32(CU_O_DIRECT) : 0)
    for patience in (0..<OpenDevice.patience).reversed() {
      let descriptor = cu_open(path, flags, 0)
      if descriptor >= 0 { return descriptor }
      let error = Errno.last
      guard error.code == EBUSY, patience > 0 else { throw refusal(path, "open", error, identity) }
      usleep(20_000)
    }
    preconditionFailure("the last attempt throws")
  }

  private static func refusal(
    _ path: String, _ doing: String, _ error: Errno, _ identity: DiskIdentity?
  ) -> DeviceRefusal {
    switch error.code {
    case ENOENT, ENOTDIR, ENODEV: return .missing(path: path)
    case ENXIO, Int32(CU_ENOMEDIUM): return .empty(path: path)
    case EROFS: return .readOnly(path: path)
    case EBUSY, ETXTBSY:
      return .inUse(path: path, by: identity.map { DeviceUse.describe($0) } ?? "the kernel does not say by whom")
    case EACCES, EPERM:
      if case .device(let number) = identity, KernelText.line(number.sysfs + "/ro") == "1" {
        return .readOnly(path: path)
      }
      return .noPermission(path: path)
    default: return .failed(path: path, doing: doing, error)
    }
  }

  /// An open-file-description lock on the bytes that are ours: what O_EXCL is for block devices, for files and regions.
  private static func lock(
    _ descriptor: Int32, _ path: String, _ identity: DiskIdentity, _ access: DeviceAccess
  ) throws(DeviceRefusal) {
    let part: (start: UInt64, bytes: UInt64)
    switch access {
    case .readOnly: return
    case .exclusive: part = (0, 0)
    case .region(let offset, let bytes): part = (offset, bytes)
    }
    for patience in (0..<OpenDevice.patience).reversed() {
      if cu_lock_range(descriptor, Int64(part.start), Int64(part.bytes)) == 0 { return }
      let error = Errno.last
      guard error.code == EAGAIN || error.code == EACCES else { throw .failed(path: path, doing: "lock", error) }
      if patience == 0 { throw .inUse(path: path, by: DeviceUse.describe(identity)) }
      usleep(20_000)
    }
  }

  // MARK: Shape

  private static func measure(
    _ descriptor: Int32, _ path: String, _ identity: DiskIdentity, _ isDirect: Bool, _ access: DeviceAccess
  ) throws(DeviceRefusal) -> (size: UInt64, logicalBlock: UInt32) {
    var size: UInt64 = 0
    var block: Int32 = 512
    if case .device = identity {
      guard cu_device_bytes(descriptor, &size) == 0 else { throw .failed(path: path, doing: "size", Errno.last) }
      guard cu_device_block(descriptor, &block) == 0 else { throw .failed(path: path, doing: "block size", Errno.last) }
      if case .readOnly = access {} else if block > 4096 { throw .blocksTooLarge(path: path, bytes: block) }
      var locked: Int32 = 0
      if cu_device_read_only(descriptor, &locked) == 0, locked != 0 {
        if case .readOnly = access {} else { throw .readOnly(path: path) }
      }
    } else {
      var status = stat()
      guard fstat(descriptor, &status) == 0 else { throw .failed(path: path, doing: "size", Errno.last) }
      size = UInt64(status.st_size)
      if isDirect && !directReads(descriptor, bytes: 512) { block = 4096 }
    }
    size -= size % UInt64(block)
    guard size > 0 else { throw .empty(path: path) }
    return (size, UInt32(block))
  }

  /// Files on a disk with 4096-byte blocks take direct requests of whole such blocks only: found by trying.
  private static func directReads(_ descriptor: Int32, bytes: Int) -> Bool {
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
    defer { buffer.deallocate() }
    return pread(descriptor, buffer, bytes, 0) >= 0 || errno != EINVAL
  }

  /// The queue's attributes; a partition's are its disk's.
  private static func queue(_ number: DeviceNumber) -> String {
    let own = number.sysfs + "/queue"
    return KernelText.names(in: own).isEmpty ? number.sysfs + "/../queue" : own
  }
}
