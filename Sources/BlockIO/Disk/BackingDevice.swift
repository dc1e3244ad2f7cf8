// A disk of the daemon: opened for us alone, known to the ring. What can be asked of it is in DiskOperations.swift.

import Base
import Glibc

public struct BackingDevice: ~Copyable {
  private var device: OpenDevice
  public let file: RingFile
  /// `allocation` can tell data from holes.
  let knowsHoles: Bool

  /// Blocks while the kernel opens the device: at attach time only.
  public init(path: String, access: DeviceAccess = .exclusive, ring: inout Ring) throws(DeviceRefusal) {
    device = try OpenDevice(path: path, access: access)
    file = ring.register(device.descriptor)
    // Dirty pages of other programs count as data only once they are written. This program is the only writer from here on.
    knowsHoles = !device.isBlockDevice && device.isDirect && fdatasync(device.descriptor) == 0
  }

  /// The way to end it: the ring lets go too, and with that the claim ends. No request may be under way.
  public consuming func close(_ ring: inout Ring) { ring.unregister(file) }

  /// Looks at the size again.
  public mutating func measure() { device.measure() }

  public var path: String { device.path }
  public var bytes: UInt64 { device.size }
  /// The end of the largest size it has had: what the kernel says of a request behind the present end is the disk's fault.
  public var reach: UInt64 { device.reach }
  public var sectors: SectorCount { SectorCount(bytes: device.size) }
  /// A power of two from 512 to 4096. Requests are in sectors of 512 bytes; those of parts of a block cost more.
  public var logicalBlock: UInt32 { device.logicalBlock }
  public var isBlockDevice: Bool { device.isBlockDevice }
  public var isDirect: Bool { device.isDirect }
  /// Discards give room back at the cost of one request. Where false they write zeroes: do not offer them.
  public var canDiscard: Bool { device.canDiscard }
  /// Zeroes cost one request, not a write of every byte.
  public var canZero: Bool { device.canZero }
}
