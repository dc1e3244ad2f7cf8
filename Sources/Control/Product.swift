// What this software calls itself.

public enum Product {
  public static let version = "0.1.0"
  /// The DRBD whose tools and words this one answers for: `drbdadm --version` is read by scripts.
  public static let toolsVersion = "9.22.0"
  public static let toolsVersionCode: UInt32 = 0x091600
  public static let driverVersion = "9.2.0"
  public static let driverVersionCode: UInt32 = 0x090200
}
