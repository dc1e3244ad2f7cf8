// Chance enters as data: everything that needs a random number is handed one of these. Tests and the simulator seed it
// with a constant, the daemon from the kernel.

/// SplitMix64. Not for secrets.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64
  public init(seed: UInt64) { state = seed }
  public mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
  /// A number in 0..<bound.
  public mutating func below(_ bound: UInt64) -> UInt64 { next() % bound }
  /// True once in `n` calls on average.
  public mutating func oneIn(_ n: UInt64) -> Bool { next() % n == 0 }
}
