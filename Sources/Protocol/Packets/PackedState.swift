// P_STATE's word (wire spec 3.7). Bits 23...31 are ignored: DRBD 9.3 sets bit 23 in every one (14.2).
import Base

public struct PackedState: Hashable, Sendable {
  public var word: UInt32
  public init(word: UInt32 = 0) { self.word = word }

  public init(
    role: Role, peer: Role, connection: ConnectionState, disk: DiskState, peerDisk: DiskState,
    suspended: Bool = false, dependencyPaused: Bool = false, peerPaused: Bool = false, userPaused: Bool = false,
    frozen: Bool = false
  ) {
    word =
      UInt32(role.rawValue) | UInt32(peer.rawValue) << 2 | UInt32(connection.rawValue) << 4
      | UInt32(disk.rawValue) << 9 | UInt32(peerDisk.rawValue) << 13 | (suspended ? 1 << 17 : 0)
      | (dependencyPaused ? 1 << 18 : 0) | (peerPaused ? 1 << 19 : 0) | (userPaused ? 1 << 20 : 0)
      | (frozen ? 1 << 22 : 0)
  }

  /// The number 3 is the mask, no role: it reads as unknown.
  public var role: Role { Role(rawValue: UInt8(word & 3)) ?? .unknown }
  public var peer: Role { Role(rawValue: UInt8(word >> 2 & 3)) ?? .unknown }
  /// Numbers above 23 read as nil.
  public var connection: ConnectionState? { ConnectionState(rawValue: UInt8(word >> 4 & 31)) }
  /// Numbers above 8 read as UpToDate: DRBD 9 sends its own number 9 for it (14.2 number 7).
  public var disk: DiskState { DiskState(rawValue: UInt8(word >> 9 & 15)) ?? .upToDate }
  public var peerDisk: DiskState { DiskState(rawValue: UInt8(word >> 13 & 15)) ?? .upToDate }
  public var suspended: Bool { word & 1 << 17 != 0 }
  public var dependencyPaused: Bool { word & 1 << 18 != 0 }
  public var peerPaused: Bool { word & 1 << 19 != 0 }
  public var userPaused: Bool { word & 1 << 20 != 0 }
  /// I/O waits for the end of a fencing.
  public var frozen: Bool { word & 1 << 22 != 0 }

  public static let roleMask: UInt32 = 0x3
  public static let peerMask: UInt32 = 0xc
  public static let connectionMask: UInt32 = 0x1f0
  public static let diskMask: UInt32 = 0x1e00
  public static let peerDiskMask: UInt32 = 0x1e000
}
