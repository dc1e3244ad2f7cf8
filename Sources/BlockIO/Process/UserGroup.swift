// A group of the system, by its name.
import Glibc

public enum UserGroup {
  /// The number of the group; nil when the system has none of this name. Reads /etc/group, or what stands for it: not while requests
  /// are under way.
  public static func id(_ name: String) -> UInt32? { getgrnam(name)?.pointee.gr_gid }
}
