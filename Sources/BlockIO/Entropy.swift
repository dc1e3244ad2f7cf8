// Chance from the kernel. It seeds the generators that are handed to the engine, and makes authentication challenges.

import Base
import CURing
import Glibc

public enum Entropy {
  /// Fills `bytes` with random bytes fit for secrets.
  public static func fill(_ bytes: UnsafeMutableRawBufferPointer) {
    var done = 0
    while done < bytes.count {
      let got = cu_random(bytes.baseAddress! + done, bytes.count - done)
      precondition(got > 0 || errno == EINTR, "the kernel gives no random bytes")
      if got > 0 { done += Int(got) }
    }
  }

  public static func bytes(_ count: Int) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
      fill(UnsafeMutableRawBufferPointer(buffer))
      initialized = count
    }
  }

  public static func word() -> UInt64 {
    var word: UInt64 = 0
    withUnsafeMutableBytes(of: &word) { fill($0) }
    return word
  }

  public static func generator() -> SeededGenerator { SeededGenerator(seed: word()) }
}
