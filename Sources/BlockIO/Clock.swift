// The only clock of the programs: monotonic, unmoved by date changes. Pure targets are handed its readings.

import Base
import Glibc

public enum Clock {
  public static func now() -> Instant {
    var time = timespec()
    let rc = clock_gettime(CLOCK_MONOTONIC, &time)
    precondition(rc == 0, "the monotonic clock is missing")
    return Instant(nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
  }

  /// Seconds since 1970, for log lines and time stamps in metadata; never for deadlines.
  public static func wallSeconds() -> UInt64 { UInt64(max(0, time(nil))) }
}
