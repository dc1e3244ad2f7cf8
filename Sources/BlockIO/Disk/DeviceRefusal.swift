// Why a backing or metadata device was not opened: one sentence each, with what to do about it.

public enum DeviceRefusal: Error, Equatable, Sendable {
  case missing(path: String)
  case notADisk(path: String, what: String)
  case readOnly(path: String)
  case inUse(path: String, by: String)
  case noPermission(path: String)
  case empty(path: String)
  case blocksTooLarge(path: String, bytes: Int32)
  case failed(path: String, doing: String, Errno)

  public var text: String {
    switch self {
    case .missing(let path):
      "\(path) does not exist: create it, or correct the 'disk' or 'meta-disk' line of the configuration"
    case .notADisk(let path, let what):
      "\(path) is \(what), neither a block device nor a file: correct the 'disk' or 'meta-disk' line"
    case .readOnly(let path):
      "\(path) is read-only: make it writable ('blockdev --setrw' for a device, a writable file system for a file)"
    case .inUse(let path, let by):
      "\(path) is in use: \(by); nothing was changed. Free it first"
    case .noPermission(let path):
      "\(path) may not be opened for writing by this user: run as root, or change the owner of the device"
    case .empty(let path):
      "\(path) has no size: attach a medium or a backing file to it first"
    case .blocksTooLarge(let path, let bytes):
      "\(path) has blocks of \(bytes) bytes, and DRBD's metadata are written in blocks of 4096: use a device whose logical "
        + "blocks are 4096 bytes or smaller ('blockdev --getss' tells)"
    case .failed(let path, let doing, let error):
      "\(path) could not be opened (\(doing)): \(error)"
    }
  }
}
