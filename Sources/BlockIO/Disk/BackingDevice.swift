// A disk of the daemon: opened for us alone, known to the ring. What can be asked of it is in DiskOperations.swift.

import Base

public struct BackingDevice: ~Copyable {
  private var device: OpenDevice
  public let file: RingFile

  /// Blocks while the kernel opens the device: at attach time only.
  public init(path: String, access: DeviceAccess = .exclusive, ring: inout Ring) throws(DeviceRefusal) {
    device = try OpenDevice(path: path, access: access)
    file = ring.register(device.descriptor)
  }

  /// The way to end it: the ring lets go too, and with that the claim ends. No request may be under way.
  public consuming func close(_ ring: inout Ring) { ring.unregister(file) }

  /// Looks at the size again.
  public mutating func measure() { device.measure() }

  public var path: String { device.path }
  public var bytes: UInt64 { device.size }
  public var sectors: SectorCount { SectorCount(bytes: device.size) }
  /// 512 or 4096. Offset and length of every request must be multiples of it; the caller's front end sees to that.
  public var logicalBlock: UInt32 { device.logicalBlock }
  public var isBlockDevice: Bool { device.isBlockDevice }
  public var isDirect: Bool { device.isDirect }
  /// Discards give room back at the cost of one request. Where false they write zeroes: do not offer them.
  public var canDiscard: Bool { device.canDiscard }
  /// Zeroes cost one request, not a write of every byte.
  public var canZero: Bool { device.canZero }
}
