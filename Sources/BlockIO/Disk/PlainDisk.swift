// The same disks, blocking: for the admin program and for start-up. Takes any offset and length; what direct I/O does
// not accept goes through an aligned buffer, a block half written keeping its other half.

import Base
import Glibc

public struct PlainDisk: ~Copyable {
  private let device: OpenDevice
  private let bounce: AlignedBuffer
  private static let bounceBytes = 1 << 20

  public init(path: String, access: DeviceAccess = .exclusive) throws(DeviceRefusal) {
    device = try OpenDevice(path: path, access: access)
    bounce = AlignedBuffer(count: PlainDisk.bounceBytes)
  }

  public var path: String { device.path }
  public var bytes: UInt64 { device.size }
  public var sectors: SectorCount { SectorCount(bytes: device.size) }
  public var logicalBlock: UInt32 { device.logicalBlock }
  public var isBlockDevice: Bool { device.isBlockDevice }

  // MARK: Reading

  public func read(into target: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(DiskFault) {
    try check(.read, offset, target.count)
    if isAligned(target.baseAddress, target.count, offset) { return try transfer(.read, target, offset) }
    var done = 0
    while done < target.count {
      let piece = window(offset + UInt64(done), left: target.count - done)
      try transfer(.read, UnsafeMutableRawBufferPointer(rebasing: bounce.bytes[0..<piece.span]), piece.start)
      memcpy(target.baseAddress! + done, bounce.pointer + piece.skip, piece.used)
      done += piece.used
    }
  }

  public func read(at offset: UInt64, count: Int) throws(DiskFault) -> [UInt8] {
    try check(.read, offset, count)
    var bytes = [UInt8](repeating: 0, count: count)
    var fault: DiskFault?
    bytes.withUnsafeMutableBytes { target in
      do throws(DiskFault) { try read(into: target, at: offset) } catch { fault = error }
    }
    if let fault { throw fault }
    return bytes
  }

  // MARK: Writing

  public func write(_ source: UnsafeRawBufferPointer, at offset: UInt64) throws(DiskFault) {
    try check(.write, offset, source.count)
    let given = UnsafeMutableRawBufferPointer(mutating: source)
    if isAligned(source.baseAddress, source.count, offset) { return try transfer(.write, given, offset) }
    var done = 0
    while done < source.count {
      let piece = window(offset + UInt64(done), left: source.count - done)
      let span = UnsafeMutableRawBufferPointer(rebasing: bounce.bytes[0..<piece.span])
      if piece.used < piece.span { try transfer(.read, span, piece.start) }
      memcpy(bounce.pointer + piece.skip, source.baseAddress! + done, piece.used)
      try transfer(.write, span, piece.start)
      done += piece.used
    }
  }

  public func write(_ bytes: [UInt8], at offset: UInt64) throws(DiskFault) {
    var fault: DiskFault?
    bytes.withUnsafeBytes { source in
      do throws(DiskFault) { try write(source, at: offset) } catch { fault = error }
    }
    if let fault { throw fault }
  }

  public func flush() throws(DiskFault) {
    guard fdatasync(device.descriptor) == 0 else { throw DiskFault(.flush, Errno.last, offset: 0, bytes: 0) }
  }

  // MARK: Blocks

  private func check(_ operation: DiskFault.Operation, _ offset: UInt64, _ count: Int) throws(DiskFault) {
    guard count >= 0, UInt64(count) <= bytes, offset <= bytes - UInt64(count) else {
      throw DiskFault(operation, Errno(ENXIO), offset: offset, bytes: UInt64(max(0, count)))
    }
  }

  private func isAligned(_ pointer: UnsafeRawPointer?, _ count: Int, _ offset: UInt64) -> Bool {
    guard device.isDirect else { return true }
    let mask = UInt64(logicalBlock - 1)
    return (UInt64(UInt(bitPattern: pointer)) | UInt64(count) | offset) & mask == 0
  }

  /// The whole blocks around as much of the request as one bounce takes: where they start, how many bytes they are, how
  /// many of them lie before the request, how many belong to it.
  private func window(_ offset: UInt64, left: Int) -> (start: UInt64, span: Int, skip: Int, used: Int) {
    let block = UInt64(logicalBlock)
    let start = offset - offset % block
    let skip = Int(offset - start)
    let used = min(left, PlainDisk.bounceBytes - skip)
    let span = (skip + used + Int(block) - 1) / Int(block) * Int(block)
    return (start, span, skip, used)
  }

  private func transfer(
    _ operation: DiskFault.Operation, _ memory: UnsafeMutableRawBufferPointer, _ offset: UInt64
  ) throws(DiskFault) {
    var done = 0
    while done < memory.count {
      let pointer = memory.baseAddress! + done
      let at = off_t(offset) + done
      let count = memory.count - done
      let moved =
        operation == .read
        ? pread(device.descriptor, pointer, count, at) : pwrite(device.descriptor, pointer, count, at)
      if moved < 0 && errno == EINTR { continue }
      guard moved > 0 else {
        let error = moved == 0 ? Errno(EIO) : Errno.last
        throw DiskFault(operation, error, offset: offset, bytes: UInt64(memory.count))
      }
      done += moved
    }
  }
}
